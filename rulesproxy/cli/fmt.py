"""`rulesproxy fmt`: rule files in one layout. What they say does not change."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from rulesproxy.diagnostics import DiagnosticError, Source, render

DONE, WOULD_CHANGE, NO_FILE = 0, 1, 2


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "fmt",
        help="give rule files one layout",
        description="Give rule files one layout: indentation, blanks and quotes. Comments and the order of keys stay."
        " A file that is no good YAML is left alone. Exit status: 0 good, 1 mistakes, or with --check files that"
        " would change, 2 no file or wrong usage.",
    )
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="rule files, folders, or - for standard input (default: those of `run`)",
    )
    parser.add_argument("--check", action="store_true", help="write nothing, and say which files would change")
    parser.add_argument("--diff", action="store_true", help="write nothing, and show what would change")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Lay the files out; the exit code."""
    from rulesproxy.cli import fail
    from rulesproxy.rules.files.discover import find_rule_files

    if "-" in args.files:
        if args.files != ["-"]:
            return fail("standard input stands alone: name it without other files", NO_FILE)
        return _standard_input(args)
    found = find_rule_files(args.files, os.environ, Path.cwd())
    if not found.paths:
        return fail("no rule file: name one, or create rules.yaml here", NO_FILE)
    code = DONE
    for path in found.paths:
        if not path.exists():
            return fail(f"no such file: {path}", NO_FILE)
        files = list(_files(path))
        if not files:
            return fail(f"the folder {path} has no rule files", NO_FILE)
        for file in files:
            code = max(code, _file(file, args))
    return code


def _files(path: Path) -> Iterator[Path]:
    from rulesproxy.rules.files.closure import ENDINGS

    if path.is_dir():
        yield from sorted(entry for entry in path.iterdir() if entry.suffix in ENDINGS and entry.is_file())
    else:
        yield path


def _file(path: Path, args: argparse.Namespace) -> int:
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        words = getattr(error, "strerror", None) or "it is not UTF-8"
        print(f"rulesproxy: cannot read {path}: {words.lower()}", file=sys.stderr)
        return WOULD_CHANGE
    made = _formatted(Source(str(path), text))
    if made is None:
        return WOULD_CHANGE
    if made == text:
        return DONE
    if args.diff:
        _print_diff(str(path), text, made)
    elif args.check:
        print(f"would change {path}")
    if args.check or args.diff:
        return WOULD_CHANGE if args.check else DONE
    try:
        _replace(path, made)
    except OSError as error:
        print(f"rulesproxy: cannot write {path}: {(error.strerror or str(error)).lower()}", file=sys.stderr)
        return WOULD_CHANGE
    print(f"changed {path}")
    return DONE


def _standard_input(args: argparse.Namespace) -> int:
    text = sys.stdin.buffer.read().decode("utf-8", "replace")
    made = _formatted(Source("<stdin>", text))
    if made is None:
        return WOULD_CHANGE
    if args.diff:
        _print_diff("<stdin>", text, made)
    elif not args.check:
        sys.stdout.write(made)
    return WOULD_CHANGE if args.check and made != text else DONE


def _formatted(source: Source) -> str | None:
    """The text in the one layout; None after its mistakes were shown."""
    from rulesproxy.rules.files.fmt import FormatError, format_text

    try:
        return format_text(source)
    except DiagnosticError as error:
        for diagnostic in error.diagnostics:
            print(render(diagnostic) + "\n", file=sys.stderr)
    except FormatError as error:
        print(f"rulesproxy: {source.path} is left as it is: {error}", file=sys.stderr)
    return None


def _print_diff(name: str, before: str, after: str) -> None:
    from difflib import unified_diff

    lines = unified_diff(before.splitlines(True), after.splitlines(True), name, f"{name} (formatted)")
    for line in lines:
        sys.stdout.write(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")


def _replace(path: Path, text: str) -> None:
    """Put another text into a file at once, so that a proxy that watches it never reads half of it."""
    # A link stays one: the file that it leads to is replaced.
    target = Path(os.path.realpath(path))
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        draft.write_bytes(text.encode("utf-8"))
        draft.chmod(target.stat().st_mode & 0o7777)
        draft.replace(target)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
