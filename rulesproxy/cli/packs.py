"""`rulesproxy packs`: the rule files that come with the program, and what is in them."""

from __future__ import annotations

import argparse


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "packs",
        help="list the ready-made rule files, or print one",
        description="List the rule files that come with rulesproxy, or print one of them, as a file to begin with. They"
        " are used by name: `rulesproxy run pack:cors`, or `include: pack:cors` in a rule file. Exit status: 0 good,"
        " 2 no such pack.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="the pack to print")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """List the packs, or print one; the result is the exit status."""
    import textwrap

    from rulesproxy.cli import fail
    from rulesproxy.resources import packs
    from rulesproxy.rules.files.packs import pack, summary

    if args.name is not None:
        try:
            print(pack(args.name).read_text(encoding="utf-8"), end="")
        except FileNotFoundError as error:
            return fail(f"there is no pack {args.name}: {error}")
        return 0
    width = max(map(len, packs())) + len("pack:")
    for name, path in packs().items():
        text = summary(path.read_text(encoding="utf-8"))
        first, *rest = textwrap.wrap(text, 100 - width)
        print(f"{f'pack:{name}':{width}}  {first}")
        for line in rest:
            print(f"{'':{width}}  {line}")
    return 0
