"""`Field`, its kinds of value and the operators that each kind understands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal, TypeAlias

from rulesproxy.filters.phases import ALL, NONE, Phase

if TYPE_CHECKING:
    from rulesproxy.filters.view import FlowView

Side: TypeAlias = Literal["connection", "request", "response", "message", "flow"]
"""Where a value comes from: what has to be forgotten when a message is edited. Values of `flow` are never kept, for
anybody may change them at any time."""

Reader: TypeAlias = "Callable[[FlowView], object]"


class Kind(Enum):
    """What a value is. The value is the word for it in messages."""

    BOOL = "true or false"
    INT = "a number"
    TEXT = "text"
    HOST = "a host name"
    PATH = "a path"
    METHOD = "a method"
    ENUM = "one of a few words"
    ADDRESS = "an IP address"
    SIZE = "a size"
    DURATION = "a duration"
    BYTES = "bytes"
    JSON = "a JSON value"


_EQUAL = frozenset({"==", "!=", "in", "not in"})
_ORDER = frozenset({"<", "<=", ">", ">="})
_REGEX = frozenset({"~", "!~", "~*", "!~*"})
_TEXT = _EQUAL | _REGEX | {"glob", "contains", "startswith", "endswith"}

OPERATORS: dict[Kind, frozenset[str]] = {
    Kind.BOOL: frozenset({"==", "!="}),
    Kind.INT: _EQUAL | _ORDER,
    Kind.TEXT: _TEXT,
    Kind.HOST: _TEXT | {"under"},
    Kind.PATH: _TEXT | {"under", "like"},
    Kind.METHOD: _TEXT,
    Kind.ENUM: _TEXT,
    Kind.ADDRESS: _EQUAL,
    Kind.SIZE: _EQUAL | _ORDER,
    Kind.DURATION: _EQUAL | _ORDER,
    Kind.BYTES: _TEXT,
    Kind.JSON: _TEXT | _ORDER,
}

TEXTUAL = frozenset({Kind.TEXT, Kind.HOST, Kind.PATH, Kind.METHOD, Kind.ENUM, Kind.BYTES})
"""Kinds whose values are `str`. Those of bytes have one character for each byte (ISO 8859-1)."""

NUMBERS = frozenset({Kind.INT, Kind.SIZE, Kind.DURATION})
"""Kinds whose values are numbers: sizes in bytes, durations in seconds."""


@dataclass(frozen=True, slots=True)
class Field:
    """Something that a filter can read. The sentence that documents it is the reader's docstring.

    Attributes:
        name: as written in a filter; names with `~` are for `~` filters only.
        kind: what its values are.
        phases: where it is readable.
        read: gives the value from a view; None where it is missing. With `keyed` a mapping from key to a tuple of
            values, from None to all of them; with `many` a tuple of values; for JSON a mapping from a path.
        side: where it comes from.
        keyed: it wants an index: `request.header["x"]`.
        names: its keys are header names, in any case.
        many: it has several values without an index.
        fold: its values have no upper-case letters.
        normal: makes a whole literal what its values are.
        words: what an enum can be.
        bounds: the smallest and the largest number that is possible.
        body: the body without which it cannot be read.
        holds: where a test of it can be true, as far as the moment alone tells.
        fails: where a test of it can be false.
        decided: a word, and the moments at which it is that word; at all others it is not.
        flexible: it reads whichever side is there.
        optional: it may be missing.
        original: it is readable as `orig.NAME` too.
    """

    name: str
    kind: Kind
    phases: Phase
    read: Reader
    side: Side
    keyed: bool = False
    names: bool = False
    many: bool = False
    fold: bool = False
    normal: Callable[[str], str] | None = None
    words: tuple[str, ...] = ()
    bounds: tuple[int, int] | None = None
    body: Phase = NONE
    holds: Phase = ALL
    fails: Phase = ALL
    decided: tuple[str, Phase] | None = None
    flexible: bool = False
    optional: bool = False
    original: bool = False

    @property
    def multi(self) -> bool:
        """Whether it can have several values."""
        return self.keyed or self.many

    @property
    def long(self) -> bool:
        """Whether its values can be as long as bodies and messages are."""
        return bool(self.body) or self.side == "message"

    @property
    def slot(self) -> str:
        """The attribute of a view that keeps its value."""
        return self.name.replace(".", "_").replace("~", "tilde_")
