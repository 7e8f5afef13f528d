"""The functions of the language: pure, bounded, and without a result rather than an error."""

from __future__ import annotations

import base64
from urllib.parse import unquote_plus

from rulesproxy.filters.fields.base import TEXTUAL, Kind
from rulesproxy.filters.typed import Function


def _b64_decode(text: str) -> str | None:
    try:
        data = text.replace("-", "+").replace("_", "/").encode("utf-8", "surrogateescape")
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True).decode("utf-8", "surrogateescape")
    except ValueError:
        return None


def _url_decode(text: str) -> str:
    return unquote_plus(text, errors="surrogateescape")


FUNCTIONS: dict[str, Function] = {
    function.name: function
    for function in (
        Function("lower", TEXTUAL, Kind.TEXT, str.lower),
        Function("upper", TEXTUAL, Kind.TEXT, str.upper),
        Function("trim", TEXTUAL, Kind.TEXT, str.strip),
        Function("len", TEXTUAL, Kind.INT, len),
        Function("url_decode", TEXTUAL, Kind.TEXT, _url_decode),
        Function("b64_decode", TEXTUAL, Kind.TEXT, _b64_decode),
    )
}
"""Every function by name."""
