"""The action `redirect`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from rulesproxy.flow.http import HTTPFlow, HTTPResponse
from rulesproxy.rules.action import REQUEST, Action, Captures, Example, Handler
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.nodes import Node
from rulesproxy.rules.schema import Reader
from rulesproxy.rules.templates.urls import URLTemplate


@dataclass(frozen=True, slots=True)
class Redirect(Action):
    """Answer with a redirect to another URL.

    Attributes:
        to: the URL, absolute or beginning with a slash; captures enter it safely.
        status: 301, 302, 303, 307 or 308.
        keep_query: append the query of the request; the default is to do so where `to` has no `?`.
    """

    key: ClassVar = "redirect"
    events: ClassVar = REQUEST
    answers: ClassVar = True
    short: ClassVar = "to"
    synonyms: ClassVar = {"url": "to", "location": "to", "target": "to", "code": "status"}

    to: URLTemplate
    status: Literal[301, 302, 303, 307, 308] = 302
    keep_query: bool | None = None

    examples: ClassVar = (
        Example(
            'match: path ~ r"^/old/(?P<rest>.*)"\nredirect: https://new.test/${rest}',
            "GET http://a.test/old/x/y?z=1", "302\nlocation: https://new.test/x/y?z=1",
        ),
        Example(
            "match: path == '/'\nredirect: {to: /home, status: 301, keep-query: false}",
            "GET http://a.test/?a=b", "301\nlocation: /home",
        ),
    )  # fmt: skip

    def check(self, node: Node, reader: Reader) -> None:
        self.to.check((node.get("to") if isinstance(node, nodes.Mapping) else None) or node, reader, relative=True)

    def bind(self) -> Handler:
        keep = not self.to.has_query if self.keep_query is None else self.keep_query
        to, status = self.to, int(self.status)

        def redirect(flow: HTTPFlow, captures: Captures) -> None:
            url = to.fill(flow, captures)
            query = flow.request.path.partition("?")[2]
            if keep and query:
                head, mark, fragment = url.partition("#")
                url = f"{head}{'&' if '?' in head else '?'}{query}{mark}{fragment}"
            flow.response = HTTPResponse.make(status, b"", [("location", url)])

        return redirect
