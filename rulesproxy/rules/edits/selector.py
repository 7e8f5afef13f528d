"""CSS selectors, the part that looks at one element: `script`, `#id`, `.class`, `[src*="ads"]`, joined and in lists."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rulesproxy.rules.edits.html_scan import Tag, attribute

if TYPE_CHECKING:
    from rulesproxy.rules.files.nodes import Node
    from rulesproxy.rules.schema import Reader

# Letters, `_` and all beyond ASCII, then digits and `-` too; said by what they are not, which compiles much faster.
_IDENT = r"-?[^\x00-@\[-^`{-\x7f][^\x00-,./:-@\[-^`{-\x7f]*"
_TYPE = re.compile(rf"\*|{_IDENT}")
_PART = re.compile(
    rf"""#(?P<id>{_IDENT})|\.(?P<class>{_IDENT})|\[\s*(?P<name>{_IDENT})\s*(?:(?P<op>[~^$*|]?=)\s*"""
    rf"""(?:"(?P<d>[^"]*)"|'(?P<s>[^']*)'|(?P<u>{_IDENT}|[0-9]+))\s*(?P<fold>[iI]\s*)?)?\]"""
)


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition on an attribute."""

    name: str
    op: str
    value: str
    fold: bool = False

    def holds(self, tag: Tag) -> bool:
        """Whether it is true for a start tag."""
        actual = attribute(tag, self.name)
        if actual is None:
            return False
        value = self.value
        if self.fold:
            actual, value = actual.lower(), value.lower()
        if self.op == "=":
            return actual == value
        if self.op == "~=":
            return value in actual.split()
        if self.op == "|=":
            return actual == value or actual.startswith(f"{value}-")
        if not value:
            return self.op == ""
        tests = {"^=": actual.startswith(value), "$=": actual.endswith(value), "*=": value in actual, "": True}
        return tests[self.op]


@dataclass(frozen=True, slots=True)
class Compound:
    """An element's name, empty for any, and conditions on it."""

    name: str
    conditions: tuple[Condition, ...]

    def matches(self, tag: Tag) -> bool:
        """Whether a start tag is meant."""
        return (not self.name or tag.name == self.name) and all(each.holds(tag) for each in self.conditions)


@dataclass(frozen=True, slots=True)
class Selector:
    """A list of alternatives."""

    text: str
    compounds: tuple[Compound, ...]

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        return {"type": "string"}

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Selector:
        scalar = reader.scalar(node, name, "a selector")
        try:
            return cls(scalar.text, parse_selector(scalar.text))
        except ValueError as error:
            help = 'an element by name, #id, .class and [attribute="value"]; alternatives with a comma'
            return reader.fail("RP615", scalar, f"`{scalar.text}` is no selector: {error}", help)

    def matches(self, tag: Tag) -> bool:
        """Whether a start tag is meant."""
        return any(compound.matches(tag) for compound in self.compounds)


def parse_selector(text: str) -> tuple[Compound, ...]:
    """The alternatives of a selector.

    Raises:
        ValueError: it is none, or looks at more than one element.
    """
    compounds = []
    at = 0
    while True:
        while text[at : at + 1].isspace():
            at += 1
        start = at
        found = _TYPE.match(text, at)
        name = ""
        if found:
            name = found[0].lower().removeprefix("*")
            at = found.end()
        conditions = []
        while part := _PART.match(text, at):
            conditions.append(_condition(part))
            at = part.end()
        if at == start:
            raise ValueError("something is missing" if at >= len(text) else f"`{text[at:]}` is not understood")
        compounds.append(Compound(name, tuple(conditions)))
        rest = text[at:].lstrip()
        if not rest:
            return tuple(compounds)
        if rest[0] == ">" or rest[0] == "+" or (rest[0] != "," and rest != text[at:]):
            raise ValueError("it looks at more than one element")
        if rest[0] != ",":
            raise ValueError(f"`{rest}` is not understood")
        at = len(text) - len(rest) + 1


def _condition(part: re.Match[str]) -> Condition:
    if part["id"]:
        return Condition("id", "=", part["id"])
    if part["class"]:
        return Condition("class", "~=", part["class"])
    value = next((group for group in (part["d"], part["s"], part["u"]) if group is not None), "")
    return Condition(part["name"].lower(), part["op"] or "", value, bool(part["fold"]))
