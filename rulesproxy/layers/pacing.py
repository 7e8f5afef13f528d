"""`PacedStream`: any stream as a slow line. And `pause`, a wait that ends when the client leaves.

It knows rates and an injected clock; it knows neither protocols nor who wanted a line to be slow.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rulesproxy.flow.connection import Address
from rulesproxy.flow.plan import Rate, Throttle
from rulesproxy.layers.stream import OnEnd, Stream, StreamClosed

if TYPE_CHECKING:
    from rulesproxy.layers.layer import Clock

_LOOK = 0.5
"""Seconds between two looks at a client that is kept waiting. A look costs nothing, and a client that has left must not
hold a server for long."""


async def pause(clock: Clock, client: Stream, seconds: float) -> None:
    """Wait, while the client is there.

    Raises:
        StreamClosed: it has left.
    """
    until = clock.now() + seconds
    while (left := until - clock.now()) > 0:
        await clock.sleep(min(left, _LOOK))
        if client.gone:
            raise StreamClosed("it left while it was kept waiting")


class PacedStream:
    """A client's stream through which bytes move no faster than a throttle says.

    What is written is held until `drain`, which sends it piece by piece. So back-pressure works as ever: whoever drains
    waits as long as the line is slow, and does not read on from the other side meanwhile.
    """

    __slots__ = (
        "_clock", "_down", "_incoming", "_inner", "_latency", "_moved", "_outgoing", "_turn", "_up", "peername",
        "sockname",
    )  # fmt: skip

    def __init__(self, inner: Stream, clock: Clock, throttle: Throttle) -> None:
        self.peername: Address | None = inner.peername
        self.sockname: Address | None = inner.sockname
        self._inner = inner
        self._clock = clock
        self._down = throttle.down
        self._up = throttle.up
        self._latency = throttle.latency
        self._moved = float("-inf")
        self._outgoing = bytearray()
        self._incoming = b""
        # Two tasks may write, and what one of them has begun the other one must not overtake.
        self._turn = asyncio.Lock()

    def detach(self) -> Stream:
        """The stream below, with everything that is still here; this one is of no use afterwards."""
        self._flush()
        rest, self._incoming = self._incoming, b""
        self._inner.unread(rest)
        return self._inner

    # Paced

    async def read(self) -> bytes:
        """See `Stream.read`."""
        data, self._incoming = self._incoming, b""
        if not data:
            data = await self._inner.read()
        if self._up is None or not data:
            return data
        self._incoming = data[self._up.quantum :]
        data = data[: self._up.quantum]
        await self._take(self._up, len(data))
        return data

    def write(self, data: bytes) -> None:
        """See `Stream.write`."""
        self._outgoing += data

    async def drain(self) -> None:
        """See `Stream.drain`."""
        async with self._turn:
            await self._drain()

    async def _drain(self) -> None:
        inner, rate, outgoing = self._inner, self._down, self._outgoing
        patience = inner.deadline - self._clock.now()
        if outgoing and self._clock.now() - self._moved > self._latency:
            await self._wait(self._latency)
        while outgoing:
            piece = bytes(outgoing[: rate.quantum] if rate is not None else outgoing)
            if rate is not None:
                await self._take(rate, len(piece))
            # The peer has as long for every piece as it would have had for all of it.
            inner.deadline = self._clock.now() + patience
            inner.write(piece)
            del outgoing[: len(piece)]
            self._moved = self._clock.now()
            await inner.drain()
        await inner.drain()

    async def _take(self, rate: Rate, size: int) -> None:
        await self._wait(rate.reserve(size, self._clock.now()))

    async def _wait(self, seconds: float) -> None:
        if seconds > 0:
            # The wait is ours, not the peer's.
            self._inner.deadline += seconds
            await pause(self._clock, self._inner, seconds)

    def _flush(self) -> None:
        if self._outgoing:
            self._inner.write(bytes(self._outgoing))
            self._outgoing.clear()

    # As below

    def write_eof(self) -> None:
        """See `Stream.write_eof`. What was not drained is sent at once."""
        self._flush()
        self._inner.write_eof()

    async def close(self) -> None:
        """See `Stream.close`. What was not drained is sent at once."""
        self._flush()
        await self._inner.close()

    def abort(self) -> None:
        """See `Stream.abort`."""
        self._outgoing.clear()
        self._inner.abort()

    def unread(self, data: bytes) -> None:
        """See `Stream.unread`."""
        self._incoming = data + self._incoming

    def on_end(self, callback: OnEnd | None) -> None:
        """See `Stream.on_end`."""
        self._inner.on_end(callback)

    @property
    def pending(self) -> bool:
        """See `Stream.pending`."""
        return bool(self._incoming) or self._inner.pending

    @property
    def deadline(self) -> float:
        """See `Stream.deadline`."""
        return self._inner.deadline

    @deadline.setter
    def deadline(self, deadline: float) -> None:
        self._inner.deadline = deadline

    @property
    def eof_ends(self) -> bool:
        """See `Stream.eof_ends`."""
        return self._inner.eof_ends

    @eof_ends.setter
    def eof_ends(self, ends: bool) -> None:
        self._inner.eof_ends = ends

    @property
    def ended_cleanly(self) -> bool:
        """See `Stream.ended_cleanly`."""
        return self._inner.ended_cleanly

    @property
    def ended(self) -> bool:
        """See `Stream.ended`."""
        return self._inner.ended and not self._incoming

    @property
    def gone(self) -> bool:
        """See `Stream.gone`."""
        return self._inner.gone
