"""Bodies in which filters find something: JSON, forms and GraphQL, put together value by value."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

_LONGEST = 100
"""Items of a list that is made for an index in a filter."""


@dataclass(slots=True)
class Body:
    """A body that is being made, of whatever the conditions want of it.

    Attributes:
        text: plain text; where there is some, nothing else counts.
        document: JSON; None for none.
        form: names and values.
        operation: name and type of a GraphQL operation, as far as they are wanted.
    """

    text: str = ""
    document: Any = None
    form: list[tuple[str, str]] = field(default_factory=list)
    operation: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """The bytes."""
        if self.text:
            return self.text.encode()
        document = self._document
        return urlencode(self.form).encode() if document is None else json.dumps(document).encode()

    @property
    def kind(self) -> str:
        """Its content type; empty where any will do."""
        if self.text or (self._document is None and not self.form):
            return ""
        return "application/x-www-form-urlencoded" if self._document is None else "application/json"

    @property
    def _document(self) -> Any:
        if not self.operation:
            return self.document
        name = self.operation.get("graphql.operation", "Any")
        query = f"{self.operation.get('graphql.type', 'query')} {name} {{ a }}"
        return {**(self.document if isinstance(self.document, dict) else {}), "operationName": name, "query": query}

    def put(self, path: tuple[object, ...], value: object) -> bool:
        """Have a value at a path of the JSON; False where something else is in the way."""
        try:
            self.document = _put(self.document, path, value)
        except ValueError:
            return False
        return True


def _put(document: Any, path: tuple[object, ...], value: object) -> Any:
    if not path:
        return value
    step, rest = path[0], path[1:]
    if isinstance(step, str):
        made = {} if document is None else document
        if not isinstance(made, dict):
            raise ValueError("there is a list, or a value")
        return {**made, step: _put(made.get(step), rest, value)}
    items = [] if document is None else document
    at = step if isinstance(step, int) else 0
    if not isinstance(items, list) or not 0 <= at < _LONGEST:
        raise ValueError("there is no such place")
    items = [*items, *[None] * (at + 1 - len(items))]
    return [*items[:at], _put(items[at], rest, value), *items[at + 1 :]]
