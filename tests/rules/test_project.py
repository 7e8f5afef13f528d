"""The project file: what it says besides rules, and where it may say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rulesproxy.cli import main
from rulesproxy.engine.option import OptionsError
from rulesproxy.engine.options import Options
from rulesproxy.options import declare_options
from rulesproxy.rules.files.project import Project, read_project
from rulesproxy.rules.load import RulesError, load_files


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
    for found in (read_project(tmp_path / "gone.yaml"), project(tmp_path, "- a\n")):
        assert (found.options, found.addons) == ({}, ())


def test_the_keys_are_for_the_project_file_only(tmp_path: Path) -> None:
    for name, codes in (("rulesproxy.yaml", []), ("rules.yaml", ["RP102", "RP102"])):
        path = tmp_path / name
        path.write_text("version: 1\noptions: {intercept: all}\naddons: []\nrules: []\n")
        assert [diagnostic.code for diagnostic in load_files([path]).diagnostics] == codes


OPTIONS = """version: 1
options:
  intercept: alll
  limits:
    body: 5 elephants
  Shutdwn-Grace: 1
  allow_public: true
"""


def test_every_option_that_cannot_be_set_has_its_place(tmp_path: Path) -> None:
    found = project(tmp_path, OPTIONS)
    options = Options()
    declare_options(options)
    with pytest.raises(RulesError) as caught:
        found.set_options(options)
    places = [(each.code, str(each.span).rpartition("yaml:")[2], each.help) for each in caught.value.diagnostics]
    assert places == [("RP113", "3:14", "did you mean `all`?"), ("RP113", "5:11", "")]
    # What is good counts; the name with a slip may be an option of an addon that is not loaded yet.
    assert options.allow_public is True
    with pytest.raises(OptionsError) as unknown:
        options.check_unknown()
    (explained,) = found.explain(unknown.value)
    assert (explained.code, str(explained.span).rpartition("yaml:")[2]) == ("RP113", "6:3")
    assert explained.help == "did you mean `shutdown_grace`?"


def test_values_that_came_from_elsewhere_are_not_explained_here(tmp_path: Path) -> None:
    found = project(tmp_path, "version: 1\noptions: {intercept: all}\n")
    options = Options()
    declare_options(options)
    with pytest.raises(OptionsError) as caught:
        options.set_text("intercept=none-of-it", "command line")
    assert found.explain(caught.value) == []


def test_check_looks_at_the_options_even_where_files_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rulesproxy.yaml").write_text(OPTIONS)
    (tmp_path / "other.yaml").write_text("version: 1\nrules: []\n")
    monkeypatch.chdir(tmp_path)
    assert main(["check", "other.yaml", "--output-format", "concise"]) == 1
    out = capsys.readouterr().out
    assert "rulesproxy.yaml:3:14: error[RP113]: option `intercept`" in out
    assert "rulesproxy.yaml:5:11: error[RP113]: option `limits_body`" in out
    (tmp_path / "rulesproxy.yaml").write_text("version: 1\noptions: {intercpt: all}\n")
    assert main(["check", "other.yaml", "--output-format", "concise"]) == 0
    assert "rulesproxy.yaml:2:11: warning[RP113]: no option `intercpt`" in capsys.readouterr().out
