"""The one spelling of hosts and paths that filters compare, for values and for literals alike. Nothing here raises."""

from __future__ import annotations

import re
import unicodedata
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeAlias

IPAddress: TypeAlias = IPv4Address | IPv6Address

_DOTS = str.maketrans("\u3002\uff0e\uff61", "...")
"""The full stops that IDNA counts as one (UTS 46 section 4)."""

_UNRESERVED = re.compile(r"%(2[DdEe]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])").sub


def normal_host(host: str) -> str:
    """Lower-case, in A-labels, without a trailing dot; an IPv6 address without brackets and in its short form."""
    if host.isascii():
        host = host.lower()
        if host.endswith("."):
            host = host[:-1]
        return _short_address(host) if ":" in host else host
    labels = unicodedata.normalize("NFKC", host).translate(_DOTS).removesuffix(".").split(".")
    return ".".join([_a_label(label) for label in labels])


def normal_path(path: str) -> str:
    """The path of a request target: without its query, unreserved characters decoded (RFC 3986 section 6.2.2.2)."""
    return decoded_path(path.partition("?")[0])


def decoded_path(path: str) -> str:
    """`path` with its percent-encoded unreserved characters decoded."""
    return path if "%" not in path else _UNRESERVED(_decode, path)


def raw_path(path: str) -> str:
    """The path of a request target as sent."""
    return path.partition("?")[0]


def normal_address(text: str) -> IPAddress | None:
    """An IP address, or None where `text` is none; an IPv4 address inside an IPv6 one (RFC 4291 2.5.5.2) is itself."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def media_type(header: str) -> str:
    """The type of a Content-Type value in lower case, without parameters (RFC 9110 section 8.3.1)."""
    return header.partition(";")[0].strip().lower()


def _decode(match: re.Match[str]) -> str:
    return chr(int(match.group(1), 16))


def _a_label(label: str) -> str:
    # Non-transitional, as browsers do: the sharp s and the final sigma stay what they are.
    lower = unicodedata.normalize("NFC", label.lower())
    if lower.isascii():
        return lower
    try:
        return "xn--" + lower.encode("punycode").decode("ascii")
    except UnicodeError:
        return lower


def _short_address(host: str) -> str:
    inner = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        return str(IPv6Address(inner))
    except ValueError:
        return host
