"""The project file: what it says besides rules, and where it may say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rulesproxy.rules.load import RulesError, load_files
from rulesproxy.rules.project import Project, read_project


def project(folder: Path, text: str) -> Project:
    path = folder / "rulesproxy.yaml"
    path.write_text(text)
    return read_project(path)


def test_options_are_text_lists_and_mappings(tmp_path: Path) -> None:
    found = project(
        tmp_path,
        "version: 1\noptions:\n  intercept: all\n  limits: {body: 5MB}\n  upstream-ca: [a.pem, b.pem]\n  empty:\n",
    )
    assert found.options == {
        "intercept": "all",
        "limits": {"body": "5MB"},
        "upstream-ca": ["a.pem", "b.pem"],
        "empty": "",
    }
    assert found.addons == ()


def test_addons_are_relative_to_the_file_and_may_name_the_place_of_the_rules(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("")
    found = project(tmp_path, "version: 1\naddons: [a.py, rules]\n")
    assert found.addons == (str(tmp_path / "a.py"), "rules")
    assert project(tmp_path, "version: 1\naddons: a.py\n").addons == (str(tmp_path / "a.py"),)


@pytest.mark.parametrize(
    ("text", "code", "title"),
    [
        ("version: 1\naddons: [gone.py]\n", "RP601", "`gone.py` does not exist"),
        ("version: 1\naddons: [rules, rules]\n", "RP103", "`rules` stands twice among the addons"),
        ("version: 1\noptions: all\n", "RP103", "`options` wants keys with values, got"),
        ("version: 1\noptions:\n  a: [{b: c}]\n", "RP103", "`a` wants a text, got keys with values"),
        ("version: 1\noptions: {a: 1\n", "RP004", ""),
    ],
)
def test_what_is_wrong_has_its_place(text: str, code: str, title: str, tmp_path: Path) -> None:
    with pytest.raises(RulesError) as caught:
        project(tmp_path, text)
    first = caught.value.diagnostics[0]
    assert (first.code, first.title[: len(title)]) == (code, title)
    assert first.span is not None


def test_a_file_that_cannot_be_read_says_so_as_a_rule_file(tmp_path: Path) -> None:
    assert read_project(tmp_path / "gone.yaml") == Project({}, ())
    assert project(tmp_path, "- a\n") == Project({}, ())


def test_the_keys_are_for_the_project_file_only(tmp_path: Path) -> None:
    for name, codes in (("rulesproxy.yaml", []), ("rules.yaml", ["RP102", "RP102"])):
        path = tmp_path / name
        path.write_text("version: 1\noptions: {intercept: all}\naddons: []\nrules: []\n")
        assert [diagnostic.code for diagnostic in load_files([path]).diagnostics] == codes
