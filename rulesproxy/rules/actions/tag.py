"""The action `tag`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rulesproxy.filters.phases import MESSAGES
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.action import ERROR, REQUEST, RESPONSE, Action, Captures, Example, Handler
from rulesproxy.rules.files.nodes import Node
from rulesproxy.rules.schema import Reader
from rulesproxy.rules.template import Template


@dataclass(frozen=True, slots=True)
class Tag(Action):
    """Mark the flow with words, for rules below, for addons and for logs. A word that it has already is not repeated.

    Attributes:
        words: one word, or a list of them.
    """

    key: ClassVar = "tag"
    events: ClassVar = REQUEST | RESPONSE | ERROR
    on_messages: ClassVar = MESSAGES
    short: ClassVar = "words"
    filled: ClassVar = ("words",)
    synonyms: ClassVar = {"name": "words", "tags": "words"}

    words: tuple[Template, ...]

    examples: ClassVar = (
        Example("match: path under '/pay'\ntag: payments", "GET http://a.test/pay/1", "GET http://a.test/pay/1"),
        Example(
            "match: response.status >= 500\ntag: [broken, 'status-${response.status}']", "GET http://a.test/", "503",
            response="503",
        ),
    )  # fmt: skip

    def check(self, node: Node, reader: Reader) -> None:
        if not self.words:
            reader.note("RP106", node, "`tag` without a word", "name at least one")

    def bind(self) -> Handler:
        def tag(flow: HTTPFlow, captures: Captures) -> None:
            for template in self.words:
                word = template.fill(flow, captures)
                if word and word not in flow.tags:
                    flow.tags.append(word)

        return tag
