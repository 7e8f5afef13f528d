"""What the HTTP/2 codec keeps of an open stream: how far both directions are, and their windows.

It knows no frames and no other stream.
"""

from __future__ import annotations

from typing import Final

UNKNOWN: Final = -1
"""A body of which nobody has said how long it is."""


class Stream:
    """An open stream.

    Attributes:
        method: of its request.
        head: whether the final head of the other side has come.
        expected: how long its body is to be, or `UNKNOWN`.
        received: how much of it has come.
        ended: whether the other side's direction is over.
        sent: whether ours is.
        window: what the other side may send at once.
        unread: what it may still send.
        credit: what was consumed, and was not granted again yet.
        writable: what we may still send.
    """

    __slots__ = ("credit", "ended", "expected", "head", "method", "received", "sent", "unread", "window", "writable")

    def __init__(self, method: str, window: int, writable: int) -> None:
        self.method = method
        self.head = False
        self.expected = UNKNOWN
        self.received = 0
        self.ended = False
        self.sent = False
        self.window = window
        self.unread = window
        self.credit = 0
        self.writable = writable

    def count(self, size: int, end: bool) -> str:
        """Count a piece of a body. What is wrong with it (RFC 9113 section 8.1.1), or nothing."""
        if not self.head:
            return "a body before its head"
        if self.ended:
            return "a body behind its end"
        self.received += size
        expected = self.expected
        if expected == UNKNOWN or (self.received == expected if end else self.received <= expected):
            return ""
        if not expected:
            return "a body, though this response has none"
        return f"a body of {self.received} bytes{'' if end else ' or more'}, but Content-Length says {expected}"
