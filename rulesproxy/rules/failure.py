"""The pass over the rules for a flow that has failed: there is no response, unless a rule makes one.

Until a rule answers, only rules whose filters name the error act. What is made then is like a local answer to the rules
below: they see a response, and edit it.
"""

from __future__ import annotations

from collections.abc import Sequence

from rulesproxy.engine.dispatch import dispatch, run_guarded
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.action import Captures
from rulesproxy.rules.compile import Compiled
from rulesproxy.rules.hosts import hit
from rulesproxy.rules.position import Pass
from rulesproxy.rules.waiting import Waiting


async def failure_pass(rules: Sequence[Compiled], bodies: Waiting, flow: HTTPFlow, state: Pass) -> None:
    """Let the rules act on a flow whose `error` is set. `bodies` knows what a body that is missing means."""
    view = state.base_view(flow)
    for at, number in enumerate(state.numbers):
        rule = rules[number]
        answered = flow.response is not None
        if not (rule.acts_on_error or (answered and rule.acts_on_response)):
            continue
        if not answered and rule.name in flow.hits:
            # It has acted on the response that broke off.
            continue
        captures = _captures(rule, bodies, flow, state, at, view)
        if captures is None:
            continue
        hit(flow, rule)
        event = "response" if answered and rule.acts_on_response else "error"
        if rule.awaits_response:
            await dispatch((rule.bound(event),), flow, captures)
        else:
            run_guarded(rule.bound(event), flow, captures)
        if rule.stop or (flow.planned is not None and flow.planned.end is not None):
            return
        view = state.base_view(flow)


def _captures(rule: Compiled, bodies: Waiting, flow: HTTPFlow, state: Pass, at: int, view: FlowView) -> Captures | None:
    """The captures of a rule that is true for the flow; None where it is not, or where its gate is closed."""
    captures = state.matched.get(rule.number) if state.matched is not None else None
    if captures is not None:
        if bodies.lacks_request(rule, flow):
            return None
        if rule.recalls:
            state.recall(flow, rule, captures)
        return captures
    if rule.decides_on_request and not rule.either_side and at < state.reached:
        # The request pass has been at this rule, and it did not match.
        return None
    seen = state.view(view, rule.number)
    if not rule.matches(seen) or bodies.lacks_request(rule, flow) or not state.opens(rule, seen):
        return None
    return rule.captures(seen)
