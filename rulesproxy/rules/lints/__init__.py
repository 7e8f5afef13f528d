"""What is odd about rules that are right one by one: filters that cannot be meant, and rules that hide each other.

It is for `check` alone: it costs more than loading the rules. Nothing is reported that was not proved for every flow,
and tried on an example.
"""

from __future__ import annotations

from collections.abc import Sequence

from rulesproxy.diagnostics import Diagnostic
from rulesproxy.diagnostics.ignore import divide, unused
from rulesproxy.rules.lints.conflicts import lint_conflicts
from rulesproxy.rules.lints.facts import Facts
from rulesproxy.rules.lints.filters import lint_filter
from rulesproxy.rules.lints.ids import lint_ids
from rulesproxy.rules.lints.loops import lint_loops
from rulesproxy.rules.lints.passed import lint_passed
from rulesproxy.rules.lints.shadow import lint_order
from rulesproxy.rules.model import Loaded, Rule


def diagnose(loaded: Loaded, strict: bool = False) -> tuple[Diagnostic, ...]:
    """Everything that `check` says of what was loaded: mistakes, and where there is no error what is odd about the
    rules, without what comments silence; and comments that silence nothing. It is `strict` about good habits too."""
    said, silenced = divide(lint(loaded.rules) if loaded.ok else (), loaded.ignores)
    # A comment that silences one of these is needed by those who are strict.
    habits, kept = divide(lint_ids(loaded.rules) if loaded.ok else (), loaded.ignores)
    said = (*loaded.diagnostics, *said, *(habits if strict else ()))
    silenced = (*silenced, *kept)
    if loaded.ok:
        # Before the rules were compared it is not known which comments are needed.
        said = (*said, *unused(loaded.ignores, (*loaded.ignored, *silenced), said))
    # Of a file that is included twice everything is said once.
    extra = {str(each): each for each in said[len(loaded.diagnostics) :]}
    shown = list(loaded.diagnostics)
    for diagnostic in sorted(extra.values(), key=_line):
        shown.insert(_index(diagnostic, shown), diagnostic)
    return tuple(shown)


def lint(rules: Sequence[Rule]) -> list[Diagnostic]:
    """Everything that is odd about rules without errors."""
    known = [Facts(rule, number) for number, rule in enumerate(rules)]
    found = [diagnostic for facts in known for diagnostic in lint_filter(facts.rule, facts.all_terms)]
    found += lint_order(known)
    found += lint_passed(known)
    found += lint_conflicts(known)
    found += lint_loops(known)
    return found


def _index(diagnostic: Diagnostic, shown: Sequence[Diagnostic]) -> int:
    """Where a diagnostic belongs among others: behind those of its file that stand above it."""
    if diagnostic.span is None:
        return 0
    at = len(shown)
    for number, other in enumerate(shown):
        if other.span is not None and other.span.source.path == diagnostic.span.source.path:
            if _line(other) > _line(diagnostic):
                return number
            at = number + 1
    return at


def _line(diagnostic: Diagnostic) -> tuple[int, int]:
    span = diagnostic.span
    return (0, 0) if span is None else (span.line, span.column)


__all__ = ["diagnose", "lint"]
