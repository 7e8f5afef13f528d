"""`Waiting`: which bodies the rules of a set wait for, and what happens to a rule whose body is not kept."""

from __future__ import annotations

from collections.abc import Sequence

from rulesproxy.engine.log import logger
from rulesproxy.filters.fields.message import is_event_stream
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.compile import Compiled
from rulesproxy.rules.index import Numbers
from rulesproxy.rules.position import Pass


class Waiting:
    """The bodies of one rule set."""

    __slots__ = ("_rules", "_strict", "_told")

    def __init__(self, rules: Sequence[Compiled]) -> None:
        self._rules = tuple(rules)
        self._strict = frozenset(rule.number for rule in self._rules if rule.refuses_overflow)
        self._told: set[str] = set()

    def lacks(self, rule: Compiled, flow: HTTPFlow, request: bool) -> bool:
        """Whether a body that this rule needs was not kept, the request's only if `request`; it does not apply then."""
        response = flow.response
        if rule.holds_response and response is not None and response.body_source is None and rule.waits_for(response):
            self.tell(rule, flow, "response body was streamed or is over the limit")
            return True
        if request and flow.request.body_source is None:
            self.tell(rule, flow, "request body was streamed or is over the limit")
            return True
        return False

    def lacks_request(self, rule: Compiled, flow: HTTPFlow) -> bool:
        """Whether what this rule does is made of the request body, and that was not kept; it does not apply then."""
        if not rule.uses_request_late or flow.request.body_source is not None:
            return False
        self.tell(rule, flow, "request body was streamed or is over the limit")
        return True

    def is_endless(self, rule: Compiled, flow: HTTPFlow) -> bool:
        """Whether this rule would wait for the end of an event stream, which does not come."""
        response = flow.response
        if response is None or not is_event_stream(response.headers):
            return False
        if response.body_source and not rule.reads_response:
            # A stream that was made here has its end.
            return False
        self.tell(rule, flow, "response is an event stream")
        return True

    def wait_for_request(self, flow: HTTPFlow, state: Pass, view: FlowView, numbers: Numbers) -> None:
        """The pass goes on at the first of `numbers` when the request body is there, or was not kept."""
        state.waits = "request"
        if not self._strict:
            return
        for number in numbers:
            rule = self._rules[number]
            if number in self._strict and rule.holds_request and rule.near(view):
                flow.plan.refuses_big |= {"request"}
                return
            if rule.ends_here(view):
                return

    def wait_for_response(self, flow: HTTPFlow, state: Pass, numbers: Numbers) -> None:
        """The same for the response body."""
        state.waits = "response"
        if not self._strict:
            return
        base = state.base_view(flow)
        for at, number in enumerate(numbers, state.at):
            rule = self._rules[number]
            view = state.view(base, number)
            matched = state.matched is not None and number in state.matched
            if not matched and rule.decides_on_request and not rule.either_side and at < state.reached:
                continue
            holds = rule.acts_on_response and rule.holds_response and rule.waits_for(flow.response)
            if holds and number in self._strict and (matched or rule.may(view)) and not self.is_endless(rule, flow):
                flow.plan.refuses_big |= {"response"}
                return
            if not holds and rule.ends_here(view):
                return

    def tell(self, rule: Compiled, flow: HTTPFlow, why: str) -> None:
        """Say once per rule that it could not apply because a body is missing."""
        if rule.name not in self._told:
            self._told.add(rule.name)
            logger.warning(
                "rule %s did not apply to %s %s: the %s (said once)",
                rule.name, flow.request.method, flow.request.url, why,
            )  # fmt: skip
