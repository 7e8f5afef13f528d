"""Templates: text with `${…}` in it, read once and filled per flow, in a way that no value can break out of its place.

It knows how templates are written. What the names in them mean is in `templates/names.py`, what stands behind a `|` in
`templates/filters.py`, and how values are escaped for a URL, a path or a cookie is known by whoever puts them there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, TypeAlias

from rulesproxy.diagnostics import Span, suggest
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.templates import filters as filters
from rulesproxy.rules.templates.filters import Captures as Captures
from rulesproxy.rules.templates.filters import Read
from rulesproxy.rules.templates.filters import TemplateError as TemplateError
from rulesproxy.rules.templates.names import NOW, Meaning, hint, meaning

if TYPE_CHECKING:
    from rulesproxy.rules.files.nodes import Node, Scalar
    from rulesproxy.rules.schema import Reader

Escape: TypeAlias = Callable[[str, bool], str]
"""Makes a value safe for its place; the flag says that the value was captured from a path."""

NO_CAPTURES: Captures = {}


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
    def json_schema(cls) -> dict[str, object]:
        return {"type": ["string", "number", "boolean"]}

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Template:
        """The template in a scalar."""
        scalar = reader.raw(node, name, "text")
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
    name, *pipes = [piece.strip() for piece in _pipes(inner)]
    names = reader.names
    if name in names.conditional:
        title = f"`${{{name}}}` is not set whenever this filter is true"
        reader.note("RP604", scalar.part(start, end), title, "take its group out of `or` and `not`, or write two rules")
        return None
    meant = meaning(name, names)
    if meant is None and name.startswith("env:") and any(filters.is_default(pipe) for pipe in pipes):
        meant = Meaning(lambda flow, captures: None, fixed=True)
    if meant is None:
        reader.note("RP605", scalar.part(start, end), f"unknown name `${{{name}}}`", hint(name, names))
        return None
    if meant.empty and not any(filters.is_default(pipe) for pipe in pipes):
        note_empty(name, scalar.part(start, end), reader)
    if meant.hides:
        reader.note(
            "RP805", scalar.part(start, end), f"`${{{name}}}` is what the filter captures, not the field `{name}`",
            "give the capture another name, unless that is meant", severity="warning",
        )  # fmt: skip
    read = _filtered(name, pipes, meant.read, scalar, start, end, reader)
    if read is None:
        return None
    typed = bool(pipes) and pipes[-1] in filters.TYPED
    if meant.fixed:
        text = _fixed(read, scalar, start, end, reader)
        _keep_secret(name, _constant(meant.read), text or "", reader)
        if text is None or not typed:
            return text
    return Place(name, read, meant.from_path and not {"url", "json", "html", "base64"} & set(pipes), typed)


def note_empty(name: str, span: Span, reader: Reader) -> None:
    """Warn of a variable of the environment that is set and empty, as a forgotten secret is in many CI systems."""
    title = f"the environment variable {name[4:]} is empty"
    help = f"set it; or write `${{{name} | default('…')}}`, with nothing in the quotes if it may be empty"
    reader.note("RP812", span, title, help, severity="warning")


def _filtered(
    name: str, pipes: list[str], read: Read, scalar: Scalar, start: int, end: int, reader: Reader
) -> Read | None:
    """A value behind its filters; None after a diagnostic."""
    for pipe in pipes:
        applied = filters.applied(pipe, read)
        if applied is None:
            near = suggest(pipe.partition("(")[0], filters.NAMES)
            known = ", ".join(sorted(filters.FILTERS))
            help = f"did you mean `{near}`?" if near else f"the filters are default('…'), {known}"
            reader.note("RP615", scalar.part(start, end), f"unknown template filter `{pipe}`", help)
            return None
        if pipe in filters.OF_TIME and (name != NOW or pipe != pipes[0]):
            title = f"`{pipe}` is a form of the time, which `{name}` is not"
            reader.note("RP615", scalar.part(start, end), title, f"write `${{now | {pipe}}}`")
            return None
        read = applied
    return read


def _fixed(read: Read, scalar: Scalar, start: int, end: int, reader: Reader) -> str | None:
    """The text of a value that is known already; None after a diagnostic."""
    try:
        return _constant(read)
    except TemplateError as error:
        reader.note("RP615", scalar.part(start, end), f"this template can never be filled: {error}")
        return None


def _constant(read: Read) -> str:
    return read(None, NO_CAPTURES) or ""  # type: ignore[arg-type]


def _keep_secret(name: str, value: str, text: str, reader: Reader) -> None:
    """A value of the environment is a secret, and so is what filters make of it, such as its Base64."""
    if name.startswith("env:"):
        reader.keep_secret(value)
    if any(secret in value for secret in reader.secrets):
        reader.keep_secret(text)


def _pipes(inner: str) -> list[str]:
    return re.split(r"""\|(?=(?:[^"']|"[^"]*"|'[^']*')*$)""", inner)
