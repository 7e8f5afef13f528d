"""`rulesproxy check`: every diagnostic of the rule files, and what they would make the proxy do. It opens no port."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rulesproxy.cli._workers import worker_count
from rulesproxy.diagnostics import Diagnostic, render, render_concise

if TYPE_CHECKING:
    from rulesproxy.rules.model import Loaded

STDIN = "-"
FORMATS = ("full", "concise", "json", "github", "sarif")
_ORDER = ("error", "warning", "info")
SHOWN = 50
"""Diagnostics that are printed in full; who has more fixes the first ones first."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "check",
        help="check rule files without starting the proxy",
        description="Check rule files: print every mistake, or what the rules will do. Exit status: 0 good, 1 mistakes,"
        " 2 no file or wrong usage.",
    )
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="rule files, folders and pack:NAME, or - for standard input (default: as `run`)",
    )
    parser.add_argument(
        "--profile", action="append", default=[], metavar="NAME", help="switch a profile on (may be repeated)"
    )
    parser.add_argument("--strict", action="store_true", help="warnings count as errors, and every rule needs an id")
    parser.add_argument(
        "--workers", type=worker_count, default=1, metavar="N", help="check that N processes can serve by these rules"
    )
    parser.add_argument(
        "--output-format", choices=FORMATS, default="full", help="how diagnostics are printed (default: full)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check the files; diagnostics go to stdout. The result is the exit status."""
    from rulesproxy.cli import USAGE, fail
    from rulesproxy.rules.files.discover import find_rule_files
    from rulesproxy.rules.lints import diagnose
    from rulesproxy.rules.load import is_absent, load_files
    from rulesproxy.rules.shared import check_shared

    found = find_rule_files(args.files, os.environ, Path.cwd())
    if not found.paths:
        return fail("no rule file: name one, or create rules.yaml here")
    if STDIN in args.files and len(args.files) > 1:
        return fail("standard input stands alone: name it without other files")
    loaded = _standard_input(args.profile) if args.files == [STDIN] else load_files(found.paths, profiles=args.profile)
    shared = check_shared(loaded.rules, args.workers)
    loaded = replace(loaded, diagnostics=(*diagnose(loaded, args.strict), *shared))
    if found.project is not None:
        known = set(map(str, loaded.diagnostics))
        more = [each for each in check_project(found.project) if str(each) not in known]
        loaded = replace(loaded, diagnostics=(*loaded.diagnostics, *more))
    failed = any(_fails(diagnostic, args.strict) for diagnostic in loaded.diagnostics)
    if args.output_format == "json":
        _print_json(loaded, failed)
    elif args.output_format == "github":
        _print_github(loaded)
    elif args.output_format == "sarif":
        _print_sarif(loaded)
    else:
        _print_text(loaded, failed, args.output_format)
    if is_absent(loaded.diagnostics):
        return USAGE
    return 1 if failed else 0


def _standard_input(profiles: list[str]) -> Loaded:
    """What stands there, as a rule file in the working folder."""
    from rulesproxy.rules.files.compose import MAX_CHARACTERS
    from rulesproxy.rules.load import load_bytes

    # No character is longer than four bytes, and one byte more shows that there is more.
    name = "<stdin>"
    loaded = load_bytes(sys.stdin.buffer.read(4 * MAX_CHARACTERS + 1), name, profiles=profiles)
    return replace(loaded, files=(Path(name), *loaded.files))


def check_project(path: Path) -> tuple[Diagnostic, ...]:
    """What is wrong in the options and addons that a project file names."""
    from rulesproxy.engine.option import OptionsError
    from rulesproxy.engine.options import Options
    from rulesproxy.rules.files.project import read_project
    from rulesproxy.rules.load import RulesError

    try:
        project = read_project(path)
    except RulesError as error:
        return error.diagnostics
    if not project.options:
        return ()
    from rulesproxy.options import declare_options

    options = Options()
    declare_options(options)
    found: list[Diagnostic] = []
    try:
        project.set_options(options)
    except RulesError as error:
        found += error.diagnostics
    try:
        if not project.addons:
            options.check_unknown()
    except OptionsError as error:
        # An addon that is named on the command line of `run` may declare them.
        found += [replace(each, severity="warning") for each in project.explain(error)]
    return tuple(found)


def summary(diagnostics: Iterable[Diagnostic]) -> str:
    """`2 errors, 1 warning`."""
    counted = list(diagnostics)
    words = []
    for severity in _ORDER:
        number = sum(diagnostic.severity == severity for diagnostic in counted)
        if number:
            words.append(f"{number} {severity}{'s' if number > 1 and severity != 'info' else ''}")
    return ", ".join(words)


def _fails(diagnostic: Diagnostic, strict: bool) -> bool:
    return diagnostic.severity == "error" or (strict and diagnostic.severity == "warning")


def _print_text(loaded: Loaded, failed: bool, output_format: str) -> None:
    full = output_format == "full"
    shown = loaded.diagnostics
    if len(shown) > SHOWN:
        # What stops the rules must not be hidden behind what does not.
        shown = tuple(sorted(shown, key=lambda each: _ORDER.index(each.severity))[:SHOWN])
    for diagnostic in shown:
        print(render(diagnostic) + "\n" if full else render_concise(diagnostic))
    if len(loaded.diagnostics) > SHOWN:
        print(f"and {len(loaded.diagnostics) - SHOWN} more")
    if failed:
        print(f"{summary(loaded.diagnostics)}{_where(loaded)}")
        return
    print(_plan(loaded))


def _print_github(loaded: Loaded) -> None:
    from rulesproxy.diagnostics.machine import to_github

    for line in to_github(loaded.diagnostics):
        print(line)
    print(f"{summary(loaded.diagnostics) or 'good'}{_where(loaded)}")


def _print_sarif(loaded: Loaded) -> None:
    from rulesproxy import __version__
    from rulesproxy.diagnostics.machine import to_sarif

    print(json.dumps(to_sarif(loaded.diagnostics, __version__), indent=2))


def _print_json(loaded: Loaded, failed: bool) -> None:
    from rulesproxy.diagnostics.machine import to_json

    report = {
        "ok": not failed,
        "files": [str(path) for path in loaded.files],
        "rules": len(loaded.rules),
        "diagnostics": [to_json(diagnostic) for diagnostic in loaded.diagnostics],
        "plan": _plan_data(loaded) if loaded.ok else None,
    }
    print(json.dumps(report, indent=2))


def _plan(loaded: Loaded) -> str:
    from rulesproxy.rules.compile import Compiled
    from rulesproxy.rules.plan import describe_plan

    return describe_plan([Compiled(rule, number) for number, rule in enumerate(loaded.rules)])


def _plan_data(loaded: Loaded) -> dict[str, object]:
    from rulesproxy.rules.compile import Compiled
    from rulesproxy.rules.plan import make_plan

    return asdict(make_plan([Compiled(rule, number) for number, rule in enumerate(loaded.rules)]))


def _where(loaded: Loaded) -> str:
    number = len(loaded.files)
    return f" in {number} file{'' if number == 1 else 's'}" if number else ""
