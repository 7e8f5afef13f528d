"""The action `drop-message`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rulesproxy.filters.phases import MESSAGES
from rulesproxy.rules.action import Action, Example, MessageHandler
from rulesproxy.rules.memory import Memory


@dataclass(frozen=True, slots=True)
class DropMessage(Action):
    """Do not send this message on: one of a WebSocket, an event of an event stream, or bytes of a TCP connection.

    The other actions of its rule run all the same; the rules below do not see it.
    """

    key: ClassVar = "drop-message"
    events: ClassVar = frozenset[str]()
    on_messages: ClassVar = MESSAGES
    bare: ClassVar = True

    examples: ClassVar = (
        Example(
            "match: ws.json['type'] == 'ad'\ndrop-message:", "GET http://feed.test/",
            'client: {"type": "price"}', messages='server: {"type": "ad"}\nserver: {"type": "price"}',
        ),
    )  # fmt: skip

    def bind_message(self, memory: Memory) -> MessageHandler:
        return lambda turn, captures: turn.drop()
