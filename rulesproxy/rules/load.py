"""Rule files: read, checked, and turned into rules, with every mistake in all of them found in one go.

It knows the order in which files are read. The keys of a file are known by `top`, what its names mean by `names`, how
values are read by `schema`, how YAML becomes nodes by `compose`.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rulesproxy.diagnostics import Diagnostic, DiagnosticError, Source, Span
from rulesproxy.diagnostics.ignore import MARK, Ignore, divide, find_ignores
from rulesproxy.limits import INCLUDE_DEPTH
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.closure import ENDINGS, Closure, TooMany
from rulesproxy.rules.files.compose import MAX_CHARACTERS, NodeError, read_nodes
from rulesproxy.rules.files.file_text import decode, real_path, unreadable
from rulesproxy.rules.files.include import Include, included_files, is_include, no_match, read_include, slip
from rulesproxy.rules.files.nodes import Node, Scalar
from rulesproxy.rules.files.packs import PACK, pack
from rulesproxy.rules.files.profiles import Profiles
from rulesproxy.rules.files.top import filter_trees, read_top, rule_nodes
from rulesproxy.rules.model import Loaded, Rule
from rulesproxy.rules.reading.entry import read_rule
from rulesproxy.rules.reading.names import (
    AnyEnvironment,
    Handed,
    NameReader,
    Scope,
    unknown_name,
)
from rulesproxy.rules.schema import Bad, Names, Reader

if TYPE_CHECKING:
    from rulesproxy.rules.dry.cases import Case


class RulesError(DiagnosticError):
    """Rule files that cannot be used.

    Attributes:
        watch: what to watch for changes, see `Loaded`: a fix may be made in any of these files.
    """

    def __init__(self, diagnostics: Sequence[Diagnostic], watch: Sequence[Path] = ()) -> None:
        super().__init__(diagnostics)
        self.watch = tuple(watch)


def load_files(
    paths: Sequence[Path],
    env: Mapping[str, str] | None = None,
    profiles: Sequence[str] = (),
    vars: Mapping[str, str] | None = None,
    closure: Closure | None = None,
) -> Loaded:
    """Read rule files; a folder means its `*.yaml` and `*.yml` files by name, `pack:NAME` a pack.

    Nothing is raised: see `diagnostics`. `profiles` are those that are switched on; a later one wins. `vars` are values
    for variables of these files, as if they were included with them. A `closure` keeps, or gives, what is on disk.
    """
    loader = _Loader(env, profiles, vars)
    if closure is not None:
        loader.closure = closure
    with _collector_paused():
        for path in paths:
            loader.named(path)
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


def load_text(
    text: str, name: str = "<text>", env: Mapping[str, str] | None = None, profiles: Sequence[str] = ()
) -> Loaded:
    """Read a text as a rule file that stands in the working folder."""
    loader = _Loader(env, profiles)
    loader.closure.add(name, text.encode("utf-8", "surrogatepass"))
    loader.text(Source(name, text), Path(), Handed(), True)
    return loader.loaded()


def load_bytes(
    data: bytes, name: str, folder: Path = Path(), profiles: Sequence[str] = (), closure: Closure | None = None
) -> Loaded:
    """Read what came from elsewhere, such as from standard input, as a rule file that stands in a folder."""
    loader = _Loader(None, profiles)
    if closure is not None:
        loader.closure = closure
    loader.closure.add(name, data)
    problems: list[Diagnostic] = []
    loader.parts.append((name, problems))
    source = decode(Path(name), data, problems)
    if source is not None:
        loader.text(source, folder, Handed(), True)
    return loader.loaded()


def is_absent(diagnostics: Iterable[Diagnostic]) -> bool:
    """Whether something that was named from outside is not there: a mistake in arguments, and not in a rule file."""
    return any(each.span is None and each.code in ("RP001", "RP811") for each in diagnostics)


class _Loader:
    """Collects rules and diagnostics over several files."""

    def __init__(
        self, env: Mapping[str, str] | None, profiles: Sequence[str], vars: Mapping[str, str] | None = None
    ) -> None:
        self.env = env
        self.handed = Handed(vars=dict(vars or {}))
        self.profiles = Profiles(profiles)
        self.closure = Closure()
        self.rules: list[Rule] = []
        self.ignores: dict[Span, Ignore] = {}
        self.ids: dict[str, Span] = {}
        self.used: set[str] = set()
        self.tests: list[Case] = []
        self.parts: list[tuple[str, list[Diagnostic]]] = []
        self.secrets: list[set[str]] = []
        self.chain: list[tuple[Path, str]] = []

    def loaded(self) -> Loaded:
        self.parts.append(("", list(self.profiles.check())))
        if self.tests:
            from rulesproxy.rules.dry.case_checks import check_names

            names = {rule.name for rule in self.rules}
            if any(each.severity == "error" for _, part in self.parts for each in part):
                # A rule that is missing because of a mistake is not switched off as well.
                names |= set(self.ids)
            problems = list(check_names(self.tests, names, set(self.ids)))
            self.parts.append(("", problems))
        # A file that is included twice has its mistakes once.
        found = {str(each): each for path, part in self.parts for each in sorted(part, key=partial(_place, path))}
        ignores = tuple(self.ignores.values())
        said, silenced = divide(found.values(), ignores)
        return Loaded(
            tuple(self.rules),
            said,
            self.closure.files,
            tuple(self.closure.paths),
            self.closure.digest,
            tuple(self.tests),
            ignores,
            silenced,
            frozenset().union(*self.secrets),
        )

    # Files

    def named(self, path: Path) -> None:
        """Read what was named from outside: a file, a folder or a pack."""
        problems: list[Diagnostic] = []
        self.parts.append((str(path), problems))
        try:
            for file in self._expand(path, problems):
                self.closure.count()
                self._file(file, problems, self.handed, True)
        except TooMany as error:
            problems.append(Diagnostic("RP809", "error", f"these are {error}", help="name fewer of them"))

    def _expand(self, path: Path, problems: list[Diagnostic]) -> list[Path]:
        if str(path).startswith(PACK):
            try:
                return [pack(str(path))]
            except FileNotFoundError as error:
                title = f"there is no pack `{str(path).removeprefix(PACK)}`"
                problems.append(Diagnostic("RP811", "error", title, help=str(error)))
                return []
        if not self.closure.is_folder(path):
            return [path]
        try:
            found = self.closure.folder(path)
        except OSError as error:
            problems.append(unreadable(path, error))
            return []
        if not found:
            title = f"the folder `{path}` has no rule files"
            problems.append(Diagnostic("RP001", "error", title, help=f"rule files end in {' or '.join(ENDINGS)}"))
        return found

    def _file(self, path: Path, problems: list[Diagnostic], handed: Handed, on: bool) -> Scope | None:
        """Read a file; its names, or None where they could not be found out."""
        try:
            data = self.closure.read(path, 4 * MAX_CHARACTERS)
        except (OSError, ValueError) as error:
            hint = "the path is relative to the file that it stands in" if self.chain else ""
            problems.append(unreadable(path, error, hint))
            return None
        source = decode(path, data, problems)
        if source is None:
            return None
        self.chain.append((real_path(path), str(path)))
        try:
            return self.text(source, path.parent, handed, on)
        finally:
            self.chain.pop()

    def text(self, source: Source, folder: Path, handed: Handed, on: bool) -> Scope | None:
        """Read one file's text; `on` says whether its rules are there."""
        try:
            root = read_nodes(source)
        except NodeError as error:
            self.parts.append((source.path, list(error.diagnostics)))
            return None
        if MARK in source.text:
            self.ignores.update({ignore.span: ignore for ignore in find_ignores(source, nodes.texts(root))})
        reader = Reader(folder, self.env)
        reader.closure = self.closure
        self.parts.append((source.path, reader.problems))
        # The set is filled while the file is read.
        self.secrets.append(reader.secrets)
        scope = Scope(self.ids, self.used, handed.prefix)
        try:
            self._top(root, reader, scope, handed, on)
        except Bad:
            pass
        return scope

    # One file

    def _top(self, root: Node, reader: Reader, scope: Scope, handed: Handed, on: bool) -> None:
        top = read_top(root, reader)
        items = rule_nodes(top, reader)
        trees = filter_trees(top, items, reader) if top.get("lists") is not None else []
        names = NameReader(reader, scope, self.closure, self.profiles, handed, trees)
        env = reader.names.env
        names.read(top)
        for item in items:
            reader.names = Names({}, scope.vars, env)
            try:
                self._entry(item, reader, scope, on, env)
            except Bad:
                continue
        self._tests(top.get("tests"), reader, scope)
        if not any(problem.severity == "error" for problem in reader.problems):
            names.unused()

    def _tests(self, node: Node | None, reader: Reader, scope: Scope) -> None:
        if node is not None and not (isinstance(node, Scalar) and node.null):
            from rulesproxy.rules.dry.case_checks import read_cases

            self.tests += read_cases(node, reader, scope.names_of("vars"), self.profiles)

    def _entry(self, item: Node, reader: Reader, scope: Scope, on: bool, env: Mapping[str, str]) -> None:
        if isinstance(item, nodes.Mapping) and is_include(item):
            tests = len(self.tests)
            self._include(read_include(item, reader, scope, self.closure, self.profiles), reader, on)
            # The tests of an included file are about that file alone: its values are other ones here.
            del self.tests[tests:]
            return
        meant = slip(item)
        if meant is not None:
            reader.fail("RP101", meant, f"unknown key `{meant.text}` in a list of rules", "did you mean `include`?")
        on = on and (not isinstance(item, nodes.Mapping) or self.profiles.allow(item, reader))
        if not on:
            # What is not there is checked, but needs no environment.
            reader.names = Names({}, scope.vars, AnyEnvironment())
        rule = read_rule(item, reader, scope)
        if on and rule is not None:
            self.rules.append(rule)

    # Includes

    def _include(self, include: Include, reader: Reader, on: bool) -> None:
        if len(self.chain) >= INCLUDE_DEPTH:
            title = f"more than {INCLUDE_DEPTH} files include one another in a chain"
            reader.fail("RP809", include.key, title, "include the files from one place")
        scopes: list[Scope | None] = []
        for target in include.targets:
            try:
                scopes += self._target(target, include, reader, on and include.on)
            except Bad:
                scopes.append(None)
            except TooMany as error:
                scopes.append(None)
                title = f"with this include there are {error}"
                reader.note("RP809", target, title, "join them, or move data to lists")
        if None in scopes or not scopes:
            return
        where = include.targets[0].text if len(include.targets) == 1 else "none of these files"
        for (kind, name), key in include.handed.keys.items():
            known = {each for scope in scopes if scope for each in scope.names_of(kind)}
            if name not in known:
                unknown_name(key, kind, known, reader, f"`{where}`" if len(include.targets) == 1 else where)

    def _target(self, target: Scalar, include: Include, reader: Reader, on: bool) -> list[Scope | None]:
        paths, single = included_files(target, reader, self.closure)
        scopes: list[Scope | None] = []
        begun = [path for path, _ in self.chain]
        found = False
        for path in paths:
            real = real_path(path)
            if real in begun:
                if single:
                    chain = " → ".join([shown for _, shown in self.chain[begun.index(real) :]] + [str(path)])
                    reader.fail("RP802", target, f"this file includes itself: {chain}", "remove one of the includes")
                # A pattern means the others.
                continue
            found = True
            self.closure.count()
            problems: list[Diagnostic] = []
            scopes.append(self._file(path, problems, include.handed, on))
            for problem in problems:
                # What has no place yet is about the file as a whole, and is said where it is asked for.
                if problem.span is None:
                    reader.note(problem.code, target, problem.title, problem.help)
                else:
                    self.parts.append((str(path), [problem]))
        if not found:
            no_match(target, reader)
        return scopes


def _place(path: str, diagnostic: Diagnostic) -> tuple[str, int, int]:
    """The order of what was found by reading one file: its list files first, then itself from top to bottom."""
    span = diagnostic.span
    if span is None:
        return "", 0, 0
    return ("\uffff" if span.source.path == path else span.source.path), span.line, span.column
