"""The machine's clocks and its randomness, for whoever is handed them. Tests hand in others."""

from __future__ import annotations

import os
import time


def wall() -> float:
    """Seconds since the epoch."""
    return time.time()


def now() -> float:
    """Seconds on the monotonic clock."""
    return time.monotonic()


def uuid() -> str:
    """A random UUID (version 4, RFC 9562 section 5.4)."""
    digits = f"{int.from_bytes(os.urandom(16), 'big'):032x}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def seed() -> str:
    """A seed that nobody can guess."""
    return os.urandom(16).hex()
