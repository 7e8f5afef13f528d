"""The action `log`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rulesproxy.engine.log import escape, logger
from rulesproxy.filters.phases import MESSAGES
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.action import ERROR, REQUEST, RESPONSE, Action, Captures, Example, Handler
from rulesproxy.rules.template import Template


@dataclass(frozen=True, slots=True)
class Log(Action):
    """Write a line to the log. Control characters in values are escaped, so that it stays one line.

    Attributes:
        text: the line. With values of the response in it, it is written when the response is there.
    """

    key: ClassVar = "log"
    events: ClassVar = REQUEST | RESPONSE | ERROR
    on_messages: ClassVar = MESSAGES
    short: ClassVar = "text"
    synonyms: ClassVar = {"message": "text", "msg": "text", "line": "text"}

    text: Template

    examples: ClassVar = (
        Example(
            "match: host == 'a.test'\nlog: ${method} ${url} was answered with ${response.status}",
            "GET http://a.test/x", "404", response="404",
        ),
    )  # fmt: skip

    def bind(self) -> Handler:
        text = self.text

        def write(flow: HTTPFlow, captures: Captures) -> None:
            logger.info("%s", escape(text.fill(flow, captures)), extra={"fields": {"flow": flow.id}})

        return write
