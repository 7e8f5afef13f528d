"""What an exchange leaves to the garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def left_by(once: Callable[[], Awaitable[T]]) -> tuple[T, T, list[str]]:
    """What two runs have returned, and the kinds of our objects that the second one has left in cycles."""
    first = await once()  # Kept: an engine is full of cycles, and is none of our business here.
    gc.collect()
    gc.disable()
    try:
        second = await once()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = [type(found).__qualname__ for found in gc.garbage if type(found).__module__.startswith("rulesproxy.")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    return first, second, left
