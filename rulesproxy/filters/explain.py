"""`explain`: why a filter is true or false for a flow, in the terms that decide it and the values that they have met.

It asks the reference interpreter for every term, so that an explanation can say nothing that the filter does not mean.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rulesproxy.diagnostics import suggest
from rulesproxy.filters.ast import STAR
from rulesproxy.filters.check import Checked
from rulesproxy.filters.fields import Kind
from rulesproxy.filters.reference import matches, values_of
from rulesproxy.filters.typed import And, Const, Members, Node, Not, Or, Read, Test
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.http import HTTPFlow

_SHOWN = 60
"""Characters of one value that are shown; a header block or a body would fill the screen."""
_VALUES = 3
"""Values of one field that are shown."""
_NEARLY = 0.4
"""What a text counts for that is spelled almost like the wanted one: less than a term that is true out of two."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A term that decides, and what it has met.

    Attributes:
        start: where the term begins in the text of the filter.
        end: where it ends.
        holds: whether the term is true; one that is, decides against a filter that negates it.
        field: what it reads, as it is written in a filter; empty for a constant.
        values: the values that are there, as text; empty where there is none.
        kept: false where the body that it reads was not kept.
    """

    start: int
    end: int
    holds: bool
    field: str
    values: tuple[str, ...] = ()
    kept: bool = True

    def __str__(self) -> str:
        if not self.field:
            return f"this is {'always' if self.holds else 'never'} true"
        if not self.kept:
            return f"the body that `{self.field}` reads was not kept"
        if not self.values:
            return f"`{self.field}` has no value"
        more = len(self.values) - _VALUES
        shown = ", ".join([f"`{value}`" for value in self.values[:_VALUES]])
        return f"`{self.field}` is {shown}{f' and {more} more' if more > 0 else ''}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a filter is true or false.

    Attributes:
        holds: whether it is true.
        reasons: the terms that decide it: of `and` the first that fails, of `or` all of them, the nearest one first.
        share: how much of it is true, from 0 to 1.
    """

    holds: bool
    reasons: tuple[Reason, ...]
    share: float


def explain(filter: Checked | Node, flow: HTTPFlow | FlowView) -> Explanation:
    """Why the filter is true or false for the flow, or for what a view of it shows."""
    found = _explain(filter.node if isinstance(filter, Checked) else filter, flow)
    return replace(found, reasons=tuple(_merged(found.reasons)))


def _explain(node: Node, flow: HTTPFlow | FlowView) -> Explanation:
    if isinstance(node, Const):
        return _leaf(node.value, Reason(node.start, node.end, node.value, ""))
    if isinstance(node, And):
        return _conjunction([_explain(item, flow) for item in node.items])
    if isinstance(node, Or):
        return _disjunction([_explain(item, flow) for item in node.items])
    if isinstance(node, Not):
        inner = _explain(node.item, flow)
        return Explanation(not inner.holds, inner.reasons, 0.0 if inner.holds else 1.0)
    holds = matches(node, flow)
    read = node.read if isinstance(node, Test) else node.read.base
    kept = not read.field.name.startswith("~kept")
    reason = Reason(node.start, node.end, holds, shown(read), tuple(_shown_values(read, flow)) if kept else (), kept)
    nearly = isinstance(node, Test) and not holds and _nearly(node, reason.values)
    return replace(_leaf(holds, reason), share=_NEARLY if nearly else float(holds))


def _leaf(holds: bool, reason: Reason) -> Explanation:
    return Explanation(holds, (reason,), float(holds))


def _conjunction(items: Sequence[Explanation]) -> Explanation:
    share = sum(item.share for item in items) / len(items)
    for item in items:
        if not item.holds:
            return Explanation(False, item.reasons, share)
    return Explanation(True, tuple([reason for item in items for reason in item.reasons]), 1.0)


def _disjunction(items: Sequence[Explanation]) -> Explanation:
    for item in items:
        if item.holds:
            return item
    nearest = sorted(items, key=lambda item: -item.share)
    return Explanation(False, tuple([reason for item in nearest for reason in item.reasons]), nearest[0].share)


def _merged(reasons: Sequence[Reason]) -> list[Reason]:
    """One reason for each place: a `~` filter reads several fields at one, of which those with values tell more."""
    found: dict[tuple[int, int], Reason] = {}
    for reason in reasons:
        key = (reason.start, reason.end)
        known = found.get(key)
        if known is None or (reason.values and not (known.values and known.kept)):
            found[key] = reason
    return list(found.values())


def shown(read: Read) -> str:
    """What a read is of, as it is written in a filter."""
    text = read.field.name.removesuffix(".request").removesuffix(".response")
    if text in ("~content", "~kept"):
        text = "request.body" if read.field.name.endswith(".request") else "response.body"
    if read.original:
        text = f"orig.{text}"
    if isinstance(read.key, tuple):
        text += "".join("[*]" if step is STAR else f"[{json.dumps(step, ensure_ascii=False)}]" for step in read.key)
    elif read.key is not None:
        key = read.key.decode("utf-8", "surrogateescape") if isinstance(read.key, bytes) else read.key
        text += f'["{key}"]'
    if read.index is not None:
        text += f"[{read.index}]"
    for function in read.functions:
        text = f"{function.name}({text})" if function.name else text
    return text


def _shown_values(read: Read, flow: HTTPFlow | FlowView) -> list[str]:
    """The values of a read as text, those of a type that the test is not about as well."""
    if read.element:
        return []
    named = replace(read, functions=tuple([function for function in read.functions if function.name]))
    values = values_of(named, flow)
    return [_shown(value, read.kind) for value in values]


def _shown(value: object, kind: Kind) -> str:
    if isinstance(value, str):
        text = value
    elif isinstance(value, (bool, list, dict)):
        text = json.dumps(value, ensure_ascii=False)
    elif kind is Kind.DURATION and isinstance(value, float):
        text = f"{value:g}s"
    else:
        text = str(value)
    if not text.isprintable():
        text = "".join([char if char.isprintable() else char.encode("unicode_escape").decode() for char in text])
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _nearly(test: Test, values: Sequence[str]) -> bool:
    """Whether a value is spelled almost like one of those that the test asks for."""
    operand = test.operand
    if isinstance(operand, Members):
        wanted = [value for value in operand.values if isinstance(value, str)]
    elif isinstance(operand, str):
        wanted = [operand]
    elif isinstance(operand, tuple) and test.op == "under":
        wanted = list(operand)
    else:
        return False
    return any(suggest(value, wanted) is not None for value in values)
