"""`match` as a mapping, lowered to the filter that means the same, with every piece still pointing at its node.

The values are written for people: a text is `==`, a list is `in`, `.a.com` is `under`, a `*` makes it `glob`, `{id}` in
a path makes it `like`, `true` is `has`, `5xx` is a range, and `$name` is what a filter means by it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from rulesproxy.diagnostics import Span
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.nodes import Mapping, Node, Scalar
from rulesproxy.rules.schema import Bad, Reader

KEYS = ("method", "scheme", "host", "port", "path", "query", "header", "cookie", "status")
SYNONYMS = {
    "domain": "host", "hostname": "host", "headers": "header", "cookies": "cookie", "verb": "method", "url": "path",
    "methods": "method", "hosts": "host", "params": "query", "code": "status", "status_code": "status",
    "status-code": "status", "paths": "path", "protocol": "scheme",
}  # fmt: skip
KEYED = ("query", "header", "cookie")
"""Keys whose values are by name."""

_FIELDS = {"header": "request.header", "cookie": "request.cookie", "status": "response.status"}
_NUMBERS = frozenset({"port", "status"})
NUMBERS = r"[0-9]+(\.\.[0-9]+)?"
"""How a number or a range is written."""
NAME = r"\$[A-Za-z_][A-Za-z0-9_-]*"
"""How what filters call by a name is written."""
_NUMBER = re.compile(r"[0-9]+").fullmatch
_RANGE = re.compile(r"[0-9]+\.\.[0-9]+").fullmatch
_CLASS = re.compile(r"([1-5])[xX]{2}").fullmatch
_NAME = re.compile(NAME).fullmatch
_CAPTURE = re.compile(r"\{[A-Za-z_]\w*\}").search


@dataclass(frozen=True, slots=True)
class FilterText:
    """The text of a filter, and how its offsets map to places in the rule file."""

    text: str
    place: Callable[[int, int], Span]


def filter_text(node: Node, reader: Reader) -> FilterText:
    """The filter in a `match` value, written as text or as a mapping.

    Raises:
        Bad: it is neither.
    """
    if isinstance(node, Mapping):
        return _lowered(node, reader)
    if isinstance(node, nodes.Sequence):
        texts = [item.text for item in node.items if isinstance(item, Scalar)]
        joined = [f" {word} ".join(f"({text})" for text in texts[:2]) for word in ("and", "or")]
        help = (
            f"join the filters: `{joined[0]}` or `{joined[1]}`" if len(texts) > 1 else "write the filter without a list"
        )
        reader.fail("RP109", node, "`match` wants one filter, got a list", help)
    if isinstance(node, Scalar) and node.null:
        reader.fail("RP103", node, "`match` wants a filter, got nothing", "write `match: ~all` to match everything")
    scalar = reader.raw(node, "match", "a filter")
    return FilterText(scalar.text, scalar.part)


class _Text:
    """A filter that grows piece by piece. Each piece knows the node that it was made of, and its character there."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.length = 0
        self.starts: list[int] = []
        self.origins: list[tuple[Scalar, tuple[int, ...]]] = []

    def add(self, text: str, node: Scalar, places: tuple[int, ...] = ()) -> None:
        """Add text that stands for a node; `places` has the character in it that each character of the text is."""
        self.starts.append(self.length)
        self.origins.append((node, places))
        self.parts.append(text)
        self.length += len(text)

    def value(self, scalar: Scalar) -> None:
        """Add the text of a scalar in quotes."""
        text, places = _quoted(scalar.text)
        self.add(text, scalar, places)

    def place(self, start: int, end: int) -> Span:
        """Where `[start:end]` of the filter comes from; the whole node where that is not one piece of its text."""
        at = max(0, bisect_right(self.starts, start) - 1)
        node, places = self.origins[at]
        first, last = start - self.starts[at], end - 1 - self.starts[at]
        if 0 < first <= last < len(places) - 1:
            return node.part(places[first], places[last] + 1)
        return node.span

    def done(self) -> FilterText:
        return FilterText("".join(self.parts), self.place)


def _lowered(mapping: Mapping, reader: Reader) -> FilterText:
    out = _Text()
    failed = False
    for key, child in mapping.entries:
        try:
            if key.text not in KEYS:
                reader.unknown(key, KEYS, "in `match`", SYNONYMS)
                raise Bad
            field = _FIELDS.get(key.text, key.text)
            if key.text not in KEYED:
                _join(out, key)
                _term(out, field, None, key, child, reader)
                continue
            inner = reader.mapping(child, key.text, f"`{key.text}: {{name: value}}`")
            if not inner.entries:
                reader.fail("RP103", child, f"`{key.text}` names nothing", "name one, or remove the key")
            for name, value in inner.entries:
                _join(out, name)
                _term(out, field, name, key, value, reader)
        except Bad:
            failed = True
    if failed:
        raise Bad
    if not out.parts:
        reader.fail("RP105", mapping, "`match` is empty", "write `match: ~all` to match everything")
    return out.done()


