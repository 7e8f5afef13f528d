"""The life of one HTTP exchange, top to bottom: request head, request body, server, response head, response body.

It runs on any pair of streams and codecs. It decides when a body is kept and when it streams, when the server is
dialled, and what the client gets when something breaks. It knows no rules and no sockets.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from rulesproxy.engine.dispatch import Chain, dispatch
from rulesproxy.flow.connection import Address
from rulesproxy.flow.error import FlowError, Kind
from rulesproxy.flow.headers import Field, Headers
from rulesproxy.flow.http import HTTPFlow, HTTPMessage, HTTPResponse, reason_phrase
from rulesproxy.flow.plan import FileBody
from rulesproxy.layers.framing import CLOSE, NO_BODY_EXPECTED, Framing, frame_request, frame_response
from rulesproxy.layers.layer import run_next
from rulesproxy.layers.pages import error_page
from rulesproxy.layers.stream import FOREVER, Stream, StreamClosed, StreamTimeout
from rulesproxy.layers.upstream import DialError, Key, Upstream
from rulesproxy.proto import ProtocolError
from rulesproxy.proto.http1 import (
    CHUNKED,
    NEED_DATA,
    NO_BODY,
    End,
    RequestHead,
    ResponseHead,
    encode_chunk,
    encode_last_chunk,
    encode_request_head,
    encode_response_head,
)

if TYPE_CHECKING:
    from rulesproxy.layers.http import HTTPLayer

_log = logging.getLogger("rulesproxy")

# RFC 9110 section 9.2.2: sending these twice asks for nothing else than sending them once.
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class _Failed(Exception):
    """This flow ends with `error`. `status` is what the client gets if no answer has begun."""

    def __init__(self, kind: Kind, why: str, status: int = 502) -> None:
        super().__init__(why)
        self.kind: Kind = kind
        self.status = status


class _Ended(Exception):
    """The flow was killed, or its plan ends the connection; `how` is the plan's word, or `kill`."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


class _Stale(Exception):
    """A pooled connection turned out to be closed before the server said a word."""


