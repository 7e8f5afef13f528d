"""Every mistake gets the message it deserves: bad files, and beside each the exact output of `rulesproxy check`.

After a change of wording run this file as a program with `--bless`, and read the difference.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rulesproxy.cli.check import check_project
from rulesproxy.diagnostics import Diagnostic, render
from rulesproxy.diagnostics.codes import CODES
from rulesproxy.rules.files.top import PROJECT_FILE
from rulesproxy.rules.lints import diagnose
from rulesproxy.rules.load import load_files
from rulesproxy.rules.shared import check_shared

HERE = Path(__file__).parent
FILES = sorted([*HERE.glob("*.yaml"), *HERE.glob(f"*/{PROJECT_FILE}")])

NOT_SHOWN_HERE = frozenset({"RP902", "RP910", "RP920"})
"""Codes without a file of their own."""


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    before, token = Path.cwd(), os.environ.get("SHOP_TOKEN")
    os.chdir(folder)
    # One mistake is about a variable that is set and empty.
    os.environ["SHOP_TOKEN"] = ""
    try:
        yield
    finally:
        os.chdir(before)
        del os.environ["SHOP_TOKEN"]
        if token is not None:
            os.environ["SHOP_TOKEN"] = token


def name_of(file: Path) -> str:
    """What a file is about: its name, or its folder's where it has to be called as it is."""
    return file.parent.name if file.name == PROJECT_FILE else file.stem


def found_in(file: Path) -> list[Diagnostic]:
    """What `check` finds; where it is about workers, what it finds for two of them."""
    with inside(file.parent):
        if file.name == PROJECT_FILE:
            return list(check_project(Path(file.name)))
        loaded = load_files([Path(file.name)])
        return [*diagnose(loaded), *check_shared(loaded.rules, 2 if file.name.startswith("RP85") else 1)]


def output(file: Path) -> str:
    found = found_in(file)
    return "\n\n".join(render(diagnostic) for diagnostic in found) + "\n"


@pytest.mark.parametrize("file", FILES, ids=map(name_of, FILES))
def test_the_message_is_the_agreed_one(file: Path) -> None:
    shown = output(file)
    assert shown == file.with_suffix(".txt").read_text(encoding="utf-8")
    assert f"[{name_of(file).partition('-')[0]}]" in shown


def test_every_code_is_shown() -> None:
    shown = {name_of(file).partition("-")[0] for file in FILES}
    assert set(CODES) - NOT_SHOWN_HERE - shown == set()
    assert shown <= set(CODES)


@pytest.mark.parametrize("file", FILES, ids=map(name_of, FILES))
def test_every_diagnostic_is_complete(file: Path) -> None:
    found = found_in(file)
    assert found
    for diagnostic in found:
        assert diagnostic.code in CODES
        assert diagnostic.span is not None
        assert not diagnostic.title.endswith(".")
        assert "\n" not in diagnostic.title + diagnostic.help
        assert diagnostic.title[0] == diagnostic.title[0].lower() or diagnostic.title.startswith(("YAML", "U+"))


if __name__ == "__main__" and "--bless" in sys.argv:
    for each in FILES:
        each.with_suffix(".txt").write_text(output(each), encoding="utf-8")
