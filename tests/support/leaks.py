"""What a test leaves behind: sockets and tasks."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.origin import LIMIT


def open_sockets() -> int:
    """How many sockets this process has open (Linux)."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except FileNotFoundError:
            pass  # That of the listing itself.
    return count


def running_tasks() -> set[asyncio.Task[object]]:
    """The tasks of this loop that are not done."""
    return {task for task in asyncio.all_tasks() if not task.done()}


@asynccontextmanager
async def no_leaks(grace: float = 3.0) -> AsyncIterator[None]:
    """After the block there are no more sockets and no more tasks than before; closing may take `grace` seconds.

    Raises:
        AssertionError: with the tasks that are left.
    """
    assert grace < LIMIT
    sockets, tasks = open_sockets(), running_tasks()
    yield
    left: set[asyncio.Task[object]] = set()
    for _ in range(int(grace / 0.02)):
        left = running_tasks() - tasks
        if not left and open_sockets() <= sockets:
            return
        await asyncio.sleep(0.02)
    gc.collect()
    raise AssertionError(f"{open_sockets() - sockets} sockets and {len(left)} tasks are left: {left}")
