"""Queries, cookies and forms: pairs in a message, read and written back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import TypeAlias
from urllib.parse import parse_qsl, urlencode

Pair: TypeAlias = tuple[str, str]
Pairs: TypeAlias = Iterable[Pair] | Mapping[str, str]

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]").fullmatch
_DISPOSITION = re.compile(rb"(?im)^content-disposition:[^;\r\n]*").search
_PARAMETER = re.compile(rb'[ \t]*;[ \t]*([^\s=;"]+)=(?:"([^"\r\n]*)"|([^;\r\n]*))').match


def to_pairs(pairs: Pairs) -> list[Pair]:
    """`pairs` as a list, from an iterable or a mapping."""
    return list(pairs.items() if isinstance(pairs, Mapping) else pairs)


class MultiDict(MutableMapping[str, str]):
    """Ordered pairs with repeated keys, over a part of a message: every edit is written back at once.

    `d[key]` is the first value of that key; assigning replaces all of them by one.
    """

    __slots__ = ("_pairs", "_store")

    def __init__(self, pairs: list[Pair], store: Callable[[list[Pair]], None]) -> None:
        self._pairs = pairs
        self._store = store

    def get_all(self, key: str) -> list[str]:
        """Every value of `key`, in order."""
        return [value for name, value in self._pairs if name == key]

    def set_all(self, key: str, values: Iterable[str]) -> None:
        """Replace every value of `key`: in the old places as far as they go, the rest at the end."""
        new = list(values)[::-1]
        pairs: list[Pair] = []
        for name, value in self._pairs:
            if name != key:
                pairs.append((name, value))
            elif new:
                pairs.append((name, new.pop()))
        pairs.extend((key, value) for value in reversed(new))
        self._write(pairs)

    def add(self, key: str, value: str) -> None:
        """Add a pair at the end."""
        self._write([*self._pairs, (key, value)])

    def items(self, multi: bool = False) -> Iterable[Pair]:  # type: ignore[override]
        """The first pair of every key, or with `multi` all pairs."""
        if multi:
            return list(self._pairs)
        return [(key, self[key]) for key in self]

    def keys(self, multi: bool = False) -> Iterable[str]:  # type: ignore[override]
        """Every key once, or with `multi` that of every pair."""
        return [name for name, _ in self.items(multi)]

    def values(self, multi: bool = False) -> Iterable[str]:  # type: ignore[override]
        """The first value of every key, or with `multi` that of every pair."""
        return [value for _, value in self.items(multi)]

    def __getitem__(self, key: str) -> str:
        for name, value in self._pairs:
            if name == key:
                return value
        raise KeyError(key)

    def __setitem__(self, key: str, value: str) -> None:
        self.set_all(key, [value])

    def __delitem__(self, key: str) -> None:
        pairs = [pair for pair in self._pairs if pair[0] != key]
        if len(pairs) == len(self._pairs):
            raise KeyError(key)
        self._write(pairs)

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._pairs))

    def __len__(self) -> int:
        return len(dict(self._pairs))

    def __repr__(self) -> str:
        return f"MultiDict({self._pairs!r})"

    def _write(self, pairs: list[Pair]) -> None:
        self._pairs = pairs
        self._store(pairs)


def parse_query(path: str) -> list[Pair]:
    """The decoded parameters of the query in `path`; `+` is a space."""
    _, found, query = path.partition("#")[0].partition("?")
    return parse_form(query) if found else []


def parse_form(text: str) -> list[Pair]:
    """The decoded pairs of an `application/x-www-form-urlencoded` text."""
    try:
        return parse_qsl(text, keep_blank_values=True, errors="surrogateescape")
    except ValueError:
        return []


def format_query(pairs: Iterable[Pair]) -> str:
    """Pairs as `application/x-www-form-urlencoded` text."""
    return urlencode(list(pairs), errors="surrogateescape")


def parse_cookies(headers: Iterable[str]) -> list[Pair]:
    """The cookies of Cookie header values, in order."""
    pairs = []
    for header in headers:
        for part in header.split(";"):
            name, found, value = part.strip().partition("=")
            if found and name:
                pairs.append((name, value))
    return pairs


def header_parameter(value: str, name: str) -> str:
    """A parameter of a header value such as `text/html; charset=utf-8`, unquoted; empty if it is not there."""
    for part in value.split(";")[1:]:
        key, _, text = part.partition("=")
        if key.strip().lower() == name:
            return text.strip().strip('"')
    return ""


def host_of_authority(authority: str) -> str:
    """The host of `host[:port]` without brackets; whatever it is, nothing is checked."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]


def multipart_boundary(content_type: str) -> str:
    """The boundary of a `multipart/form-data` Content-Type; empty for any other (RFC 2046 section 5.1.1)."""
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        return ""
    boundary = header_parameter(content_type, "boundary")
    return boundary if _BOUNDARY(boundary) else ""


def parse_multipart(content: bytes, boundary: str) -> list[tuple[bytes, bytes]]:
    """The named parts of a multipart body as (name, content) (RFC 7578)."""
    # A delimiter begins a line, and the line break before it belongs to it (RFC 2046 section 5.1.1).
    delimiter = re.compile(rb"\r\n--" + re.escape(boundary.encode()) + rb"(--|[ \t]*(?=\r\n))")
    parts = []
    content = b"\r\n" + content
    at = delimiter.search(content)
    while at is not None and at.group(1) != b"--":
        following = delimiter.search(content, at.end())
        part = content[at.end() + 2 : following.start() if following else len(content)]
        head, found, body = part.partition(b"\r\n\r\n")
        name = _part_name(head)
        if found and name is not None:
            parts.append((name, body))
        at = following
    return parts


def _part_name(head: bytes) -> bytes | None:
    """The `name` of a part's Content-Disposition; quoted values are skipped whole, whatever stands in them."""
    disposition = _DISPOSITION(head)
    parameter = _PARAMETER(head, disposition.end()) if disposition else None
    while parameter is not None:
        key, quoted, plain = parameter.groups()
        if key.lower() == b"name":
            return quoted if quoted is not None else plain.strip()
        parameter = _PARAMETER(head, parameter.end())
    return None
