"""Memory that many connections have used goes back to the system when they are gone.

The C library keeps what is freed below something that still lives, in case it is wanted again: after some hundred slow
downloads that is a few hundred MiB, for good.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

_MANY = 64
"""Fewer connections than this leave nothing behind that would be worth a look: 30 MiB at most."""


class Returner:
    """Sees that connections have left, and then has free memory returned.

    Args:
        trim: returns it; called in a thread, since it may take some milliseconds.
    """

    def __init__(self, trim: Callable[[], object] | None = None) -> None:
        self._trim = trim or return_memory
        self._most = 0

    async def look(self, connections: int) -> None:
        """There are so many connections now. Called once a second."""
        self._most = max(self._most, connections)
        if self._most >= _MANY and connections <= self._most // 2:
            self._most = connections
            await asyncio.get_running_loop().run_in_executor(None, self._trim)


def return_memory() -> bool:
    """Give the system what is free. Whether anything was; always no where the C library is not that of GNU."""
    if sys.platform != "linux":
        return False
    # Only who has had many connections waits for it to be imported.
    import ctypes

    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (OSError, AttributeError):
        return False
