"""Rule files: read, checked, and turned into rules, with every mistake in all of them found in one go.

It knows the keys of a rule file. How values are read is in `schema`, how YAML becomes nodes in `nodes`.
"""

from __future__ import annotations

import gc
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

from rulesproxy.diagnostics import Diagnostic, DiagnosticError, Label, Source, Span
from rulesproxy.filters import ast
from rulesproxy.filters.problem import FilterError, Problem
from rulesproxy.rules import nodes
from rulesproxy.rules.entry import read_rule
from rulesproxy.rules.match import FilterText
from rulesproxy.rules.model import Loaded, Rule
from rulesproxy.rules.nodes import File, Node, NodeError, Scalar, read_nodes
from rulesproxy.rules.schema import Bad, Names, Reader
from rulesproxy.rules.template import Template

VERSION = 1
ENDINGS = (".yaml", ".yml")
TOP_KEYS = ("version", "vars", "lists", "filters", "rules")
PROJECT_FILE = "rulesproxy.yaml"
PROJECT_KEYS = ("options", "addons")
"""Further keys, for the project file only; `project` reads them."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*").fullmatch
_LIST_BYTES = 16 * 1024 * 1024


class RulesError(DiagnosticError):
    """Rule files that cannot be used."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        super().__init__(diagnostics)


def load_files(paths: Sequence[Path], env: Mapping[str, str] | None = None) -> Loaded:
    """Read rule files; a folder means its `*.yaml` and `*.yml` files by name. Nothing is raised: see `diagnostics`."""
    loader = _Loader(env)
    with _collector_paused():
        for path in paths:
            for file in loader.expand(path):
                loader.file(file)
        return loader.loaded()


