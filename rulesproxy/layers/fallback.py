"""What the client gets where a flow has failed before a byte of an answer was out: a handler's answer, or our page.

It does what the plan asks for, as for any other answer. What has gone wrong, and who is told, is the business of
`exchange`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from rulesproxy.flow.http import HTTPFlow, HTTPResponse
from rulesproxy.flow.plan import Fault
from rulesproxy.layers.delivery import send_held
from rulesproxy.layers.effects import slow_down, wait_as_planned
from rulesproxy.layers.outcome import FlowFailed
from rulesproxy.layers.pages import error_page
from rulesproxy.layers.stream import StreamClosed, StreamTimeout

if TYPE_CHECKING:
    from rulesproxy.layers.exchange import Exchange

_Effects: TypeAlias = tuple[Fault | None, int]


def effects_of(flow: HTTPFlow) -> _Effects:
    """What a plan does to answers: its fault, and how many throttles it has."""
    plan = flow.planned
    return (None, 0) if plan is None else (plan.fault, len(plan.throttles))


async def answer_failure(exchange: Exchange, status: int, why: str, spoils: bool) -> None:
    """Answer a flow that has failed, and end the connection.

    `spoils` says that a handler of `error` has asked for a fault or a slow line. A rule that spoils answers of servers
    does not spoil our page, which says why there is none; a rule for flows that fail does.
    """
    flow, plan = exchange.flow, exchange.flow.planned
    exchange.keep = False
    try:
        if plan is not None:
            await wait_as_planned(exchange.services, exchange.client, plan)
            if plan.end is not None:
                await exchange.layer.end(plan.end)
                return
        if flow.response is None:
            if not spoils:
                await exchange.layer.refuse(status, why)
                return
            body, _ = error_page(status, why)
            flow.response = HTTPResponse.make(status, body, [("content-type", "text/plain; charset=utf-8")])
        if plan is not None:
            # Nothing of what the line had been slowed by is in force any more.
            exchange.throttled = 0
            slow_down(exchange, plan)
        exchange.fault = None if plan is None else plan.fault
        await send_held(exchange)
    except (FlowFailed, OSError, StreamClosed, StreamTimeout):
        # It leaves meanwhile, or what was to be sent cannot be sent.
        exchange.client.abort()
