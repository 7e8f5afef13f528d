"""`rulesproxy schema`: the JSON Schema of rule files, for editors."""

from __future__ import annotations

import argparse


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "schema",
        help="print the JSON Schema of rule files, for editors",
        description="Print the JSON Schema (draft 7) of rule files. An editor with yaml-language-server completes and"
        " checks a file whose first line is `# yaml-language-server: $schema=` and the path of the schema.",
    )
    parser.add_argument("--path", action="store_true", help="print where the schema is on this machine")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the schema, or its path; the exit code."""
    from rulesproxy.resources import grammar

    path = grammar("rules.schema.json")
    print(path if args.path else path.read_text("utf-8"), end="\n" if args.path else "")
    return 0
