"""The two ordered passes over the rules, one for the request, one for the response; each pauses where it lacks a body.

It knows the order of rules, what each of them sees, and when bodies are needed. What filters and actions do is theirs.

A pass goes through the candidates of a flow from top to bottom. It pauses at a rule that may match but needs a body,
and the event that has the body goes on from that rule. Every change of the request is preceded by a copy of its head,
which costs nothing where nothing is changed: so the response pass sees for every rule the request that this rule saw.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import TypeAlias

from rulesproxy.engine.chain import Bound
from rulesproxy.engine.dispatch import dispatch, run_guarded
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.action import Captures, Side
from rulesproxy.rules.batch import answer_matching, put_back
from rulesproxy.rules.compile import Compiled
from rulesproxy.rules.edits.bodies import prepare_for_body_edit
from rulesproxy.rules.failure import failure_pass
from rulesproxy.rules.hosts import ended, hit, over
from rulesproxy.rules.index import Index, Numbers, asked_of
from rulesproxy.rules.position import Pass
from rulesproxy.rules.state import Store
from rulesproxy.rules.waiting import Waiting

Rest: TypeAlias = Coroutine[object, object, None] | None
"""The rest of a pass that has to wait for an `async` function; None where the pass is over or lacks a body."""


class Passes:
    """The passes of one rule set: what to do at each event of an exchange.

    Args:
        rules: the rules, in order.
        index: finds the candidates; without it every rule is one.
        store: what rules remember under a name; None where none of them does.

    Attributes:
        owner: the identity of the rule set, by which it knows the positions that are its own.
        nothing: the position of every flow that no rule may act on.
    """

    __slots__ = (
        "_bodies", "_editors", "_index", "_looks_back", "_numbers", "_responds", "_rules", "_store", "nothing", "owner",
    )  # fmt: skip

    def __init__(self, rules: Sequence[Compiled], index: Index | None, store: Store | None) -> None:
        self._rules = tuple(rules)
        self._store = store
        self._numbers: Numbers = tuple(range(len(self._rules)))
        self._index = index
        self._editors = frozenset(rule.number for rule in self._rules if rule.edits_response_body)
        # Whether anybody will ask what the request was at the end of its pass.
        self._responds = any(
            rule.acts_on_response or rule.acts_on_error or rule.messages or rule.opens for rule in self._rules
        )
        # Whether anybody will ask what it was when a rule saw it. A rule that the request pass decides alone does not,
        # unless what it writes is made of that request.
        self._looks_back = any(
            rule.acts_on_error or rule.messages or rule.opens or rule.refuses_overflow or rule.edits_response_body
            or (rule.acts_on_response and (rule.either_side or rule.recalls or not rule.decides_on_request))
            for rule in self._rules
        )  # fmt: skip
        self._bodies = Waiting(self._rules)
        self.owner = object()
        self.nothing = Pass(self.owner, ())

    @property
    def handlers(self) -> dict[str, object]:
        """The events that some rule needs, each with its handler."""
        rules = self._rules
        found: dict[str, object] = {}
        if rules:
            found["requestheaders"] = self.requestheaders
        if any(rule.holds_request for rule in rules):
            found["request"] = self.request
        batches = any(rule.answers_batches for rule in rules)
        if batches or any(rule.acts_on_response for rule in rules):
            found["responseheaders"] = self.responseheaders
        if batches or any(rule.holds_response for rule in rules):
            found["response"] = self.response
        if any(rule.acts_on_error for rule in rules):
            found["error"] = self.error
        return found

    # The request pass

    def requestheaders(self, flow: HTTPFlow) -> Rest:
        request = flow.request
        numbers = self._numbers if self._index is None else self._index.candidates(request)
        if not numbers:
            flow.rules = self.nothing
            return None
        state = flow.rules = Pass(self.owner, numbers)
        if self._store is not None:
            self._store.attach(flow)
        if self._index is not None:
            state.asked = asked_of(request)
        if over(flow):
            # Somebody in front of the rules has answered: the response pass is all that is left.
            self._seal(flow, state, False)
            return None
        return self._request_pass(flow, state, FlowView(flow), False)

    def request(self, flow: HTTPFlow) -> Rest:
        state = flow.rules
        if type(state) is not Pass or state.owner is not self.owner or state.waits != "request":
            return None
        state.waits = None
        if state.answered:
            return None
        if over(flow):
            self._seal(flow, state, False)
            return None
        self._ask_again(flow, state, state.at)
        return self._request_pass(flow, state, FlowView(flow), True)

    def _request_pass(self, flow: HTTPFlow, state: Pass, view: FlowView, whole: bool) -> Rest:
        rules = self._rules
        at = state.at
        while at < len(state.numbers):
            rule = rules[state.numbers[at]]
            at += 1
            if not (rule.decides_on_request or rule.holds_request):
                continue
            if rule.holds_request:
                if not whole:
                    if not rule.near(view):
                        continue
                    state.at = at - 1
                    self._bodies.wait_for_request(flow, state, view, state.numbers[state.at :])
                    return None
                if not rule.decides_on_request:
                    continue
                if flow.request.body_source is None:
                    if rule.near(view):
                        self._bodies.tell(rule, flow, "request body was streamed or is over the limit")
                    continue
            if not rule.matches(view) or (rule.gate is not None and not state.opens(rule, view)):
                continue
            state.at = at
            captures = self._enter_request(flow, state, view, rule)
            if captures is None:
                continue
            bound = rule.bound("request" if whole else "requestheaders")
            if rule.awaits_request:
                return self._await_request(flow, state, rule, bound, captures, whole)
            if rule.answers_batches and self._answer_batch(flow, state, rule, bound):
                if self._leave_request(flow, state, rule):
                    break
                view = FlowView(flow)
                continue
            run_guarded(bound, flow, captures)
            if self._leave_request(flow, state, rule):
                break
            if rule.edits_request:
                # A new view is cheaper than making the old one forget what it has read.
                view = FlowView(flow)
        state.at = at
        self._seal(flow, state, whole)
        return None

    def _answer_batch(self, flow: HTTPFlow, state: Pass, rule: Compiled, bound: Bound) -> bool:
        """Let a rule answer its part of a GraphQL batch, if it is one; the rest goes on to the rules below."""
        before = flow.request.copy() if self._looks_back else None
        batch = answer_matching(flow, state.batch, rule, bound)
        if batch is None:
            return False
        state.batch = batch
        if before is not None:
            if state.heads is None:
                state.heads = []
            state.heads.append((rule.number, before))
        return True

    async def _await_request(
        self, flow: HTTPFlow, state: Pass, rule: Compiled, bound: Bound, captures: Captures, whole: bool
    ) -> None:
        """Act with a rule whose function is `async`, and go on behind it."""
        await dispatch((bound,), flow, captures)
        if self._leave_request(flow, state, rule):
            self._seal(flow, state, whole)
            return
        rest = self._request_pass(flow, state, FlowView(flow), whole)
        if rest is not None:
            await rest

    def _enter_request(self, flow: HTTPFlow, state: Pass, view: FlowView, rule: Compiled) -> Captures | None:
        """A rule matches in the request pass: its captures, or None where it does nothing before the response."""
        captures = rule.captures(view)
        if rule.acts_on_response and not rule.either_side:
            if state.matched is None:
                state.matched = {}
            state.matched[rule.number] = captures
        if not rule.acts_on_request:
            return None
        hit(flow, rule)
        if rule.edits_request and self._looks_back:
            if state.heads is None:
                state.heads = []
            state.heads.append((rule.number, flow.request.copy()))
        return captures

    def _leave_request(self, flow: HTTPFlow, state: Pass, rule: Compiled) -> bool:
        """A rule has acted in the request pass; whether the pass is over."""
        if rule.edits_request:
            self._ask_again(flow, state, state.at)
        if rule.stop:
            state.numbers = state.numbers[: state.at]
            return True
        return over(flow)

    def _ask_again(self, flow: HTTPFlow, state: Pass, at: int) -> None:
        """Ask the index for the rest of the rules if what it was asked about has changed since."""
        if self._index is None:
            return
        request = flow.request
        asked = asked_of(request)
        if asked != state.asked:
            state.asked = asked
            done = state.numbers[:at]
            last = done[-1] if done else -1
            state.numbers = (*done, *[number for number in self._index.candidates(request) if number > last])

    def _seal(self, flow: HTTPFlow, state: Pass, whole: bool) -> None:
        """The request pass is over."""
        state.answered = True
        state.reached = state.at
        state.at = 0
        if not self._responds:
            return
        state.seal(flow.request)
        below = state.numbers[state.reached :]
        if over(flow):
            if not whole and below:
                self._hold_for_response(flow, state, below)
        elif self._editors:
            self._prepare(flow, state, FlowView(flow))

    def _hold_for_response(self, flow: HTTPFlow, state: Pass, below: Numbers) -> None:
        """Below an answering rule, response rules may still want to read the request's body."""
        view = FlowView(flow)
        for number in below:
            rule = self._rules[number]
            if rule.acts_on_response and rule.holds_request and rule.near(view):
                self._bodies.wait_for_request(flow, state, view, below)
                return

    def _prepare(self, flow: HTTPFlow, state: Pass, view: FlowView) -> None:
        """Ask the server for a whole and readable body where a rule is going to change it."""
        for number in state.numbers:
            if number not in self._editors:
                continue
            rule = self._rules[number]
            if rule.near(state.view(view, number)):
                prepare_for_body_edit(flow.request)
                return

    # The response pass

    def responseheaders(self, flow: HTTPFlow) -> Rest:
        state = flow.rules
        if state is self.nothing or flow.response is None:
            return None
        if type(state) is not Pass or state.owner is not self.owner:
            state = self.pass_of(flow)
        if not state.answered:
            # The server has answered before the request was complete: the request pass never came to its end.
            self._seal(flow, state, True)
        state.waits = None
        state.at = 0
        if state.batch is not None and state.batch.left:
            # The rest of the answers is in the body. Rules of the response pass see all of them.
            state.waits = "response"
            return None
        return self._response_pass(flow, state, False)

    def response(self, flow: HTTPFlow) -> Rest:
        state = flow.rules
        if type(state) is not Pass or state.owner is not self.owner or state.waits != "response":
            return None
        state.waits = None
        if flow.response is None:
            return None
        if state.batch is not None and state.batch.left:
            put_back(flow, state.batch)
        return self._response_pass(flow, state, True)

    # A flow that has failed

    def error(self, flow: HTTPFlow) -> Rest:
        state = self.pass_of(flow)
        if state is self.nothing or (flow.planned is not None and flow.planned.end is not None):
            # Who ends the connection wants no answer.
            return None
        if not state.answered:
            self._seal(flow, state, True)
        state.waits = None
        return failure_pass(self._rules, self._bodies, flow, state)

    def pass_of(self, flow: HTTPFlow) -> Pass:
        """The position of a flow; of one that began with the rules before a reload, as if its request were over."""
        state = flow.rules
        if type(state) is Pass and state.owner is self.owner:
            return state
        numbers = self._numbers if self._index is None else self._index.candidates(flow.request)
        state = flow.rules = Pass(self.owner, numbers)
        if self._store is not None:
            self._store.attach(flow)
        self._seal(flow, state, True)
        return state

    def _response_pass(self, flow: HTTPFlow, state: Pass, whole: bool) -> Rest:
        rules = self._rules
        view: FlowView | None = None
        at = state.at
        while at < len(state.numbers):
            number = state.numbers[at]
            at += 1
            rule = rules[number]
            if not rule.acts_on_response:
                continue
            holds = not whole and rule.holds_response and rule.waits_for(flow.response)
            captures = state.matched.get(number) if state.matched is not None else None
            if captures is None:
                if rule.decides_on_request and not rule.either_side and at <= state.reached:
                    # The request pass has been at this rule, and it did not match.
                    continue
                if view is None:
                    view = state.base_view(flow)
                seen = state.view(view, number)
                if holds:
                    if not rule.may(seen):
                        continue
                elif not rule.matches(seen):
                    if (rule.reads_request or rule.reads_response) and rule.may(seen):
                        self._bodies.lacks(rule, flow, rule.reads_request)
                    continue
            elif rule.recalls:
                state.recall(flow, rule, captures)
            if holds:
                if self._bodies.is_endless(rule, flow):
                    continue
                state.at = at - 1
                self._bodies.wait_for_response(flow, state, state.numbers[state.at :])
                return None
            if self._bodies.lacks(rule, flow, rule.uses_request_late):
                continue
            if captures is None:
                if rule.gate is not None and not state.opens(rule, seen):
                    continue
                captures = rule.captures(seen)
            hit(flow, rule)
            bound = rule.bound("response" if whole else "responseheaders")
            if rule.awaits_response:
                state.at = at
                return self._await_response(flow, state, rule, bound, captures, whole)
            run_guarded(bound, flow, captures)
            # A new view is cheaper than making the old one forget what it has read.
            view = None
            if rule.stop or ended(flow):
                # Nor do the rules below it have to do with the messages that follow.
                state.numbers = state.numbers[:at]
                break
        state.at = len(state.numbers)
        return None

    async def _await_response(
        self, flow: HTTPFlow, state: Pass, rule: Compiled, bound: Bound, captures: Captures, whole: bool
    ) -> None:
        """The same for the response pass."""
        await dispatch((bound,), flow, captures)
        if rule.stop or ended(flow):
            state.numbers = state.numbers[: state.at]
            return
        rest = self._response_pass(flow, state, whole)
        if rest is not None:
            await rest

    # Bodies

    def lacks_request(self, number: int, flow: HTTPFlow) -> bool:
        """Whether what a rule does is made of a request body that was not kept."""
        return self._bodies.lacks_request(self._rules[number], flow)

    def wants_body(self, flow: HTTPFlow, side: Side) -> bool:
        """Whether the pass of this flow waits for the body of this side."""
        state = flow.rules
        return type(state) is Pass and state.waits == side and state.owner is self.owner
