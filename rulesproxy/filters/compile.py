"""`compile_filter`: a checked filter to a function of a view.

A filter becomes one expression of the language below us, made as a syntax tree and never as text, so that no literal
can become code. Constants are the function's default arguments, which are its fastest names. The terms of `and` and
`or` run in the order of their cost: operands are pure, so the order shows in nothing but time.
"""

from __future__ import annotations

import ast as py
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

from rulesproxy.filters import support
from rulesproxy.filters.analysis import conjuncts
from rulesproxy.filters.check import Checked
from rulesproxy.filters.fields import Kind
from rulesproxy.filters.functions import AS_UTF8
from rulesproxy.filters.regex import Regex
from rulesproxy.filters.typed import And, Const, Each, Members, Node, Not, Or, Read, Test
from rulesproxy.filters.view import FlowView

Filter: TypeAlias = Callable[[FlowView], bool]

_AT: dict[str, Any] = {"lineno": 1, "col_offset": 0}
_ORDER: dict[str, py.cmpop] = {"==": py.Eq(), "<": py.Lt(), "<=": py.LtE(), ">": py.Gt(), ">=": py.GtE()}


def compile_filter(checked: Checked, *, head_only: bool = False) -> Filter:
    """The fastest function that decides this filter; with `head_only` its over-approximation without bodies."""
    return compile_node(checked.head_only if head_only else checked.node)


def compile_node(node: Node) -> Filter:
    """The function that decides a typed tree."""
    function: Filter = _Code("v").function(node)
    return function


def compile_captures(checked: Checked) -> Callable[[FlowView], dict[str, str]]:
    """A function that gives the captures for a flow that the filter matches; a group that took no part is left out."""
    terms = [
        (_Code("v").values(term.read), term.operand.captures, term.read.kind is Kind.BYTES)
        for term in conjuncts(checked.node)
        if isinstance(term, Test) and isinstance(term.operand, Regex) and term.operand.groups
    ]

    def captures(view: FlowView) -> dict[str, str]:
        found: dict[str, str] = {}
        for values, groups_in, in_bytes in terms:
            for value in values(view):
                match = groups_in(value)
                if match is not None:
                    groups = {name: text for name, text in match.items() if text is not None}
                    found.update({name: AS_UTF8.call(text) for name, text in groups.items()} if in_bytes else groups)
                    break
        return found

    return captures


def predicate(test: Test) -> Callable[[object], bool]:
    """The test of one value, whatever it is read from; the functions around it are applied."""
    function: Callable[[object], bool] = _Code("e").element(test)
    return function


