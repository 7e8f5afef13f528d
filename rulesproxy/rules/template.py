"""Templates: text with `${…}` in it, read once and filled per flow, in a way that no value can break out of its place.

It knows the names that a template may use and how values are escaped for a URL, a path or a header. It does not know
where the text is put.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote

from rulesproxy.diagnostics import suggest
from rulesproxy.filters.fields import public_names
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules import template_fields
from rulesproxy.rules.schema import Names
from rulesproxy.rules.template_fields import Shown

if TYPE_CHECKING:
    from rulesproxy.rules.nodes import Node, Scalar
    from rulesproxy.rules.schema import Reader

Captures: TypeAlias = Mapping[str, str]
Read: TypeAlias = Callable[[HTTPFlow, Captures], str | None]
Escape: TypeAlias = Callable[[str, bool], str]
"""Makes a value safe for its place; the flag says that the value was captured from a path."""

NO_CAPTURES: Captures = {}

_INDEXED = re.compile(r"""(query|request\.header|request\.cookie|response\.header)\[\s*(["'])(.*?)\2\s*\]""")
_DEFAULT = re.compile(r"""default\(\s*(["'])(.*)\1\s*\)""")
_PLAIN: dict[str, Callable[[HTTPFlow], str | None]] = {
    "method": lambda flow: flow.request.method,
    "scheme": lambda flow: flow.request.scheme,
    "host": lambda flow: flow.request.host,
    "port": lambda flow: str(flow.request.port),
    "path": lambda flow: flow.request.path.partition("?")[0],
    "url": lambda flow: flow.request.url,
    "http.version": lambda flow: flow.request.http_version,
    "client.ip": lambda flow: flow.client_conn.address[0],
    "orig.method": lambda flow: flow.orig.method,
    "orig.host": lambda flow: flow.orig.host,
    "orig.path": lambda flow: flow.orig.path.partition("?")[0],
    "orig.url": lambda flow: flow.orig.url,
    "request.text": lambda flow: flow.request.text,
    "response.status": lambda flow: None if flow.response is None else str(flow.response.status_code),
    "response.text": lambda flow: None if flow.response is None else flow.response.text,
}
COUNTER = "counter"
"""The name of the number of flows on which a rule has acted."""

_FROM_PATH = frozenset({"path", "path.raw", "orig.path"})
_FILTERS: dict[str, Callable[[str], str]] = {
    "json": lambda value: value.json if isinstance(value, Shown) else json.dumps(value, ensure_ascii=False),
    "url": lambda value: quote(value, safe="", errors="surrogateescape"),
    "lower": str.lower,
}


class TemplateError(ValueError):
    """A template could not be filled: a value would break out of its place."""


@dataclass(frozen=True, slots=True)
class Place:
    """One `${…}`.

    Attributes:
        text: the name in it.
        read: how its value is read.
        from_path: whether that value is a piece of a path.
        typed: whether its value is JSON already: its last filter is `int` or `json`.
    """

    text: str
    read: Read
    from_path: bool
    typed: bool = False


@dataclass(frozen=True, slots=True)
class Template:
    """Text with places.

    Attributes:
        text: as it is written.
        parts: literal text and places, in order.
        constant: the text where there is no place in it, else None.
    """

    text: str
    parts: tuple[str | Place, ...]
    constant: str | None

    @property
    def names(self) -> frozenset[str]:
        """The names in its places."""
        return frozenset(part.text for part in self.parts if isinstance(part, Place))

    @classmethod
    def of(cls, text: str) -> Template:
        """A template without places."""
        return cls(text, (text,), text)

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Template:
        """The template in a scalar."""
        scalar = reader.scalar(node, name, "text")
        if "${" not in scalar.text:
            return cls.of(scalar.text)
        return parse(scalar, reader)

    def fill(self, flow: HTTPFlow, captures: Captures, escape: Escape | None = None) -> str:
        """The text for one flow; a missing value is empty.

        Raises:
            TemplateError: from `escape`.
        """
        if self.constant is not None:
            return self.constant
        out = []
        for part in self.parts:
            if isinstance(part, str):
                out.append(part)
            else:
                value = part.read(flow, captures) or ""
                out.append(escape(value, part.from_path) if escape is not None else value)
        return "".join(out)


def names_in(value: object) -> frozenset[str]:
    """The names in the places of every template in a record, however deep it is."""
    if isinstance(value, Template):
        return frozenset() if value.constant is not None else value.names
    found: frozenset[str] = frozenset()
    if isinstance(value, tuple):
        for item in value:
            found |= names_in(item)
    else:
        kind = type(value)
        if kind not in _MEMBERS:
            _MEMBERS[kind] = tuple([field.name for field in fields(kind)]) if is_dataclass(kind) else ()
        for name in _MEMBERS[kind]:
            found |= names_in(getattr(value, name))
    return found


_MEMBERS: dict[type, tuple[str, ...]] = {}
"""The fields of the records that were met, none for other types: asking for them takes longer than all the rest."""


def parse(scalar: Scalar, reader: Reader) -> Template:
    """The template in a scalar's text; what is wrong goes to the reader."""
    from rulesproxy.rules.schema import Bad

    parts: list[str | Place] = []
    literal: list[str] = []
    failed = False
    for start, end, text in _split(scalar.text):
        if text is None:
            inner = scalar.text[start + 2 : end - 1]
            if not scalar.text[start:end].endswith("}"):
                reader.note(
                    "RP615",
                    scalar.part(start, start + 2),
                    "this `${` is never closed",
                    "close it with `}`, or write `$${` for the text",
                )
                failed = True
                continue
            place = _place(inner, scalar, start, end, reader)
            if place is None:
                failed = True
            elif isinstance(place, str):
                literal.append(place)
            else:
                if literal:
                    parts.append("".join(literal))
                    literal = []
                parts.append(place)
        else:
            literal.append(text)
    if failed:
        raise Bad
    if literal:
        parts.append("".join(literal))
    constant = (
        "".join(part for part in parts if isinstance(part, str)) if all(isinstance(p, str) for p in parts) else None
    )
    return Template(scalar.text, tuple(parts), constant)


def _split(text: str) -> list[tuple[int, int, str | None]]:
    """The pieces of a template as (start, end, literal text or None for a place)."""
    pieces: list[tuple[int, int, str | None]] = []
    at = 0
    while at < len(text):
        found = text.find("${", at)
        if found < 0:
            pieces.append((at, len(text), text[at:]))
            break
        if found and text[found - 1] == "$":
            pieces.append((at, found + 2, text[at : found - 1] + "${"))
            at = found + 2
            continue
        if found > at:
            pieces.append((at, found, text[at:found]))
        end = _closing(text, found + 2)
        pieces.append((found, end, None))
        at = end
    return pieces


def _closing(text: str, at: int) -> int:
    """The offset behind the `}` that closes a place; quotes inside it may hold one."""
    quote_char = ""
    for i in range(at, len(text)):
        char = text[i]
        if quote_char:
            quote_char = "" if char == quote_char else quote_char
        elif char in "\"'":
            quote_char = char
        elif char == "}":
            return i + 1
    return len(text)


def _place(inner: str, scalar: Scalar, start: int, end: int, reader: Reader) -> Place | str | None:
    """A place, the literal text of one that is known at load, or None after a diagnostic."""
    name, *filters = [piece.strip() for piece in _pipes(inner)]
    names = reader.names
    if name in names.conditional:
        title = f"`${{{name}}}` is not set whenever this filter is true"
        reader.note("RP604", scalar.part(start, end), title, "take its group out of `or` and `not`, or write two rules")
        return None
    known = _value(name, names)
    if isinstance(known, str):
        hint = known
        reader.note("RP605", scalar.part(start, end), f"unknown name `${{{name}}}`", hint)
        return None
    read, fixed, from_path = known
    for text in filters:
        applied = _filter(text, read)
        if applied is None:
            meant = suggest(text.partition("(")[0], [*_FILTERS, "int", "default"])
            help = f"did you mean `{meant}`?" if meant else "the filters are default('…'), int, json, lower, url"
            reader.note("RP615", scalar.part(start, end), f"unknown template filter `{text}`", help)
            return None
        read = applied
        from_path = from_path and text not in ("url", "json")
    if fixed and not filters:
        return _constant(read)
    return Place(name, read, from_path, filters[-1:] in (["int"], ["json"]))


def _pipes(inner: str) -> list[str]:
    return re.split(r"""\|(?=(?:[^"']|"[^"]*"|'[^']*')*$)""", inner)


def _constant(read: Read) -> str:
    return read(None, NO_CAPTURES) or ""  # type: ignore[arg-type]


def _value(name: str, names: Names) -> tuple[Read, bool, bool] | str:
    """How a name is read, whether its value is known at load, and whether it is a piece of a path; or a hint."""
    if names.captures is None or name in names.captures:
        field = (names.captures or {}).get(name, "")
        if names.captures is not None or re.fullmatch(r"[A-Za-z_]\w*", name):
            return _capture(name), False, field in _FROM_PATH
    if name.startswith("env:"):
        value = names.env.get(name[4:])
        if value is None:
            return f"set the environment variable {name[4:]} before this file is loaded"
        return _literal(value), True, False
    if name.startswith("vars."):
        found = names.vars.get(name[5:])
        if found is None:
            meant = suggest(name[5:], names.vars)
            return f"did you mean `${{vars.{meant}}}`?" if meant else "define it under `vars:`"
        return _literal(found), True, False
    if name == COUNTER:
        return _capture(f"${COUNTER}"), False, False
    if name in _PLAIN:
        reader = _PLAIN[name]
        return (lambda flow, captures: reader(flow)), False, name in _FROM_PATH
    indexed = _INDEXED.fullmatch(name)
    if indexed is not None:
        return _indexed(indexed.group(1), indexed.group(3)), False, False
    read = template_fields.reader(name)
    if read is not None:
        return (lambda flow, captures: read(flow)), False, False
    candidates = [*(names.captures or ()), *(f"vars.{key}" for key in names.vars), *_PLAIN, *public_names(), COUNTER]
    if name in names.vars:
        return f"write `${{vars.{name}}}`"
    meant = suggest(name, candidates)
    if meant:
        return f"did you mean `${{{meant}}}`?"
    captured = ", ".join(names.captures or ())
    return (
        f"this filter captures {captured}"
        if captured
        else "this filter captures nothing: name a group, as in `(?P<rest>.*)`"
    )


def _capture(name: str) -> Read:
    return lambda flow, captures: captures.get(name)


def _literal(value: str) -> Read:
    return lambda flow, captures: value


def _indexed(kind: str, key: str) -> Read:
    def read(flow: HTTPFlow, captures: Captures) -> str | None:
        if kind == "query":
            return flow.request.query.get(key)
        if kind == "request.cookie":
            return flow.request.cookies.get(key)
        message = flow.request if kind == "request.header" else flow.response
        values = message.headers.get_all(key) if message is not None else ()
        return values[0] if values else None

    return read


def _filter(text: str, read: Read) -> Read | None:
    if text in _FILTERS:
        apply = _FILTERS[text]
        return lambda flow, captures: None if (value := read(flow, captures)) is None else apply(value)
    if text == "int":
        return lambda flow, captures: _number(read(flow, captures))
    default = _DEFAULT.fullmatch(text)
    if default is not None:
        instead = default.group(2)
        return lambda flow, captures: read(flow, captures) or instead
    return None


def _number(value: str | None) -> str | None:
    if value is None:
        return None
    if len(value) > 20:
        raise TemplateError(f"{value[:20]!r}… is no number")
    try:
        return str(int(value))
    except ValueError:
        raise TemplateError(f"{value!r} is no number") from None
