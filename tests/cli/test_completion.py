"""`rulesproxy completion`: real shells read the scripts, and bash completes with its own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from rulesproxy.cli import _parser, main
from rulesproxy.cli.completion import SHELLS, commands_of


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> str:
    assert main(["completion", request.param]) == 0
    return capsys.readouterr().out


def complete(script: str, *words: str, folder: Path) -> list[str]:
    """What bash offers for the last of the words."""
    line = " ".join(f"'{word}'" for word in words)
    program = f"{script}\nCOMP_WORDS=({line})\nCOMP_CWORD={len(words) - 1}\n_rulesproxy\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
    done = subprocess.run(["bash", "--norc", "-c", program], capture_output=True, text=True, cwd=folder, timeout=20)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash(script: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("")

    def offered(*words: str) -> list[str]:
        return complete(script, "rulesproxy", *words, folder=tmp_path)

    assert offered("che") == ["check"]
    assert {"run", "check", "fmt", "--version"} <= set(offered(""))
    assert offered("check", "--str") == ["--strict"]
    assert offered("run", "--intercept", "a") == ["auto", "all"]
    assert offered("check", "--output-format", "s") == ["sarif"]
    assert offered("check", "ru") == ["rules.yaml"]
    assert offered("run", "--addon", "ru") == ["rules.yaml"]
    assert offered("completion", "f") == ["fish"]
    assert "show" in offered("ca", "")


@pytest.mark.parametrize("script", SHELLS, indirect=True)
def test_every_command_and_flag_is_in_it(script: str) -> None:
    for command in commands_of(_parser()):
        assert command.name in script
        for flag in command.flags:
            assert all(name.lstrip("-") in script for name in flag.names)


@pytest.mark.parametrize(("script", "shell"), [(shell, shell) for shell in SHELLS], indirect=["script"])
def test_the_shell_can_read_it(script: str, shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell} here")
    file = tmp_path / "script"
    file.write_text(script)
    done = subprocess.run([program, "-n", str(file)], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
