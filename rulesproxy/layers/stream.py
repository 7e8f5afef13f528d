"""`Stream`, the byte interface that layers speak, and `MemoryStream`, the same without a network.

The real one is `net.stream`; TLS over any of them is `layers.tls.TLSStream`. `MemoryStream` is the rig of the tests
and of dry runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeAlias

from rulesproxy.flow.connection import Address

OnEnd: TypeAlias = Callable[[], None]

FOREVER = float("inf")
"""The deadline of a stream that nobody waits for."""


class StreamTimeout(Exception):
    """The deadline of a stream passed while it was waited for."""


class StreamClosed(Exception):
    """The connection is broken: the peer reset it, or it was aborted here."""


class StreamReset(StreamClosed):
    """The peer ended one of many streams on a connection (RFC 9113 section 5.4.2). The message is the error's name."""


class Stream(Protocol):
    """One direction pair of bytes.

    Attributes:
        peername: the other end.
        sockname: our end.
        deadline: when a wait on this stream is over, in the loop's time. A slot, swept once a second: a timer per wait
            would cost more than the wait.
        ended_cleanly: whether the peer meant the end of its stream: always on TCP, only with close_notify on TLS.
        eof_ends: whether the peer's half-close counts for `on_end`. Unset on plain TCP; TLS above sets it.
    """

    peername: Address | None
    sockname: Address | None
    deadline: float
    eof_ends: bool

    @property
    def ended_cleanly(self) -> bool: ...

    async def read(self) -> bytes:
        """What has arrived, at least one byte; `b""` at the end of the stream, then always.

        Raises:
            StreamClosed: the connection is broken.
            StreamTimeout: the deadline passed.
        """
        ...

    def write(self, data: bytes) -> None:
        """Send `data` after what was written before; it is buffered without a limit until `drain`. Never raises."""
        ...

    async def drain(self) -> None:
        """Wait until the peer has taken enough: back-pressure.

        Raises:
            StreamClosed: the connection is broken.
            StreamTimeout: the deadline passed.
        """
        ...

    def write_eof(self) -> None:
        """End our direction, after what is buffered; reading goes on."""
        ...

    async def close(self) -> None:
        """Close after what is buffered has been sent, within `limits.close_linger`. Never raises."""
        ...

    def abort(self) -> None:
        """Close now; what is buffered is lost. On a TCP socket the peer sees a reset."""
        ...

    def unread(self, data: bytes) -> None:
        """Put bytes back in front of what will be read next."""
        ...

    def on_end(self, callback: OnEnd | None) -> None:
        """Call once when the peer is gone while nobody reads; None takes it back.

        Gone means: no answer can reach it any more. A half-close on plain TCP is not the end; on TLS it is. Called at
        once where it has happened already.
        """
        ...

    @property
    def ended(self) -> bool:
        """Whether nothing more will come: the peer's end of stream was seen, or the connection is broken."""
        ...

    @property
    def pending(self) -> bool:
        """Whether something has arrived that nobody has read."""
        ...

    @property
    def gone(self) -> bool:
        """Whether nothing can reach the peer any more: what `on_end` tells."""
        ...


class MemoryStream:
    """A stream whose peer is the test: `feed` what it sends, read `sent` for what it got."""

    ended_cleanly = True

    def __init__(self, *data: bytes, peername: Address | None = None, sockname: Address | None = None) -> None:
        self.peername: Address | None = peername or ("127.0.0.1", 40000)
        self.sockname: Address | None = sockname or ("127.0.0.1", 8080)
        self.deadline = FOREVER
        self.eof_ends = False
        self.sent = bytearray()
        self.write_ended = False
        self.closed = False
        self.aborted = False
        self._incoming = list(data)
        self._eof = False
        self._broken: Exception | None = None
        self._on_end: OnEnd | None = None
        self._wakeup = asyncio.Event()

    # The test's side

    def feed(self, data: bytes) -> None:
        """The peer sends bytes."""
        self._incoming.append(data)
        self._wakeup.set()

    def feed_eof(self) -> None:
        """The peer ends its direction."""
        self._eof = True
        self._wakeup.set()
        if self.eof_ends:
            self._end()

    def break_off(self, error: Exception | None = None) -> None:
        """The connection breaks, as by a reset."""
        self._broken = error or StreamClosed("the connection was reset")
        self._eof = True
        self._wakeup.set()
        self._end()

    # The interface

    async def read(self) -> bytes:
        while not self._incoming:
            if self._broken:
                raise self._broken
            if self._eof:
                return b""
            self._wakeup.clear()
            await self._wakeup.wait()
        return self._incoming.pop(0)

    def write(self, data: bytes) -> None:
        if not self.closed:
            self.sent += data

    async def drain(self) -> None:
        if self._broken:
            raise self._broken

    def write_eof(self) -> None:
        self.write_ended = True

    async def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True
        self.break_off(StreamClosed("the connection was aborted"))

    def unread(self, data: bytes) -> None:
        if data:
            self._incoming.insert(0, data)

    def on_end(self, callback: OnEnd | None) -> None:
        self._on_end = callback
        if self.gone:
            self._end()

    @property
    def ended(self) -> bool:
        return self._eof

    @property
    def pending(self) -> bool:
        return bool(self._incoming)

    @property
    def gone(self) -> bool:
        return self._broken is not None or (self._eof and self.eof_ends)

    def _end(self) -> None:
        callback, self._on_end = self._on_end, None
        if callback:
            callback()
