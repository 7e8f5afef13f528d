"""`SocketStream`: a TCP socket as a `layers.stream.Stream`.

It moves bytes, holds writers and readers back, and keeps deadlines. It knows no protocol.
"""

from __future__ import annotations

import asyncio
import socket
import struct

from rulesproxy.flow.connection import Address
from rulesproxy.layers.stream import FOREVER, OnEnd, StreamClosed, StreamTimeout
from rulesproxy.limits import DEFAULT, Limits

_RESET = struct.pack("ii", 1, 0)


class SocketStream(asyncio.Protocol):
    """A connected TCP socket.

    Attributes:
        peername: the other end.
        sockname: our end.
        deadline: see `Stream`; the owner of `streams` sweeps it.
    """

    __slots__ = (
        "__weakref__",
        "_broken",
        "_chunks",
        "_closed",
        "_drainer",
        "_ended",
        "_expired",
        "_high",
        "_loop",
        "_on_end",
        "_reader",
        "_reading_paused",
        "_size",
        "_streams",
        "_transport",
        "_writing_paused",
        "deadline",
        "eof_ends",
        "limits",
        "peername",
        "sockname",
    )  # fmt: skip

    ended_cleanly = True
    """A FIN is an end that the peer meant."""

    def __init__(self, streams: set[SocketStream], loop: asyncio.AbstractEventLoop, limits: Limits = DEFAULT) -> None:
        """Take part in `streams`, the set of open ones, from connection to close."""
        self.peername: Address | None = None
        self.sockname: Address | None = None
        self.deadline = FOREVER
        self.eof_ends = False
        self.limits = limits
        self._streams = streams
        self._loop = loop
        self._high = limits.read_chunk
        self._transport: asyncio.Transport | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._ended = False
        self._closed = False
        # The deadline that a sweep has found to be over; whoever has set another one since is not late.
        self._expired: float | None = None
        # Why nothing works any more. The words, not an exception: one that is raised twice holds its frames, and so us.
        self._broken = ""
        self._reader: asyncio.Future[None] | None = None
        self._drainer: asyncio.Future[None] | None = None
        self._reading_paused = False
        self._writing_paused = False
        self._on_end: OnEnd | None = None

    # Reading

    async def read(self) -> bytes:
        """See `Stream.read`."""
        while True:
            chunks = self._chunks
            if chunks:
                self._chunks = []
                self._size = 0
                if self._reading_paused:
                    self._resume_reading()
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)
            if self._broken:
                raise StreamClosed(self._broken)
            if self._ended:
                return b""
            if self._expired == self.deadline:
                raise StreamTimeout
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None

    def unread(self, data: bytes) -> None:
        """See `Stream.unread`."""
        if data:
            self._chunks.insert(0, data)
            self._size += len(data)

    @property
    def ended(self) -> bool:
        """See `Stream.ended`."""
        return self._ended

    @property
    def pending(self) -> bool:
        """See `Stream.pending`."""
        return bool(self._chunks)

    @property
    def gone(self) -> bool:
        """See `Stream.gone`."""
        return bool(self._broken) or (self._ended and self.eof_ends)

    # Writing

    def write(self, data: bytes) -> None:
        """See `Stream.write`."""
        if not self._closed:
            self._transport.write(data)  # type: ignore[union-attr]

    async def drain(self) -> None:
        """See `Stream.drain`."""
        while True:
            if self._broken:
                raise StreamClosed(self._broken)
            if self._closed:
                raise StreamClosed("the connection is closed")
            if not self._writing_paused:
                return
            if self._expired == self.deadline:
                raise StreamTimeout
            self._drainer = self._loop.create_future()
            try:
                await self._drainer
            finally:
                self._drainer = None

    def write_eof(self) -> None:
        """See `Stream.write_eof`."""
        if not self._closed and self._transport is not None:
            try:
                self._transport.write_eof()
            except (OSError, RuntimeError):
                self.abort()

    async def close(self) -> None:
        """See `Stream.close`."""
        transport = self._transport
        if transport is None or self._closed:
            return
        self._closed = True
        transport.close()
        if transport.get_write_buffer_size() == 0:
            return
        # The rest is still to be flushed; a peer that does not take it must not keep the socket for ever.
        self._loop.call_later(self.limits.close_linger, transport.abort)

    def abort(self) -> None:
        """See `Stream.abort`. Peers see a reset, since half of something must not look like all of it."""
        transport = self._transport
        if transport is None or transport.is_closing():
            if transport is not None:
                transport.abort()
            return
        self._closed = True
        sock = transport.get_extra_info("socket")
        if sock is not None:
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            except OSError:
                pass
        transport.abort()
        self._fail("the connection was aborted")

    @property
    def socket(self) -> socket.socket | None:
        """The socket below, for what only it can tell; None before it is connected."""
        return None if self._transport is None else self._transport.get_extra_info("socket")

    # The end

    def on_end(self, callback: OnEnd | None) -> None:
        """See `Stream.on_end`. A FIN is the end only where `eof_ends` says so."""
        self._on_end = callback
        if callback is not None and self.gone:
            self._tell_end()

    def sweep(self, now: float) -> None:
        """Let whoever waits on this stream know that its deadline has passed."""
        if now < self.deadline:
            self._expired = None
            return
        self._expired = self.deadline
        for waiter in (self._reader, self._drainer):
            if waiter is not None and not waiter.done():
                waiter.set_exception(StreamTimeout())

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]
        self.peername = _address(transport.get_extra_info("peername"))
        self.sockname = _address(transport.get_extra_info("sockname"))
        transport.set_write_buffer_limits(high=self.limits.write_buffer)  # type: ignore[attr-defined]
        self._streams.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        self._chunks.append(data)
        self._size += len(data)
        reader = self._reader
        if reader is not None and not reader.done():
            reader.set_result(None)
            return
            # Its task has not run yet, and an event loop may read on many times before it does.
        if self._size > self._high and not self._reading_paused:
            self._reading_paused = True
            try:
                self._transport.pause_reading()  # type: ignore[union-attr]
            except RuntimeError:
                pass

    def eof_received(self) -> bool:
        """The peer ended its direction; ours goes on."""
        self._ended = True
        self._wake()
        if self.eof_ends:
            self._tell_end()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._streams.discard(self)
        if exc is not None or not self._closed:
            self._fail(_reason(exc))
        else:
            self._fail("the connection is closed")

    def pause_writing(self) -> None:
        """The peer takes less than we write."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self._writing_paused = False
        drainer = self._drainer
        if drainer is not None and not drainer.done():
            drainer.set_result(None)

    # Private

    def _resume_reading(self) -> None:
        self._reading_paused = False
        try:
            self._transport.resume_reading()  # type: ignore[union-attr]
        except RuntimeError:
            pass

    def _fail(self, why: str) -> None:
        self._ended = True
        self._closed = True
        self._broken = self._broken or why
        self._wake()
        self._tell_end()

    def _wake(self) -> None:
        for waiter in (self._reader, self._drainer):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    def _tell_end(self) -> None:
        callback, self._on_end = self._on_end, None
        if callback is not None:
            callback()


def _address(name: object) -> Address | None:
    # IPv6 names have four parts, and a socket that is gone already has none.
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) and len(name) >= 2 else None


def _reason(exc: Exception | None) -> str:
    if exc is None:
        return "the connection was closed"
    if isinstance(exc, ConnectionResetError):
        return "the connection was reset"
    return f"the connection broke: {exc}"
