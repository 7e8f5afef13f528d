"""`TCPLayer`: bytes between a client and a server, both ways, each direction ending on its own."""

from __future__ import annotations

import asyncio
import logging

from rulesproxy.engine.chain import Bound, Chain
from rulesproxy.engine.dispatch import dispatch
from rulesproxy.flow.connection import ServerConn
from rulesproxy.flow.error import KILLED, FlowError, Kind
from rulesproxy.flow.tcp import TCPFlow, TCPMessage
from rulesproxy.layers.layer import Context, Layer
from rulesproxy.layers.outcome import where
from rulesproxy.layers.pacing import PacedStream
from rulesproxy.layers.reach import DialError, close_stream, open_tunnel
from rulesproxy.layers.stream import Stream, StreamClosed, StreamTimeout
from rulesproxy.limits import TCP_HOLD_SHARES

_log = logging.getLogger("rulesproxy")


class _Killed(Exception):
    """A handler has ended the conversation."""


class _Closed(Exception):
    """The same, in order."""


class TCPLayer(Layer):
    """A raw TCP conversation.

    Attributes:
        server: the server's stream where there is one already; else it is dialled.
        events: whether the `tcp_*` events fire.
        ended: whether it was ended from outside.
        failed: why there is no server, where it has been dialled in vain.
    """

    __slots__ = ("_changed", "_finished", "_handling", "ended", "events", "failed", "server")

    def __init__(
        self, context: Context, server: Stream | None = None, *, events: bool = True, failed: DialError | None = None
    ) -> None:
        super().__init__(context)
        self.failed = failed
        self.ended = False
        self.server = server
        self.events = events
        self._changed = asyncio.Event()
        self._handling = 0
        # The sides that we have told that no more comes.
        self._finished: list[Stream] = []

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
        if server_conn is None:
            _log.error("a raw connection of %s has no server to lead to", where(context.client_conn.address))
            context.stream.abort()
            return
        flow = TCPFlow(context.client_conn, server_conn, services.clock.wall(), context.options.limits)
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
            flow.on_change = None
            context.stream.on_end(None)
            if server is not None and own:
                await close_stream(services, server, server_conn)

    async def _dial(self, chain: Chain, flow: TCPFlow, server_conn: ServerConn) -> Stream | None:
        try:
            if self.failed is not None:
                raise self.failed
            return await open_tunnel(self.context)
        except DialError as exc:
            await self._error(chain, flow, f"cannot connect to {where(server_conn.address)}: {exc}", exc.kind)
            await self._fire(chain.tcp_end, flow)
            self.context.stream.abort()
            return None

    async def _fire(self, handlers: tuple[Bound, ...], flow: TCPFlow) -> None:
        if self.events and handlers:
            await dispatch(handlers, flow)

    async def _error(self, chain: Chain, flow: TCPFlow, why: str, kind: Kind) -> None:
        flow.error = FlowError(why, kind, self.context.services.clock.wall())
        _log.info("tunnel to %s: %s", flow.server_conn.address[0], why)
        await self._fire(chain.tcp_error, flow)

    async def _relay(self, chain: Chain, flow: TCPFlow, server: Stream) -> None:
        client = self.context.stream
        for throttle in flow.throttles:
            client = PacedStream(client, self.context.services.clock, throttle)
        pumps = {
            asyncio.ensure_future(self._pump(chain, flow, client, server, True)),
            asyncio.ensure_future(self._pump(chain, flow, server, client, False)),
        }
        helpers = set()
        if self.events and (chain.tcp_start or chain.tcp_message):
            # Somebody may hold the flow, and ask for something between two messages.
            flow.on_change = self._changed.set
            self._changed.set()
            helpers.add(asyncio.ensure_future(self._follow(flow, client, server)))
        try:
            broken, last = await _run(pumps, helpers)
        finally:
            for task in pumps | helpers:
                task.cancel()
            await asyncio.wait(pumps | helpers)
        if broken is None:
            if last is not None:
                await self._settle(last)
            return
        if self.ended:
            return
        if isinstance(broken, _Closed):
            await self._part(flow, client, server)
            return
        if not isinstance(broken, (StreamClosed, StreamTimeout, _Killed)):
            raise broken
        # The other side must see that this was no regular end.
        client.abort()
        server.abort()
        if isinstance(broken, _Killed):
            await self._error(chain, flow, KILLED, "killed")
        elif isinstance(broken, StreamTimeout):
            await self._error(chain, flow, "no byte moved for too long", "timeout")
        else:
            await self._error(chain, flow, str(broken), "disconnected")

    async def _pump(
        self, chain: Chain, flow: TCPFlow, source: Stream, sink: Stream, from_client: bool
    ) -> Stream | None:
        """Carry one direction to its end. Where that is the end of all, give the side that is still there."""
        now, idle = self.context.services.clock.now, self.context.options.limits.tunnel_idle
        handlers = chain.tcp_message if self.events else ()
        held = b""
        patience = longest = self.context.options.limits.tcp_hold
        while True:
            # A tunnel is alive while either direction moves.
            source.deadline = sink.deadline = now() + idle
            if not held:
                data = await source.read()
            else:
                reading = asyncio.ensure_future(source.read())
                try:
                    if await self._arrives(reading, patience):
                        patience = longest
                    else:
                        # A peer that has said all that it wants to say waits for an answer: it shall not wait for long.
                        patience = max(patience / 2, longest / TCP_HOLD_SHARES)
                        await self._show(handlers, flow, held, sink, from_client, whole=True)
                        held = b""
                    data = await reading
                finally:
                    reading.cancel()
            if not data:
                if held:
                    await self._show(handlers, flow, held, sink, from_client, whole=True)
                self._finished.append(sink)
                sink.write_eof()
                # On plain TCP this is a half-close; a TLS peer that ends has left.
                return sink if source.eof_ends else None
            if handlers:
                held = await self._show(handlers, flow, held + data, sink, from_client)
            else:
                sink.write(data)
                await sink.drain()

    async def _arrives(self, reading: asyncio.Future[bytes], seconds: float) -> bool:
        """Wait a moment for the rest of what is held; whether anything came."""
        services = self.context.services
        over = asyncio.Event()
        late = asyncio.ensure_future(services.clock.sleep(seconds))
        late.add_done_callback(lambda _: over.set())
        reading.add_done_callback(lambda _: over.set())
        try:
            await over.wait()
        finally:
            late.cancel()
        return reading.done()

    async def _show(
        self,
        handlers: tuple[Bound, ...],
        flow: TCPFlow,
        data: bytes,
        sink: Stream,
        from_client: bool,
        whole: bool = False,
    ) -> bytes:
        """Show a message to the handlers, and send what they leave of it. Gives what is held back."""
        services, limits = self.context.services, self.context.options.limits
        message = TCPMessage(from_client, data, services.clock.wall())
        message.whole = whole = whole or len(data) > limits.injected
        flow.messages.append(message)
        self._handling += 1
        try:
            await dispatch(handlers, flow)
        finally:
            self._handling -= 1
        if flow.killed:
            raise _Killed
        if message.delay > 0:
            await services.clock.sleep(min(message.delay, limits.delay))
        content = message.content + message.held if whole else message.content
        if content:
            sink.write(content)
            await sink.drain()
        if flow.closing:
            raise _Closed
        if flow.injected:
            self._changed.set()
        return b"" if whole else message.held

    async def _part(self, flow: TCPFlow, client: Stream, server: Stream) -> None:
        """End both sides in order, behind what was injected; a side that takes nothing any more is not waited for."""
        until = self.context.services.clock.now() + self.context.options.limits.close_linger
        for stream in (client, server):
            stream.deadline = until
        for to_client, content in flow.injected:
            sink = client if to_client else server
            if sink not in self._finished:
                sink.write(content)
        flow.injected.clear()
        for stream in (client, server):
            if stream not in self._finished:
                stream.write_eof()
        for stream in (client, server):
            try:
                await stream.drain()
                while await stream.read():
                    pass
            except (StreamClosed, StreamTimeout):
                pass

    async def _follow(self, flow: TCPFlow, client: Stream, server: Stream) -> None:
        """Send what is injected, behind the message that is being handled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if flow.killed:
                raise _Killed
            while flow.injected and not self._handling:
                to_client, content = flow.injected[0]
                sink = client if to_client else server
                if sink not in self._finished:
                    sink.write(content)
                    await sink.drain()
                del flow.injected[0]
            if flow.closing and not self._handling:
                raise _Closed

    async def _settle(self, stream: Stream) -> None:
        """Let the side that is still there take what was written to it; what it still sends is for nobody."""
        stream.deadline = self.context.services.clock.now() + self.context.options.limits.body_stall
        try:
            while await stream.read():
                pass
        except (StreamClosed, StreamTimeout):
            pass


async def _run(
    pumps: set[asyncio.Task[Stream | None]], helpers: set[asyncio.Task[None]]
) -> tuple[BaseException | None, Stream | None]:
    """Wait until both directions have ended, or until one has ended both: what it broke on, and who is still there."""
    left = pumps
    while left:
        done, _ = await asyncio.wait(left | helpers, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if (broken := task.exception()) is not None:
                return broken, None
        for pump in done & left:
            if (last := pump.result()) is not None:
                return None, last
        left = left - done
    return None, None
