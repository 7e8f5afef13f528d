"""`TCPLayer`: bytes between a client and a server, both ways, each direction ending on its own."""

from __future__ import annotations

import asyncio
import logging

from rulesproxy.engine.dispatch import Chain, dispatch
from rulesproxy.flow.connection import ServerConn
from rulesproxy.flow.error import FlowError, Kind
from rulesproxy.flow.tcp import TCPFlow, TCPMessage
from rulesproxy.layers.layer import Context, Layer
from rulesproxy.layers.outcome import where
from rulesproxy.layers.stream import Stream, StreamClosed, StreamTimeout
from rulesproxy.layers.upstream import DialError, close_stream, open_stream

_log = logging.getLogger("rulesproxy")


class TCPLayer(Layer):
    """A raw TCP conversation.

    Attributes:
        server: the server's stream where there is one already; else it is dialled.
        events: whether the `tcp_*` events fire.
        ended: whether it was ended from outside.
        failed: why there is no server, where it has been dialled in vain.
    """

    __slots__ = ("ended", "events", "failed", "server")

    def __init__(
        self, context: Context, server: Stream | None = None, *, events: bool, failed: DialError | None = None
    ) -> None:
        super().__init__(context)
        self.failed = failed
        self.ended = False
        self.server = server
        self.events = events

    async def end_if_idle(self, now: float, seconds: float) -> bool:
        """Close the client's side, in order, if no byte has moved for that long. Whether it is closed."""
        stream = self.context.stream
        # The deadline is set anew whenever bytes move.
        moved = stream.deadline - self.context.options.limits.tunnel_idle
        if not self.ended and moved <= now - seconds:
            self.ended = True
            stream.write_eof()
            await stream.close()
        return self.ended

    async def run(self) -> None:
        """Relay until both directions have ended, or one breaks."""
        context, services = self.context, self.context.services
        chain = services.chain()
        server_conn = context.server_conn
        assert server_conn is not None, "a raw tunnel has a server"
        flow = TCPFlow(context.client_conn, server_conn, services.clock.wall())
        chain.hold()
        server, own = self.server, self.server is None
        try:
            if server is None:
                server = await self._dial(chain, flow, server_conn)
                if server is None:
                    return
            await self._fire(chain.tcp_start, flow)
            await self._relay(chain, flow, server)
            await self._fire(chain.tcp_end, flow)
        finally:
            chain.release()
            context.stream.on_end(None)
            if server is not None and own:
                await close_stream(services, server, server_conn)

    async def _dial(self, chain: Chain, flow: TCPFlow, server_conn: ServerConn) -> Stream | None:
        try:
            if self.failed is not None:
                raise self.failed
            return await open_stream(self.context.services, server_conn)
        except DialError as exc:
            await self._error(chain, flow, f"cannot connect to {where(server_conn.address)}: {exc}", exc.kind)
            await self._fire(chain.tcp_end, flow)
            self.context.stream.abort()
            return None

    async def _fire(self, handlers: object, flow: TCPFlow) -> None:
        if self.events and handlers:
            await dispatch(handlers, flow)  # type: ignore[arg-type]

    async def _error(self, chain: Chain, flow: TCPFlow, why: str, kind: Kind) -> None:
        flow.error = FlowError(why, kind, self.context.services.clock.wall())
        _log.info("tunnel to %s: %s", flow.server_conn.address[0], why)
        await self._fire(chain.tcp_error, flow)

    async def _relay(self, chain: Chain, flow: TCPFlow, server: Stream) -> None:
        client = self.context.stream
        upward = asyncio.ensure_future(self._pump(chain, flow, client, server, True))
        downward = asyncio.ensure_future(self._pump(chain, flow, server, client, False))
        tasks = {upward, downward}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        broken = next((exc for task in done if (exc := task.exception()) is not None), None)
        if broken is None or self.ended:
            return
        if not isinstance(broken, (StreamClosed, StreamTimeout)):
            raise broken
        # The other side must see that this was no regular end.
        client.abort()
        server.abort()
        idle = isinstance(broken, StreamTimeout)
        await self._error(chain, flow, "no byte moved for too long" if idle else str(broken),
                          "timeout" if idle else "disconnected")  # fmt: skip

    async def _pump(self, chain: Chain, flow: TCPFlow, source: Stream, sink: Stream, from_client: bool) -> None:
        now, idle = self.context.services.clock.now, self.context.options.limits.tunnel_idle
        handlers = chain.tcp_message if self.events else ()
        while True:
            # A tunnel is alive while either direction moves.
            source.deadline = sink.deadline = now() + idle
            data = await source.read()
            if not data:
                sink.write_eof()
                return
            if handlers:
                message = TCPMessage(from_client, data, self.context.services.clock.wall())
                flow.messages.append(message)
                await dispatch(handlers, flow)
                data = message.content
                self._inject(flow, source, sink, from_client)
            if data:
                sink.write(data)
                await sink.drain()

    def _inject(self, flow: TCPFlow, source: Stream, sink: Stream, from_client: bool) -> None:
        for to_client, content in flow.injected:
            (source if to_client == from_client else sink).write(content)
        flow.injected.clear()
