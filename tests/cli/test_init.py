"""`rulesproxy init`: what it makes works, and nothing that is there is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from rulesproxy.cli import main
from tests.support.rule_files import values


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("RULESPROXY_RULES", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["init", "new"]) == 0
    monkeypatch.chdir(tmp_path / "new")
    return tmp_path / "new"


def test_it_passes_every_check(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--strict"]) == 0
    assert main(["fmt", "--check"]) == 0
    assert main(["test", "--strict"]) == 0
    assert "5 tests passed" in capsys.readouterr().out


def test_its_schema_is_there(project: Path) -> None:
    text = (project / "rules.yaml").read_text()
    name = text.split("\n")[0].partition("$schema=")[2]
    schema = json.loads((project / name).read_text())
    assert list(Draft7Validator(schema).iter_errors(values(text))) == []


def test_files_that_are_there_stay(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "rules.yaml").write_text("mine")
    (project / "mocks" / "me.json").unlink()
    assert main(["init"]) == 0
    out = capsys.readouterr().out
    assert "rules.yaml is there already, and stays as it is\nwrote mocks/me.json\n" in out
    assert (project / "rules.yaml").read_text() == "mine"


def test_a_folder_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["init", str(tmp_path / "file")]) == 1
    assert "cannot write" in capsys.readouterr().err
