"""At which moments an action acts under a filter: in the passes of an exchange, on messages, when something begins.

It knows single actions and filters, not the order of rules.
"""

from __future__ import annotations

from rulesproxy.filters.analysis import reads
from rulesproxy.filters.check import Checked
from rulesproxy.filters.phases import NONE, Phase
from rulesproxy.rules.action import Action

PHASES = {
    "http_connect": Phase.C, "clienthello": Phase.T, "requestheaders": Phase.Q, "request": Phase.B,
    "responseheaders": Phase.R, "response": Phase.S, "error": Phase.E,
}  # fmt: skip
"""The phase of a filter at each event that rules are bound to."""

SENT = frozenset({"~b", "~bq", "~bs"})
"""Fields that read a message where there is one."""

REQUEST_SIDE = Phase.Q | Phase.B
RESPONSE_SIDE = Phase.R | Phase.S


def mask(action: Action) -> Phase:
    """The phases in which an action is legal."""
    phases = Phase(0)
    for event in action.legal:
        phases |= PHASES[event]
    return phases | action.legal_messages


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


def begins(action: Action, checked: Checked) -> bool:
    """Whether an action acts when a connection of raw TCP begins: where its filter needs no more than is known then."""
    return begins_with(checked, action.begins)


def begins_with(checked: Checked, phases: Phase) -> bool:
    """Whether a filter is decided when a connection of raw TCP begins, at one of these moments: without a message, and
    without a server."""
    if not checked.phases & phases or _reads_message(checked):
        return False
    return not any(read.field.side == "response" for read in reads(checked.node))


def opens(action: Action, checked: Checked) -> Phase:
    """The kinds of conversations on which an action acts once, before their first message."""
    kinds = on_messages(action, checked)
    if action.at_open:
        return kinds
    if begins(action, checked) or not action.begins & Phase.X or _reads_message(checked):
        return NONE
    return kinds & Phase.X


def acts_on_each(action: Action, checked: Checked) -> Phase:
    """The kinds of conversations on whose single messages an action acts."""
    kinds = on_messages(action, checked) & ~opens(action, checked)
    return kinds & ~Phase.X if begins(action, checked) else kinds


def _reads_message(checked: Checked) -> bool:
    return any(read.field.side == "message" or read.field.name in SENT for read in reads(checked.node))