@contextmanager
def _collector_paused() -> Iterator[None]:
    """What is made while rules are read is kept, or dies by its reference count: the collector would find nothing."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def load_text(text: str, name: str = "<text>", env: Mapping[str, str] | None = None) -> Loaded:
    """Read a text as a rule file that stands in the working folder."""
    loader = _Loader(env)
    loader.text(Source(name, text), Path())
    return loader.loaded()


@lru_cache(maxsize=20_000)
def parse_filter(text: str) -> ast.Node:
    """The tree of a filter. Remembered by its text: a reload parses only what has changed.

    Raises:
        FilterError: it has a syntax error.
    """
    from rulesproxy.filters.parse import parse

    return parse(text)


@dataclass(slots=True)
class Scope:
    """What the rules of one file may refer to, and the ids of all files so far."""

    names: dict[str, object]
    places: dict[str, Span]
    vars: dict[str, str]
    ids: dict[str, Span]
    used: set[str]


class _Loader:
    """Collects rules and diagnostics over several files."""

    def __init__(self, env: Mapping[str, str] | None) -> None:
        self.env = env
        self.rules: list[Rule] = []
        self.diagnostics: list[Diagnostic] = []
        self.files: list[Path] = []
        self.hash = hashlib.sha256()
        self.ids: dict[str, Span] = {}
        self.used: set[str] = set()

    def loaded(self) -> Loaded:
        return Loaded(tuple(self.rules), tuple(self.diagnostics), tuple(self.files), self.hash.hexdigest())

    def expand(self, path: Path) -> list[Path]:
        """The rule files that a path stands for."""
        if not path.is_dir():
            return [path]
        try:
            found = sorted(entry for entry in path.iterdir() if entry.suffix in ENDINGS and entry.is_file())
        except OSError as error:
            self._unreadable(path, error)
            return []
        if not found:
            self.diagnostics.append(
                Diagnostic(
                    "RP001", "error", f"the folder `{path}` has no rule files", help="rule files end in .yaml or .yml"
                )
            )
        return found

    def file(self, path: Path) -> None:
        data = self._read(path)
        if data is None:
            return
        source = self._decode(path, data)
        if source is not None:
            self.text(source, path.parent)

    def text(self, source: Source, folder: Path) -> None:
        """Read one file's text."""
        self.hash.update(source.text.encode("utf-8", "surrogatepass"))
        try:
            root = read_nodes(source)
        except NodeError as error:
            self.diagnostics.extend(error.diagnostics)
            return
        reader = Reader(folder, self.env)
        try:
            self._top(root, reader)
        except Bad:
            pass
        self.diagnostics.extend(sorted(reader.problems, key=_place))

    def _read(self, path: Path) -> bytes | None:
        self.files.append(path)
        try:
            if path.exists() and not path.is_file():
                raise OSError("not a regular file")
            with path.open("rb") as file:
                data = file.read(4 * nodes.MAX_CHARACTERS + 1)
        except (OSError, ValueError) as error:
            self._unreadable(path, error)
            return None
        return data

    def _unreadable(self, path: Path, error: Exception) -> None:
        words = (getattr(error, "strerror", None) or str(error)).lower()
        beside = path.parent if not path.exists() else None
        self.diagnostics.append(
            Diagnostic("RP001", "error", f"cannot read `{path}`: {words}", help=_nearest(path, beside))
        )

    def _decode(self, path: Path, data: bytes) -> Source | None:
        try:
            return Source(str(path), data.decode("utf-8").removeprefix("\ufeff"))
        except UnicodeDecodeError as error:
            before = data[: error.start].decode("utf-8", "replace")
            source = Source(str(path), data.decode("utf-8", "replace"))
            self.diagnostics.append(
                Diagnostic(
                    "RP002",
                    "error",
                    f"byte 0x{data[error.start]:02X} is not UTF-8",
                    File(source).span(len(before), len(before) + 1),
                    help="save the file as UTF-8",
                )
            )
            return None

    # One file

    def _top(self, root: Node, reader: Reader) -> None:
        if isinstance(root, Scalar) and root.empty:
            reader.fail("RP108", root, "this file is empty", "begin with `version: 1` and a list of `rules:`")
        if isinstance(root, nodes.Sequence):
            reader.fail(
                "RP103", root, "a rule file is made of keys, got a list", "put `version: 1` and `rules:` in front of it"
            )
        top = reader.mapping(root, "a rule file", "`version: 1` and `rules:`")
        project = Path(top.span.source.path).name == PROJECT_FILE
        for key, _ in top.entries:
            if key.text in PROJECT_KEYS:
                if not project:
                    reader.note(
                        "RP102", key, f"`{key.text}` is for the project file only", f"move it to {PROJECT_FILE}"
                    )
            elif key.text not in TOP_KEYS:
                reader.unknown(key, TOP_KEYS, "in a rule file", {"rule": "rules", "variables": "vars", "list": "lists"})
        self._version(top, reader)
        scope = Scope({}, {}, {}, self.ids, self.used)
        for name, read in (("vars", self._vars), ("lists", self._lists), ("filters", self._filters)):
            node = top.get(name)
            if node is not None and not (isinstance(node, Scalar) and node.empty):
                try:
                    read(reader.mapping(node, name, f"`{name}: {{name: …}}`"), reader, scope)
                except Bad:
                    pass
        self._rules(top.get("rules"), reader, scope)

    def _version(self, top: nodes.Mapping, reader: Reader) -> None:
        node = top.get("version")
        if node is None:
            reader.note("RP108", top, "this file has no `version`", "add `version: 1` as its first line")
            return
        text = node.text if isinstance(node, Scalar) else ""
        if text == str(VERSION):
            return
        if text.isdigit():
            reader.note("RP108", node, f"version {text} is not supported", f"this rulesproxy reads version {VERSION}")
        else:
            reader.note("RP108", node, "`version` is a whole number", f"write `version: {VERSION}`")

    def _vars(self, mapping: nodes.Mapping, reader: Reader, scope: Scope) -> None:
        for key, child in mapping.entries:
            try:
                self._name(key, reader, scope)
                reader.names = Names({}, scope.vars, reader.names.env)
                template = Template.read(child, reader, key.text)
                if template.constant is None:
                    reader.fail(
                        "RP605",
                        child,
                        "a variable is fixed when the file is loaded",
                        "use ${env:NAME}, ${vars.name} or plain text",
                    )
                scope.vars[key.text] = template.constant
                scope.names[key.text] = template.constant
            except Bad:
                # The name is known all the same: a bad value must not make every use of it an error too.
                scope.vars.setdefault(key.text, "")
                scope.names.setdefault(key.text, "")

    def _lists(self, mapping: nodes.Mapping, reader: Reader, scope: Scope) -> None:
        for key, child in mapping.entries:
            try:
                self._name(key, reader, scope)
                if isinstance(child, nodes.Mapping):
                    scope.names[key.text] = self._list_file(child, reader)
                elif isinstance(child, nodes.Sequence):
                    scope.names[key.text] = tuple(reader.text(item, key.text) for item in child.items)
                else:
                    reader.fail("RP103", child, f"the list `{key.text}` wants a list", f"write `{key.text}: [a, b]`")
            except Bad:
                scope.names.setdefault(key.text, ())

    def _list_file(self, mapping: nodes.Mapping, reader: Reader) -> tuple[str, ...]:
        node = mapping.get("file")
        for key, _ in mapping.entries:
            if key.text != "file":
                reader.unknown(key, ("file",), "in a list")
        if node is None:
            reader.fail("RP103", mapping, "a list is `[a, b]` or `{file: …}`", "add `file: lists/name.txt`")
        path = reader.folder / reader.text(node, "file")
        self.files.append(path)
        try:
            if not path.is_file():
                raise FileNotFoundError(2, "no such file")
            with path.open("rb") as file:
                data = file.read(_LIST_BYTES)
            text = data.decode("utf-8").removeprefix("\ufeff")
        except UnicodeDecodeError:
            reader.fail("RP806", node, f"the list `{path}` is not UTF-8", "save it as UTF-8")
        except (OSError, ValueError) as error:
            words = (getattr(error, "strerror", None) or str(error)).lower()
            reader.fail(
                "RP601", node, f"cannot read the list `{path}`: {words}", "the path is relative to the rule file"
            )
        self.hash.update(data)
        lines = [line.partition("#")[0].strip() for line in text.splitlines()]
        return tuple(line for line in lines if line)

    def _filters(self, mapping: nodes.Mapping, reader: Reader, scope: Scope) -> None:
        texts: dict[str, FilterText] = {}
        for key, child in mapping.entries:
            try:
                self._name(key, reader, scope)
                scalar = reader.scalar(child, key.text, "a filter")
                text = FilterText(scalar.text, scalar.part)
                try:
                    scope.names[key.text] = parse_filter(scalar.text)
                except FilterError as error:
                    report(error.problems, text, reader)
                    raise Bad from None
                texts[key.text] = text
            except Bad:
                scope.names.setdefault(key.text, parse_filter("~all"))
        self._check_filters(texts, reader, scope)

    def _check_filters(self, texts: Mapping[str, FilterText], reader: Reader, scope: Scope) -> None:
        """Check named filters where they stand. One with a mistake is not asked again by each rule that uses it."""
        from rulesproxy.filters.check import check

        bad = set()
        for name, text in texts.items():
            tree = scope.names[name]
            try:
                warnings = check(cast(ast.Node, tree), scope.names).warnings
            except FilterError as error:
                # What is wrong in another filter is said there, unless the two need each other.
                own = [
                    each
                    for each in error.problems
                    if "needs itself" in each.title or not each.title.startswith("in `$")
                ]
                report(own, text, reader)
                bad.add(name)
            else:
                # Whose bodies are read is a matter of the rules that use it.
                report([warning for warning in warnings if warning.code != "RP403"], text, reader)
        for name in bad:
            scope.names[name] = parse_filter("~all")

    def _name(self, key: Scalar, reader: Reader, scope: Scope) -> None:
        """Variables, lists and filters share one name space, since `$name` may mean each of them."""
        if not _NAME(key.text):
            reader.fail(
                "RP807",
                key,
                f"`{key.text}` cannot be a name",
                "a name has letters, digits, `_` and `-`, and starts with a letter",
            )
        first = scope.places.get(key.text)
        if first is not None:
            reader.note(
                "RP805",
                key,
                f"the name `{key.text}` is used twice",
                "variables, lists and filters share one name space: rename one",
                labels=[Label(first, "first used here")],
            )
            raise Bad
        scope.places[key.text] = key.span

    def _rules(self, node: Node | None, reader: Reader, scope: Scope) -> None:
        if node is None or (isinstance(node, Scalar) and node.empty):
            return
        if isinstance(node, nodes.Mapping):
            reader.fail("RP112", node, "`rules` must be a list", "start every rule with `- `")
        if not isinstance(node, nodes.Sequence):
            reader.fail("RP112", node, "`rules` must be a list", "start every rule with `- ` on a line of its own")
        env = reader.names.env
        for item in node.items:
            reader.names = Names({}, scope.vars, env)
            try:
                rule = read_rule(item, reader, scope)
            except Bad:
                continue
            if rule is not None:
                self.rules.append(rule)


def report(problems: Sequence[Problem], text: FilterText, reader: Reader) -> None:
    """Record what is wrong with a filter at its places in the file."""
    for problem in problems:
        span = text.place(problem.start, problem.end)
        reader.note(problem.code, span, problem.title, problem.help, problem.label, severity=problem.severity)


def _place(diagnostic: Diagnostic) -> tuple[int, int]:
    return (diagnostic.span.line, diagnostic.span.column) if diagnostic.span else (0, 0)


def _nearest(path: Path, folder: Path | None) -> str:
    from rulesproxy.diagnostics import suggest

    try:
        names = [entry.name for entry in folder.iterdir()] if folder is not None else []
    except OSError:
        return f"the folder `{folder}` cannot be read either"
    meant = suggest(path.name, names)
    return f"did you mean `{path.with_name(meant)}`?" if meant else "check the name and the permissions"
