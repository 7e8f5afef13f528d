"""What rules share between flows: counters, named state, rates, files, chance with a seed.

One process keeps it in its memory. Several that serve one address would each keep their own, so such rules are refused
there (RP850 to RP854).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rulesproxy.diagnostics import Diagnostic, Span
from rulesproxy.filters.typed import And, Each, Node, Not, Or, Read, Test
from rulesproxy.rules.model import Rule
from rulesproxy.rules.moments import acts_on_each
from rulesproxy.rules.state import is_shared
from rulesproxy.rules.templates.fields import state_name
from rulesproxy.rules.templates.names import COUNTER

_HELP = {
    "RP850": "run one process, or say with `match` which flows are meant",
    "RP851": "run one process, or keep it in `flow.`, which is one flow's own",
    "RP852": "run one process, or leave `scope` away, so that every flow has its own rate",
    "RP853": "run one process for recording",
    "RP854": "run one process, or leave the seed away",
}


def check_shared(rules: Sequence[Rule], workers: int) -> list[Diagnostic]:
    """An error for everything in the rules that several processes cannot share; none for one process."""
    if workers < 2:
        return []
    found = []
    for rule in rules:
        # A rule whose action consists of parts says it once.
        seen = dict.fromkeys([*_of_gates(rule), *_of_filter(rule), *_of_actions(rule)])
        for code, what, span in seen:
            title = f"{what}, and {workers} workers cannot do that together"
            found.append(Diagnostic(code, "error", title, span, _HELP[code]))
    return found


def _of_gates(rule: Rule) -> Iterator[tuple[str, str, Span]]:
    gates = rule.gates
    if gates is None:
        return
    # A conversation stays where it began, and what is counted in it begins with it.
    in_one = any(acts_on_each(step.action, rule.filter) for step in rule.steps)
    for key, span in gates.places:
        sample = gates.sample
        if key != "sample":
            if in_one:
                continue
            yield "RP850", f"`{key}` counts flows", span
        elif sample is not None and sample.seed and sample.by is None:
            yield "RP854", "this `sample` draws flow by flow from one seed", span
        elif sample is not None and sample.by is not None and (name := _shared_name(sample.by)):
            yield "RP851", f"`{name}` is remembered for other flows too", span


def _of_filter(rule: Rule) -> Iterator[tuple[str, str, Span]]:
    for read, start, end in _reads(rule.filter.node):
        if name := _shared_name(read):
            span = rule.span if rule.text is None else rule.text.place(start, end)
            yield "RP851", f"`{name}` is remembered for other flows too", span


def _of_actions(rule: Rule) -> Iterator[tuple[str, str, Span]]:
    for step in rule.steps:
        shares = step.action.shares
        if shares is not None:
            yield (*shares, step.span)
        for name in sorted(step.action.names):
            state = state_name(name)
            if name == COUNTER:
                yield "RP850", f"`{step.action.key}` has a `${{{COUNTER}}}`, which counts flows", step.span
            elif state is not None and is_shared(state):
                yield "RP851", f"`{state}` is remembered for other flows too", step.span


def _shared_name(read: Read) -> str | None:
    """The name that a filter reads, where other flows have it too."""
    # All values at once are those of the flow, since no others can be set.
    key = read.key if read.field.name == "state" and not read.element else None
    return key if isinstance(key, str) and is_shared(key) else None


def _reads(node: Node) -> Iterator[tuple[Read, int, int]]:
    """Every read of a filter, and the place of its test in the text."""
    if isinstance(node, Test):
        yield node.read, node.start, node.end
    elif isinstance(node, (And, Or)):
        for item in node.items:
            yield from _reads(item)
    elif isinstance(node, Not):
        yield from _reads(node.item)
    elif isinstance(node, Each):
        yield node.read, node.start, node.end
        yield from _reads(node.item)
