"""`Later`: events that nobody waits for, `log` and `update`. They run one after another in a task of their own."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable

BACKLOG = 1000
"""Events that may wait for a slow handler; beyond it the oldest are lost, since a log must not fill the memory."""


class Later:
    """A queue of arguments for `run`, from any thread. Its task exists only while something waits."""

    def __init__(self, run: Callable[[object], Awaitable[None]]) -> None:
        self._run = run
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._queue: deque[object] = deque(maxlen=BACKLOG)
        self._task: asyncio.Task[None] | None = None

    def put(self, argument: object) -> None:
        """Run with `argument` after what was put before. Nothing happens once the loop is closed."""
        if threading.get_ident() == self._thread:
            self._add(argument)
            return
        try:
            self._loop.call_soon_threadsafe(self._add, argument)
        except RuntimeError:  # the loop is closed
            pass

    async def flush(self, timeout: float) -> None:
        """Wait until everything has run, at most `timeout` seconds; what is left then is lost."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=timeout)
        self._queue.clear()
        if self._task is not None:
            self._task.cancel()

    def _add(self, argument: object) -> None:
        self._queue.append(argument)
        if self._task is None and not self._loop.is_closed():
            self._task = self._loop.create_task(self._work())

    async def _work(self) -> None:
        try:
            while self._queue:
                await self._run(self._queue.popleft())
        finally:
            self._task = None
