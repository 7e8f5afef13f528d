"""How a message is framed on its way out (RFC 9112 section 6): its end-to-end fields, and where its body ends.

What came in may be framed otherwise: framing is hop-by-hop. Fields that fit already are left exactly as they are.
"""

from __future__ import annotations

from typing import NamedTuple

from rulesproxy.flow.headers import Field
from rulesproxy.flow.http import HTTPFlow, HTTPMessage, HTTPRequest
from rulesproxy.flow.plan import FileBody
from rulesproxy.proto.http1 import CHUNKED, UNTIL_CLOSE, RequestHead, ResponseHead, end_to_end

BODILESS = -10
"""A response that has no body whatever its fields say: to HEAD, 204, 304."""
CLOSE = UNTIL_CLOSE

_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_BODILESS_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "DELETE", "TRACE"})
_CHUNKED_FIELD: Field = (b"transfer-encoding", b"Transfer-Encoding", b"chunked")


class Framing(NamedTuple):
    """Fields for the wire, and the length of the body: bytes, `CHUNKED`, `CLOSE` or `BODILESS`."""

    fields: list[Field]
    length: int


def frame_request(request: HTTPRequest, head: RequestHead, streamed: bool) -> Framing:
    """The framing of a request towards the server."""
    fields = request.headers.raw
    untouched = fields is head.fields
    fields = end_to_end(fields)
    if streamed:
        length = CHUNKED if callable(request.stream) else head.length
        if untouched and length == head.length:
            return Framing(fields, length)
        return Framing(_set_length(fields, length), length)
    length = _held(request)
    if untouched and length == head.length:
        return Framing(fields, length)
    if request.trailers is not None:
        # Only chunks have something behind them.
        return Framing(_set_length(fields, CHUNKED), CHUNKED)
    framing = _framing(fields)
    if not framing and length == 0 and request.method in _BODILESS_METHODS:
        # No Content-Length: 0 is invented where the method does not expect a body (RFC 9110 section 8.6).
        return Framing(fields, 0)
    if b"transfer-encoding" in framing:
        return Framing(_set_length(fields, CHUNKED), CHUNKED)
    return Framing(_set_length(fields, length), length)


def frame_response(flow: HTTPFlow, head: ResponseHead | None, streamed: bool, method: str) -> Framing:
    """The framing of a response towards the client.

    Args:
        head: the server's, None for a response made here.
        streamed: whether the body is still to come from the server.
        method: what the client has asked with, whatever the server was asked with: it decides whether there is a body.
    """
    response = flow.response
    assert response is not None
    raw = response.headers.raw
    fields = end_to_end(raw)
    status = response.status_code
    old = flow.request.http_version == "HTTP/1.0"
    if status < 200 or status == 204:
        # Neither has a length (RFC 9110 section 8.6), nor a coding.
        return Framing(without_framing(fields), BODILESS)
    if status == 304 or method == "HEAD":
        return Framing(_without_coding(fields) if old else fields, BODILESS)
    if streamed:
        assert head is not None
        length = head.length
        if length < 0 or callable(response.stream):
            length = CLOSE if old else CHUNKED
        if raw is head.fields and length == head.length:
            return Framing(fields, length)
        return Framing(_set_length(fields, length), length)
    chunked = response.trailers is not None or b"transfer-encoding" in _framing(fields)
    if chunked and not old and not isinstance(response.body_source, FileBody):
        return Framing(_set_length(fields, CHUNKED), CHUNKED)
    length = _held(response)
    return Framing(_set_length(fields, length), length)


def as_chunked(framing: Framing) -> Framing:
    """The same message, its body in chunks."""
    return Framing(_set_length(framing.fields, CHUNKED), CHUNKED)


def _framing(fields: list[Field]) -> dict[bytes, bytes]:
    """The framing fields and their values."""
    return {field[0]: field[2] for field in fields if field[0] in _FRAMING}


def _held(message: HTTPMessage) -> int:
    body = message.body_source
    if isinstance(body, FileBody):
        return body.length
    return len(body) if body else 0


def _set_length(fields: list[Field], length: int) -> list[Field]:
    """`fields` with exactly the one framing field that `length` asks for, in the place of the old one."""
    if length == CLOSE:
        return without_framing(fields)
    if length == CHUNKED:
        key, wanted = b"transfer-encoding", b"chunked"
    else:
        key, wanted = b"content-length", b"%d" % length
    found = [field for field in fields if field[0] in _FRAMING]
    if len(found) == 1 and found[0][0] == key and found[0][2] == wanted:
        return fields
    result: list[Field] = []
    placed = False
    for field in fields:
        if field[0] in _FRAMING:
            if not placed:
                placed = True
                if field[0] == key:
                    result.append(field if field[2] == wanted else (key, field[1], wanted))
                else:
                    result.append(_framing_field(key, wanted))
            continue
        if field[0] == b"trailer" and length != CHUNKED:
            # Only chunks have trailers (RFC 9112 section 7.1.2), so none may be announced.
            continue
        result.append(field)
    if not placed:
        result.append(_framing_field(key, wanted))
    return result


def _framing_field(key: bytes, value: bytes) -> Field:
    return _CHUNKED_FIELD if key == b"transfer-encoding" else (key, b"Content-Length", value)


def without_framing(fields: list[Field]) -> list[Field]:
    """`fields` without what says how long the body is, or that trailers follow it."""
    return [field for field in fields if field[0] not in _FRAMING and field[0] != b"trailer"]


def _without_coding(fields: list[Field]) -> list[Field]:
    return [field for field in fields if field[0] != b"transfer-encoding"]


def pieces(message: HTTPMessage, data: bytes) -> list[bytes]:
    """A piece of a streamed body, through the function that an addon may have put in its way; `b""` is the end."""
    stream = message.stream
    if not callable(stream):
        return [data] if data else []
    made = stream(data)
    return [piece for piece in ([made] if isinstance(made, bytes) else made) if piece and isinstance(piece, bytes)]
