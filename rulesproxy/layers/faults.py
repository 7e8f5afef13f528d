"""Answers that go wrong on purpose: cut off, badly framed, slow, or on a connection that does not close.

Only the client's side is ever spoiled. What the server got is a whole and valid request, and a connection on which its
answer was not read to the end is never used again.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from rulesproxy.flow.http import HTTPResponse
from rulesproxy.flow.plan import Break, FileBody
from rulesproxy.layers.delivery import encode_head, finish, keeps, write
from rulesproxy.layers.framing import BODILESS, CLOSE, Framing, as_chunked
from rulesproxy.layers.pacing import pause
from rulesproxy.layers.stream import StreamClosed
from rulesproxy.proto.http1 import CHUNKED, encode_chunk, encode_last_chunk

if TYPE_CHECKING:
    from rulesproxy.layers.exchange import Exchange

_log = logging.getLogger("rulesproxy")

_NO_CHUNK = b"this is no chunk\r\n"
"""A chunk-size line without a size (RFC 9112 section 7.1)."""


async def send_spoiled(exchange: Exchange, framing: Framing, body: AsyncGenerator[bytes, None], whole: bool) -> bool:
    """Send the response as its fault says. `whole` means that the addons have seen its end already.

    Gives whether the client's connection can carry another exchange.
    """
    fault, response = exchange.fault, exchange.flow.response
    assert fault is not None
    assert response is not None
    if fault.malformed_chunk and framing.length != BODILESS and exchange.flow.request.http_version != "HTTP/1.0":
        framing = as_chunked(framing)
    keep = keeps(exchange, framing) and fault.slow_close is None
    exchange.client.write(encode_head(exchange, framing, keep))
    exchange.answered = True
    broken = False
    async with aclosing(_cut_up(exchange, framing, body, whole)) as parts:
        if framing.length != BODILESS:
            broken = await _send_body(exchange, framing, parts)
    if not broken and framing.length == CHUNKED:
        exchange.client.write(encode_last_chunk(None if response.trailers is None else response.trailers.raw))
    await write(exchange, [b""])
    if response.timestamp_end is None:
        response.timestamp_end = exchange.services.clock.wall()
    if not whole:
        await exchange.fire_response()
    if broken and framing.length == CLOSE:
        return _reset(exchange)
    if fault.slow_close is not None:
        await exchange.server.release(exchange)
        await _hold_open(exchange, fault.slow_close)
    return await finish(exchange, keep and not broken)


async def break_off(exchange: Exchange, framing: Framing, how: Break) -> bool:
    """A body that streams ends too early, as it was asked for. Gives what `send_spoiled` gives."""
    chunked = framing.length == CHUNKED
    await write(exchange, [_NO_CHUNK if how == "malformed" and chunked else b""])
    await exchange.fire_response()
    if how == "timeout":
        await exchange.layer.end(how)
        return False
    if how == "reset" or framing.length == CLOSE:
        return _reset(exchange)
    return await finish(exchange, False)


def _reset(exchange: Exchange) -> bool:
    # An orderly close would be the end of a body without a length: only a reset says that something is missing.
    exchange.client.on_end(None)
    exchange.client.abort()
    return False


async def _send_body(exchange: Exchange, framing: Framing, parts: AsyncGenerator[bytes, None]) -> bool:
    """Send a body as far as its fault lets it through. Whether it was broken off."""
    fault = exchange.fault
    assert fault is not None
    chunked = framing.length == CHUNKED
    left = fault.truncate
    between = fault.dribble.over / (fault.dribble.chunks - 1) if fault.dribble is not None else 0.0
    first = True
    async for part in parts:
        if not first and between:
            await pause(exchange.services.clock, exchange.client, between)
        first = False
        broken = left is not None and len(part) > left
        if left is not None:
            part = part[:left]
            left -= len(part)
        if part:
            await write(exchange, [encode_chunk(part) if chunked else part])
        if broken:
            return True
        if fault.malformed_chunk:
            break
    if fault.malformed_chunk:
        exchange.client.write(_NO_CHUNK)
    return fault.malformed_chunk


async def _cut_up(
    exchange: Exchange, framing: Framing, body: AsyncGenerator[bytes, None], whole: bool
) -> AsyncGenerator[bytes, None]:
    """The body in the parts in which it dribbles; as it comes, where it does not or its length is not known."""
    fault, response = exchange.fault, exchange.flow.response
    assert fault is not None
    assert response is not None
    async with aclosing(body) as pieces:
        if fault.dribble is None:
            async for piece in pieces:
                yield piece
            return
        length = _held_length(response) if whole else framing.length
        if length < 0:
            _log.warning(
                "%s %s: the response does not dribble: nobody knows how long it is",
                exchange.flow.request.method, exchange.flow.request.url,
            )  # fmt: skip
        size = max(1, -(-length // fault.dribble.chunks))
        rest = bytearray()
        async for piece in pieces:
            if length < 0:
                yield piece
                continue
            rest += piece
            while len(rest) > size:
                yield bytes(rest[:size])
                del rest[:size]
        if rest:
            yield bytes(rest)


def _held_length(response: HTTPResponse) -> int:
    body = response.body_source
    return body.length if isinstance(body, FileBody) else len(body or b"")


async def _hold_open(exchange: Exchange, seconds: float) -> None:
    try:
        await pause(exchange.services.clock, exchange.client, min(seconds, exchange.limits.delay))
    except StreamClosed:
        # It has its answer, and need not wait.
        pass
