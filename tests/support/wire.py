"""A strict reader of HTTP/1.1 for tests (RFC 9112): it takes nothing that two servers could read two ways.

It is written apart from the package on purpose: what the proxy sends is judged by somebody else's eyes. It knows
requests as an origin receives them and responses as a client receives them, and no sockets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.([01])").fullmatch
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)").fullmatch
_VALUE = rb"[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?"
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[ \t]*((?:" + _VALUE + rb")?)[ \t]*").fullmatch
_AUTHORITY = re.compile(rb"(?:[A-Za-z0-9\-._~%!$&'()*+,;=]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?").fullmatch
_CHUNK_LINE = re.compile(rb"[0-9A-Fa-f]{1,16}").fullmatch
_NOT_IN_TRAILERS = {
    b"transfer-encoding", b"content-length", b"host", b"trailer", b"connection", b"te", b"content-encoding",
    b"content-type", b"authorization", b"cache-control", b"max-forwards", b"expect", b"range",
}  # fmt: skip
_CONNECTION_OPTIONS = {b"close", b"keep-alive", b"upgrade", b"te"}
_METHODS = {
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PROPFIND", "REPORT", "BREW",
}  # fmt: skip
_HOP_BY_HOP = (b"proxy-connection", b"proxy-authorization", b"keep-alive", b"http2-settings")

Fields = list[tuple[bytes, bytes]]


class WireError(AssertionError):
    """Bytes that are not strictly valid HTTP/1.1, with the place."""


class Incomplete(Exception):
    """The bytes end inside a message that was valid so far."""


@dataclass
class Message:
    """A request or a response as it was on the wire.

    Attributes:
        start: the request line or the status line.
        fields: the header fields in order, names as spelled.
        body: without its transfer coding.
        trailers: the trailer fields.
        raw: every byte of it.
        complete: whether all of it was there.
        chunked: whether it was framed by chunks.
    """

    start: bytes
    fields: Fields
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    raw: bytes = b""
    complete: bool = True
    chunked: bool = False

    def get_all(self, name: str) -> list[str]:
        """The values of every field of that name."""
        key = name.lower().encode()
        return [value.decode("latin-1") for field_name, value in self.fields if field_name.lower() == key]

    def get(self, name: str) -> str | None:
        """The value of a field that stands there once at most."""
        values = self.get_all(name)
        assert len(values) < 2, f"{name} stands there {len(values)} times: {values}"
        return values[0] if values else None

    @property
    def names(self) -> list[str]:
        """The names of the fields, as spelled, in order."""
        return [name.decode() for name, _ in self.fields]


@dataclass
class Request(Message):
    """A request: `method`, `target`."""

    @property
    def method(self) -> str:
        return self.start.split(b" ")[0].decode()

    @property
    def target(self) -> str:
        return self.start.split(b" ")[1].decode()


@dataclass
class Response(Message):
    """A response: `status`, `reason`."""

    @property
    def status(self) -> int:
        return int(self.start.split(b" ")[1])

    @property
    def reason(self) -> str:
        return self.start.split(b" ", 2)[2].decode("latin-1")


@dataclass
class _Cursor:
    data: bytes
    at: int = 0

    def line(self) -> bytes:
        end = self.data.find(b"\r\n", self.at)
        if end < 0:
            rest = self.data[self.at :]
            self.check(not re.search(rb"[\n\0]|\r(?!$)", rest), "a bare CR or LF, or a NUL", rest)
            raise Incomplete
        line = self.data[self.at : end]
        self.check(not re.search(rb"[\r\n\0]", line), "a bare CR or LF, or a NUL", line)
        self.at = end + 2
        return line

    def take(self, size: int) -> bytes:
        if len(self.data) - self.at < size:
            raise Incomplete
        part = self.data[self.at : self.at + size]
        self.at += size
        return part

    def check(self, fine: object, what: str, where: bytes = b"") -> None:
        if not fine:
            raise WireError(f"{what} at byte {self.at}: {where[:200]!r}")


def read_requests(data: bytes, to_proxy: bool = False, most: int | None = None) -> list[Request]:
    """All requests in what a server received, or the first `most`. The last one may be cut short: not `complete`.

    Raises:
        WireError: anything in it is not strictly valid.
    """
    requests = []
    cursor = _Cursor(data)
    while cursor.at < len(data) and len(requests) != most:
        start = cursor.at
        request = Request(b"", [], complete=False)
        try:
            _read_request(cursor, request, to_proxy)
        except Incomplete:
            request.raw = data[start:]
            requests.append(request)
            break
        request.complete = True
        request.raw = data[start : cursor.at]
        requests.append(request)
    return requests


def _read_request(cursor: _Cursor, request: Request, to_proxy: bool) -> None:
    start = cursor.line()
    match = _REQUEST_LINE(start)
    cursor.check(match, "not a request line", start)
    assert match is not None
    method, target, _ = match.groups()
    cursor.check(method.decode() in _METHODS, "not a method that tests use: what is left of a body?", start)
    if to_proxy:
        cursor.check(target.startswith(b"http://") or method == b"CONNECT", "not a target for a proxy", target)
    else:
        cursor.check(target.startswith(b"/") or (method, target) == (b"OPTIONS", b"*"), "not origin-form", target)
        cursor.check(method != b"CONNECT", "CONNECT to an origin", start)
    cursor.check(b"#" not in target, "a fragment in a target", target)
    request.start = start
    request.fields = _read_fields(cursor)
    _check_request_fields(cursor, request, to_proxy)
    length = _length(cursor, request)
    if length is None:
        _read_chunks(cursor, request)
    else:
        _read_sized(cursor, request, length)


def _check_request_fields(cursor: _Cursor, request: Request, to_proxy: bool) -> None:
    hosts = request.get_all("host")
    cursor.check(len(hosts) == 1 and _AUTHORITY(hosts[0].encode("latin-1")), f"not one good Host: {hosts}")
    if not to_proxy:
        for name in _HOP_BY_HOP:
            cursor.check(not request.get_all(name.decode()), f"{name.decode()} is for one hop only")
    connection = ",".join(request.get_all("connection")).lower().encode()
    options = {option.strip() for option in connection.split(b",") if option.strip()}
    cursor.check(options <= _CONNECTION_OPTIONS, f"Connection names {options}")
    cursor.check(bool(request.get_all("upgrade")) <= (b"upgrade" in options), "Upgrade without Connection: upgrade")
    te = request.get_all("te")
    cursor.check(te in ([], ["trailers"]), f"TE: {te}")
    cursor.check(bool(te) <= (b"te" in options), "TE without Connection: te")
    expect = request.get_all("expect")
    cursor.check(expect in ([], ["100-continue"]), f"Expect: {expect}")


def read_response(data: bytes, method: str = "GET", ended: bool = False) -> tuple[Response, int]:
    """The first response in what a client received, interim ones too, and how many bytes it is long.

    Args:
        data: what was received.
        method: of the request that it answers.
        ended: whether the connection was closed behind `data`, in order: the end of a body without a length.

    Raises:
        WireError: it is not strictly valid.
        Incomplete: more has to come.
    """
    cursor = _Cursor(data)
    start = cursor.line()
    match = _STATUS_LINE(start)
    cursor.check(match, "not a status line", start)
    response = Response(start, _read_fields(cursor))
    status = response.status
    if method == "HEAD" or status < 200 or status in (204, 304) or (method == "CONNECT" and status < 300):
        if method != "HEAD" and status != 304:
            for name in ("content-length", "transfer-encoding"):
                cursor.check(not response.get_all(name), f"{name} in a {status}")
    elif response.get_all("transfer-encoding"):
        _length(cursor, response)
        _read_chunks(cursor, response)
    elif response.get_all("content-length"):
        _read_sized(cursor, response, _length(cursor, response) or 0)
    elif ended:
        response.body = data[cursor.at :]
        cursor.at = len(data)
    else:
        raise Incomplete
    response.raw = data[: cursor.at]
    return response, cursor.at


def _read_fields(cursor: _Cursor) -> Fields:
    fields = []
    while line := cursor.line():
        match = _FIELD(line)
        cursor.check(match, "not a header field", line)
        assert match is not None
        fields.append((match.group(1), match.group(2)))
    return fields


def _length(cursor: _Cursor, message: Message) -> int | None:
    """The length of the body; None for chunks."""
    lengths, codings = message.get_all("content-length"), message.get_all("transfer-encoding")
    cursor.check(not (lengths and codings), f"both Content-Length {lengths} and Transfer-Encoding {codings}")
    if codings:
        cursor.check(codings == ["chunked"], f"Transfer-Encoding: {codings}")
        message.chunked = True
        return None
    cursor.check(len(lengths) < 2, f"Content-Length: {lengths}")
    if not lengths:
        return 0
    cursor.check(re.fullmatch("0|[1-9][0-9]{0,17}", lengths[0]), f"Content-Length: {lengths}")
    return int(lengths[0])


def _read_sized(cursor: _Cursor, message: Message, length: int) -> None:
    message.body = cursor.data[cursor.at : cursor.at + length]
    cursor.take(length)


def _read_chunks(cursor: _Cursor, message: Message) -> None:
    while True:
        line = cursor.line()
        cursor.check(_CHUNK_LINE(line), "not a plain chunk size", line)
        size = int(line, 16)
        if not size:
            break
        message.body += cursor.take(size)
        end = cursor.take(2)
        cursor.check(end == b"\r\n", "no line break behind a chunk", end)
    message.trailers = _read_fields(cursor)
    for name, _ in message.trailers:
        cursor.check(name.lower() not in _NOT_IN_TRAILERS, "a field that no trailer may hold", name)
