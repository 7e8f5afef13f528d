"""`WebSocketLayer`: a WebSocket conversation between a client and a server, from the 101 to the end of both sides.

Where an addon wants its messages, they are read whole, shown one at a time, and sent on as they are then. Where nobody
does, frames pass unread. How a conversation began is in `websocket_handshake`, how it ends in `websocket_end`.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque

from rulesproxy.engine.chain import Chain
from rulesproxy.engine.dispatch import dispatch
from rulesproxy.flow.websocket import WebSocketFlow, WebSocketMessage
from rulesproxy.layers.layer import Context, Layer
from rulesproxy.layers.stream import Stream, StreamClosed, StreamTimeout
from rulesproxy.layers.websocket_end import (
    RESET,
    SHUTDOWN,
    Asked,
    Broken,
    End,
    Idle,
    Lost,
    drain_off,
    farewell,
    how_it_ended,
    note_close,
)
from rulesproxy.layers.websocket_handshake import Terms
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

    __slots__ = ("_turn", "chain", "flow", "server", "terms")

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
            await asyncio.gather(drain_off(up.source, until), drain_off(down.source, until))
        finally:
            services.conversations.discard(flow)
            chain.release()

    def _ways(self, chain: Chain) -> tuple[_Way, _Way]:
        """The two directions. Frames pass unread where nobody wants the messages and nothing has to be recoded."""
        client, server, terms = self.context.stream, self.server, self.terms
        limit = self.options.limits.websocket_message
        unread = terms.client == terms.server and not chain.wants_messages(self.flow.handshake_flow)
        up = _Way(True, client, server, MessageWriter(_new_key, terms.client, terms.server))
        down = _Way(False, server, client, MessageWriter(None, terms.server, terms.client))
        for way, agreed in ((up, terms.client), (down, terms.server)):
            if unread:
                way.scanner = FrameScanner(way.from_client, agreed is not None, terms.unknown)
            else:
                way.reader = MessageReader(way.from_client, agreed, limit)
        return up, down

    async def _converse(self, chain: Chain, up: _Way, down: _Way) -> End:
        """Run both directions; how the conversation has ended."""
        flow, ways = self.flow, (up, down)
        tasks = [asyncio.ensure_future(self._pump(chain, way)) for way in ways]

        def asked() -> None:
            self._distribute(up, down)
            if flow.ending is not None and not up.busy and not down.busy:
                for task in tasks:
                    task.cancel()

        flow.on_change = asked
        try:
            self._distribute(up, down)
            if flow.ending is None:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            flow.on_change = None
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
        return how_it_ended(flow, errors[0] if errors else None)

    def _part(self, end: End, up: _Way, down: _Way) -> None:
        """Say goodbye to both sides; one that is in the middle of a frame can only be cut off."""
        farewell(down.sink, end.to_client if down.between_frames else RESET, None)
        farewell(up.sink, end.to_server if up.between_frames else RESET, _new_key())

    async def _tell(self, chain: Chain, end: End) -> None:
        """Fire the last events."""
        flow = self.flow
        end.settle(flow, self.context.services.clock.wall())
        if flow.error is not None and chain.websocket_error:
            await dispatch(chain.websocket_error, flow)
        if chain.websocket_end:
            await dispatch(chain.websocket_end, flow)

    # One direction

    async def _pump(self, chain: Chain, way: _Way) -> None:
        """Carry one direction up to its Close frame, or to its end where the other one has sent one.

        Raises:
            Broken: the source broke the protocol.
            Lost: one of the two is gone.
            Idle: no frame came for too long.
            Asked: a handler wants the conversation to end.
        """
        flow, now, limits = self.flow, self.context.services.clock.now, self.options.limits
        source, sink, scanner = way.source, way.sink, way.scanner
        while True:
            if flow.close_code is None:
                # A conversation is alive while either direction moves.
                source.deadline = sink.deadline = now() + limits.websocket_idle
            try:
                data = await source.read()
            except StreamClosed as exc:
                raise Lost(way.from_client, str(exc), reset=True) from None
            except StreamTimeout:
                raise Idle(limits.websocket_idle) from None
            if not data:
                if flow.close_code is None:
                    raise Lost(way.from_client, "it closed the connection without a Close frame")
                return
            try:
                over = await (self._messages(chain, way, data) if scanner is None else self._frames(way, scanner, data))
            except WebSocketError as exc:
                raise Broken(way.from_client, str(exc), exc.code) from None
            if over:
                # The other side has a moment to answer the Close frame (RFC 6455 section 7.1.1).
                source.deadline = sink.deadline = now() + limits.websocket_close
                return
            while way.pending and way.between_messages:
                await self._flush(way)
            if flow.ending is not None:
                raise Asked
            way.busy = False

    async def _messages(self, chain: Chain, way: _Way, data: bytes) -> bool:
        """Read messages, show them, send them on. Whether there was a Close frame."""
        flow, reader = self.flow, way.reader
        assert reader is not None
        reader.feed(data)
        while flow.ending is None and (message := reader.next_message()) is not None:
            if isinstance(message, Message):
                data = await self._show(chain, way, message)
                if data:
                    await self._send(way, data)
            elif message.close is None:
                await self._send(way, message.raw)
            else:
                await self._flush(way)
                note_close(flow, message.close, way.from_client)
                await self._send(way, message.raw)
                return True
            if way.pending:
                await self._flush(way)
        return False

    async def _show(self, chain: Chain, way: _Way, message: Message) -> bytes:
        """Show a message to the addons; the frames that go on in its place."""
        flow, writer = self.flow, way.writer
        shown = WebSocketMessage(way.from_client, message.content, self.context.services.clock.wall())
        async with self._turn:
            if flow.ending is not None:
                return b""
            way.busy = True
            flow.remember(shown)
            await dispatch(chain.websocket_message, flow)
        if shown.delay > 0 and not shown.dropped:
            await self.context.services.clock.sleep(min(shown.delay, self.options.limits.delay))
        before = b"".join([writer.inject(content) for content in shown.before])
        if shown.dropped:
            writer.skip(message)
            return before
        content = shown.content
        return before + (writer.encode(message) if content is message.content else writer.replace(message, content))

    async def _frames(self, way: _Way, scanner: FrameScanner, data: bytes) -> bool:
        """Send frames on unread. Whether there was a Close frame.

        Raises:
            WebSocketError: a header is wrong; what stood before it has been sent.
        """
        flow, before = self.flow, scanner.messages
        way.busy = True
        data = scanner.scan(data)
        flow.message_count += scanner.messages - before
        if way.pending and scanner.boundary >= 0:
            await self._send(way, data[: scanner.boundary])
            data = data[scanner.boundary :]
            await self._flush(way)
        if scanner.close is not None:
            note_close(flow, scanner.close, way.from_client)
        if data:
            await self._send(way, data)
        if scanner.error is not None:
            raise scanner.error
        return scanner.close is not None

    async def _send(self, way: _Way, data: bytes) -> None:
        """Send frames to one side, behind what is being injected there."""
        way.busy = True
        if way.flusher is not None:
            await way.flusher
        await self._write(way, data)

    async def _write(self, way: _Way, data: bytes) -> None:
        """Write to one side, and wait while it is behind."""
        sink = way.sink
        sink.write(data)
        if self.flow.close_code is None:
            sink.deadline = self.context.services.clock.now() + self.options.limits.websocket_stall
        try:
            await sink.drain()
        except StreamClosed as exc:
            raise Lost(not way.from_client, str(exc), reset=True) from None
        except StreamTimeout:
            raise Lost(not way.from_client, "it takes nothing any more", reset=True) from None

    # What addons ask for

    def _distribute(self, up: _Way, down: _Way) -> None:
        """Take over what was injected; where nothing is being sent to that side, send it now."""
        injected = self.flow.injected
        while injected:
            to_client, content = injected.popleft()
            (down if to_client else up).pending.append(content)
        for way in (up, down):
            if way.pending and way.flusher is None and not way.busy and way.between_messages:
                way.flusher = asyncio.ensure_future(self._flush_alone(way))

    async def _flush_alone(self, way: _Way) -> None:
        """Send what was injected while no message comes that way."""
        try:
            while way.pending:
                await self._write(way, self._take(way))
        except Lost:
            pass  # The direction that reads from that side sees it, too.
        finally:
            way.flusher = None

    async def _flush(self, way: _Way) -> None:
        """Send what was injected while a message was on its way."""
        if way.flusher is not None:
            await way.flusher
        while way.pending:
            await self._write(way, self._take(way))

    def _take(self, way: _Way) -> bytes:
        """The frame of the next message that was injected."""
        content = way.pending.popleft()
        data = way.writer.inject(content)
        self.flow.waiting -= len(content.encode()) if isinstance(content, str) else len(content)
        return data


class _Way:
    """One direction of a conversation.

    Attributes:
        from_client: whether it is the one from the client.
        source: where it comes from; `sink`: where it goes.
        writer: makes frames where those that came cannot go on.
        reader: of messages; None where they are not read.
        scanner: of frame headers; None where messages are read.
        pending: what was injected and waits for a place between two messages.
        busy: whether something that came is being shown or sent just now.
        flusher: sends what is injected while nothing comes.
    """

    __slots__ = ("busy", "flusher", "from_client", "pending", "reader", "scanner", "sink", "source", "writer")

    def __init__(self, from_client: bool, source: Stream, sink: Stream, writer: MessageWriter) -> None:
        self.from_client = from_client
        self.source = source
        self.sink = sink
        self.writer = writer
        self.reader: MessageReader | None = None
        self.scanner: FrameScanner | None = None
        self.pending: deque[str | bytes] = deque()
        self.busy = False
        self.flusher: asyncio.Task[None] | None = None

    @property
    def between_messages(self) -> bool:
        """Whether a message can be put in."""
        return self.scanner is None or self.scanner.between_messages

    @property
    def between_frames(self) -> bool:
        """Whether a control frame can be put in."""
        return self.scanner is None or self.scanner.between_frames


def _new_key() -> bytes:
    """A masking key that nobody can foresee (RFC 6455 section 10.3)."""
    return os.urandom(4)
