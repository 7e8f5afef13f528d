"""The life of one HTTP exchange, top to bottom: request head, request body, server, response head, response body.

It runs on any pair of streams and codecs. It decides when a body is kept and when it streams, and what the client gets
when something breaks. The server's half is in `server_side`; it knows no rules and no sockets.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from rulesproxy.engine.dispatch import Chain, dispatch
from rulesproxy.flow.connection import Address
from rulesproxy.flow.error import FlowError, Kind
from rulesproxy.flow.headers import Headers
from rulesproxy.flow.http import HTTPFlow, HTTPRequest, HTTPResponse
from rulesproxy.flow.plan import FileBody
from rulesproxy.layers.framing import BODILESS, CLOSE, Framing, frame_request, frame_response, framed
from rulesproxy.layers.layer import run_next
from rulesproxy.layers.outcome import FlowEnded, FlowFailed, obey, spoiled, where
from rulesproxy.layers.server_side import ServerSide
from rulesproxy.layers.stream import FOREVER, StreamClosed, StreamTimeout
from rulesproxy.layers.upload import Upload
from rulesproxy.layers.websocket import WebSocketLayer
from rulesproxy.layers.websocket_handshake import client_terms, limit_offer, server_terms
from rulesproxy.proto import ProtocolError
from rulesproxy.proto.http1 import (
    CHUNKED,
    NEED_DATA,
    NO_BODY,
    End,
    RequestHead,
    encode_chunk,
    encode_last_chunk,
    encode_response_head,
)

if TYPE_CHECKING:
    from rulesproxy.layers.http import HTTPLayer

_log = logging.getLogger("rulesproxy")

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_BATCH = 64
"""Pieces of a body that are joined before they are written, where many small ones have arrived."""


class Exchange:
    """One exchange on a client's connection.

    Attributes:
        flow: what addons see.
        head: the request head as it was read.
        server: the half towards the server.
    """

    __slots__ = (
        "_answered", "_keep", "_over", "_upload", "chain", "client", "flow", "head", "layer", "limits", "now", "reader",
        "server", "services",
    )  # fmt: skip

    def __init__(self, layer: HTTPLayer, chain: Chain, head: RequestHead, flow: HTTPFlow, address: Address) -> None:
        services = layer.context.services
        self.services = services
        self.layer = layer
        self.chain = chain
        self.flow = flow
        self.head = head
        self.client = layer.client
        self.reader = layer.reader
        self.limits = services.options.limits
        self.now = services.clock.now
        self.server = ServerSide(flow.request, address)
        self._keep = head.keep_alive
        self._answered = False
        self._over = False
        self._upload: Upload | None = None

    async def run(self) -> bool:
        """Run the exchange. Whether the client's connection can carry another one."""
        try:
            return await self._run()
        except FlowEnded as ended:
            await self._end(ended.how)
        except FlowFailed as failed:
            await self._fail(failed.kind, str(failed), failed.status)
        except ProtocolError as exc:
            # What the server does wrong has become FlowFailed, so this is the client's.
            await self._fail("client", str(exc), exc.status)
        except StreamTimeout:
            await self._fail("client", "the client stopped sending or reading", 408)
        except StreamClosed as exc:
            await self._fail("client", f"the client is gone: {exc}")
        except (AttributeError, TypeError):
            why = spoiled(self.flow)
            if why is None:
                raise
            if not isinstance(self.flow.request, HTTPRequest):
                self.flow.request = self.layer.request_of(self.head)[0]
            await self._fail("handler", f"an addon broke this flow: {why}")
        finally:
            # Nothing of this exchange is left behind, however it went.
            if self._upload is not None:
                await self._upload.stop()
            await self.server.drop(self)
        return False

    async def _run(self) -> bool:
        flow, chain = self.flow, self.chain
        if chain.requestheaders:
            await dispatch(chain.requestheaders, flow)
            obey(flow)
        if flow.websocket is not None and flow.response is None:
            if chain.websocket_handshake:
                await dispatch(chain.websocket_handshake, flow)
                obey(flow)
            limit_offer(flow, chain)
        if self.head.length == NO_BODY:
            self.reader.next_message()
            flow.request.timestamp_end = flow.request.timestamp_start
            await self.fire_request()
        else:
            await self._request_body()
        if flow.response is not None:
            return await self._respond_locally()
        if self._upload is None:
            await self.server.fetch(self)
        else:
            await self.server.read_head(self)
        if self.server.head is not None and self.server.head.status == 101:
            return await self._switch()
        return await self._respond()

    async def fire_request(self) -> None:
        """The whole request is read, or was passed on."""
        if self.chain.request:
            await dispatch(self.chain.request, self.flow)
            if self.server.upstream is not None and self.server.head is None and self.flow.response is not None:
                self.flow.response = None
                _log.warning(
                    "%s %s: a response was set after the request had gone to the server: it is ignored",
                    self.flow.request.method, self.flow.request.url,
                )  # fmt: skip
            obey(self.flow)

    # The request body

    async def _request_body(self) -> None:
        """Read the request body, or pass it on, and fire `request` behind its last byte."""
        flow, limit = self.flow, self.limits.body
        request = flow.request
        wanted = not request.stream and self.chain.wants_body(flow, "request")
        parts: list[bytes] = []
        if wanted and self.head.length <= limit and await self._buffer_request(parts):
            request.body_source = b"".join(parts)
            return await self.fire_request()
        if wanted:
            self._too_big("request")
        request.body_source = None
        if flow.response is not None:
            # Answered already: read a little of the body, to keep the connection, and keep none of it.
            await self._skip_request_body()
            return await self.fire_request()
        upstream = await self.server.connect(self)
        framing = frame_request(request, self.head, streamed=True)
        upstream.stream.write(self.server.encode_head(self, framing))
        self._upload = Upload(upstream, framing)
        return await self._upload.start(self, parts)

    async def _buffer_request(self, parts: list[bytes]) -> bool:
        """Read the whole body into `parts`; False, with what was read, if it is over the limit."""
        if self.head.expect:
            # The server is not asked before the body is here, so nobody else can answer this (RFC 9110 10.1.1).
            self.client.write(_CONTINUE)
        size = 0
        while True:
            message = await self._next_from_client()
            if isinstance(message, End):
                self.finish_request(message)
                return True
            parts.append(message)
            size += len(message)
            if size > self.limits.body:
                return False

    async def _skip_request_body(self) -> None:
        left = self.limits.drain_request
        if self.head.expect or self.head.length > left:
            # A client that waits for 100 may never send the body (RFC 9110 section 10.1.1).
            self._keep = False
            return
        while not isinstance(message := await self._next_from_client(), End):
            left -= len(message)
            if left < 0:
                self._keep = False
                return
        self.finish_request(message)

    async def _next_from_client(self) -> bytes | End:
        reader, client = self.reader, self.client
        while (message := reader.next_message()) is NEED_DATA:
            client.deadline = self.now() + self.limits.body_stall
            data = await client.read()
            if data:
                reader.feed(data)
            else:
                reader.feed_eof()
        return message  # type: ignore[return-value]

    def finish_request(self, end: End) -> None:
        """The end of the request was read."""
        request = self.flow.request
        if end.trailers:
            request.trailers = Headers.of(end.trailers)
        request.timestamp_end = self.services.clock.wall()

    # The response

    async def _respond(self) -> bool:
        """Send the server's response: as it arrives, or when it is whole and the addons have seen it."""
        flow, chain = self.flow, self.chain
        received = flow.response
        if chain.responseheaders:
            await dispatch(chain.responseheaders, flow)
            obey(flow)
        response, head = flow.response, self.server.head
        assert head is not None
        if response is None:
            raise _taken()
        if response is not received or response.body_source != b"":
            # A handler has replaced it. What the server still sends is of no use to anybody.
            return await self._send_local()
        if head.length == NO_BODY:
            response.timestamp_end = response.timestamp_start
            await self.server.next_message(self)
            return await self._send_whole()
        parts: list[bytes] = []
        if not response.stream and chain.wants_body(flow, "response"):
            if head.length <= self.limits.body and await self._buffer_response(parts):
                response.body_source = b"".join(parts)
                return await self._send_whole()
            self._too_big("response")
        return await self._stream_response(parts)

    async def _respond_locally(self) -> bool:
        """Send a response that a rule or an addon made; no server is contacted for it."""
        flow = self.flow
        assert flow.response is not None
        flow.response.timestamp_start = self.services.clock.wall()
        if self.chain.responseheaders:
            await dispatch(self.chain.responseheaders, flow)
            obey(flow)
        return await self._send_local()

    async def _send_local(self) -> bool:
        response = self.flow.response
        if response is None:
            raise _taken()
        if self._upload is not None:
            await self._upload.stop()
            self._keep = self._keep and self.server.sent
        await self.server.drop(self)
        self.server.head = None
        response.timestamp_end = self.services.clock.wall()
        return await self._send_whole()

    async def _buffer_response(self, parts: list[bytes]) -> bool:
        """Read the whole body into `parts`; False, with what was read, if it is over the limit."""
        size = 0
        while True:
            message = await self.server.next_message(self)
            if isinstance(message, End):
                self._finish_response(message)
                return True
            parts.append(message)
            size += len(message)
            if size > self.limits.body:
                return False

    def _finish_response(self, end: End) -> None:
        response = self.flow.response
        assert response is not None
        if end.trailers:
            response.trailers = Headers.of(end.trailers)
        response.timestamp_end = self.services.clock.wall()

    async def _stream_response(self, parts: list[bytes]) -> bool:
        """Pass the body on as it arrives, held back by a client that reads slowly."""
        response, upstream = self.flow.response, self.server.upstream
        assert response is not None
        assert upstream is not None
        response.body_source = None
        framing = frame_response(self.flow, self.server.head, streamed=True)
        keep = self._keeps(framing)
        chunked, plain = framing.length == CHUNKED, not callable(response.stream)
        out = [self._encode_head(framing, keep)]
        self._answered = True
        for part in parts:
            out += framed(response, part, chunked)
        next_message = upstream.reader.next_message
        while True:
            message = next_message()
            if message is NEED_DATA or len(out) > _BATCH:
                if out:
                    await self._write(out)
                if message is NEED_DATA:
                    message = await self.server.next_message(self)
            if isinstance(message, bytes):
                if plain:
                    out.append(encode_chunk(message) if chunked else message)
                else:
                    out += framed(response, message, chunked)
            else:
                break
        assert isinstance(message, End)
        self._finish_response(message)
        if not plain:
            out += framed(response, b"", chunked)
        if chunked:
            out.append(encode_last_chunk(message.trailers))
        await self._write(out)
        await self._fire_response()
        return await self._finish(keep)

    async def _fire_response(self) -> None:
        # Before the handlers: what goes wrong from here on, even in one of them, is no `error` any more.
        self._over = True
        if self.chain.response:
            await dispatch(self.chain.response, self.flow)

    async def _write(self, parts: list[bytes]) -> None:
        """Send `parts`, which is empty then, and wait for a client that is behind."""
        client = self.client
        client.write(parts[0] if len(parts) == 1 else b"".join(parts))
        parts.clear()
        client.deadline = self.now() + self.limits.body_stall
        await client.drain()

    async def _send_whole(self) -> bool:
        """Show a response that is in hand to the addons, and send it."""
        flow = self.flow
        await self._fire_response()
        obey(flow)
        response = flow.response
        if response is None:
            raise _taken()
        framing = frame_response(flow, self.server.head, streamed=False)
        keep = self._keeps(framing)
        out = [self._encode_head(framing, keep)]
        self._answered = True
        if framing.length != BODILESS:
            body = response.body_source
            if isinstance(body, FileBody):
                await self._send_file(out, body)
            elif body:
                out.append(encode_chunk(body) if framing.length == CHUNKED else body)
            if framing.length == CHUNKED:
                out.append(encode_last_chunk(None if response.trailers is None else response.trailers.raw))
        if out:
            await self._write(out)
        return await self._finish(keep)

    async def _send_file(self, out: list[bytes], body: FileBody) -> None:
        """Send a part of a file behind `out`, piece by piece; disks are slow, so the loop does not read."""
        loop = asyncio.get_running_loop()
        left = body.length
        try:
            file = await loop.run_in_executor(None, body.path.open, "rb")
            with file:
                file.seek(body.start)
                while left:
                    data = await loop.run_in_executor(None, file.read, min(left, self.limits.write_buffer))
                    if not data:
                        raise FlowFailed("handler", f"{body.path} became shorter while it was sent")
                    left -= len(data)
                    out.append(data)
                    await self._write(out)
        except OSError as exc:
            raise FlowFailed("handler", f"cannot read {body.path}: {exc.strerror}") from None

    def _keeps(self, framing: Framing) -> bool:
        """Whether the client's connection goes on behind this response."""
        if not self._keep or framing.length == CLOSE or self.services.closing:
            return False
        if self._upload is None or not self._upload.running:
            return True
        # The answer overtakes the request. What is left of it must be worth the wait.
        return 0 < self.head.length <= self.limits.drain_request and not self.head.expect

    def _encode_head(self, framing: Framing, keep: bool) -> bytes:
        response = self.flow.response
        assert response is not None
        fields = framing.fields
        if not keep:
            fields = [*fields, (b"connection", b"Connection", b"close")]
        if response.status_code < 200:
            # It would be an interim response, and its client would wait for the final one (RFC 9110 section 15.2).
            raise FlowFailed("handler", f"a rule or an addon answered with {response.status_code}, which ends nothing")
        try:
            return encode_response_head(response.status_code, response.reason, fields)
        except ValueError as exc:
            raise FlowFailed("handler", f"a rule or an addon made a response that cannot be sent: {exc}") from None

    async def _finish(self, keep: bool) -> bool:
        """The response is out: settle both connections."""
        client, upload = self.client, self._upload
        if upload is not None:
            if keep and upload.running:
                await upload.wait(self.limits.close_linger)
            keep = keep and not upload.running and upload.error is None
        client.on_end(None)
        client.deadline = FOREVER
        await self.server.release(self)
        if not keep and (self.flow.request.timestamp_end is None or client.pending or self.reader.started):
            # Something of the client's is unread, and closing on it would reset the connection.
            await self.layer.linger()
        return keep

    async def _switch(self) -> bool:
        """101: the connection speaks another protocol from here on (RFC 9110 section 7.8)."""
        flow, client, upstream = self.flow, self.client, self.server.upstream
        assert upstream is not None
        assert flow.response is not None
        if not self.head.upgrade:
            raise FlowFailed("protocol", f"{where(flow.server_conn.address)} switched protocols without being asked")
        assert self.server.head is not None
        terms = None if flow.websocket is None else server_terms(flow, self.server.head, self.chain)
        if self.chain.responseheaders:
            await dispatch(self.chain.responseheaders, flow)
            obey(flow)
        await self._fire_response()
        obey(flow)
        if terms is not None:
            terms = client_terms(flow, terms)
        fields = frame_response(flow, self.server.head, streamed=False).fields
        named = flow.response.headers.first(b"upgrade") or self.head.upgrade.encode()
        fields = [*fields, (b"connection", b"Connection", b"Upgrade"), (b"upgrade", b"Upgrade", named)]
        client.write(encode_response_head(101, flow.response.reason, fields))
        self._answered = True
        client.on_end(None)
        client.unread(self.reader.take_rest())
        upstream.stream.unread(upstream.reader.take_rest())
        from rulesproxy.layers.tcp import TCPLayer

        context = self.layer.context
        context.server_conn = upstream.server_conn
        if terms is None or flow.websocket is None:
            await run_next(TCPLayer(context, upstream.stream, events=True))
        else:
            await run_next(WebSocketLayer(context, upstream.stream, flow.websocket, self.chain, terms))
        return False

    # The ways it can end badly

    def client_failure(self) -> FlowFailed | None:
        """What the client did, where a broken server connection is its doing; else None."""
        error = None if self._upload is None else self._upload.error
        if isinstance(error, FlowFailed):
            return error
        if isinstance(error, ProtocolError):
            return FlowFailed("client", str(error), error.status)
        if isinstance(error, StreamTimeout):
            return FlowFailed("client", "the client stopped sending its body", 408)
        if self.client.gone:
            return FlowFailed("client", "the client is gone")
        return None

    def _too_big(self, side: str) -> None:
        _log.warning(
            "%s %s: the %s body is over %d bytes (limits_body): it passes unread by what wanted to read it",
            self.flow.request.method, self.flow.request.url, side, self.limits.body,
        )  # fmt: skip

    async def _fail(self, kind: Kind, why: str, status: int = 502) -> None:
        """Tell the addons, then the client, as far as it can be told."""
        flow, client = self.flow, self.client
        flow.error = FlowError(why, kind, self.services.clock.wall())
        flow.response = None
        level = logging.DEBUG if kind == "client" else logging.WARNING
        _log.log(level, "%s %s: %s", flow.request.method, flow.request.url, why)
        await self._fire_error()
        client.on_end(None)
        if self._answered or client.gone or flow.killed:
            # Half an answer must not look like a whole one: the connection breaks off.
            client.abort()
        elif flow.response is None:
            await self.layer.refuse(status, why)
        else:
            await self._send_fallback(flow.response)

    async def _fire_error(self) -> None:
        """A flow ends with `response` or with `error`, never with both."""
        if self.chain.error and not self._over:
            await dispatch(self.chain.error, self.flow)

    async def _send_fallback(self, response: HTTPResponse) -> None:
        """Send what an `error` handler answers in place of our page."""
        self.server.head = None
        framing = frame_response(self.flow, None, streamed=False)
        try:
            body = b"" if framing.length == BODILESS else response.raw_content or b""
            self.client.write(self._encode_head(framing, keep=False) + body)
        except (FlowFailed, OSError):
            self.client.abort()
        else:
            await self.layer.linger()

    async def _end(self, how: str) -> None:
        """The flow was killed, or blocked without an answer."""
        flow = self.flow
        if flow.error is None:
            flow.error = FlowError("Connection ended by a rule.", "killed", self.services.clock.wall())
        await self._fire_error()
        self.client.on_end(None)
        if self._answered:
            self.client.abort()
        else:
            await self.layer.end(how)


def _taken() -> FlowFailed:
    return FlowFailed("handler", "an addon broke this flow: it took the response away")