class _Code:
    """One function under construction. `argument` names what it takes: `v`, a view, or `e`, one value."""

    def __init__(self, argument: str) -> None:
        self.argument = argument
        self.constants: list[object] = []
        self.temporaries = 0

    # Functions

    def function(self, node: Node) -> Any:
        return self.finish(self.node(node))

    def element(self, test: Test) -> Any:
        value: py.expr = _name("e")
        if any(function.many for function in test.read.functions):
            return self.finish(self.several(replace(test, read=replace(test.read, element=True))))
        if test.read.functions:
            value = self.call(support.chain(test.read.functions), value)
            return self.finish(self.guarded(value, lambda x: self.test(test, x)))
        return self.finish(self.test(test, value))

    def values(self, read: Read) -> Callable[[FlowView], tuple[Any, ...]]:
        """A function that gives all values of a read as a tuple."""
        value = self.read(read)
        if not read.multi:
            value = self.call(support.listed, value)
        function: Callable[[FlowView], tuple[Any, ...]] = self.finish(value)
        return function

    def finish(self, body: py.expr) -> Any:
        names = [self.argument, *[f"c{index}" for index in range(len(self.constants))]]
        arguments = py.arguments([], [py.arg(name, **_AT) for name in names], None, [], [], None, [])
        code = compile(py.Expression(py.Lambda(arguments, body, **_AT)), "<filter>", "eval")
        function = eval(code, {"__builtins__": {}})
        function.__defaults__ = tuple(self.constants)
        return function

    # Nodes

    def node(self, node: Node) -> py.expr:
        if isinstance(node, Const):
            return _constant(node.value)
        if isinstance(node, (And, Or)):
            items = sorted(node.items, key=cost)
            if len(items) == 1:
                return self.node(items[0])
            return py.BoolOp(py.And() if isinstance(node, And) else py.Or(), [self.node(item) for item in items], **_AT)
        if isinstance(node, Not):
            return py.UnaryOp(py.Not(), self.node(node.item), **_AT)
        if isinstance(node, Each):
            each = support.some if node.kind == "any" else support.every
            return self.call(each, self.constant(_Code("e").function(node.item)), self.read(node.read))
        if node.read.multi:
            return self.several(node)
        value = self.read(node.read)
        if node.op == "has" and not node.read.optional:
            return _constant(True)
        if node.read.optional and not self.bears_none(node):
            return self.guarded(value, lambda x: self.test(node, x))
        return self.test(node, value)

    def bears_none(self, test: Test) -> bool:
        """Whether the test says false to a missing value by itself."""
        simple = isinstance(test.operand, Members) and not test.operand.ranges and not test.operand.networks
        return test.op in ("==", "has") or (test.op == "in" and simple)

    def guarded(self, value: py.expr, test: Callable[[py.expr], py.expr]) -> py.expr:
        first, again = self.twice(value)
        there = py.Compare(first, [py.IsNot()], [_constant(None)], **_AT)
        return py.BoolOp(py.And(), [there, test(again)], **_AT)

    def several(self, test: Test) -> py.expr:
        """A test of which one value out of several is enough."""
        values = self.read(test.read)
        operand = test.operand
        if test.op == "has":
            return py.Compare(values, [py.NotEq()], [_constant(())], **_AT)
        if test.op == "==":
            return py.Compare(self.constant(operand), [py.In()], [values], **_AT)
        if isinstance(operand, Members) and not operand.ranges and not operand.networks:
            disjoint = py.Attribute(self.constant(operand.values), "isdisjoint", py.Load(), **_AT)
            return py.UnaryOp(py.Not(), py.Call(disjoint, [values], [], **_AT), **_AT)
        inner = _Code("e")
        return self.call(support.some, self.constant(inner.finish(inner.test(test, _name("e")))), values)

    # Values

    def read(self, read: Read) -> py.expr:
        """The value of a read, or the tuple of its values, functions applied."""
        if read.element:
            value: py.expr = _name("e")
        else:
            owner: py.expr = _name("v")
            if read.original:
                owner = py.Attribute(owner, "orig", py.Load(), **_AT)
            value = py.Attribute(owner, read.field.slot, py.Load(), **_AT)
            if read.field.keyed:
                key = _constant(None) if read.key is None else self.constant(read.key)
                value = py.Subscript(value, key, py.Load(), **_AT)
            if read.index is not None:
                value = self.call(support.pick, value, _constant(read.index))
        if not read.functions:
            return value
        if not read.multi:
            return self.call(support.chain(read.functions), value)
        if not read.field.multi or read.index is not None or read.element:
            value = self.call(support.listed, value)
        return self.call(support.chain_all(read.functions), value)

    def twice(self, value: py.expr) -> tuple[py.expr, py.expr]:
        """The same value to be used first, and once more."""
        if isinstance(value, py.Name):
            return value, value
        name = f"t{self.temporaries}"
        self.temporaries += 1
        return py.NamedExpr(py.Name(name, py.Store(), **_AT), value, **_AT), _name(name)

    # Tests of one value that is there

    def test(self, test: Test, value: py.expr) -> py.expr:
        op, operand = test.op, test.operand
        if op == "true":
            return value
        if op == "has":
            return py.Compare(value, [py.IsNot()], [_constant(None)], **_AT)
        if op in _ORDER:
            return py.Compare(value, [_ORDER[op]], [self.constant(operand)], **_AT)
        if isinstance(operand, Members):
            return self.member(test, operand, value)
        if isinstance(operand, Regex):
            return self.search(operand, value)
        assert isinstance(operand, tuple)
        if op == "glob":
            return self.glob(operand, value)
        if op == "under":
            return self.under(test.read.kind, operand, value)
        if op == "contains":
            if len(operand) == 1:
                return self.plain("contains", operand[0], value)
            return self.call(support.containing(operand), value)
        return self.method(value, op, operand[0] if len(operand) == 1 else operand)

    def member(self, test: Test, members: Members, value: py.expr) -> py.expr:
        if test.read.kind is Kind.ADDRESS and (members.ranges or members.networks):
            return self.call(support.among_addresses(members), value)
        if not members.ranges:
            if len(members.values) == 1:
                return py.Compare(value, [py.Eq()], [self.constant(next(iter(members.values)))], **_AT)
            return py.Compare(value, [py.In()], [self.constant(members.values)], **_AT)
        first, again = self.twice(value)
        terms: list[py.expr] = []
        for low, high in members.ranges:
            middle = again if terms else first
            # The chained comparison reads its middle once.
            chain = py.Compare(self.constant(low), [py.LtE(), py.LtE()], [middle, self.constant(high)], **_AT)
            terms.append(chain)
        if members.values:
            terms.append(py.Compare(again, [py.In()], [self.constant(members.values)], **_AT))
        return terms[0] if len(terms) == 1 else py.BoolOp(py.Or(), terms, **_AT)

    def search(self, regex: Regex, value: py.expr) -> py.expr:
        if regex.shape is not None:
            return self.plain(*regex.shape, value)
        if regex.pieces is not None:
            return self.call(support.in_order(regex.pieces), value)
        if regex.test is not None:
            return self.call(regex.test, value)
        found = self.call((regex.quick or regex.meaning).compiled.search, value)
        return py.Compare(found, [py.IsNot()], [_constant(None)], **_AT)

    def plain(self, how: str, text: str, value: py.expr) -> py.expr:
        if how == "==":
            return py.Compare(value, [py.Eq()], [self.constant(text)], **_AT)
        if how == "contains":
            return py.Compare(self.constant(text), [py.In()], [value], **_AT)
        if how == "under":
            return self.under(Kind.HOST, (text,), value)
        return self.method(value, how, text)

    def glob(self, pieces: tuple[str, ...], value: py.expr) -> py.expr:
        if len(pieces) == 1:
            return self.plain("==", pieces[0], value)
        if len(pieces) == 2 and not all(pieces):
            return self.plain("startswith", pieces[0], value) if pieces[0] else self.plain("endswith", pieces[1], value)
        if len(pieces) == 3 and not pieces[0] and not pieces[2]:
            return self.plain("contains", pieces[1], value)
        return self.call(support.globbing(pieces), value)

    def under(self, kind: Kind, tops: tuple[str, ...], value: py.expr) -> py.expr:
        if kind is Kind.HOST and len(tops) > 1:
            return self.call(support.under_hosts(tops), value)
        first, again = self.twice(value)
        if kind is Kind.HOST:
            below = self.method(again, "endswith", f".{tops[0]}")
        else:
            prefixes = tuple([f"{top}/" for top in tops])
            below = self.method(again, "startswith", prefixes[0] if len(tops) == 1 else prefixes)
        same = (
            py.Compare(first, [py.Eq()], [self.constant(tops[0])], **_AT)
            if len(tops) == 1
            else py.Compare(first, [py.In()], [self.constant(frozenset(tops))], **_AT)
        )
        return py.BoolOp(py.Or(), [same, below], **_AT)

    # Pieces

    def method(self, value: py.expr, name: str, operand: object) -> py.expr:
        return py.Call(py.Attribute(value, name, py.Load(), **_AT), [self.constant(operand)], [], **_AT)

    def call(self, function: Callable[..., object], *arguments: py.expr) -> py.expr:
        return py.Call(self.constant(function), list(arguments), [], **_AT)

    def constant(self, value: object) -> py.expr:
        if isinstance(value, (str, bytes, int)):
            return _constant(value)
        self.constants.append(value)
        return _name(f"c{len(self.constants) - 1}")


def cost(node: Node) -> int:
    """What a tree costs to decide, in comparisons of two short texts."""
    if isinstance(node, Const):
        return 0
    if isinstance(node, (And, Or)):
        return sum(cost(item) for item in node.items)
    if isinstance(node, Not):
        return cost(node.item)
    if isinstance(node, Each):
        return 10 + cost(node.item)
    price = {"~": 10, "like": 10, "glob": 4, "contains": 3, "startswith": 2, "endswith": 2, "under": 2}.get(node.op, 1)
    if isinstance(node.operand, Regex) and node.operand.shape is not None:
        price = 2
    read = node.read
    price += 4 * read.field.multi + 3 * (read.field.kind is Kind.ADDRESS) + 5 * len(read.functions)
    if read.field.name in ("~h", "~hq", "~hs"):
        price += 50
    return price + (1000 if read.field.body else 0)


def _name(name: str) -> py.expr:
    return py.Name(name, py.Load(), **_AT)


def _constant(value: Any) -> py.expr:
    return py.Constant(value, **_AT)
