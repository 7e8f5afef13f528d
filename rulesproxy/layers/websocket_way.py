"""`Way`: one direction of a WebSocket conversation, and how frames get to the side at its end.

It knows what has to be sent in which order, and what is meant to go wrong on the way. What comes in is read by the
layer.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rulesproxy.flow.plan import Fault
from rulesproxy.flow.websocket import WebSocketFlow
from rulesproxy.layers.conversation import CutOff, Spoiler
from rulesproxy.layers.stream import Stream, StreamClosed, StreamTimeout
from rulesproxy.layers.websocket_end import Lost, Spoiled
from rulesproxy.proto.websocket import FrameScanner, MessageReader, MessageWriter, encode_frame
from rulesproxy.proto.websocket_frames import FIN

if TYPE_CHECKING:
    from rulesproxy.layers.layer import Services

_RESERVED = 3
"""An opcode that no frame may have (RFC 6455 section 5.2)."""


class Way:
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
        spoiler: how all that goes this way goes wrong.
        cut: where something that was injected while nothing came has broken off; `stop` ends both directions then.
    """

    __slots__ = (
        "_flow", "_services", "busy", "cut", "flusher", "from_client", "pending", "reader", "scanner", "sink", "source",
        "spoiler", "stop", "writer",
    )  # fmt: skip

    def __init__(
        self,
        services: Services,
        flow: WebSocketFlow,
        from_client: bool,
        source: Stream,
        sink: Stream,
        writer: MessageWriter,
    ) -> None:
        self._services = services
        self._flow = flow
        self.from_client = from_client
        self.source = source
        self.sink = sink
        self.writer = writer
        self.reader: MessageReader | None = None
        self.scanner: FrameScanner | None = None
        self.pending: deque[str | bytes] = deque()
        self.busy = False
        self.flusher: asyncio.Task[None] | None = None
        self.spoiler: Spoiler | None = None
        self.cut: Spoiled | None = None
        self.stop: Callable[[], None] | None = None

    @property
    def between_messages(self) -> bool:
        """Whether a message can be put in."""
        return self.scanner is None or self.scanner.between_messages

    @property
    def between_frames(self) -> bool:
        """Whether a control frame can be put in."""
        return self.scanner is None or self.scanner.between_frames

    async def send(self, data: bytes, fault: Fault | None = None, message: bool = False) -> None:
        """Send frames, behind what is being injected; `fault` is how these go wrong, `message` says they are a message.

        Raises:
            Lost: the side that gets them is gone.
            Spoiled: they break off.
        """
        self.busy = True
        if self.flusher is not None:
            await self.flusher
        if fault is None:
            await (self._out(data) if self.spoiler is None else self._write(data, message))
            return
        with self._breaking():
            await Spoiler(self._services, fault, self.sink, invalid(self)).send(data, self._write)

    async def flush(self) -> None:
        """Send what was injected while a message was on its way."""
        if self.flusher is not None:
            await self.flusher
        while self.pending:
            await self._write(self._take(), message=True)

    async def flush_alone(self) -> None:
        """Send what was injected while no message comes that way."""
        try:
            while self.pending:
                await self._write(self._take(), message=True)
        except Lost:
            pass  # The direction that reads from that side sees it, too.
        except Spoiled as spoiled:
            self.cut = spoiled
            if self.stop is not None:
                self.stop()
        finally:
            self.flusher = None

    async def _write(self, data: bytes, message: bool = False) -> None:
        if self.spoiler is None:
            await self._out(data)
            return
        with self._breaking():
            await self.spoiler.send(data, self._out, message)

    async def _out(self, data: bytes) -> None:
        """Write, and wait while that side is behind."""
        sink = self.sink
        sink.write(data)
        if self._flow.close_code is None:
            sink.deadline = self._services.clock.now() + self._services.options.limits.websocket_stall
        try:
            await sink.drain()
        except StreamClosed as exc:
            raise Lost(not self.from_client, str(exc), reset=True) from None
        except StreamTimeout:
            raise Lost(not self.from_client, "it takes nothing any more", reset=True) from None

    def _take(self) -> bytes:
        """The frame of the next message that was injected."""
        content = self.pending.popleft()
        data = self.writer.inject(content)
        self._flow.waiting -= len(content.encode()) if isinstance(content, str) else len(content)
        return data

    @contextmanager
    def _breaking(self) -> Iterator[None]:
        """What breaks off here ends the connection of its receiver."""
        try:
            yield
        except CutOff:
            raise Spoiled("close", to_server=self.from_client) from None
        except StreamClosed as exc:
            raise Lost(not self.from_client, str(exc), reset=True) from None


def invalid(way: Way) -> bytes:
    """A frame that is none, for the side at the end of a way."""
    return encode_frame(FIN | _RESERVED, b"", new_key() if way.from_client else None)


def new_key() -> bytes:
    """A masking key that nobody can foresee (RFC 6455 section 10.3)."""
    return os.urandom(4)
