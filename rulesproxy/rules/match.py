"""`match` as a mapping, lowered to the filter that means the same, with every piece still pointing at its node."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from rulesproxy.diagnostics import Span
from rulesproxy.rules import nodes
from rulesproxy.rules.nodes import Mapping, Node, Scalar
from rulesproxy.rules.schema import Bad, Reader

KEYS = ("method", "scheme", "host", "port", "path", "query", "header", "cookie", "status")
SYNONYMS = {
    "domain": "host", "hostname": "host", "headers": "header", "cookies": "cookie", "verb": "method", "url": "path",
    "methods": "method", "hosts": "host", "params": "query", "code": "status",
}  # fmt: skip

_FIELDS = {"header": "request.header", "cookie": "request.cookie", "status": "response.status"}
_NUMBERS = frozenset({"port", "status"})
_RANGE = re.compile(r"\d+(?:\.\.\d+)?").fullmatch


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
    scalar = reader.scalar(node, "match", "a filter")
    return FilterText(scalar.text, scalar.part)


def _lowered(mapping: Mapping, reader: Reader) -> FilterText:
    pieces: list[tuple[str, Node]] = []
    failed = False
    for key, child in mapping.entries:
        try:
            if key.text not in KEYS:
                reader.unknown(key, KEYS, "in `match`", SYNONYMS)
                raise Bad
            field = _FIELDS.get(key.text, key.text)
            if key.text in ("query", "header", "cookie"):
                inner = reader.mapping(child, key.text, f"`{key.text}: {{name: value}}`")
                pieces.extend(
                    (_term(f"{field}[{_quote(name.text)}]", value, reader, key.text), value)
                    for name, value in inner.entries
                )
            else:
                pieces.append((_term(field, child, reader, key.text), child))
        except Bad:
            failed = True
    if failed:
        raise Bad
    if not pieces:
        reader.fail("RP105", mapping, "`match` is empty", "write `match: ~all` to match everything")
    ends: list[tuple[int, Node]] = []
    length = 0
    for text, node in pieces:
        length += len(text) + 5
        ends.append((length, node))

    def place(start: int, end: int) -> Span:
        return next((node for limit, node in ends if start < limit), ends[-1][1]).span

    return FilterText(" and ".join(text for text, _ in pieces), place)


def _term(field: str, node: Node, reader: Reader, name: str) -> str:
    if isinstance(node, nodes.Sequence):
        if not node.items:
            reader.fail("RP103", node, f"`{name}` is an empty list", "name at least one value, or remove the key")
        return f"({' or '.join(_single(field, item, reader, name) for item in node.items)})"
    return _single(field, node, reader, name)


def _single(field: str, node: Node, reader: Reader, name: str) -> str:
    scalar = reader.scalar(node, name, "text")
    text = scalar.text
    if name in _NUMBERS:
        if not _RANGE(text):
            reader.fail("RP103", scalar, f"`{name}` wants a number or a range such as 500..599, got `{text}`")
        return f"{field} in {{{text}}}" if ".." in text else f"{field} == {text}"
    if text == "true" and scalar.plain and "[" in field:
        return f"has({field})"
    if name == "host" and text.startswith(".") and "*" not in text:
        return f"host under {_quote(text[1:])}"
    operator = "glob" if "*" in text and name != "method" else "=="
    return f"{field} {operator} {_quote(text)}"


def _quote(text: str) -> str:
    out = []
    for char in text:
        if char in '\\"':
            out.append("\\" + char)
        elif char.isprintable():
            out.append(char)
        else:
            out.append(f"\\u{ord(char):04x}" if ord(char) > 0xFF else f"\\x{ord(char):02x}")
    return f'"{"".join(out)}"'
