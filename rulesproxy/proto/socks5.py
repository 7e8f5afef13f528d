"""SOCKS5 (RFC 1928) with user and password (RFC 1929), both roles: bytes to messages and back.

A parser is given all bytes so far. It returns the message and its length, or None where more is needed, and stops
within the 515 bytes that the longest message can have.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

from rulesproxy.flow.connection import Address
from rulesproxy.proto import ProtocolError

NO_AUTH: Final = 0
PASSWORD: Final = 2
NO_METHOD: Final = 0xFF

CONNECT: Final = 1

SUCCEEDED: Final = 0
FAILURE: Final = 1
NOT_ALLOWED: Final = 2
COMMAND_NOT_SUPPORTED: Final = 7
ADDRESS_NOT_SUPPORTED: Final = 8

_VERSION: Final = 5
_PASSWORD_VERSION: Final = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
_COMMANDS = {1: "CONNECT", 2: "BIND", 3: "UDP ASSOCIATE"}
_REASONS = {
    1: "general failure", 2: "its rules do not allow it", 3: "network unreachable", 4: "host unreachable",
    5: "connection refused", 6: "the time to live has expired", 7: "it does not know the command",
    8: "it does not know this kind of address",
}  # fmt: skip


class SocksError(ProtocolError):
    """The peer asks for what SOCKS5 has, and we do not; `reply` is the code that says so (RFC 1928 section 6)."""

    def __init__(self, message: str, reply: int) -> None:
        super().__init__(message)
        self.reply = reply


class Credentials(NamedTuple):
    """User and password, as they were sent."""

    user: bytes
    password: bytes


# What a client sends


def parse_greeting(data: bytes) -> tuple[bytes, int] | None:
    """The methods that a client offers, one byte each (RFC 1928 section 3).

    Raises:
        ProtocolError: it is not SOCKS5.
    """
    if data and data[0] != _VERSION:
        raise ProtocolError(_other_protocol(data))
    if len(data) < 2 or len(data) < 2 + data[1]:
        return None
    return data[2 : 2 + data[1]], 2 + data[1]


def parse_credentials(data: bytes) -> tuple[Credentials, int] | None:
    """User and password (RFC 1929 section 2).

    Raises:
        ProtocolError: it is something else.
    """
    if data and data[0] != _PASSWORD_VERSION:
        raise ProtocolError(f"the password message has version {data[0]}, which is not 1")
    if len(data) < 2 or len(data) < 3 + data[1]:
        return None
    at = 2 + data[1]
    size = at + 1 + data[at]
    if len(data) < size:
        return None
    return Credentials(data[2:at], data[at + 1 : size]), size


def parse_request(data: bytes) -> tuple[Address, int] | None:
    """Where a client wants to go (RFC 1928 section 4).

    Raises:
        ProtocolError: it is malformed.
        SocksError: another command than CONNECT, or an unknown kind of address.
    """
    found = _parse_address(data)
    if found is None:
        return None
    address, size = found
    if data[1] != CONNECT:
        name = _COMMANDS.get(data[1], f"command {data[1]}")
        raise SocksError(f"{name} is not supported: this proxy connects only", COMMAND_NOT_SUPPORTED)
    if not address[1]:
        raise SocksError("it asks for port 0", FAILURE)
    return address, size


def encode_method(method: int) -> bytes:
    """The answer to a greeting."""
    return bytes((_VERSION, method))


def encode_verdict(accepted: bool) -> bytes:
    """The answer to credentials."""
    return bytes((_PASSWORD_VERSION, 0 if accepted else 1))


def encode_reply(code: int) -> bytes:
    """The answer to a request. The address that we are bound to is nobody's business: it is all zeros."""
    return bytes((_VERSION, code, 0, _IPV4, 0, 0, 0, 0, 0, 0))


# What a server sends


def parse_method(data: bytes) -> tuple[int, int] | None:
    """The method that a server has chosen.

    Raises:
        ProtocolError: it is not SOCKS5.
    """
    _check_version(data)
    return (data[1], 2) if len(data) >= 2 else None


def parse_verdict(data: bytes) -> tuple[bool, int] | None:
    """Whether a server accepts our credentials."""
    return (data[1] == 0, 2) if len(data) >= 2 else None


