"""`matches`: a small interpreter of typed trees without cache or optimisation, the oracle for compiler and index.

It shares the readers of the fields with the compiler, and nothing else.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

from rulesproxy.filters.check import Checked
from rulesproxy.filters.fields import Kind
from rulesproxy.filters.regex import Regex
from rulesproxy.filters.typed import And, Const, Each, Members, Node, Not, Or, Read, Test
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.http import HTTPFlow

_MISSING = object()
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def matches(filter: Checked | Node, flow: HTTPFlow | FlowView) -> bool:
    """Whether the filter is true for the flow, or for what a view of it shows."""
    return _holds(filter.node if isinstance(filter, Checked) else filter, flow, _MISSING)


def _holds(node: Node, flow: HTTPFlow | FlowView, element: object) -> bool:
    if isinstance(node, Const):
        return node.value
    if isinstance(node, And):
        return all(_holds(item, flow, element) for item in node.items)
    if isinstance(node, Or):
        return any(_holds(item, flow, element) for item in node.items)
    if isinstance(node, Not):
        return not _holds(node.item, flow, element)
    if isinstance(node, Each):
        results = [_holds(node.item, flow, value) for value in values_of(node.read, flow)]
        return any(results) if node.kind == "any" else bool(results) and all(results)
    return any(passes(node, value) for value in values_of(node.read, flow, element))


def values_of(read: Read, flow: HTTPFlow | FlowView, element: object = _MISSING) -> list[Any]:
    """Every value of a read, in order; none where it is missing."""
    if read.element:
        values: list[Any] = [element]
    else:
        view = FlowView(flow) if isinstance(flow, HTTPFlow) else flow.again()
        found: Any = read.field.read(view.orig if read.original else view)
        if read.field.keyed:
            found = found[read.key]
        values = list(found) if read.field.multi else [] if found is None else [found]
        if read.index is not None:
            values = values[read.index : read.index + 1]
    for function in read.functions:
        if function.many:
            values = [result for value in values for result in function.call(value)]
        else:
            values = [result for value in values if (result := function.call(value)) is not None]
    return values


def passes(test: Test, value: Any) -> bool:
    """Whether one value passes a test."""
    op, operand = test.op, test.operand
    if op in ("has", "true"):
        return op == "has" or bool(value)
    if op == "==":
        return bool(value == operand)
    if op in _ORDERS:
        return _ORDERS[op](value, operand)
    if isinstance(operand, Members):
        return _among(operand, value)
    if isinstance(operand, Regex):
        return operand.pattern.search(value) is not None
    assert isinstance(operand, tuple)
    if op == "glob":
        return re.fullmatch(".*".join(re.escape(piece) for piece in operand), value, re.DOTALL) is not None
    return any(_compares(op, test.read.kind, value, text) for text in operand)


def _compares(op: str, kind: Kind, value: str, text: str) -> bool:
    if op == "contains":
        return text in value
    if op == "startswith":
        return value[: len(text)] == text
    if op == "endswith":
        return value[len(value) - len(text) :] == text if len(text) <= len(value) else False
    mark = "." if kind is Kind.HOST else "/"
    ours, theirs = value.split(mark), text.split(mark)
    return ours[-len(theirs) :] == theirs if kind is Kind.HOST else ours[: len(theirs)] == theirs


def _among(members: Members, value: Any) -> bool:
    if value in members.values or any(value in network for network in members.networks):
        return True
    for low, high in members.ranges:
        try:
            if low <= value <= high:
                return True
        except TypeError:
            # Addresses of two versions have no order.
            continue
    return False
