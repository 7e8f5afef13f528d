"""JSON values in rules: written in YAML, filled per flow, and always valid JSON whatever a value holds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.edits.json_text import written
from rulesproxy.rules.files import nodes
from rulesproxy.rules.template import Captures, Place, Template

if TYPE_CHECKING:
    from rulesproxy.rules.files.nodes import Node, Scalar
    from rulesproxy.rules.schema import Reader

# The core schema of YAML 1.2, section 10.3.2.
_INTEGER = re.compile(r"[-+]?[0-9]+").fullmatch
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+").fullmatch
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?").fullmatch
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?").fullmatch
_WORDS = {
    "": "null", "~": "null", "null": "null", "Null": "null", "NULL": "null", "true": "true", "True": "true",
    "TRUE": "true", "false": "false", "False": "false", "FALSE": "false",
}  # fmt: skip
_NOT_JSON = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)").fullmatch


@dataclass(frozen=True, slots=True)
class Raw:
    """A scalar that is JSON as it stands, or a place whose value is."""

    text: str
    template: Template | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """A JSON string."""

    template: Template


@dataclass(frozen=True, slots=True)
class Array:
    """A JSON array."""

    items: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Object:
    """A JSON object."""

    entries: tuple[tuple[Template, Part], ...]


Part: TypeAlias = Raw | Text | Array | Object


@dataclass(frozen=True, slots=True)
class JSONValue:
    """A JSON value with templates in it.

    A scalar that is one template with `| int` or `| json` keeps that type, quoted scalars are text, others have the
    type that YAML 1.2 gives them.
    """

    part: Part

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        return {}

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> JSONValue:
        return cls(_read(node, reader, name))

    def fill(self, flow: HTTPFlow, captures: Captures, compact: bool = False) -> str:
        """The JSON text for one flow.

        Raises:
            TemplateError: a value is not what it is said to be.
        """
        return render(self.part, flow, captures, compact)


def render(part: Part, flow: HTTPFlow, captures: Captures, compact: bool = False) -> str:
    """The JSON text of a part for one flow; `compact` leaves out the blanks."""
    if isinstance(part, Raw):
        if part.template is None:
            return part.text
        # A value that is missing is null: nothing would not be JSON.
        return part.template.fill(flow, captures) or "null"
    if isinstance(part, Text):
        return written(part.template.fill(flow, captures))
    comma, colon = (",", ":") if compact else (", ", ": ")
    if isinstance(part, Array):
        return f"[{comma.join([render(item, flow, captures, compact) for item in part.items])}]"
    entries = [
        f"{written(key.fill(flow, captures))}{colon}{render(value, flow, captures, compact)}"
        for key, value in part.entries
    ]
    return f"{{{comma.join(entries)}}}"


def _read(node: Node, reader: Reader, name: str) -> Part:
    if isinstance(node, nodes.Sequence):
        return Array(tuple([_read(item, reader, name) for item in node.items]))
    if isinstance(node, nodes.Mapping):
        return Object(
            tuple([(Template.read(key, reader, name), _read(child, reader, name)) for key, child in node.entries])
        )
    return _scalar(node, reader, name)


def _scalar(node: Scalar, reader: Reader, name: str) -> Part:
    if node.plain and (text := core_scalar(node.text)) is not None:
        return Raw(text)
    if node.plain and _NOT_JSON(node.text):
        reader.fail("RP103", node, f"`{node.text}` is not possible in JSON", "quote it to make it text")
    template = Template.read(node, reader, name)
    if len(template.parts) == 1 and isinstance(template.parts[0], Place) and template.parts[0].typed:
        return Raw("", template)
    return Text(template)


def core_scalar(text: str) -> str | None:
    """A plain YAML scalar as JSON where it is null, true, false or a number; None where it is text."""
    word = _WORDS.get(text)
    if word is not None or _JSON_NUMBER(text):
        return word or text
    if _INTEGER(text):
        return text.lstrip("+").lstrip("0") or "0" if text[0] != "-" else f"-{text[1:].lstrip('0') or '0'}"
    if _OTHER_BASE(text):
        return str(int(text, 0))
    if _FLOAT(text):
        return repr(float(text)) if abs(float(text)) != float("inf") else None
    return None
