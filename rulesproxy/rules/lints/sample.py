"""A text in which a regex finds something. It is a guess: whoever uses it tries it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rulesproxy.filters.shape import parse

_CLASSES = {"CATEGORY_DIGIT": "1", "CATEGORY_WORD": "a", "CATEGORY_SPACE": " "}
_OTHERS = {"CATEGORY_NOT_DIGIT": "a", "CATEGORY_NOT_WORD": "-", "CATEGORY_NOT_SPACE": "a"}
_LIKELY = "ax1/-_.A "
_DEPTH = 64


def sample(pattern: re.Pattern[str]) -> str | None:
    """A short text in which the regex finds something; None where none was guessed."""
    try:
        text = _sequence(parse(pattern.pattern, pattern.flags), _DEPTH)
    except (re.error, RecursionError, ValueError):
        return None
    return text if pattern.search(text) is not None else None


def _sequence(items: Sequence[tuple[Any, Any]], depth: int) -> str:
    return "".join([_item(str(op), argument, depth) for op, argument in items])


def _item(op: str, argument: Any, depth: int) -> str:
    if depth <= 0:
        raise ValueError("nested too deeply")
    if op == "LITERAL":
        return chr(int(argument))
    if op == "NOT_LITERAL":
        return "x" if argument != ord("x") else "a"
    if op == "ANY":
        return "x"
    if op == "IN":
        return _one_of(argument)
    if op in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        low, high, items = argument
        # One more than nothing looks more like a value that somebody would send.
        return _sequence(items, depth - 1) * min(max(int(low), 1), int(high), 64)
    if op == "SUBPATTERN":
        return _sequence(argument[-1], depth - 1)
    if op == "ATOMIC_GROUP":
        return _sequence(argument, depth - 1)
    if op == "BRANCH":
        return _sequence(argument[1][0], depth - 1)
    return ""


def _one_of(items: Sequence[tuple[Any, Any]]) -> str:
    negated = bool(items) and str(items[0][0]) == "NEGATE"
    if negated:
        pattern = items[1:]
        return next((char for char in _LIKELY if not any(_holds(each, char) for each in pattern)), "~")
    for char in _LIKELY:
        if any(_holds(each, char) for each in items):
            return char
    op, argument = items[0]
    return chr(argument[0] if str(op) == "RANGE" else argument)


def _holds(item: tuple[Any, Any], char: str) -> bool:
    op, argument = str(item[0]), item[1]
    if op == "LITERAL":
        return bool(ord(char) == argument)
    if op == "RANGE":
        return bool(argument[0] <= ord(char) <= argument[1])
    shown = _CLASSES.get(str(argument)) or _OTHERS.get(str(argument))
    return shown == char
