"""Edits of cookies, one by one: in Cookie headers of requests, and in Set-Cookie headers of responses.

Cookies that no edit names keep their bytes, and every Set-Cookie stays a header of its own.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeVar

from rulesproxy.flow.headers import Field, check_field, is_token, to_bytes, to_str
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.edits.fields import Op, edits_schema, read_ops
from rulesproxy.rules.schema import Bad
from rulesproxy.rules.template import Captures, TemplateError

if TYPE_CHECKING:
    from rulesproxy.rules.files.nodes import Node
    from rulesproxy.rules.schema import Reader

# A semicolon would begin another cookie or an attribute (RFC 6265 section 4.1.1).
_UNSAFE = re.compile(r"[;\x00-\x1f\x7f]").search


def check_value(value: str, from_path: bool = False) -> str:
    """A value that stays inside its cookie.

    Raises:
        TemplateError: it holds a semicolon or a control character.
    """
    if _UNSAFE(value):
        raise TemplateError(f"{value[:80]!r} cannot be part of a cookie")
    return value


E = TypeVar("E", bound="_Edits")


@dataclass(frozen=True, slots=True)
class _Edits(ABC):
    """Edits of cookies, in order.

    Attributes:
        attributes: whether a value may bring attributes with it, behind semicolons.
    """

    attributes: ClassVar[bool]

    ops: tuple[Op, ...]

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        return edits_schema()

    @classmethod
    def read(cls: type[E], node: Node, reader: Reader, name: str) -> E:
        ops = read_ops(node, reader, name, header=False)
        for op in ops:
            if op.verb != "remove" and not is_token(to_bytes(op.name)):
                reader.note("RP609", node, f"`{op.name}` is not a cookie name", "letters, digits and !#$%&'*+-.^_`|~")
                raise Bad
            for value in op.values:
                literal = "".join([part for part in value.parts if isinstance(part, str)])
                if _UNSAFE(literal.replace(";", "") if cls.attributes else literal):
                    what = "a control character" if cls.attributes else "a semicolon or a control character"
                    reader.fail("RP609", node, f"the value of the cookie `{op.name}` holds {what}")
        return cls(ops)

    def edited(self, raw: list[Field], flow: HTTPFlow, captures: Captures) -> list[Field]:
        """The header section after the edits.

        Raises:
            TemplateError: a value would break out of its cookie.
        """
        for op in self.ops:
            raw = self._one(op, raw, flow, captures)
        return raw

    @abstractmethod
    def _one(self, op: Op, raw: list[Field], flow: HTTPFlow, captures: Captures) -> list[Field]:
        """The header section after one edit."""


@dataclass(frozen=True, slots=True)
class CookieEdits(_Edits):
    """Edits of the cookies that a request carries, in order."""

    attributes: ClassVar = False

    def _one(self, op: Op, raw: list[Field], flow: HTTPFlow, captures: Captures) -> list[Field]:
        left = [f"{op.name}={value}" for value in _values(op, flow, captures)]
        there = any(_name(piece) == op.name for field in raw if field[0] == b"cookie" for piece in _pieces(field))
        if op.verb == "default" and there:
            return raw
        fields: list[Field] = []
        for field in raw:
            if field[0] != b"cookie":
                fields.append(field)
                continue
            pieces = _edit(op, _pieces(field), left, flow, captures)
            text = ";".join(pieces)
            if text.strip():
                fields.append(field if pieces == _pieces(field) else (*field[:2], to_bytes(text.strip())))
        if left:
            _append(fields, "; ".join(left))
        return fields


def _edit(op: Op, pieces: list[str], left: list[str], flow: HTTPFlow, captures: Captures) -> list[str]:
    """The cookies of one header after an edit; new ones that find a place are taken from `left`."""
    kept = []
    for piece in pieces:
        name, blank = _name(piece), piece[: len(piece) - len(piece.lstrip())]
        if op.verb == "remove" and op.matches is not None and op.matches(name):
            continue
        if op.verb == "set" and name == op.name:
            if left:
                kept.append(f"{blank}{left.pop(0)}")
            continue
        if op.pattern is not None and name == op.name:
            value = piece.partition("=")[2]
            kept.append(f"{blank}{name}={check_value(op.pattern.apply(value, flow, captures))}")
            continue
        kept.append(piece)
    return kept


def _append(fields: list[Field], text: str) -> None:
    for at in reversed(range(len(fields))):
        key, name, value = fields[at]
        if key == b"cookie":
            fields[at] = (key, name, value + b"; " + to_bytes(text))
            return
    fields.append(check_field("Cookie", text))


def _pieces(field: Field) -> list[str]:
    return to_str(field[2]).split(";")


def _name(piece: str) -> str:
    return piece.partition("=")[0].strip()


def _values(op: Op, flow: HTTPFlow, captures: Captures) -> list[str]:
    return [value.fill(flow, captures, check_value) for value in op.values]


@dataclass(frozen=True, slots=True)
class SetCookieEdits(_Edits):
    """Edits of the cookies that a response sets, in order.

    A value without a semicolon changes the value of a cookie and leaves its attributes; with one it is the value and
    all attributes.
    """

    attributes: ClassVar = True

    def _one(self, op: Op, raw: list[Field], flow: HTTPFlow, captures: Captures) -> list[Field]:
        left = _values(op, flow, captures)
        if op.verb == "default" and any(_cookie(field) == op.name for field in raw):
            return raw
        fields: list[Field] = []
        for field in raw:
            name = _cookie(field)
            if name is not None and op.verb == "remove" and op.matches is not None and op.matches(name):
                continue
            if name is None or name != op.name or op.verb not in ("set", "replace"):
                fields.append(field)
                continue
            pair, mark, attributes = to_str(field[2]).partition(";")
            if op.pattern is not None:
                old = pair.partition("=")[2].strip()
                value = check_value(op.pattern.apply(old, flow, captures))
                new = check_field(field[1], f"{name}={value}{mark}{attributes}")
                fields.append(field if value == old else new)
            elif left:
                value = left.pop(0)
                rest = "" if ";" in value else f"{mark}{attributes}"
                fields.append(check_field(field[1], f"{name}={value}{rest}"))
        fields += [check_field("Set-Cookie", f"{op.name}={value}") for value in left]
        return fields


def _cookie(field: Field) -> str | None:
    """The name of the cookie that a field sets; None for other fields."""
    return _name(to_str(field[2]).partition(";")[0]) if field[0] == b"set-cookie" else None
