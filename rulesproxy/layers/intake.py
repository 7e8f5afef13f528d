"""How a request body is read from the client: kept, passed on while it arrives, or skipped.

It decides which of them, and fires `request` behind the last byte. Passing on is the work of `upload`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rulesproxy.layers.framing import frame_request
from rulesproxy.layers.upload import Upload
from rulesproxy.proto.http1 import NEED_DATA, End

if TYPE_CHECKING:
    from rulesproxy.layers.exchange import Exchange

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


async def take_request_body(exchange: Exchange) -> None:
    """Read the request body, or pass it on, and fire `request` behind its last byte."""
    flow, head, limit = exchange.flow, exchange.head, exchange.limits.body
    request = flow.request
    wanted = not request.stream and (
        exchange.chain.wants_body(flow, "request") or (flow.planned is not None and flow.planned.keep_bodies)
    )
    parts: list[bytes] = []
    if wanted and head.length <= limit and await _keep(exchange, parts):
        request.body_source = b"".join(parts)
        return await exchange.fire_request()
    if wanted:
        exchange.too_big("request", 413)
    request.body_source = None
    if flow.response is not None:
        # Answered already: read a little of the body, to keep the connection, and keep none of it.
        await _skip(exchange)
        return await exchange.fire_request()
    upstream = await exchange.server.connect(exchange)
    framing = frame_request(request, head, streamed=True)
    upstream.send_request(exchange, framing, whole=False)
    exchange.upload = Upload(upstream)
    return await exchange.upload.start(exchange, parts)


async def _keep(exchange: Exchange, parts: list[bytes]) -> bool:
    """Read the whole body into `parts`; False, with what was read, if it is over the limit."""
    if exchange.head.expect:
        # The server is not asked before the body is here, so nobody else can answer this (RFC 9110 10.1.1).
        exchange.client.write(_CONTINUE)
        await exchange.client.drain()
    size = 0
    while True:
        message = await _next(exchange)
        if isinstance(message, End):
            exchange.finish_request(message)
            return True
        parts.append(message)
        size += len(message)
        if size > exchange.limits.body:
            return False


async def _skip(exchange: Exchange) -> None:
    left = exchange.limits.drain_request
    if exchange.head.expect or exchange.head.length > left:
        # A client that waits for 100 may never send the body (RFC 9110 section 10.1.1).
        exchange.keep = False
        return
    while not isinstance(message := await _next(exchange), End):
        left -= len(message)
        if left < 0:
            exchange.keep = False
            return
    exchange.finish_request(message)


async def _next(exchange: Exchange) -> bytes | End:
    reader, client = exchange.reader, exchange.client
    while (message := reader.next_message()) is NEED_DATA:
        client.deadline = exchange.now() + exchange.limits.body_stall
        data = await client.read()
        if data:
            reader.feed(data)
        else:
            reader.feed_eof()
    return message  # type: ignore[return-value]
