"""`rulesproxy fmt`: what is written, what is said, and the exit status."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from rulesproxy.cli import main

UGLY = "version:   1\nrules:\n- match: '~all'  # everything\n  block:\n"
NICE = 'version: 1\nrules:\n  - match: "~all"  # everything\n    block:\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RULESPROXY_RULES", raising=False)
    (tmp_path / "rules.yaml").write_text(UGLY)
    (tmp_path / "nice.yaml").write_text(NICE)
    return tmp_path


def test_it_changes_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fmt"]) == 0
    assert capsys.readouterr().out.endswith("rules.yaml\n")
    assert (folder / "rules.yaml").read_text() == NICE
    assert main(["fmt", "rules.yaml", "nice.yaml"]) == 0
    assert capsys.readouterr().out == ""
    assert sorted(entry.name for entry in folder.iterdir()) == ["nice.yaml", "rules.yaml"]


def test_a_folder_means_its_rule_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fmt", "--check", "."]) == 1
    assert capsys.readouterr().out == "would change rules.yaml\n"
    assert (folder / "rules.yaml").read_text() == UGLY


def test_diff_shows_and_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fmt", "--diff", "rules.yaml"]) == 0
    out = capsys.readouterr().out
    assert "-version:   1\n+version: 1\n" in out
    assert (folder / "rules.yaml").read_text() == UGLY
    assert main(["fmt", "--diff", "--check", "rules.yaml"]) == 1


def test_mode_and_links_stay(folder: Path) -> None:
    (folder / "real").mkdir()
    real = folder / "real" / "r.yaml"
    real.write_text(UGLY)
    real.chmod(0o640)
    (folder / "link.yaml").symlink_to("real/r.yaml")
    assert main(["fmt", "link.yaml"]) == 0
    assert (folder / "link.yaml").is_symlink()
    assert real.read_text() == NICE
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert os.listdir(folder / "real") == ["r.yaml"]


def test_bad_yaml_is_left_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.yaml").write_text("\n\nversion: 1\nrules: [1\n")
    assert main(["fmt", "bad.yaml", "rules.yaml"]) == 1
    out, err = capsys.readouterr()
    assert "error[RP004]" in err
    assert "bad.yaml:4:" in err
    assert out == "changed rules.yaml\n"
    assert (folder / "bad.yaml").read_text() == "\n\nversion: 1\nrules: [1\n"


def test_what_cannot_be_written_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    assert main(["fmt", "rules.yaml"]) == 1
    assert "cannot write rules.yaml: permission denied" in capsys.readouterr().err
    assert (folder / "rules.yaml").read_text() == UGLY
    assert sorted(entry.name for entry in folder.iterdir()) == ["nice.yaml", "rules.yaml"]


@pytest.mark.parametrize(
    ("args", "text", "code", "out"),
    [
        (["-"], UGLY, 0, NICE),
        (["-"], NICE, 0, NICE),
        (["-", "--check"], UGLY, 1, ""),
        (["-", "--check"], NICE, 0, ""),
        (["-"], "a: [", 1, ""),
    ],
)
def test_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: list[str], text: str, code: int, out: str
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    assert main(["fmt", *args]) == code
    assert capsys.readouterr().out == out


def test_wrong_usage(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fmt", "-", "rules.yaml"]) == 2
    assert main(["fmt", "missing.yaml"]) == 2
    (folder / "rules.yaml").unlink()
    assert main(["fmt"]) == 2
    assert "no rule file" in capsys.readouterr().err
