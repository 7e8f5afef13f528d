"""The typed tree that `check` makes: the one form that compiler, interpreter and index read.

Only positive tests exist; a negated operator is a `Not` around one. Places are offsets into the text of the filter, for
explanations; what came from a named filter has the place of its `$name`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Literal, TypeAlias

from rulesproxy.filters.fields.base import Field, Kind
from rulesproxy.filters.fields.document import Path
from rulesproxy.filters.normal import IPAddress
from rulesproxy.filters.regex import Regex

Network: TypeAlias = IPv4Network | IPv6Network
Scalar: TypeAlias = str | int | float | IPAddress


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the language, or with an empty name a change of kind that nobody writes.

    Attributes:
        name: as written in a filter.
        takes: the kinds that it is for.
        gives: the kind of its result.
        call: the function; None where there is no result. With `many` it gives a tuple of results.
        partial: there may be no result.
        many: there may be several.
    """

    name: str
    takes: frozenset[Kind]
    gives: Kind
    call: Callable[[Any], Any]
    partial: bool = False
    many: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """Where the values of a test come from.

    Attributes:
        field: the field.
        original: read it from the request as received.
        key: which values of a keyed field; None for all of them. For JSON a path.
        index: only the value at this position of those, counted from 0.
        functions: applied to each value, the first one first.
        element: this is the value that an enclosing `Each` has bound.
    """

    field: Field
    original: bool = False
    key: str | bytes | Path | None = None
    index: int | None = None
    functions: tuple[Function, ...] = ()
    element: bool = False

    @property
    def multi(self) -> bool:
        """Whether it can give several values."""
        if any(function.many for function in self.functions):
            return True
        return self.field.multi and self.index is None and not self.element

    @property
    def optional(self) -> bool:
        """Whether its one value may be missing."""
        partial = any(function.partial for function in self.functions)
        return (not self.element and (self.field.optional or self.index is not None)) or partial

    @property
    def base(self) -> Read:
        """The read of what a quantifier goes through: without the functions that are for each single value."""
        last = max((at for at, function in enumerate(self.functions, 1) if function.many), default=0)
        return replace(self, functions=self.functions[:last])

    @property
    def kind(self) -> Kind:
        """The kind of its values."""
        return self.functions[-1].gives if self.functions else self.field.kind


@dataclass(frozen=True, slots=True)
class Members:
    """The operand of `in`: single values, ranges with both ends, networks."""

    values: frozenset[Scalar]
    ranges: tuple[tuple[Scalar, Scalar], ...] = ()
    networks: tuple[Network, ...] = ()


Op: TypeAlias = Literal[
    "true", "has", "==", "<", "<=", ">", ">=", "in", "~", "like", "glob", "contains", "startswith", "endswith", "under"
]


@dataclass(frozen=True, slots=True)
class Test:
    """Some value of `read` passes `op`.

    Operands: none for `true` and `has`; a scalar for `==` and the orders; `Members` for `in`; `Regex` for `~` and
    `like`; the pieces between the stars for `glob`; a tuple of texts, one of which is enough, for the others.
    """

    read: Read
    op: Op
    operand: Scalar | Members | Regex | tuple[str, ...] | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Const:
    """Always true, or never."""

    value: bool
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class And:
    """All of `items`."""

    items: tuple[Node, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of `items`."""

    items: tuple[Node, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of `item`."""

    item: Node
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Each:
    """`any` or `all` values of `read`, of which there is at least one, pass `item`, whose `element` reads mean them."""

    kind: Literal["any", "all"]
    read: Read
    item: Node
    start: int
    end: int


Node: TypeAlias = Test | Const | And | Or | Not | Each
