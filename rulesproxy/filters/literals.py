"""Literals as written: quoted texts with their escapes, numbers with their units."""

from __future__ import annotations

import re

from rulesproxy.filters import ast
from rulesproxy.filters.problem import FilterError, error

ESCAPES = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "r": "\r", "t": "\t"}
_KEPT_IN_REGEX = frozenset("\\\"'")
_NUMBER = re.compile(r"(-?\d+(?:\.\d+)?)([A-Za-z]*)").fullmatch


def quoted(token: str, start: int, regex: bool = False) -> ast.Text:
    """The text of a quoted token at offset `start`.

    With `regex` only the escapes of the quotes and of the backslash are undone: the regex reads the others, so that
    `"\\d"` and `"\\\\d"` are the same, and `"\\x2e"` is a literal dot.

    Raises:
        FilterError: an escape that is not known.
    """
    end = start + len(token)
    if token[0] == "r":
        mark = token.index('"') + 1
        return ast.Text(token[mark : 1 - mark], start, end, start + mark)
    body = token[1:-1]
    if "\\" not in body:
        return ast.Text(body, start, end, start + 1)
    parts: list[str] = []
    places: list[int] = []
    at = 0
    while at < len(body):
        text, size = (body[at], 1) if body[at] != "\\" else _escape(body, at, start + 1, regex)
        parts.append(text)
        places.extend(range(start + 1 + at, start + 1 + at + len(text)) if size == len(text) else [start + 1 + at])
        at += size
    return ast.Text("".join(parts), start, end, start + 1, tuple(places))


def number(token: str, start: int) -> ast.Number:
    """A number token at offset `start`."""
    match = _NUMBER(token)
    assert match is not None, token
    digits, unit = match.groups()
    return ast.Number(float(digits) if "." in digits else int(digits), unit, start, start + len(token))


def _escape(body: str, at: int, offset: int, regex: bool) -> tuple[str, int]:
    """The text of the escape at `at`, and how many characters it takes."""
    char = body[at + 1]
    if regex:
        return (char, 2) if char in _KEPT_IN_REGEX else (body[at : at + 2], 2)
    if char in ESCAPES:
        return ESCAPES[char], 2
    digits = {"x": 2, "u": 4}.get(char)
    if digits is None:
        title = f"unknown escape `\\{char}` in a text that is no regex"
        help = r"""a backslash is `\\`, and r"…" changes nothing; known are \\ \" \' \n \r \t \xHH \uHHHH"""
        raise FilterError([error("RP216", title, offset + at, offset + at + 2, help)])
    code = body[at + 2 : at + 2 + digits]
    if not re.fullmatch(f"[0-9A-Fa-f]{{{digits}}}", code):
        title = f"`\\{char}` needs {digits} hexadecimal digits"
        raise FilterError([error("RP216", title, offset + at, offset + at + 2 + len(code))])
    value = chr(int(code, 16))
    if "\ud800" <= value <= "\udfff":
        title = f"`\\u{code}` is half of a character"
        raise FilterError([error("RP216", title, offset + at, offset + at + 6, "write the character itself")])
    return value, 2 + digits
