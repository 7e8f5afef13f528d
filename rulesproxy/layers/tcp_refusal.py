"""Who may begin a raw TCP connection: addons are asked before its server is dialled, and refused clients are told so.

It knows no bytes of it: those are the business of the layer.
"""

from __future__ import annotations

import logging

from rulesproxy.engine.dispatch import dispatch
from rulesproxy.flow.error import FlowError
from rulesproxy.flow.plan import End
from rulesproxy.flow.tcp import TCPFlow
from rulesproxy.layers.conversation import BY_RULE
from rulesproxy.layers.effects import wait_as_planned
from rulesproxy.layers.layer import Context
from rulesproxy.layers.outcome import FlowFailed, where
from rulesproxy.layers.stream import Stream, StreamClosed, StreamTimeout

_log = logging.getLogger("rulesproxy")


async def ask(context: Context, flow: TCPFlow, certain: bool) -> None:
    """Ask the addons about a connection that begins, and wait as long as they want; `certain`: it is raw TCP.

    Raises:
        StreamClosed: the client has left meanwhile.
    """
    context.services.chain().begin_tcp(flow, certain)
    if flow.planned is not None:
        try:
            await wait_as_planned(context.services, context.stream, flow.planned)
        except FlowFailed as failed:
            _log.error("%s", failed)


def how_refused(flow: TCPFlow) -> End | None:
    """How a connection ends that has only begun; None where it goes on."""
    if flow.killed:
        return "reset"
    if flow.planned is not None and flow.planned.end is not None:
        return flow.planned.end
    return "close" if flow.closing else None


async def tell_refused(context: Context, flow: TCPFlow) -> End:
    """Tell the log and the addons that a connection is refused; gives how."""
    chain, how = context.services.chain(), how_refused(flow) or "close"
    write_line(flow, f"refused: {how}", {"refused": how})
    flow.error = FlowError(BY_RULE, "killed", context.services.clock.wall())
    # Also of one whose bytes would have passed unread: this is all that there is to see of it.
    await dispatch(chain.tcp_error, flow)
    await dispatch(chain.tcp_end, flow)
    return how


def write_line(flow: TCPFlow, outcome: str, fields: dict[str, object]) -> None:
    """Write down what a connection came to that did not end by itself."""
    client, server = where(flow.client_conn.address), where(flow.server_conn.address)
    by = f" ({', '.join(flow.hits)})" if flow.hits else ""
    fields = {"client": client, "target": server, "rules": flow.hits, **fields}
    _log.info("%s TCP %s -> %s%s", client, server, outcome, by, extra={"fields": fields})


async def end_client(context: Context, how: End) -> None:
    """End the connection of a client that gets no answer: `close` it in order, `reset` it, or stay silent."""
    stream, limits = context.stream, context.options.limits
    if how == "reset":
        stream.abort()
    elif how == "close":
        stream.write_eof()
        await read_off(context, stream, limits.close_linger)
    else:
        # What it still sends is read, so that its leaving is noticed.
        await read_off(context, stream, limits.tunnel_idle)


async def read_off(context: Context, stream: Stream, seconds: float) -> None:
    """Read and forget what one side still sends, so long at most: a reset for it would destroy what was sent last."""
    stream.deadline = context.services.clock.now() + seconds
    try:
        while await stream.read():
            pass
    except (StreamClosed, StreamTimeout):
        pass
