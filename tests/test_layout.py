"""The shape of the project: each test fails with the name of what was forgotten."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "rulesproxy"
MODULES = sorted(PACKAGE.rglob("*.py"))

MODULE_LINES = 600
FUNCTION_LINES = 60

TOP = {
    "CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "examples", "grammar", "rules", "rulesproxy", "tests",
}  # fmt: skip

# Paths of one machine, and how a change came about: neither is anybody's business later.
UNWANTED = re.compile(
    r"(?<![\w.:])/(?:work|farm|tmp|root|home|Users)/[A-Za-z]" r"|\bsubagent\b|\bissue #[0-9]+|\bXXX\b|\bFIXME\b", re.I
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def files() -> tuple[Path, ...]:
    """What belongs to the project: what git keeps or would keep; everything, where this is no checkout."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return tuple(
            path for path in ROOT.rglob("*") if path.is_file() and not {".venv", "__pycache__"} & set(path.parts)
        )
    paths = (ROOT / name for name in listed.stdout.decode().split("\0") if name)
    return tuple(path for path in paths if path.is_file())


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def test_every_module_says_what_it_knows() -> None:
    def silent(path: Path) -> bool:
        return bool(path.read_text("utf-8").strip()) and not ast.get_docstring(tree(path))

    assert [name_of(path) for path in MODULES if silent(path)] == []


def test_modules_are_short() -> None:
    lengths = {name_of(path): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > MODULE_LINES} == {}


def test_functions_are_short() -> None:
    found = {
        f"{name_of(path)}:{node.lineno} {node.name}": length
        for path in [*MODULES, *(ROOT / "examples").rglob("*.py")]
        for node in functions(path)
        if node.end_lineno and (length := node.end_lineno - node.lineno + 1) > FUNCTION_LINES
    }
    assert found == {}


def test_the_top_level_is_fixed() -> None:
    top = {path.relative_to(ROOT).parts[0] for path in files()}
    assert {name for name in top if not name.startswith(".")} - TOP == set()
    assert {"LICENSE", "README.md", "CHANGELOG.md"} - top == set()


def test_nothing_of_a_machine_is_left_behind() -> None:
    found = []
    for path in files():
        if path == Path(__file__):
            continue
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if UNWANTED.search(line):
                found.append(f"{name_of(path)}:{number}: {line.strip()[:100]}")
    assert found == []


@pytest.mark.parametrize("text", ["see /home/ann/x", "'/tmp/rules.yaml'", "subagent", "issue #12", "# FIXME: later"])
def test_what_is_unwanted(text: str) -> None:
    assert UNWANTED.search(text)


@pytest.mark.parametrize("text", ["https://a.test/home/x", "redirect: /home", "path under /root", "a/tmp/b"])
def test_what_is_not_unwanted(text: str) -> None:
    assert not UNWANTED.search(text)


def test_every_action_is_registered() -> None:
    from rulesproxy.rules.actions import ACTIONS

    registered = {action.__module__ for action in ACTIONS.values()}
    written = {f"rulesproxy.rules.actions.{path.stem}" for path in (PACKAGE / "rules" / "actions").glob("[!_]*.py")}
    assert written - registered == set()
    assert [action.key for action in ACTIONS.values() if not action.examples] == []
    assert [action.key for action in ACTIONS.values() if not action.__doc__] == []
    assert [name for name, action in ACTIONS.items() if name != action.key] == []


def test_every_event_is_documented() -> None:
    from rulesproxy.events import EVENTS

    assert [name for name, event in EVENTS.items() if not event.doc.endswith(".")] == []


def test_every_command_is_registered() -> None:
    from rulesproxy.cli import _parser

    # `try` is a word of Python, and no module can have its name.
    written = {path.stem.rstrip("_") for path in (PACKAGE / "cli").glob("[!_]*.py")}
    commands = next(action.choices for action in _parser()._actions if isinstance(action.choices, dict))
    assert written == set(commands)


def test_every_diagnostic_is_in_the_registry() -> None:
    from rulesproxy.diagnostics.codes import CODES

    used = {
        node.value
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"RP\d{3}", node.value)
    }
    assert sorted(used - set(CODES)) == []


def test_no_diagnostic_code_is_registered_twice() -> None:
    from rulesproxy.diagnostics.codes import CODES

    rows = re.findall(r"^## (RP\d{3}) ", (PACKAGE / "diagnostics" / "codes.md").read_text("utf-8"), re.M)
    assert [code for code, count in Counter(rows).items() if count > 1] == []
    assert rows == list(CODES)


def test_every_test_folder_mirrors_a_package() -> None:
    """Tests of `rulesproxy/x/` are in `tests/x/`; the others are about the whole."""
    others = {"wire", "conformance", "faults", "benchmarks", "e2e", "support", "fuzz"}
    parts = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    folders = {path.relative_to(ROOT / "tests").parts[0] for path in files() if path.is_relative_to(ROOT / "tests")}
    assert {name for name in folders if not name.endswith((".py", ".md"))} - parts - others == set()
