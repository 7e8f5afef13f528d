"""`rulesproxy explain`: a diagnostic's page, a rule's place and needs, or what every rule makes of a request."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rulesproxy.rules.ruleset import RuleSet

_CODE = re.compile(r"rp(?=.*\d)[0-9oil]{1,4}", re.I).fullmatch
"""What is meant as a code, with the letters that are taken for digits. A rule may be called `rpc`."""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    from rulesproxy.cli._flows import add_har, add_request, add_rules

    parser = commands.add_parser(
        "explain",
        help="say what a diagnostic means, what a rule needs, or why rules match a request or not",
        description="CODE, such as RP301: the page of a diagnostic. RULE: when a rule runs and what it needs; with"
        " --har why it matches the recorded requests or not. 'METHOD URL': every rule in order, whether it matches, or"
        " the first term that is false. Nothing is sent. Exit status: 0, 1 unknown, or mistakes in the rules, 2 no file"
        " or wrong usage.",
    )
    parser.add_argument(
        "subject", nargs="+", metavar="CODE|RULE|'METHOD URL'",
        help="what to explain; rule files may be named behind it",
    )  # fmt: skip
    add_rules(parser)
    add_request(parser)
    add_har(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the explanation; the exit code."""
    from rulesproxy.cli import fail
    from rulesproxy.cli._flows import BadRules, UsageError, heard, load, without_files

    args.subject = without_files(args, args.subject)
    subject = " ".join(args.subject)
    request = " " in subject or "://" in subject
    if request and args.har is not None:
        return fail("--har is for a rule: `rulesproxy try --har FILE` runs all rules")
    if not request and _CODE(subject):
        return _code(subject)
    try:
        rules = load(args)
        if not request and subject not in [addon.name for addon in rules.rules]:
            return _unknown(subject, rules)
        with heard():
            if request:
                return _request(args, rules)
            return _rule(subject, rules) if args.har is None else _rule_in_recording(args, subject, rules)
    except UsageError as error:
        return fail(str(error))
    except BadRules as error:
        return error.code


def _code(subject: str) -> int:
    from rulesproxy.cli import fail
    from rulesproxy.diagnostics import suggest
    from rulesproxy.diagnostics.codes import CODES

    code = CODES.get(subject.upper())
    if code is None:
        near = suggest(subject.upper(), CODES)
        return fail(f"there is no diagnostic {subject!r}{f': did you mean {near}?' if near else ''}", 1)
    print(code.page())
    return 0


def _unknown(subject: str, rules: RuleSet) -> int:
    from rulesproxy.cli import fail
    from rulesproxy.diagnostics import suggest

    names = [addon.name for addon in rules.rules]
    near = suggest(subject, names)
    known = f"the rules are {', '.join(names[:20])}{' …' if len(names) > 20 else ''}" if names else "there are no rules"
    return fail(f"there is no rule {subject!r}: {f'did you mean {near}?' if near else known}", 1)


def _request(args: argparse.Namespace, rules: RuleSet) -> int:
    """Every rule in order: hit, or the first term that is false."""
    from rulesproxy.cli._flows import request_of
    from rulesproxy.cli._paint import Paint
    from rulesproxy.cli._show import show_acts, show_reasons, titled
    from rulesproxy.engine.secrets import masked

    paint = Paint()
    result = rules.run(request_of(args, args.subject))
    for trace in result.trace:
        mark = (
            paint("good", "matches") if trace.hit else paint("faint", "does not match" if trace.reasons else "not run")
        )
        print(titled(trace, "strong", mark, paint))
        for line in show_acts(trace, paint) if trace.hit else show_reasons(trace, paint):
            print(f"    {masked(line)}")
    if not result.trace:
        print("there are no rules")
    return 0


def _rule(name: str, rules: RuleSet) -> int:
    from rulesproxy.rules.binding import describe_rule

    compiled = [addon.compiled for addon in rules.rules]
    for line in describe_rule(compiled, next(rule.number for rule in compiled if rule.name == name)):
        print(line)
    return 0


def _rule_in_recording(args: argparse.Namespace, name: str, rules: RuleSet) -> int:
    """Which of the recorded requests a rule matches, and why not the others."""
    from rulesproxy.cli._flows import recording_of
    from rulesproxy.cli._paint import Paint
    from rulesproxy.cli._show import count
    from rulesproxy.engine.log import escape
    from rulesproxy.engine.secrets import masked

    paint = Paint()
    recording = recording_of(args.har)
    flows = recording.flows
    matched = 0
    for flow in flows:
        trace = rules.run(flow).of(name)
        matched += trace.hit
        why = paint("good", "matches") if trace.hit else escape(trace.why)
        print(masked(f"{escape(f'{flow.request.method} {flow.request.url}')}  {why}"))
    print(f"`{name}` matches {matched} of {count(len(flows), 'request')}")
    if recording.bad:
        print(f"left out, for they cannot be read: {recording.bad}")
    return 0
