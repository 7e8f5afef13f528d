"""SOCKS5 from a client (RFC 1928): the negotiation at the start of a connection.

What follows is any tunnel's business.
"""

from __future__ import annotations

import logging

from rulesproxy.flow.connection import Address
from rulesproxy.flow.tcp import TCPFlow
from rulesproxy.flow.url import format_authority
from rulesproxy.layers.auth import accepts
from rulesproxy.layers.layer import Context
from rulesproxy.layers.stream import FOREVER, StreamClosed, StreamTimeout
from rulesproxy.layers.tcp_refusal import ask, end_client, how_refused, tell_refused
from rulesproxy.layers.via import read_message
from rulesproxy.proto import ProtocolError, socks5

_log = logging.getLogger("rulesproxy")


async def negotiate(context: Context) -> Address | None:
    """Where the client wants to go; None where it has been refused, or has left.

    Success is told before the server is dialled, as with CONNECT: what a rule answers needs no server.
    """
    stream, services = context.stream, context.services
    services.resting.add(stream)
    stream.deadline = services.clock.now() + context.options.limits.header_read
    try:
        address = await _negotiate(context)
    except ProtocolError as exc:
        level = logging.WARNING if isinstance(exc, socks5.SocksError) else logging.INFO
        _log.log(level, "SOCKS5 client %s: %s", format_authority(*context.client_conn.address, ""), exc)
        if isinstance(exc, socks5.SocksError):
            stream.write(socks5.encode_reply(exc.reply))
        address = None
    except (StreamClosed, StreamTimeout):
        address = None
    finally:
        services.resting.discard(stream)
    stream.deadline = FOREVER
    if address is None:
        await stream.close()
    return address


async def _negotiate(context: Context) -> Address | None:
    stream, auth = context.stream, context.options.auth
    methods = await read_message(stream, socks5.parse_greeting)
    wanted = socks5.PASSWORD if auth else socks5.NO_AUTH
    if wanted not in methods:
        stream.write(socks5.encode_method(socks5.NO_METHOD))
        why = "it offers no user and password" if auth else "it insists on a user and password"
        raise ProtocolError(f"refused: {why}")
    stream.write(socks5.encode_method(wanted))
    if auth:
        user, password = await read_message(stream, socks5.parse_credentials)
        accepted = accepts(auth, user, password)
        stream.write(socks5.encode_verdict(accepted))
        if not accepted:
            raise ProtocolError("refused: wrong user or password")
    address = await read_message(stream, socks5.parse_request)
    flow = TCPFlow(context.client_conn, context.server(address), context.services.clock.wall(), context.options.limits)
    await ask(context, flow, certain=False)
    if how_refused(flow) is None:
        stream.write(socks5.encode_reply(socks5.SUCCEEDED))
        return address
    how = await tell_refused(context, flow)
    if how == "close":
        stream.write(socks5.encode_reply(socks5.NOT_ALLOWED))
    context.services.resting.discard(stream)
    await end_client(context, how)
    return None
