"""The values in a test of rules, each with its place: names of rules, a status, header fields, a body, JSON.

What is written is read here, and compared with what came here as well: a comparison says what is different and where in
the file the expectation stands.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

from rulesproxy.diagnostics import Span
from rulesproxy.flow.headers import check_field, is_token
from rulesproxy.flow.http import HTTPMessage, HTTPRequest
from rulesproxy.flow.plan import End
from rulesproxy.rules.edits.json_value import core_scalar
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.nodes import Node
from rulesproxy.rules.reading.fragments import TEXT, integer
from rulesproxy.rules.schema import Range, Reader

_SHOWN = 60
"""Characters of a value in one line."""
NOTED = 1000
"""Characters of a value in a note of its own."""


class Difference(NamedTuple):
    """Something that is not as expected: where the expectation stands, what there is instead, and more about it."""

    span: Span
    title: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NameList:
    """Names, in order, each with its place; `none` for no name."""

    names: tuple[tuple[str, Span], ...]
    span: Span

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> NameList:
        if isinstance(node, nodes.Scalar) and node.text == "none":
            return cls((), node.span)
        return cls(tuple([(reader.text(item, name), item.span) for item in reader.items(node)]), node.span)

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        names = {"type": "array", "items": {"type": "string"}}
        return {"anyOf": [names, {"type": "string"}], "description": "Names; `none` for none."}


@dataclass(frozen=True, slots=True)
class Status:
    """A status; 101 is that of a WebSocket that begins."""

    value: int
    span: Span

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Status:
        begins = isinstance(node, nodes.Scalar) and node.text == "101"
        return cls(101 if begins else reader.integer(node, name, Range(200, 599)), node.span)

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        return {"anyOf": [{"enum": [101, "101"]}, integer(200, 599)]}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection ends without an answer."""

    how: End
    span: Span

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Ending:
        return cls(reader.choice(node, name, ("close", "reset", "timeout")), node.span)

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        return {"enum": ["close", "reset", "timeout"]}


@dataclass(frozen=True, slots=True)
class BodyText:
    """A body as text."""

    text: str
    span: Span

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> BodyText:
        if isinstance(node, nodes.Scalar) and node.empty:
            reader.fail("RP103", node, f"`{name}` wants text, got nothing", 'for an empty text write ""')
        return cls(reader.text(node, name), node.span)

    def compare(self, message: HTTPMessage | None, body: bytes) -> Iterator[Difference]:
        """What is different about a body."""
        text = body.decode("utf-8", "replace") if message is None else message.decode_text(body)
        if text == self.text:
            return
        if len(text) <= _SHOWN and text.isprintable():
            yield Difference(self.span, f"the body is `{text}`" if text else "there is no body")
        else:
            notes = (f"expected: {cut(self.text, NOTED)}", f"     got: {cut(text, NOTED)}")
            yield Difference(self.span, "the body is another one", notes)

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        return {**TEXT, "description": "The body as text."}


@dataclass(frozen=True, slots=True)
class Pairs:
    """Names with values: header fields, of which one may have several, or variables."""

    pairs: tuple[tuple[str, str], ...]
    keys: tuple[nodes.Scalar, ...]

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Pairs:
        mapping = reader.mapping(node, name, f"`{name}: {{name: value}}`")
        found = []
        for key, child in mapping.entries:
            for item in reader.items(child):
                value = reader.text(item, key.text)
                if name == "headers":
                    _check_header(key, item, value, reader)
                found.append((key.text, value))
        return cls(tuple(found), tuple([key for key, _ in mapping.entries]))

    def fields(self) -> tuple[tuple[str, str], ...]:
        """The pairs, in order."""
        return self.pairs

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        values = {"anyOf": [TEXT, {"type": "array", "items": TEXT}]}
        return {"type": "object", "additionalProperties": values, "description": "Names with values."}


class _Wanted(NamedTuple):
    name: str
    values: tuple[str, ...] | None
    span: Span


@dataclass(frozen=True, slots=True)
class HeaderNames:
    """Header fields that are expected: text, a list of texts, or `null` for one that must not be there."""

    fields: tuple[_Wanted, ...]
    span: Span

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> HeaderNames:
        mapping = reader.mapping(node, name, f"`{name}: {{name: value}}`")
        found = []
        for key, child in mapping.entries:
            if isinstance(child, nodes.Scalar) and child.null:
                found.append(_Wanted(key.text, None, key.span))
                continue
            values = []
            for item in reader.items(child):
                values.append(reader.text(item, key.text))
                _check_header(key, item, values[-1], reader)
            found.append(_Wanted(key.text, tuple(values), child.span))
        return cls(tuple(found), node.span)

    def compare(self, message: HTTPMessage) -> Iterator[Difference]:
        """What is different about the header of a message."""
        for name, wanted, span in self.fields:
            values = message.headers.get_all(name)
            shown = " | ".join([f"`{cut(value)}`" for value in values])
            if wanted is None and values:
                yield Difference(span, f"header `{name}` is there: {shown}")
            elif wanted is not None and not values:
                yield Difference(span, f"header `{name}` is not there")
            elif wanted is not None and tuple(values) != wanted and ", ".join(values) != ", ".join(wanted):
                yield Difference(span, f"header `{name}` is {shown}")

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        values = {"anyOf": [TEXT, {"type": "array", "items": TEXT}, {"type": "null"}]}
        about = "Header fields by name; `null` for one that must not be there."
        return {"type": "object", "additionalProperties": values, "description": about}


