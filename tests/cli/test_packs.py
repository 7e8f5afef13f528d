"""`rulesproxy packs`, and packs where a file could be named."""

from __future__ import annotations

from pathlib import Path

import pytest

from rulesproxy.cli import main
from rulesproxy.resources import packs


def test_the_list_has_every_pack_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["packs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == [f"pack:{name}" for name in packs()]
    assert max(map(len, lines)) <= 120
    assert lines[-1].endswith(".")


def test_a_pack_is_printed_as_a_file_to_begin_with(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["packs", "mock-api"]) == 0
    (tmp_path / "rules.yaml").write_text(capsys.readouterr().out)
    monkeypatch.chdir(tmp_path)
    assert main(["check", "--strict"]) == 0
    assert main(["test"]) == 0


@pytest.mark.parametrize(
    ("name", "hint"), [("crs", "did you mean `pack:cors`?"), ("zzzzzz", "the packs are ab, cors,")]
)
def test_an_unknown_pack(capsys: pytest.CaptureFixture[str], name: str, hint: str) -> None:
    assert main(["packs", name]) == 2
    assert hint in capsys.readouterr().err
    assert main(["check", f"pack:{name}"]) == 2
    out = capsys.readouterr().out
    assert f"error[RP811]: there is no pack `{name}`" in out
    assert hint in out


@pytest.mark.parametrize("name", packs())
def test_a_pack_can_be_checked_and_tested(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["check", "--strict", f"pack:{name}"]) == 0
    assert main(["test", f"pack:{name}"]) == 0


def test_profiles_of_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("version: 1\nrules:\n  - id: r\n    match: host == 'a.test'\n    profile: chaos\n    block:\n")
    assert main(["check", str(file)]) == 0
    assert "0 rules" in capsys.readouterr().out
    assert main(["check", str(file), "--profile", "chaos"]) == 0
    assert "1 rule" in capsys.readouterr().out
    assert main(["check", str(file), "--profile", "chaso"]) == 1
    assert "did you mean `chaos`?" in capsys.readouterr().out
