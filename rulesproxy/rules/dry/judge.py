"""`judge`: runs the tests of rule files and says of each what is not as expected, and why, in the form of diagnostics.

It knows nothing of how tests are written or printed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from rulesproxy.diagnostics import Diagnostic, Label, Span
from rulesproxy.engine.secrets import masked
from rulesproxy.filters.phases import NONE, Phase
from rulesproxy.rules.compile import Compiled
from rulesproxy.rules.dry.case_messages import how_it_ends
from rulesproxy.rules.dry.cases import Case, Exchange, Expect
from rulesproxy.rules.dry.dry_run import DryRun
from rulesproxy.rules.dry.expected import Difference, NameList
from rulesproxy.rules.dry.heard import Unit
from rulesproxy.rules.dry.trace import Result, RuleTrace, TCPResult
from rulesproxy.rules.model import Rule

Outcome: TypeAlias = Result | TCPResult
Seen: TypeAlias = tuple[Unit, Phase, frozenset[str]]
"""A request, a connection or a message of a kind, and the rules that matched it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What has come of one test.

    Attributes:
        case: the test.
        failures: what was not as expected; empty where it passed.
        hits: for each of its requests and connections the rules that matched.
        seen: what the rules were asked about, one by one.
    """

    case: Case
    failures: tuple[Diagnostic, ...]
    hits: tuple[tuple[str, ...], ...]
    seen: tuple[Seen, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether everything was as expected."""
        return not self.failures


def judge(case: Case, dry: DryRun) -> Verdict:
    """Run one test, with counters that begin anew."""
    dry.reset()
    failures: list[Diagnostic] = []
    hits, seen = [], []
    for number, exchange in enumerate(case.exchanges, 1):
        name = f"`{case.name}`, step {number}" if case.steps else f"`{case.name}`"
        result = _run(exchange, dry)
        hits.append(result.hits)
        seen += result.units
        failure = _compare(exchange.expect, result, name)
        if failure is not None:
            failures.append(_masked(failure))
    return Verdict(case, tuple(failures), tuple(hits), tuple(seen))


def _run(exchange: Exchange, dry: DryRun) -> Outcome:
    messages = [message.said for message in exchange.messages]
    if exchange.tcp is not None:
        return dry.connect(exchange.tcp.flow(), messages, exchange.sampled)
    return dry.run(exchange.flow(), exchange.sampled, messages)


def _masked(failure: Diagnostic) -> Diagnostic:
    """A failure for the logs of a build, without what rules take from the environment."""
    return replace(
        failure,
        title=masked(failure.title),
        label=masked(failure.label),
        labels=tuple([Label(each.span, masked(each.text)) for each in failure.labels]),
        notes=tuple([masked(each) for each in failure.notes]),
    )


@dataclass(frozen=True, slots=True)
class Gap:
    """A rule of which the tests say too little.

    Attributes:
        rule: the rule.
        matched: whether every request of the tests matches it; else none does.
        unit: what it is about: a request, a connection, a message.
    """

    rule: Rule
    matched: bool
    unit: Unit = "request"

    def diagnostic(self) -> Diagnostic:
        """It in words."""
        if self.matched:
            title = f"no test has a {self.unit} that rule `{self.rule.name}` does not match"
            help = "add a test of what it must leave alone"
        else:
            title = f"no test has a {self.unit} that rule `{self.rule.name}` matches"
            help = "add a test that expects it among its `rules`"
        return Diagnostic("RP902", "warning", title, self.rule.span, help)


def coverage(rules: Sequence[Rule], verdicts: Iterable[Verdict]) -> list[Gap]:
    """The rules that no request of the tests matches, and those that every one does.

    Of rules about messages it is messages that count, of rules about connections of raw TCP connections.
    """
    matched: Counter[tuple[Unit, Phase, str]] = Counter()
    runs: Counter[tuple[Unit, Phase]] = Counter()
    for verdict in verdicts:
        for unit, phase, hits in verdict.seen:
            runs[unit, phase] += 1
            matched.update([(unit, phase, hit) for hit in hits])
    gaps = []
    for rule in rules:
        reached = _reached(Compiled(rule, 0))
        hit = sum(matched[unit, phase, rule.name] for unit, phase in reached)
        if hit in (0, sum(runs[each] for each in reached)):
            gaps.append(Gap(rule, hit > 0, reached[0][0]))
    return gaps


def _reached(rule: Compiled) -> list[tuple[Unit, Phase]]:
    """What a rule is asked about."""
    found: list[tuple[Unit, Phase]] = [("request", NONE)] if rule.in_exchanges else []
    for phase in (Phase.W, Phase.X):
        if rule.messages & phase:
            found.append(("message", phase))
        if rule.opens & phase or (rule.begins and phase is Phase.X):
            found.append(("connection", phase))
    return found or [("request", NONE)]


