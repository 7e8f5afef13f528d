"""JSON as filters read it: parsed once, and the values at a path. What is not there has no values; nothing raises."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NoReturn, TypeAlias

from rulesproxy.filters.ast import STAR, Star

Path: TypeAlias = tuple[str | int | Star, ...]
"""Names of members, positions of items, and `[*]` for each."""

Document: TypeAlias = object
"""What `json.loads` gives; None is for null, and for text that is no JSON."""


class JSONValues(dict[Path, tuple[Document, ...]]):
    """The values at every path that is asked for; null counts as missing."""

    __slots__ = ("_text", "document", "parsed")

    def __init__(self, text: bytes | str | None) -> None:
        self._text = text
        self.parsed = False
        self.document: Document = None

    def root(self) -> Document:
        """The whole document, parsed when it is asked for."""
        if not self.parsed:
            self.parsed = True
            self.document = parse(self._text)
            self._text = None
        return self.document

    def __missing__(self, path: Path) -> tuple[Document, ...]:
        values = self[path] = values_at(self.root(), path)
        return values


def parse(text: bytes | str | None) -> Document:
    """A text read as JSON (RFC 8259); None where it is none, or is nested too deeply."""
    if not text:
        return None
    try:
        document: Document = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return document


def values_at(document: Document, path: Path) -> tuple[Document, ...]:
    """The values at a path, in order; null is no value."""
    found: list[Document] = [document]
    for key in path:
        found = [value for item in found for value in _step(item, key)]
    return tuple([value for value in found if value is not None])


def _step(value: Document, key: str | int | Star) -> Iterable[Document]:
    if key is STAR:
        if isinstance(value, dict):
            return value.values()
        return value if isinstance(value, list) else ()
    if isinstance(key, int):
        return value[key : key + 1] if isinstance(value, list) else ()
    return (value[key],) if isinstance(value, dict) and key in value else ()


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)
