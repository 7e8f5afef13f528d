"""The command line: one file per command, each with `register(subparsers)` and `run(args) -> exit code`.

Only the command that is run imports what it needs: `--help` must not wait for a parser or for TLS.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

USAGE = 2
"""The exit code for wrong usage, and for files that are not there."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` names; its exit code."""
    given = sys.argv[1:] if argv is None else argv
    args = _parser(given[0] if given else None).parse_args(given)
    try:
        code: int = args.run(args)
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain at exit while flushing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130
    return code


def fail(message: str, code: int = USAGE) -> int:
    """Say why nothing was done, on standard error; the exit code."""
    print(f"rulesproxy: {message}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """Files may stand before and behind options: by itself argparse takes only those that stand together."""
        namespace, rest = super().parse_known_args(args, namespace)
        action = next((each for each in self._get_positional_actions() if each.nargs in ("*", "+")), None)
        if action is not None and rest and not any(word.startswith("-") for word in rest):
            getattr(namespace, action.dest).extend(rest)
            rest = []
        return namespace, rest

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"rulesproxy: {message}\n(see `{self.prog} --help`)\n")


_COMMANDS = (
    "run", "init", "check", "test", "try", "explain", "fmt", "packs", "config", "ctl", "ca", "schema", "completion",
)  # fmt: skip


def _parser(named: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands; where `named` is one of them, of that one alone."""
    from rulesproxy import __version__

    parser = _Parser(
        prog="rulesproxy",
        description="An intercepting HTTP(S) proxy that you program by writing rules in YAML.",
        epilog="Start with `rulesproxy run rules.yaml`, and send `curl -x http://127.0.0.1:8080 http://example.com/`.",
    )
    parser.add_argument("--version", action="version", version=f"rulesproxy {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name in (named,) if named in _COMMANDS else _COMMANDS:
        # `try` is a keyword, so its module cannot be called that.
        module = import_module(f"rulesproxy.cli.{'try_' if name == 'try' else name}")
        module.register(commands)
    return parser
