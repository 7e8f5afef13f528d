"""The texts of a request that literals of filters are looked for in.

A haystack is in lower case. It holds every value of the fields that belong to it, though characters that are not ASCII
may be others there, so that an ASCII literal in lower case is in the haystack wherever it is in a value, in whatever
case. The reverse need not hold: what is found here still has to pass its filter.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from rulesproxy.filters.normal import normal_host, normal_path
from rulesproxy.filters.typed import Read
from rulesproxy.flow.forms import host_of_authority
from rulesproxy.flow.headers import to_str
from rulesproxy.flow.http import HTTPRequest
from rulesproxy.flow.url import default_port, format_authority

LEAST = 3
"""Characters of a literal that is looked for; shorter ones are in too many requests."""
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


def known_part(text: str) -> str:
    """The part of a literal that is in a haystack where the literal is in a value: its longest run of ASCII."""
    if text.isascii():
        return text.lower()
    return max(_ASCII(text), key=len, default="").lower()


def of_url(request: HTTPRequest, host: str, named: bytes | None) -> str:
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
    if "?" in path and ("%" in path or "+" in path):
        # Values of the query are pieces of this: pairs are cut at characters that stay, and decoded one by one.
        query = path.partition("?")[2].encode("ascii", "replace")
        text += "\n" + unquote_to_bytes(query.replace(b"+", b" ")).decode("latin-1")
    return _lower(text)


def of_header(request: HTTPRequest, name: bytes) -> str:
    """The haystack of a header, or with `WHOLE` of all of them."""
    if name == WHOLE:
        return bytes(request.headers).lower().decode("latin-1")
    return b"\n".join([value for lower, _, value in request.headers.raw if lower == name]).lower().decode("latin-1")


def _lower(text: str) -> str:
    # Beyond ASCII there are letters whose lower case is an ASCII one, or more than one character.
    return text.lower() if text.isascii() else text.encode("ascii", "replace").decode().lower()
