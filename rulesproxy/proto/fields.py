"""Header sections of HTTP/1.1: field lines, what they say of framing and connection, and which of them go on.

It knows field syntax (RFC 9112 section 5), message framing (section 6) and hop-by-hop fields (RFC 9110 section 7.6.1).
It refuses whatever two parsers could read differently.
"""

from __future__ import annotations

import re

from rulesproxy.flow.headers import Field, is_token
from rulesproxy.flow.url import split_authority
from rulesproxy.proto import ProtocolError
from rulesproxy.proto.http1_messages import CHUNKED

UNFRAMED = -3
"""The `Section.length` of a header section that does not say how long the body is."""

# Peers repeat themselves: most lines of a head were there in the head before. A line that was judged once is looked up
# from then on, which makes a head cost less than any parser of single bytes, in C as well. The bounds keep hostile
# peers from filling memory with what never comes again: a full table is emptied, and the next heads fill it anew.
_LINES: dict[bytes, Field] = {}
_LINES_MAX = 1024
_LINE_MAX = 256
_NAMES: dict[bytes, bytes] = {}
_NAMES_MAX = 1024
_HOSTS: dict[bytes, str] = {}
_HOSTS_MAX = 1024

CONTROLS = bytes(code for code in (*range(32), 127) if code != 9)
_DIGITS = re.compile(rb"[0-9]{1,18}").fullmatch
_CODING = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:[ \t]*;[^,]*)?").fullmatch

_SPECIAL = frozenset((b"host", b"connection", b"content-length", b"transfer-encoding", b"expect", b"upgrade"))

_HOP_BY_HOP = frozenset((b"connection", b"proxy-connection", b"keep-alive", b"te", b"upgrade", b"proxy-authorization"))

