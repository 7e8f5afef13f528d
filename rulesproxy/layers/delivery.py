"""How a response gets to the client: as it arrives, or when it is whole; and how both connections go on behind it.

It knows framing and what keeps a connection. It does not know where the response came from, nor what was wanted of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from rulesproxy.flow.headers import Headers
from rulesproxy.flow.plan import Ending, FileBody, Pause
from rulesproxy.layers.effects import obey, slow_down, unslowed
from rulesproxy.layers.framing import BODILESS, CLOSE, Framing, frame_response
from rulesproxy.layers.outcome import BrokenOff, FlowFailed, taken
from rulesproxy.layers.pacing import pause
from rulesproxy.layers.repeats import Beats
from rulesproxy.layers.server_side import bad_response
from rulesproxy.layers.stream import FOREVER
from rulesproxy.proto import ProtocolError
from rulesproxy.proto.http1 import (
    CHUNKED,
    NEED_DATA,
    End,
    encode_chunk,
    encode_last_chunk,
    encode_response_head,
)

if TYPE_CHECKING:
    from rulesproxy.layers.exchange import Exchange

_BATCH = 64
"""Pieces of a body that are joined before they are written, where many small ones have arrived."""


async def stream_response(exchange: Exchange, parts: list[bytes]) -> bool:
    """Pass the body on as it arrives, held back by a client that reads slowly; `parts` has arrived already.

    Gives whether the client's connection can carry another exchange.
    """
    response, upstream = exchange.flow.response, exchange.server.upstream
    assert response is not None
    assert upstream is not None
    response.body_source = None
    framing = frame_response(exchange.flow, exchange.server.head, streamed=True, method=exchange.head.method)
    if exchange.fault is not None or callable(response.stream):
        return await _stream_watched(exchange, framing, parts)
    keep = keeps(exchange, framing)
    chunked = framing.length == CHUNKED
    out = [encode_head(exchange, framing, keep)]
    exchange.answered = True
    for part in parts:
        out.append(encode_chunk(part) if chunked else part)
    next_message = upstream.reader.next_message
    while True:
        try:
            message = next_message()
        except ProtocolError as exc:
            raise bad_response(exchange, exc) from None
        if message is NEED_DATA or len(out) > _BATCH:
            if out:
                await write(exchange, out)
            if message is NEED_DATA:
                message = await exchange.server.next_message(exchange)
        if isinstance(message, bytes):
            out.append(encode_chunk(message) if chunked else message)
        else:
            break
    assert isinstance(message, End)
    finish_response(exchange, message)
    if chunked:
        out.append(encode_last_chunk(message.trailers))
    await write(exchange, out)
    await exchange.fire_response()
    return await finish(exchange, keep)


async def _stream_watched(exchange: Exchange, framing: Framing, parts: list[bytes]) -> bool:
    """The same where the body goes wrong on purpose, or somebody has put a function in its way."""
    try:
        if exchange.fault is not None:
            return await _spoil(exchange, framing, _arriving(exchange, parts), whole=False)
        return await _stream_changed(exchange, framing, parts)
    except BrokenOff as broken:
        from rulesproxy.layers.faults import break_off

        return await break_off(exchange, framing, broken.how)


async def _stream_changed(exchange: Exchange, framing: Framing, parts: list[bytes]) -> bool:
    """Pass on what a function makes of the body. What it gives is sent at once."""
    response = exchange.flow.response
    assert response is not None
    keep, chunked = keeps(exchange, framing), framing.length == CHUNKED
    out = [encode_head(exchange, framing, keep)]
    exchange.answered = True
    await write(exchange, out)
    async with aclosing(_arriving(exchange, parts)) as body:
        async for piece in body:
            out.append(encode_chunk(piece) if chunked else piece)
            await write(exchange, out)
    if chunked:
        out.append(encode_last_chunk(None if response.trailers is None else response.trailers.raw))
    if out:
        await write(exchange, out)
    await exchange.fire_response()
    return await finish(exchange, keep)


async def send_whole(exchange: Exchange) -> bool:
    """Show a response that is in hand to the addons, and send it. Gives what `stream_response` gives."""
    flow = exchange.flow
    await exchange.fire_response()
    if flow.error is not None or flow.planned is not None:
        await obey(exchange)
    return await send_held(exchange)


async def send_held(exchange: Exchange) -> bool:
    """Send a response that is in hand and that the addons have seen. Gives what `stream_response` gives."""
    flow = exchange.flow
    response = flow.response
    if response is None:
        raise taken()
    framing = frame_response(flow, exchange.server.head, streamed=False, method=exchange.head.method)
    if exchange.fault is not None:
        return await _spoil(exchange, framing, _held(exchange, response.body_source), whole=True)
    keep = keeps(exchange, framing)
    out = [encode_head(exchange, framing, keep)]
    exchange.answered = True
    if framing.length != BODILESS:
        body = response.body_source
        if isinstance(body, FileBody):
            async with aclosing(file_pieces(exchange, body)) as read:
                async for piece in read:
                    out.append(piece)
                    await write(exchange, out)
        elif body:
            out.append(encode_chunk(body) if framing.length == CHUNKED else body)
        if framing.length == CHUNKED:
            out.append(encode_last_chunk(None if response.trailers is None else response.trailers.raw))
    if out:
        await write(exchange, out)
    return await finish(exchange, keep)


async def write(exchange: Exchange, parts: list[bytes]) -> None:
    """Send `parts`, which is empty then, and wait for a client that is behind."""
    client = exchange.client
    client.write(parts[0] if len(parts) == 1 else b"".join(parts))
    parts.clear()
    client.deadline = exchange.now() + exchange.limits.body_stall
    await client.drain()


def finish_response(exchange: Exchange, end: End) -> None:
    """The end of the server's response was read."""
    response = exchange.flow.response
    assert response is not None
    if end.trailers:
        response.trailers = Headers.of(end.trailers)
    response.timestamp_end = exchange.services.clock.wall()


