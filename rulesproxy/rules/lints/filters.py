"""What is odd about one filter: it is never true, or always; or a part of it adds nothing (RP703, RP704, RP705)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rulesproxy.diagnostics import Diagnostic, Label, Span
from rulesproxy.filters.reference import matches
from rulesproxy.filters.regex import Regex
from rulesproxy.filters.typed import And, Const, Node, Not, Or, Test
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.lints.terms import Literal, Term, all_terms, literals_of
from rulesproxy.rules.lints.witness import Witness, witnesses
from rulesproxy.rules.model import Rule

_NAME = re.compile(r"(?:^|[\s({])\$[A-Za-z_]").search


def lint_filter(rule: Rule, terms: Sequence[Term] | None) -> Iterator[Diagnostic]:
    """What is odd about the filter of a rule. `terms` are its alternatives, impossible ones too; None for too many."""
    node = rule.filter.node
    if isinstance(node, Const) or rule.text is None or terms is None or not rule.filter.phases:
        return
    if terms and all(term.impossible for term in terms):
        found = _never(rule, terms)
        if found is not None:
            yield found
        return
    if _always(node):
        yield Diagnostic(
            "RP704", "warning", "this filter is always true", _span(rule, node), "write `~all` if that is meant"
        )
        return
    yield from _redundant(rule, node)


def _never(rule: Rule, terms: Sequence[Term]) -> Diagnostic | None:
    node = rule.filter.node
    # The proof is of each term; flows made for its parts must not refute it.
    if any(matches(node, flow) for term in terms for flow in _near(term)):
        return None
    pair = terms[0].contradiction
    span, labels = _span(rule, node), []
    if len(terms) == 1 and pair is not None:
        first, second = sorted(pair, key=lambda literal: literal.node.start)
        span = _span(rule, second.node)
        labels = [Label(_span(rule, first.node), "never at the same time as this")]
    help = "for one of several values write `in {a b}` or `or`"
    return Diagnostic("RP703", "warning", "this filter is never true", span, help, labels=tuple(labels))


def _near(term: Term) -> Iterator[HTTPFlow]:
    """Flows that meet all conditions of a term but one."""
    for left_out in term.literals:
        yield from _flows(Term([literal for literal in term.literals if literal is not left_out]))


def _flows(term: Term) -> Iterator[HTTPFlow]:
    for witness in witnesses(term):
        yield witness.flow(False)
        yield witness.flow(True)


def _always(node: Node) -> bool:
    """Whether no flow makes the opposite true."""
    opposite = all_terms(node, False)
    if not opposite or not all(term.impossible for term in opposite):
        return False
    return all(matches(node, flow) for flow in (Witness().flow(True), *[f for term in opposite for f in _near(term)]))


def _redundant(rule: Rule, node: Node) -> Iterator[Diagnostic]:
    """Parts of `and` that the others imply, and parts of `or` that another one includes."""
    if isinstance(node, Not):
        yield from _redundant(rule, node.item)
    if not isinstance(node, (And, Or)):
        return
    items = list(node.items)
    for item in reversed(node.items):
        others = [other for other in items if other is not item]
        why = _implied(item, others) if isinstance(node, And) else _included(item, others)
        if why is None or not _is_written(rule, item) or not _is_written(rule, why):
            continue
        rest = type(node)(tuple(others), node.start, node.end)
        if not _agree(node, rest):
            continue
        items = others
        adds = "adds nothing: it holds wherever the rest does" if isinstance(node, And) else "adds nothing to the rest"
        label = "this says it already" if isinstance(node, And) else "this includes it"
        yield Diagnostic(
            "RP705", "warning", f"this part of the filter {adds}", _span(rule, item), "remove it",
            labels=(Label(_span(rule, why), label),),
        )  # fmt: skip
    for item in items:
        yield from _redundant(rule, item)


def _implied(item: Node, others: Sequence[Node]) -> Node | None:
    """The one of the others that makes a condition hold anyway; the first of them where it takes several."""
    literal = _literal(item)
    if literal is None or not others or _captures(item):
        return None
    for other in others:
        if Term(literals_of(other)).implies(literal):
            return other
    joined = Term([each for other in others for each in literals_of(other)])
    same = [each for each in joined.literals if each.key == literal.key]
    return same[0].node if same and not joined.impossible and joined.implies(literal) else None


def _included(item: Node, others: Sequence[Node]) -> Node | None:
    """The one of the others that is true wherever a part of an `or` is."""
    literal = _literal(item)
    if literal is None or _captures(item):
        return None
    for other in others:
        wider = _literal(other)
        if wider is not None and Term([literal]).implies(wider):
            return other
    return None


def _literal(item: Node) -> Literal | None:
    return next(literals_of(item), None) if not isinstance(item, And) else None


def _captures(item: Node) -> bool:
    test = item.item if isinstance(item, Not) else item
    return isinstance(test, Test) and isinstance(test.operand, Regex) and bool(test.operand.groups)


def _is_written(rule: Rule, item: Node) -> bool:
    """Whether a part is written out in the rule: what stands behind a name may be another thing another time."""
    assert rule.text is not None
    test = item.item if isinstance(item, Not) else item
    guard = isinstance(test, Test) and test.read.field.name.startswith("~kept")
    return not guard and _NAME(rule.text.text[item.start : item.end]) is None


def _agree(one: Node, other: Node) -> bool:
    """Whether two filters agree on flows that are made for their parts, of which one at least must make them true."""
    terms = [*(all_terms(one) or ()), *(all_terms(other) or ())]
    flows = [flow for term in terms for flow in (*_flows(term), *_near(term))]
    seen = [(matches(one, flow), matches(other, flow)) for flow in flows]
    return all(a == b for a, b in seen) and any(a for a, _ in seen)


def _span(rule: Rule, node: Node) -> Span:
    assert rule.text is not None
    return rule.text.place(node.start, node.end)