# A Connection field must not name fields that are meant for every recipient (RFC 9110 section 7.6.1). Where it does, it
# is an attempt to make us drop what the next one decides by: framing, routing, access. The last two are options, not
# names.
_NEVER_NAMED = frozenset(
    (
        *(b"host", b"content-length", b"transfer-encoding", b"trailer", b"content-type", b"content-encoding"),
        *(b"content-range", b"content-location", b"cache-control", b"date", b"location", b"via", b"forwarded"),
        *(b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip", b"origin", b"referer"),
        *(b"authorization", b"www-authenticate", b"cookie", b"set-cookie", b"expect", b"range"),
        *(b"close", b"keep-alive"),
    )
)

# What a trailer must not say (RFC 9110 section 6.5.1): framing, routing, connection, access, and how to read content.
NOT_IN_TRAILERS = _SPECIAL | frozenset(
    (
        *(b"trailer", b"te", b"keep-alive", b"proxy-connection", b"content-encoding", b"content-type"),
        *(b"content-range", b"authorization", b"proxy-authorization", b"www-authenticate", b"proxy-authenticate"),
        *(b"cookie", b"set-cookie", b"cache-control", b"max-forwards", b"location", b"range"),
    )
)


class Section:
    """A header section and what it says of the message.

    Attributes:
        fields: all of them, in order.
        length: a number of bytes, `CHUNKED`, or `UNFRAMED` where no field says it.
        close: whether Connection lists `close`.
        keep_alive: whether Connection lists `keep-alive`.
        upgrade: the Upgrade field in lower case where Connection lists it.
        expect: whether Expect lists `100-continue`.
        hosts: the values of the Host fields.
    """

    __slots__ = ("close", "expect", "fields", "hosts", "keep_alive", "length", "upgrade")

    def __init__(self, block: bytes, limit: int) -> None:
        """Read `block`: field lines with CRLF between them.

        Raises:
            ProtocolError: a field line is bad, there are more than `limit`, or the framing can be read two ways.
        """
        self.fields = fields = parse_fields(block, limit)
        self.length = UNFRAMED
        self.close = self.keep_alive = self.expect = False
        self.upgrade = ""
        self.hosts: list[bytes] = []
        upgrade: list[bytes] = []
        options: list[bytes] = []
        for lower, _, value in fields:
            if lower in _SPECIAL:
                if lower == b"host":
                    self.hosts.append(value)
                elif lower == b"connection":
                    options += _members(value)
                elif lower == b"upgrade":
                    upgrade.append(value)
                elif lower == b"expect":
                    self.expect = self.expect or b"100-continue" in _members(value)
                elif self.length != UNFRAMED:
                    raise ProtocolError("more than one Content-Length or Transfer-Encoding field")
                elif lower == b"content-length":
                    self.length = content_length(value)
                else:
                    self.length = _transfer_encoding(value)
        if options:
            self.close = b"close" in options
            self.keep_alive = b"keep-alive" in options
            if upgrade and b"upgrade" in options:
                self.upgrade = b", ".join(upgrade).decode("latin-1").lower()


def parse_fields(block: bytes, limit: int) -> list[Field]:
    """The fields of `block`, lines with CRLF between them; empty for an empty block.

    Raises:
        ProtocolError: 431 where there are more than `limit`, 400 where a line is not `name: value` or holds a control
            character (RFC 9112 section 5.1), or folds the line before (section 5.2).
    """
    if not block:
        return []
    lines = block.split(b"\r\n")
    if len(lines) > limit:
        raise ProtocolError(f"more than {limit} header fields", 431)
    known = _LINES.get
    return [known(line) or _parse_line(line) for line in lines]


def parse_trailers(block: bytes, limit: int) -> list[Field]:
    """The same for a trailer section.

    Raises:
        ProtocolError: as `parse_fields`, and 400 for a field that must not come after the body.
    """
    fields = parse_fields(block, limit)
    for lower, name, _ in fields:
        if lower in NOT_IN_TRAILERS:
            raise ProtocolError(f"{show(name)} in the trailers: it has to come before the body")
    return fields


def parse_host(hosts: list[bytes]) -> str:
    """The Host of a request (RFC 9112 section 3.2), empty where there is none or an empty one.

    Raises:
        ProtocolError: several, or not `host[:port]`.
    """
    if len(hosts) > 1:
        raise ProtocolError("more than one Host field")
    value = hosts[0] if hosts else b""
    if not value:
        return ""
    host = _HOSTS.get(value)
    if host is None:
        try:
            host = value.decode("ascii")
            split_authority(host, 0)
        except ValueError:
            raise ProtocolError(f"Host {show(value)} is not a host with an optional port") from None
        if len(value) <= _LINE_MAX:
            if len(_HOSTS) >= _HOSTS_MAX:
                _HOSTS.clear()
            _HOSTS[value] = host
    return host


def end_to_end(fields: list[Field]) -> list[Field]:
    """The fields that go on to the next recipient (RFC 9110 section 7.6.1), in order.

    Connection, Proxy-Connection, Keep-Alive, TE, Upgrade and Proxy-Authorization stay behind, and so does what
    Connection names, except fields that are meant for every recipient. Content-Length and Transfer-Encoding go on: the
    caller decides the framing. `TE: trailers` goes on; over HTTP/1.1 the caller adds `Connection: TE` (section 10.1.4).
    Returns the same list where nothing is removed.
    """
    dropped = [field for field in fields if field[0] in _HOP_BY_HOP and not _is_te_trailers(field)]
    if not dropped:
        return fields
    named: set[bytes] = set()
    for lower, _, value in dropped:
        if lower == b"connection":
            named.update(_members(value))
    named -= _NEVER_NAMED
    if not named and len(dropped) == 1:
        kept = fields.copy()
        kept.remove(dropped[0])
        return kept
    named |= _HOP_BY_HOP
    return [field for field in fields if field[0] not in named or _is_te_trailers(field)]


def _parse_line(line: bytes) -> Field:
    name, found, value = line.partition(b":")
    lower = _NAMES.get(name) or _parse_name(name)
    if lower is None or not found or len(value.translate(None, CONTROLS)) != len(value):
        raise ProtocolError(f"bad header line {show(line)}")
    field = (lower, name, value.strip(b" \t"))
    if len(line) <= _LINE_MAX:
        if len(_LINES) >= _LINES_MAX:
            _LINES.clear()
        _LINES[line] = field
    return field


def _parse_name(name: bytes) -> bytes | None:
    if not is_token(name):
        return None
    lower = name.lower()
    if len(name) <= _LINE_MAX:
        if len(_NAMES) >= _NAMES_MAX:
            _NAMES.clear()
        _NAMES[name] = lower
    return lower


def _is_te_trailers(field: Field) -> bool:
    return field[0] == b"te" and field[2].lower() == b"trailers"


def _members(value: bytes) -> list[bytes]:
    """The members of a comma-separated list, in lower case (RFC 9110 section 5.6.1)."""
    if b"," not in value:
        return [value.lower()]
    return [member.strip(b" \t") for member in value.lower().split(b",")]


def content_length(value: bytes) -> int:
    if _DIGITS(value) is None:
        raise ProtocolError(f"Content-Length {show(value)} is not one number of at most 18 digits")
    return int(value)


def _transfer_encoding(value: bytes) -> int:
    members = _members(value)
    if members == [b"chunked"]:
        return CHUNKED
    if any(member != b"chunked" and _CODING(member) for member in members):
        raise ProtocolError(f"Transfer-Encoding {show(value)} is not supported: only chunked is", 501)
    raise ProtocolError(f"Transfer-Encoding {show(value)} is not one 'chunked'")


def show(data: bytes) -> str:
    """`data` for a message: short, quoted, without control characters."""
    text = data[:80].decode("ascii", "backslashreplace")
    return repr(text) if len(data) <= 80 else f"{text!r}..."