async def file_pieces(exchange: Exchange, body: FileBody) -> AsyncGenerator[bytes, None]:
    """A part of a file, piece by piece; disks are slow, so the loop does not read.

    Raises:
        FlowFailed: the file cannot be read, or has become shorter.
    """
    loop = asyncio.get_running_loop()
    left = body.length
    try:
        file = await loop.run_in_executor(None, body.path.open, "rb")
        with file:
            file.seek(body.start)
            while left:
                data = await loop.run_in_executor(None, file.read, min(left, exchange.limits.write_buffer))
                if not data:
                    raise FlowFailed("handler", f"{body.path} became shorter while it was sent")
                left -= len(data)
                yield data
    except OSError as exc:
        raise FlowFailed("handler", f"cannot read {body.path}: {exc.strerror}") from None


def keeps(exchange: Exchange, framing: Framing) -> bool:
    """Whether the client's connection goes on behind this response."""
    if not exchange.keep or framing.length == CLOSE or exchange.services.closing:
        return False
    if exchange.upload is None or not exchange.upload.running:
        return True
    # The answer overtakes the request. What is left of it must be worth the wait.
    return 0 < exchange.head.length <= exchange.limits.drain_request and not exchange.head.expect


def encode_head(exchange: Exchange, framing: Framing, keep: bool, switches: bool = False) -> bytes:
    """The head of the response for the wire; `switches` where it is the server's 101.

    Raises:
        FlowFailed: a handler has made a response that cannot be sent.
    """
    response = exchange.flow.response
    assert response is not None
    fields = framing.fields
    if not keep:
        fields = [*fields, (b"connection", b"Connection", b"close")]
    if response.status_code < 200 and not switches:
        # It would be an interim response, and its client would wait for the final one (RFC 9110 section 15.2).
        raise FlowFailed("handler", f"a rule or an addon answered with {response.status_code}, which ends nothing")
    try:
        return encode_response_head(response.status_code, response.reason, fields)
    except ValueError as exc:
        raise FlowFailed("handler", f"a rule or an addon made a response that cannot be sent: {exc}") from None


