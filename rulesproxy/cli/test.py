"""`rulesproxy test`: runs the tests that stand in rule files, without a network."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rulesproxy.diagnostics import Diagnostic, render, render_concise

if TYPE_CHECKING:
    from rulesproxy.rules.dry.cases import Case
    from rulesproxy.rules.dry.judge import Gap, Verdict
    from rulesproxy.rules.model import Loaded

FORMATS = ("full", "concise", "json", "github", "sarif")
NO_TESTS = 4
"""The exit code where there is nothing to run."""
_NAMES = 8
"""Names in one line of the summary; more are counted."""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "test",
        help="run the tests in rule files, without a network",
        description="Run the `tests:` of rule files. Nothing is sent and no port is opened. Exit status: 0 passed,"
        " 1 failed, or mistakes in the rules, 2 no file or wrong usage, 4 no tests.",
    )
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help="rule files, folders and pack:NAME (default: as `run`)")
    add("--profile", action="append", default=[], metavar="NAME", help="switch a profile on (may be repeated)")
    add("-k", action="append", default=[], metavar="TEXT", dest="chosen",
        help="only tests with this text in their name, in any case (may be repeated)")  # fmt: skip
    add("-v", "--verbose", action="store_true", help="a line for every test, also for those that pass")
    add("--strict", action="store_true", help="fail where a rule has no test that it matches, or none that it does not")
    add("--junit", type=Path, metavar="FILE", help="write the results as JUnit XML too")
    add("--output-format", choices=FORMATS, default="full", help="how failures are printed (default: full)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the tests; results go to stdout. The result is the exit status."""
    from rulesproxy.cli import USAGE, fail
    from rulesproxy.cli._flows import heard
    from rulesproxy.cli._junit import to_junit
    from rulesproxy.engine.secrets import hide
    from rulesproxy.rules.dry.judge import coverage
    from rulesproxy.rules.files.discover import find_rule_files
    from rulesproxy.rules.load import is_absent, load_files

    found = find_rule_files(args.files, os.environ, Path.cwd())
    if not found.paths:
        return fail("no rule file: name one, or create rules.yaml here", USAGE)
    loaded = load_files(found.paths, profiles=args.profile)
    if not loaded.ok:
        _report([each for each in loaded.diagnostics if each.severity == "error"], args.output_format, loaded)
        return USAGE if is_absent(loaded.diagnostics) else 1
    hide(loaded.secrets)
    cases = _chosen(loaded.tests, args.chosen)
    if not cases:
        return fail(_no_tests(loaded, args.chosen), NO_TESTS)
    started = time.perf_counter()
    with heard():
        verdicts, broken = _judge(loaded, cases, found.paths, args.profile)
    seconds = time.perf_counter() - started
    gaps = coverage(loaded.rules, verdicts) if not args.chosen else []
    warnings = [gap.diagnostic() for gap in gaps]
    failures = [*broken, *[failure for verdict in verdicts for failure in verdict.failures]]
    if args.junit is not None:
        try:
            args.junit.write_text(to_junit(verdicts, seconds), encoding="utf-8")
        except OSError as error:
            return fail(f"cannot write {args.junit}: {error.strerror or error}", USAGE)
    failed = bool(failures) or (args.strict and bool(gaps))
    if args.output_format == "json":
        print(json.dumps(_as_json(verdicts, [*failures, *warnings], failed), indent=2))
    elif args.output_format in ("github", "sarif"):
        _report([*failures, *warnings], args.output_format, loaded)
    else:
        if args.verbose:
            _print_each(verdicts)
        _report(failures, args.output_format, loaded)
    if args.output_format in ("full", "concise"):
        _summarize(verdicts, gaps, seconds, len(broken))
    return 1 if failed else 0


