"""Numbers with units, numbers without quotes, and bytes: how the values beside some kinds of fields are written."""

from __future__ import annotations

import re

from rulesproxy.filters import ast
from rulesproxy.filters.fields.base import Kind

UNITS: dict[Kind, dict[str, float]] = {
    Kind.SIZE: {
        "": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3,
    },
    Kind.DURATION: {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600},
}  # fmt: skip
"""What the units of a kind stand for: bytes and seconds."""

INT_RANGE = re.compile(r"\s*(-?\d+)(?:\s*\.\.\s*(-?\d+))?\s*", re.ASCII).fullmatch
QUANTITY = re.compile(r"(-?\d+(?:\.\d+)?)([A-Za-z]*)", re.ASCII).fullmatch


def quantity(kind: Kind, literal: ast.Number) -> int | float | None:
    """A size in bytes or a duration in seconds; None where the unit is none of that kind."""
    units = UNITS[kind]
    if not literal.unit and literal.value == 0:
        return 0
    if literal.unit not in units:
        return None
    value = literal.value * units[literal.unit]
    return int(value) if kind is Kind.SIZE and value == int(value) else value


def numbers_in(text: ast.Text) -> list[ast.Number | ast.Range]:
    """The number or range in a text without quotes, if it is one."""
    found = INT_RANGE(text.value)
    if found is None:
        decimal = QUANTITY(text.value)
        if decimal is None or decimal.group(2):
            return []
        return [ast.Number(float(decimal.group(1)), "", text.start, text.end)]
    low, high = (None if end is None else ast.Number(int(end), "", text.start, text.end) for end in found.groups())
    assert low is not None
    return [low if high is None else ast.Range(low, high, text.start, text.end)]


def as_bytes(literal: ast.Operand | ast.Item, value: str) -> str:
    r"""Bytes as the fields have them: one character for each. A character is written in UTF-8, `\xHH` is one byte."""
    places = literal.places if isinstance(literal, ast.Text) else ()
    if not places or value.isascii():
        return value.encode("utf-8", "surrogateescape").decode("latin-1")
    ends = [*places[1:], literal.end - 1]
    return "".join(
        [
            # Only this escape takes four places.
            char if "\x7f" < char <= "\xff" and end - place == 4 else char.encode("utf-8").decode("latin-1")
            for char, place, end in zip(value, places, ends, strict=True)
        ]
    )