@dataclass(frozen=True, slots=True)
class JSONSubset:
    """JSON, written in YAML. Compared with a body, every member that it names has to be there, and may have company."""

    node: Node
    span: Span

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> JSONSubset:
        return cls(node, node.span)

    def encoded(self) -> bytes:
        """It as the body of a message."""
        return json.dumps(_plain(self.node), ensure_ascii=False).encode("utf-8", "surrogateescape")

    def compare(self, body: bytes, what: str = "body") -> Iterator[Difference]:
        """What is different about a body, or a message."""
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            text = cut(body.decode("utf-8", "replace"))
            yield Difference(self.span, f"the {what} is not JSON: `{text}`" if text else f"there is no {what}")
            return
        yield from _compare(self.node, document, "$")

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        return {"description": "A JSON value. Members of an object that are not named may be there too."}


@dataclass(frozen=True, slots=True)
class Upstream:
    """What the server gets.

    Attributes:
        method: the method.
        url: the absolute URL.
        headers: header fields by name; `null` for one that must not be there.
        body: the body as text.
        json: what the body holds, as JSON.
    """

    synonyms: ClassVar = {"header": "headers", "uri": "url", "text": "body"}

    method: str | None = None
    url: str | None = None
    headers: HeaderNames | None = None
    body: BodyText | None = None
    json: JSONSubset | None = None
    _none: bool = False
    _node: Node | None = None

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Upstream:
        if isinstance(node, nodes.Scalar):
            if node.text == "none":
                return cls(_none=True, _node=node)
            reader.fail(
                "RP103", node, f"`{name}` is `none`, or what the server gets",
                "write `upstream: none`, or keys such as `url` and `headers` below it",
            )  # fmt: skip
        return replace(reader.record(cls, reader.mapping(node, name), name), _node=node)

    @property
    def span(self) -> Span:
        """Where it stands."""
        assert self._node is not None
        return self._node.span

    def compare(self, request: HTTPRequest | None) -> Iterator[Difference]:
        """What is different about the request that the server gets; None where it gets none."""
        if self._none:
            if request is not None:
                yield Difference(self.span, f"the server is asked: `{request.method} {cut(request.url)}`")
            return
        if request is None:
            yield Difference(self.span, "the server is not asked")
            return
        for key, wanted, got in (("method", self.method, request.method), ("url", self.url, request.url)):
            if wanted is not None and wanted != got:
                yield Difference(self._place(key), f"the server gets {key} `{got}`")
        body = request.get_content(strict=False) or b""
        found: list[Difference] = []
        if self.headers is not None:
            found += self.headers.compare(request)
        if self.body is not None:
            found += self.body.compare(request, body)
        if self.json is not None:
            found += self.json.compare(body)
        for difference in found:
            yield difference._replace(title=f"upstream, {difference.title}")

    def _place(self, key: str) -> Span:
        node = self._node.get(key) if isinstance(self._node, nodes.Mapping) else None
        return self.span if node is None else node.span

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        from rulesproxy.rules.reading.json_schema import record_schema

        about = "What the server gets; `none` where it must not be asked."
        return {"description": about, "anyOf": [{"enum": ["none"]}, record_schema(cls)]}


def _check_header(key: nodes.Scalar, node: Node, value: str, reader: Reader) -> None:
    if not is_token(key.text.encode("utf-8", "replace")):
        help = "a name has letters, digits, `-`, `_` and some other marks, and no blank"
        reader.fail("RP609", key, f"`{key.text}` is not a header name", help)
    try:
        check_field(key.text, value)
    except ValueError:
        reader.fail("RP609", node, f"the value of header `{key.text}` holds a line break or a NUL", "write one line")


def _plain(node: Node) -> object:
    """A node as plain data, its scalars typed as YAML 1.2 does."""
    if isinstance(node, nodes.Mapping):
        return {key.text: _plain(child) for key, child in node.entries}
    if isinstance(node, nodes.Sequence):
        return [_plain(item) for item in node.items]
    typed = core_scalar(node.text) if node.plain else None
    return node.text if typed is None else json.loads(typed)


def _compare(wanted: Node, got: object, path: str) -> Iterator[Difference]:
    if isinstance(wanted, nodes.Mapping):
        if not isinstance(got, dict):
            yield Difference(wanted.span, f"`{path}` is no object: {_dumped(got)}")
            return
        for key, child in wanted.entries:
            below = f"{path}.{key.text}" if key.text.isidentifier() else f"{path}[{json.dumps(key.text)}]"
            if key.text not in got:
                yield Difference(key.span, f"`{below}` is not there; there is {_dumped(got)}")
            else:
                yield from _compare(child, got[key.text], below)
        return
    if isinstance(wanted, nodes.Sequence):
        if not isinstance(got, list):
            yield Difference(wanted.span, f"`{path}` is no array: {_dumped(got)}")
            return
        if len(got) != len(wanted.items):
            yield Difference(wanted.span, f"`{path}` has {len(got)} items, not {len(wanted.items)}: {_dumped(got)}")
            return
        for at, (item, value) in enumerate(zip(wanted.items, got, strict=True)):
            yield from _compare(item, value, f"{path}[{at}]")
        return
    expected = _plain(wanted)
    if expected != got or isinstance(expected, bool) != isinstance(got, bool):
        yield Difference(wanted.span, f"`{path}` is {_dumped(got)}")


def _dumped(value: object) -> str:
    return cut(json.dumps(value, ensure_ascii=False))


def cut(text: str, length: int = _SHOWN) -> str:
    """The beginning of a text, for one line."""
    if not text.isprintable():
        text = "".join([char if char.isprintable() else char.encode("unicode_escape").decode() for char in text])
    return text if len(text) <= length else f"{text[: length - 1]}…"
