"""Edits of headers and queries: what `set add default remove replace` mean, shared by the actions that edit.

It knows messages and their framing, and nothing of rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import translate
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import quote_plus, unquote_plus

from rulesproxy.flow.headers import Field, check_field, is_token, to_bytes, to_str
from rulesproxy.flow.http import HTTPFlow, HTTPMessage, HTTPRequest
from rulesproxy.rules.edits.replacements import Pattern
from rulesproxy.rules.files import nodes
from rulesproxy.rules.reading.secrets import is_secret
from rulesproxy.rules.schema import Bad
from rulesproxy.rules.template import Captures, Template

if TYPE_CHECKING:
    from rulesproxy.rules.files.nodes import Node, Scalar
    from rulesproxy.rules.schema import Reader

Verb: TypeAlias = Literal["set", "add", "default", "remove", "replace"]
VERBS: tuple[Verb, ...] = ("set", "add", "default", "remove", "replace")

FRAMING = frozenset({"content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade"})
"""Fields that say how a message is framed on one connection; they are ours to write."""


Value: TypeAlias = tuple[Template, ...] | Pattern


@dataclass(frozen=True, slots=True)
class Op:
    """One edit: a verb, the name it is about (a glob for `remove`), and the values."""

    verb: Verb
    name: str
    values: tuple[Template, ...] = ()
    pattern: Pattern | None = None
    matches: Callable[[str], object] | None = None


def read_ops(node: Node, reader: Reader, name: str, header: bool) -> tuple[Op, ...]:
    """The edits in a mapping: verbs, and keys that are no verb and mean `set`."""
    mapping = reader.mapping(node, name, f"`{name}: {{x-name: value}}`")
    ops: list[Op] = []
    failed = False
    for key, child in mapping.entries:
        try:
            if key.text == "remove":
                ops.extend(_remove(item, reader, header) for item in reader.items(child))
            elif key.text in VERBS:
                inner = reader.mapping(child, f"{name}.{key.text}", f"`{key.text}: {{name: value}}`")
                ops.extend(_op(key.text, sub, value, reader, header) for sub, value in inner.entries)
            else:
                ops.append(_op("set", key, child, reader, header))
        except Bad:
            failed = True
    if failed:
        raise Bad
    _conflicts(mapping, ops, reader, name)
    # What belongs to the connection was warned about, and is left to the proxy.
    return tuple([op for op in ops if op.verb == "remove" or not header or op.name.lower() not in FRAMING])


def edits_schema() -> dict[str, object]:
    """What `read_ops` accepts, as JSON Schema."""
    text = Template.json_schema()
    values: dict[str, object] = {"anyOf": [text, {"type": "array", "items": text}]}
    by_name: dict[str, object] = {"type": "object", "additionalProperties": values}
    return {
        "type": "object",
        "properties": {
            "set": {**by_name, "description": "These values in the place of the old ones."},
            "add": {**by_name, "description": "One more, at the end."},
            "default": {**by_name, "description": "Only where there is none."},
            "remove": {**values, "description": "Names, in which * stands for any text."},
            "replace": {
                "type": "object",
                "additionalProperties": Pattern.json_schema(),
                "description": "By name: what is looked for in the values, and what stands there afterwards.",
            },
        },
        "additionalProperties": values,
    }


def _op(verb: Verb, key: Scalar, child: Node, reader: Reader, header: bool) -> Op:
    if header:
        _check_name(key, reader)
    if any(isinstance(item, nodes.Scalar) and item.null for item in reader.items(child)):
        word = "" if isinstance(child, nodes.Scalar) and child.empty else ', and for the word "null" quote it'
        reader.fail(
            "RP103", key, f"`{key.text}` has no value",
            f'to remove it write `remove: [{key.text}]`, for an empty value write ""{word}',
        )  # fmt: skip
    if verb == "replace":
        return Op(verb, key.text, pattern=Pattern.read(child, reader, key.text))
    values = tuple(Template.read(item, reader, key.text) for item in reader.items(child))
    if header:
        for value, item in zip(values, reader.items(child), strict=True):
            if value.constant is not None and re.search(r"[\r\n\0]", value.constant.strip()):
                reader.fail(
                    "RP609",
                    item,
                    f"the value of header `{key.text}` holds a line break",
                    "write one line; a list gives several fields",
                )
            if value.constant is not None and "${" not in value.text and is_secret(key.text, value.constant):
                reader.note(
                    "RP614", item, f"the value of `{key.text}` is a secret, and stands here for everybody to read",
                    "put it into the environment, and write ${env:TOKEN}", severity="warning",
                )  # fmt: skip
    return Op(verb, key.text, values)


def _remove(node: Node, reader: Reader, header: bool) -> Op:
    text = reader.text(node, "remove")
    return Op("remove", text, matches=re.compile(translate(text.lower() if header else text), re.DOTALL).match)


def _check_name(key: Scalar, reader: Reader) -> None:
    if not is_token(to_bytes(key.text)):
        bare = key.text.rstrip(": ")
        help = f"write `{bare}`" if is_token(to_bytes(bare)) else "letters, digits and !#$%&'*+-.^_`|~ are allowed"
        reader.fail("RP609", key, f"`{key.text}` is not a header name", help)
    if key.text.lower() in FRAMING:
        reader.note(
            "RP608", key, f"`{key.text}` belongs to the connection and is written by the proxy",
            "remove this line; the length follows the body by itself", severity="warning",
        )  # fmt: skip


def _conflicts(mapping: nodes.Mapping, ops: Iterable[Op], reader: Reader, name: str) -> None:
    """The same name set and removed in one rule: one of the two does nothing."""
    made = {op.name.lower(): op for op in ops if op.verb in ("set", "default")}
    for op in ops:
        if op.verb == "remove" and op.name.lower() in made:
            reader.note(
                "RP607", mapping.key("remove") or mapping, f"`{op.name}` is set and removed in the same `{name}`",
                "keep one of the two: `set` replaces every old value by itself",
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class HeaderEdits:
    """Edits of a header section, in order."""

    ops: tuple[Op, ...]

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        return edits_schema()

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> HeaderEdits:
        return cls(read_ops(node, reader, name, header=True))

    def bind(self) -> Callable[[HTTPMessage, HTTPFlow, Captures], None]:
        """A function that edits the headers of a message. What does not depend on the flow is made once, here.

        The function raises `ValueError` where a value could not go over the wire; nothing has been changed then.
        """
        steps = tuple([_bind(op) for op in self.ops])

        def apply(message: HTTPMessage, flow: HTTPFlow, captures: Captures) -> None:
            raw = message.headers.raw
            for step in steps:
                raw = step(raw, flow, captures)
            message.headers.raw = raw

        return apply


_Step: TypeAlias = Callable[[list[Field], HTTPFlow, Captures], list[Field]]
"""One edit of a header section. It gives another list and leaves the old one as it was."""


def _bind(op: Op) -> _Step:
    key = op.name.lower().encode()
    if op.verb == "remove":
        return _bind_remove(op, key)
    if op.verb == "replace":
        return _bind_replace(op, key)
    put = {"set": _set, "add": _add, "default": _default}[op.verb]
    if all(value.constant is not None for value in op.values):
        fixed = [check_field(op.name, value.constant or "") for value in op.values]
        return lambda raw, flow, captures: put(raw, key, fixed)
    return lambda raw, flow, captures: put(
        raw, key, [check_field(op.name, value.fill(flow, captures)) for value in op.values]
    )


def _set(raw: list[Field], key: bytes, fields: list[Field]) -> list[Field]:
    """Replace the fields of a name: in the old places and spelling as far as they go, the rest at the end."""
    for field in raw:
        if field[0] == key:
            break
    else:
        return [*raw, *fields]
    left = fields[::-1]
    kept = []
    for field in raw:
        if field[0] != key:
            kept.append(field)
        elif left:
            kept.append((key, field[1], left.pop()[2]))
    return [*kept, *reversed(left)]


def _add(raw: list[Field], key: bytes, fields: list[Field]) -> list[Field]:
    return [*raw, *fields]


def _default(raw: list[Field], key: bytes, fields: list[Field]) -> list[Field]:
    return raw if any(field[0] == key for field in raw) else [*raw, *fields]


def _bind_remove(op: Op, key: bytes) -> _Step:
    if not any(mark in op.name for mark in "*?["):
        return lambda raw, flow, captures: [field for field in raw if field[0] != key]
    matches = op.matches
    assert matches is not None
    return lambda raw, flow, captures: [field for field in raw if not matches(to_str(field[0]))]


def _bind_replace(op: Op, key: bytes) -> _Step:
    pattern = op.pattern
    assert pattern is not None

    def replace(raw: list[Field], flow: HTTPFlow, captures: Captures) -> list[Field]:
        return [
            check_field(name, pattern.apply(to_str(value), flow, captures)) if lower == key else (lower, name, value)
            for lower, name, value in raw
        ]

    return replace


@dataclass(frozen=True, slots=True)
class QueryEdits:
    """Edits of a query or of a form, in order. What no edit names keeps its spelling."""

    ops: tuple[Op, ...]

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        return edits_schema()

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> QueryEdits:
        return cls(read_ops(node, reader, name, header=False))

    def apply(self, request: HTTPRequest, flow: HTTPFlow, captures: Captures) -> None:
        """Edit the query of `request`."""
        path, _, query = request.path.partition("?")
        text = self.edited(query, flow, captures)
        request.path = f"{path}?{text}" if text else path

    def edited(self, text: str, flow: HTTPFlow, captures: Captures) -> str:
        """Encoded pairs after the edits; the text of a form is written like that of a query."""
        pieces = [(_name_of(piece), piece) for piece in text.split("&")] if text else []
        for op in self.ops:
            pieces = self._one(op, pieces, flow, captures)
        return "&".join([piece for _, piece in pieces])

    def _one(self, op: Op, pieces: list[tuple[str, str]], flow: HTTPFlow, captures: Captures) -> list[tuple[str, str]]:
        if op.verb == "remove":
            assert op.matches is not None
            return [piece for piece in pieces if not op.matches(piece[0])]
        if op.verb == "replace":
            assert op.pattern is not None
            return [
                _piece(op.name, op.pattern.apply(unquote_plus(raw.partition("=")[2]), flow, captures))
                if name == op.name else (name, raw)
                for name, raw in pieces
            ]  # fmt: skip
        new = [_piece(op.name, value.fill(flow, captures)) for value in op.values]
        if op.verb == "add":
            return [*pieces, *new]
        at = [i for i, (name, _) in enumerate(pieces) if name == op.name]
        if op.verb == "default":
            return pieces if at else [*pieces, *new]
        first = at[0] if at else len(pieces)
        rest = [piece for i, piece in enumerate(pieces) if i not in at]
        return [*rest[:first], *new, *rest[first:]]


def _name_of(piece: str) -> str:
    return unquote_plus(piece.partition("=")[0], errors="surrogateescape")


def _piece(name: str, value: str) -> tuple[str, str]:
    return name, f"{quote_plus(name, errors='surrogateescape')}={quote_plus(value, errors='surrogateescape')}"
