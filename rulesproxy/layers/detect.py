"""What does the client speak? The first bytes decide which layer comes next.

A TLS record, an HTTP method, or else raw TCP. Where the client stays silent, the server is asked to speak first.
"""

from __future__ import annotations

import asyncio
import re

from rulesproxy.flow.connection import ServerConn
from rulesproxy.layers.http import HTTPLayer
from rulesproxy.layers.layer import Context, run_next
from rulesproxy.layers.stream import FOREVER, Stream, StreamClosed, StreamTimeout
from rulesproxy.layers.tcp import TCPLayer
from rulesproxy.layers.tls import TLSLayer
from rulesproxy.layers.upstream import DialError, close_stream, open_stream
from rulesproxy.proto.clienthello import looks_like_tls

_METHOD = re.compile(rb"[A-Za-z][A-Za-z\-]{0,31} [!-~]").match
_MAYBE_METHOD = re.compile(rb"[A-Za-z][A-Za-z\-]{0,31}( |$)").match


async def run_tunnel(context: Context) -> None:
    """Run the layers inside a tunnel whose other end is `context.server_conn`."""
    server_conn = context.server_conn
    assert server_conn is not None
    limits = context.options.limits
    server: Stream | None = None
    try:
        async with asyncio.timeout(limits.peek):
            first = await peek(context)
    except TimeoutError:
        try:
            first, server = await _who_speaks_first(context, server_conn)
        except DialError as exc:
            await run_next(TCPLayer(context, events=True, failed=exc))
            return
    if server is None and not first:
        return
    if server is None and looks_like_tls(first):
        await run_next(TLSLayer(context))
    elif server is None and _METHOD(first):
        await run_next(HTTPLayer(context, "http", server_conn.address))
    elif server is None:
        await run_next(TCPLayer(context, events=True))
    else:
        try:
            await run_next(TCPLayer(context, server, events=True))
        finally:
            await close_stream(context.services, server, server_conn)


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


def _undecided(data: bytes) -> bool:
    if data[0] == 0x16:
        return len(data) < 3
    return _MAYBE_METHOD(data) is not None and not _METHOD(data)


async def _who_speaks_first(context: Context, server_conn: ServerConn) -> tuple[bytes, Stream | None]:
    """Dial the server and wait for either side: the client's first bytes, or a server that has spoken."""
    services = context.services
    server = await open_stream(services, server_conn)
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
        keep = not (looks_like_tls(first) or _METHOD(first) or not first)
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