def _join(out: _Text, node: Scalar) -> None:
    if out.parts:
        out.add(" and ", node)


def _term(out: _Text, field: str, name: Scalar | None, key: Scalar, node: Node, reader: Reader) -> None:
    """One condition: values that are compared in the same way stand in one set."""
    where = name or key
    if isinstance(node, nodes.Sequence) and not node.items:
        reader.fail("RP103", node, f"`{where.text}` is an empty list", "name at least one value, or remove the key")
    groups: dict[str, list[Scalar]] = {}
    failed = False
    for item in reader.items(node):
        try:
            scalar = reader.scalar(item, where.text, "a number" if key.text in _NUMBERS else "text")
            groups.setdefault(_operator(scalar, key, name is not None, reader), []).append(scalar)
        except Bad:
            failed = True
    if failed:
        raise Bad
    if "in" in groups and "==" in groups:
        # Numbers and ranges fit into one set.
        groups["in"] = groups.pop("==") + groups["in"]
    terms = [(op, [one]) for op, all in groups.items() if op not in ("==", "in", "under") for one in all]
    terms = [(op, groups[op]) for op in ("==", "in", "under") if op in groups] + terms
    if len(terms) > 1:
        out.add("(", where)
    for at, (op, scalars) in enumerate(terms):
        if at:
            out.add(" or ", scalars[0])
        _compare(out, field, name, key, op, scalars)
    if len(terms) > 1:
        out.add(")", where)


def _operator(scalar: Scalar, key: Scalar, keyed: bool, reader: Reader) -> str:
    text, name = scalar.text, key.text
    if scalar.plain and _NAME(text):
        return "$"
    if name in _NUMBERS:
        if _RANGE(text) or (name == "status" and _CLASS(text)):
            return "in"
        if not _NUMBER(text):
            wanted = "a number, a range such as 500..599, or 5xx" if name == "status" else "a number or a range"
            reader.fail("RP103", scalar, f"`{name}` wants {wanted}, got `{text}`")
        return "=="
    if keyed and scalar.plain and text in ("true", "false"):
        return "has" if text == "true" else "not has"
    if name == "host" and text.startswith(".") and "*" not in text:
        return "under"
    if name == "path" and _CAPTURE(text):
        if "*" in text:
            help = "a `{name}` is one segment: write several of them, or use `*` alone"
            reader.fail("RP103", scalar, "a path has `*` or `{name}`, not both", help)
        return "like"
    return "glob" if "*" in text and name not in ("method", "scheme") else "=="


def _compare(out: _Text, field: str, name: Scalar | None, key: Scalar, op: str, scalars: list[Scalar]) -> None:
    def left() -> None:
        if name is None:
            out.add(field, key)
            return
        out.add(f"{field}[", name)
        out.value(name)
        out.add("]", name)

    if op in ("has", "not has"):
        out.add(f"{op}(", scalars[0])
        left()
        out.add(")", scalars[0])
        return
    left()
    if op == "$":
        out.add(f" in {scalars[0].text}", scalars[0])
        return
    several = len(scalars) > 1 or op == "in"
    out.add(f" {'in' if op == '==' and several else op} ", scalars[0])
    if several:
        out.add("{", scalars[0])
    for at, scalar in enumerate(scalars):
        if at:
            out.add(" ", scalar)
        _literal(out, key, op, scalar)
    if several:
        out.add("}", scalars[-1])


def _literal(out: _Text, key: Scalar, op: str, scalar: Scalar) -> None:
    if key.text in _NUMBERS:
        found = _CLASS(scalar.text)
        out.add(f"{found[1]}00..{found[1]}99" if found else scalar.text, scalar)
    else:
        out.value(scalar)


def _quoted(text: str) -> tuple[str, tuple[int, ...]]:
    """A text as a literal of a filter, and for each of its characters the character of the text that it stands for."""
    out, places = ['"'], [0]
    for at, char in enumerate(text):
        if char in '\\"':
            escaped = "\\" + char
        elif char.isprintable():
            escaped = char
        else:
            escaped = f"\\u{ord(char):04x}" if ord(char) > 0xFF else f"\\x{ord(char):02x}"
        out.append(escaped)
        places.extend([at] * len(escaped))
    return "".join([*out, '"']), (*places, max(0, len(text) - 1))
