"""The tree of a filter as it was written. Every node knows its place: offsets `start` and `end` into the text.

Names and types are not checked here; `check` turns this tree into the one of `typed`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias


class Star(Enum):
    """The index `[*]`: every value."""

    STAR = "*"


STAR = Star.STAR

Key: TypeAlias = str | int | Star
"""What stands between the brackets of an index."""


@dataclass(frozen=True, slots=True)
class And:
    """All of `items`. `implicit`: `~` filters side by side; `doubtful`: one of these holds an `|` without brackets."""

    items: tuple[Node, ...]
    start: int
    end: int
    implicit: bool = False
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of `items`. `group`: it stands in brackets."""

    items: tuple[Node, ...]
    start: int
    end: int
    group: bool = False


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of `item`."""

    item: Node
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Field:
    """A value of the flow: a dotted name and the indexes after it."""

    name: str
    keys: tuple[Key, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function of values, such as `lower(path)`."""

    name: str
    args: tuple[Operand, ...]
    keys: tuple[Key, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Text:
    """A quoted text, its escapes undone; or the bare regex of a `~` filter.

    `places` has the offset of every character of `value` where escapes were undone; without them it is empty, and the
    characters follow each other from `inside`.
    """

    value: str
    start: int
    end: int
    inside: int = 0
    places: tuple[int, ...] = ()

    def place(self, index: int) -> int:
        """The offset in the filter of the character `index` of `value`, or of its end."""
        if not self.places:
            return self.inside + index
        return self.places[index] if index < len(self.places) else self.end - 1


@dataclass(frozen=True, slots=True)
class Number:
    """A number with its unit, if any: `ms`, `KB`, …; `value` is as written, before the unit."""

    value: int | float
    unit: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address or network without quotes; whether it is a good one is not checked yet."""

    value: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Bool:
    """`true` or `false`."""

    value: bool
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Word:
    """A bare word on the right of an operator, such as `GET`."""

    value: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Range:
    """`low..high`, both included, in a set."""

    low: Number | Address
    high: Number | Address
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Named:
    """`$name`: a filter where a condition stands, a list or a text on the right of an operator."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Set:
    """`{a b c}`."""

    items: tuple[Item, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Compare:
    """`left op right`. `op` is as in the language, `not in` with one space; `op_start` is its offset."""

    left: Value
    op: str
    right: Operand
    start: int
    end: int
    op_start: int


@dataclass(frozen=True, slots=True)
class Truthy:
    """A value that stands alone where a condition is wanted."""

    value: Value
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Has:
    """`has(value)`: it is not missing."""

    value: Value
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Quantified:
    """`any(…)` or `all(…)`: of the values of the one multi-valued field inside."""

    kind: Literal["any", "all"]
    item: Node
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Tilde:
    """A `~name` filter and its argument: a regex, the text of a status, or None. `name` is without the `~`."""

    name: str
    argument: Text | None
    start: int
    end: int


Value: TypeAlias = Field | Call
Item: TypeAlias = Text | Number | Address | Bool | Word | Range | Named
Operand: TypeAlias = Text | Number | Address | Bool | Word | Named | Set | Field | Call
Node: TypeAlias = And | Or | Not | Compare | Truthy | Has | Quantified | Tilde | Named
