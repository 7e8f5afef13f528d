"""What a set of rules makes the proxy do, in words: rules per event, bodies that are read, hosts that are decrypted."""

from __future__ import annotations

from collections.abc import Sequence

from rulesproxy.rules.compile import Compiled

_NAMES = 8
"""Names in one line of the plan; more are counted."""


def describe_plan(rules: Sequence[Compiled]) -> str:
    """The plan as lines of text."""
    number = len(rules)
    lines = [f"{number} rule{'' if number == 1 else 's'}"]
    for title, names in (
        ("refused at CONNECT", [rule.name for rule in rules if rule.connect is not None]),
        ("in the request pass", [rule.name for rule in rules if rule.acts_on_request]),
        ("in the response pass", [rule.name for rule in rules if rule.acts_on_response]),
        ("request body read for", [rule.name for rule in rules if rule.holds_request]),
        ("response body read for", [rule.name for rule in rules if rule.holds_response]),
        ("hosts decrypted", decrypted_hosts(rules)),
    ):
        lines.append(f"  {title}: {_list(names)}")
    passing = [rule.name for rule in rules if rule.passes]
    if passing:
        lines.append(f"  TLS passed through: {_list(passing)}")
    return "\n".join(lines)


def decrypted_hosts(rules: Sequence[Compiled]) -> list[str]:
    """The hosts whose TLS these rules have to see, `*.` standing for a host and everything below it.

    A rule that only refuses, and can do so at CONNECT, needs none.
    """
    hosts: dict[str, None] = {}
    for rule in rules:
        if (
            rule.only_passes
            or rule.only_routes
            or not rule.rule.steps
            or (rule.connect is not None and len(rule.rule.steps) == 1)
        ):
            continue
        key = rule.key
        if key.hosts is None and key.suffixes is None:
            return ["every host"]
        hosts.update(dict.fromkeys(sorted(key.hosts or ())))
        hosts.update(dict.fromkeys(f"*.{suffix}" for suffix in sorted(key.suffixes or ())))
    return list(hosts)


def _list(names: list[str]) -> str:
    if not names:
        return "none"
    more = len(names) - _NAMES
    return ", ".join(names[:_NAMES]) + (f" and {more} more" if more > 0 else "")
