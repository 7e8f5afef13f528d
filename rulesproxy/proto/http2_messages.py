"""What the HTTP/2 codec speaks beside heads, body bytes and ends; each message comes with the number of its stream.

It knows no frames.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from rulesproxy.proto.http1_messages import End, ResponseHead
from rulesproxy.proto.http2_frames import error_name


class Reset:
    """A stream is over before its end.

    Attributes:
        code: why (RFC 9113 section 7); `REFUSED_STREAM` also where a GOAWAY has left the stream out.
        why: what the server did wrong, where the stream was reset here; else empty.
    """

    __slots__ = ("code", "why")

    def __init__(self, code: int, why: str = "") -> None:
        self.code = code
        self.why = why

    def __repr__(self) -> str:
        return f"<Reset {error_name(self.code)} {self.why}>"


class GoAway:
    """The server takes no more streams on this connection; those that it has taken go on.

    Attributes:
        code: why.
        text: what it says about it, for a person; often empty.
    """

    __slots__ = ("code", "text")

    def __init__(self, code: int, text: bytes) -> None:
        self.code = code
        self.text = text


class Changed:
    """The settings of the server have come, or a window has grown: something may be sent that could not before."""

    __slots__ = ()


CHANGED: Final = Changed()

Message: TypeAlias = ResponseHead | bytes | End | Reset | GoAway | Changed
Event: TypeAlias = tuple[int, Message]
"""A message and its stream; 0 for what is about the connection."""
