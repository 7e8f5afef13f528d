"""Typed reading: a node and a type make a value, or a diagnostic at the smallest place.

It knows Python's types and how they are written in YAML. Which keys there are is said by the dataclasses that it reads
into: a field is a key, its type is what the key accepts, its default makes it optional.
"""

from __future__ import annotations

import os
import re
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NoReturn,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)  # fmt: skip

from rulesproxy.diagnostics import Diagnostic, Label, Severity, Span, suggest
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.nodes import Constant, Node, Scalar

if TYPE_CHECKING:
    from rulesproxy.rules.files.closure import Closure

T = TypeVar("T")

_LOOSE = {"yes": True, "on": True, "y": True, "no": False, "off": False, "n": False}


_INTEGER = re.compile(r"[-+]?[0-9]{1,19}").fullmatch
_SECRET = 4
"""Characters of the shortest secret."""


class Bad(Exception):
    """A value could not be read; its diagnostic has been recorded."""


@dataclass(frozen=True, slots=True)
class Range:
    """The bounds of a number, both included."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Names:
    """The names that a `${…}` may use.

    Attributes:
        captures: the captures of the rule's filter, each with the field it comes from; None where the filter is bad, so
            that nothing is known about them.
        vars: the variables of the file.
        env: the environment.
        conditional: groups of the filter that are not always set, and therefore are no captures.
    """

    captures: Mapping[str, str] | None
    vars: Mapping[str, str]
    env: Mapping[str, str]
    conditional: frozenset[str] = frozenset()


_CONSTANT = re.compile(r"\$\{\s*(vars\.[A-Za-z_][A-Za-z0-9_-]*|env:[A-Za-z0-9_]+)\s*\}").fullmatch
"""A whole value that is known when the file is loaded."""


class Reader:
    """Reads values from the nodes of one file, and collects every diagnostic on the way.

    Attributes:
        folder: what relative paths are relative to.
        names: what a template may use.
        problems: the diagnostics so far.
        closure: the files that the rules come from, where what is read may add to them.
        secrets: values of the environment that the file uses.
    """

    __slots__ = ("closure", "folder", "names", "problems", "secrets")

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.names = Names({}, {}, os.environ if env is None else env)
        self.problems: list[Diagnostic] = []
        self.closure: Closure | None = None
        self.secrets: set[str] = set()

    def keep_secret(self, value: str) -> None:
        """Remember a value that no log may show. One of a few characters is none: hiding it would garble the log."""
        if len(value) >= _SECRET:
            self.secrets.add(value)

    # Reporting

    def note(
        self,
        code: str,
        where: Node | Span,
        title: str,
        help: str = "",
        label: str = "",
        labels: Iterable[Label] = (),
        severity: Severity = "error",
    ) -> None:
        """Record a diagnostic."""
        span = where if isinstance(where, Span) else where.span
        self.problems.append(Diagnostic(code, severity, title, span, help, label, tuple(labels)))

    def fail(self, code: str, where: Node | Span, title: str, help: str = "", label: str = "") -> NoReturn:
        """Record an error and give this value up."""
        self.note(code, where, title, help, label)
        raise Bad

    # Nodes

    def mapping(self, node: Node, name: str, example: str = "") -> nodes.Mapping:
        """The node as a mapping."""
        if isinstance(node, nodes.Mapping):
            return node
        return self.fail(
            "RP103", node, f"`{name}` wants keys with values, got {describe(node)}", example and f"write {example}"
        )

    def items(self, node: Node) -> list[Node]:
        """The items of a list; any other node is a list of itself."""
        return node.items if isinstance(node, nodes.Sequence) else [node]

    def scalar(self, node: Node, name: str, wanted: str) -> Scalar:
        """The node as a scalar that is not empty. `${vars.x}` and `${env:X}` stand for their values."""
        scalar = self.resolved(self.raw(node, name, wanted))
        assert isinstance(scalar, Scalar)
        return scalar

    def resolved(self, node: Node) -> Node:
        """The node; where it is a whole `${vars.x}` or `${env:X}`, what that stands for."""
        found = _CONSTANT(node.text) if isinstance(node, Scalar) and "${" in node.text else None
        if found is None or not isinstance(node, Scalar):
            return node
        from rulesproxy.rules.templates.names import hint, meaning

        meant = meaning(found[1], self.names)
        if meant is None:
            self.fail("RP605", node, f"unknown name `{node.text}`", hint(found[1], self.names))
        if meant.empty:
            from rulesproxy.rules.template import note_empty

            note_empty(found[1], node.span, self)
        value = meant.read(None, {}) or ""  # type: ignore[arg-type]
        if found[1].startswith("env:"):
            self.keep_secret(value)
        return Constant(node, value)

    def raw(self, node: Node, name: str, wanted: str) -> Scalar:
        """The node as a scalar that is not empty, as it is written."""
        if isinstance(node, nodes.Sequence):
            self.fail("RP109", node, f"`{name}` wants one value, got a list", f"give {wanted} without `- ` or brackets")
        if isinstance(node, nodes.Mapping):
            self.fail("RP103", node, f"`{name}` wants {wanted}, got keys with values", _unquoted_brace(node))
        if node.null:
            help = 'for an empty text write ""' if wanted == "text" else ""
            if not node.empty:
                help = f'for the word "{node.text}" quote it'
            self.fail("RP103", node, f"`{name}` wants {wanted}, got nothing", help)
        return node

    def unknown(self, key: Scalar, known: Iterable[str], where: str, synonyms: Mapping[str, str] | None = None) -> None:
        """Record a key that nobody knows."""
        names = sorted(known)
        meant = suggest(key.text, names, dict(synonyms or {}))
        help = f"did you mean `{meant}`?" if meant else f"the keys here are {', '.join(names)}"
        if key.text in _LOOSE and key.plain:
            self.note(
                "RP016",
                key,
                f"`{key.text}` is no key {where}",
                f"{help.removesuffix('?')}, which no YAML reader takes for true or false?" if meant else help,
            )
        elif key.flow and (key.text.count('"') % 2 or key.text.count("'") % 2):
            self.note(
                "RP018",
                key,
                "inside `{…}` YAML ends a value at every comma",
                "write the rule over several lines, or quote the value with single quotes",
            )
        else:
            self.note("RP101", key, f"unknown key `{key.text}` {where}", help)

    # Values

    def value(self, kind: Any, node: Node, name: str) -> Any:
        """The node read as `kind`: a scalar type, a Literal, a tuple, or a class with `read`."""
        origin = get_origin(kind)
        if origin is Annotated:
            inner, bounds = get_args(kind)[:2]
            return self.integer(node, name, bounds) if inner is int else self.value(inner, node, name)
        if origin in (Union, types.UnionType):
            return self.value(next(arm for arm in get_args(kind) if arm is not type(None)), node, name)
        if origin is Literal:
            return self.choice(node, name, get_args(kind))
        if origin is tuple:
            return self._list(get_args(kind)[0], node, name)
        if kind is str:
            return self.text(node, name)
        if kind is bool:
            return self.boolean(node, name)
        if kind is int:
            return self.integer(node, name, Range(-(2**53), 2**53))
        return kind.read(node, self, name)

    def _list(self, kind: Any, node: Node, name: str) -> tuple[Any, ...]:
        values, failed = [], False
        for item in self.items(node):
            try:
                values.append(self.value(kind, item, name))
            except Bad:
                failed = True
        if failed:
            raise Bad
        return tuple(values)

    def text(self, node: Node, name: str) -> str:
        return self.scalar(node, name, "text").text

    def boolean(self, node: Node, name: str) -> bool:
        scalar = self.scalar(node, name, "true or false")
        if scalar.text in nodes.TRUE:
            return True
        if scalar.text in nodes.FALSE:
            return False
        loose = _LOOSE.get(scalar.text.lower())
        if loose is None:
            self.fail("RP103", scalar, f"`{name}` wants true or false, got {describe(scalar)}")
        word = "true" if loose else "false"
        self.note("RP017", scalar, f"`{scalar.text}` is read as {word} here", f"write `{word}`", severity="info")
        return loose

    def integer(self, node: Node, name: str, bounds: Range, help: str = "") -> int:
        scalar = self.scalar(node, name, "a number")
        if _INTEGER(scalar.text) is None:
            self.fail("RP103", scalar, f"`{name}` wants a number, got {describe(scalar)}", help)
        number = int(scalar.text)
        if not bounds.low <= number <= bounds.high:
            self.fail("RP104", scalar, f"`{name}` is a number from {bounds.low} to {bounds.high}, got {number}")
        return number

    def choice(self, node: Node, name: str, allowed: tuple[Any, ...]) -> Any:
        words = [str(choice) for choice in allowed]
        scalar = self.scalar(node, name, f"one of {', '.join(words)}" if len(words) > 1 else f"`{words[0]}`")
        for choice in allowed:
            if str(choice) == scalar.text:
                return choice
        meant = suggest(scalar.text, words)
        return self.fail(
            "RP104",
            scalar,
            f"`{name}` is one of {', '.join(words)}; got `{scalar.text}`",
            f"did you mean `{meant}`?" if meant else "",
        )

    def record(self, cls: type[T], node: nodes.Mapping, name: str, others: Callable[[str], str] | None = None) -> T:
        """The mapping read into a dataclass: every key, every diagnostic.

        `others` may say what an unknown key belongs to.

        Raises:
            Bad: at least one key was wrong or missing.
        """
        schema = schema_of(cls)
        synonyms: dict[str, str] = getattr(cls, "synonyms", {})
        values: dict[str, object] = {}
        failed = False
        for key, child in node.entries:
            field = schema.get(key.text)
            if field is None:
                failed = True
                near = suggest(key.text, schema, synonyms)
                belongs = others(key.text) if others is not None and near is None else ""
                if belongs:
                    self.note("RP102", key, f"`{key.text}` is no key of `{name}`", belongs)
                else:
                    self.unknown(key, schema, f"in `{name}`", synonyms)
                continue
            try:
                values[field.attribute] = self.value(field.kind, child, key.text)
            except Bad:
                failed = True
        missing = [key for key, field in schema.items() if field.required and field.attribute not in values]
        if missing and not failed:
            self.fail("RP103", node, f"`{name}` needs `{missing[0]}`", f"add `{missing[0]}: …`")
        if failed:
            raise Bad
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Field:
    """A key of a record: the attribute it fills, the type it accepts, whether it must be there."""

    attribute: str
    kind: Any
    required: bool


_SCHEMAS: dict[type, dict[str, Field]] = {}


def schema_of(cls: type) -> dict[str, Field]:
    """The keys of a record, as YAML spells them."""
    if cls in _SCHEMAS:
        return _SCHEMAS[cls]
    hints = get_type_hints(cls, include_extras=True)
    _SCHEMAS[cls] = {
        # A key that is a word of Python has a mark at its end as an attribute: `from_`.
        field.name.rstrip("_").replace("_", "-"): Field(
            field.name, hints[field.name], field.default is MISSING and field.default_factory is MISSING
        )
        for field in fields(cls)
        if not field.name.startswith("_")
    }
    return _SCHEMAS[cls]


def describe(node: Node) -> str:
    """What a node is, in words."""
    if isinstance(node, nodes.Mapping):
        return "keys with values"
    if isinstance(node, nodes.Sequence):
        return "a list"
    if node.empty:
        return "nothing"
    shown = node.text if len(node.text) <= 40 else node.text[:39] + "…"
    return f"`{shown}`"


def _unquoted_brace(node: nodes.Mapping) -> str:
    return "quote the value if its `{` belongs to it" if node.flow else "write the value on the same line, or after `|`"