def _judge(
    loaded: Loaded, cases: Sequence[Case], paths: Sequence[Path], profiles: Sequence[str]
) -> tuple[list[Verdict], list[Diagnostic]]:
    """The verdicts in the order of the tests, and what is wrong with rules under the profiles of some tests."""
    from rulesproxy.rules.dry.dry_run import DryRun
    from rulesproxy.rules.dry.judge import judge
    from rulesproxy.rules.load import load_files

    sets: dict[object, DryRun | None] = {((), ()): DryRun(loaded.rules)}
    verdicts: list[Verdict] = []
    broken: list[Diagnostic] = []
    for case in cases:
        # The rules are loaded once for all tests that want them alike.
        key = (case.profiles, tuple(sorted(case.variables.items())))
        if key not in sets:
            other = load_files(paths, profiles=(*profiles, *case.profiles), vars=case.variables)
            broken += [each for each in other.diagnostics if each.severity == "error"]
            sets[key] = DryRun(other.rules) if other.ok else None
        dry = sets[key]
        if dry is not None:
            verdicts.append(judge(case, dry))
    return verdicts, broken


def _chosen(cases: Sequence[Case], texts: Sequence[str]) -> list[Case]:
    wanted = [text.lower() for text in texts]
    return [case for case in cases if not wanted or any(text in case.name.lower() for text in wanted)]


def _no_tests(loaded: Loaded, texts: Sequence[str]) -> str:
    if loaded.tests:
        return f"no test has {' or '.join(repr(text) for text in texts)} in its name"
    return f"there are no tests in {', '.join(str(path) for path in loaded.files)}: write them under `tests:`"


def _report(diagnostics: Sequence[Diagnostic], output_format: str, loaded: Loaded) -> None:
    from rulesproxy import __version__
    from rulesproxy.diagnostics import machine

    if output_format == "json":
        found = [machine.to_json(each) for each in diagnostics]
        print(json.dumps({"ok": not found, "tests": [], "diagnostics": found}, indent=2))
    elif output_format == "sarif":
        print(json.dumps(machine.to_sarif(diagnostics, __version__), indent=2))
    elif output_format == "github":
        for line in machine.to_github(diagnostics):
            print(line)
    else:
        from rulesproxy.cli._paint import Paint

        paint = Paint()
        for each in diagnostics:
            first, newline, rest = (render if output_format == "full" else render_concise)(each).partition("\n")
            print(f"{paint('bad', first)}{newline}{rest}" + ("\n" if output_format == "full" else ""))


def _print_each(verdicts: Sequence[Verdict]) -> None:
    from rulesproxy.cli._paint import Paint

    paint = Paint()
    for verdict in verdicts:
        mark = paint("good", "passed") if verdict.passed else paint("bad", "failed")
        print(f"{mark}  {verdict.case.name}")
    print()


def _summarize(verdicts: Sequence[Verdict], gaps: Sequence[Gap], seconds: float, broken: int) -> None:
    from rulesproxy.cli._paint import Paint

    paint = Paint()
    failed = sum(not verdict.passed for verdict in verdicts)
    number = f"{len(verdicts)} test{'' if len(verdicts) == 1 else 's'}"
    if failed or broken:
        outcome = paint("bad", f"{failed} of {number} failed")
    else:
        outcome = paint("good", f"{number} passed")
    print(f"{outcome} in {seconds:.2f} s")
    for matched in (False, True):
        for unit in dict.fromkeys([gap.unit for gap in gaps]):
            names = [gap.rule.name for gap in gaps if gap.matched == matched and gap.unit == unit]
            words = f"every {unit} matches" if matched else f"no test has a {unit} that matches"
            more = len(names) - _NAMES
            if names:
                print(paint("doubt", f"{words}: {', '.join(names[:_NAMES])}{f' and {more} more' if more > 0 else ''}"))


def _as_json(verdicts: Sequence[Verdict], diagnostics: Sequence[Diagnostic], failed: bool) -> dict[str, object]:
    from rulesproxy.diagnostics.machine import to_json

    tests = [
        {
            "name": verdict.case.name,
            "path": verdict.case.span.source.path,
            "line": verdict.case.span.line,
            "passed": verdict.passed,
            "hits": [list(hits) for hits in verdict.hits],
        }
        for verdict in verdicts
    ]
    return {"ok": not failed, "tests": tests, "diagnostics": [to_json(each) for each in diagnostics]}
