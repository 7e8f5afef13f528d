"""The types of options: what a value may be, and how text becomes one.

Sizes and durations are written with a unit (`10MB`, `64KiB`, `30s`, `100ms`). It does not know names or sources.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import math
import re
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from rulesproxy import limits

Value: TypeAlias = str | int | float | bool | tuple[str, ...] | None
Unit: TypeAlias = Literal["", "size", "count", "duration"]


@dataclass(frozen=True, slots=True)
class OptionType:
    """What an option holds.

    Attributes:
        base: str, int, float, bool, or tuple for a sequence of texts.
        optional: whether it may be None.
        unit: whether a number is a `size` in bytes, a `duration` in seconds, or a `count`; none of them is negative.
        positive: whether it must be more than 0.
    """

    base: type
    optional: bool = False
    unit: Unit = ""
    positive: bool = False

    def __str__(self) -> str:
        word = self.unit or {tuple: "list of texts", str: "text", float: "number", bool: "true or false"}.get(
            self.base, "whole number"
        )
        return f"{word} or none" if self.optional else word

    def check(self, value: object) -> Value:
        """`value` in the form in which it is kept; a list becomes a tuple, a whole number a float where one is due.

        Raises:
            ValueError: it is of another type, or not a sensible limit; the message says what it must be.
        """
        if value is None and self.optional:
            return None
        if self.base is tuple and isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
            return tuple(value)
        if self.base is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, self.base) or (isinstance(value, bool) and self.base is not bool):
            raise ValueError(self._expected())
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(self._expected())
        if self.unit and isinstance(value, (int, float)) and value < 0:
            raise ValueError(self._expected())
        if self.positive and value == 0:
            raise ValueError(f"{self._expected()}, and more than 0")
        return typing.cast(Value, value)

    def parse(self, text: str) -> Value:
        """The value that `text` means.

        Raises:
            ValueError: none; the message says what it must be.
        """
        word = text.strip()
        if self.optional and (not word or word.lower() == "none"):
            return None
        if self.base is str:
            return text
        if self.base is tuple:
            return tuple([item.strip() for item in text.split(",") if item.strip()])
        if self.base is bool:
            if word.lower() not in _TRUTH:
                raise ValueError(self._expected())
            return _TRUTH[word.lower()]
        return self.check(self._number(word))

    def _number(self, word: str) -> int | float:
        try:
            if self.unit in ("size", "duration"):
                return self._with_unit(word)
            return int(word) if self.base is int else float(word)
        except ValueError:
            raise ValueError(self._expected()) from None

    def _with_unit(self, word: str) -> int | float:
        match = _QUANTITY.fullmatch(word)
        if match is None:
            raise ValueError
        number, unit = match.groups()
        known = _SIZES if self.unit == "size" else _DURATIONS
        key = unit.lower() if self.unit == "size" else unit
        if key not in known:
            raise ValueError
        value = float(number) * known[key]
        if self.base is float:
            return value
        if value != int(value):
            raise ValueError
        return int(value)

    def _expected(self) -> str:
        words = {
            "size": "a size in bytes, such as 65536, 64KiB or 10MB",
            "duration": "a time in seconds, such as 30, 30s or 250ms",
            "count": "a whole number, not negative",
        }.get(self.unit) or {
            str: "a text", tuple: "a list of texts (written a,b,c)", bool: "true or false", int: "a whole number",
        }.get(self.base, "a number")  # fmt: skip
        return f"it must be {words}{', or none' if self.optional else ''}"


def option_type(spec: object, unit: Unit = "", positive: bool = False) -> OptionType:
    """The type that a type specification means: str, int, float, bool, Sequence[str], or one of them `| None`.

    Raises:
        ValueError: it is none of these.
    """
    optional = False
    if typing.get_origin(spec) in (typing.Union, types.UnionType):
        arguments = typing.get_args(spec)
        rest = [argument for argument in arguments if argument is not types.NoneType]
        optional = len(rest) < len(arguments)
        spec = rest[0] if len(rest) == 1 else None
    base: type | None = spec if isinstance(spec, type) and spec in (str, int, float, bool) else None
    origin, arguments = typing.get_origin(spec), typing.get_args(spec)
    if (origin in (Sequence, list) and arguments == (str,)) or (origin is tuple and arguments == (str, ...)):
        base = tuple
    if base is None:
        raise ValueError("its type must be str, int, float, bool or Sequence[str], or one of them | None")
    return OptionType(base, optional, unit, positive)


def limit_helps() -> dict[str, str]:
    """The sentence below every field of `Limits`, from its source: documentation is written once."""
    try:
        tree = ast.parse(inspect.getsource(limits))
    except OSError:
        return {}
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Limits")
    helps = {}
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            helps[field.target.id] = ast.literal_eval(text.value)
    return helps


_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)")
_DURATIONS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZES = {
    "": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1024, "mib": 1024**2, "gib": 1024**3,
}  # fmt: skip
