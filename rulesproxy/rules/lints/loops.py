"""Redirects that lead to themselves (RP611): followed on an example, as a client would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from rulesproxy.diagnostics import Diagnostic
from rulesproxy.rules.action import Action
from rulesproxy.rules.lints.facts import Facts
from rulesproxy.rules.lints.witness import Witness, ruleset, run, witnesses
from rulesproxy.rules.templates.urls import URLTemplate

if TYPE_CHECKING:
    from rulesproxy.rules.ruleset import RuleSet

_HOPS = 3
"""A rule that redirects its own redirect again and again: nobody means that."""


def lint_loops(rules: Sequence[Facts]) -> Iterator[Diagnostic]:
    """Redirect rules whose target they redirect again."""
    # Rules above may catch the target. Below one that cannot be tried nothing is said.
    tried = next((number for number, facts in enumerate(rules) if not facts.runnable), len(rules))
    together: RuleSet | None = None
    for facts in rules[:tried]:
        step = next((step for step in facts.rule.steps if step.action.key == "redirect"), None)
        if step is None or not facts.always or facts.rule.filter.needs_body or _leads_away(step.action, facts):
            continue
        together = together or ruleset(*[each.rule for each in rules[:tried]])
        hops = next((hops for witness in _witnesses(facts) if (hops := _follow(witness, facts, together))), [])
        if hops:
            same = hops[0] == hops[1]
            title = f"rule `{facts.rule.name}` redirects to {'itself' if same else 'what it redirects again'}"
            yield Diagnostic(
                "RP611", "warning", title, step.span, "exclude the target in `match`, or use `rewrite` or `map-remote`",
                notes=(f"for example {' → '.join(hops)}",),
            )  # fmt: skip


def _leads_away(action: Action, facts: Facts) -> bool:
    """Whether the target is at a fixed host for which the filter is never true."""
    to = getattr(action, "to", None)
    first = to.template.parts[0] if isinstance(to, URLTemplate) and to.template.parts else ""
    if not isinstance(first, str) or not isinstance(to, URLTemplate) or to.local or to.hosts:
        return False
    try:
        host = urlsplit(first).hostname
    except ValueError:
        return False
    return host is not None and not facts.compiled.host_may(host)


def _witnesses(facts: Facts) -> Iterator[Witness]:
    for term in facts.terms or ():
        yield from witnesses(term)


def _follow(witness: Witness, facts: Facts, rules: RuleSet) -> list[str]:
    """The URLs of a client that this rule sends in circles; none where it does not."""
    hops = [witness.url]
    for _ in range(_HOPS):
        flow = run(rules, witness)
        response = flow.response
        location = response.headers.get("location") if response is not None else None
        if response is None or not location or facts.rule.name not in flow.hits:
            return []
        try:
            target = urljoin(hops[-1], location)
        except ValueError:
            # No client can follow what is no URL.
            return []
        witness = witness.moved(target, response.status_code)
        hops.append(witness.url)
    return hops[:3]
