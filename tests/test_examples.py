"""Every example runs, and shows what it promises."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import run_command

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = sorted(path for path in (ROOT / "examples").iterdir() if path.is_dir() and (path / "rules.yaml").exists())
SCRIPTS = [path for path in FOLDERS if (path / "run.sh").exists()]
PAGES = [path for path in FOLDERS if path not in SCRIPTS]
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.M | re.S)
START = re.compile(r"^```sh\n(.*?)^```", re.M | re.S)

pytestmark = pytest.mark.e2e


def test_every_example_can_be_run() -> None:
    assert SCRIPTS
    assert len(PAGES) >= 10
    assert [path.name for path in SCRIPTS if not os.access(path / "run.sh", os.X_OK)] == []
    assert [path.name for path in PAGES if not CONSOLE.search((path / "README.md").read_text("utf-8"))] == []


@pytest.fixture
def tree() -> Iterator[None]:
    before = _times()
    yield
    assert _times() == before, "an example changes its own files"


def _times() -> dict[Path, float]:
    files = (path for path in (ROOT / "examples").rglob("*") if "__pycache__" not in path.parts)
    return {path: path.stat().st_mtime for path in files if any(path.iterdir() if path.is_dir() else [1])}


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment in which `rulesproxy` is this one."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    programs = tmp_path / "bin"
    programs.mkdir()
    command = programs / "rulesproxy"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m rulesproxy "$@"\n')
    command.chmod(0o755)
    # A proxy in the environment would otherwise be asked for the example's own hosts.
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return env | {
        "PATH": f"{programs}{os.pathsep}{env['PATH']}", "PYTHON": sys.executable, "PYTHONDONTWRITEBYTECODE": "1",
        "RULESPROXY_HOME": str(tmp_path / "home"), "API_TOKEN": "s3cr3t-t0ken",
    }  # fmt: skip


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize("folder", SCRIPTS, ids=lambda path: path.name)
def test_script(folder: Path, env: dict[str, str]) -> None:
    run = subprocess.run(
        ["sh", str(folder / "run.sh")], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    for text in SHOWN[folder.name]:
        assert text in run.stdout, f"{text}\n\nis not in\n\n{run.stdout}"


@pytest.mark.parametrize("folder", PAGES, ids=lambda path: path.name)
def test_rules(folder: Path, env: dict[str, str]) -> None:
    """The rule file is free of warnings, and its own tests pass."""
    for words in (["check", "--strict"], ["test"]):
        run = subprocess.run(
            ["rulesproxy", *words, "rules.yaml"], cwd=folder, env=env, capture_output=True, text=True, timeout=60
        )  # fmt: skip
        assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize("folder", PAGES, ids=lambda path: path.name)
async def test_page(folder: Path, env: dict[str, str]) -> None:
    """What stands in the README happens: the proxy is started as it says, and every command prints what it shows."""
    text = (folder / "README.md").read_text("utf-8")
    start = START.search(text)
    if start is None:
        await run_page(text, folder, env)
        return
    words = shlex.split(start[1])
    at = words.index("rulesproxy")
    assert words[at + 1] == "run"
    variables = dict(word.split("=", 1) for word in words[:at])
    async with run_command(*words[at + 2 :], environment=variables, folder=folder) as command:
        await run_page(text.replace("http://127.0.0.1:8080", command.url), folder, env)


async def run_page(text: str, folder: Path, env: dict[str, str]) -> None:
    """Run every command of a page, and compare what it prints."""
    for block in CONSOLE.findall(text):
        for command, expected in commands(block):
            process = await asyncio.create_subprocess_shell(
                command, cwd=folder, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            out, err = await asyncio.wait_for(process.communicate(), 60)
            printed = re.sub(r"\b\d+\.\d\d s\b", "0.00 s", out.decode()).replace("\r", "").splitlines()
            assert shown(printed, expected), f"$ {command}\n{out.decode()}{err.decode()}"


def commands(block: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of a block, each with the lines that it is said to print."""
    for piece in re.split(r"^\$ ", block, flags=re.M)[1:]:
        command, *lines = piece.splitlines()
        yield command, lines


def shown(printed: list[str], expected: list[str]) -> bool:
    """Whether just these lines were printed; with `...` at the end there may be others among them and behind them."""
    if expected[-1:] != ["..."]:
        return printed == expected
    rest = iter(printed)
    return all(line in rest for line in expected[:-1])


SHOWN = {
    "quickstart": (
        "403 Forbidden",
        "ocation: https://shop.example/new/cart?item=7",
        '"name": "Test user"',
        '"path": "/v2/users?page=2", "x-debug": "1", "cookie": null, "price": "10 USD"',
        '"path": "/v3/users", "x-debug": null, "cookie": "secret=1", "price": "10 EUR"',
        '"path": "/v2/users", "x-debug": "1", "cookie": null, "price": "10 USD"',
        " 451 ",
        "Every answer was as promised.",
    ),
}
