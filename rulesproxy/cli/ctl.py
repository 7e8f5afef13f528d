"""`rulesproxy ctl`: asks a proxy that runs with `--control` what it does, and tells it to do something else."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from rulesproxy.control.client import Client

_HELP = """\
what to do:
  status                 the revision, the rules with their hits, errors, connections
  rules                  the rules with their hits
  reload                 load rule files and addons again
  enable RULE            switch a rule on
  disable RULE           switch a rule off, until it is switched on or the proxy ends
  check FILE …           check rule files as `rulesproxy check` does, in the proxy: with its environment, its
                         profiles and its workers (- for standard input)
  explain 'METHOD URL'   what the rules in force would do with a request
  events                 what passes, from now on
  metrics                figures in the format of Prometheus
  options                the options, with their values
  set NAME=VALUE …       change options
  commands               the commands of addons
  PATH [ARGUMENT …]      call a command of an addon
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "ctl",
        help="speak to a running proxy",
        description="Speak to a proxy that runs with --control.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", metavar="WHAT", help="what to do, see below")
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENT")
    parser.add_argument("--pid", type=int, help="the process id of the proxy, where several run")
    parser.add_argument("--json", action="store_true", help="print what the API answers, as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code: 0, 1 where the proxy refuses, 2 for wrong usage or where there is no proxy."""
    from rulesproxy.cli import USAGE, fail
    from rulesproxy.control.client import Client, NotReached, Refused
    from rulesproxy.tls.authority import state_dir

    action, least, most = _ACTIONS.get(args.what, (_command, 0, None))
    if len(args.arguments) < least or (most is not None and len(args.arguments) > most):
        return fail(f"wrong number of arguments for `ctl {args.what}` (see `rulesproxy ctl --help`)", USAGE)
    try:
        client = Client.find(state_dir(), args.pid)
        answer, show = action(client, args)
    except NotReached as error:
        return fail(str(error), USAGE)
    except Refused as error:
        if args.json:
            print(json.dumps(error.answer, indent=2))
        else:
            print(f"rulesproxy: {error}", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        return fail(str(error), USAGE)
    if answer is not None:
        print(json.dumps(answer, indent=2) if args.json and not isinstance(answer, str) else show(answer))
    return int(isinstance(answer, dict) and answer.get("ok") is False)


def _status(client: Client, args: argparse.Namespace) -> tuple[Any, Callable[[Any], str]]:
    return client.ask("GET", "/status"), _show_status


def _show_status(status: Any) -> str:
    lines = [f"revision {status['revision']}, {len(status['rules'])} rules, {status['connections']} connections"]
    lines += [f"  listens on {one['host']}:{one['port']} ({one['mode']})" for one in status["listeners"]]
    lines += [f"  {count} flows in flight under revision {revision}" for revision, count in status["in_flight"].items()]
    for part, why in status["problems"].items():
        lines.append(f"the files of the {part} have errors, what was loaded before is in force:")
        lines += [f"  {line}" for line in why.splitlines()]
    return "\n".join([*lines, _show_rules(status["rules"])])


def _rules(client: Client, args: argparse.Namespace) -> tuple[Any, Callable[[Any], str]]:
    return client.ask("GET", "/rules"), _show_rules


def _show_rules(rules: Any) -> str:
    width = max([len(str(rule["hits"])) for rule in rules], default=0)
    return "\n".join(
        [f"{rule['hits']:>{width}}  {rule['name']}{'' if rule['enabled'] else '  (off)'}" for rule in rules]
    )


def _reload(client: Client, args: argparse.Namespace) -> tuple[Any, Callable[[Any], str]]:
    from rulesproxy.control.client import Refused

    try:
        answer = client.ask("POST", "/reload")
    except Refused as error:
        if not isinstance(error.answer, dict) or "problems" not in error.answer:
            raise
        answer = error.answer
    return answer, lambda it: f"revision {it['revision']}" if it["ok"] else "\n".join(it["problems"].values())


def _enable(client: Client, args: argparse.Namespace) -> tuple[Any, Callable[[Any], str]]:
    answer = client.ask("PATCH", f"/rules/{args.arguments[0]}", {"enabled": args.what == "enable"})
    return answer, lambda it: f"{it['name']} is {'on' if it['enabled'] else 'off'} (revision {it['revision']})"


def _check(client: Client, args: argparse.Namespace) -> tuple[Any, Callable[[Any], str]]:
    here = Path.cwd()
    data, files = _packed(args.arguments, here)
    answer = client.ask("POST", "/check", data=data, query=[("file", file) for file in files])
    for each in answer["diagnostics"]:
        if each["path"]:
            each["path"] = each["path"].removeprefix(f"{here}/")
    return answer, _show_diagnostics


def _packed(names: list[str], here: Path) -> tuple[bytes, list[str]]:
    """Rule files with everything that they include, for a proxy that sees other folders, and what they are called.

    Raises:
        ValueError: one of them is not there, or they are too large.
    """
    from rulesproxy.limits import CONTROL_BODY
    from rulesproxy.rules.files.closure import Closure, Contents
    from rulesproxy.rules.files.packed import pack
    from rulesproxy.rules.files.packs import PACK
    from rulesproxy.rules.load import is_absent, load_bytes, load_files

    contents = Contents()
    closure = Closure(keep=contents)
    if names == ["-"]:
        files = [str(here / "<stdin>")]
        text = contents.files[files[0]] = sys.stdin.buffer.read(CONTROL_BODY + 1)
        load_bytes(text, files[0], here, closure=closure)
    else:
        files = [name if name.startswith(PACK) else str(here / name) for name in names]
        found = load_files([Path(name) for name in files], closure=closure).diagnostics
        if is_absent(found):
            raise ValueError(next(str(each) for each in found if each.span is None))
    data = pack(contents)
    if len(data) > CONTROL_BODY:
        raise ValueError("these files have more than 2 MiB: `rulesproxy check` reads them without the proxy")
    return data, files


def _show_diagnostics(answer: Any) -> str:
    lines = []
    for each in answer["diagnostics"]:
        place = f"{each['path']}:{each['line']}:{each['column']}: " if each["path"] else ""
        lines.append(f"{place}{each['severity']}[{each['code']}]: {each['title']}")
    number = answer.get("rules")
    return "\n".join(lines) or f"{number} rule{'' if number == 1 else 's'}, nothing wrong"


def _explain(client: Client, args: argparse.Namespace) -> tuple[Any, Callable[[Any], str]]:
    method, _, url = " ".join(args.arguments).rpartition(" ")
    return client.ask("POST", "/explain", {"method": method or "GET", "url": url}), _show_trace


def _show_trace(answer: Any) -> str:
    lines = [f"status {answer['status']}" + ("" if answer["upstream"] else ", the server is not asked")]
    for rule in answer["rules"]:
        lines.append(f"{'hit ' if rule['hit'] else 'miss'}  {rule['name']}  {rule['path']}:{rule['line']}")
        lines += [f"      {what}" for what in (rule["changes"] if rule["hit"] else [rule["why"]])]
    lines += [f"log: {line}" for line in answer["log"]]
    return "\n".join(lines)


def _events(client: Client, args: argparse.Namespace) -> tuple[Any, Callable[[Any], str]]:
    for name, entry in client.follow("/events"):
        if args.json:
            line = json.dumps({"event": name, **entry})
        elif name == "missed":
            line = f"({entry['entries']} entries were missed)"
        else:
            what = entry["status"] if entry["error"] is None else f"error: {entry['error']['message']}"
            line = " ".join([entry["client"], entry["method"], entry["url"], "->", str(what), *entry["hits"]])
        print(line, flush=True)
    return None, str


def _metrics(client: Client, args: argparse.Namespace) -> tuple[Any, Callable[[Any], str]]:
    return client.ask("GET", "/metrics"), str.strip


def _options(client: Client, args: argparse.Namespace) -> tuple[Any, Callable[[Any], str]]:
    return client.ask("GET", "/options"), _show_options


def _set(client: Client, args: argparse.Namespace) -> tuple[Any, Callable[[Any], str]]:
    values = {}
    for text in args.arguments:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"write NAME=VALUE, not `{text}`")
        values[name.replace("-", "_")] = value
    answer = client.ask("PATCH", "/options", values)
    return {name: answer[name] for name in values if name in answer}, _show_options


def _show_options(options: Any) -> str:
    return "\n".join([f"{name} = {json.dumps(row['value'])}  ({row['source']})" for name, row in options.items()])


def _commands(client: Client, args: argparse.Namespace) -> tuple[Any, Callable[[Any], str]]:
    def show(rows: Any) -> str:
        return "\n".join([f"{row['usage']}  {row['help']}" for row in rows]) or "no addon has commands"

    return client.ask("GET", "/commands"), show


def _command(client: Client, args: argparse.Namespace) -> tuple[Any, Callable[[Any], str]]:
    answer = client.ask("POST", f"/commands/{args.what}", args.arguments)
    return answer["result"], lambda result: result if isinstance(result, str) else json.dumps(result)


_ACTIONS: dict[str, tuple[Any, int, int | None]] = {
    "status": (_status, 0, 0), "rules": (_rules, 0, 0), "reload": (_reload, 0, 0), "enable": (_enable, 1, 1),
    "disable": (_enable, 1, 1), "check": (_check, 1, None), "explain": (_explain, 1, 2), "events": (_events, 0, 0),
    "metrics": (_metrics, 0, 0), "options": (_options, 0, 0), "set": (_set, 1, None), "commands": (_commands, 0, 0),
}  # fmt: skip
