"""The writer of HTTP/1.1: heads and chunks in their one canonical form (RFC 9112).

What it returns is valid, or it raises. Framing is the caller's: it writes the fields that it is given.
"""

from __future__ import annotations

from collections.abc import Iterable

from rulesproxy.flow.headers import Field, is_token, to_bytes

_LINE_BREAKERS = b"\r\n\x00"


def encode_request_head(method: str, target: str, fields: Iterable[Field]) -> bytes:
    """The head of a request, always HTTP/1.1 (RFC 9112 section 3).

    Raises:
        ValueError: the method is not a token, the target is not visible ASCII or has a fragment, or a field holds a
            line break or a NUL.
    """
    if not (method.isalpha() and method.isascii()) and not is_token(to_bytes(method)):
        raise ValueError(f"{method!r} is not a request method: letters, digits and !#$%&'*+-.^_`|~ are allowed")
    if not target or not target.isascii() or not target.isprintable() or " " in target or "#" in target:
        raise ValueError(f"{target!r} is not a request target: spaces, '#' and all but ASCII must be percent-encoded")
    return _encode_section(f"{method} {target} HTTP/1.1\r\n".encode(), fields)


def encode_response_head(status: int, reason: str, fields: Iterable[Field]) -> bytes:
    """The head of a response, always HTTP/1.1 (RFC 9112 section 4).

    Raises:
        ValueError: the status is outside 100 to 599, or the reason phrase or a field holds a line break or a NUL.
    """
    if not 100 <= status <= 599:
        raise ValueError(f"{status} is not an HTTP status: 100 to 599")
    return _encode_section(b"HTTP/1.1 %d %b\r\n" % (status, to_bytes(reason)), fields)


def encode_chunk(data: bytes) -> bytes:
    """One chunk (RFC 9112 section 7.1). Nothing for empty data: an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def encode_last_chunk(trailers: Iterable[Field] | None = None) -> bytes:
    """The end of a chunked body, with its trailer section.

    Raises:
        ValueError: a field holds a line break or a NUL.
    """
    return _encode_section(b"0\r\n", trailers) if trailers else b"0\r\n\r\n"


def _encode_section(start: bytes, fields: Iterable[Field]) -> bytes:
    parts = [start]
    for _, name, value in fields:
        parts += (name, b": ", value, b"\r\n")
    parts.append(b"\r\n")
    head = b"".join(parts)
    # Fields are checked where they are made, but a line too many would be another message: look at the whole once
    # more, in one pass. Each field is four parts, the start line and the empty line are one each.
    lines = (len(parts) - 2) // 4 + 2
    if len(head) - len(head.translate(None, _LINE_BREAKERS)) != 2 * lines:
        raise ValueError("a start line or a header field holds a line break or a NUL: nothing was sent")
    return head
