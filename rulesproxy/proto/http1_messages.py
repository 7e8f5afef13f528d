"""What the HTTP/1.1 codec speaks: heads, body bytes and ends, and the values that say how long a body is.

It knows no syntax.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, TypeAlias

from rulesproxy.flow.headers import Field

NO_BODY: Final = 0
"""A `length`: there is no body."""
CHUNKED: Final = -1
"""A `length`: the body is chunked (RFC 9112 section 7.1)."""
UNTIL_CLOSE: Final = -2
"""A `length`: the body ends with the connection (RFC 9112 section 6.3); responses only."""


class NeedData(Enum):
    """The type of `NEED_DATA`; an enum, so that a type checker can tell it from a message."""

    NEED_DATA = "NEED_DATA"


NEED_DATA: Final = NeedData.NEED_DATA
"""Not a message: more bytes have to be fed first."""


class RequestHead:
    """A request line and its header section.

    Attributes:
        method: as received; methods are case-sensitive.
        target: as received: visible ASCII without `#`. Which of the four forms it has is for the caller to see.
        version: `HTTP/1.1` or `HTTP/1.0`.
        fields: in order, spelled as received, with duplicates. The list may be shared and is never changed.
        length: of the body: a number of bytes, `NO_BODY` or `CHUNKED`.
        keep_alive: whether the connection may carry another request (RFC 9112 section 9.3). Never with HTTP/1.0:
            a proxy must not keep such a connection.
        expect: whether the client waits for `100 Continue` (RFC 9110 section 10.1.1).
        upgrade: the Upgrade field in lower case where Connection lists it, else empty.
        host: the Host field, empty where there is none.
    """

    __slots__ = ("expect", "fields", "host", "keep_alive", "length", "method", "target", "upgrade", "version")

    def __init__(
        self,
        method: str,
        target: str,
        version: str,
        fields: list[Field],
        length: int = NO_BODY,
        keep_alive: bool = True,
        expect: bool = False,
        upgrade: str = "",
        host: str = "",
    ) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.fields = fields
        self.length = length
        self.keep_alive = keep_alive
        self.expect = expect
        self.upgrade = upgrade
        self.host = host

    def __repr__(self) -> str:
        return f"<RequestHead {self.method} {self.target} length={self.length}>"


class ResponseHead:
    """A status line and its header section.

    Attributes:
        status: 100 to 599.
        reason: the reason phrase, often empty.
        version: `HTTP/1.1` or `HTTP/1.0`.
        fields: in order, spelled as received, with duplicates. The list may be shared and is never changed.
        length: of the body: a number of bytes, `NO_BODY`, `CHUNKED` or `UNTIL_CLOSE`. What the fields say of a body
            that this response cannot have (HEAD, 1xx, 204, 304, 2xx to CONNECT) does not count.
        keep_alive: whether the connection may carry another request after this response.
        upgrade: the Upgrade field in lower case where Connection lists it, else empty.
    """

    __slots__ = ("fields", "keep_alive", "length", "reason", "status", "upgrade", "version")

    def __init__(
        self,
        status: int,
        reason: str,
        version: str,
        fields: list[Field],
        length: int = NO_BODY,
        keep_alive: bool = True,
        upgrade: str = "",
    ) -> None:
        self.status = status
        self.reason = reason
        self.version = version
        self.fields = fields
        self.length = length
        self.keep_alive = keep_alive
        self.upgrade = upgrade

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status} length={self.length}>"


class End:
    """The end of a message. `trailers` is the trailer section of a chunked body, None where there was none."""

    __slots__ = ("trailers",)

    def __init__(self, trailers: list[Field] | None) -> None:
        self.trailers = trailers

    def __repr__(self) -> str:
        return "<End>" if self.trailers is None else f"<End trailers={len(self.trailers)}>"


END: Final = End(None)
"""The end of a message without trailers; one object for all of them."""

Message: TypeAlias = RequestHead | ResponseHead | bytes | End
"""What a reader emits. Body data is plain, non-empty bytes."""
