"""Every example runs, and shows what it promises."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if path.is_dir() and any(path.iterdir()))

pytestmark = pytest.mark.e2e


def test_every_example_can_be_run() -> None:
    assert EXAMPLES
    assert [path.name for path in EXAMPLES if not os.access(path / "run.sh", os.X_OK)] == []


@pytest.fixture
def tree() -> dict[Path, float]:
    return {path: path.stat().st_mtime for path in (ROOT / "examples").rglob("*") if "__pycache__" not in path.parts}


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda path: path.name)
def test_example(folder: Path, tree: dict[Path, float]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    # A proxy in the environment would otherwise be asked for the example's own hosts.
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    run = subprocess.run(
        ["sh", str(folder / "run.sh")],
        cwd=ROOT, env=env | {"PYTHON": sys.executable}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    for text in SHOWN[folder.name]:
        assert text in run.stdout, f"{text}\n\nis not in\n\n{run.stdout}"
    now = {path: path.stat().st_mtime for path in (ROOT / "examples").rglob("*") if "__pycache__" not in path.parts}
    assert now == tree, "an example changes its own files"


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
