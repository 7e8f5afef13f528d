"""What rules do when a connection of raw TCP begins, before its server is dialled: refuse it, slow it, spoil it.

It knows the order of rules there. What they do with bytes is in `messages`.
"""

from __future__ import annotations

from collections.abc import Sequence

from rulesproxy.engine.dispatch import run_guarded
from rulesproxy.flow.tcp import TCPFlow
from rulesproxy.rules.compile import Compiled
from rulesproxy.rules.conversations.messages import Talk
from rulesproxy.rules.conversations.turn import TCPTurn
from rulesproxy.rules.hosts import Hosts, hit


def refuse_tunnel(hosts: Hosts, flow: TCPFlow) -> None:
    """A client has asked for a tunnel, and nobody knows what will be spoken inside: refuse it as a CONNECT would be."""
    turn = TCPTurn(flow, 0, at_open=True)
    view = turn.view(0)
    rule = hosts.refusing(view.request.host, view)
    if rule is not None:
        _act(rule, turn)


def begin(rules: Sequence[Compiled], hosts: Hosts, flow: TCPFlow, talk: Talk) -> None:
    """A connection begins that is raw TCP: the pass over the rules that are decided now.

    Where it began with an exchange, rules that act on exchanges have acted.
    """
    turn = TCPTurn(flow, 0, at_open=True)
    for number in hosts.of_host(turn.view(0).request.host):
        rule = rules[number]
        if not (rule.begins_unseen if flow.unseen else rule.begins):
            continue
        if flow.handshake_flow is not None and (rule.acts_on_request or rule.acts_on_response):
            continue
        view = turn.view(number)
        if not rule.matches(view) or (rule.gate is not None and not rule.gate.opens(view)):
            continue
        _act(rule, turn)
        if rule.stop:
            # Nor do the rules below it have to do with what is said later.
            talk.numbers = tuple([other for other in talk.numbers if other <= number])
            talk.openers = tuple([other for other in talk.openers if other <= number])
        if rule.stop or turn.over:
            return


def _act(rule: Compiled, turn: TCPTurn) -> None:
    hit(turn.flow, rule)
    run_guarded(rule.on_begin(), turn.subject, turn, turn.acts(rule, turn.view(rule.number)))
    turn.refresh()