class Exchange:
    """One exchange on a client's connection.

    Attributes:
        flow: what addons see.
        upstream: the server connection, from the moment it is needed.
    """

    __slots__ = (
        "_answered", "_head", "_keep", "_layer", "_limits", "_now", "_received", "_request_sent", "_response_head",
        "_upload", "_upload_error", "address", "chain", "client", "flow", "reader", "services", "upstream",
    )  # fmt: skip

    def __init__(self, layer: HTTPLayer, chain: Chain, head: RequestHead, flow: HTTPFlow, address: Address) -> None:
        services = layer.context.services
        self.services = services
        self.chain = chain
        self.flow = flow
        self.client = layer.client
        self.reader = layer.reader
        self.address = address
        self.upstream: Upstream | None = None
        self._layer = layer
        self._head = head
        self._limits = services.options.limits
        self._now = services.clock.now
        self._keep = head.keep_alive
        request = flow.request
        self._received = (request.scheme, request.host, request.port)
        self._answered = False
        self._request_sent = False
        self._response_head: ResponseHead | None = None
        self._upload: asyncio.Task[None] | None = None
        self._upload_error: Exception | None = None

    async def run(self) -> bool:
        """Run the exchange. Whether the client's connection can carry another one."""
        try:
            return await self._run()
        except _Ended as ended:
            await self._end(ended.how)
        except _Failed as failed:
            await self._fail(failed.kind, str(failed), failed.status)
        except ProtocolError as exc:
            # Whatever the server sends wrong is caught where it is read, so this is the client's.
            await self._fail("client", str(exc), exc.status)
        except StreamTimeout:
            await self._fail("client", "the client stopped sending or reading", 408)
        except StreamClosed as exc:
            await self._fail("client", f"the client is gone: {exc}")
        finally:
            await self._clean_up()
        return False

    async def _run(self) -> bool:
        flow, chain = self.flow, self.chain
        if chain.requestheaders:
            await dispatch(chain.requestheaders, flow)
            self._obey()
        if flow.websocket and chain.websocket_handshake and flow.response is None:
            await dispatch(chain.websocket_handshake, flow)
            self._obey()
        if self._head.length == NO_BODY:
            self.reader.next_message()
            flow.request.timestamp_end = flow.request.timestamp_start
            if chain.request:
                await dispatch(chain.request, flow)
                self._obey()
        else:
            await self._request_body()
        if flow.response is None:
            await self._fetch()
            response_head = self._response_head
            if response_head is not None and response_head.status == 101:
                return await self._switch(response_head)
            if chain.responseheaders:
                await dispatch(chain.responseheaders, flow)
                self._obey()
            return await self._respond_from_server()
        if chain.responseheaders:
            await dispatch(chain.responseheaders, flow)
            self._obey()
        return await self._respond_locally()

    def _obey(self) -> None:
        """Stop where a handler has asked for the end of this flow."""
        flow = self.flow
        if flow.error is not None and flow.killed:
            raise _Ended("kill")
        plan = flow.planned
        if plan is not None and plan.end is not None:
            raise _Ended(plan.end)

    # The request body

    async def _request_body(self) -> None:
        """Read the request body, or pass it on, and fire `request` behind its last byte."""
        flow, chain = self.flow, self.chain
        request = flow.request
        prefix: list[bytes] = []
        if flow.response is not None or not request.stream:
            wanted = chain.wants_body(flow, "request")
            if flow.response is not None and not wanted:
                await self._skip_request_body()
            elif wanted and self._head.length <= self._limits.body:
                whole = await self._buffer_request(prefix)
                if whole:
                    prefix = []
                elif flow.response is not None:
                    await self._skip_request_body()
                    prefix = []
            if request.timestamp_end is not None:
                await self._fire_request()
                return
            if wanted:
                self._too_big("request")
        await self._stream_request(prefix)

    async def _fire_request(self) -> None:
        if self.chain.request:
            await dispatch(self.chain.request, self.flow)
            self._obey()

    async def _buffer_request(self, parts: list[bytes]) -> bool:
        """Read the whole body into the flow; False if it is over the limit, with what was read in `parts`."""
        if self._head.expect:
            # The server is not asked before the body is here, so nobody else can answer this (RFC 9110 10.1.1).
            self.client.write(_CONTINUE)
        size = 0
        while True:
            message = await self._next_from_client()
            if isinstance(message, End):
                request = self.flow.request
                request.body_source = b"".join(parts)
                self._finish_request(message)
                return True
            parts.append(message)
            size += len(message)
            if size > self._limits.body:
                return False

    async def _skip_request_body(self) -> None:
        """The request is answered already: read a little of its body, to keep the connection, and keep none of it."""
        self.flow.request.body_source = None
        left = self._limits.drain_request
        if self._head.expect or self._head.length > left:
            # A client that waits for 100 may never send the body (RFC 9110 section 10.1.1).
            self._keep = False
        else:
            while not isinstance(message := await self._next_from_client(), End):
                left -= len(message)
                if left < 0:
                    self._keep = False
                    break
        self.flow.request.timestamp_end = self.services.clock.wall()

    async def _next_from_client(self) -> bytes | End:
        reader, client = self.reader, self.client
        while (message := reader.next_message()) is NEED_DATA:
            client.deadline = self._now() + self._limits.body_stall
            data = await client.read()
            if data:
                reader.feed(data)
            else:
                reader.feed_eof()
        assert isinstance(message, (bytes, End))
        return message

    def _finish_request(self, end: End) -> None:
        request = self.flow.request
        if end.trailers:
            request.trailers = Headers.of(end.trailers)
        request.timestamp_end = self.services.clock.wall()

    # Streaming the request

    async def _stream_request(self, prefix: list[bytes]) -> None:
        """Dial, send the head, and pass the body on. What has not arrived yet is passed on by a second task."""
        flow = self.flow
        flow.request.body_source = None
        upstream = await self._connect()
        framing = frame_request(flow.request, self._head, streamed=True)
        upstream.stream.write(self._encode_head(framing))
        for part in prefix:
            self._send_part(part, framing)
        if self._send_available(framing):
            if not self._head.expect:
                await upstream.stream.drain()
            await self._fire_request()
        else:
            self._upload = asyncio.get_running_loop().create_task(self._send_rest(framing))

    def _send_available(self, framing: Framing) -> bool:
        """Pass on what has arrived of the request body. Whether that was all."""
        reader = self.reader
        while (message := reader.next_message()) is not NEED_DATA:
            if isinstance(message, End):
                self._send_end(message, framing)
                return True
            assert isinstance(message, bytes)
            self._send_part(message, framing)
        return False

    def _send_part(self, data: bytes, framing: Framing) -> None:
        assert self.upstream is not None
        for piece in _through(self.flow.request, data):
            self.upstream.stream.write(encode_chunk(piece) if framing.length == CHUNKED else piece)

    def _send_end(self, end: End, framing: Framing) -> None:
        assert self.upstream is not None
        self._finish_request(end)
        stream = self.upstream.stream
        for piece in _through(self.flow.request, b""):
            stream.write(encode_chunk(piece) if framing.length == CHUNKED else piece)
        if framing.length == CHUNKED:
            stream.write(encode_last_chunk(end.trailers))
        self._request_sent = True

    async def _send_rest(self, framing: Framing) -> None:
        """The second task of a connection: it exists while an upload is unfinished."""
        assert self.upstream is not None
        client, server = self.client, self.upstream.stream
        try:
            while True:
                server.deadline = self._now() + max(self._limits.body_stall, self._limits.response_head)
                await server.drain()
                client.deadline = self._now() + self._limits.body_stall
                data = await client.read()
                if data:
                    self.reader.feed(data)
                else:
                    self.reader.feed_eof()
                if self._send_available(framing):
                    break
            await self._fire_request()
        except (StreamClosed, StreamTimeout, ProtocolError, _Ended) as exc:
            self._upload_error = exc
            if not (isinstance(exc, StreamClosed) and server.ended):
                server.abort()

    # The server

    async def _connect(self, fresh: bool = False) -> Upstream:
        """The server connection for the request as it stands now: pooled, or dialled."""
        request, services = self.flow.request, self.services
        address = self.address
        tls = request.scheme == "https"
        host = request.host
        sni: str | None = host if tls else None
        if (request.scheme, host, request.port) != self._received:
            # Somebody has sent the request elsewhere: the tunnel's address is not its address any more.
            address = (host, request.port)
        elif tls and (named := self._layer.context.client_conn.sni) is not None and not self._layer.reverse:
            sni = named
        options = services.options
        key = Key(address, tls, sni, options.verify_upstream, options.upstream_ca)
        upstream = None if fresh else services.upstreams.take(key)
        if upstream is None:
            try:
                upstream = await services.upstreams.connect(key)
            except DialError as exc:
                status = 504 if exc.kind == "timeout" else 502
                raise _Failed(exc.kind, f"cannot connect to {_where(address)}: {exc}", status) from None
        self.upstream = upstream
        self.flow.server_conn = upstream.server_conn
        # A client that leaves must not keep a server busy.
        self.client.on_end(upstream.stream.abort)
        return upstream

    def _encode_head(self, framing: Framing) -> bytes:
        request = self.flow.request
        fields = framing.fields
        if self._head.upgrade and self._head.upgrade != "h2c":
            upgrade = request.headers.first(b"upgrade")
            if upgrade is not None:
                fields = [*fields, (b"connection", b"Connection", b"Upgrade"), (b"upgrade", b"Upgrade", upgrade)]
        elif self._head.expect and self._request_sent:
            fields = [field for field in fields if field[0] != b"expect"]
        try:
            return encode_request_head(request.method, request.path, fields)
        except ValueError as exc:
            raise _Failed("handler", f"a rule or an addon made a request that cannot be sent: {exc}") from None

    async def _fetch(self) -> None:
        """Send the request, unless it streamed, and read the response head."""
        if self.upstream is not None:
            try:
                await self._read_response_head()
            except _Stale:
                raise self._server_gone() from None
            return
        request = self.flow.request
        for attempt in (1, 2):
            upstream = await self._connect(fresh=attempt == 2)
            reused = upstream.uses > 0
            self._request_sent = True
            framing = frame_request(request, self._head, streamed=False)
            data = self._encode_head(framing)
            body = request.raw_content
            if body or framing.length == CHUNKED:
                trailers = request.trailers.raw if request.trailers is not None else None
                if framing.length == CHUNKED:
                    data += (encode_chunk(body) if body else b"") + encode_last_chunk(trailers)
                else:
                    data += body or b""
            upstream.stream.write(data)
            try:
                await self._read_response_head()
            except _Stale:
                self.client.on_end(None)
                await self.services.upstreams.discard(upstream, abort=True)
                self.upstream = None
                if attempt == 2 or not reused or request.method not in _IDEMPOTENT:
                    raise self._server_gone() from None
                continue
            return

    def _server_gone(self) -> _Failed:
        """The server, or the client that we served it for, closed the connection."""
        if self.client.ended and isinstance(self._upload_error, (StreamClosed, ProtocolError)):
            return _Failed("client", "the client is gone")
        if isinstance(self._upload_error, ProtocolError):
            return _Failed("client", str(self._upload_error), self._upload_error.status)
        if isinstance(self._upload_error, StreamTimeout):
            return _Failed("client", "the client stopped sending its body", 408)
        return _Failed("disconnected", f"{self._server()} closed the connection without an answer")

    def _server(self) -> str:
        return _where(self.flow.server_conn.address)

    async def _read_response_head(self) -> None:
        """Read response heads up to the final one, or 101. Interim ones go to the client as they come.

        Raises:
            _Stale: the server closed before it said a word.
        """
        assert self.upstream is not None
        reader, stream, flow = self.upstream.reader, self.upstream.stream, self.flow
        reader.expect(flow.request.method)
        while True:
            message = reader.next_message()
            if message is NEED_DATA:
                stream.deadline = self._now() + self._limits.response_head
                try:
                    while message is NEED_DATA:
                        data = await stream.read()
                        if not data and not reader.started:
                            raise _Stale
                        if data:
                            reader.feed(data)
                        else:
                            reader.feed_eof()
                        message = reader.next_message()
                except StreamClosed:
                    if reader.started:
                        raise _Failed("disconnected", f"{self._server()} broke off its answer") from None
                    raise _Stale from None
                except StreamTimeout:
                    why = f"{self._server()} did not answer within {self._limits.response_head:g} s"
                    raise _Failed("timeout", why, 504) from None
                except ProtocolError as exc:
                    raise self._bad_answer(exc) from None
            if isinstance(message, End):
                continue
            assert isinstance(message, ResponseHead)
            if message.status >= 200 or message.status == 101:
                break
            self._interim(message)
        self._response_head = message
        response = HTTPResponse(message.status, message.reason, message.version, Headers.of(message.fields))
        response.timestamp_start = self.services.clock.wall()
        flow.response = response

    def _bad_answer(self, exc: ProtocolError) -> _Failed:
        return _Failed("protocol", f"{self._server()} sent a bad response: {exc}")

    def _interim(self, head: ResponseHead) -> None:
        """Pass a 1xx on (RFC 9110 section 15.2), except a 100 that the client did not ask for."""
        if self.flow.request.http_version == "HTTP/1.0" or (head.status == 100 and not self._head.expect):
            return
        self.client.write(encode_response_head(head.status, head.reason, head.fields))

    # The response

    async def _respond_from_server(self) -> bool:
        """Send the server's response: as it arrives, or when it is whole and the addons have seen it."""
        assert self.upstream is not None and self._response_head is not None and self.flow.response is not None
        flow, head, response = self.flow, self._response_head, self.flow.response
        if response.body_source != b"":
            # A handler replaced the response. What the server still sends is of no use to anybody.
            return await self._respond_locally()
        if head.length == NO_BODY:
            self._check_end()
            if self.chain.response:
                await dispatch(self.chain.response, flow)
                self._obey()
            return await self._send_whole()
        parts: list[bytes] = []
        if not response.stream and self.chain.wants_body(flow, "response"):
            if head.length <= self._limits.body and await self._buffer_response(parts):
                if self.chain.response:
                    await dispatch(self.chain.response, flow)
                    self._obey()
                return await self._send_whole()
            self._too_big("response")
        return await self._stream_response(parts)

    def _check_end(self) -> None:
        assert self.upstream is not None and self.flow.response is not None
        message = self.upstream.reader.next_message()
        if isinstance(message, End):
            self.flow.response.timestamp_end = self.flow.response.timestamp_start

    async def _buffer_response(self, parts: list[bytes]) -> bool:
        """Read the whole body into the flow; False if it is over the limit, with what was read in `parts`."""
        response = self.flow.response
        assert response is not None
        size = 0
        while True:
            message = await self._next_from_server()
            if isinstance(message, End):
                response.body_source = b"".join(parts)
                self._finish_response(message)
                return True
            parts.append(message)
            size += len(message)
            if size > self._limits.body:
                return False

    async def _next_from_server(self) -> bytes | End:
        assert self.upstream is not None
        reader, stream = self.upstream.reader, self.upstream.stream
        try:
            while (message := reader.next_message()) is NEED_DATA:
                stream.deadline = self._now() + self._limits.body_stall
                data = await stream.read()
                if data:
                    reader.feed(data)
                else:
                    reader.feed_eof()
        except StreamClosed:
            raise _Failed("disconnected", f"{self._server()} broke off its answer") from None
        except StreamTimeout:
            why = f"{self._server()} sent nothing of its answer for {self._limits.body_stall:g} s"
            raise _Failed("timeout", why, 504) from None
        except ProtocolError as exc:
            raise self._bad_answer(exc) from None
        assert isinstance(message, (bytes, End))
        return message

    def _finish_response(self, end: End) -> None:
        response = self.flow.response
        assert response is not None
        if end.trailers:
            response.trailers = Headers.of(end.trailers)
        response.timestamp_end = self.services.clock.wall()

    async def _stream_response(self, parts: list[bytes]) -> bool:
        """Pass the body on as it arrives, held back by a client that reads slowly."""
        assert self.upstream is not None and self._response_head is not None and self.flow.response is not None
        flow, response, client = self.flow, self.flow.response, self.client
        response.body_source = None
        framing = frame_response(flow, self._response_head, streamed=True)
        keep = self._keeps(framing)
        chunked = framing.length == CHUNKED
        out = [self._encode_response(framing, keep)]
        self._answered = True
        for part in parts:
            out += _framed(response, part, chunked)
        reader, stream, plain = self.upstream.reader, self.upstream.stream, response.stream is False or response.stream is True
        now, stall = self._now, self._limits.body_stall
        while True:
            message = reader.next_message()
            if message is NEED_DATA or len(out) > 64:
                if out:
                    client.write(out[0] if len(out) == 1 else b"".join(out))
                    out.clear()
                    client.deadline = now() + stall
                    await client.drain()
                if message is NEED_DATA:
                    message = await self._next_from_server()
            if isinstance(message, bytes):
                if plain:
                    out.append(encode_chunk(message) if chunked else message)
                else:
                    out += _framed(response, message, chunked)
                continue
            assert isinstance(message, End)
            break
        self._finish_response(message)
        if not plain:
            out += _framed(response, b"", chunked)
        if chunked:
            out.append(encode_last_chunk(message.trailers))
        if out:
            client.write(out[0] if len(out) == 1 else b"".join(out))
            client.deadline = now() + stall
            await client.drain()
        stream.deadline = FOREVER
        if self.chain.response:
            await dispatch(self.chain.response, flow)
        return await self._finish(keep)

    async def _send_whole(self) -> bool:
        """Send a response that is in hand."""
        flow = self.flow
        response = flow.response
        assert response is not None
        framing = frame_response(flow, self._response_head, streamed=False)
        keep = self._keeps(framing)
        data = self._encode_response(framing, keep)
        self._answered = True
        client = self.client
        if framing.length != NO_BODY_EXPECTED:
            body = response.body_source
            if isinstance(body, FileBody):
                client.write(data)
                data = b""
                await self._send_file(body)
            elif body:
                data += encode_chunk(body) if framing.length == CHUNKED else body
            if framing.length == CHUNKED:
                data += encode_last_chunk(None if response.trailers is None else response.trailers.raw)
        if data:
            client.write(data)
        client.deadline = self._now() + self._limits.body_stall
        await client.drain()
        return await self._finish(keep)

    async def _send_file(self, body: FileBody) -> None:
        """Send a part of a file, piece by piece; reading happens off the loop."""
        loop = asyncio.get_running_loop()
        client, left = self.client, body.length
        try:
            file = await loop.run_in_executor(None, body.path.open, "rb")
            with file:
                file.seek(body.start)
                while left:
                    data = await loop.run_in_executor(None, file.read, min(left, self._limits.read_chunk * 4))
                    if not data:
                        raise _Failed("handler", f"{body.path} became shorter while it was sent")
                    left -= len(data)
                    client.write(data)
                    client.deadline = self._now() + self._limits.body_stall
                    await client.drain()
        except OSError as exc:
            raise _Failed("handler", f"cannot read {body.path}: {exc.strerror}") from None

    async def _respond_locally(self) -> bool:
        """Send a response that a rule or an addon made."""
        flow = self.flow
        response = flow.response
        assert response is not None
        if self.upstream is not None:
            await self._drop_upstream()
        self._response_head = None
        if not response.timestamp_start:
            response.timestamp_start = self.services.clock.wall()
        response.timestamp_end = response.timestamp_start
        if self.chain.response:
            await dispatch(self.chain.response, flow)
            self._obey()
        return await self._send_whole()

    def _keeps(self, framing: Framing) -> bool:
        """Whether the client's connection goes on behind this response."""
        if not self._keep or framing.length == CLOSE:
            return False
        upload = self._upload
        if upload is None or upload.done():
            return True
        # The answer overtakes the request. What is left of it must be worth the wait.
        return 0 < self._head.length <= self._limits.drain_request and not self._head.expect

    def _encode_response(self, framing: Framing, keep: bool) -> bytes:
        response = self.flow.response
        assert response is not None
        fields = framing.fields
        if not keep:
            fields = [*fields, (b"connection", b"Connection", b"close")]
        elif self._head.version == "HTTP/1.0":
            fields = [*fields, (b"connection", b"Connection", b"keep-alive")]
        try:
            return encode_response_head(response.status_code, response.reason, fields)
        except ValueError as exc:
            raise _Failed("handler", f"a rule or an addon made a response that cannot be sent: {exc}") from None

    async def _finish(self, keep: bool) -> bool:
        """The response is out: settle both connections."""
        self.client.on_end(None)
        self.client.deadline = FOREVER
        upload = self._upload
        if upload is not None and not upload.done() and keep:
            # At most `drain_request` bytes are missing; the server may still want them.
            done, _ = await asyncio.wait({upload}, timeout=self._limits.close_linger)
            keep = bool(done)
        if upload is not None and (not upload.done() or self._upload_error is not None):
            keep = False
        upstream = self.upstream
        if upstream is not None:
            head = self._response_head
            if head is not None and head.keep_alive and self._request_sent and upstream.reader.idle:
                self.services.upstreams.give_back(upstream)
                self.upstream = None
            else:
                await self._drop_upstream()
        if not keep:
            await self._layer.linger()
        return keep

    async def _switch(self, head: ResponseHead) -> bool:
        """101: the connection speaks another protocol from here on (RFC 9110 section 7.8)."""
        flow, upstream, client = self.flow, self.upstream, self.client
        assert upstream is not None and flow.response is not None
        if not self._head.upgrade:
            raise _Failed("protocol", f"{self._server()} switched protocols without being asked")
        for handlers in (self.chain.responseheaders, self.chain.response):
            if handlers:
                await dispatch(handlers, flow)
                self._obey()
        fields = frame_response(flow, head, streamed=False).fields
        named = flow.response.headers.first(b"upgrade") or head.upgrade.encode()
        fields = [*fields, (b"connection", b"Connection", b"Upgrade"), (b"upgrade", b"Upgrade", named)]
        client.write(encode_response_head(101, flow.response.reason, fields))
        self._answered = True
        client.on_end(None)
        client.unread(self.reader.take_rest())
        upstream.stream.unread(upstream.reader.take_rest())
        from rulesproxy.layers.tcp import TCPLayer

        self.upstream = None
        context = self._layer.context
        context.server_conn = upstream.server_conn
        layer = TCPLayer(context, upstream.stream, events=not flow.websocket)
        try:
            await run_next(layer)
        finally:
            await self.services.upstreams.discard(upstream)
        return False

    # The ways it can end badly

    def _too_big(self, side: str) -> None:
        size = self._limits.body // (1024 * 1024)
        message: HTTPMessage | None = self.flow.request if side == "request" else self.flow.response
        if message is not None and not message.stream:
            _log.warning(
                "%s %s: the %s body is over %d MiB: it passes the rules that need it unread",
                self.flow.request.method, self.flow.request.url, side, size,
            )  # fmt: skip

    async def _fail(self, kind: Kind, why: str, status: int = 502) -> None:
        """Tell the addons, then the client, as far as it can be told."""
        flow = self.flow
        flow.error = FlowError(why, kind, self.services.clock.wall())
        flow.response = None
        level = logging.DEBUG if kind == "client" else logging.WARNING
        _log.log(level, "%s %s: %s", flow.request.method, flow.request.url, why)
        if self.chain.error:
            await dispatch(self.chain.error, flow)
        self.client.on_end(None)
        if self._answered or self.client.ended and kind == "client":
            # Half an answer must not look like a whole one: the connection breaks off.
            self.client.abort()
            return
        response: HTTPResponse | None = flow.response
        if flow.killed:
            self.client.abort()
            return
        if response is None:
            await self._layer.refuse(status, why)
            return
        self._keep = False
        self._response_head = None
        try:
            await self._send_whole()
        except (_Failed, StreamClosed, StreamTimeout):
            self.client.abort()

    async def _end(self, how: str) -> None:
        """The flow was killed or blocked without an answer."""
        flow = self.flow
        if flow.error is None:
            flow.error = FlowError("Connection ended by a rule.", "killed", self.services.clock.wall())
        if self.chain.error:
            await dispatch(self.chain.error, flow)
        self.client.on_end(None)
        if self._answered:
            self.client.abort()
        else:
            await self._layer.end(how)

    async def _drop_upstream(self) -> None:
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            self.client.on_end(None)
            await self._stop_upload()
            await self.services.upstreams.discard(upstream, abort=not upstream.stream.ended)

    async def _stop_upload(self) -> None:
        upload = self._upload
        if upload is not None and not upload.done():
            upload.cancel()
            await asyncio.wait({upload})

    async def _clean_up(self) -> None:
        """Nothing of this exchange is left behind, however it went."""
        if self.upstream is not None:
            await self._drop_upstream()
        elif self._upload is not None:
            await self._stop_upload()


def _through(message: HTTPMessage, data: bytes) -> list[bytes]:
    """A piece of a streamed body, through the function that an addon may have put in its way; `b""` is the end."""
    stream = message.stream
    if stream is True or stream is False:
        return [data] if data else []
    made = stream(data)
    pieces = [made] if isinstance(made, bytes) else list(made)
    return [piece for piece in pieces if piece]


def _framed(message: HTTPMessage, data: bytes, chunked: bool) -> list[bytes]:
    pieces = _through(message, data)
    return [encode_chunk(piece) for piece in pieces] if chunked else pieces


def _where(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


__all__ = ["Exchange", "Field", "Stream", "error_page", "reason_phrase"]
