"""Which files a command takes: all commands agree on what is not there, and on standard input."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rulesproxy.cli import main

GOOD = "version: 1\nrules:\n  - id: one\n    match: ~all\n    map-local: mocks/a.json\n"
COMMANDS = [
    ["run", "--listen", "127.0.0.1:0", "FILE"], ["check", "FILE"], ["test", "FILE"], ["fmt", "--check", "FILE"],
    ["try", "-f", "FILE", "GET http://a.test/"], ["try", "--against", "FILE", "GET http://a.test/"],
    ["explain", "-f", "FILE", "one"], ["explain", "-f", "FILE", "GET http://a.test/"],
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RULESPROXY_RULES", raising=False)
    for name, text in (("rules.yaml", GOOD), ("mocks/a.json", "{}"), ("folder/readme.txt", "")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS, ids=[" ".join(command) for command in COMMANDS])
@pytest.mark.parametrize("name", ["gone.yaml", "gone/rules.yaml", "pack:gone", "folder"])
def test_what_is_not_there_is_wrong_usage(
    folder: Path, capsys: pytest.CaptureFixture[str], command: list[str], name: str
) -> None:
    code = main([name if word == "FILE" else word for word in command])
    out, err = capsys.readouterr()
    assert (code, name.removeprefix("pack:") in out + err) == (2, True)


@pytest.mark.parametrize("command", COMMANDS[1:4], ids=[command[0] for command in COMMANDS[1:4]])
def test_a_file_that_an_include_names_is_a_mistake_in_the_rules(folder: Path, command: list[str]) -> None:
    (folder / "main.yaml").write_text("version: 1\nrules:\n  - include: gone.yaml\n")
    assert main(["main.yaml" if word == "FILE" else word for word in command]) == (0 if "fmt" in command else 1)


STDIN = [
    (GOOD.encode(), 0, "in the request pass: one"),
    (GOOD.replace("mocks/a", "mocks/b").encode(), 1, "--> <stdin>:5:16"),
    (b"version: 1\nrules:\n  - include: rules.yaml\n", 0, "1 rule\n"),
    (b"\xff", 1, "byte 0xFF is not UTF-8"),
    (b"", 1, "1 error in 1 file"),
    (b"#" * 5_000_000, 1, "this file is over 1 MiB"),
]


@pytest.mark.parametrize(("data", "code", "shown"), STDIN)
def test_check_reads_standard_input(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    data: bytes,
    code: int,
    shown: str,
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    assert main(["check", "-"]) == code
    assert shown in capsys.readouterr().out


@pytest.mark.parametrize("command", ["check", "fmt"])
def test_standard_input_stands_alone(folder: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main([command, "rules.yaml", "-"]) == 2
    assert "standard input stands alone" in capsys.readouterr().err
