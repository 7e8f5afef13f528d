"""Rules that other rules hide: they never run, or not for a part of what they name (RP701, RP702, RP707, RP710).

A report needs a proof that holds for every flow, and a witness: an example on which the rules were really run. Without
either nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass, replace

from rulesproxy.diagnostics import Diagnostic, Label
from rulesproxy.filters.reference import matches
from rulesproxy.filters.typed import Test
from rulesproxy.rules.lints.candidates import Candidates
from rulesproxy.rules.lints.facts import Changes, Facts
from rulesproxy.rules.lints.terms import Literal, Term
from rulesproxy.rules.lints.values import finite
from rulesproxy.rules.lints.witness import Witness, ruleset, run, witnesses
from rulesproxy.rules.template import Place

_SPLIT = 32
"""Hosts of one set that are looked at one by one."""
_SHOWN = 3
"""Rules that one report points at."""


def lint_order(rules: Sequence[Facts]) -> Iterator[Diagnostic]:
    """What is hidden among the rules, in their order."""
    changes = Changes(rules)
    enders: Candidates[Facts] = Candidates()
    twins: dict[object, list[Facts]] = {}
    everything: dict[int, list[tuple[Facts, Witness]]] = {}
    answering = min((facts.number for facts in rules if facts.may_answer), default=float("inf"))
    for facts in rules:
        if not facts.terms:
            continue
        first = _twin(facts, twins, changes)
        if first is not None:
            yield first
        else:
            yield from _hidden(facts, enders, changes, answering, everything)
        if facts.ends:
            for term in facts.terms:
                enders.add(term, facts)
    for number, hidden in everything.items():
        yield _catch_all(rules[number], hidden)


def _hidden(
    facts: Facts,
    enders: Candidates[Facts],
    changes: Changes,
    answering: float,
    everything: dict[int, list[tuple[Facts, Witness]]],
) -> Iterator[Diagnostic]:
    """The report on a rule of which some or all alternatives are taken by rules above."""
    terms = [part for term in facts.terms or () for part in _split(term)]
    taken = [(term, by) for term in terms if (by := _taker(term, facts, enders, changes, answering)) is not None]
    if not taken:
        return
    proved = [(term, by, witness) for term, by in taken if (witness := _confirmed(term, by, facts)) is not None]
    if not proved:
        return
    _, by, witness = proved[0]
    if len(taken) < len(terms):
        yield _partly(facts, len(taken), terms, [by for _, by, _ in proved], witness)
        return
    if all(not literal for term in by.terms or () for literal in term.literals):
        everything.setdefault(by.number, []).append((facts, witness))
        return
    yield _unreachable(facts, [by for _, by, _ in proved], witness)


def _taker(term: Term, facts: Facts, enders: Candidates[Facts], changes: Changes, answering: float) -> Facts | None:
    """The first rule above that takes every flow of a term for itself."""
    best: Facts | None = None
    for other, by in enders.implied_by(term):
        if (best is not None and by.number >= best.number) or by.rule.span == facts.rule.span:
            # A file that is included twice brings the same rule again.
            continue
        if not term.implies_all(other) or not by.hides(facts, by.number <= answering):
            continue
        if not changes.between(by.number + 1, facts.number, by.read):
            best = by
    return best


def _confirmed(term: Term, by: Facts, facts: Facts) -> Witness | None:
    """An exchange for which both filters are true, and of which the rule below saw nothing when both were run."""
    if not by.runnable:
        return None
    both = facts.runnable
    for witness in witnesses(term):
        answered = facts.rule.filter.uses_response
        if not matches(facts.rule.filter, witness.flow(answered)) or not matches(by.rule.filter, witness.flow(False)):
            continue
        alone = run(ruleset(by.rule), witness)
        if by.rule.name not in alone.hits:
            continue
        if both and facts.rule.name in run(ruleset(by.rule, facts.rule), witness).hits:
            continue
        return witness
    return None


def _unreachable(facts: Facts, takers: Sequence[Facts], witness: Witness) -> Diagnostic:
    labels = [label for by in _distinct(takers)[:_SHOWN] for label in _labels(by)]
    above = takers[0].rule.name
    return Diagnostic(
        "RP701", "warning", f"rule `{facts.rule.name}` can never run", facts.rule.span,
        f"move it above `{above}`, or make that one match less", "unreachable", tuple(labels),
        (f"for example `{witness}` ends at `{above}`",),
    )  # fmt: skip


def _partly(facts: Facts, taken: int, terms: Sequence[Term], takers: Sequence[Facts], witness: Witness) -> Diagnostic:
    what = "hosts" if len(facts.terms or ()) == 1 else "alternatives"
    labels = [label for by in _distinct(takers)[:_SHOWN] for label in _labels(by)]
    title = f"rule `{facts.rule.name}` never sees {taken} of its {len(terms)} {what}"
    return Diagnostic(
        "RP702", "info", title, facts.rule.span, "remove them here, or move this rule up", "", tuple(labels),
        (f"for example `{witness}` ends at `{takers[0].rule.name}`",),
    )  # fmt: skip


def _catch_all(by: Facts, hidden: Sequence[tuple[Facts, Witness]]) -> Diagnostic:
    number = len(hidden)
    below = "the rule below never runs" if number == 1 else f"{number} rules below never run"
    labels = tuple([Label(facts.rule.span, "never runs") for facts, _ in hidden[:_SHOWN]])
    return Diagnostic(
        "RP710", "warning", f"rule `{by.rule.name}` takes everything: {below}", by.rule.span,
        "move it to the end, or make it match less", "", labels,
        (f"for example `{hidden[0][1]}` ends here and never gets to `{hidden[0][0].rule.name}`",),
    )  # fmt: skip


def _labels(by: Facts) -> list[Label]:
    text, node = by.rule.text, by.rule.filter.node
    labels = [] if text is None else [Label(text.place(node.start, node.end), "matches all of that")]
    step = by.answering
    if step is not None and not by.rule.stop:
        labels.append(Label(step.span, "and answers"))
    elif by.rule.stop:
        labels = [replace(label, text="matches all of that, and stops") for label in labels]
    return labels


def _distinct(takers: Sequence[Facts]) -> list[Facts]:
    return list({by.number: by for by in takers}.values())


def _split(term: Term) -> list[Term]:
    """A term as several, one for each host where it names a few of them."""
    for literal in term.literals:
        test = literal.test
        if test is None or not literal.positive or test.read.field.name != "host" or test.op != "in":
            continue
        values = finite(test)
        if values is None or not 1 < len(values) <= _SPLIT:
            continue
        rest = [each for each in term.literals if each is not literal]
        found = [Term([_equal(literal, test, value), *rest]) for value in sorted(map(str, values))]
        return [part for part in found if not part.impossible]
    return [term]


def _equal(literal: Literal, test: Test, value: str) -> Literal:
    return Literal(literal.key, replace(test, op="==", operand=value), True, (literal.key, "==", value))


# Duplicates


def _twin(facts: Facts, twins: dict[object, list[Facts]], changes: Changes) -> Diagnostic | None:
    """The report on a rule that says the same as one above."""
    rule = facts.rule
    key = (frozenset([frozenset(term.literals) for term in facts.terms or ()]), rule.stop, rule.on_error)
    others = twins.setdefault(key, [])
    for other in others:
        same = _same(_says(other), _says(facts))
        if (
            not same
            or other.rule.span == rule.span
            or changes.between(other.number + (other.ends != ""), facts.number, facts.read)
        ):
            continue
        witness = _seen_by_both(other, facts)
        if witness is not None:
            return Diagnostic(
                "RP707", "warning", f"rule `{rule.name}` has the same filter and actions as `{other.rule.name}`",
                rule.span, "remove one of them", "", (Label(other.rule.span, "the first one"),),
                (f"for example `{witness}` is a matter of both",),
            )  # fmt: skip
    others.append(facts)
    return None


def _says(facts: Facts) -> tuple[object, ...]:
    """What a rule does, and under which further conditions."""
    aside = {"name", "id", "description", "tags", "filter", "steps", "negated", "span", "definition", "text"}
    rest = [getattr(facts.rule, each.name) for each in fields(facts.rule) if each.name not in aside]
    return (*[step.action for step in facts.rule.steps], *rest)


def _same(one: object, other: object) -> bool:
    """Whether two values say the same: functions that were made from the same text do."""
    if isinstance(one, Place) and isinstance(other, Place):
        return (one.text, one.typed, one.from_path) == (other.text, other.typed, other.from_path)
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if is_dataclass(one) and not isinstance(one, type):
        return all(_same(getattr(one, each.name), getattr(other, each.name)) for each in fields(one))
    return callable(one) or one == other


def _seen_by_both(one: Facts, other: Facts) -> Witness | None:
    for term in other.terms or ():
        for witness in witnesses(term):
            flow = witness.flow(other.rule.filter.uses_response)
            if matches(one.rule.filter, flow) and matches(other.rule.filter, flow):
                return witness
    return None
