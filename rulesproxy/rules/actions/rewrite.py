"""The action `rewrite`: `rewrite.request` and `rewrite.response`, two actions under one key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from rulesproxy.flow.headers import is_token, to_bytes
from rulesproxy.flow.http import HTTPFlow, reason_phrase
from rulesproxy.flow.url import split_url
from rulesproxy.rules import nodes
from rulesproxy.rules.action import REQUEST, RESPONSE, Action, ActionError, Captures, Example, Handler, Side
from rulesproxy.rules.bodies import BodyEdits, no_body
from rulesproxy.rules.edits import HeaderEdits, QueryEdits
from rulesproxy.rules.nodes import Node
from rulesproxy.rules.schema import Range, Reader
from rulesproxy.rules.template import Template
from rulesproxy.rules.url_template import URLTemplate


@dataclass(frozen=True, slots=True)
class RewriteRequest(Action):
    """Change the request on its way to the server.

    Attributes:
        method: the new method.
        url: the new absolute URL; the Host header and the server move with it.
        path: the new path; the query stays unless the path brings one.
        query: edits of the query.
        headers: edits of the header fields.
        body: edits of the body.
    """

    key: ClassVar = "rewrite.request"
    events: ClassVar = REQUEST
    edits_request: ClassVar = True
    synonyms: ClassVar = {"header": "headers", "params": "query", "uri": "url", "content": "body", "text": "body"}

    method: Template | None = None
    url: URLTemplate | None = None
    path: URLTemplate | None = None
    query: QueryEdits | None = None
    headers: HeaderEdits | None = None
    body: BodyEdits | None = None

    examples: ClassVar = (
        Example(
            'match: path ~ r"^/v1/(?P<rest>.*)"\nrewrite:\n  request:\n    path: /v2/${rest}\n    headers:\n'
            "      x-debug: '1'\n      remove: [cookie]",
            "GET http://a.test/v1/users?x=1\ncookie: a=b", "GET http://a.test/v2/users?x=1\nx-debug: 1\n!cookie",
        ),
        Example(
            "match: ~all\nrewrite:\n  request:\n    query: {debug: '1', remove: [utm_*]}",
            "GET http://a.test/?utm_source=x&q=a%20b", "GET http://a.test/?q=a%20b&debug=1",
        ),
        Example(
            "match: method == POST\nrewrite:\n  request:\n    body: {replace: [{text: old, with: new}]}",
            "POST http://a.test/\n\nold and old", "POST http://a.test/\ncontent-length: 11\n\nnew and new",
        ),
    )  # fmt: skip

    @property
    def edits_body(self) -> Side | None:
        return "request" if self.body is not None else None

    def check(self, node: Node, reader: Reader) -> None:
        _needs_a_key(node, reader, self.key)
        if not isinstance(node, nodes.Mapping):
            return
        method, url, path = node.get("method"), node.get("url"), node.get("path")
        fixed = self.method.constant if self.method is not None else None
        if method is not None and fixed is not None and not is_token(to_bytes(fixed)):
            reader.note("RP609", method, f"`{fixed}` is not a method", "a method is one word, such as GET")
        if path is not None and self.path is not None and not self.path.template.text.startswith(("/", "${")):
            reader.note("RP615", path, "a path starts with a slash", f"write `/{self.path.template.text}`")
        if url is not None and self.url is not None and self.url.template.constant is not None:
            try:
                split_url(self.url.template.constant)
            except ValueError as error:
                reader.note("RP615", url, f"this is not an absolute URL: {error}", "write it like https://host/path")
        if url is not None and path is not None:
            key = node.key("path")
            reader.note("RP607", key or node, "`url` and `path` both set the path", "keep one of them")

    def bind(self) -> Handler:
        edit = self.headers.bind() if self.headers is not None else None

        def rewrite(flow: HTTPFlow, captures: Captures) -> None:
            request = flow.request
            # Everything that can fail is made before anything is changed.
            method = self.method.fill(flow, captures) if self.method is not None else None
            if method is not None and not is_token(to_bytes(method)):
                raise ActionError(f"{method[:40]!r} is not a method")
            url = self.url.fill(flow, captures) if self.url is not None else None
            path = self.path.fill(flow, captures) if self.path is not None else None
            if path is not None and not path.startswith("/"):
                raise ActionError(f"the path {path[:80]!r} does not start with a slash")
            if edit is not None:
                edit(request, flow, captures)
            if url is not None:
                request.url = url
            if path is not None:
                query = request.path.partition("?")[2]
                request.path = f"{path}?{query}" if query and "?" not in path else path
            if self.query is not None:
                self.query.apply(request, flow, captures)
            if method is not None:
                request.method = method
            if self.body is not None:
                self.body.apply(request, flow, captures)

        return rewrite


@dataclass(frozen=True, slots=True)
class RewriteResponse(Action):
    """Change the response on its way to the client.

    Attributes:
        status: the new status; the reason phrase follows.
        headers: edits of the header fields.
        body: edits of the body.
    """

    key: ClassVar = "rewrite.response"
    events: ClassVar = RESPONSE
    synonyms: ClassVar = {"header": "headers", "code": "status", "content": "body", "text": "body"}

    status: Annotated[int, Range(200, 599)] | None = None
    headers: HeaderEdits | None = None
    body: BodyEdits | None = None

    examples: ClassVar = (
        Example(
            "match: host == 'a.test'\nrewrite:\n  response:\n    status: 404\n    headers: {remove: [x-powered-*]}",
            "GET http://a.test/", "404\nserver: s\n!x-powered-by", response="200\nserver: s\nx-powered-by: php",
        ),
        Example(
            "match: response.status == 200\nrewrite:\n  response:\n    body:\n"
            "      replace: [{text: 'http:', with: 'https:'}]",
            "GET http://a.test/", "200\ncontent-length: 12\n!etag\n\nhttps://x/ y",
            response='200\netag: "1"\n\nhttp://x/ y',
        ),
    )  # fmt: skip

    @property
    def edits_body(self) -> Side | None:
        return "response" if self.body is not None else None

    def check(self, node: Node, reader: Reader) -> None:
        _needs_a_key(node, reader, self.key)

    def bind(self) -> Handler:
        edit = self.headers.bind() if self.headers is not None else None

        def rewrite(flow: HTTPFlow, captures: Captures) -> None:
            response = flow.response
            if response is None:
                return
            if edit is not None:
                edit(response, flow, captures)
            if self.status is not None:
                response.status_code = self.status
                response.reason = reason_phrase(self.status)
            if self.body is not None and not no_body(flow):
                self.body.apply(response, flow, captures)

        return rewrite


def _needs_a_key(node: Node, reader: Reader, name: str) -> None:
    if isinstance(node, nodes.Mapping) and not node.entries:
        reader.note("RP106", node, f"`{name}` changes nothing", "name what it shall change, or remove it")
