"""The action `inject-message`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from rulesproxy.filters.phases import MESSAGES, Phase
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.limits import DEFAULT
from rulesproxy.rules.action import Action, Captures, Example, MessageHandler
from rulesproxy.rules.conversations.turn import Turn
from rulesproxy.rules.edits.json_value import JSONValue
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.nodes import Node
from rulesproxy.rules.memory import Memory
from rulesproxy.rules.reading.amounts import Duration, Octets
from rulesproxy.rules.schema import Reader
from rulesproxy.rules.template import Template

Content: TypeAlias = str | bytes

_KINDS = ("text", "json", "bytes")


@dataclass(frozen=True, slots=True)
class InjectMessage(Action):
    """Send a message that nobody has sent. No rule sees it.

    On an event stream it is an event without a name, or a line; only the client can get one. With `every` it is sent
    again and again, from then on to the end of the conversation, and its templates are filled anew each time. It never
    gets inside another message, and is left out while its receiver has not taken what was sent before.

    Attributes:
        to: who gets it: `client` or `server`.
        text: what it says, as text.
        json: what it says, as JSON.
        bytes: what it says, in hexadecimal digits, such as `00 ff`: a binary message of a WebSocket.
        when: `after` the message that the rule matches, `before` it, or once at the beginning (`open`), before any
            message: then the filter is about the conversation alone.
        every: a time such as `5s`, at least 100ms: how long after it the message is sent again. A rule that matches
            again meanwhile sends its message, and repeats it no more often than before.
    """

    key: ClassVar = "inject-message"
    events: ClassVar = frozenset[str]()
    on_messages: ClassVar = MESSAGES
    needs: ClassVar = _KINDS
    synonyms: ClassVar = {"body": "text", "data": "text", "content": "text", "at": "when", "side": "to"}

    to: Literal["client", "server"]
    text: Template | None = None
    json: JSONValue | None = None
    bytes: Octets | None = None
    when: Literal["after", "before", "open"] = "after"
    every: Duration | None = None

    examples: ClassVar = (
        Example(
            "match: ws.from_client and ws.text == 'ping'\ninject-message:\n  to: client\n  text: pong\ndrop-message:",
            "GET http://feed.test/", "client: pong", messages="client: ping",
        ),
        Example(
            "match: host == 'feed.test'\ninject-message:\n  to: client\n  json: {hello: 1}\n  when: open",
            "GET http://feed.test/", 'client: {"hello": 1}\nserver: hi', messages="client: hi",
        ),
    )  # fmt: skip

    def check(self, node: Node, reader: Reader) -> None:
        given = [name for name in _KINDS if getattr(self, name) is not None]
        if not given:
            reader.note("RP106", node, "`inject-message` without a message", "add `text: …`, `json: …` or `bytes: …`")
        if len(given) > 1:
            reader.note("RP607", node, f"`{given[0]}` and `{given[1]}` both make the message", "keep one of them")
        if self.every is not None and self.every.seconds < DEFAULT.repeat:
            where = node.get("every") if isinstance(node, nodes.Mapping) else None
            reader.note(
                "RP684", where or node, f"a message every {self.every.text} is a flood",
                f"send it every {DEFAULT.repeat * 1000:g}ms at most",
            )  # fmt: skip

    def parts(self) -> tuple[Action, ...]:
        kind = _AtOpen if self.when == "open" else _Injection
        return (kind(self.to, self.text, self.json, self.bytes, self.when, self.every),)


@dataclass(frozen=True, slots=True)
class _Injection(Action):
    """The message beside another one."""

    key: ClassVar = InjectMessage.key
    events: ClassVar = InjectMessage.events
    on_messages: ClassVar = MESSAGES

    to: str
    text: Template | None
    json: JSONValue | None
    bytes: Octets | None
    when: str
    every: Duration | None

    @property
    def legal_messages(self) -> Phase:
        # An event stream has one direction, and is text.
        stream = Phase(0) if self.to == "server" or self.bytes is not None else Phase.V
        return super(_Injection, self).legal_messages & (Phase.W | Phase.X | stream)

    def bind_message(self, memory: Memory) -> MessageHandler:
        to_client, before = self.to == "client", self.when == "before"
        every, marker = self.every, object()

        def inject(turn: Turn, captures: Captures) -> None:
            turn.inject(to_client, self.content(turn.flow, captures), before)
            if every is not None and turn.once(marker):
                flow = turn.flow
                turn.repeat(to_client, every.seconds, lambda again: self.content(flow, again))

        return inject

    def content(self, flow: HTTPFlow, captures: Captures) -> Content:
        """What it says this time."""
        if self.bytes is not None:
            return self.bytes.data
        if self.json is not None:
            return self.json.fill(flow, captures)
        return "" if self.text is None else self.text.fill(flow, captures)


@dataclass(frozen=True, slots=True)
class _AtOpen(_Injection):
    """The message at the beginning."""

    at_open: ClassVar = True
