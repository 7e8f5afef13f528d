"""When in a flow an action acts: at the earliest moment that its filter and it allow.

It knows actions and checked filters one by one, and nothing of the order of rules.
"""

from __future__ import annotations

from rulesproxy.filters.check import Checked, Phase
from rulesproxy.filters.phases import NONE
from rulesproxy.rules.action import Action

PHASES = {
    "http_connect": Phase.C, "clienthello": Phase.T, "requestheaders": Phase.Q, "request": Phase.B,
    "responseheaders": Phase.R, "response": Phase.S, "error": Phase.E,
}  # fmt: skip
"""The phase of a filter at each event that rules are bound to."""

REQUEST_SIDE = Phase.Q | Phase.B
RESPONSE_SIDE = Phase.R | Phase.S


def on_request(action: Action, checked: Checked) -> bool:
    """Whether an action runs in the request pass under this filter: wherever it may and the filter is decided there."""
    return bool(mask(action) & REQUEST_SIDE) and bool(checked.phases & REQUEST_SIDE) and not checked.uses_response


def on_response(action: Action, checked: Checked) -> bool:
    """Whether an action runs in the response pass: where it is legal there only, or the filter is decided there only.

    A filter that reads whichever side is there is tried in both passes.
    """
    if not (mask(action) & RESPONSE_SIDE and checked.phases & RESPONSE_SIDE):
        return False
    return checked.either_side or not on_request(action, checked)


def on_error(action: Action, checked: Checked) -> bool:
    """Whether an action runs for a flow that has failed, under a filter that names the error: it needs no response."""
    return bool(mask(action) & Phase.E) and not on_request(action, checked)


def on_messages(action: Action, checked: Checked) -> Phase:
    """The kinds of messages on which an action acts: those for which it could not act on the exchange before."""
    if on_request(action, checked) or on_response(action, checked):
        return NONE
    return action.legal_messages & checked.phases


def mask(action: Action) -> Phase:
    """The phases in which an action is legal."""
    phases = Phase(0)
    for event in action.legal:
        phases |= PHASES[event]
    return phases | action.legal_messages
