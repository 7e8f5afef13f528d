"""`WebSocketLayer`: a WebSocket conversation between a client and a server, from the 101 to the end of both sides.

Where an addon wants its messages, they are read whole, shown one at a time, and sent on as they are then. Where nobody
does, frames pass unread. How a conversation began is in `websocket_handshake`, how it ends in `websocket_end`.
"""

from __future__ import annotations

import asyncio
from functools import partial

from rulesproxy.engine.chain import Chain
from rulesproxy.engine.dispatch import dispatch
from rulesproxy.flow.websocket import WebSocketFlow, WebSocketMessage
from rulesproxy.layers.conversation import Spoiler
from rulesproxy.layers.effects import slowed
from rulesproxy.layers.layer import Context, Layer
from rulesproxy.layers.pacing import pause
from rulesproxy.layers.repeats import Repeats
from rulesproxy.layers.stream import FOREVER, Stream, StreamClosed, StreamTimeout
from rulesproxy.layers.websocket_end import (
    RESET,
    SHUTDOWN,
    Asked,
    Broken,
    End,
    Idle,
    Lost,
    Spoiled,
    drain_off,
    farewell,
    how_it_ended,
    note_close,
)
from rulesproxy.layers.websocket_handshake import Terms
from rulesproxy.layers.websocket_way import Way, invalid, new_key
from rulesproxy.proto.websocket import (
    FrameScanner,
    Message,
    MessageReader,
    MessageWriter,
    WebSocketError,
)


