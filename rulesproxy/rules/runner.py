"""`Runner`: which events the rules of a set need, and what is to happen at each.

It knows the parts that do it: `passes` for exchanges, `conversations` for messages, `hosts` for tunnels.
"""

from __future__ import annotations

from collections.abc import Sequence

from rulesproxy.rules.compile import Compiled
from rulesproxy.rules.conversations.conversations import Conversations
from rulesproxy.rules.hosts import Hosts
from rulesproxy.rules.index import Index
from rulesproxy.rules.passes import Passes
from rulesproxy.rules.state import Store

INDEXED_FROM = 4
"""With fewer rules their filters are tried one by one, which is cheaper than the index."""


class Runner:
    """The rules of one set, ready for flows. Nothing in it points back to itself, so that it dies when it is let go.

    Attributes:
        handlers: the events that some rule needs, each with its handler.
        hosts: what the rules say of a host alone.
        begin_tcp: what they do when a connection of raw TCP begins, see `Conversations`; None for nothing.
        wants_body: whether the pass of a flow waits for the body of a side, see `Passes`.
        wants_messages: whether some rule may act on the messages of a WebSocket, see `Conversations`.
    """

    __slots__ = ("begin_tcp", "handlers", "hosts", "wants_body", "wants_messages")

    def __init__(self, rules: Sequence[Compiled], store: Store) -> None:
        remembered = store if any(rule.uses_state for rule in rules) else None
        index = Index([rule.keys for rule in rules]) if len(rules) >= INDEXED_FROM else None
        if index is not None and index.useless:
            index = None
        passes = Passes(rules, index, remembered)
        self.hosts = Hosts(rules, index, remembered)
        conversations = Conversations(rules, passes, self.hosts, store)
        self.begin_tcp = conversations.begin_tcp if any(rule.begins for rule in rules) else None
        # An event stream begins behind the response pass, so conversations have the last word on `responseheaders`.
        self.handlers = {**passes.handlers, **self.hosts.handlers, **conversations.handlers}
        self.wants_body = passes.wants_body
        self.wants_messages = conversations.wants_messages
