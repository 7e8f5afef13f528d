"""What logs and records must not show: credentials, cookies, and what rules take from the environment.

It knows header fields and texts. Who writes a log or a record asks here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "***"

SHORTEST = 6
"""A shorter value is no secret that could be kept, and would be found inside words that have nothing to do with it."""

_CREDENTIALS = frozenset({"authorization", "proxy-authorization"})
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9-]*(?= +\S)").match


class _Hidden:
    """The values that have been named as secrets."""

    def __init__(self) -> None:
        self.values: set[str] = set()
        self.pattern: re.Pattern[str] | None = None


_hidden = _Hidden()


def hide(values: Iterable[str]) -> None:
    """Show none of these values from now on, as they are and as URLs spell them; those that are too short are shown."""
    new = {spelt for value in values if len(value) >= SHORTEST for spelt in (value, quote(value), quote_plus(value))}
    if new <= _hidden.values:
        return
    _hidden.values |= new
    # The longest first: one may be the beginning of another.
    longest = sorted(_hidden.values, key=len, reverse=True)
    _hidden.pattern = re.compile("|".join(map(re.escape, longest)))


def masked(text: str) -> str:
    """A text without the values that are hidden."""
    pattern = _hidden.pattern
    return text if pattern is None else pattern.sub(MASK, text)


def masked_field(name: str, value: str) -> str:
    """The value of a header field as records show it: of credentials the scheme, of cookies the names."""
    name = name.lower()
    if name in _CREDENTIALS:
        scheme = _SCHEME(value.strip())
        return MASK if scheme is None else f"{scheme[0]} {MASK}"
    if name == "cookie":
        return "; ".join([_masked_cookie(pair) for pair in value.split(";")])
    if name == "set-cookie":
        pair, semicolon, attributes = value.partition(";")
        return _masked_cookie(pair) + semicolon + attributes
    return masked(value)


def _masked_cookie(pair: str) -> str:
    name, found, _ = pair.strip().partition("=")
    # Without a name all of it is the value (RFC 6265 section 5.2).
    return f"{name}={MASK}" if found and name else MASK
