"""The action `block`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from rulesproxy.filters.phases import CONNECTING, MESSAGES, NONE, Phase
from rulesproxy.flow.http import HTTPFlow, HTTPResponse, bodiless, reason_phrase
from rulesproxy.flow.plan import End
from rulesproxy.rules.action import ERROR, REQUEST, RESPONSE, Action, Captures, Example, Handler, MessageHandler
from rulesproxy.rules.conversations.turn import Turn
from rulesproxy.rules.edits.fields import HeaderEdits
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.nodes import Node
from rulesproxy.rules.memory import Memory
from rulesproxy.rules.reading.fragments import integer
from rulesproxy.rules.schema import Range, Reader
from rulesproxy.rules.template import Template

_ENDS: tuple[End, ...] = ("close", "reset", "timeout")


@dataclass(frozen=True, slots=True)
class Block(Action):
    """Refuse: answer with a status, 403 unless another is given, or end the connection without an answer.

    Of a message `block`, `block: close` and `block: reset` drop it and end its conversation: a WebSocket with code 1008
    (policy violation), `reset` as a broken connection does. With `block: timeout` the client hears nothing more.

    Raw TCP is refused before its server is dialled where the filter is about the connection, such as
    `host == "db.test"`, `port == 6379` or `~tcp`: a SOCKS5 client is told so, others are closed or reset.

    Attributes:
        status: the status of the answer.
        body: its text; a short line that names the status unless given.
        headers: its header fields.
        end: instead of an answer `close` or `reset` the connection, or stay silent until the client gives up
            (`timeout`).
    """

    key: ClassVar = "block"
    events: ClassVar = REQUEST | RESPONSE | ERROR | {"http_connect"}
    on_messages: ClassVar = MESSAGES
    begins: ClassVar = CONNECTING
    answers: ClassVar = True
    bare: ClassVar = True
    synonyms: ClassVar = {"code": "status", "text": "body", "message": "body", "header": "headers"}

    status: Annotated[int, Range(200, 599)] = 403
    body: Template | None = None
    headers: HeaderEdits | None = None
    end: End | None = None

    examples: ClassVar = (
        Example("match: host under 'ads.test'\nblock:", "GET http://x.ads.test/", "403"),
        Example("match: ~all\nblock: 451", "GET http://a.test/", "451\ncontent-type: text/plain; charset=utf-8"),
        Example(
            "match: response.status == 500\nblock:\n  status: 502\n  body: sorry\n  headers: {retry-after: '5'}",
            "GET http://a.test/", "502\nretry-after: 5\n\nsorry", response="500\n\nsecret",
        ),
    )  # fmt: skip

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        from rulesproxy.rules.reading.json_schema import action_schema

        return action_schema(cls, integer(200, 599), {"enum": list(_ENDS)})

    @classmethod
    def from_node(cls, node: Node, reader: Reader) -> Block:
        node = reader.resolved(node)
        if isinstance(node, nodes.Scalar) and node.text in _ENDS:
            return cls(end=node.text)
        if isinstance(node, nodes.Scalar) and not node.bare:
            if not node.text.lstrip("-").isdigit():
                reader.fail(
                    "RP104", node, f"`block` is a status, close, reset or timeout; got `{node.text}`",
                    "write `block:` alone for 403",
                )  # fmt: skip
            return cls(status=reader.integer(node, "block", Range(200, 599)))
        return super(Block, cls).from_node(node, reader)

    def check(self, node: Node, reader: Reader) -> None:
        if isinstance(node, nodes.Mapping) and self.end is not None:
            for name in ("status", "body", "headers"):
                key = node.key(name)
                if key is not None:
                    title = f"`end: {self.end}` gives no answer, and `{name}` is part of one"
                    reader.note("RP607", key, title, "keep one of them")
        if self.body is not None and self.status in (204, 304):
            where = node.get("body") if isinstance(node, nodes.Mapping) else None
            reader.note(
                "RP610", where or node, f"an answer with status {self.status} has no body",
                "remove `body`, or use 200", severity="warning",
            )  # fmt: skip

    def bind(self) -> Handler:
        end = self.end
        if end is not None:

            def finish(flow: HTTPFlow, captures: Captures) -> None:
                flow.plan.end = end

            return finish

        def refuse(flow: HTTPFlow, captures: Captures) -> None:
            flow.response = self.answer(flow, captures)

        return refuse

    @property
    def legal_messages(self) -> Phase:
        # Nobody waits for an answer to a message, so none can have a status or a body.
        return self.on_messages if self.end is not None or self == Block() else NONE

    def bind_message(self, memory: Memory) -> MessageHandler:
        def refuse(turn: Turn, captures: Captures) -> None:
            turn.drop()
            if self.end == "timeout":
                turn.end("timeout")
            elif self.end == "reset":
                turn.kill()
            else:
                turn.close(1008, "refused by a rule of the proxy")

        return refuse

    def answer(self, flow: HTTPFlow, captures: Captures) -> HTTPResponse:
        """The answer for one flow."""
        if self.body is not None:
            text = self.body.fill(flow, captures)
        else:
            text = f"{self.status} {reason_phrase(self.status)}: refused by a rule of the proxy\n"
        response = HTTPResponse.make(self.status, b"", [("content-type", "text/plain; charset=utf-8")])
        if self.headers is not None:
            self.headers.bind()(response, flow, captures)
        if not bodiless("GET", self.status):
            response.content = text.encode("utf-8", "surrogateescape")
        if flow.request.method == "HEAD":
            # It has the length that the body would have (RFC 9110 section 9.3.2).
            response.body_source = b""
        return response
