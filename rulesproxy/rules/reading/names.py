"""The names of one rule file: its `vars`, `lists` and `filters`, as its profiles and an including file make them.

A file sees its own names only. What it gives them are defaults: a profile that is on puts others in their place, and
what stands beside `include` wins over both. Values that are not in force are checked all the same, but for the
environment, which need not have what nobody asks for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from rulesproxy.diagnostics import Label, Span
from rulesproxy.filters import ast
from rulesproxy.filters.problem import FilterError, Problem
from rulesproxy.rules.files.nodes import Node, Scalar
from rulesproxy.rules.files.profiles import PROFILE_KEYS, layers, section
from rulesproxy.rules.reading.lists import Items, check_list, read_list, texts, uses
from rulesproxy.rules.reading.match import FilterText
from rulesproxy.rules.schema import Bad, Names, Reader
from rulesproxy.rules.template import Template

if TYPE_CHECKING:
    from rulesproxy.rules.files import nodes
    from rulesproxy.rules.files.closure import Closure
    from rulesproxy.rules.files.profiles import Profiles

T = TypeVar("T")

KIND = {"vars": "variable", "lists": "list", "filters": "filter"}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*").fullmatch


class Asked(dict[str, T]):
    """Values by name that remember which names were looked up."""

    def __init__(self, asked: set[str]) -> None:
        super().__init__()
        self.asked = asked

    def __getitem__(self, name: str) -> T:
        self.asked.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return super().get(name, default)


@dataclass(slots=True)
class Handed:
    """What stands beside an `include`: values for names of the included file.

    Attributes:
        vars, lists, filters: the values by name. The filters refer to `outer`.
        outer: what the filters refer to, under names that no file can have.
        keys: where each name stands, by section and name.
        prefix: what the names of the included rules begin with: the `id` and a `/`, where there is one.
    """

    vars: dict[str, str] = field(default_factory=dict)
    lists: dict[str, Items] = field(default_factory=dict)
    filters: dict[str, ast.Node] = field(default_factory=dict)
    outer: dict[str, object] = field(default_factory=dict)
    keys: dict[tuple[str, str], Scalar] = field(default_factory=dict)
    prefix: str = ""


@dataclass(slots=True)
class Scope:
    """What the rules of one file may refer to, and what all files so far have used.

    Attributes:
        ids: the ids of rules, with their places.
        used: the names of rules.
        prefix: what the names of its rules begin with.
        names: variables, lists and filters for `$name`: text, tuples of text, trees.
        vars: variables for `${vars.name}`.
        keys: where the names of this file stand, with their sections.
    """

    ids: dict[str, Span]
    used: set[str]
    prefix: str = ""
    names: Asked[object] = field(init=False)
    vars: Asked[str] = field(init=False)
    keys: dict[str, tuple[str, Scalar]] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.names, self.vars = Asked(self.asked), Asked(self.asked)

    def names_of(self, kind: str) -> set[str]:
        """The names that one section of the file declares."""
        return {name for name, (its, _) in self.keys.items() if its == kind}


@lru_cache(maxsize=20_000)
def parse_filter(text: str) -> ast.Node:
    """The tree of a filter. Remembered by its text: a reload parses only what has changed.

    Raises:
        FilterError: it has a syntax error.
    """
    from rulesproxy.filters.parse import parse

    return parse(text)


def report(problems: Iterable[Problem], text: FilterText, reader: Reader) -> None:
    """Record what is wrong with a filter at its places in the file."""
    for problem in problems:
        span = text.place(problem.start, problem.end)
        reader.note(problem.code, span, problem.title, problem.help, problem.label, severity=problem.severity)


class AnyEnvironment(Mapping[str, str]):
    """The environment for what is not in force: every variable is set."""

    def __getitem__(self, name: str) -> str:
        return ""

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 0


class NameReader:
    """Reads the names of one file into a scope."""

    def __init__(
        self, reader: Reader, scope: Scope, closure: Closure, profiles: Profiles, handed: Handed, trees: list[ast.Node]
    ) -> None:
        """`trees` are the filters of the file, which say how lists are used."""
        self.reader = reader
        self.scope = scope
        self.closure = closure
        self.profiles = profiles
        self.handed = handed
        self.trees = trees
        self.env = reader.names.env
        self._in_force = True

    def read(self, top: nodes.Mapping) -> None:
        """Read the sections of a file."""
        own = layers(top, self.reader, self.profiles)
        self.on = [own[name] for name in self.profiles.on if name in own]
        self.off = [layer for name, layer in own.items() if name not in self.profiles.on]
        self.scope.names.update(self.handed.outer)
        for name, read in (("vars", self._vars), ("lists", self._lists), ("filters", self._filters)):
            read([(key, node) for key, node in section(top, name, self.reader) if self._name(key, name)])
            for layer in (*self.on, *self.off):
                self._known(section(layer, name, self.reader), name)

    def unused(self) -> None:
        """Warn about names that nothing refers to (RP801)."""
        for name, (kind, key) in self.scope.keys.items():
            if name not in self.scope.asked:
                title = f"the {KIND[kind]} `{name}` is never used"
                self.reader.note("RP801", key, title, "remove it", severity="warning")

    # Sections

    def _vars(self, entries: list[tuple[Scalar, Node]]) -> None:
        def read(node: Node, name: str) -> str:
            return read_var(node, name, self.reader)

        for key, own in entries:
            value = self._value("vars", key, own, self.handed.vars, read)
            # A bad value has been said: it must not make every use of the name an error too.
            self.scope.vars[key.text] = value or ""
            self.scope.names[key.text] = value or ""
        self._others("vars", read)

    def _lists(self, entries: list[tuple[Scalar, Node]]) -> None:
        def read(node: Node, name: str) -> Items:
            return read_list(node, name, self.reader, self.closure)

        found = {key.text: self._value("lists", key, own, self.handed.lists, read) for key, own in entries}
        self._others("lists", read)
        used = uses([*self.trees, *self.handed.filters.values()]) if found else {}
        for name, items in found.items():
            self.scope.names[name] = texts(check_list(name, items or (), used.get(name, set()), self.reader))

    def _filters(self, entries: list[tuple[Scalar, Node]]) -> None:
        written: list[tuple[str, FilterText, ast.Node, bool]] = []

        def read(node: Node, name: str) -> ast.Node:
            text, tree = read_filter(node, name, self.reader)
            written.append((name, text, tree, self._in_force))
            return tree

        for key, own in entries:
            tree = self._value("filters", key, own, self.handed.filters, read)
            self.scope.names[key.text] = tree or parse_filter("~all")
        self._others("filters", read)
        names = self.scope.names
        bad = [name for name, text, tree, on in written if not check_filter(text, tree, names, self.reader) and on]
        if bad:
            # One with a mistake is not asked again by each rule that uses it.
            names.update(dict.fromkeys(bad, parse_filter("~all")))

    # Values

    def _value(
        self, kind: str, key: Scalar, own: Node, handed: Mapping[str, T], read: Callable[[Node, str], T]
    ) -> T | None:
        """The value in force for a name; None for a bad one. Those that others have replaced are read too."""
        written = [own]
        for layer in self.on:
            written += [node for name, node in section(layer, kind, self.reader) if name.text == key.text]
        given = key.text in handed
        for node in written if given else written[:-1]:
            self._read(node, key.text, read, False)
        return handed[key.text] if given else self._read(written[-1], key.text, read, True)

    def _others(self, kind: str, read: Callable[[Node, str], object]) -> None:
        """Read the values of the profiles that are off."""
        for layer in self.off:
            for key, node in section(layer, kind, self.reader):
                self._read(node, key.text, read, False)

    def _read(self, node: Node, name: str, read: Callable[[Node, str], T], in_force: bool) -> T | None:
        self._in_force = in_force
        self.reader.names = Names({}, self.scope.vars, self.env if in_force else AnyEnvironment())
        try:
            return read(node, name)
        except Bad:
            return None

    def _name(self, key: Scalar, kind: str) -> bool:
        """Take a name. Variables, lists and filters share one name space, since `$name` may mean each of them."""
        if not _NAME(key.text):
            help = "a name has letters, digits, `_` and `-`, and starts with a letter"
            self.reader.note("RP807", key, f"`{key.text}` cannot be a name", help)
            return False
        first = self.scope.keys.get(key.text)
        if first is not None:
            help = "variables, lists and filters share one name space: rename one"
            labels = [Label(first[1].span, "first used here")]
            self.reader.note("RP805", key, f"the name `{key.text}` is used twice", help, labels=labels)
            return False
        self.scope.keys[key.text] = (kind, key)
        return True

    def _known(self, entries: Iterable[tuple[Scalar, Node]], kind: str) -> None:
        """A profile changes what is there: a name that only it has would be missing without it."""
        for key, _ in entries:
            if self.scope.keys.get(key.text, ("", None))[0] != kind:
                unknown_name(
                    key, kind, [name for name, (its, _) in self.scope.keys.items() if its == kind], self.reader
                )


def unknown_name(key: Scalar, kind: str, known: Iterable[str], reader: Reader, where: str = "this file") -> None:
    """Record that a value is given for a name that is none (RP808)."""
    from rulesproxy.diagnostics import suggest

    names = sorted(known)
    meant = suggest(key.text, names)
    default = f"declare it with a default under `{kind}:`"
    if where != "this file":
        default = f"its {kind} are {', '.join(names)}" if names else f"it has no `{kind}:`"
    help = f"did you mean `{meant}`?" if meant else default
    reader.note("RP808", key, f"{where} has no {KIND[kind]} `{key.text}`", help)


def read_var(node: Node, name: str, reader: Reader) -> str:
    """The value of a variable.

    Raises:
        Bad: it is no text that is known when the file is loaded.
    """
    if isinstance(node, Scalar) and node.plain and node.text[:1] == "$" and node.text[1:] in reader.names.vars:
        help = f"write `${{vars.{node.text[1:]}}}`, or quote the text"
        reader.fail("RP605", node, f"`{node.text}` is for filters; here it would be this very text", help)
    template = Template.read(node, reader, name)
    if template.constant is None:
        title = "a variable is fixed when the file is loaded"
        reader.fail("RP605", node, title, "use ${env:NAME}, ${vars.name} or plain text")
    return template.constant


def read_filter(node: Node, name: str, reader: Reader) -> tuple[FilterText, ast.Node]:
    """A named filter.

    Raises:
        Bad: it has a syntax error.
    """
    scalar = reader.raw(node, name, "a filter")
    text = FilterText(scalar.text, scalar.part)
    try:
        return text, parse_filter(scalar.text)
    except FilterError as error:
        report(error.problems, text, reader)
        raise Bad from None


def check_filter(text: FilterText, tree: ast.Node, names: Mapping[str, object], reader: Reader) -> bool:
    """Check a named filter where it stands; whether it can be used."""
    from rulesproxy.filters.check import check

    try:
        warnings = check(tree, names).warnings
    except FilterError as error:
        # What is wrong in another filter is said there, unless the two need each other.
        own = [each for each in error.problems if "needs itself" in each.title or not each.title.startswith("in `$")]
        report(own, text, reader)
        return False
    # Whose bodies are read is a matter of the rules that use it.
    report([warning for warning in warnings if warning.code != "RP403"], text, reader)
    return True


def read_handed(mapping: nodes.Mapping, reader: Reader, scope: Scope, closure: Closure) -> Handed:
    """What stands beside an `include`, in the names of the including file."""
    handed = Handed(prefix=scope.prefix)
    identity = mapping.get("id")
    try:
        handed.prefix += f"{reader.text(identity, 'id')}/" if identity is not None else ""
    except Bad:
        pass
    outer = _Outer(reader.folder, mapping, scope)
    for kind in PROFILE_KEYS:
        for key, node in section(mapping, kind, reader):
            handed.keys[kind, key.text] = key
            try:
                if kind == "vars":
                    handed.vars[key.text] = read_var(node, key.text, reader)
                elif kind == "lists":
                    handed.lists[key.text] = read_list(node, key.text, reader, closure)
                else:
                    text, tree = read_filter(node, key.text, reader)
                    if check_filter(text, tree, scope.names, reader):
                        handed.filters[key.text] = outer.renamed(tree)
            except Bad:
                continue
    handed.outer = outer.names
    return handed


class _Outer:
    """Gives the names that handed filters refer to other names, so that the included file's own cannot be meant."""

    def __init__(self, folder: object, mapping: nodes.Mapping, scope: Scope) -> None:
        self.prefix = f"{mapping.file.source.path}:"
        self.scope = scope
        self.names: dict[str, object] = {}

    def renamed(self, tree: ast.Node) -> ast.Node:
        return cast(ast.Node, self._node(tree))

    def _node(self, node: object) -> object:
        if isinstance(node, tuple):
            return tuple([self._node(item) for item in node])
        if not is_dataclass(node) or isinstance(node, type):
            return node
        if isinstance(node, ast.Named):
            return replace(node, name=self._name(node.name))
        return replace(node, **{each.name: self._node(getattr(node, each.name)) for each in fields(node)})

    def _name(self, name: str) -> str:
        other = self.prefix + name
        if other not in self.names:
            value = self.scope.names[name]
            # A text or a list is itself; the entry is there before a filter is walked, in case it names itself.
            self.names[other] = value
            if not isinstance(value, (str, tuple)):
                self.names[other] = self._node(value)
        return other
