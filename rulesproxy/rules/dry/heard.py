"""`Heard`: what has come of a conversation in a dry run, and why a rule did nothing in it. It runs nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from rulesproxy.filters.explain import Explanation, explain
from rulesproxy.filters.fields.marks import STATE
from rulesproxy.filters.phases import NONE, Phase
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.plan import End
from rulesproxy.flow.tcp import TCPFlow, TCPMessage
from rulesproxy.flow.websocket import WebSocketMessage
from rulesproxy.rules.compile import Compiled
from rulesproxy.rules.conversations.messages import Talk
from rulesproxy.rules.position import Pass

Content: TypeAlias = str | bytes
Said: TypeAlias = tuple[bool, Content]
"""A message of a conversation: whether the client sends it, and what it says."""
Unit: TypeAlias = Literal["request", "connection", "message"]
"""What a rule matches or not: a request, the beginning of a conversation, one message."""


class Arrival(NamedTuple):
    """A message that one side gets: whether it is the client, what it says, and how many seconds later."""

    to_client: bool
    content: Content
    delay: float = 0.0


class Marks(NamedTuple):
    """What rules leave on a flow for each other: its tags, and what is remembered under a name."""

    tags: tuple[str, ...]
    state: dict[str, str]

    @classmethod
    def of(cls, flow: HTTPFlow | TCPFlow) -> Marks:
        kept = flow.metadata.get(STATE)
        return cls(tuple(flow.tags), dict(kept) if isinstance(kept, Mapping) else {})


class MessageAct(NamedTuple):
    """What one rule did with a message: its number, the message and the marks behind it, whether that was its end."""

    number: int
    content: Content
    marks: Marks
    over: bool


@dataclass(slots=True)
class Showing:
    """One message while the rules look at it, or the moment before the first one.

    Attributes:
        number: which message of the conversation it is, from 1; 0 before the first one.
        from_client: who sent it.
        content: what it said before any rule.
        marks: what rules had left on the flow.
        index: its number in filters.
        acts: what the rules did, in order.
    """

    number: int
    from_client: bool
    content: Content
    marks: Marks
    index: int = 0
    acts: list[MessageAct] = field(default_factory=list)


@dataclass(slots=True)
class Heard:
    """What has come of a conversation.

    Attributes:
        rules: the rules, ready to run.
        phase: which kind of conversation it was.
        flow: the exchange that began it, or the TCP connection.
        asked: the rules that had matched before it began.
        arrived: what each side gets, in order.
        close: the code with which a rule has closed it; None where none has. Raw TCP has no code.
        end: how a rule has ended the client's connection; None where it has not.
        showings: what the rules have seen, the moment before the first message first.
    """

    rules: Sequence[Compiled]
    phase: Phase
    flow: HTTPFlow | TCPFlow
    asked: tuple[str, ...] = ()
    arrived: list[Arrival] = field(default_factory=list)
    close: int | None = None
    end: End | None = None
    showings: list[Showing] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether a rule has ended it."""
        return self.close is not None or self.end is not None

    @property
    def units(self) -> list[tuple[Unit, Phase, frozenset[str]]]:
        """For the beginning and for each message the rules that did something."""
        found: list[tuple[Unit, Phase, frozenset[str]]] = []
        for showing in self.showings:
            names = frozenset([self.rules[act.number].name for act in showing.acts])
            found.append(("message" if showing.number else "connection", self.phase, names))
        return found

    def concerns(self, rule: Compiled) -> bool:
        """Whether a rule acts in conversations of this kind."""
        return bool((rule.messages | rule.opens | _beginning(rule)) & self.phase)

    def why(self, rule: Compiled) -> tuple[str, Explanation | None]:
        """Why a rule did nothing, in one line, and what its filter has met where that is the reason.

        Of several messages it is the one that the filter is nearest to.
        """
        each = bool(rule.messages & self.phase)
        showings = [showing for showing in self.showings if bool(showing.number) is each]
        if not showings:
            return "no message came to it", None
        ended = ""
        best: tuple[Explanation, Showing] | None = None
        for showing in showings:
            ender = next((act for act in showing.acts if act.number < rule.number and self._ends(act)), None)
            if ender is not None:
                ended = ended or self._ended_by(ender, showing)
                continue
            found = explain(rule.rule.filter, self._view(rule, showing))
            if best is None or (found.holds, found.share) > (best[0].holds, best[0].share):
                best = (found, showing)
        if best is None:
            return ended, None
        found, showing = best
        about = f" in message {showing.number}" if len(showings) > 1 else ""
        if not found.holds:
            return f"{found.reasons[0]}{about}", found
        if rule.rule.gates is not None:
            return f"its filter is true{about}, but {rule.rule.gates.named} did not let it through", found
        return f"its filter is true{about}, but it did not apply", found

    def _ends(self, act: MessageAct) -> bool:
        return act.over or self.rules[act.number].stop

    def _ended_by(self, act: MessageAct, showing: Showing) -> str:
        rule, what = self.rules[act.number], f"message {showing.number}" if showing.number else "the connection"
        how = "has dropped it, or ended the conversation" if act.over else "has stopped all rules below"
        return f"{what}: `{rule.name}` {how}"

    def _view(self, rule: Compiled, showing: Showing) -> FlowView:
        """What this rule saw, or would have seen."""
        before = [act for act in showing.acts if act.number < rule.number]
        content, marks = (before[-1].content, before[-1].marks) if before else (showing.content, showing.marks)
        if isinstance(self.flow, TCPFlow):
            data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
            message = TCPMessage(showing.from_client, data) if showing.number else None
            return FlowView.of_message(_tcp_copy(self.flow, marks), message, showing.index)
        seen = self.flow.copy()
        seen.tags, seen.metadata[STATE] = list(marks.tags), marks.state
        state = self.flow.rules
        view = FlowView(seen)
        if isinstance(state, Pass) and state.talk is not None and state.talk.base is not None:
            view = view.at(state.view(state.talk.base, rule.number).request)
        if not showing.number:
            return view
        return view.about(WebSocketMessage(showing.from_client, content), showing.index)


def index_of(flow: TCPFlow) -> int:
    """The number in filters of the message that comes next."""
    return flow.rules.index if isinstance(flow.rules, Talk) else 0


def _beginning(rule: Compiled) -> Phase:
    return Phase.X if rule.begins else NONE


def _tcp_copy(flow: TCPFlow, marks: Marks) -> TCPFlow:
    other = TCPFlow(flow.client_conn, flow.server_conn, flow.timestamp_start)
    other.tags, other.metadata[STATE] = list(marks.tags), marks.state
    return other
