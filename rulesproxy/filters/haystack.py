"""The texts of a request that literals of filters are looked for in, and the grams of which both are made.

A haystack is ASCII in lower case. It holds every value of the fields that belong to it, with anything else that is not
ASCII replaced, so that a literal in lower case is in the haystack wherever it is in a value, in whatever case. The
reverse need not hold: what is found here still has to pass its filter.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from rulesproxy.filters.normal import normal_host, normal_path
from rulesproxy.filters.typed import Read
from rulesproxy.flow.forms import host_of_authority
from rulesproxy.flow.headers import to_str
from rulesproxy.flow.http import HTTPRequest
from rulesproxy.flow.url import default_port, format_authority

GRAM = 4
"""Bytes of a gram. Three are in too many requests, and five are more than a literal may have."""
WHOLE = b":"
"""In the place of a header's name: the whole section."""

_IN_URL = frozenset({"host", "~d", "path", "path.raw", "query", "url", "~u"})
_HEADERS = {"request.content_type": b"content-type", "~hq": WHOLE}
_ASCII = re.compile(r"[\x00-\x7f]+").findall


def place_of(read: Read) -> bytes | None:
    """Which haystack holds the values of a read: empty for that of the URL, else a header; None for no haystack."""
    name = read.field.name
    if read.original or read.functions or read.element:
        return None
    if name in _IN_URL:
        return b""
    if name == "request.header":
        return read.key if isinstance(read.key, bytes) else WHOLE
    return _HEADERS.get(name)


def known_part(text: str) -> bytes:
    """The part of a literal that is in a haystack where the literal is in a value: its longest run of ASCII."""
    if text.isascii():
        return text.encode().lower()
    return max(_ASCII(text), key=len, default="").encode().lower()


def of_url(request: HTTPRequest, host: str, named: bytes | None) -> bytes:
    """The haystack of the URL; `host` is in normal form, `named` is the Host header."""
    path, scheme = request.path, request.scheme
    authority = format_authority(host, request.port, scheme)
    text = f"{scheme}://{authority}{path}"
    if named:
        other = to_str(named)
        if other != authority:
            shown = other.removesuffix(f":{default_port(scheme)}")
            text += f"\n{scheme}://{shown}{path}\n{normal_host(host_of_authority(other))}\n{host}"
    if ":" in host:
        text += f"\n{host}"
    if "%" in path:
        text += f"\n{normal_path(path)}"
    data = text.encode("ascii", "replace")
    if "?" in path and ("%" in path or "+" in path):
        # Values of the query are pieces of this: pairs are cut at characters that stay, and decoded one by one.
        query = path.partition("?")[2].encode("ascii", "replace")
        data += b"\n" + unquote_to_bytes(query.replace(b"+", b" "))
    return data.lower()


def of_header(request: HTTPRequest, name: bytes) -> bytes:
    """The haystack of a header, or with `WHOLE` of all of them."""
    if name == WHOLE:
        return bytes(request.headers).lower()
    return b"\n".join([value for lower, _, value in request.headers.raw if lower == name]).lower()


def grams(haystack: bytes) -> Iterable[int]:
    """Every gram of a haystack, as a number."""
    # Four copies, each one byte further, are all grams side by side: read as integers they cost no slicing.
    size = (len(haystack) + GRAM - 1) & -GRAM
    padded = haystack + bytes(2 * GRAM)
    return memoryview(b"".join((padded[:size], padded[1 : size + 1], padded[2 : size + 2], padded[3 : size + 3]))).cast(
        "I"
    )


def grams_of(text: bytes) -> list[int]:
    """The grams of a literal, in order."""
    return [int.from_bytes(text[at : at + GRAM], sys.byteorder) for at in range(len(text) - GRAM + 1)]
