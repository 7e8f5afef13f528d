"""The action `close`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rulesproxy.filters.phases import MESSAGES, Phase
from rulesproxy.flow.websocket import may_close_with
from rulesproxy.rules.action import Action, Captures, Example, MessageHandler
from rulesproxy.rules.conversations.turn import Turn
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.nodes import Node
from rulesproxy.rules.memory import Memory
from rulesproxy.rules.schema import Reader
from rulesproxy.rules.template import Template


@dataclass(frozen=True, slots=True)
class Close(Action):
    """End the conversation behind this message: a WebSocket, an event stream, or a TCP connection.

    Both sides of a WebSocket get a Close frame. An event stream ends as if the server had ended it, and so does a TCP
    connection on both sides; neither has a code. The rules below do not see the message.

    Attributes:
        code: the code of the Close frame: 1000 to 1003, 1007 to 1014 or 3000 to 4999; 1000 unless given.
        reason: a text for people, at most 123 bytes.
    """

    key: ClassVar = "close"
    events: ClassVar = frozenset[str]()
    on_messages: ClassVar = MESSAGES
    bare: ClassVar = True
    short: ClassVar = "code"
    synonyms: ClassVar = {"status": "code", "text": "reason", "message": "reason"}

    code: int | None = None
    reason: Template | None = None

    examples: ClassVar = (
        Example(
            "match: ws.json['type'] == 'bye'\nnth: 2\nclose:\n  code: 4001\n  reason: bye", "GET http://feed.test/",
            'client: {"type": "bye"}\nclient: {"type": "bye"}\nclose 4001',
            messages='server: {"type": "bye"}\nserver: {"type": "bye"}\nserver: {"type": "price"}',
        ),
    )  # fmt: skip

    def check(self, node: Node, reader: Reader) -> None:
        if self.code is not None and not may_close_with(self.code):
            where = node.get("code") if isinstance(node, nodes.Mapping) else None
            reader.note(
                "RP680", where or node, f"a WebSocket cannot be closed with code {self.code}",
                "codes are 1000 to 1003, 1007 to 1014 and, for applications, 3000 to 4999",
            )  # fmt: skip

    @property
    def legal_messages(self) -> Phase:
        legal = super(Close, self).legal_messages
        return legal if self.code is None and self.reason is None else legal & Phase.W

    def bind_message(self, memory: Memory) -> MessageHandler:
        code, reason = self.code or 1000, self.reason

        def close(turn: Turn, captures: Captures) -> None:
            turn.close(code, "" if reason is None else reason.fill(turn.flow, captures))

        return close