async def finish(exchange: Exchange, keep: bool) -> bool:
    """The response is out: settle both connections. Gives whether the client's goes on."""
    upload = exchange.upload
    if upload is not None:
        if keep and upload.running:
            await upload.wait(exchange.limits.close_linger)
        keep = keep and not upload.running and upload.error is None
    if exchange.throttled:
        exchange.client = unslowed(exchange.client)
    client = exchange.client
    client.on_end(None)
    client.deadline = FOREVER
    await exchange.server.release(exchange)
    if not keep and (exchange.flow.request.timestamp_end is None or client.pending or exchange.reader.started):
        # Something of the client's is unread, and closing on it would reset the connection.
        await exchange.layer.linger()
    return keep


# Answers that are meant to go wrong


async def _spoil(exchange: Exchange, framing: Framing, body: AsyncGenerator[bytes, None], whole: bool) -> bool:
    from rulesproxy.layers.faults import send_spoiled

    return await send_spoiled(exchange, framing, body, whole)


async def _arriving(exchange: Exchange, parts: list[bytes]) -> AsyncGenerator[bytes, None]:
    """The body as it arrives, through the function that an addon may have put in its way.

    Raises:
        FlowFailed: that function cannot go on.
        BrokenOff: it wants the body to break off.
    """
    flow, response = exchange.flow, exchange.flow.response
    assert response is not None
    stream = response.stream
    waiting = [part for part in reversed(parts) if part]
    beats = Beats(exchange.services)
    # Some have something to say before the server has.
    begin = getattr(stream, "opening", None)
    message: bytes | End = b""
    reading: asyncio.Task[bytes | End] | None = None
    try:
        while True:
            if begin is not None:
                made, begin = begin(), None
            else:
                if waiting:
                    message = waiting.pop()
                elif flow.planned is None or not flow.planned.repeats:
                    message = await exchange.server.next_message(exchange)
                else:
                    beats.follow(flow.planned)
                    reading = asyncio.ensure_future(exchange.server.next_message(exchange))
                    while not reading.done():
                        await beats.wait(reading)
                        for beat in beats.due():
                            yield beat
                    message = reading.result()
                if isinstance(message, End):
                    finish_response(exchange, message)
                data = message if isinstance(message, bytes) else b""
                made = stream(data) if callable(stream) else data
            for piece in (made,) if isinstance(made, bytes) else made:
                if flow.planned is not None:
                    slow_down(exchange, flow.planned)
                if isinstance(piece, bytes):
                    if piece:
                        yield piece
                elif await _ends(exchange, piece):
                    return
            if isinstance(message, End):
                return
    except ValueError as error:
        raise FlowFailed("handler", f"the body cannot be changed while it streams: {error}") from None
    finally:
        await beats.stop(flow.planned)
        if reading is not None and not reading.done():
            reading.cancel()
            await asyncio.wait({reading})


async def _ends(exchange: Exchange, piece: Pause | Ending) -> bool:
    """Do what stands between the pieces of a body; whether it ends there."""
    if isinstance(piece, Pause):
        await pause(exchange.services.clock, exchange.client, min(piece.seconds, exchange.limits.delay))
        return False
    # The connection is in the middle of a body, and of no use any more.
    await exchange.server.drop(exchange)
    response = exchange.flow.response
    assert response is not None
    response.timestamp_end = exchange.services.clock.wall()
    if piece.broken is not None:
        raise BrokenOff(piece.broken)
    return True


async def _held(exchange: Exchange, body: bytes | FileBody | None) -> AsyncGenerator[bytes, None]:
    """A body that is in hand."""
    if isinstance(body, FileBody):
        async with aclosing(file_pieces(exchange, body)) as read:
            async for piece in read:
                yield piece
    elif body:
        yield body
