"""A checked rule made ready to run: its filter as functions, its actions as handlers, and where in a flow both belong.

It knows one rule at a time. The order of rules is the business of `passes`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rulesproxy.engine.chain import Bound
from rulesproxy.filters.analysis import reads, request_only
from rulesproxy.filters.check import Checked, Phase
from rulesproxy.filters.compile import Filter, compile_captures, compile_filter, compile_node
from rulesproxy.filters.keys import Key, host_decision, index_key, index_keys
from rulesproxy.filters.phases import CONNECTING, MESSAGES, NONE
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.http import HTTPFlow, HTTPResponse
from rulesproxy.flow.route import Route
from rulesproxy.rules.action import Action, Captures, Handler, MessageHandler, is_of_message
from rulesproxy.rules.gates import Gate
from rulesproxy.rules.memory import Memory
from rulesproxy.rules.model import Rule
from rulesproxy.rules.moments import (
    REQUEST_SIDE,
    RESPONSE_SIDE,
    acts_on_each,
    begins,
    begins_with,
    on_error,
    on_messages,
    on_request,
    on_response,
    opens,
)  # fmt: skip
from rulesproxy.rules.outside import Outside, the_machine
from rulesproxy.rules.templates.fields import is_of_request
from rulesproxy.rules.templates.made import making
from rulesproxy.rules.templates.names import MADE

if TYPE_CHECKING:
    from rulesproxy.rules.conversations.turn import Subject, Turn


_MESSAGE_EVENTS = {Phase.W: "websocket_message", Phase.X: "tcp_message", Phase.V: "response"}
_NO_CAPTURES: Captures = {}
_ERRORS = frozenset({"error.kind", "error.message", "~e"})
"""The fields that name an error."""


class Compiled:
    """A rule that can run.

    Attributes:
        number: its place among all rules.
        name: what hits, logs and messages call it.
        memory: what it remembers from flow to flow.
        gate: which of the flows that its filter matches it acts on; None for all.
        refuses_overflow: a body over the limit is refused where it needs that body.
        outside: where it gets time and chance from.
        passes: it leaves TLS undecrypted.
        only_passes: and does nothing else.
        answers_batches: in a batch of GraphQL requests it answers those that match.
        acts_on_request: it changes or answers something in the request pass.
        awaits_request: the request pass waits for what it does; `awaits_response` likewise.
        decides_on_request: its filter is evaluated in the request pass, since it acts there.
        holds_request: the request body must be there before the request pass may go past it.
        reads_request: its filter reads the request body.
        reads_response: its filter reads the response body.
        acts_on_response: it has something to do in the response pass.
        acts_on_error: it has something to do for a flow that has failed, without a response.
        holds_response: the response body must be there before it can run in the response pass.
        edits_request: it may change the request.
        edits_response_body: it may change the body of the response.
        route: how it has the server of a tunnel reached; None where it does not, or cannot tell from the host.
        only_routes: and does nothing else, nor needs to see inside TLS for it.
        connect: how it refuses a CONNECT; None where it does not, or cannot tell from the host.
        decides_connect: its filter is decided at CONNECT.
        shadows_connect: it may end or change the request, so that no rule below it may decide on CONNECT.
        stop: nothing below it applies.
        either_side: it is tried in both passes.
        recalls: what it does behind the request pass is made of the request, as it stood at this rule.
        uses_request_late: what it does behind the request pass is made of the request body.
        uses_response: its filter reads the response.
        uses_state: it reads or sets what rules remember under a name.
        messages: the kinds of messages on which it acts, or behind which no rule below it does.
        opens: the kinds of conversations on which it acts before their first message.
        begins: it acts when a connection of raw TCP begins, or ends the pass over the rules there.
        begins_unseen: also where its bytes pass unread: its filter is about any connection, and not about raw TCP.
        awaits_messages: the pass over the rules waits for what it does on a message.
    """

    __slots__ = (
        "_beginning", "_bounds", "_captures", "_editors", "_error", "_host_may", "_host_must", "_made", "_matches",
        "_may", "_near", "_request", "_response", "_talking", "_uses_response", "acts_on_error", "acts_on_request",
        "acts_on_response", "answers_batches", "awaits_messages", "awaits_request", "awaits_response", "begins",
        "begins_unseen", "connect", "decides_connect",
        "decides_on_request", "edits_request", "edits_response_body", "either_side", "gate", "holds_request",
        "holds_response", "memory", "messages", "name", "number", "only_passes", "only_routes", "opens", "outside",
        "passes", "reads_request", "reads_response", "recalls", "refuses_overflow", "route", "rule",
        "shadows_connect", "stop", "uses_request_late", "uses_response", "uses_state",
    )  # fmt: skip

    def __init__(self, rule: Rule, number: int, memory: Memory | None = None, outside: Outside | None = None) -> None:
        checked = rule.filter
        self.outside = outside or the_machine()
        self.memory = memory or Memory(rule.identity, self.outside)
        self.rule = rule
        self.number = number
        self.name = rule.name
        self.stop = rule.stop
        self.gate = None if rule.gates is None else Gate(rule.gates, rule.identity, self.memory, self.outside)
        self.refuses_overflow = rule.refuses_overflow
        self.either_side = checked.either_side
        self.uses_response = checked.uses_response
        actions = [step.action for step in rule.steps]
        request = [action for action in actions if on_request(action, checked)]
        response = [action for action in actions if on_response(action, checked)]
        self.awaits_request = any(action.awaits for action in request)
        self.awaits_response = any(action.awaits for action in response)
        self._request = _together([action.bind_for("request", self.memory) for action in request], self.awaits_request)
        self._response = _together(
            [action.bind_for("response", self.memory) for action in response], self.awaits_response
        )
        fields = {read.field.name for read in reads(checked.node)}
        names_error = not fields.isdisjoint(_ERRORS)
        failed = [action for action in actions if on_error(action, checked)] if names_error else []
        self._error = _together([action.bind_for("response", self.memory) for action in failed])
        self._made = frozenset(
            name for action in actions for name in action.names if name in MADE or is_of_message(name)
        )
        self._bounds: dict[str, Bound] = {}
        self._matches: Filter | None = None
        self._may: Filter | None = None
        self._captures: Callable[[FlowView], Captures] | None = None
        self._near: Callable[[FlowView], bool] | None = None
        self._host_may: Callable[[str], bool] | None = None
        self._host_must: Callable[[str], bool] | None = None
        self._bind_request(checked, request)
        late = self.uses_response or self.either_side or not checked.phases & REQUEST_SIDE
        self.acts_on_response = bool(response) or (self.stop and late and bool(checked.phases & RESPONSE_SIDE))
        self.acts_on_error = bool(failed) or (self.stop and late and names_error)
        self.edits_response_body = any(action.edits_body == "response" for action in response)
        uses_body = any("response" in action.reads_body for action in response)
        self._uses_response = uses_body or (self.acts_on_response and self.reads_response)
        self._editors = tuple([action for action in response if action.edits_body == "response"])
        by_operation = not fields.isdisjoint(("graphql.operation", "graphql.type"))
        self.answers_batches = by_operation and [action.key for action in request] == ["respond"]
        self.uses_state = "state" in fields or _uses_state(rule, actions)
        self.holds_response = self.edits_response_body or self._uses_response
        self._bind_messages(checked, actions)
        self._bind_late([*response, *failed, *[action for _, _, action in self._talking]])
        self._bind_connect(checked, actions)

    # The filter is compiled when a flow first comes to this rule: of thousands of rules most never see one.

    @property
    def matches(self) -> Filter:
        """Its filter."""
        if self._matches is None:
            self._matches = compile_filter(self.rule.filter)
        return self._matches

    @property
    def may(self) -> Filter:
        """What is known of its filter without bodies."""
        if self._may is None:
            checked = self.rule.filter
            self._may = compile_filter(checked, head_only=True) if checked.needs_body else self.matches
        return self._may

    @property
    def captures(self) -> Callable[[FlowView], Captures]:
        """Gives its captures, and what is made for it beside them."""
        if self._captures is None:
            checked = self.rule.filter
            found: Callable[[FlowView], Captures] | None = compile_captures(checked) if checked.captures else None
            if self._made or self.recalls:
                found = making(self._made, found, self.memory, self.outside)
            self._captures = found or _no_captures
        return self._captures

    def _bind_request(self, checked: Checked, request: list[Action]) -> None:
        decidable = bool(checked.phases & REQUEST_SIDE) and not checked.uses_response
        self.acts_on_request = bool(request) or (self.stop and decidable)
        self.reads_request = bool(checked.needs_body & Phase.B)
        self.reads_response = bool(checked.needs_body & Phase.S)
        edits_body = any(action.edits_body == "request" for action in request)
        uses_body = any("request" in action.reads_body for action in request)
        self.holds_request = edits_body or uses_body or self.reads_request
        self.decides_on_request = decidable and self.acts_on_request
        self.edits_request = any(action.edits_request for action in request)

    def _bind_messages(self, checked: Checked, actions: list[Action]) -> None:
        talking = [action for action in actions if on_messages(action, checked)]
        self._talking = tuple([(acts_on_each(action, checked), opens(action, checked), action) for action in talking])
        self.messages = self.opens = NONE
        for kinds, opened, _ in self._talking:
            self.messages |= kinds
            self.opens |= opened
        self._beginning = tuple([action for action in actions if begins(action, checked)])
        self.begins = bool(self._beginning) or (self.stop and begins_with(checked, CONNECTING))
        self.begins_unseen = self.begins and bool(checked.phases & (CONNECTING & ~Phase.X))
        if self.stop and not (self.acts_on_request or self.acts_on_response):
            self.messages |= checked.phases & MESSAGES
        self.awaits_messages = any(action.awaits for kinds, _, action in self._talking if kinds)

    def _bind_late(self, behind: list[Action]) -> None:
        """What acts behind the request pass may be made of the request."""
        self.recalls = any(is_of_request(name) for action in behind for name in action.names)
        self.uses_request_late = any("request" in action.reads_body for action in behind)
        self.holds_request = self.holds_request or self.uses_request_late

    def on_message(self, phase: Phase) -> Bound:
        """What this rule does with a message of this kind."""
        return self._of_messages(phase, False)

    def on_open(self, phase: Phase) -> Bound:
        """What this rule does before the first one."""
        return self._of_messages(phase, True)

    def on_begin(self) -> Bound:
        """What this rule does when a connection of raw TCP begins."""
        bound = self._bounds.get("begin")
        if bound is None:
            bound = self._bounds["begin"] = self._talk("tcp_message", self._beginning)
        return bound

    def _of_messages(self, phase: Phase, at_open: bool) -> Bound:
        event = _MESSAGE_EVENTS[phase]
        key = f"{event} open" if at_open else f"{event} message"
        bound = self._bounds.get(key)
        if bound is None:
            chosen = [act for each, opened, act in self._talking if phase & (opened if at_open else each)]
            bound = self._bounds[key] = self._talk(event, chosen, self.awaits_messages and not at_open)
        return bound

    def _talk(self, event: str, actions: Sequence[Action], awaits: bool = False) -> Bound:
        call = _in_turn([action.bind_message(self.memory) for action in actions], awaits)
        return Bound(call, self.rule, self.name, event, closed=self.rule.on_error == "closed", kind="rule")

    def _bind_connect(self, checked: Checked, actions: list[Action]) -> None:
        passing = [action for action in actions if "clienthello" in action.events]
        self.passes = bool(passing)
        self.only_passes = self.passes and len(passing) == len(actions) and not self.stop
        blocks = [action for action in actions if "http_connect" in action.events]
        # Gates count requests, not tunnels: such a rule waits for the requests inside.
        self.decides_connect = bool(checked.phases & Phase.C) and not self.either_side and self.gate is None
        self.connect: Handler | None = blocks[0].bind() if blocks and self.decides_connect else None
        self.route: Route | None = None
        for action in actions:
            if action.route is not None and self.decides_connect:
                self.route = action.route.over(self.route)
        self.only_routes = (
            self.route is not None
            and self.route.blind
            and not self.stop
            and all(action.route is not None for action in actions)
        )
        self.shadows_connect = self.edits_request or (
            self.acts_on_request and (self.stop or any(action.answers or action.may_answer for action in actions))
        )

    @property
    def in_exchanges(self) -> bool:
        """Whether it has something to do where there are requests and responses, and not on other traffic alone."""
        acts = self.acts_on_request or self.acts_on_response or self.acts_on_error or self.passes
        return acts or bool((self.messages | self.opens) & Phase.V)

    @property
    def only_tcp(self) -> bool:
        """Whether it is about raw TCP alone: nothing is decrypted on the chance that it is inside TLS."""
        return not self.rule.filter.phases & ~Phase.X

    @property
    def key(self) -> Key:
        """What a flow must have, as far as host and path go."""
        return index_key(self.rule.filter)

    @property
    def keys(self) -> tuple[Key, ...]:
        """What a flow must have for each of the ways in which the filter can be true."""
        return index_keys(self.rule.filter)

    def near(self, view: FlowView) -> bool:
        """Whether the filter may be true for this flow, now or later, as far as its request head tells."""
        if self._near is None:
            self._near = compile_node(request_only(self.rule.filter.node))
        return self._near(view)

    def ends_here(self, view: FlowView) -> bool:
        """Whether it is certain, without a body, that no rule below it applies to this flow."""
        if not self.stop or self.gate is not None or self.rule.filter.needs_body or self.holds_request:
            return False
        return self.matches(view)

    def waits_for(self, response: HTTPResponse | None) -> bool:
        """Whether it needs the body of this response, where it needs any: no picture is kept to find no page in it."""
        return self._uses_response or response is None or any(action.touches(response) for action in self._editors)

    def host_may(self, host: str) -> bool:
        """Whether the filter may be true for some flow to this host."""
        if self._host_may is None:
            self._host_may = host_decision(self.rule.filter)
        return self._host_may(host)

    def host_must(self, host: str) -> bool:
        """Whether the filter is true for every flow to this host."""
        negated = self.rule.negated
        if negated is None:
            return False
        if self._host_must is None:
            self._host_must = host_decision(negated)
        return not self._host_must(host)

    def bound(self, event: str) -> Bound:
        """The actions of this rule at an event, in the form that the engine guards."""
        bound = self._bounds.get(event)
        if bound is None:
            call = self._request if event.startswith("request") else self._response
            call = self._error if event == "error" else call
            if event == "http_connect":
                call = _together([self.connect]) if self.connect is not None else call
            bound = Bound(call, self.rule, self.name, event, closed=self.rule.on_error == "closed", kind="rule")
            self._bounds[event] = bound
        return bound


def _no_captures(view: FlowView) -> Captures:
    return _NO_CAPTURES


def _uses_state(rule: Rule, actions: list[Action]) -> bool:
    """Whether the actions or the gates of a rule read or set named state."""
    by = rule.gates.sample.by if rule.gates is not None and rule.gates.sample is not None else None
    if by is not None and by.field.name == "state":
        return True
    return any(
        action.key == "set-state" or any(name.startswith("state[") for name in action.names) for action in actions
    )


def _together(handlers: list[Handler], awaits: bool = False) -> Callable[[HTTPFlow, Captures], object]:
    """One function that calls them in order, and says by True that none of them raised. `awaits` makes it `async`."""
    if awaits:

        async def run_and_wait(flow: HTTPFlow, captures: Captures) -> None:
            for call in handlers:
                waiting = call(flow, captures)
                if waiting is not None:
                    await waiting

        return run_and_wait
    if len(handlers) == 1:
        only = handlers[0]

        def one(flow: HTTPFlow, captures: Captures) -> bool:
            only(flow, captures)
            return True

        return one
    calls = tuple(handlers)

    def run(flow: HTTPFlow, captures: Captures) -> bool:
        for call in calls:
            call(flow, captures)
        return True

    return run


def _in_turn(handlers: list[MessageHandler], awaits: bool) -> Callable[[Subject, Turn, Captures], object]:
    """The same for handlers of messages. The flow of the message goes first, for who asks which one failed."""
    calls = tuple(handlers)
    if awaits:

        async def run_and_wait(subject: Subject, turn: Turn, captures: Captures) -> None:
            for call in calls:
                waiting = call(turn, captures)
                if waiting is not None:
                    await waiting

        return run_and_wait

    def run(subject: Subject, turn: Turn, captures: Captures) -> bool:
        for call in calls:
            call(turn, captures)
        return True

    return run
