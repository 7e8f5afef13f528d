"""`FlowError`: why a flow ended without a response."""

from __future__ import annotations

from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["refused", "dns", "timeout", "tls", "protocol", "disconnected", "client", "killed", "handler"]
"""What went wrong, in one word: the values of the filter field `error.kind`."""

KILLED = "Connection killed."


class FlowError:
    """A flow error; not an HTTP error status.

    Attributes:
        msg: one line for a person, naming the host and the cause.
        kind: the cause in one word.
        timestamp: when, in seconds since the epoch.
    """

    __slots__ = ("kind", "msg", "timestamp")

    def __init__(self, msg: str, kind: Kind = "protocol", timestamp: float = 0.0) -> None:
        self.msg = msg
        self.kind: Kind = kind
        self.timestamp = timestamp

    def __str__(self) -> str:
        return self.msg

    def __repr__(self) -> str:
        return f"FlowError({self.msg!r}, {self.kind!r})"
