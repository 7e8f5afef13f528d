"""`rulesproxy check`: what is printed, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rulesproxy.cli import main

GOOD = 'version: 1\nrules:\n  - id: ads\n    match: host == "ads.test"\n    block:\n'
WARNING = GOOD.replace("id: ads", "id: my ads")
BAD = GOOD.replace("block:", "blok:")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RULESPROXY_RULES", raising=False)
    for name, text in (("good", GOOD), ("warning", WARNING), ("bad", BAD)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


CASES = [
    (["good.yaml"], 0, "1 rule\n  refused at CONNECT: ads\n"),
    (["warning.yaml"], 0, "warning[RP111]: the id `my ads` is hard to type\n  --> warning.yaml:3:9\n"),
    (["--strict", "warning.yaml"], 1, "1 warning in 1 file\n"),
    (["bad.yaml"], 1, "error[RP101]: unknown key `blok` in a rule\n  --> bad.yaml:5:5\n"),
    (["bad.yaml", "good.yaml"], 1, "2 errors in 2 files\n"),
    (["missing.yaml"], 1, "error[RP001]: cannot read `missing.yaml`: no such file or directory\n"),
    (["goof.yaml"], 1, "did you mean `good.yaml`?"),
    (
        ["--output-format", "concise", "bad.yaml"],
        1,
        "bad.yaml:5:5: error[RP101]: unknown key `blok` in a rule (did you",
    ),
]


@pytest.mark.parametrize(("args", "code", "shown"), CASES)
def test_check(folder: Path, capsys: pytest.CaptureFixture[str], args: list[str], code: int, shown: str) -> None:
    assert main(["check", *args]) == code
    out, err = capsys.readouterr()
    assert shown in out
    assert err == ""


def test_without_a_file_it_looks_for_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 2
    assert "no rule file" in capsys.readouterr().err
    (folder / "rules.yaml").write_text(GOOD)
    assert main(["check"]) == 0


def test_json_is_for_machines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--output-format", "json", "bad.yaml"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["rules"], report["files"]) == (False, 0, ["bad.yaml"])
    assert [diagnostic["code"] for diagnostic in report["diagnostics"]] == ["RP101"]
    assert report["diagnostics"][0]["line"] == 5
    assert main(["check", "--output-format", "json", "good.yaml"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["rules"], report["plan"][0]) == (True, 1, "1 rule")


def test_many_mistakes_are_cut(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = "".join("  - match: ~all\n    blok:\n" for _ in range(60))
    (folder / "many.yaml").write_text(f"version: 1\nrules:\n{rules}")
    assert main(["check", "--output-format", "concise", "many.yaml"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert (len(lines), lines[-2:]) == (52, ["and 10 more", "60 errors in 1 file"])
