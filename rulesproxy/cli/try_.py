"""`rulesproxy try`: what the rules do with a request, or with a recording, without a network."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

    from rulesproxy.cli._paint import Paint
    from rulesproxy.flow.http import HTTPFlow
    from rulesproxy.rules.ruleset import RuleSet


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    from rulesproxy.cli._flows import add_har, add_request, add_rules

    parser = commands.add_parser(
        "try",
        help="show what the rules do with a request, without sending it",
        description="Show which rules match a request and what they change, without sending anything. The server is"
        " taken to answer 200 without a body, unless arguments say otherwise. Exit status: 0, 1 mistakes in the rules,"
        " 2 no file or wrong usage.",
    )
    parser.add_argument(
        "request", nargs="*", metavar="'METHOD URL'",
        help="such as 'GET https://api.example.com/v1'; rule files may be named behind it",
    )  # fmt: skip
    add_rules(parser)
    add_request(parser)
    add_har(parser)
    parser.add_argument(
        "--against", metavar="FILE", action="append", help="show what would be different with these rules"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the request or the recording through the rules; the exit code."""
    from rulesproxy.cli import fail
    from rulesproxy.cli._flows import BadRules, UsageError, heard, load, recording_of, request_of, without_files
    from rulesproxy.cli._paint import Paint

    args.request = without_files(args, args.request, 0 if args.har is not None else 1)
    try:
        if bool(args.request) == (args.har is not None):
            raise UsageError("give one request, such as 'GET https://api.example.com/v1', or a recording with --har")
        rules = load(args)
        others = None if args.against is None else load(args, args.against)
        if args.har is not None:
            recording = recording_of(args.har)
            flows, left_out, bad = list(recording.flows), recording.left_out, recording.bad
        else:
            flows, left_out, bad = [request_of(args, args.request)], 0, 0
    except UsageError as error:
        return fail(str(error))
    except BadRules as error:
        return error.code
    paint = Paint()
    with heard() as records:
        if others is not None:
            _compare(rules, others, flows, paint)
        elif args.har is not None:
            _summarize(rules, flows, paint)
        else:
            _show(rules, flows[0], records, paint)
    if left_out:
        print(f"left out, for they are no HTTP: {left_out}")
    if bad:
        print(f"left out, for they cannot be read: {bad}")
    return 0


def _show(rules: RuleSet, flow: HTTPFlow, records: list[logging.LogRecord], paint: Paint) -> None:
    from rulesproxy.cli._show import show_hits, show_messages
    from rulesproxy.engine.secrets import masked

    result = rules.run(flow)
    if result.tunnel == "passed":
        print(paint("doubt", "its TLS is passed through undecrypted: other rules see nothing of it"))
    elif result.tunnel == "refused":
        print(paint("doubt", "refused before there is a request: at the CONNECT of the client"))
    logged = [f"log: {record.getMessage()}" for record in records if record.levelname == "INFO"]
    for line in (*show_hits(result, paint), *logged, *show_messages(result, paint)):
        print(masked(line))


def _summarize(rules: RuleSet, flows: list[HTTPFlow], paint: Paint) -> None:
    """The requests of a recording that rules match, and how many each rule does."""
    from rulesproxy.cli._show import count
    from rulesproxy.engine.log import escape
    from rulesproxy.engine.secrets import masked

    counts: Counter[str] = Counter()
    for flow in flows:
        result = rules.run(flow)
        counts.update(result.hits)
        if result.hits:
            given = flow.response.status_code if flow.response is not None else "no answer"
            became = result.status or "no answer"
            status = str(given) if given == became else f"{given} → {became}"
            hits = paint("good", ", ".join(result.hits))
            print(masked(f"{escape(f'{flow.request.method} {flow.request.url}')}  {status}  {hits}"))
    print(f"\n{count(len(flows), 'request')}" if flows else "this recording has no requests")
    width = max((len(addon.name) for addon in rules.rules), default=0)
    for addon in rules.rules:
        number = counts[addon.name]
        print(f"  {paint('good' if number else 'faint', addon.name.ljust(width))}  {number}")


def _compare(rules: RuleSet, others: RuleSet, flows: list[HTTPFlow], paint: Paint) -> None:
    """The requests with which something else happens under the other rules."""
    from rulesproxy.cli._show import count
    from rulesproxy.engine.log import escape
    from rulesproxy.engine.secrets import masked
    from rulesproxy.rules.dry.trace import differences

    changed = 0
    for flow in flows:
        before, after = rules.run(flow), others.run(flow)
        found = differences(before, after)
        if not found:
            continue
        changed += 1
        print(paint("strong", masked(escape(f"{flow.request.method} {flow.request.url}"))))
        if before.hits != after.hits:
            print(f"    rules: {', '.join(before.hits) or 'none'} → {', '.join(after.hits) or 'none'}")
        for change in found:
            print(f"    {masked(escape(str(change)))}")
    print(f"{changed or 'none'} of {count(len(flows), 'request')} would change")
