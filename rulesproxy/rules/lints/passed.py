"""Rules, and actions of rules, that see nothing of TLS which is passed through undecrypted (RP708).

A report needs a proof that holds for every flow, and a witness: an example for which the rules were really asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rulesproxy.diagnostics import Diagnostic, Label
from rulesproxy.filters.phases import Phase
from rulesproxy.filters.reference import matches
from rulesproxy.flow.connection import ClientConn
from rulesproxy.rules.action import Action
from rulesproxy.rules.lints.candidates import Candidates
from rulesproxy.rules.lints.facts import Changes, Facts
from rulesproxy.rules.lints.terms import Term
from rulesproxy.rules.lints.witness import Witness, ruleset, witnesses
from rulesproxy.rules.moments import on_messages


@dataclass(slots=True)
class _Hello:
    """A ClientHello as far as rules look at it."""

    sni: str | None
    client_conn: ClientConn
    alpn: tuple[str, ...] = ()
    passthrough: bool = field(default=False)


def lint_passed(rules: Sequence[Facts]) -> Iterator[Diagnostic]:
    """Rules about hosts whose TLS some rule leaves undecrypted."""
    changes = Changes(rules)
    passing: Candidates[Facts] = Candidates()
    passers = [facts for facts in rules if facts.compiled.passes] if _has_passthrough(rules) else []
    for facts in passers:
        below_stop = any(other.rule.stop for other in rules[: facts.number])
        if facts.always and not below_stop and facts.rule.filter.phases & Phase.T:
            for term in facts.terms or ():
                passing.add(term, facts)
            yield from _passes_itself(facts)
    if not passers:
        return
    for facts in rules:
        found = _passed_by(facts, passing, changes)
        if found is None:
            continue
        by, witness = found
        step = next(step for step in by.rule.steps if "clienthello" in step.action.events)
        yield Diagnostic(
            "RP708", "warning", f"rule `{facts.rule.name}` sees plain HTTP only: TLS to these hosts is passed through",
            facts.rule.span, f"remove these hosts from `{by.rule.name}`, or this rule", "",
            (Label(step.span, "here"),), (f"for example `{witness}` is never decrypted",),
        )  # fmt: skip


def _passes_itself(facts: Facts) -> Iterator[Diagnostic]:
    """An action beside `passthrough` that needs what its own rule leaves undecrypted."""
    steps = facts.rule.steps
    passing = next(step for step in steps if "clienthello" in step.action.events)
    blind = next((step for step in steps if step is not passing and _needs_requests(step.action, facts)), None)
    if blind is None:
        return
    witness = next((each for term in facts.terms or () for each in witnesses(term) if _is_passed(facts, each)), None)
    if witness is not None:
        yield Diagnostic(
            "RP708", "warning", f"`{blind.action.key}` sees plain HTTP only: this rule has TLS passed through",
            blind.span, "remove `passthrough`, or write a rule of its own with `scheme == http`", "",
            (Label(passing.span, "here"),), (f"for example `{witness}` is never decrypted",),
        )  # fmt: skip


def _needs_requests(action: Action, facts: Facts) -> bool:
    """Whether an action does nothing for a tunnel: neither for its CONNECT, nor for its way, nor for its bytes."""
    if "http_connect" in action.events and facts.compiled.decides_connect:
        return False
    if action.route is not None and action.route.blind and facts.compiled.route is not None:
        return False
    return not on_messages(action, facts.rule.filter) & Phase.X


def _is_passed(facts: Facts, witness: Witness, *others: Facts) -> bool:
    """Whether TLS of an example, which the last of the rules is about, is passed through."""
    last = (others or (facts,))[-1]
    flow = witness.flow(last.rule.filter.uses_response)
    handler = getattr(ruleset(facts.rule, *(other.rule for other in others)), "clienthello", None)
    if flow.request.scheme != "https" or not matches(last.rule.filter, flow) or handler is None:
        return False
    conn = ClientConn(flow.client_conn.address)
    conn.connect_host, conn.connect_port = flow.request.host, flow.request.port
    hello = _Hello(flow.request.host, conn)
    handler(hello)
    return hello.passthrough


def _has_passthrough(rules: Sequence[Facts]) -> bool:
    return any("clienthello" in step.action.events for facts in rules for step in facts.rule.steps)


def _passed_by(facts: Facts, passing: Candidates[Facts], changes: Changes) -> tuple[Facts, Witness] | None:
    if not facts.terms or not facts.rule.steps or not facts.is_http:
        return None
    if facts.compiled.passes or facts.compiled.connect is not None or facts.compiled.only_routes:
        return None
    if any(_is_plain(term) for term in facts.terms) or changes.between(0, facts.number, frozenset({"host"})):
        return None
    takers = [
        next((by for each, by in passing.implied_by(term) if term.implies_all(each)), None) for term in facts.terms
    ]
    by = takers[0]
    if by is None or None in takers:
        return None
    for witness in witnesses(facts.terms[0]):
        if _is_passed(by, witness, facts):
            return by, witness
    return None


def _is_plain(term: Term) -> bool:
    """Whether a term is about plain HTTP, or leaves open that it is."""
    if term.values(("scheme", False, None, None, ())) == frozenset({"http"}):
        return True
    return any(
        not literal.positive and literal.test is not None and literal.test.read.field.name == "tls"
        for literal in term.literals
    )
