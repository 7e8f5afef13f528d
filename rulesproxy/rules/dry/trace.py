"""`Result`: what a dry run has come to, and rule by rule why. It knows how a rule can miss a flow, and runs nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from rulesproxy.diagnostics import Span
from rulesproxy.filters.explain import Explanation, Reason, explain
from rulesproxy.filters.fields.marks import STATE
from rulesproxy.filters.phases import NONE, Phase
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.http import HTTPFlow, HTTPRequest, HTTPResponse, bodiless
from rulesproxy.flow.tcp import TCPFlow
from rulesproxy.rules.action import Side
from rulesproxy.rules.compile import Compiled
from rulesproxy.rules.dry.changes import Change, Moment, changes, of_plans, of_requests, of_responses
from rulesproxy.rules.dry.heard import Heard, Unit
from rulesproxy.rules.hosts import ended
from rulesproxy.rules.model import Rule
from rulesproxy.rules.position import Pass


class Act:
    """What one rule did at one event.

    Attributes:
        number: the place of the rule among all.
        event: when.
        before: the flow before it.
        captures: what its filter has captured.
        after: the flow behind it.
        failure: what an action raised; None where all went well.
    """

    __slots__ = ("after", "before", "captures", "event", "failure", "number")

    def __init__(self, number: int, event: str, before: Moment, captures: Mapping[str, str]) -> None:
        self.number = number
        self.event = event
        self.before = before
        self.captures = captures
        self.after = before
        self.failure: str | None = None

    def fail(self, error: Exception) -> None:
        """An action has raised."""
        self.failure = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__

    @property
    def ends(self) -> bool:
        """Whether it ended the connection."""
        return self.after.error is not self.before.error or "end" in self.after.plan

    @property
    def side(self) -> Side:
        """Which pass it was in."""
        return "response" if self.event.startswith("response") or self.event == "error" else "request"


@dataclass(frozen=True, slots=True)
class Given:
    """What a dry run was given.

    Attributes:
        received: the flow when the request's head had arrived.
        body: the body of the request.
        answer: what the server answered, as it was; None where it was not asked, or did not answer.
        passing: the same response on its way through the rules, to know it by.
        unread: the sides whose body passed without being kept.
    """

    received: Moment
    body: bytes
    answer: HTTPResponse | None
    passing: HTTPResponse | None
    unread: frozenset[Side]


@dataclass(frozen=True, slots=True)
class RuleTrace:
    """What one rule made of a flow.

    Attributes:
        name: the rule's id, or `file:line`.
        rule: what the file says.
        hit: whether it matched, and did something.
        why: for a rule that did nothing the reason, in one line.
        reasons: the terms of its filter that were false, if that is the reason.
        span: the place of the first of those, else of the rule.
        share: how much of its filter was true, from 0 to 1.
        changes: what it changed, in order.
        captures: what its filter captured.
        failures: what its actions raised.
    """

    name: str
    rule: Rule
    hit: bool
    why: str
    reasons: tuple[Reason, ...]
    span: Span
    share: float
    changes: tuple[Change, ...]
    captures: Mapping[str, str]
    failures: tuple[str, ...]


class _Outcome(ABC):
    """What the rules have come to, one by one."""

    def __init__(self, rules: Sequence[Compiled], acts: Sequence[Act] = ()) -> None:
        self._rules = rules
        self._acts = acts

    @property
    @abstractmethod
    def hits(self) -> tuple[str, ...]:
        """The names of the rules that matched, in order of their first hit."""

    @cached_property
    def trace(self) -> tuple[RuleTrace, ...]:
        """What each rule made of the flow, in the order of the rules."""
        return tuple([self.of(number) for number in range(len(self._rules))])

    @property
    def nearest(self) -> RuleTrace | None:
        """The rule that missed the flow by least, where one has matched at least in part."""
        near = [each for each in self.trace if not each.hit and each.reasons and 0 < each.share < 1]
        return max(near, key=lambda each: each.share, default=None)

    def of(self, rule: int | str) -> RuleTrace:
        """What one rule, given by its number or its name, made of the flow.

        Raises:
            KeyError: there is no such rule.
        """
        number = rule if isinstance(rule, int) else self._number(rule)
        compiled = self._rules[number]
        acts = [act for act in self._acts if act.number == number]
        hit = compiled.name in self.hits
        why, found = ("", None) if hit else self._why(compiled)
        reasons = () if found is None or found.holds else found.reasons
        return RuleTrace(
            compiled.name, compiled.rule, hit, why, reasons, _span(compiled.rule, reasons),
            1.0 if hit else 0.0 if found is None else found.share,
            tuple([change for act in acts for change in changes(act.before, act.after)]),
            acts[0].captures if acts else {},
            tuple([act.failure for act in acts if act.failure is not None]),
        )  # fmt: skip

    def _number(self, name: str) -> int:
        for compiled in self._rules:
            if compiled.name == name:
                return compiled.number
        raise KeyError(name)

    @abstractmethod
    def _why(self, rule: Compiled) -> tuple[str, Explanation | None]:
        """Why a rule did nothing, in one line, and what its filter has met where that is the reason."""


class TCPResult(_Outcome):
    """What a dry run of a raw TCP connection has come to.

    Attributes:
        flow: the connection.
        heard: what has passed on it.
    """

    def __init__(self, rules: Sequence[Compiled], flow: TCPFlow, heard: Heard) -> None:
        super().__init__(rules)
        self.flow = flow
        self.heard = heard

    @property
    def hits(self) -> tuple[str, ...]:
        return tuple(self.flow.hits)

    @property
    def units(self) -> list[tuple[Unit, Phase, frozenset[str]]]:
        """What rules may match, and which have: the beginning of the connection, and each of its messages."""
        return self.heard.units

    def _why(self, rule: Compiled) -> tuple[str, Explanation | None]:
        return self.heard.why(rule) if self.heard.concerns(rule) else ("it does not act on raw TCP", None)


class Result(_Outcome):
    """What a dry run has come to.

    Attributes:
        flow: the flow behind all rules: its response is what the client gets, its plan what is done beside it.
        upstream: the request that the server would get; None where it is not asked.
        tunnel: `refused` where a rule has refused the CONNECT for an https URL, `passed` where one leaves its TLS
            undecrypted, so that no other rule sees it; else empty.
        given: what the run began with.
        heard: what has passed on the WebSocket that the flow has begun; None where it has begun none.
    """

    def __init__(
        self,
        rules: Sequence[Compiled],
        flow: HTTPFlow,
        upstream: HTTPRequest | None,
        tunnel: str,
        failed: int,
        acts: Sequence[Act],
        given: Given,
        heard: Heard | None = None,
    ) -> None:
        super().__init__(rules, acts)
        self.flow = flow
        self.upstream = upstream
        self.tunnel = tunnel
        self._failed = failed
        self.given = given
        self.heard = heard

    @property
    def hits(self) -> tuple[str, ...]:
        return tuple(self.flow.hits)

    @property
    def units(self) -> list[tuple[Unit, Phase, frozenset[str]]]:
        """What rules may match, and which have: the request, and what has passed on its WebSocket."""
        if self.heard is None:
            return [("request", NONE, frozenset(self.hits))]
        return [("request", NONE, frozenset(self.heard.asked)), *self.heard.units]

    @property
    def status(self) -> int | None:
        """The status that the client gets; None where the connection ends without an answer, or there is none yet."""
        flow = self.flow
        if self.heard is None and flow.planned is not None and flow.planned.end is not None:
            return None
        if flow.response is not None:
            return flow.response.status_code
        return None if flow.killed else self._failed or None

    @property
    def body(self) -> bytes:
        """The body that the client gets.

        Raises:
            OSError: it is a file, which cannot be read any more.
        """
        response = self.flow.response
        if response is None or bodiless(self.flow.orig.method, response.status_code):
            return b""
        return response.get_content(strict=False) or b""

    # Why a rule did nothing

    def _why(self, rule: Compiled) -> tuple[str, Explanation | None]:
        if self.tunnel:
            by = f" by `{self.flow.hits[0]}`" if self.flow.hits else ""
            what = "the tunnel was refused" if self.tunnel == "refused" else "TLS is passed through undecrypted"
            return f"{what}{by}: there is no request to see", None
        exchanges = rule.acts_on_request or rule.acts_on_response or rule.acts_on_error or rule.passes
        if not exchanges and self.heard is not None and self.heard.concerns(rule):
            return self.heard.why(rule)
        if not rule.in_exchanges:
            return "it acts on messages, or on connections of another kind: there are none here", None
        ender = self._ender("request")
        above = ender is None or rule.number < ender.number
        if rule.decides_on_request and not rule.either_side and above:
            return self._judge(rule, FlowView(self._seen(rule, "request")))
        if ender is not None and not above and (not rule.acts_on_response or self._rules[ender.number].stop):
            return self._ended_by(ender), None
        return self._why_late(rule)

    def _why_late(self, rule: Compiled) -> tuple[str, Explanation | None]:
        """The same for a rule that acts on the response."""
        flow = self.flow
        ender = self._ender("response")
        if ender is not None and ender.number < rule.number:
            return self._ended_by(ender), None
        failed = rule.acts_on_error and flow.error is not None
        if flow.response is None and not rule.decides_on_request and not failed:
            found = explain(rule.rule.filter, FlowView(self._seen(rule, "request")))
            if ended(flow) and not flow.error:
                return "the connection ended before there was a response", found
            return "it needs a response, and there is none", found
        return self._judge(rule, FlowView(self._seen(rule, "response")))

    def _judge(self, rule: Compiled, view: FlowView) -> tuple[str, Explanation]:
        found = explain(rule.rule.filter, view)
        if not found.holds:
            return str(found.reasons[0]), found
        state, gates = self.flow.rules, rule.rule.gates
        asked = state.gates if isinstance(state, Pass) else None
        if gates is not None and asked is not None and asked.get(rule.number) is False:
            return f"its filter is true, but {gates.named} did not let this request through", found
        for side in self.given.unread:
            if rule.holds_request if side == "request" else rule.holds_response:
                return f"the {side} body was streamed, or is over the limit", found
        return "its filter is true, but it did not apply", found

    def _ender(self, side: Side) -> Act | None:
        """The act that has ended a pass before its end, if one has."""
        for act in self._acts:
            if act.side == side and act.event != "http_connect":
                answered = act.before.response is None and act.after.response is not None and side == "request"
                if answered or act.ends or self._rules[act.number].stop or self._closed(act):
                    return act
        return None

    def _closed(self, act: Act) -> bool:
        """Whether an action has failed, so that the client gets 502."""
        return act.failure is not None and self._rules[act.number].rule.on_error == "closed" and act.side == "request"

    def _ended_by(self, act: Act) -> str:
        rule = self._rules[act.number]
        if self._closed(act):
            how = "has failed, so that the client gets 502"
        elif act.ends:
            how = "has ended the connection"
        else:
            how = "has stopped all rules below" if rule.stop else "has answered before"
        return f"`{rule.name}` {how}"

    def _seen(self, rule: Compiled, side: Side) -> HTTPFlow:
        """The flow as this rule saw it, or would have seen it, in a pass."""
        seen = self.flow.copy()
        before = [act for act in self._acts if act.number < rule.number and act.event != "http_connect"]
        last = next((act.after for act in reversed(before) if act.side == "request"), self.given.received)
        seen.request = last.request.copy()
        if not seen.request.body_source:
            seen.request.body_source = self.given.body
        seen.tags = list(last.tags)
        seen.metadata[STATE] = last.state
        if side == "request":
            seen.response, seen.error = None, None
            return seen
        behind = next((act.before for act in self._acts if act.number >= rule.number and act.side == "response"), None)
        if behind is not None:
            seen.tags, seen.metadata[STATE] = list(behind.tags), behind.state
        if behind is not None and behind.response is not None:
            seen.response = behind.response.copy()
            answer = self.given.answer
            if not seen.response.body_source and answer is not None and behind.answer is self.given.passing:
                seen.response.body_source = answer.body_source
        return seen


def differences(before: Result, after: Result) -> tuple[Change, ...]:
    """What becomes of a flow under other rules, as far as the two peers see it: upstream, answer, effects."""
    found: list[Change] = []
    if before.upstream is None or after.upstream is None:
        if before.upstream is not after.upstream:
            found.append(Change("upstream", _line(before.upstream), _line(after.upstream)))
    else:
        found += [replace(each, what=f"upstream {each.what}") for each in of_requests(before.upstream, after.upstream)]
    found += of_responses(before.flow.response, after.flow.response)
    if before.flow.response is None and after.flow.response is None and before.status != after.status:
        found.append(Change("status", str(before.status), str(after.status)))
    return (*found, *of_plans(before.flow.planned, after.flow.planned))


def _line(request: HTTPRequest | None) -> str | None:
    return None if request is None else f"{request.method} {request.url}"


def _span(rule: Rule, reasons: Sequence[Reason]) -> Span:
    if reasons and rule.text is not None:
        return rule.text.place(reasons[0].start, reasons[0].end)
    return rule.span
