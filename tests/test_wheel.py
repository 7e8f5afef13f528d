"""What is shipped: the contents of the wheel, and that it works where only the wheel is installed.

`RULESPROXY_WHEEL` names a wheel that has been built. Without it one is built where the package `build` is installed.
"""

from __future__ import annotations

import email
import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GIVEN = os.environ.get("RULESPROXY_WHEEL")

_build = importlib.util.find_spec("build")
if not GIVEN and (_build is None or _build.origin is None):
    pytest.skip("no wheel: name one in RULESPROXY_WHEEL, as .ci/run does, or install `build`", allow_module_level=True)


def run(*words: str | Path, cwd: Path, code: int = 0) -> str:
    """Run a command outside the source tree; its standard output."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd, env=env | {"RULESPROXY_HOME": str(cwd / "home")}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if GIVEN:
        return Path(GIVEN)
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment in which the wheel is installed."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    run(folder / "venv" / "bin" / "pip", "install", "-q", wheel, cwd=folder)
    return folder / "venv" / "bin"


def test_everything_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        str(path.relative_to(ROOT)) for path in (ROOT / "rulesproxy").rglob("*.py") if "__pycache__" not in path.parts
    }
    expected.add("rulesproxy/py.typed")
    for folder in ("grammar", "rules"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file():
                expected.add(f"rulesproxy/_{folder}/{path.relative_to(ROOT / folder)}")
    assert expected - names == set()
    foreign = {name for name in names if not name.startswith("rulesproxy/") and ".dist-info/" not in name}
    assert foreign == set()
    assert {name for name in names if name.endswith((".pyc", ".orig"))} == set()


def test_the_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        name = next(name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(file.read(name))
    from rulesproxy import __version__

    assert (metadata["Name"], metadata["Version"]) == ("rulesproxy", __version__)
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"


def test_the_installed_command(programs: Path, tmp_path: Path) -> None:
    from rulesproxy import __version__

    assert run(programs / "rulesproxy", "--version", cwd=tmp_path).strip() == f"rulesproxy {__version__}"
    assert run(programs / "python", "-m", "rulesproxy", "--version", cwd=tmp_path).endswith(f"{__version__}\n")


def test_the_installed_check(programs: Path, tmp_path: Path) -> None:
    """A rule file needs the grammar, so this fails where it was not found."""
    file = tmp_path / "rules.yaml"
    file.write_text('version: 1\nrules:\n  - id: a\n    match: host under "ads.example"\n    block:\n')
    run(programs / "rulesproxy", "check", file, cwd=tmp_path)
    file.write_text('version: 1\nrules:\n  - id: a\n    match: host undr "ads.example"\n    block:\n')
    assert "RP2" in run(programs / "rulesproxy", "check", file, cwd=tmp_path, code=1)
    assert "Rationale" in run(programs / "rulesproxy", "explain", "RP200", cwd=tmp_path)


def test_the_installed_data(programs: Path, tmp_path: Path) -> None:
    for kind in ("grammar", "rules"):
        for path in (ROOT / kind).iterdir():
            if path.is_file():
                code = f"from rulesproxy import resources; print(resources.{kind}({path.name!r}))"
                found = run(programs / "python", "-c", code, cwd=tmp_path).strip()
                assert found.endswith(f"_{kind}/{path.name}"), found
                assert Path(found).read_bytes() == path.read_bytes()


def test_the_installed_packs(programs: Path, tmp_path: Path) -> None:
    """Packs are found by name, alone and from a rule file, and their own tests pass."""
    listed = run(programs / "rulesproxy", "packs", cwd=tmp_path)
    for path in (ROOT / "rules").glob("*.yaml"):
        assert f"pack:{path.stem} " in listed
    run(programs / "rulesproxy", "test", "pack:mock-api", cwd=tmp_path)
    file = tmp_path / "rules.yaml"
    file.write_text("version: 1\nrules:\n  - include: pack:cors\n    vars:\n      host: a.test\n")
    assert "hosts decrypted: a.test" in run(programs / "rulesproxy", "check", "--strict", file, cwd=tmp_path)


def test_the_installed_types(programs: Path, tmp_path: Path) -> None:
    code = "import rulesproxy, pathlib; print(pathlib.Path(rulesproxy.__file__).with_name('py.typed').is_file())"
    assert run(programs / "python", "-c", code, cwd=tmp_path).strip() == "True"
