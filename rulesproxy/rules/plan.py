"""What a set of rules makes the proxy do: rules per moment, bodies that are read and why, hosts that are decrypted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rulesproxy.filters.analysis import reads
from rulesproxy.filters.phases import Phase
from rulesproxy.rules.action import Side
from rulesproxy.rules.compile import Compiled

_NAMES = 8
"""Names in one line of the plan; more are counted."""
CARRIERS = {Phase.W: "WebSockets", Phase.X: "TCP", Phase.V: "event streams"}
_BODY: dict[Side, Phase] = {"request": Phase.B, "response": Phase.S}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a set of rules makes the proxy do, by the names of the rules.

    Attributes:
        rules: all of them.
        connect: those that refuse at CONNECT.
        request: those that act in the request pass.
        response: those that act in the response pass.
        failed: those that act on a flow that has failed.
        messages: those that act on messages or at the beginning of a conversation, by what carries it.
        request_bodies: those for which the request body is read, each with the reason.
        response_bodies: those for which the response body is read, each with the reason.
        tcp: those that act when a connection of raw TCP begins, before its server is dialled.
        passes: those that leave TLS undecrypted.
        hosts: the hosts whose TLS they have to see.
    """

    rules: tuple[str, ...]
    connect: tuple[str, ...]
    request: tuple[str, ...]
    response: tuple[str, ...]
    failed: tuple[str, ...]
    messages: dict[str, tuple[str, ...]]
    request_bodies: dict[str, str]
    response_bodies: dict[str, str]
    tcp: tuple[str, ...]
    passes: tuple[str, ...]
    hosts: tuple[str, ...]


def make_plan(rules: Sequence[Compiled]) -> Plan:
    """The plan of a set of rules."""
    return Plan(
        tuple([rule.name for rule in rules]),
        tuple([rule.name for rule in rules if rule.connect is not None]),
        tuple([rule.name for rule in rules if rule.acts_on_request]),
        tuple([rule.name for rule in rules if rule.acts_on_response]),
        tuple([rule.name for rule in rules if rule.acts_on_error]),
        {
            kind: names
            for phase, kind in CARRIERS.items()
            if (names := tuple([rule.name for rule in rules if (rule.messages | rule.opens) & phase]))
        },
        {rule.name: _why(rule, "request") for rule in rules if rule.holds_request},
        {rule.name: _why(rule, "response") for rule in rules if rule.holds_response},
        tuple([rule.name for rule in rules if rule.begins]),
        tuple([rule.name for rule in rules if rule.passes]),
        tuple(decrypted_hosts(rules)),
    )


def describe_plan(rules: Sequence[Compiled]) -> str:
    """The plan as lines of text."""
    plan = make_plan(rules)
    number = len(plan.rules)
    lines = [f"{number} rule{'' if number == 1 else 's'}"]
    for title, names in (
        ("refused at CONNECT", plan.connect),
        ("in the request pass", plan.request),
        ("in the response pass", plan.response),
        ("request body read for", [f"{name} ({why})" for name, why in plan.request_bodies.items()]),
        ("response body read for", [f"{name} ({why})" for name, why in plan.response_bodies.items()]),
        ("hosts decrypted", plan.hosts),
    ):
        lines.append(f"  {title}: {_list(names)}")
    for kind, names in plan.messages.items():
        lines.append(f"  on messages of {kind}: {_list(names)}")
    if plan.failed:
        lines.append(f"  when a flow fails: {_list(plan.failed)}")
    if plan.tcp:
        lines.append(f"  when a raw TCP connection begins: {_list(plan.tcp)}")
    if plan.passes:
        lines.append(f"  TLS passed through: {_list(plan.passes)}")
    return "\n".join(lines)


def decrypted_hosts(rules: Sequence[Compiled]) -> list[str]:
    """The hosts whose TLS these rules have to see, `*.` standing for a host and everything below it.

    A rule that only refuses, and can do so at CONNECT, needs none. Hosts that another rule passes through are left out.
    """
    hosts: dict[str, None] = {}
    for rule in rules:
        if (
            rule.only_passes
            or rule.only_routes
            or rule.only_tcp
            or not rule.rule.steps
            or (rule.connect is not None and len(rule.rule.steps) == 1)
        ):
            continue
        key = rule.key
        if key.hosts is None and key.suffixes is None:
            return ["every host"]
        hosts.update(dict.fromkeys(sorted(key.hosts or ())))
        hosts.update(dict.fromkeys(f"*.{suffix}" for suffix in sorted(key.suffixes or ())))
    return [host for host in hosts if not all(_passed(rules, name) for name in _examples(host))]


def _passed(rules: Sequence[Compiled], host: str) -> bool:
    """Whether TLS to a host is never decrypted, whoever the client is."""
    for rule in rules:
        if rule.host_must(host) and (rule.passes or rule.stop):
            return rule.passes
    return False


def _examples(host: str) -> tuple[str, ...]:
    """Hosts that stand for all that are meant: the name itself, and one below it."""
    name = host.removeprefix("*.")
    return (name,) if name == host else (name, f"any.{name}")


def _why(rule: Compiled, side: Side) -> str:
    """Why a rule waits for a body: what its filter reads, what edits it, or whose value is made of it."""
    names = [read.field.name for read in reads(rule.rule.filter.node) if read.field.body & _BODY[side]]
    shown = [name for name in dict.fromkeys(names) if not name.startswith("~kept")]
    if shown:
        return f"match reads {', '.join(shown)}"
    for step in rule.rule.steps:
        if step.action.edits_body == side:
            return f"{step.action.key.partition('.')[0]} edits it"
        if side in step.action.reads_body:
            return f"{step.action.key.partition('.')[0]} uses it"
    return "an action needs it"


def _list(names: Sequence[str]) -> str:
    if not names:
        return "none"
    more = len(names) - _NAMES
    return ", ".join(names[:_NAMES]) + (f" and {more} more" if more > 0 else "")
