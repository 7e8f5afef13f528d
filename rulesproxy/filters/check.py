"""`check`: fields, types, names and regexes of a filter; its typed tree and what the rules need to know of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import get_args

from rulesproxy.filters import analysis, ast, functions, hints, lookup, tilde, typed
from rulesproxy.filters.fields import NUMBERS, OPERATORS, TEXTUAL, Field, Kind, public_names
from rulesproxy.filters.fields.marks import SCOPES
from rulesproxy.filters.operands import Operands
from rulesproxy.filters.phases import MESSAGES, Phase
from rulesproxy.filters.problem import FilterError, Problem, error, warning

__all__ = ["Checked", "FilterError", "Phase", "check"]

_NO_NAMES: Mapping[str, object] = MappingProxyType({})
_MAX_DEPTH = 256
"""Levels of a typed tree, named filters included: what the compiler of the language below us stands."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A filter that can be used.

    Attributes:
        node: its typed tree.
        phases: where the whole filter can be decided and may be true; empty for a filter that never is.
        needs_body: `Phase.B`, `Phase.S`, both or none: the bodies that it reads.
        head_only: what is known without bodies: true wherever the filter may be. `node` itself without body fields.
        uses_response: whether it reads what only a response has; `~q`, `~s` and `~h` can be asked before there is one.
        either_side: whether it reads whichever side is there (`~h`) and is to be tried in both passes.
        captures: named groups of the regexes that must have matched wherever the filter is true.
        conditional_captures: named groups under `or`, `not` or a quantifier: they are no captures.
        warnings: problems that do not stop it.
    """

    node: typed.Node
    phases: Phase
    needs_body: Phase
    head_only: typed.Node
    uses_response: bool
    either_side: bool
    captures: frozenset[str]
    conditional_captures: frozenset[str]
    warnings: tuple[Problem, ...]


def check(node: ast.Node, names: Mapping[str, object] = _NO_NAMES) -> Checked:
    """Type and desugar a filter. `names`: lists (tuples of `str`), filters (trees) and variables (`str`) by name.

    Raises:
        FilterError: unknown fields or names, types that do not fit, regexes outside the dialect; all of them.
    """
    checker = _Checker(names)
    tree = checker.node(node)
    errors = [problem for problem in checker.problems if problem.severity == "error"]
    if errors:
        raise FilterError(errors)
    facts = analysis.Facts(tree)
    tree = analysis.needing(tree, facts.needs_body)
    problems = checker.problems
    if not facts.phases:
        clash = _clash(tree)
        if clash is not None:
            raise FilterError([clash])
        title = "this is never true: no moment has all that it reads"
        about_tcp = any(analysis.may_be_true(test) == Phase.X for test in analysis.tests(tree))
        help = _OF_TCP if about_tcp else "`~q` holds only before there is a response"
        problems.append(warning("RP402", title, node.start, node.end, help))
    inside, outside = analysis.captures(tree)
    head_only = analysis.head_only(tree) if facts.needs_body else tree
    if facts.needs_body:
        hints.about_bodies(head_only, problems.append)
    return Checked(
        tree, facts.phases, facts.needs_body, head_only,
        facts.uses_response, facts.either_side, inside, outside - inside, tuple(problems),
    )  # fmt: skip


_OF_TCP = "TCP has no request: it has `connect.host`, `server.port`, `client.ip`, `~dst` and its own fields"
_KINDS = {Phase.W: "a WebSocket message", Phase.X: "a TCP message", Phase.V: "an event of a stream"}


def _clash(tree: typed.Node) -> Problem | None:
    """What is wrong with a filter that reads a message, and beside it what no such message has."""
    tests = list(analysis.tests(tree))
    for one in tests:
        kind = one.read.field.phases
        if kind & ~MESSAGES:
            continue
        for other in tests:
            if not other.read.field.phases & kind:
                shown = " or ".join(word for phase, word in _KINDS.items() if kind & phase)
                title = f"`{other.read.field.name}` is not known for {shown}, which `{one.read.field.name}` reads"
                help = "a message has its own fields, and those of the request that began its conversation"
                if kind & Phase.X:
                    help = _OF_TCP
                return error("RP406", title, other.start, other.end, help)
    return None


class _Checker:
    """Types one filter. A part that is wrong adds its problem and becomes a constant, so that all of them are found."""

    def __init__(self, names: Mapping[str, object], stack: tuple[str, ...] = (), depth: int = 0) -> None:
        self.names = names
        self.stack = stack
        self.depth = depth
        self.problems: list[Problem] = []
        self.operands = Operands(names, self.problems.append)

    def node(self, node: ast.Node) -> typed.Node:
        self.depth += 1
        try:
            if self.depth > _MAX_DEPTH:
                raise FilterError([error("RP217", "the filter is nested too deeply", node.start, node.end)])
            return self._node(node)
        except FilterError as exc:
            self.problems.extend(exc.problems)
            return typed.Const(False, node.start, node.end)
        finally:
            self.depth -= 1

    def _node(self, node: ast.Node) -> typed.Node:
        if isinstance(node, ast.And):
            return self.conjunction(node)
        if isinstance(node, ast.Or):
            return typed.Or(tuple([self.node(item) for item in node.items]), node.start, node.end)
        if isinstance(node, ast.Not):
            return typed.Not(self.node(node.item), node.start, node.end)
        if isinstance(node, ast.Compare):
            return self.comparison(node)
        if isinstance(node, ast.Tilde):
            if node.argument is not None and node.name != "c":
                self.operands.count(node.argument)
            found, doubt = tilde.desugar(node)
            self.problems.extend(doubt)
            return hints.about_tilde(node, found, self.problems.append)
        if isinstance(node, ast.Truthy):
            return self.truthy(node)
        if isinstance(node, ast.Has):
            return typed.Test(self.read(node.value), "has", None, node.start, node.end)
        if isinstance(node, ast.Quantified):
            return self.quantified(node)
        return self.named(node)

    def conjunction(self, node: ast.And) -> typed.Node:
        if node.doubtful:
            title = "two filters side by side mean `and`, which binds looser than `|` here"
            help = "write the `&` out, with brackets around the part with `|`"
            self.problems.append(warning("RP205", title, node.start, node.end, help))
        return typed.And(tuple([self.node(item) for item in node.items]), node.start, node.end)

    def comparison(self, node: ast.Compare) -> typed.Node:
        read = self.read(node.left)
        op = node.op
        if op not in OPERATORS[read.kind]:
            self.refuse_operator(node, read)
        positive = {"!=": "==", "!~": "~", "!~*": "~*", "not in": "in"}.get(op, op)
        test = self.test(node, read, positive) if read.kind is not Kind.JSON else self.json_test(node, read, positive)
        return test if positive == op else typed.Not(test, node.start, node.end)

    def test(self, node: ast.Compare, read: typed.Read, op: str) -> typed.Node:
        start, end, right = node.start, node.end, node.right
        operands = self.operands
        if op in ("~", "~*"):
            text = operands.one_text(read, right)
            found = operands.regex(read, text, op == "~*")
            return typed.Test(functions.in_bytes(read, text.value), "~", found, start, end)
        if op == "like":
            return typed.Test(read, "like", operands.like(read, right), start, end)
        if op == "glob":
            return typed.Test(read, "glob", operands.glob(read, right), start, end)
        if op == "in":
            return typed.Test(read, "in", operands.members(read, right), start, end)
        if op in ("contains", "startswith", "endswith", "under"):
            return typed.Test(read, op, operands.texts(read, op, right), start, end)  # type: ignore[arg-type]
        value = operands.scalar(read, op, right)
        if isinstance(value, bool):
            test: typed.Node = typed.Test(read, "true", None, start, end)
            return test if value else typed.Not(test, start, end)
        assert op in get_args(typed.Op), op
        return typed.Test(read, op, value, start, end)  # type: ignore[arg-type]

    def json_test(self, node: ast.Compare, read: typed.Read, op: str) -> typed.Node:
        """A test of JSON: the literal tells the type of value that it is for. Others do not pass."""
        if op in ("~", "~*", "glob", "contains", "startswith", "endswith"):
            return self.test(node, functions.through(read, functions.AS_TEXT), op)
        if op in ("<", "<=", ">", ">="):
            return self.test(node, functions.through(read, functions.AS_NUMBER), op)
        tests: list[typed.Node] = []
        for kind, right in self.operands.by_type(read, op, node.right):
            typed_read = functions.through(read, kind)
            if kind is not functions.AS_BOOL:
                tests.append(self.test(replace(node, right=right), typed_read, op))
                continue
            for item in right.items if isinstance(right, ast.Set) else (right,):
                assert isinstance(item, ast.Bool)
                wanted = typed_read if item.value else functions.through(read, functions.IS_FALSE)
                tests.append(typed.Test(wanted, "true", None, node.start, node.end))
        return tests[0] if len(tests) == 1 else typed.Or(tuple(tests), node.start, node.end)

    def refuse_operator(self, node: ast.Compare, read: typed.Read) -> None:
        name = lookup.shown(node.left)
        title = f"`{node.op}` is not for `{name}`, which is {read.kind.value}"
        help = f"it has {' '.join(sorted(OPERATORS[read.kind]))}"
        if node.op in ("<", "<=", ">", ">=") and read.kind in TEXTUAL:
            help = f"numbers can be ordered, text cannot; perhaps `len({name}) {node.op} …`"
        elif read.kind in NUMBERS:
            example = {Kind.SIZE: "1KB..10MB", Kind.DURATION: "1s..10s"}.get(read.kind, "500..599")
            help = f"a set can hold ranges: `{name} in {{{example}}}`"
        elif node.op == "under":
            help = "`under` is for hosts and paths; use `startswith` or `endswith`"
        raise FilterError([error("RP306", title, node.op_start, node.op_start + len(node.op), help)])

    def truthy(self, node: ast.Truthy) -> typed.Node:
        value = node.value
        if (
            isinstance(value, ast.Field)
            and not value.keys
            and lookup.find(value.name) is None
            and "." not in value.name
        ):
            help = f'`~u {value.name}` or `url ~ "{value.name}"` searches the URL'
            near = lookup.near(value.name)
            help = f"did you mean `{near}`?" if near else help
            if value.name.upper() in hints.METHODS:
                help = f"write `method == {value.name}`; several are a set: `method in {{GET {value.name}}}`"
            raise FilterError([error("RP215", f"`{value.name}` is not a field", node.start, node.end, help)])
        if isinstance(value, ast.Field) and _is_host(value):
            help = f'a host is compared: `host == "{value.name}"`, or `host under "{value.name}"`'
            raise FilterError([error("RP215", f"`{value.name}` is not a condition", node.start, node.end, help)])
        read = self.read(value)
        if read.kind is Kind.JSON:
            read = functions.through(read, functions.AS_BOOL)
        if read.kind is not Kind.BOOL:
            name = lookup.shown(value)
            title = f"`{name}` is {read.kind.value}, not a condition"
            help = f"compare it, or write `has({name})`"
            raise FilterError([error("RP303", title, node.start, node.end, help)])
        return typed.Test(read, "true", None, node.start, node.end)

    def quantified(self, node: ast.Quantified) -> typed.Node:
        before = len(self.problems)
        item = self.node(node.item)
        reads = analysis.multi_reads(item)
        if len(self.problems) > before and any(problem.severity == "error" for problem in self.problems[before:]):
            return typed.Const(False, node.start, node.end)
        if len(reads) != 1:
            title = (
                f"`{node.kind}` is about one field with several values; here {'is none' if not reads else 'are two'}"
            )
            help = f'such as `{node.kind}(request.header["x"] == "a")`'
            raise FilterError([error("RP306", title, node.start, node.end, help)])
        (read,) = reads
        return typed.Each(node.kind, read, analysis.bind(item, read), node.start, node.end)

    def named(self, node: ast.Named) -> typed.Node:
        value = self.operands.named(node)
        if isinstance(value, (str, tuple)):
            what = "a list" if isinstance(value, tuple) else "a text"
            help = f"compare with it: `host in ${node.name}`" if isinstance(value, tuple) else ""
            raise FilterError([error("RP313", f"`${node.name}` is {what}, not a filter", node.start, node.end, help)])
        if node.name in self.stack:
            way = " → ".join(f"${name}" for name in (*self.stack[self.stack.index(node.name) :], node.name))
            raise FilterError([error("RP312", f"`${node.name}` needs itself: {way}", node.start, node.end)])
        inner = _Checker(self.names, (*self.stack, node.name), self.depth)
        inner.operands.regexes = self.operands.regexes
        tree = inner.node(value)  # type: ignore[arg-type]
        self.operands.regexes = inner.operands.regexes
        errors = [problem for problem in inner.problems if problem.severity == "error"]
        if errors:
            raise FilterError(
                [
                    replace(problem, title=f"in `${node.name}`: {problem.title}", start=node.start, end=node.end)
                    for problem in errors
                ]
            )
        return analysis.moved(tree, node.start, node.end)

    def read(self, value: ast.Value) -> typed.Read:
        if isinstance(value, ast.Call):
            return self.call(value)
        original = value.name.startswith("orig.")
        spec = lookup.field(value)
        return self.indexed(spec, value, original)

    def call(self, value: ast.Call) -> typed.Read:
        function, inner = lookup.function(value)
        read = self.read(inner)
        if read.kind is Kind.JSON:
            if function.name == "len":
                return functions.through(read, functions.LENGTH)
            read = functions.through(read, functions.AS_TEXT)
        if read.kind is Kind.BYTES and function.name != "len":
            read = functions.through(read, functions.AS_UTF8)
        if read.kind not in function.takes:
            title = f"`{function.name}` is for text; `{lookup.shown(inner)}` is {read.kind.value}"
            raise FilterError([error("RP303", title, inner.start, inner.end)])
        return functions.through(read, function)

    def indexed(self, spec: Field, value: ast.Field, original: bool) -> typed.Read:
        keys = value.keys
        if spec.kind is Kind.JSON:
            return typed.Read(spec, original, lookup.path(value))
        if spec.many and len(keys) == 1 and not isinstance(keys[0], str):
            (position,) = keys
            if isinstance(position, int) and position < 0:
                raise FilterError([error("RP303", "an index counts from 0", value.start, value.end)])
            return typed.Read(spec, original, None, position if isinstance(position, int) else None)
        if not spec.keyed:
            if keys and spec.many:
                title = f"`{value.name}` is a list, which is counted from 0"
                raise FilterError([error("RP303", title, value.start, value.end, f"write `{value.name}[0]`")])
            if keys:
                title = f"`{value.name}` has one value and takes no index"
                raise FilterError([error("RP303", title, value.start, value.end, f"write `{value.name}`")])
            return typed.Read(spec, original)
        if not keys or isinstance(keys[0], int) or len(keys) > 2 or (len(keys) == 2 and isinstance(keys[1], str)):
            title = f"`{value.name}` needs a name in brackets"
            help = f'such as `{value.name}["x"]`, or `[*]` for all'
            raise FilterError([error("RP303", title, value.start, value.end, help)])
        name, index = keys[0], keys[1] if len(keys) == 2 else ast.STAR
        if isinstance(index, int) and index < 0:
            raise FilterError([error("RP303", "an index counts from 0", value.start, value.end)])
        key: str | bytes | None = name if isinstance(name, str) else None
        if spec.name == "state" and isinstance(name, str) and name.partition(".")[0] not in SCOPES:
            help = f"`client.{name}` is remembered for a client, `flow.{name}` for a flow, `global.{name}` for all"
            raise FilterError([error("RP624", f"`{name}` does not say who remembers it", value.start, value.end, help)])
        if spec.names and isinstance(name, str):
            key = self.header_name(name, value)
        return typed.Read(spec, original, key, index if isinstance(index, int) else None)

    def header_name(self, name: str, value: ast.Field) -> bytes:
        hints.about_header(name, value, self.problems.append)
        return name.lower().encode("utf-8", "surrogateescape")


def _is_host(value: ast.Field) -> bool:
    """Whether a name that stands alone is a host without quotes, and no misspelt field."""
    if "." not in value.name or value.keys or lookup.find(value.name) or lookup.near(value.name):
        return False
    group = value.name.partition(".")[0]
    return not any(name.partition(".")[0] == group for name in public_names())
