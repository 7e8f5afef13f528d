"""Redirects that lead to themselves (RP611): followed on an example, as a client would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import urljoin

from rulesproxy.diagnostics import Diagnostic
from rulesproxy.rules.lints.facts import Facts
from rulesproxy.rules.lints.witness import Witness, run, witnesses
from rulesproxy.rules.ruleset import RuleSet

_HOPS = 3
"""A rule that redirects its own redirect again and again: nobody means that."""


def lint_loops(rules: Sequence[Facts]) -> Iterator[Diagnostic]:
    """Redirect rules whose target they redirect again."""
    for facts in rules:
        step = next((step for step in facts.rule.steps if step.action.key == "redirect"), None)
        if step is None or not facts.always or not facts.runnable or facts.rule.filter.needs_body:
            continue
        hops = _loop(facts, rules)
        if hops:
            same = hops[0] == hops[1]
            title = f"rule `{facts.rule.name}` redirects to {'itself' if same else 'what it redirects again'}"
            yield Diagnostic(
                "RP611", "warning", title, step.span, "exclude the target in `match`, or use `rewrite` or `map-remote`",
                notes=(f"for example {' → '.join(hops)}",),
            )  # fmt: skip


def _loop(facts: Facts, rules: Sequence[Facts]) -> list[str]:
    """The URLs of a client that this rule sends in circles; none where it does not."""
    for term in facts.terms or ():
        for witness in witnesses(term):
            hops = _follow(witness, facts, [facts])
            if not hops:
                continue
            above = rules[: facts.number + 1]
            # A rule above may catch the target; where it cannot be tried, nothing is said.
            if all(each.runnable for each in above) and _follow(witness, facts, above):
                return hops
    return []


def _follow(witness: Witness, facts: Facts, rules: Sequence[Facts]) -> list[str]:
    ruleset = RuleSet(tuple([each.rule for each in rules]))
    hops = [witness.url]
    for _ in range(_HOPS):
        flow = run(ruleset, witness)
        response = flow.response
        location = response.headers.get("location") if response is not None else None
        if not location or flow.hits[-1:] != [facts.rule.name]:
            return []
        witness = witness.moved(urljoin(hops[-1], location), response.status_code if response is not None else 302)
        hops.append(witness.url)
    return hops[:3]
