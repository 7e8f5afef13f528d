"""`Spoiler`: how what goes to one side of a conversation goes wrong. WebSockets and raw TCP share it.

It knows bytes, faults and an injected clock; it does not know what a message is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from rulesproxy.flow.plan import Fault
from rulesproxy.layers.pacing import pause
from rulesproxy.layers.stream import Stream

if TYPE_CHECKING:
    from rulesproxy.layers.layer import Services

Write: TypeAlias = Callable[[bytes], Awaitable[None]]

BY_RULE = "Connection ended by a rule."
"""The message of the error of a conversation that ends on purpose."""


class CutOff(Exception):
    """What goes to one side breaks off here, on purpose."""


class Spoiler:
    """How what goes to one side goes wrong: all of it, or one message.

    Args:
        services: whose clock lets parts wait.
        fault: how.
        sink: the side that gets it; a wait ends when it leaves.
        invalid: what no peer may send, behind which a `malformed_chunk` breaks off.
    """

    __slots__ = ("_fault", "_invalid", "_left", "_services", "_sink")

    def __init__(self, services: Services, fault: Fault, sink: Stream, invalid: bytes = b"") -> None:
        self._services = services
        self._fault = fault
        self._sink = sink
        self._invalid = invalid
        self._left = fault.truncate

    async def send(self, data: bytes, write: Write, message: bool = True) -> None:
        """Send bytes as the fault lets them through. With `message` they are a whole one, else anything.

        Raises:
            CutOff: the connection ends here.
            StreamClosed: that side is gone.
        """
        fault = self._fault
        parts = [data]
        if fault.dribble is not None and message and data:
            size = -(-len(data) // fault.dribble.chunks)
            parts = [data[at : at + size] for at in range(0, len(data), size)]
        for number, part in enumerate(parts):
            if number and fault.dribble is not None:
                await self._wait(fault.dribble.over / (fault.dribble.chunks - 1))
            left = self._left
            if left is None or len(part) <= left:
                self._left = left if left is None else left - len(part)
                await write(part)
                continue
            self._left = 0
            if left:
                await write(part[:left])
            raise CutOff
        if fault.malformed_chunk and self._invalid and message:
            await write(self._invalid)
            raise CutOff

    async def _wait(self, seconds: float) -> None:
        seconds = min(seconds, self._services.options.limits.delay)
        # The wait is ours, not the peer's.
        self._sink.deadline += seconds
        await pause(self._services.clock, self._sink, seconds)
