"""Every code has a page that is true: its example shows the mistake, and the other one has none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rulesproxy.cli import main
from rulesproxy.diagnostics.codes import CODES, Code
from rulesproxy.rules.lints import diagnose
from rulesproxy.rules.load import load_text
from rulesproxy.rules.shared import check_shared

WITHOUT_EXAMPLE = {"RP001", "RP002", "RP113", "RP217", "RP671", "RP802", "RP809", "RP902", "RP910", "RP920"}
"""Their mistakes are no piece of text that fits a page."""
ACTIONS = re.compile(
    r"^(?:  |- )(?:block|redirect|map-local|rewrite|respond|delay|fault|record|run|upstream|stop|do|blok):", re.M
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mocks").mkdir()
    (tmp_path / "mocks" / "me.json").write_text("{}")
    (tmp_path / "helpers.py").write_text("def sign(flow):\n    pass\n")
    (tmp_path / "broken.py").write_text("import a_module_that_is_not_there\n")
    (tmp_path / "rules.d").mkdir()
    (tmp_path / "rules.d" / "one.yaml").write_text("version: 1\nrules: []\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOP_TOKEN", "")


def rule_file(piece: str) -> str:
    """A whole rule file around a piece of one: a list of rules, one rule, or only its filter."""
    if re.match("version:", piece):
        return piece + "\n"
    if re.match("rules:", piece):
        return f"version: 1\n{piece}\n"
    if re.match("vars:|lists:|filters:", piece):
        return f"version: 1\n{piece}\n"
    lines = piece.split("\n")
    if not piece.startswith("-"):
        lines = [f"{'  ' if index else '- '}{line}" for index, line in enumerate(lines)]
    text = "\n".join(lines)
    if not ACTIONS.search(text) and not piece.startswith("-"):
        lines.append("  block: 403")
    return "version: 1\nrules:\n" + "\n".join(f"  {line}" if line[:1] != "\t" else line for line in lines) + "\n"


def found(piece: str, workers: int = 1) -> list[str]:
    loaded = load_text(rule_file(piece))
    return [diagnostic.code for diagnostic in [*diagnose(loaded), *check_shared(loaded.rules, workers)]]


def workers(code: Code) -> int:
    """For how many processes the examples of a page are meant."""
    return 2 if code.code.startswith("RP85") else 1


SHOWN = [pytest.param(code, id=code.code) for code in CODES.values() if code.code not in WITHOUT_EXAMPLE]


@pytest.mark.parametrize("code", SHOWN)
def test_the_example_shows_the_mistake(code: Code) -> None:
    assert code.code in found(code.example, workers(code)), rule_file(code.example)


@pytest.mark.parametrize("code", SHOWN)
def test_the_other_example_is_right(code: Code) -> None:
    assert code.instead
    assert found(code.instead, workers(code)) == []


@pytest.mark.parametrize("code", CODES.values(), ids=list(CODES))
def test_every_page_is_complete(code: Code) -> None:
    for text in (code.explanation, code.rationale, code.resolution):
        assert text
        assert text[-1] in ".`"
    assert not code.title.endswith(".")
    assert (code.example == "") == (code.code in WITHOUT_EXAMPLE)
    assert max(len(line) for line in code.page().split("\n")) <= 140


def test_explain_prints_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "rp301"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("RP301: an unknown field\n\nThere is no field of this name.\n\nRationale\n    A field that")
    assert 'Example\n    match: request.hosts == "a.test"\n\nInstead\n    match: host == "a.test"\n' in shown


def test_explain_names_the_nearest_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "RP3O1"]) == 1
    assert "did you mean RP301?" in capsys.readouterr().err
