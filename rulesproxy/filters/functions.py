"""The functions of the language: pure, bounded, and without a result rather than an error.

Functions without a name stand between a value of an open kind and a test: they let through what the test is for.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from urllib.parse import unquote_plus

from rulesproxy.filters.fields.base import TEXTUAL, Kind
from rulesproxy.filters.fields.document import Document, Path, parse, values_at
from rulesproxy.filters.typed import Function, Read


@dataclass(frozen=True, slots=True)
class _At:
    """The values of a JSON text at a path."""

    path: Path

    def __call__(self, text: str) -> tuple[Document, ...]:
        return values_at(parse(text), self.path)


def through(read: Read, function: Function) -> Read:
    """The read with one more function on its values."""
    return replace(read, functions=(*read.functions, function))


def in_bytes(read: Read, text: str) -> Read:
    """What a regex searches: bytes as they are, or as UTF-8 where the regex has other letters than ASCII."""
    return through(read, AS_UTF8) if read.kind is Kind.BYTES and not text.isascii() else read


def json_function(path: Path) -> Function:
    """`json(…)` with the path behind it."""
    return Function("json", TEXTUAL, Kind.JSON, _At(path), many=True)


def _b64_decode(text: str) -> str | None:
    try:
        data = text.replace("-", "+").replace("_", "/").encode("utf-8", "surrogateescape")
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True).decode("utf-8", "surrogateescape")
    except ValueError:
        return None


def _url_decode(text: str) -> str:
    return unquote_plus(text, errors="surrogateescape")


def _utf8(text: str) -> str:
    return text.encode("latin-1").decode("utf-8", "surrogateescape")


def _text(value: Document) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Document) -> int | float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _bool(value: Document) -> bool | None:
    return value if isinstance(value, bool) else None


def _is_false(value: Document) -> bool | None:
    return not value if isinstance(value, bool) else None


def _length(value: Document) -> int | None:
    return len(value) if isinstance(value, (str, list, dict)) else None


_JSON = frozenset({Kind.JSON})

AS_UTF8 = Function("", frozenset({Kind.BYTES}), Kind.TEXT, _utf8)
"""Bytes as the text that they are in UTF-8."""
AS_TEXT = Function("", _JSON, Kind.TEXT, _text, partial=True)
"""A JSON value that is a text."""
AS_NUMBER = Function("", _JSON, Kind.INT, _number, partial=True)
"""A JSON value that is a number."""
AS_BOOL = Function("", _JSON, Kind.BOOL, _bool, partial=True)
"""A JSON value that is true or false."""
IS_FALSE = Function("", _JSON, Kind.BOOL, _is_false, partial=True)
"""Whether a JSON value that is true or false is false."""
LENGTH = Function("len", _JSON, Kind.INT, _length, partial=True)
"""`len` of a JSON value: characters, items or members."""

FUNCTIONS: dict[str, Function] = {
    function.name: function
    for function in (
        Function("lower", TEXTUAL, Kind.TEXT, str.lower),
        Function("upper", TEXTUAL, Kind.TEXT, str.upper),
        Function("trim", TEXTUAL, Kind.TEXT, str.strip),
        Function("len", TEXTUAL, Kind.INT, len),
        Function("url_decode", TEXTUAL, Kind.TEXT, _url_decode),
        Function("b64_decode", TEXTUAL, Kind.TEXT, _b64_decode, partial=True),
        json_function(()),
    )
}
"""Every function by name."""
