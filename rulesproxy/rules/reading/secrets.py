"""Secrets that stand in a rule file as they are. It knows what credentials look like, and nothing of rules."""

from __future__ import annotations

import re

NAMES = frozenset({
    "authorization", "proxy-authorization", "x-api-key", "api-key", "apikey", "x-auth-token", "x-access-token",
})  # fmt: skip
"""Header fields whose values are credentials."""

_SCHEME = re.compile(r"(?:bearer|basic|token|apikey|digest)\s+", re.IGNORECASE).match
_SECRET = re.compile(r"[A-Za-z0-9+/=_.~:-]{16,}").fullmatch


def is_secret(name: str, value: str) -> bool:
    """Whether the value of a header field is a credential, written out: long, and of letters and digits.

    What is short or made of words is taken for an example.
    """
    if name.lower() not in NAMES:
        return False
    scheme = _SCHEME(value)
    text = value[scheme.end() :] if scheme else value
    letters = any(char.isalpha() for char in text)
    return _SECRET(text) is not None and letters and sum(char.isdigit() for char in text) >= 3
