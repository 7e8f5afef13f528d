"""Paths into JSON: the part of JSONPath that names places (`$.a.b[0]`, `$['x']`, `[*]`), and JSON Pointer."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from rulesproxy.rules.files.nodes import Node
    from rulesproxy.rules.schema import Reader

# Letters, `_` and all beyond ASCII, then digits and `-` too; said by what they are not, which compiles much faster.
_NAME = re.compile(r"\.([^\x00-@\[-^`{-\x7f][^\x00-,./:-@\[-^`{-\x7f]*)")
_INDEX = re.compile(r"\[(-?(?:0|[1-9][0-9]{0,8}))\]")
_QUOTED = re.compile(r"""\[(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\]""", re.DOTALL)
_EVERY = re.compile(r"\.\*|\[\*\]")


@dataclass(frozen=True, slots=True)
class Every:
    """Every value of an object or array."""


Step: TypeAlias = str | int | Every
"""A name in an object, a position in an array (negative: from the end), or everything in either."""


class PathError(ValueError):
    """A text that is no path; `at` is where."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.at = at


@dataclass(frozen=True, slots=True)
class JSONPath:
    """A path into JSON: its text and its steps."""

    text: str
    steps: tuple[Step, ...]

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        return {"type": "string", "pattern": r"^\$"}

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> JSONPath:
        scalar = reader.scalar(node, name, "a path such as $.a.b[0]")
        try:
            return cls(scalar.text, parse_path(scalar.text))
        except PathError as error:
            where = scalar.part(error.at, min(error.at + 1, len(scalar.text)))
            return reader.fail("RP615", where, f"`{scalar.text}` is no JSON path: {error}", _help(scalar.text))


def parse_path(text: str) -> tuple[Step, ...]:
    """The steps of a JSONPath.

    Raises:
        PathError: it is none, or one with parts that do not name places.
    """
    if not text.startswith("$"):
        raise PathError("a path starts with `$`", 0)
    steps: list[Step] = []
    at = 1
    while at < len(text):
        if found := _NAME.match(text, at):
            steps.append(found[1])
        elif found := _INDEX.match(text, at):
            steps.append(int(found[1]))
        elif found := _QUOTED.match(text, at):
            steps.append(_unquoted(found[1], found[2], at))
        elif found := _EVERY.match(text, at):
            steps.append(Every())
        elif text.startswith("..", at):
            raise PathError("`..` is not supported", at)
        elif text.startswith(("[?", "[("), at):
            raise PathError("conditions are not supported", at)
        else:
            raise PathError("a step is `.name`, `['name']`, `[0]` or `[*]`", at)
        at = found.end()
    return tuple(steps)


def parse_pointer(text: str) -> tuple[str, ...]:
    """The parts of a JSON Pointer (RFC 6901).

    Raises:
        PathError: it is none.
    """
    if text and not text.startswith("/"):
        raise PathError("a pointer is empty or starts with `/`", 0)
    if found := re.search(r"~(?![01])", text):
        raise PathError("`~` is written `~0`, and `/` inside a name `~1`", found.start())
    return tuple([part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]])


def _unquoted(single: str | None, double: str | None, at: int) -> str:
    inner = double if single is None else single.replace("\\'", "'").replace('"', '\\"')
    try:
        return str(json.loads(f'"{inner}"', strict=False))
    except ValueError:
        raise PathError("a bad escape in a name", at) from None


def _help(text: str) -> str:
    if text.startswith("/"):
        return "for a JSON Pointer use `patch`"
    return "write it like `$.a.b[0]`" if text.startswith("$") else f"write `$.{text.lstrip('.')}`"
