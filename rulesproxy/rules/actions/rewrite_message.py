"""The action `rewrite.message`."""

from __future__ import annotations

import json as json_module
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rulesproxy.filters.phases import MESSAGES, Phase
from rulesproxy.filters.shape import fixed_width, parse
from rulesproxy.rules.action import Action, Captures, Example, MessageHandler
from rulesproxy.rules.conversations.turn import Turn
from rulesproxy.rules.edits.json_edits import JSONEdits
from rulesproxy.rules.edits.replacements import Pattern
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.nodes import Node
from rulesproxy.rules.memory import Memory
from rulesproxy.rules.reading.amounts import Octets
from rulesproxy.rules.schema import Reader
from rulesproxy.rules.template import Template

if TYPE_CHECKING:
    from rulesproxy.filters.engine import Searching


@dataclass(frozen=True, slots=True)
class RewriteMessage(Action):
    """Change a message on its way: one of a WebSocket, an event of an event stream, or bytes of a TCP connection.

    Attributes:
        text: the new message as text; of an event its data.
        bytes: the new message in hexadecimal digits, such as `00 ff`: a binary message of a WebSocket.
        replace: texts or regular expressions with their replacements.
        json: edits of a message that is JSON; what they do not name keeps its bytes, and what is no JSON passes.
    """

    key: ClassVar = "rewrite.message"
    events: ClassVar = frozenset[str]()
    on_messages: ClassVar = MESSAGES
    needs: ClassVar = ("*",)
    synonyms: ClassVar = {"body": "text", "data": "text", "content": "text"}

    text: Template | None = None
    bytes: Octets | None = None
    replace: tuple[Pattern, ...] = ()
    json: JSONEdits | None = None

    examples: ClassVar = (
        Example(
            "match: host == 'feed.test' and ws.json['type'] == 'price'\nrewrite:\n  message:\n    json:\n"
            "      set: {$.v: 99}",
            "GET http://feed.test/", 'client: {"type":"price","v":99}', messages='server: {"type":"price","v":10}',
        ),
        Example(
            'match: ws.from_client and ws.text ~ "^hello (?P<name>.*)"\nrewrite:\n  message:\n'
            "    text: ${name} says ${ws.text}",
            "GET http://feed.test/", "server: ann says hello ann", messages="client: hello ann",
        ),
        Example(
            "match: not ws.from_client\nrewrite:\n  message:\n    replace: [{text: secret, with: '******'}]",
            "GET http://feed.test/", "client: a ******", messages="server: a secret",
        ),
    )  # fmt: skip

    def check(self, node: Node, reader: Reader) -> None:
        if isinstance(node, nodes.Mapping) and not node.entries:
            reader.note("RP106", node, "`rewrite.message` changes nothing", "name what it shall change, or remove it")
        key = node.key("bytes") if isinstance(node, nodes.Mapping) else None
        if key is not None and self.bytes is not None:
            for name in ("text", "json", "replace"):
                if getattr(self, name):
                    reader.note("RP607", key, f"`{name}` and `bytes` both make the message", "keep one of them")

    @property
    def legal_messages(self) -> Phase:
        legal = super(RewriteMessage, self).legal_messages
        return legal if self.bytes is None else legal & ~Phase.V

    @property
    def looks_for(self) -> tuple[str | Searching, ...]:
        return tuple([pattern.search if pattern.text is None else pattern.text for pattern in self.replace])

    @property
    def resized(self) -> str | None:
        """The first text or regex that is replaced by a text of another length, as far as that is known beforehand."""
        for pattern in self.replace:
            new, search = pattern.replacement.constant, pattern.search
            if new is None or (pattern.groups and "\\" in new):
                continue
            old = pattern.text if pattern.text is not None else search.pattern
            size = len(old.encode()) if pattern.text is not None else fixed_width(parse(old, search.flags))
            if size != len(new.encode()):
                return old
        return None

    def bind_message(self, memory: Memory) -> MessageHandler:
        def rewrite(turn: Turn, captures: Captures) -> None:
            if self.bytes is not None:
                turn.content = self.bytes.data
                return
            old = turn.content
            text = old if isinstance(old, str) else old.decode("utf-8", "surrogateescape")
            new = text if self.text is None else self.text.fill(turn.flow, captures)
            for pattern in self.replace:
                new = pattern.apply(new, turn.flow, captures)
            if self.json is not None and _is_json(new):
                new = self.json.apply(new, turn.flow, captures)
            if self.text is not None or new != text:
                # Without a new text a binary message stays one.
                as_text = isinstance(old, str) or self.text is not None
                turn.content = new if as_text else new.encode("utf-8", "surrogateescape")

        return rewrite


def _is_json(text: str) -> bool:
    """Whether a message is JSON. Streams have others among it, such as `[DONE]`, which are none."""
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        json_module.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
