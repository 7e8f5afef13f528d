"""`aside`: long work in a thread, in small turns, so that the event loop gets its own."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

_SWITCH = 0.0005
"""While something is done aside, the loop gets its turn after this long, instead of the interpreter's 5 ms."""


async def aside(work: Callable[[], T]) -> T:
    """Do something long, such as loading rules, in a thread: the loop must not wait for it."""

    def do() -> T:
        with _small_turns():
            return work()

    return await asyncio.get_running_loop().run_in_executor(None, do)


@contextmanager
def _small_turns() -> Iterator[None]:
    """While somebody is in here, the loop gets its turn after `_SWITCH` seconds, not after the interpreter's 5 ms."""
    global _inside, _usual
    with _counting:
        if not _inside:
            _usual = sys.getswitchinterval()
            sys.setswitchinterval(_SWITCH)
        _inside += 1
    try:
        yield
    finally:
        with _counting:
            _inside -= 1
            if not _inside:
                sys.setswitchinterval(_usual)


_inside = 0
_usual = 0.0
_counting = threading.Lock()
