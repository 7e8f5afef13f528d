"""Rules without a name of their own (RP111), for those who want every rule to have one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rulesproxy.diagnostics import Diagnostic
from rulesproxy.rules.model import Rule

_TEXT = re.compile(r"""["']([^"']*)["']|~[a-z]+ +([^\s()|&]+)""")
_LONGEST = 40


def lint_ids(rules: Sequence[Rule]) -> Iterator[Diagnostic]:
    """What is called by its place, which is another one when a line is added above it."""
    taken = {rule.id for rule in rules}
    for rule in rules:
        if rule.id is None:
            found = _suggested(rule, taken)
            taken.add(found)
            title = f"this rule has no `id`: reports call it `{rule.name}`"
            yield Diagnostic("RP111", "warning", title, rule.span, f"add `id: {found}`, or another name")


def _suggested(rule: Rule, taken: set[str | None]) -> str:
    """An id made of what the rule does and of the first text in its filter."""
    done = rule.steps[0].action.key.partition(".")[0] if rule.steps else "stop"
    found = _TEXT.search(rule.text.text) if rule.text is not None else None
    about = re.sub(r"[^A-Za-z0-9.]+", "-", found[1] or found[2] or "").strip("-.") if found else ""
    name = f"{done}-{about}".rstrip("-")[:_LONGEST].rstrip("-.")
    number = 1
    while (each := name if number == 1 else f"{name}-{number}") in taken:
        number += 1
    return each
