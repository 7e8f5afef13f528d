"""`describe_rule`: when one rule runs, what it needs to be read, and what stands in its way, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rulesproxy.filters.keys import Key
from rulesproxy.rules.compile import Compiled
from rulesproxy.rules.moments import acts_on_each, begins, on_request, on_response, opens
from rulesproxy.rules.plan import CARRIERS, decrypted_hosts

_SHOWN = 6
"""Names in one line; more are counted."""


def describe_rule(rules: Sequence[Compiled], number: int) -> Iterator[str]:
    """What there is to say about a rule of a set, one fact in a line."""
    rule = rules[number]
    checked = rule.rule.filter
    yield f"{rule.name}  {rule.rule.span}"
    if rule.rule.description:
        yield f"  {rule.rule.description}"
    text = "" if rule.rule.text is None else " ".join(rule.rule.text.text.split())
    facts = [
        ("match", text),
        ("place", f"rule {number + 1} of {len(rules)}{_above(rules, number)}"),
        ("acts", _list(_acts(rule))),
        ("bodies", _bodies(rule)),
        ("hosts decrypted", _list(decrypted_hosts([rule])) or "none"),
        ("looked up by", "; ".join(_key(key) for key in rule.keys[:_SHOWN])),
        ("captures", _list(sorted(checked.captures))),
        ("gates", _gates(rule)),
        ("stop", "no rule below applies to what it matches" if rule.stop else ""),
        ("on error", "the client gets 502" if rule.rule.on_error == "closed" else "the flow goes on"),
        ("tags", _list(rule.rule.tags)),
    ]
    width = max(len(name) for name, text in facts if text)
    yield from [f"  {name.ljust(width)}  {text}" for name, text in facts if text]


def _above(rules: Sequence[Compiled], number: int) -> str:
    """The rules above that may keep a flow from it."""
    above = [rule.name for rule in rules[:number] if rule.stop or any(step.action.answers for step in rule.rule.steps)]
    return f", below {_list(above)}, which may end the request before" if above else ""


def _acts(rule: Compiled) -> Iterator[str]:
    """Its actions, each with the moment."""
    for step in rule.rule.steps:
        action, moments = step.action, []
        if rule.connect is not None and "http_connect" in action.events:
            moments.append("at CONNECT, where it refuses the tunnel")
        if "clienthello" in action.events:
            moments.append("before TLS is decrypted")
        if on_request(action, rule.rule.filter):
            moments.append("on the request" + (", when its body is there" if rule.holds_request else ""))
        if on_response(action, rule.rule.filter):
            moments.append("on the response" + (", when its body is there" if rule.holds_response else ""))
        if begins(action, rule.rule.filter):
            moments.append("when a raw TCP connection begins")
        shown = [words for phase, words in CARRIERS.items() if acts_on_each(action, rule.rule.filter) & phase]
        if shown:
            moments.append(f"on messages of {', '.join(shown)}")
        shown = [words for phase, words in CARRIERS.items() if opens(action, rule.rule.filter) & phase]
        if shown:
            moments.append(f"before the first message of {', '.join(shown)}")
        yield f"{action.key} {' and '.join(moments)}"


def _bodies(rule: Compiled) -> str:
    sides = [side for side, holds in (("request", rule.holds_request), ("response", rule.holds_response)) if holds]
    if not sides:
        return "none is waited for"
    over = "one over the limit is refused" if rule.refuses_overflow else "one over the limit passes it by"
    return f"waits for that of the {' and the '.join(sides)}; {over}"


def _key(key: Key) -> str:
    """What the index asks of a request before the filter is asked."""
    parts = []
    if key.hosts is not None:
        parts.append("host " + _list([*sorted(key.hosts), *[f"*.{top}" for top in sorted(key.suffixes or ())]]))
    if key.paths is not None:
        parts.append("path " + _list([*sorted(key.paths), *[f"{top}*" for top in sorted(key.prefixes or ())]]))
    if key.texts is not None and not parts:
        parts.append("a text in the URL")
    if key.header is not None:
        parts.append(f"a text in header {key.header[0].decode()}" if key.header[0] else "a text in a header")
    return " and ".join(parts) or "nothing: its filter is asked for every request"


def _gates(rule: Compiled) -> str:
    gates = rule.rule.gates
    if gates is None:
        return ""
    parts = [f"sample {gates.sample.text}"] if gates.sample is not None else []
    parts += [f"nth {_list(map(str, sorted(gates.nth)))}"] if gates.nth else []
    parts += [f"every {gates.every}"] if gates.every > 1 else []
    parts += [f"times {gates.times}"] if gates.times else []
    return ", then ".join(parts)


def _list(names: Iterable[str]) -> str:
    found = list(names)
    more = len(found) - _SHOWN
    return ", ".join(found[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
