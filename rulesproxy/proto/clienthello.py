"""The ClientHello: what a TLS client says before any certificate is chosen (RFC 8446 section 4.1.2, RFC 5246).

It reads the server name, the protocols and the versions out of the first bytes of a connection, and does no TLS.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rulesproxy.flow.connection import ClientConn
from rulesproxy.limits import DEFAULT, Limits
from rulesproxy.proto import ProtocolError

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_SERVER_NAME, _ALPN, _SUPPORTED_VERSIONS = 0, 16, 43
_HOST_NAME = 0
_RECORD_HEADER = 5
_MESSAGE_HEADER = 4
_RECORD_LIMIT = 16384
_RANDOM = 32


@dataclass(slots=True)
class ClientHello:
    """A client's first TLS message.

    Attributes:
        sni: the server name it asks for, lower-case, without a trailing dot; None where it names none.
        alpn: the protocols it offers, its favourite first.
        versions: the TLS versions it offers as on the wire (0x0304 is TLS 1.3), its favourite first.
        passthrough: whether to tunnel this connection untouched; for handlers to set.
        client_conn: the connection that it came on; None where it was read by itself.
    """

    sni: str | None = None
    alpn: list[str] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    passthrough: bool = False
    client_conn: ClientConn | None = None


def parse(data: bytes, limits: Limits = DEFAULT) -> ClientHello | None:
    """The ClientHello at the start of `data`, which may go on behind it; None where more bytes are needed.

    Raises:
        ProtocolError: it is not TLS, not a ClientHello, malformed, or over the limits.
    """
    message = _message(data, limits)
    return None if message is None else _client_hello(message)


def looks_like_tls(data: bytes) -> bool:
    """Whether a connection that begins so begins with a TLS handshake record. One byte is enough for a guess."""
    return data[:1] == b"\x16" and data[1:2] in (b"", b"\x03")


def _message(data: bytes, limits: Limits) -> bytes | None:
    """The body of the first handshake message, put together from its records (RFC 8446 section 5.1)."""
    if data and not looks_like_tls(data):
        raise ProtocolError("not TLS: the first byte is not that of a handshake record")
    parts: list[bytes] = []
    at = have = 0
    needed: int | None = None
    while needed is None or have < needed:
        if len(parts) >= limits.client_hello_records:
            raise ProtocolError(f"a ClientHello in more than {limits.client_hello_records} TLS records")
        header = data[at : at + _RECORD_HEADER]
        if header and not looks_like_tls(header):
            raise ProtocolError("a ClientHello is interrupted by another kind of TLS record")
        if len(header) < _RECORD_HEADER:
            return None
        size = int.from_bytes(header[3:5], "big")
        if not 0 < size <= _RECORD_LIMIT:
            raise ProtocolError(f"a TLS record of {size} bytes: 1 to {_RECORD_LIMIT} are allowed")
        at += _RECORD_HEADER
        part = data[at : at + size]
        parts.append(part)
        at += size
        have += len(part)
        if needed is None:
            needed = _needed(b"".join(parts), limits)
        if len(part) < size and (needed is None or have < needed):
            return None
    return b"".join(parts)[_MESSAGE_HEADER:needed]


def _needed(start: bytes, limits: Limits) -> int | None:
    """The size of the handshake message with its header; None where the header is not whole yet."""
    if start[:1] not in (b"", bytes((_CLIENT_HELLO,))):
        raise ProtocolError(f"a TLS handshake that begins with message {start[0]}, not with a ClientHello")
    if len(start) < _MESSAGE_HEADER:
        return None
    size = _MESSAGE_HEADER + int.from_bytes(start[1:4], "big")
    if size > limits.client_hello:
        raise ProtocolError(f"a ClientHello of {size} bytes: at most {limits.client_hello} are allowed")
    return size


def _client_hello(message: bytes) -> ClientHello:
    reader = _Reader(message)
    version = reader.number(2)
    reader.take(_RANDOM)
    reader.block(1)  # session id
    reader.block(2)  # cipher suites
    reader.block(1)  # compression methods
    hello = ClientHello(versions=[version])
    if reader.left:
        _extensions(reader.block(2), hello)
    if reader.left:
        raise ProtocolError("a ClientHello with bytes behind its extensions")
    return hello


def _extensions(block: _Reader, hello: ClientHello) -> None:
    seen = set()
    while block.left:
        kind, content = block.number(2), block.block(2)
        if kind in seen:
            # RFC 8446 section 4.2. Two server names could be read two ways.
            raise ProtocolError(f"a ClientHello with extension {kind} twice")
        seen.add(kind)
        if kind == _SERVER_NAME:
            hello.sni = _server_name(content.block(2))
        elif kind == _ALPN:
            hello.alpn = _protocols(content.block(2))
        elif kind == _SUPPORTED_VERSIONS:
            hello.versions = _versions(content.block(1))
        else:
            continue
        if content.left:
            raise ProtocolError(f"a ClientHello with bytes behind its extension {kind}")


def _server_name(names: _Reader) -> str | None:
    """RFC 6066 section 3: ASCII, without a trailing dot, at most one name of a kind."""
    found = None
    while names.left:
        kind, name = names.number(1), names.block(2).rest()
        if kind != _HOST_NAME:
            continue
        if found is not None:
            raise ProtocolError("a ClientHello with two server names")
        if not name or not all(0x21 <= byte <= 0x7E for byte in name):
            raise ProtocolError("a ClientHello whose server name is not printable ASCII")
        # Some clients send the dot all the same.
        found = name.decode("ascii").lower().removesuffix(".")
    return found or None


def _protocols(names: _Reader) -> list[str]:
    found = []
    while names.left:
        name = names.block(1).rest()
        if not name:
            raise ProtocolError("a ClientHello with an empty ALPN protocol")
        # They are bytes (RFC 7301 section 3.1); Latin-1 loses none.
        found.append(name.decode("latin-1"))
    return found


def _versions(numbers: _Reader) -> list[int]:
    found = []
    while numbers.left:
        version = numbers.number(2)
        # RFC 8701: values that mean nothing, sent to keep servers tolerant.
        if version & 0x0F0F != 0x0A0A:
            found.append(version)
    return found


class _Reader:
    """Reads numbers and length-prefixed blocks; running out of bytes is the peer's mistake."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise ProtocolError("a ClientHello that ends inside a field")
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def block(self, size: int) -> _Reader:
        """What follows a length of `size` bytes."""
        return _Reader(self.take(self.number(size)))

    def rest(self) -> bytes:
        return self.take(self.left)
