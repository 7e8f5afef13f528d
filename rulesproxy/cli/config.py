"""`rulesproxy config`: every option, its value, and where that came from."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rulesproxy.engine.options import Described, Options

_SECRET = "auth"


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "config",
        help="show every option, its value, and where that came from",
        description="Show every option, its value, and where that came from: the project file, a variable"
        " RULESPROXY_<NAME>, --set, or the default. Options of the Python addons that the project file names are among"
        " them: these addons are loaded and ended again. Exit status: 0, 1 bad values or addons, 2 wrong usage.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="options, or the beginning of their names")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="set an option, as for `run` (may be repeated)"
    )
    parser.add_argument("--changed", action="store_true", help="only options that are not as by default")
    parser.add_argument("-v", "--verbose", action="store_true", help="what each of them means, too")
    parser.add_argument("--output-format", choices=("text", "json"), default="text", help="(default: text)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the options; the exit code."""
    import asyncio
    import sys

    from rulesproxy.cli import fail
    from rulesproxy.diagnostics import render
    from rulesproxy.engine.option import OptionsError
    from rulesproxy.engine.options import Options
    from rulesproxy.options import declare_options
    from rulesproxy.rules.files.discover import find_rule_files
    from rulesproxy.rules.files.project import RULES, look_at_project
    from rulesproxy.rules.load import RulesError

    found = find_rule_files((), os.environ, Path.cwd())
    options = Options()
    declare_options(options)
    addons: tuple[str, ...] = ()
    problems: list[str] = []
    try:
        if found.project is not None:
            project, mistaken = look_at_project(found.project)
            missing = () if mistaken is None else tuple(map(str, mistaken.watch))
            addons = tuple(path for path in project.addons if path not in (RULES, *missing))
            problems += [] if mistaken is None else [render(each) for each in mistaken.diagnostics]
            project.set_options(options)
        options.set_environment(os.environ, later=True)
        options.set_texts(args.set, later=True)
    except RulesError as error:
        for diagnostic in error.diagnostics:
            print(render(diagnostic) + "\n", file=sys.stderr)
        return 1
    except OptionsError as error:
        return fail(str(error), 1)
    owners, failed = asyncio.run(_add_options(addons, options)) if addons else ({}, [])
    problems += [f"rulesproxy: {each}" for each in failed]
    for problem in problems:
        print(problem, file=sys.stderr)
    wanted = tuple(name.lower().replace("-", "_").replace(".", "_") for name in args.names)
    rows = [row for row in options.describe() if not wanted or row.name.startswith(wanted)]
    if wanted and not rows and not problems:
        return fail(f"no option begins with {' or '.join(f'`{name}`' for name in wanted)}")
    rows = [row for row in rows if not args.changed or row.source != "default"]
    if args.output_format == "json":
        print(json.dumps([{**_data(row), "addon": owners.get(row.name)} for row in rows], indent=2))
    else:
        for line in _lines(rows, args.verbose, owners):
            print(line)
    return 1 if problems else 0


async def _add_options(paths: Sequence[str], options: Options) -> tuple[dict[str, str], list[str]]:
    """Have addons declare their options, as at the start of a proxy, and end them again.

    The result is the addon of each option, and what is wrong with those that cannot be loaded.
    """
    from rulesproxy.engine import context
    from rulesproxy.engine.bind import AddonError
    from rulesproxy.engine.lifecycle import Node
    from rulesproxy.engine.manager import Engine
    from rulesproxy.engine.option import OptionsError
    from rulesproxy.engine.script import ScriptError, load_script

    engine = Engine(options)
    owners: dict[str, str] = {}
    problems: list[str] = []
    seen: dict[int, object] = {}
    nodes: list[tuple[Node, str]] = []
    with context.inside(engine):
        for path in paths:
            try:
                nodes.append((Node(load_script(path)), Path(path).name))
                nodes[-1][0].begin(options, engine.commands, seen)
            except (ScriptError, AddonError, OptionsError) as error:
                problems.append(str(error))
        for node, name in reversed(nodes):
            for part in node.walk():
                owners.update(dict.fromkeys(part.options, name))
                await part.end()
    return owners, problems


def _lines(rows: list[Described], verbose: bool, owners: Mapping[str, str]) -> list[str]:
    width = max([len(row.name) for row in rows], default=0)
    values = [_shown(row) for row in rows]
    room = min(max([len(value) for value in values], default=0), 40)
    lines = []
    for row, value in zip(rows, values, strict=True):
        lines.append(f"{row.name:<{width}}  {value:<{room}}  {row.source}".rstrip())
        if verbose:
            owner = f"; of {owners[row.name]}" if row.name in owners else ""
            choices = f": {', '.join(row.choices)}" if row.choices else ""
            lines.append(
                f"    {row.help or 'no description'} ({row.type}{choices}; default {_text(row.default)}{owner})"
            )
    return lines


def _data(row: Described) -> dict[str, object]:
    value = "***" if row.name == _SECRET and row.value else row.value
    return {
        "name": row.name, "value": value, "source": row.source, "default": row.default, "type": row.type,
        "choices": row.choices, "help": row.help,
    }  # fmt: skip


def _shown(row: Described) -> str:
    return "***" if row.name == _SECRET and row.value else _text(row.value)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value in (None, "") else str(value)
