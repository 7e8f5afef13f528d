"""`TCPLayer`: bytes between a client and a server, both ways, each direction ending on its own."""

from __future__ import annotations

import asyncio
import logging

from rulesproxy.engine.chain import Bound, Chain
from rulesproxy.engine.dispatch import dispatch
from rulesproxy.flow.connection import ServerConn
from rulesproxy.flow.error import KILLED, FlowError, Kind
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.plan import End, Fault
from rulesproxy.flow.tcp import TCPFlow, TCPMessage
from rulesproxy.layers.conversation import BY_RULE, CutOff, Spoiler
from rulesproxy.layers.effects import slowed
from rulesproxy.layers.layer import Context, Layer
from rulesproxy.layers.outcome import where
from rulesproxy.layers.pacing import pause
from rulesproxy.layers.reach import DialError, close_stream, open_tunnel
from rulesproxy.layers.repeats import Repeats
from rulesproxy.layers.stream import Stream, StreamClosed, StreamTimeout
from rulesproxy.layers.tcp_refusal import ask, end_client, how_refused, read_off, tell_refused, write_line
from rulesproxy.limits import TCP_HOLD_SHARES

_log = logging.getLogger("rulesproxy")


class _Killed(Exception):
    """A handler has ended the conversation."""


class _Closed(Exception):
    """The same, in order."""


class _Ended(Exception):
    """The plan ends the client's connection."""

    def __init__(self, how: End) -> None:
        super().__init__(how)
        self.how: End = how


