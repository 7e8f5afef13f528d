"""`Headers`: an ordered, case-insensitive multi-mapping that keeps the order, the spelling and the duplicates.

It knows field syntax (RFC 9110 section 5) and nothing of what a field means.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import TypeAlias

Field: TypeAlias = tuple[bytes, bytes, bytes]
"""A header field: lower-case name, name as spelled, value."""

Text: TypeAlias = str | bytes
Fields: TypeAlias = Iterable[tuple[Text, Text]] | Mapping[str, str]

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_FORBIDDEN = re.compile(rb"[\x00\r\n]").search
_KEYS: dict[Text, bytes] = {}
_KEYS_MAX = 2048


def to_bytes(text: Text) -> bytes:
    """`text` as it goes over the wire. `str` is UTF-8; what was read undecodable comes back unchanged."""
    if isinstance(text, bytes):
        return text
    if isinstance(text, str):
        return text.encode("utf-8", "surrogateescape")
    raise TypeError(f"text or bytes are wanted here, got {type(text).__name__}: {text!r}")


def to_str(data: bytes) -> str:
    """The reverse of `to_bytes`, for any bytes."""
    return data.decode("utf-8", "surrogateescape")


def is_token(name: bytes) -> bool:
    """Whether `name` is a token (RFC 9110 section 5.6.2), as a field name or a method must be."""
    return _TOKEN(name) is not None


def check_field(name: Text, value: Text) -> Field:
    """A field that may go over the wire.

    Raises:
        ValueError: `name` is not a token, or `value` holds CR, LF or NUL (RFC 9110 section 5.5).
    """
    raw, content = to_bytes(name), to_bytes(value).strip(b" \t")
    if _TOKEN(raw) is None:
        raise ValueError(f"{to_str(raw)!r} is not a header name: letters, digits and !#$%&'*+-.^_`|~ are allowed")
    if _FORBIDDEN(content) is not None:
        raise ValueError(f"the value of header {to_str(raw)!r} holds a line break or a NUL")
    return _key(name), raw, content


def _key(name: Text) -> bytes:
    key = _KEYS.get(name)
    if key is None:
        key = to_bytes(name).lower()
        # Names come from code and rules, a few hundred at most; the bound is there for scripts that make names up.
        if len(_KEYS) < _KEYS_MAX:
            _KEYS[name] = key
    return key


class Headers(MutableMapping[str, str]):
    """Header fields, in order.

    `h[name]` joins the values of that name with `", "` (RFC 9110 section 5.3); `get_all` keeps them apart. Assigning
    replaces all of them by one, in the place and in the spelling of the first. Every edit makes a new list, so that a
    `copy()` costs nothing and never changes with the original.
    """

    __slots__ = ("raw",)

    raw: list[Field]
    """The fields as triples. Replaced as a whole by every edit, never changed in place."""

    def __init__(self, fields: Fields = (), **named: str) -> None:
        """Take `fields` in order, pairs or a mapping, then `named`, whose underscores stand for hyphens.

        Raises:
            ValueError: a name or a value could not go over the wire.
            TypeError: a name or a value is neither text nor bytes.
        """
        self.fields = fields
        for name, value in named.items():
            self[name.replace("_", "-")] = value

    @classmethod
    def of(cls, raw: list[Field]) -> Headers:
        """Wrap fields that have been checked already. The list must not be changed afterwards."""
        headers = cls.__new__(cls)
        headers.raw = raw
        return headers

    @property
    def fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """All fields as (name, value), in order and as spelled."""
        return tuple((name, value) for _, name, value in self.raw)

    @fields.setter
    def fields(self, fields: Fields) -> None:
        if isinstance(fields, Headers):
            self.raw = fields.raw
            return
        pairs = fields.items() if isinstance(fields, Mapping) else fields
        self.raw = [check_field(name, value) for name, value in pairs]

    # Reading

    def first(self, key: bytes) -> bytes | None:
        """The first value of the field whose lower-case name is `key`; the fastest way to look."""
        for lower, _, value in self.raw:
            if lower == key:
                return value
        return None

    def get_all(self, name: Text) -> list[str]:
        """Every value of `name`, in order."""
        key = _key(name)
        return [to_str(value) for lower, _, value in self.raw if lower == key]

    def __getitem__(self, name: Text) -> str:
        values = self.get_all(name)
        if not values:
            raise KeyError(name)
        return values[0] if len(values) == 1 else ", ".join(values)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, (str, bytes)) and self.first(_key(name)) is not None

    def __iter__(self) -> Iterator[str]:
        seen = set()
        for lower, name, _ in self.raw:
            if lower not in seen:
                seen.add(lower)
                yield to_str(name)

    def __len__(self) -> int:
        return len({lower for lower, _, _ in self.raw})

    def items(self, multi: bool = False) -> Iterable[tuple[str, str]]:  # type: ignore[override]
        """(name, value) pairs: joined by name, or with `multi` every field on its own."""
        if multi:
            return [(to_str(name), to_str(value)) for _, name, value in self.raw]
        return [(name, self[name]) for name in self]

    def keys(self, multi: bool = False) -> Iterable[str]:  # type: ignore[override]
        """The names as first spelled, or with `multi` that of every field."""
        return [name for name, _ in self.items(multi)]

    def values(self, multi: bool = False) -> Iterable[str]:  # type: ignore[override]
        """The values joined by name, or with `multi` that of every field."""
        return [value for _, value in self.items(multi)]

    # Editing

    def set_all(self, name: Text, values: Iterable[Text]) -> None:
        """Replace every value of `name` by `values`: in the old places as far as they go, the rest at the end."""
        key = _key(name)
        new = [check_field(name, value) for value in values]
        new.reverse()
        raw = []
        for field in self.raw:
            if field[0] != key:
                raw.append(field)
            elif new:
                raw.append((key, field[1], new.pop()[2]))
        raw.extend(reversed(new))
        self.raw = raw

    def __setitem__(self, name: Text, value: Text) -> None:
        self.set_all(name, [value])

    def __delitem__(self, name: Text) -> None:
        key = _key(name)
        raw = [field for field in self.raw if field[0] != key]
        if len(raw) == len(self.raw):
            raise KeyError(name)
        self.raw = raw

    def add(self, name: Text, value: Text) -> None:
        """Add a field at the end, beside those of the same name."""
        self.raw = [*self.raw, check_field(name, value)]

    def insert(self, index: int, name: Text, value: Text) -> None:
        """Add a field at a position, counted like a list's."""
        raw = list(self.raw)
        raw.insert(index, check_field(name, value))
        self.raw = raw

    def clear(self) -> None:
        """Remove every field."""
        self.raw = []

    def copy(self) -> Headers:
        """A copy that shares nothing that can change."""
        return Headers.of(self.raw)

    # The whole

    def __bytes__(self) -> bytes:
        return b"".join([b"%b: %b\r\n" % (name, value) for _, name, value in self.raw])

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Headers):
            return self.raw == other.raw
        if isinstance(other, Mapping):
            return dict(self.items()) == dict(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Headers({list(self.items(multi=True))!r})"
