"""What a flow's plan asks for beyond its messages: waits, slow lines, ends. The layers call this behind every event.

It knows plans and carries them out with the clock of the layers. How an answer goes wrong is in `faults`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rulesproxy.flow.plan import Plan
from rulesproxy.layers.outcome import FlowEnded, FlowFailed
from rulesproxy.layers.pacing import PacedStream, pause

if TYPE_CHECKING:
    from rulesproxy.layers.exchange import Exchange
    from rulesproxy.layers.layer import Services
    from rulesproxy.layers.stream import Stream


async def obey(exchange: Exchange) -> None:
    """Do what the handlers of an event have asked for. Only for flows with a plan or an error: others pay nothing.

    Raises:
        FlowEnded: the flow is over.
        FlowFailed: a plan cannot be carried out.
        StreamClosed: the client has left meanwhile.
    """
    flow, plan = exchange.flow, exchange.flow.planned
    if flow.killed:
        raise FlowEnded("kill")
    if plan is None:
        return
    await wait_as_planned(exchange.services, exchange.client, plan)
    slow_down(exchange, plan)
    exchange.fault = plan.fault
    if plan.end is not None:
        raise FlowEnded(plan.end)


def slow_down(exchange: Exchange, plan: Plan) -> None:
    """Put the throttles in force that have come to the plan since."""
    throttles = plan.throttles
    if exchange.throttled < len(throttles):
        exchange.client = slowed(exchange.services, exchange.client, plan, exchange.throttled)
        exchange.throttled = len(throttles)


async def wait_as_planned(services: Services, client: Stream, plan: Plan) -> None:
    """Wait as long as the plan says, at most `limits.delay`, while the client is there.

    Raises:
        FlowFailed: its delay is no time.
        StreamClosed: the client has left meanwhile.
    """
    delay = plan.delay
    if not delay:
        return
    plan.delay = 0.0
    if not isinstance(delay, (int, float)) or not math.isfinite(delay) or delay < 0:
        raise FlowFailed("handler", f"an addon asked for a delay of {delay!r}: it is a number of seconds")
    await pause(services.clock, client, min(delay, services.options.limits.delay))


def slowed(services: Services, client: Stream, plan: Plan, done: int = 0) -> Stream:
    """The client's stream as slow as the plan says; the first `done` of its throttles are in force already."""
    for throttle in plan.throttles[done:]:
        client = PacedStream(client, services.clock, throttle)
    return client


def unslowed(stream: Stream) -> Stream:
    """The stream below every `PacedStream`, with everything that was in them."""
    while isinstance(stream, PacedStream):
        stream = stream.detach()
    return stream