def parse_reply(data: bytes) -> tuple[int, int] | None:
    """The code of a reply, 0 for success; the address in it is skipped.

    Raises:
        ProtocolError: it is malformed.
    """
    _check_version(data)
    if len(data) >= 2 and data[1] != SUCCEEDED:
        # Some servers send nothing behind a refusal.
        return data[1], len(data)
    found = _parse_address(data)
    return None if found is None else (SUCCEEDED, found[1])


def encode_greeting(password: bool) -> bytes:
    """What we offer a server: no authentication, and a password where we have one."""
    return bytes((_VERSION, 2, NO_AUTH, PASSWORD)) if password else bytes((_VERSION, 1, NO_AUTH))


def encode_credentials(user: str, password: str) -> bytes:
    """User and password, 1 to 255 bytes each.

    Raises:
        ValueError: they have not.
    """
    parts = [user.encode(), password.encode()]
    if not all(0 < len(part) < 256 for part in parts):
        raise ValueError("user and password of SOCKS5 have 1 to 255 bytes each (RFC 1929)")
    return bytes((_PASSWORD_VERSION,)) + b"".join(bytes((len(part),)) + part for part in parts)


def encode_connect(address: Address) -> bytes:
    """A request to connect. A name is left to the proxy to resolve.

    Raises:
        ValueError: the name is longer than 255 bytes.
    """
    host, port = address
    head = bytes((_VERSION, CONNECT, 0))
    try:
        packed = ip_address(host).packed
        kind = bytes((_IPV4 if len(packed) == 4 else _IPV6,))
    except ValueError:
        packed = host.encode("ascii") if host.isascii() else host.encode("idna")
        if not 0 < len(packed) < 256:
            raise ValueError(f"a host name in SOCKS5 has 1 to 255 bytes, this one has {len(packed)}") from None
        kind = bytes((_NAME, len(packed)))
    return head + kind + packed + port.to_bytes(2, "big")


def reason(code: int) -> str:
    """A reply's code in words."""
    return _REASONS.get(code, f"code {code}")


def _parse_address(data: bytes) -> tuple[Address, int] | None:
    """Host and port of a request or a reply, and the size of it."""
    _check_version(data)
    if len(data) < 5:
        return None
    kind = data[3]
    if kind not in (_IPV4, _NAME, _IPV6):
        raise SocksError(f"address type {kind} is neither IPv4, IPv6 nor a name", ADDRESS_NOT_SUPPORTED)
    start = 5 if kind == _NAME else 4
    end = start + {_IPV4: 4, _IPV6: 16, _NAME: data[4]}[kind]
    if len(data) < end + 2:
        return None
    raw = data[start:end]
    if kind == _NAME:
        host = _name(raw)
    else:
        host = str(IPv4Address(raw) if kind == _IPV4 else IPv6Address(raw))
    return (host, int.from_bytes(data[end : end + 2], "big")), end + 2


def _name(raw: bytes) -> str:
    """A host name. Clients put addresses there, too, and IPv6 ones in brackets."""
    text = raw.decode("ascii", "replace")
    if not text.isascii() or not text.isprintable() or not text or set(text) & set(' "#/<>?@\\^`{|}'):
        raise ProtocolError(f"{raw[:80]!r} is not a host name")
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if bare != text or ":" in bare or "[" in bare or "]" in bare:
        try:
            return str(IPv6Address(bare))
        except ValueError:
            raise ProtocolError(f"{text[:80]!r} is not a host name") from None
    return bare


def _check_version(data: bytes) -> None:
    if data and data[0] != _VERSION:
        raise ProtocolError(f"this is not SOCKS5: it begins with byte {data[0]}")


def _other_protocol(data: bytes) -> str:
    if data[0] == 4:
        return "it speaks SOCKS4; this port speaks SOCKS5"
    if data[:1].isalpha():
        return "it speaks HTTP; this port speaks SOCKS5, so set it as a SOCKS5 proxy (socks5h://…)"
    if data[0] == 0x16:
        return "it speaks TLS; this port speaks SOCKS5, so set it as a SOCKS5 proxy (socks5h://…)"
    return f"this is not SOCKS5: it begins with byte {data[0]}"
