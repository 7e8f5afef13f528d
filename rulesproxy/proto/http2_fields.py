"""Fields of HTTP/2 (RFC 9113 sections 8.2 and 8.3): what a request says, and what a response may say.

It knows pseudo fields and the fields that belong to a connection. What HTTP/1.1 refuses in a value is refused here,
too: a response goes on over HTTP/1.1, where a line break would be another line.
"""

from __future__ import annotations

from collections.abc import Iterable

from hpack import HeaderTuple, NeverIndexedHeaderTuple

from rulesproxy.flow.headers import Field, is_token, to_bytes
from rulesproxy.flow.http import reason_phrase
from rulesproxy.limits import Limits
from rulesproxy.proto import ProtocolError
from rulesproxy.proto.fields import CONTROLS, NOT_IN_TRAILERS, content_length, show
from rulesproxy.proto.http1_messages import NO_BODY, UNTIL_CLOSE, ResponseHead

VERSION = "HTTP/2.0"
"""The version of a response, as flows name it."""

_CONNECTION = frozenset((b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"))
"""Fields that belong to one connection of HTTP/1.1 (RFC 9113 section 8.2.2)."""
_NOT_SENT = _CONNECTION | {b"host", b"http2-settings"}
_SECRET = frozenset((b"authorization", b"proxy-authorization"))
_COOKIE = 20
"""Bytes of a cookie below which it could be guessed from how well it compresses (RFC 7541 section 7.1.3)."""

Pair = tuple[bytes, bytes]


def request_fields(method: str, scheme: str, authority: bytes, path: str, fields: Iterable[Field]) -> list[HeaderTuple]:
    """A request, for HPACK: pseudo fields first, then `fields` without those of HTTP/1.1 alone, names in lower case.

    Host becomes `:authority`; only `trailers` is left of TE; secrets never enter the table of the compression.

    Raises:
        ValueError: the method is not a token, the path is not visible ASCII or has a fragment, or a field holds a line
            break or a NUL.
    """
    if not is_token(to_bytes(method)):
        raise ValueError(f"{method!r} is not a request method: letters, digits and !#$%&'*+-.^_`|~ are allowed")
    if not path or not path.isascii() or not path.isprintable() or " " in path or "#" in path:
        raise ValueError(f"{path!r} is not a request target: spaces, '#' and all but ASCII must be percent-encoded")
    made = [
        HeaderTuple(b":method", method.encode()),
        HeaderTuple(b":scheme", scheme.encode()),
        HeaderTuple(b":authority", authority),
        HeaderTuple(b":path", path.encode()),
    ]
    for lower, _, value in fields:
        if lower not in _NOT_SENT and (lower != b"te" or value.lower() == b"trailers"):
            made.append(_sent(lower, value))
    return made


def trailer_fields(fields: Iterable[Field]) -> list[HeaderTuple]:
    """A trailer section, for HPACK.

    Raises:
        ValueError: a field holds a line break or a NUL.
    """
    return [_sent(lower, value) for lower, _, value in fields if lower not in NOT_IN_TRAILERS]


def _sent(lower: bytes, value: bytes) -> HeaderTuple:
    if not is_token(lower) or b"\r" in value or b"\n" in value or b"\0" in value:
        raise ValueError("a header field holds a line break or a NUL: nothing was sent")
    if lower in _SECRET or (lower == b"cookie" and len(value) < _COOKIE):
        return NeverIndexedHeaderTuple(lower, value)
    return HeaderTuple(lower, value)


def read_response(pairs: Iterable[Pair], method: str, ended: bool, limits: Limits) -> ResponseHead:
    """The head of a response, interim or final; `ended` where nothing follows it.

    Its `length` is `UNTIL_CLOSE` where no field says it: the end of the stream does. The reason phrase, which HTTP/2
    does not have, is the usual one of the status.

    Raises:
        ProtocolError: it is malformed (RFC 9113 section 8.1.1).
    """
    status = 0
    fields: list[Field] = []
    length = -1
    for name, value in pairs:
        if name[:1] == b":":
            if fields:
                raise ProtocolError(f"the pseudo field {show(name)} stands behind other fields", 502)
            if name != b":status" or status:
                raise ProtocolError(f"a response has one :status and no other pseudo field, not {show(name)}", 502)
            status = _status(value)
            continue
        field = _received(name, value)
        if name == b"content-length":
            if length >= 0:
                raise ProtocolError("more than one Content-Length field", 502)
            length = content_length(value)
        fields.append(field)
    if not status:
        raise ProtocolError("the response has no :status", 502)
    if len(fields) > limits.header_count:
        raise ProtocolError(f"more than {limits.header_count} header fields", 502)
    if status < 200:
        if status == 101:
            raise ProtocolError("101 Switching Protocols does not exist in HTTP/2", 502)
        if ended:
            raise ProtocolError(f"the stream ended with the interim response {status}", 502)
        return ResponseHead(status, reason_phrase(status), VERSION, fields)
    if status in (204, 304) or method == "HEAD":
        length = NO_BODY
    elif length < 0:
        length = NO_BODY if ended else UNTIL_CLOSE
    elif ended and length:
        raise ProtocolError(f"the body has 0 bytes, but Content-Length says {length}", 502)
    return ResponseHead(status, reason_phrase(status), VERSION, fields, length)


def read_trailers(pairs: Iterable[Pair], limits: Limits) -> list[Field]:
    """The fields behind a body.

    Raises:
        ProtocolError: they are malformed, too many, or one must not come after the body.
    """
    fields: list[Field] = []
    size = 0
    for name, value in pairs:
        if name[:1] == b":":
            raise ProtocolError(f"the pseudo field {show(name)} in the trailers", 502)
        if name in NOT_IN_TRAILERS:
            raise ProtocolError(f"{show(name)} in the trailers: it has to come before the body", 502)
        fields.append(_received(name, value))
        size += len(name) + len(value) + 4
    if size > limits.trailers or len(fields) > limits.header_count:
        raise ProtocolError(f"the trailers are longer than {limits.trailers} bytes", 502)
    return fields


def _received(name: bytes, value: bytes) -> Field:
    if not is_token(name):
        raise ProtocolError(f"bad header name {show(name)}", 502)
    if name in _CONNECTION:
        raise ProtocolError(f"{show(name)} does not exist in HTTP/2", 502)
    if name != name.lower():
        raise ProtocolError(f"the header name {show(name)} is not in lower case", 502)
    if len(value.translate(None, CONTROLS)) != len(value):
        raise ProtocolError(f"a control character in the header {show(name)}", 502)
    if value != value.strip(b" \t"):
        raise ProtocolError(f"the header {show(name)} begins or ends with a space", 502)
    return name, name, value


def _status(value: bytes) -> int:
    if len(value) != 3 or not value.isdigit() or not b"100" <= value <= b"599":
        raise ProtocolError(f"{show(value)} is not an HTTP status: 100 to 599", 502)
    return int(value)
