"""Edits that never survive: a rule below sets the same thing to something else, for every flow of the first (RP706).

Rules that overlap without one including the other are no mistake: later rules may refine what earlier ones did.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rulesproxy.diagnostics import Diagnostic, Label, Span
from rulesproxy.filters.reference import matches
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.action import Action
from rulesproxy.rules.edits.fields import HeaderEdits
from rulesproxy.rules.lints.candidates import Candidates
from rulesproxy.rules.lints.facts import Changes, Facts
from rulesproxy.rules.lints.terms import Term
from rulesproxy.rules.lints.witness import Witness, ruleset, run, witnesses
from rulesproxy.rules.template import Template
from rulesproxy.rules.templates.urls import URLTemplate

_VALUES = ("method", "scheme", "host", "port", "path", "status", "reason", "text")


def lint_conflicts(rules: Sequence[Facts]) -> Iterator[Diagnostic]:
    """Edits of rules that a rule below always undoes."""
    changes = Changes(rules)
    ends = [facts.number for facts in rules if facts.ends or facts.rule.stop]
    below: Candidates[Facts] = Candidates()
    for facts in reversed(rules):
        targets = _targets(facts)
        if not targets or not facts.terms:
            continue
        for target in targets:
            found = _undone(facts, target, targets, below, changes, ends)
            if found is not None:
                yield found
                break
        if facts.always and not facts.rule.filter.needs_body:
            for term in facts.terms:
                below.add(term, facts)


def _undone(
    facts: Facts,
    target: str,
    targets: dict[str, tuple[str, Span]],
    below: Candidates[Facts],
    changes: Changes,
    ends: Sequence[int],
) -> Diagnostic | None:
    first: Facts | None = None
    for term in facts.terms or ():
        by = _overwriter(term, facts, target, targets[target][0], below, changes, ends)
        if by is None:
            return None
        first = first or by
    if first is None:
        return None
    term = (facts.terms or ())[0]
    witness = _confirmed(term, facts, first, target)
    if witness is None:
        return None
    what = target.partition(".")[2].replace("headers.", "the header ")
    mine, theirs = targets[target], _targets(first)[target]
    return Diagnostic(
        "RP706", "warning", f"what rule `{facts.rule.name}` sets never stays: `{first.rule.name}` sets {what} again",
        mine[1], "let one of the two match less, or change their order", f"sets {what}",
        (Label(theirs[1], "and this one sets it to something else"),), (f"for example `{witness}`",),
    )  # fmt: skip


def _overwriter(
    term: Term, facts: Facts, target: str, value: str, below: Candidates[Facts], changes: Changes, ends: Sequence[int]
) -> Facts | None:
    for other, by in below.implied_by(term):
        theirs = _targets(by).get(target)
        if theirs is None or theirs[0] == value or not term.implies_all(other):
            continue
        if changes.between(facts.number, by.number, by.read) or any(facts.number <= end < by.number for end in ends):
            continue
        return by
    return None


def _confirmed(term: Term, one: Facts, other: Facts, target: str) -> Witness | None:
    """An exchange on which the first rule alone leaves its value, and both together leave that of the second."""
    if not (one.runnable and other.runnable):
        return None
    for witness in witnesses(term):
        if not matches(one.rule.filter, witness.flow(one.rule.filter.uses_response)):
            continue
        alone = run(ruleset(one.rule), witness)
        both = run(ruleset(one.rule, other.rule), witness)
        second = run(ruleset(other.rule), witness)
        values = [_value(flow, target) for flow in (alone, both, second)]
        if both.hits == [one.rule.name, other.rule.name] and values[0] != values[1] == values[2]:
            return witness
    return None


def _value(flow: HTTPFlow, target: str) -> object:
    side, _, name = target.partition(".")
    message = flow.request if side == "request" else flow.response
    if name.startswith("headers."):
        return message.headers.get_all(name.partition(".")[2]) if message is not None else None
    return getattr(message, {"status": "status_code"}.get(name, name), None)


def _targets(facts: Facts) -> dict[str, tuple[str, Span]]:
    """What a rule sets to fixed values, each by `side.name`, with the value and its place."""
    found: dict[str, tuple[str, Span]] = {}
    for step in facts.rule.steps:
        if step.action.key in ("rewrite.request", "rewrite.response"):
            side = step.action.key.partition(".")[2]
            found.update({f"{side}.{name}": (value, step.span) for name, value in _fixed(step.action)})
    return found


def _fixed(action: Action) -> Iterator[tuple[str, str]]:
    for name in _VALUES:
        value = getattr(action, name, None)
        if isinstance(value, URLTemplate):
            value = value.template
        if isinstance(value, Template):
            value = value.constant
        if value is not None:
            yield name, str(value)
    headers = getattr(action, "headers", None)
    for op in headers.ops if isinstance(headers, HeaderEdits) else ():
        constants = [each.constant for each in op.values]
        if op.verb == "set" and None not in constants:
            yield f"headers.{op.name.lower()}", "\n".join(map(str, constants))