class WebSocketLayer(Layer):
    """A WebSocket conversation.

    Attributes:
        server: the server's stream; whoever made it closes it.
        flow: what addons see.
        chain: whose handlers are called to the end; None for the chain as it is when the layer runs.
        terms: the extensions that each side has agreed on with the proxy.
    """

    __slots__ = ("_repeats", "_slowed", "_turn", "chain", "flow", "server", "terms")

    def __init__(
        self,
        context: Context,
        server: Stream,
        flow: WebSocketFlow,
        chain: Chain | None = None,
        terms: Terms | None = None,
    ) -> None:
        super().__init__(context)
        self.server = server
        self.flow = flow
        self.chain = chain
        self.terms = terms or Terms()
        # Handlers find the message that they are called for at the end of `flow.messages`: it must stay there.
        self._turn = asyncio.Lock()
        # How many throttles of the plan are in force.
        plan = flow.handshake_flow.planned
        self._slowed = 0 if plan is None else len(plan.throttles)
        self._repeats: Repeats | None = None

    async def run(self) -> None:
        """Carry messages until the conversation is over, then end both connections."""
        flow, services = self.flow, self.context.services
        chain = self.chain = self.chain or services.chain()
        chain.hold()
        services.conversations.add(flow)
        up, down = self._ways(chain)
        try:
            try:
                if chain.websocket_start:
                    await dispatch(chain.websocket_start, flow)
                end = await self._converse(chain, up, down)
            except asyncio.CancelledError:
                # A shutdown has no time to hear the answers of the two sides, but they and the addons are told.
                end = End(1001, SHUTDOWN) if flow.close_code is None else how_it_ended(flow, None)
                self._part(end, up, down)
                await asyncio.shield(asyncio.ensure_future(self._tell(chain, end)))
                raise
            self._part(end, up, down)
            await self._tell(chain, end)
            until = services.clock.now() + self.options.limits.close_linger
            if end.silent:
                # The server is not kept for a client that waits in vain.
                await drain_off(down.source, until)
                await self.server.close()
            await asyncio.gather(self._leave_client(end, up.source, until), drain_off(down.source, until))
        finally:
            services.conversations.discard(flow)
            chain.release()

    def _ways(self, chain: Chain) -> tuple[Way, Way]:
        """The two directions. Frames pass unread where nobody wants the messages and nothing has to be recoded."""
        client, server, terms = self.context.stream, self.server, self.terms
        limit = self.options.limits.websocket_message
        unread = terms.client == terms.server and not chain.wants_messages(self.flow.handshake_flow)
        services, flow = self.context.services, self.flow
        up = Way(services, flow, True, client, server, MessageWriter(new_key, terms.client, terms.server))
        down = Way(services, flow, False, server, client, MessageWriter(None, terms.server, terms.client))
        for way, agreed in ((up, terms.client), (down, terms.server)):
            if unread:
                way.scanner = FrameScanner(way.from_client, agreed is not None, terms.unknown)
            else:
                way.reader = MessageReader(way.from_client, agreed, limit)
        plan = self.flow.handshake_flow.planned
        if plan is not None and plan.fault is not None:
            down.spoiler = Spoiler(services, plan.fault, client, invalid(down))
        return up, down

    async def _converse(self, chain: Chain, up: Way, down: Way) -> End:
        """Run both directions; how the conversation has ended."""
        flow, ways = self.flow, (up, down)
        self._repeats = Repeats(self.context.services, partial(self._is_ready, up, down), flow.inject)
        try:
            self._obey(up, down)
        except Spoiled as spoiled:
            self._repeats = None
            return how_it_ended(flow, spoiled)
        tasks = [asyncio.ensure_future(self._pump(chain, way, up, down)) for way in ways]

        def stop() -> None:
            for task in tasks:
                task.cancel()

        def asked() -> None:
            self._distribute(up, down)
            if flow.ending is not None and not up.busy and not down.busy:
                stop()

        flow.on_change = asked
        for way in ways:
            way.stop = stop
        try:
            self._distribute(up, down)
            if flow.ending is None:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            flow.on_change = up.stop = down.stop = None
            repeats, self._repeats = self._repeats, None
            await repeats.stop(flow.handshake_flow.planned)
            done = [task for task in tasks if task.done() and not task.cancelled()]
            everything = [*tasks, *(way.flusher for way in ways if way.flusher is not None)]
            for task in everything:
                task.cancel()
            await asyncio.wait(everything)
            for task in everything:
                if not task.cancelled():
                    task.exception()
        errors = [error for task in done if (error := task.exception()) is not None]
        # A deadline wakes both who writes to a side and who reads from it; only the writer knows what has passed.
        errors.sort(key=lambda error: isinstance(error, Idle))
        return how_it_ended(flow, errors[0] if errors else up.cut or down.cut)

    def _part(self, end: End, up: Way, down: Way) -> None:
        """Say goodbye to both sides; one that is in the middle of a frame can only be cut off."""
        to_client = end.to_client if down.between_frames or end.spoiled else RESET
        if not end.silent:
            farewell(down.sink, to_client, None, self._slow_close is None)
        farewell(up.sink, end.to_server if up.between_frames else RESET, new_key())

    async def _leave_client(self, end: End, client: Stream, until: float) -> None:
        """Let the client take what it was sent, and go."""
        clock, limits = self.context.services.clock, self.options.limits
        if end.silent:
            until = clock.now() + limits.websocket_idle
        elif self._slow_close is not None and not client.gone:
            # Who waits for the end of the connection has half-closed it, and is still there.
            client.deadline = FOREVER
            try:
                await pause(clock, client, min(self._slow_close, limits.delay))
            except StreamClosed:
                return
            client.write_eof()
            until = clock.now() + limits.close_linger
        await drain_off(client, until)

    @property
    def _slow_close(self) -> float | None:
        """How many seconds later the client's connection ends."""
        plan = self.flow.handshake_flow.planned
        return None if plan is None or plan.fault is None else plan.fault.slow_close

    async def _tell(self, chain: Chain, end: End) -> None:
        """Fire the last events."""
        flow = self.flow
        end.settle(flow, self.context.services.clock.wall())
        if flow.error is not None and chain.websocket_error:
            await dispatch(chain.websocket_error, flow)
        if chain.websocket_end:
            await dispatch(chain.websocket_end, flow)

    # One direction

    async def _pump(self, chain: Chain, way: Way, up: Way, down: Way) -> None:
        """Carry one direction up to its Close frame, or to its end where the other one has sent one.

        Raises:
            Broken: the source broke the protocol.
            Lost: one of the two is gone.
            Idle: no frame came for too long.
            Asked: a handler wants the conversation to end.
            Spoiled: a connection is to end, as the plan or a message has it.
        """
        flow, now, limits = self.flow, self.context.services.clock.now, self.options.limits
        scanner = way.scanner
        while True:
            # A line may have become slow meanwhile.
            source, sink = way.source, way.sink
            if flow.close_code is None:
                # A conversation is alive while either direction moves.
                source.deadline = sink.deadline = now() + limits.websocket_idle
            try:
                data = await source.read()
            except StreamClosed as exc:
                raise Lost(way.from_client, str(exc), reset=True) from None
            except StreamTimeout:
                raise Idle(limits.websocket_idle) from None
            if way.source is not source:
                # The line has become slow while nothing came, and this is the first that goes through it.
                way.source.unread(data)
                continue
            if not data:
                if flow.close_code is None:
                    raise Lost(way.from_client, "it closed the connection without a Close frame")
                return
            try:
                if scanner is None:
                    over = await self._messages(chain, way, data, up, down)
                else:
                    over = await self._frames(way, scanner, data)
            except WebSocketError as exc:
                raise Broken(way.from_client, str(exc), exc.code) from None
            if over:
                # The other side has a moment to answer the Close frame (RFC 6455 section 7.1.1).
                way.source.deadline = way.sink.deadline = now() + limits.websocket_close
                return
            while way.pending and way.between_messages:
                await way.flush()
            if flow.ending is not None:
                raise Asked
            way.busy = False

    async def _messages(self, chain: Chain, way: Way, data: bytes, up: Way, down: Way) -> bool:
        """Read messages, show them, send them on. Whether there was a Close frame."""
        flow, reader = self.flow, way.reader
        assert reader is not None
        reader.feed(data)
        while flow.ending is None and (message := reader.next_message()) is not None:
            if isinstance(message, Message):
                await self._show(chain, way, message, up, down)
            elif message.close is None:
                await way.send(message.raw)
            else:
                await way.flush()
                note_close(flow, message.close, way.from_client)
                await way.send(message.raw)
                return True
            if way.pending:
                await way.flush()
        return False

    async def _show(self, chain: Chain, way: Way, message: Message, up: Way, down: Way) -> None:
        """Show a message to the addons, and send what goes on in its place."""
        flow, writer = self.flow, way.writer
        shown = WebSocketMessage(way.from_client, message.content, self.context.services.clock.wall())
        async with self._turn:
            if flow.ending is not None:
                return
            way.busy = True
            flow.remember(shown)
            await dispatch(chain.websocket_message, flow)
            if flow.handshake_flow.planned is not None:
                self._obey(up, down)
        if shown.delay > 0 and not shown.dropped:
            await self.context.services.clock.sleep(min(shown.delay, self.options.limits.delay))
        data = b"".join([writer.inject(content) for content in shown.before])
        if shown.dropped:
            writer.skip(message)
            if data:
                await way.send(data)
            return
        if shown.fault is not None and data:
            await way.send(data)
            data = b""
        content = shown.content
        data += writer.encode(message) if content is message.content else writer.replace(message, content)
        await way.send(data, shown.fault, message=True)

    async def _frames(self, way: Way, scanner: FrameScanner, data: bytes) -> bool:
        """Send frames on unread. Whether there was a Close frame.

        Raises:
            WebSocketError: a header is wrong; what stood before it has been sent.
        """
        flow, before = self.flow, scanner.messages
        way.busy = True
        data = scanner.scan(data)
        flow.message_count += scanner.messages - before
        if way.pending and scanner.boundary >= 0:
            await way.send(data[: scanner.boundary])
            data = data[scanner.boundary :]
            await way.flush()
        if scanner.close is not None:
            note_close(flow, scanner.close, way.from_client)
        if data:
            await way.send(data, message=scanner.between_frames)
        if scanner.error is not None:
            raise scanner.error
        return scanner.close is not None

    # What addons ask for

    def _obey(self, up: Way, down: Way) -> None:
        """Do what the plan asks for since.

        Raises:
            Spoiled: the client's connection is to end.
        """
        plan, repeats = self.flow.handshake_flow.planned, self._repeats
        if plan is None or repeats is None:
            return
        if plan.end is not None:
            raise Spoiled(plan.end)
        if self._slowed < len(plan.throttles):
            up.source = down.sink = slowed(self.context.services, down.sink, plan, self._slowed)
            self._slowed = len(plan.throttles)
        repeats.follow(plan)

    def _is_ready(self, up: Way, down: Way, to_client: bool) -> bool:
        """Whether one side has taken all that was sent to it."""
        way, flow = down if to_client else up, self.flow
        busy = way.busy or way.pending or way.flusher is not None or flow.waiting
        return not busy and way.between_messages and flow.close_code is None and flow.ending is None

    def _distribute(self, up: Way, down: Way) -> None:
        """Take over what was injected; where nothing is being sent to that side, send it now."""
        injected = self.flow.injected
        while injected:
            to_client, content = injected.popleft()
            (down if to_client else up).pending.append(content)
        for way in (up, down):
            if way.pending and way.flusher is None and not way.busy and way.between_messages:
                way.flusher = asyncio.ensure_future(way.flush_alone())
