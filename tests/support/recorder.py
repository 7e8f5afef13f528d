"""`Recorder`: an addon that writes down the lifecycle events in the order in which they come."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from rulesproxy.events import EVENTS, LIFECYCLE
from tests.support.origin import LIMIT


class Recorder:
    """Records the events of traffic; with a handler for each it makes the proxy decrypt, parse and buffer everything.

    Attributes:
        trace: the names, in order.
        arguments: what each of them passed, in the same order.
    """

    def __init__(self) -> None:
        self.trace: list[str] = []
        self.arguments: list[object] = []
        self._changed = asyncio.Event()

    def record(self, name: str, *arguments: object) -> None:
        """Write an event down."""
        self.trace.append(name)
        self.arguments.append(arguments[0] if arguments else None)
        self._changed.set()

    def args(self, name: str) -> list[object]:
        """What every event of that name passed."""
        return [argument for event, argument in zip(self.trace, self.arguments, strict=True) if event == name]

    def count(self, name: str) -> int:
        """How often that event came."""
        return self.trace.count(name)

    async def wait(self, *names: str) -> None:
        """Wait until each of these events has come, as often as it is named."""
        wanted = Counter(names)
        try:
            async with asyncio.timeout(LIMIT):
                while not wanted <= Counter(self.trace):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"no {' '.join(names)} in: {' '.join(self.trace)}") from None

    async def settled(self) -> str:
        """The trace as one line, once every client and every server that connected is gone.

        `serverdisconnect` is left out and counted instead: a pooled connection closes when it likes.
        """
        await self.wait("clientconnect", "clientdisconnect")
        await self.wait(*["clientdisconnect"] * self.count("clientconnect"))
        assert self.count("serverdisconnect") <= self.count("serverconnected")
        assert self.count("clientdisconnect") == self.count("clientconnect")
        return " ".join(name for name in self.trace if name != "serverdisconnect")


class Observer(Recorder):
    """The same, only looking at heads: nothing is decrypted, parsed or buffered for it."""

    observes = True


class LifecycleRecorder(Recorder):
    """Records the events of its own life too."""


class Do:
    """An addon made of functions: `Do(request=function)`. It stands for what a script would do."""

    def __init__(self, **handlers: Callable[..., object]) -> None:
        vars(self).update(handlers)


def _handler(name: str) -> Callable[..., None]:
    def handler(self: Recorder, *arguments: object) -> None:
        self.record(name, *arguments)

    handler.__name__ = name
    return handler


def _configure(self: Recorder, options: object, updated: set[str]) -> None:
    self.record("configure", updated)


for _name in EVENTS:
    if _name == "configure":
        LifecycleRecorder.configure = _configure  # type: ignore[attr-defined]
    else:
        setattr(LifecycleRecorder if _name in LIFECYCLE else Recorder, _name, _handler(_name))
