"""What does the client speak? The first bytes decide which layer comes next.

A TLS record, an HTTP method, or else raw TCP. Where the client stays silent, the server is asked to speak first.
"""

from __future__ import annotations

import asyncio
import logging
import re

from rulesproxy.flow.url import default_port, format_authority
from rulesproxy.layers.http import HTTPLayer
from rulesproxy.layers.layer import Context, run_next
from rulesproxy.layers.reach import DialError, close_stream, open_tunnel
from rulesproxy.layers.stream import FOREVER, Stream, StreamClosed, StreamTimeout
from rulesproxy.layers.tcp import TCPLayer
from rulesproxy.proto.clienthello import looks_like_tls

_log = logging.getLogger("rulesproxy")

_METHOD = re.compile(rb"[A-Za-z][A-Za-z\-]{0,31} [!-~]").match
_MAYBE_METHOD = re.compile(rb"[A-Za-z][A-Za-z\-]{0,31}( |$)").match

_HTTP2 = b"PRI * HTTP/2.0\r\n"
"""How HTTP/2 begins where both sides know that it does (RFC 9113 section 3.4)."""


async def run_tunnel(context: Context) -> None:
    """Run the layers inside a tunnel whose other end is `context.server_conn`."""
    server_conn = context.server_conn
    assert server_conn is not None
    server: Stream | None = None
    # Behind TLS on its port it is HTTPS: a client that has connected in advance must not make us dial the server.
    waits = server_conn.tls and server_conn.address[1] == default_port("https")
    first = await (peek if waits else peek_briefly)(context)
    layer = TCPLayer(context)
    if first is None:
        # The server would be dialled now: this is the moment to refuse it.
        if not await layer.begin():
            await run_next(layer)
            return
        try:
            first, server = await _who_speaks_first(context)
        except DialError as exc:
            layer.failed = exc
            await run_next(layer)
            return
    if server is not None:
        layer.server = server
        try:
            await run_next(layer)
        finally:
            await close_stream(context.services, server, server_conn)
    elif looks_like_tls(first) and not server_conn.tls:
        from rulesproxy.layers.tls import TLSLayer

        await run_next(TLSLayer(context))
    elif _is_http(first):
        await run_next(HTTPLayer(context))
    elif first or not waits:
        # Who has ended its direction without a word may still want to hear the server.
        if first.startswith(_HTTP2):
            _log.info(
                "%s speaks HTTP/2 without TLS: it is passed on as raw TCP, and no rule sees its requests",
                format_authority(*server_conn.address, ""),
            )
        await run_next(layer)


async def peek(context: Context) -> bytes:
    """The client's first bytes, as many as it takes to tell what it speaks; they are left to be read."""
    stream, resting = context.stream, context.services.resting
    data = b""
    stream.deadline = context.services.clock.now() + context.options.limits.idle
    try:
        # Browsers connect in advance: a client that has said nothing is none that a shutdown waits for.
        resting.add(stream)
        while not data or (_undecided(data) and len(data) < 64):
            more = await stream.read()
            resting.discard(stream)
            if not more:
                break
            data += more
    finally:
        resting.discard(stream)
        stream.unread(data)
        stream.deadline = FOREVER
    context.peeked = data
    return data


async def peek_briefly(context: Context) -> bytes | None:
    """The same, but None for a client that waits for the server to speak first."""
    try:
        async with asyncio.timeout(context.options.limits.peek):
            return await peek(context)
    except TimeoutError:
        return None


def _undecided(data: bytes) -> bool:
    if data[0] == 0x16:
        return len(data) < 3
    if data.startswith(b"PRI "):
        return _HTTP2.startswith(data)
    return _MAYBE_METHOD(data) is not None and not _METHOD(data)


def _is_http(first: bytes) -> bool:
    return _METHOD(first) is not None and not first.startswith(_HTTP2)


async def _who_speaks_first(context: Context) -> tuple[bytes, Stream | None]:
    """Dial the server and wait for either side: the client's first bytes, or a server that has spoken."""
    services, server_conn = context.services, context.server_conn
    assert server_conn is not None
    address = server_conn.address
    server = await open_tunnel(context)
    client_task = asyncio.ensure_future(peek(context))
    server.deadline = services.clock.now() + context.options.limits.idle
    server_task = asyncio.ensure_future(server.read())
    keep = False
    try:
        await asyncio.wait({client_task, server_task}, return_when=asyncio.FIRST_COMPLETED)
        if server_task.done() and not client_task.done():
            server.unread(server_task.result())
            keep = True
            return b"", server
        first = client_task.result()
        keep = not (looks_like_tls(first) or _is_http(first))
        return first, server if keep else None
    except (StreamClosed, StreamTimeout):
        return b"", None
    finally:
        for task in (client_task, server_task):
            task.cancel()
        await asyncio.wait({client_task, server_task})
        for task in (client_task, server_task):
            if not task.cancelled():
                task.exception()
        server.deadline = FOREVER
        if not keep:
            await close_stream(services, server, server_conn)
            # What was dialled is gone; what comes now is reached by the way that its requests are given.
            context.server_conn = context.server(address, server_conn.tls)