def _compare(expect: Expect, result: Outcome, name: str) -> Diagnostic | None:
    """Everything that is not as expected of one request, in one diagnostic."""
    found: list[Difference] = []
    rules: list[Label] = []
    for listed in (expect.rules, expect.rules_include):
        if listed is not None:
            found += _missing(listed, result, rules)
    if expect.rules is not None:
        found += _unexpected(expect.rules, result, rules)
    if isinstance(result, Result):
        found += _differences(expect, result)
    found += _of_conversation(expect, result)
    if not found:
        return None
    first, *others = found
    more = f", and {len(others)} more" if others else ""
    labels = [Label(difference.span, difference.title) for difference in others]
    notes = [note for difference in found for note in difference.notes]
    title = f"test {name}: {first.title}{more}"
    return Diagnostic(
        "RP910", "error", title, first.span, "", first.title, (*rules, *labels), (*notes, _hits(result))
    )  # fmt: skip


def _differences(expect: Expect, result: Result) -> Iterator[Difference]:
    """What is not as expected besides the rules."""
    response, status = result.flow.response, result.status
    plan = result.flow.planned
    end = None if plan is None else plan.end
    got = f"the status is {status}" if status is not None else f"the connection ends ({end or 'closed'})"
    if expect.status is not None and status != expect.status.value:
        yield Difference(expect.status.span, got)
    if expect.end is not None and result.heard is None and end != expect.end.how:
        yield Difference(expect.end.span, got)
    try:
        body = result.body
    except OSError as error:
        span = next((part.span for part in (expect.body, expect.json) if part is not None), None)
        if span is not None:
            yield Difference(span, f"the answer cannot be read: {error}")
        return
    if expect.headers is not None and response is not None:
        yield from expect.headers.compare(response)
    elif expect.headers is not None:
        yield Difference(expect.headers.span, f"there are no headers: {got}")
    if expect.body is not None:
        yield from expect.body.compare(response, body)
    if expect.json is not None:
        yield from expect.json.compare(body)
    if expect.upstream is not None:
        yield from expect.upstream.compare(result.upstream)


def _of_conversation(expect: Expect, result: Outcome) -> Iterator[Difference]:
    """What is not as expected of what passes behind a handshake, or on raw TCP."""
    heard = result.heard
    if heard is None:
        assert isinstance(result, Result)
        spans = [each.span for each in (expect.messages, expect.close) if each is not None]
        if expect.messages is not None and not expect.messages.messages:
            spans.remove(expect.messages.span)
        for span in spans:
            status = result.status
            how = "the connection ends" if status is None else f"the status is {status}"
            yield Difference(span, f"the WebSocket does not begin: {how}")
        return
    if expect.messages is not None:
        yield from expect.messages.compare(heard)
    if expect.close is not None:
        yield from expect.close.compare(heard)
    if expect.end is not None and heard.end != expect.end.how:
        yield Difference(expect.end.span, how_it_ends(heard))


def _missing(listed: NameList, result: Outcome, rules: list[Label]) -> Iterator[Difference]:
    """The rules that were to match and have not; the reason of each is added to `rules`."""
    for rule, span in listed.names:
        if rule in result.hits:
            continue
        trace = result.of(rule)
        if trace.why:
            rules.append(Label(trace.span, trace.why))
        yield Difference(span, f"rule `{rule}` did not match")


def _unexpected(listed: NameList, result: Outcome, rules: list[Label]) -> Iterator[Difference]:
    """The rules that have matched and were not to; the filter of each is added to `rules`."""
    names = [rule for rule, _ in listed.names]
    extra = [hit for hit in result.hits if hit not in names]
    for hit in extra:
        rules.append(Label(_match(result.of(hit)), "matched"))
        yield Difference(listed.span, f"rule `{hit}` matched too")
    if not extra and set(names) == set(result.hits) and names != list(result.hits):
        yield Difference(listed.span, f"the rules matched in another order: {', '.join(result.hits)}")


def _match(trace: RuleTrace) -> Span:
    """The place of a rule's filter."""
    text = trace.rule.text
    return trace.rule.span if text is None else text.place(0, len(text.text))


def _hits(result: Outcome) -> str:
    if result.hits:
        return f"rules that matched: {', '.join([f'`{hit}`' for hit in result.hits])}"
    near = result.nearest
    return "no rule matched" if near is None else f"no rule matched; the nearest is `{near.name}`: {near.why}"
