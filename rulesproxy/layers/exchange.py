"""The life of one HTTP exchange, top to bottom: request head, request body, server, response head, response body.

It runs on any pair of streams and codecs, and decides what the client gets when something breaks. How the request body
comes in is in `intake`, how the response goes out in `delivery`, the server's half in `server_side`, and what plans ask
for in `effects`. It knows no rules and no sockets.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from rulesproxy.engine.chain import Chain
from rulesproxy.engine.dispatch import dispatch
from rulesproxy.flow.connection import Address
from rulesproxy.flow.error import FlowError, Kind
from rulesproxy.flow.headers import Headers
from rulesproxy.flow.http import HTTPFlow, HTTPRequest, HTTPResponse
from rulesproxy.flow.plan import Fault, Plan, Side
from rulesproxy.layers.delivery import encode_head, finish_response, send_held, send_whole, stream_response
from rulesproxy.layers.effects import obey, unslowed
from rulesproxy.layers.fallback import answer_failure, effects_of
from rulesproxy.layers.framing import BODILESS, Framing, frame_response
from rulesproxy.layers.http1_upstream import HTTP1Upstream
from rulesproxy.layers.intake import take_request_body
from rulesproxy.layers.layer import run_next
from rulesproxy.layers.outcome import FlowEnded, FlowFailed, spoiled, taken, where
from rulesproxy.layers.server_side import ServerSide
from rulesproxy.layers.stream import StreamClosed, StreamTimeout
from rulesproxy.layers.upload import Upload
from rulesproxy.layers.websocket import WebSocketLayer
from rulesproxy.layers.websocket_end import SHUTDOWN
from rulesproxy.layers.websocket_handshake import client_terms, limit_offer, server_terms
from rulesproxy.proto import ProtocolError
from rulesproxy.proto.http1 import NO_BODY, End, RequestHead, ResponseHead

if TYPE_CHECKING:
    from rulesproxy.layers.http import HTTPLayer

_log = logging.getLogger("rulesproxy")


class Exchange:
    """One exchange on a client's connection.

    Attributes:
        flow: what addons see.
        head: the request head as it was read.
        server: the half towards the server.
        client: the client's stream, as slow as the flow's plan has made it.
        keep: whether the client's connection may go on behind this exchange.
        answered: whether some of the response is out.
        upload: a request body that streams.
        fault: how the response goes wrong, where it is meant to.
        throttled: how many throttles of the plan are in force.
    """

    __slots__ = (
        "_over", "answered", "chain", "client", "fault", "flow", "head", "keep", "layer", "limits", "now", "reader",
        "server", "services", "throttled", "upload",
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
        self.keep = head.keep_alive
        self.answered = False
        self._over = False
        self.upload: Upload | None = None
        self.fault: Fault | None = None
        self.throttled = 0

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
        except asyncio.CancelledError:
            # The grace of a shutdown is over. There is no time for an answer, but the addons are told.
            if not self._over:
                self.flow.error = FlowError(SHUTDOWN, "disconnected", self.services.clock.wall())
                if self.answered:
                    self.client.abort()
                await asyncio.shield(asyncio.ensure_future(self._fire_error()))
            raise
        finally:
            # Nothing of this exchange is left behind, however it went.
            if self.upload is not None:
                await self.upload.stop()
            if self.server.upstream is not None:
                await self.server.drop(self)
        return False

    async def _run(self) -> bool:
        flow, chain = self.flow, self.chain
        if chain.requestheaders:
            await dispatch(chain.requestheaders, flow)
            if flow.error is not None or flow.planned is not None:
                await obey(self)
        if flow.websocket is not None and flow.response is None:
            if chain.websocket_handshake:
                await dispatch(chain.websocket_handshake, flow)
                if flow.error is not None or flow.planned is not None:
                    await obey(self)
            limit_offer(flow, chain)
        if self.head.length == NO_BODY:
            self.reader.next_message()
            flow.request.timestamp_end = flow.request.timestamp_start
            await self.fire_request()
        else:
            await take_request_body(self)
        if flow.response is not None:
            return await self._respond_locally()
        if self.upload is None:
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
            if self.flow.error is not None or self.flow.planned is not None:
                await obey(self)

    def finish_request(self, end: End) -> None:
        """The end of the request was read."""
        request = self.flow.request
        if end.trailers:
            request.trailers = Headers.of(end.trailers)
        request.timestamp_end = self.services.clock.wall()

    async def fire_response(self) -> None:
        """The whole response is there, or was passed on."""
        # Before the handlers: what goes wrong from here on, even in one of them, is no `error` any more.
        self._over = True
        if self.chain.response:
            await dispatch(self.chain.response, self.flow)

    # The response

    async def _respond(self) -> bool:
        """Send the server's response: as it arrives, or when it is whole and the addons have seen it."""
        flow, chain = self.flow, self.chain
        received = flow.response
        if chain.responseheaders:
            await dispatch(chain.responseheaders, flow)
            if flow.error is not None or flow.planned is not None:
                await obey(self)
        response, head = flow.response, self.server.head
        assert head is not None
        if response is None:
            raise taken()
        if response is not received or response.body_source != b"":
            # A handler has replaced it. What the server still sends is of no use to anybody.
            return await self._send_local()
        if head.length == NO_BODY:
            response.timestamp_end = response.timestamp_start
            await self.server.next_message(self)
            return await send_whole(self)
        parts: list[bytes] = []
        if not response.stream and (
            chain.wants_body(flow, "response")
            or (flow.planned is not None and self._plan_wants(flow.planned, response))
        ):
            if head.length <= self.limits.body and await self._buffer_response(parts):
                response.body_source = b"".join(parts)
                return await send_whole(self)
            self.too_big("response", 502)
        if self.head.method == "HEAD" or response.status_code < 200 or response.status_code in (204, 304):
            # The server was asked with another method, or its status was changed: its body is for nobody. (This is
            # `bodiless`, without a call on the path of every exchange.)
            await self._leave_server()
            return await send_whole(self)
        return await stream_response(self, parts)

    async def _respond_locally(self) -> bool:
        """Send a response that a rule or an addon made; no server is contacted for it."""
        flow = self.flow
        assert flow.response is not None
        flow.response.timestamp_start = self.services.clock.wall()
        if self.chain.responseheaders:
            await dispatch(self.chain.responseheaders, flow)
            if flow.error is not None or flow.planned is not None:
                await obey(self)
        return await self._send_local()

    async def _send_local(self) -> bool:
        response = self.flow.response
        if response is None:
            raise taken()
        await self._leave_server()
        response.timestamp_end = self.services.clock.wall()
        return await send_whole(self)

    async def _leave_server(self) -> None:
        """What the server has to say is of no use to anybody: the response does not come from it."""
        if self.upload is not None:
            await self.upload.stop()
            self.keep = self.keep and self.server.sent
        await self.server.drop(self)
        self.server.head = None

    def _plan_wants(self, plan: Plan, response: HTTPResponse) -> bool:
        """Whether the plan asks for the whole body. The end of an event stream does not come."""
        head = self.server.head
        if head is None:
            return False
        if response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            return False
        return plan.keep_bodies or (plan.fault is not None and plan.fault.dribble is not None and head.length < 0)

    async def _buffer_response(self, parts: list[bytes]) -> bool:
        """Read the whole body into `parts`; False, with what was read, if it is over the limit."""
        size = 0
        while True:
            message = await self.server.next_message(self)
            if isinstance(message, End):
                finish_response(self, message)
                return True
            parts.append(message)
            size += len(message)
            if size > self.limits.body:
                return False

    async def _switch(self) -> bool:
        """101: the connection speaks another protocol from here on (RFC 9110 section 7.8)."""
        flow, upstream = self.flow, self.server.upstream
        assert isinstance(upstream, HTTP1Upstream), "HTTP/2 has no 101"
        assert self.server.head is not None
        await self._check_switch(self.server.head)
        terms = None if flow.websocket is None else server_terms(flow, self.server.head, self.chain)
        if self.chain.responseheaders:
            await dispatch(self.chain.responseheaders, flow)
            if flow.error is not None or flow.planned is not None:
                await obey(self)
        if flow.response is None or flow.response.status_code != 101:
            return await self._send_local()
        await self.fire_response()
        if flow.error is not None or flow.planned is not None:
            await obey(self)
        if flow.response is None or flow.response.status_code != 101:
            await self._leave_server()
            return await send_held(self)
        if terms is not None:
            terms = client_terms(flow, terms)
        client = self.client
        fields = frame_response(flow, self.server.head, streamed=False, method=self.head.method).fields
        named = flow.response.headers.first(b"upgrade") or b", ".join(self.server.asked)
        fields = [*fields, (b"connection", b"Connection", b"Upgrade"), (b"upgrade", b"Upgrade", named)]
        client.write(encode_head(self, Framing(fields, BODILESS), keep=True, switches=True))
        self.answered = True
        client.deadline = self.now() + self.limits.body_stall
        await client.drain()
        client.on_end(None)
        client.unread(self.reader.take_rest())
        upstream.stream.unread(upstream.reader.take_rest())
        from rulesproxy.layers.tcp import TCPLayer

        context = self.layer.context
        context.server_conn = upstream.server_conn
        # A line that is slow stays slow.
        context.stream = client
        if terms is None or flow.websocket is None:
            await run_next(TCPLayer(context, upstream.stream, handshake=flow))
        else:
            await run_next(WebSocketLayer(context, upstream.stream, flow.websocket, self.chain, terms))
        return False

    async def _check_switch(self, head: ResponseHead) -> None:
        """Whether the server may switch protocols now.

        Raises:
            FlowFailed: it may not: it was not asked to, or the request is not over yet.
        """
        server = where(self.flow.server_conn.address)
        chosen = [name.strip().encode() for name in head.upgrade.split(",") if name.strip()]
        if not self.server.asked or not set(chosen) <= set(self.server.asked):
            raise FlowFailed("protocol", f"{server} switched protocols without being asked")
        if not self.server.sent:
            raise FlowFailed("protocol", f"{server} switched protocols before it had the whole request")
        if self.upload is not None:
            # All is sent, but a handler of `request` may still look at it.
            await self.upload.wait(self.limits.handler)
            if self.upload.error is not None:
                raise self.upload.error

    # The ways it can end badly

    def client_failure(self) -> FlowFailed | None:
        """What the client did, where a broken server connection is its doing; else None."""
        error = None if self.upload is None else self.upload.error
        if isinstance(error, FlowFailed):
            return error
        if isinstance(error, ProtocolError):
            return FlowFailed("client", str(error), error.status)
        if isinstance(error, StreamTimeout):
            return FlowFailed("client", "the client stopped sending its body", 408)
        if self.client.gone:
            return FlowFailed("client", "the client is gone")
        return None

    def too_big(self, side: Side, status: int) -> None:
        """A body that is wanted is over the limit: it passes unread, or is refused.

        Raises:
            FlowFailed: it is refused.
        """
        plan = self.flow.planned
        if plan is not None and side in plan.refuses_big:
            why = f"the {side} body is over {self.limits.body} bytes (limits_body), and a rule or an addon refuses such"
            raise FlowFailed("handler", why, status)
        _log.warning(
            "%s %s: the %s body is over %d bytes (limits_body): it passes unread by what wanted to read it",
            self.flow.request.method, self.flow.request.url, side, self.limits.body,
        )  # fmt: skip

    async def _fail(self, kind: Kind, why: str, status: int = 502) -> None:
        """Tell the addons, then the client, as far as it can be told."""
        flow = self.flow
        client = self.client = unslowed(self.client)
        flow.error = FlowError(why, kind, self.services.clock.wall())
        flow.response = None
        level = logging.DEBUG if kind == "client" else logging.WARNING
        _log.log(level, "%s %s: %s", flow.request.method, flow.request.url, why)
        before = effects_of(flow)
        await self._fire_error()
        # Now, not behind the silence or the last bytes that the client may be left with: a server is not kept for that.
        await self._leave_server()
        client.on_end(None)
        if self.answered or client.gone or flow.killed:
            # Half an answer must not look like a whole one: the connection breaks off.
            client.abort()
        else:
            await answer_failure(self, status, why, spoils=effects_of(flow) != before)

    async def _fire_error(self) -> None:
        """A flow ends with `response` or with `error`, never with both."""
        if self.chain.error and not self._over:
            await dispatch(self.chain.error, self.flow)

    async def _end(self, how: str) -> None:
        """The flow was killed, or blocked without an answer."""
        flow = self.flow
        if flow.error is None:
            flow.error = FlowError("Connection ended by a rule.", "killed", self.services.clock.wall())
        await self._fire_error()
        await self._leave_server()
        self.client.on_end(None)
        if self.answered:
            self.client.abort()
        else:
            await self.layer.end(how)