class TCPLayer(Layer):
    """A raw TCP conversation.

    Attributes:
        server: the server's stream where there is one already; else it is dialled.
        events: whether the `tcp_*` events fire.
        ended: whether it was ended from outside.
        failed: why there is no server, where it has been dialled in vain.
        flow: what addons see, once it has begun.
    """

    __slots__ = (
        "_changed", "_client", "_finished", "_handling", "_handshake", "_repeats", "_slowed", "_spoiler", "_writing",
        "ended", "events", "failed", "flow", "server",
    )  # fmt: skip

    def __init__(
        self,
        context: Context,
        server: Stream | None = None,
        *,
        events: bool = True,
        failed: DialError | None = None,
        handshake: HTTPFlow | None = None,
    ) -> None:
        super().__init__(context)
        self.failed = failed
        self.ended = False
        self.server = server
        self.events = events
        self.flow: TCPFlow | None = None
        self._handshake = handshake
        self._changed = asyncio.Event()
        self._handling = 0
        # The sides that we have told that no more comes: whether it is the client.
        self._finished: set[bool] = set()
        # How many tasks wait for the server, and for the client, to take something.
        self._writing = [0, 0]
        self._client = context.stream
        self._slowed = 0
        self._spoiler: Spoiler | None = None
        self._repeats: Repeats | None = None

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

    async def begin(self) -> bool:
        """Ask the addons about this connection, before its server is dialled. Whether it goes on.

        Raises:
            StreamClosed: the client has left while it had to wait.
        """
        context, services = self.context, self.context.services
        flow = self.flow
        if flow is None:
            assert context.server_conn is not None
            flow = TCPFlow(context.client_conn, context.server_conn, services.clock.wall(), context.options.limits)
            flow.handshake_flow = self._handshake
            flow.unseen = not self.events
            if self._handshake is not None and self._handshake.planned is not None:
                # A line that is slow stays slow.
                flow.planned = self._handshake.planned
                self._slowed = len(flow.planned.throttles)
            self.flow = flow
            await ask(context, flow, certain=True)
        return how_refused(flow) is None

    async def run(self) -> None:
        """Relay until both directions have ended, or one breaks."""
        context, services = self.context, self.context.services
        chain = services.chain()
        server_conn = context.server_conn
        if server_conn is None:
            _log.error("a raw connection of %s has no server to lead to", where(context.client_conn.address))
            context.stream.abort()
            return
        chain.hold()
        server, own = self.server, self.server is None
        try:
            goes_on = await self.begin()
            flow = self.flow
            assert flow is not None
            if not goes_on:
                await end_client(context, await tell_refused(context, flow))
                return
            if server is None:
                server = await self._dial(chain, flow, server_conn)
                if server is None:
                    return
            await self._fire(chain.tcp_start, flow)
            await self._relay(chain, flow, server)
            await self._fire(chain.tcp_end, flow)
        finally:
            chain.release()
            if self.flow is not None:
                self.flow.on_change = None
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
        write_line(flow, f"error: {why}", {"error": why})
        await self._fire(chain.tcp_error, flow)

    async def _relay(self, chain: Chain, flow: TCPFlow, server: Stream) -> None:
        self.server = server
        services, plan = self.context.services, flow.planned
        if plan is not None and plan.fault is not None:
            self._spoiler = Spoiler(services, plan.fault, self._client)
        self._repeats = Repeats(services, self._is_ready, lambda to_client, data: flow.inject(to_client, _bytes(data)))
        pumps: set[asyncio.Task[bool | None]] = set()
        helpers: set[asyncio.Task[None]] = set()
        try:
            self._obey(flow)
            pumps |= {asyncio.ensure_future(self._pump(chain, flow, from_client)) for from_client in (True, False)}
            if (self.events and (chain.tcp_start or chain.tcp_message)) or flow.planned is not None:
                # Somebody may hold the flow, and ask for something between two messages.
                flow.on_change = self._changed.set
                self._changed.set()
                helpers.add(asyncio.ensure_future(self._follow(flow)))
            broken, last = await _run(pumps, helpers)
        except _Ended as ended:
            broken, last = ended, None
        finally:
            repeats, self._repeats = self._repeats, None
            await repeats.stop(flow.planned)
            for task in pumps | helpers:
                task.cancel()
            if pumps:
                await asyncio.wait(pumps | helpers)
        if broken is None:
            if last is not None:
                await read_off(self.context, self._sink(last), self.options.limits.body_stall)
            return
        if not self.ended:
            await self._break(chain, flow, broken)

    async def _break(self, chain: Chain, flow: TCPFlow, broken: BaseException) -> None:
        """It has not ended by itself: tell the sides and the addons."""
        client, server = self._client, self._sink(False)
        if isinstance(broken, _Closed):
            await self._part(flow)
            return
        if isinstance(broken, (CutOff, _Ended)):
            await self._error(chain, flow, BY_RULE, "killed")
            flow.injected.clear()
            if isinstance(broken, CutOff) or broken.how == "close":
                await self._part(flow)
                return
            # The server sees a client that has left, and is not kept for one that waits in vain.
            await server.close()
            await end_client(self.context, broken.how)
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

    def _sink(self, to_client: bool) -> Stream:
        """The stream of one side; the client's may have become slow meanwhile."""
        if to_client:
            return self._client
        assert self.server is not None
        return self.server

    async def _pump(self, chain: Chain, flow: TCPFlow, from_client: bool) -> bool | None:
        """Carry one direction to its end. Where that is the end of all, say whether it is the client who is left."""
        now, idle = self.context.services.clock.now, self.context.options.limits.tunnel_idle
        handlers = chain.tcp_message if self.events else ()
        to_client = not from_client
        held = b""
        patience = longest = self.context.options.limits.tcp_hold
        while True:
            source, sink = self._sink(from_client), self._sink(to_client)
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
                        await self._show(handlers, flow, held, from_client, whole=True)
                        held = b""
                    data = await reading
                finally:
                    reading.cancel()
            if self._sink(from_client) is not source:
                # The line has become slow while nothing came, and this is the first that goes through it.
                self._sink(from_client).unread(data)
                continue
            if not data:
                if held:
                    await self._show(handlers, flow, held, from_client, whole=True)
                await self._end_side(flow, to_client)
                # On plain TCP this is a half-close; a TLS peer that ends has left.
                return to_client if source.eof_ends else None
            if handlers:
                held = await self._show(handlers, flow, held + data, from_client)
            elif self._spoiler is None:
                sink.write(data)
                await sink.drain()
            else:
                await self._write(to_client, data)

    async def _end_side(self, flow: TCPFlow, to_client: bool) -> None:
        """Tell one side that no more comes, to the client perhaps later."""
        sink, fault = self._sink(to_client), None if flow.planned is None else flow.planned.fault
        if to_client and fault is not None and fault.slow_close is not None:
            seconds = min(fault.slow_close, self.context.options.limits.delay)
            sink.deadline += seconds
            await pause(self.context.services.clock, sink, seconds)
        self._finished.add(to_client)
        sink.write_eof()

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
        self, handlers: tuple[Bound, ...], flow: TCPFlow, data: bytes, from_client: bool, whole: bool = False
    ) -> bytes:
        """Show a message to the handlers, and send what they leave of it. Gives what is held back."""
        services, limits = self.context.services, self.context.options.limits
        message = TCPMessage(from_client, data, services.clock.wall())
        message.whole = whole = whole or len(data) > limits.injected
        flow.messages.append(message)
        self._handling += 1
        try:
            await dispatch(handlers, flow)
            if flow.killed:
                raise _Killed
            if flow.planned is not None:
                self._obey(flow)
        finally:
            self._handling -= 1
        if message.delay > 0:
            await services.clock.sleep(min(message.delay, limits.delay))
        content = message.content + message.held if whole else message.content
        if content:
            await self._send(not from_client, content, message.fault)
        if flow.closing:
            raise _Closed
        if flow.injected:
            self._changed.set()
        return b"" if whole else message.held

    def _obey(self, flow: TCPFlow) -> None:
        """Do what the plan asks for since.

        Raises:
            _Ended: the client's connection is to end.
        """
        plan, repeats = flow.planned, self._repeats
        if plan is None or repeats is None:
            return
        if plan.end is not None:
            raise _Ended(plan.end)
        self._client = slowed(self.context.services, self._client, plan, self._slowed)
        self._slowed = len(plan.throttles)
        repeats.follow(plan)

    def _is_ready(self, to_client: bool) -> bool:
        """Whether one side has taken all that was sent to it."""
        busy = self._writing[to_client] or self._handling or to_client in self._finished
        return not busy and self.flow is not None and not self.flow.injected

    async def _send(self, to_client: bool, data: bytes, fault: Fault | None = None) -> None:
        """Send bytes to one side; `fault` is how these go wrong.

        Raises:
            CutOff: they break off.
        """
        if fault is None:
            await self._write(to_client, data)
            return
        # What is injected meanwhile must not get between the parts.
        self._handling += 1
        try:
            spoiler = Spoiler(self.context.services, fault, self._sink(to_client))
            await spoiler.send(data, lambda part: self._write(to_client, part))
        finally:
            self._handling -= 1

    async def _write(self, to_client: bool, data: bytes) -> None:
        """The same as all of it is spoiled, if it is."""
        if not to_client or self._spoiler is None:
            await self._out(to_client, data)
        else:
            await self._spoiler.send(data, lambda part: self._out(True, part))

    async def _out(self, to_client: bool, data: bytes) -> None:
        sink = self._sink(to_client)
        sink.write(data)
        self._writing[to_client] += 1
        try:
            await sink.drain()
        finally:
            self._writing[to_client] -= 1

    async def _part(self, flow: TCPFlow) -> None:
        """End both sides in order, behind what was injected; a side that takes nothing any more is not waited for."""
        streams = {to_client: self._sink(to_client) for to_client in (True, False)}
        until = self.context.services.clock.now() + self.options.limits.close_linger
        for stream in streams.values():
            stream.deadline = until
        for to_client, content in flow.injected:
            if to_client not in self._finished:
                streams[to_client].write(content)
        flow.injected.clear()
        for to_client, stream in streams.items():
            if to_client not in self._finished:
                stream.write_eof()
        for stream in streams.values():
            try:
                await stream.drain()
                while await stream.read():
                    pass
            except (StreamClosed, StreamTimeout):
                pass

    async def _follow(self, flow: TCPFlow) -> None:
        """Send what is injected, behind the message that is being handled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if flow.killed:
                raise _Killed
            while flow.injected and not self._handling:
                to_client, content = flow.injected[0]
                if to_client not in self._finished:
                    await self._write(to_client, content)
                del flow.injected[0]
            if flow.closing and not self._handling:
                raise _Closed


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


async def _run(
    pumps: set[asyncio.Task[bool | None]], helpers: set[asyncio.Task[None]]
) -> tuple[BaseException | None, bool | None]:
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
