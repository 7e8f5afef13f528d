"""The readers of HTTP/1.1: what a client sends, and what a server sends (RFC 9112).

They know start lines (sections 3 and 4) and which framing a head asks for (section 6.3).
"""

from __future__ import annotations

import re

from rulesproxy.flow.headers import is_token, to_str
from rulesproxy.limits import DEFAULT, Limits
from rulesproxy.proto import ProtocolError
from rulesproxy.proto.fields import UNFRAMED, parse_host, show
from rulesproxy.proto.http1_base import ENDED, TUNNEL, Reader
from rulesproxy.proto.http1_messages import (
    CHUNKED,
    NEED_DATA,
    NO_BODY,
    UNTIL_CLOSE,
    NeedData,
    RequestHead,
    ResponseHead,
)

_METHOD_MAX = 32
"""Characters of a method. The longest registered one has 17."""

_METHODS = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "PATCH", "TRACE")
}
_VERSIONS = {b"HTTP/1.1": "HTTP/1.1", b"HTTP/1.0": "HTTP/1.0"}
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]").fullmatch

# The space before an empty reason phrase is mandatory, but too many servers leave it out, and nothing can hide there.
_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-5][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?").fullmatch

# Servers have few status lines, so they are remembered like field lines.
_STATUS_LINES: dict[bytes, tuple[str, int, str]] = {}
_STATUS_LINES_MAX = 256
_STATUS_LINE_MAX = 64
_STATUS_START = b"HTTP/1."
_CR = 13


class RequestReader(Reader):
    """Reads what a client sends: for every request a `RequestHead`, body bytes, an `End`; then the next one."""

    def __init__(self, limits: Limits = DEFAULT) -> None:
        super().__init__(limits)
        self._crlf_skipped = False

    def _read_head(self) -> RequestHead | NeedData:
        if self._buf[0] == _CR:
            return self._skip_crlf()
        head = self._cut_head()
        if head is None:
            return NEED_DATA
        self._crlf_skipped = False
        method, target, version = _parse_request_line(head[0], self._limits.target)
        section = self._section if head[1] == self._block else self._read_section(head[1])
        host = parse_host(section.hosts)
        length = section.length
        if length == UNFRAMED:
            length = NO_BODY
        if length == NO_BODY:
            self._state = ENDED
        elif method == "CONNECT":
            raise ProtocolError("a CONNECT request has no body, but a field announces one")
        else:
            self._begin_body(length)
        if version == "HTTP/1.1":
            if not section.hosts:
                raise ProtocolError("no Host field: HTTP/1.1 requires one")
            keep_alive, expect, upgrade = not section.close, section.expect, section.upgrade
        elif length == CHUNKED:
            raise ProtocolError("Transfer-Encoding in a request of HTTP/1.0")
        else:
            keep_alive, expect, upgrade = False, False, ""
        return RequestHead(method, target, version, section.fields, length, keep_alive, expect, upgrade, host)

    def _skip_crlf(self) -> RequestHead | NeedData:
        """Skip the one empty line that may come before a request line (RFC 9112 section 2.2)."""
        buf = self._buf
        if self._crlf_skipped or buf[:2] not in (b"\r", b"\r\n"):
            raise ProtocolError("a request begins with an empty line or a stray CR")
        if len(buf) == 1:
            return self._need("before a request")
        self._buf = buf[2:]
        self._crlf_skipped = True
        return self._read_head() if self._buf else NEED_DATA

    def _check_start(self, line: bytes, complete: bool) -> bool:
        if complete:
            _parse_request_line(line, self._limits.target)
        elif not is_token(line[:1]):
            raise ProtocolError(f"this is not HTTP: {show(line[:32])}")
        elif len(line) > self._limits.target + _METHOD_MAX + len(" HTTP/1.1 \r"):
            raise ProtocolError(f"the request target is longer than {self._limits.target} bytes", 414)
        return complete


class ResponseReader(Reader):
    """Reads what a server sends: for every response a `ResponseHead`, body bytes, an `End`.

    Interim responses (1xx) come as heads with ends of their own before the final one. Behind a 101, and a 2xx to
    CONNECT, nothing is read: see `take_rest`. Errors have the status 502.
    """

    def __init__(self, limits: Limits = DEFAULT) -> None:
        super().__init__(limits)
        self._method = ""

    def expect(self, method: str) -> None:
        """Say which method the next final response answers: HEAD and CONNECT decide about its body."""
        self._method = method

    def _read_head(self) -> ResponseHead | NeedData:
        head = self._cut_head()
        if head is None:
            return NEED_DATA
        version, status, reason = _parse_status_line(head[0])
        section = self._section if head[1] == self._block else self._read_section(head[1])
        length = section.length
        if length == CHUNKED and version != "HTTP/1.1":
            raise ProtocolError("Transfer-Encoding in a response of HTTP/1.0")
        method = self._method
        tunnel = status == 101 or (method == "CONNECT" and 200 <= status < 300)
        if status < 200 or status == 204 or status == 304 or method == "HEAD" or tunnel:
            length = NO_BODY
        elif length == UNFRAMED:
            length = UNTIL_CLOSE
        if status >= 200:
            self._method = ""
        self._begin_body(length)
        if tunnel:
            self._state = TUNNEL
        if version == "HTTP/1.1":
            keep_alive = not section.close and length != UNTIL_CLOSE
            return ResponseHead(status, reason, version, section.fields, length, keep_alive, section.upgrade)
        keep_alive = section.keep_alive and not section.close and length != UNTIL_CLOSE
        return ResponseHead(status, reason, version, section.fields, length, keep_alive, "")

    def _check_start(self, line: bytes, complete: bool) -> bool:
        if complete:
            _parse_status_line(line)
        elif not line.startswith(_STATUS_START) and not _STATUS_START.startswith(line):
            raise ProtocolError(f"this is not HTTP/1.1: {show(line[:32])}")
        return complete

    def _fail(self, error: ProtocolError) -> None:
        super()._fail(error)
        self._status = 502


def _parse_request_line(line: bytes, target_max: int) -> tuple[str, str, str]:
    """Method, target and version of a request line.

    Raises:
        ProtocolError: 414 for a target over `target_max`, 505 for another version of HTTP, 400 for all else.
    """
    try:
        raw_method, raw_target, raw_version = line.split(b" ")
    except ValueError:
        raise ProtocolError(
            f"bad request line {show(line)}: method, target and version with one space between"
        ) from None
    version = _VERSIONS.get(raw_version)
    if version is None:
        if _VERSION(raw_version):
            raise ProtocolError(f"version {show(raw_version)} is not supported: only HTTP/1.1 and HTTP/1.0 are", 505)
        raise ProtocolError(f"bad request line {show(line)}: it does not end with a version of HTTP")
    method = _METHODS.get(raw_method)
    if method is None:
        if len(raw_method) > _METHOD_MAX or not is_token(raw_method):
            raise ProtocolError(f"bad method {show(raw_method)}")
        method = raw_method.decode("ascii")
    if len(raw_target) > target_max:
        raise ProtocolError(f"the request target is longer than {target_max} bytes", 414)
    # ASCII text without spaces is printable exactly if it is visible. A fragment never leaves a client (RFC 9110
    # section 4.2.5), and those who cut it off and those who do not disagree about the resource.
    target = raw_target.decode("latin-1")
    if not target.isascii() or not target.isprintable() or not target or "#" in target:
        raise ProtocolError(f"bad request target {show(raw_target)}")
    return method, target, version


def _parse_status_line(line: bytes) -> tuple[str, int, str]:
    """Version, status and reason phrase of a status line.

    Raises:
        ProtocolError: it is not one, or is of another version than HTTP/1.1 and HTTP/1.0.
    """
    known = _STATUS_LINES.get(line)
    if known is not None:
        return known
    match = _STATUS_LINE(line)
    if match is None:
        raise ProtocolError(f"bad status line {show(line)}", 502)
    version, status, reason = match.groups()
    parsed = (version.decode(), int(status), to_str(reason or b""))
    if len(line) <= _STATUS_LINE_MAX:
        if len(_STATUS_LINES) >= _STATUS_LINES_MAX:
            _STATUS_LINES.clear()
        _STATUS_LINES[line] = parsed
    return parsed
