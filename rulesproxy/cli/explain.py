"""`rulesproxy explain CODE`: the page of a diagnostic."""

from __future__ import annotations

import argparse


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "explain", help="say what a diagnostic means", description="Say what a diagnostic of `check` means."
    )
    parser.add_argument("code", metavar="CODE", help="such as RP301")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the page; 1 where there is no such code."""
    from rulesproxy.cli import fail
    from rulesproxy.diagnostics import suggest
    from rulesproxy.diagnostics.codes import CODES

    code = CODES.get(args.code.upper())
    if code is None:
        near = suggest(args.code.upper(), CODES)
        return fail(f"there is no diagnostic {args.code!r}{f': did you mean {near}?' if near else ''}", 1)
    print(code.page())
    return 0
