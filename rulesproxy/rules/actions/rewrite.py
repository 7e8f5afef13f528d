"""The action `rewrite`: `rewrite.request` and `rewrite.response`, two actions under one key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from rulesproxy.flow.headers import is_token, to_bytes
from rulesproxy.flow.http import HTTPFlow, HTTPMessage, HTTPRequest, HTTPResponse, bodiless, reason_phrase
from rulesproxy.flow.url import default_port, split_authority, split_url
from rulesproxy.rules.action import REQUEST, RESPONSE, Action, ActionError, Captures, Example, Handler, Side
from rulesproxy.rules.edits.bodies import BodyEdits, body_changed, edit_form, edit_json, is_part, may_be_json
from rulesproxy.rules.edits.cookies import CookieEdits, SetCookieEdits
from rulesproxy.rules.edits.fields import HeaderEdits, QueryEdits
from rulesproxy.rules.edits.html_edits import HTMLEdits, may_be_html
from rulesproxy.rules.edits.json_edits import JSONEdits
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.nodes import Node
from rulesproxy.rules.schema import Range, Reader
from rulesproxy.rules.template import Template
from rulesproxy.rules.templates.urls import URLTemplate, for_host


@dataclass(frozen=True, slots=True)
class RewriteRequest(Action):
    """Change the request on its way to the server.

    Attributes:
        method: the new method.
        url: the new absolute URL; the Host header and the server move with it.
        scheme: `http` or `https`; the port follows where it was the default one.
        host: the new server; the Host header and the name in TLS move with it.
        port: its port.
        path: the new path; the query stays unless the path brings one.
        query: edits of the query.
        headers: edits of the header fields.
        cookies: edits of the cookies, one by one.
        form: edits of the fields of a form, urlencoded or multipart.
        body: edits of the body.
        text: the new body as text.
        json: edits of a JSON body; what they do not name keeps its bytes.
    """

    key: ClassVar = "rewrite.request"
    events: ClassVar = REQUEST
    edits_request: ClassVar = True
    needs: ClassVar = ("*",)
    synonyms: ClassVar = {
        "header": "headers", "params": "query", "uri": "url", "content": "body", "cookie": "cookies",
        "hostname": "host", "domain": "host", "protocol": "scheme", "verb": "method",
    }  # fmt: skip

    method: Template | None = None
    url: URLTemplate | None = None
    scheme: Literal["http", "https"] | None = None
    host: Template | None = None
    port: Annotated[int, Range(1, 65535)] | None = None
    path: URLTemplate | None = None
    query: QueryEdits | None = None
    headers: HeaderEdits | None = None
    cookies: CookieEdits | None = None
    form: QueryEdits | None = None
    body: BodyEdits | None = None
    text: Template | None = None
    json: JSONEdits | None = None

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
        Example(
            "match: host == 'a.test'\nrewrite:\n  request:\n    host: b.test\n    scheme: https\n    cookies:\n"
            "      remove: [track*]\n      step: '2'",
            "GET http://a.test/x\ncookie: id=7; track_me=1; step=1",
            "GET https://b.test/x\nhost: b.test\ncookie: id=7; step=2",
        ),
        Example(
            "match: method == PUT\nrewrite:\n  request:\n    json:\n      set:\n        $.user.name: ${host}\n"
            "      delete: $.debug",
            'PUT http://a.test/\ncontent-type: application/json\n\n{"id": 1, "debug": true, "user": {"name" : "x"}}',
            'PUT http://a.test/\n\n{"id": 1, "user": {"name" : "a.test"}}',
        ),
        Example(
            "match: method == POST\nrewrite:\n  request:\n    form: {plan: pro, remove: [csrf*]}",
            "POST http://a.test/\ncontent-type: application/x-www-form-urlencoded\n\nname=A%20b&csrf_x=1&plan=free",
            "POST http://a.test/\n\nname=A%20b&plan=pro",
        ),
    )  # fmt: skip

    @property
    def edits_body(self) -> Side | None:
        edits = (self.body, self.text, self.json, self.form)
        return "request" if any(edit is not None for edit in edits) else None

    def check(self, node: Node, reader: Reader) -> None:
        _needs_a_key(node, reader, self.key)
        if not isinstance(node, nodes.Mapping):
            return
        method, path, host = node.get("method"), node.get("path"), node.get("host")
        fixed = self.method.constant if self.method is not None else None
        if method is not None and fixed is not None and not _is_method(fixed):
            help = "a method is one word, such as GET"
            if fixed == "CONNECT":
                help = "CONNECT asks for a tunnel; `upstream: http://host:port` goes through another proxy"
            reader.note("RP609", method, f"`{fixed}` is not a method of a request", help)
        if path is not None and self.path is not None and not self.path.template.text.startswith(("/", "${")):
            reader.note("RP615", path, "a path starts with a slash", f"write `/{self.path.template.text}`")
        if host is not None and self.host is not None and self.host.constant is not None:
            _check_host(host, self.host.constant, reader)
        self._check_url(node, reader)
        _one_body(node, reader, (("body", "text"), ("body", "form"), ("text", "form"), ("json", "form")))

    def _check_url(self, node: nodes.Mapping, reader: Reader) -> None:
        url = node.get("url")
        if url is None or self.url is None:
            return
        if self.url.template.constant is not None:
            try:
                split_url(self.url.template.constant)
            except ValueError as error:
                reader.note("RP615", url, f"this is not an absolute URL: {error}", "write it like https://host/path")
        for name in ("path", "scheme", "host", "port"):
            key = node.key(name)
            if key is not None:
                reader.note("RP607", key, f"`url` and `{name}` both set the {name}", "keep one of them")

    def bind(self) -> Handler:
        edit = self.headers.bind() if self.headers is not None else None
        if edit is not None and self == RewriteRequest(headers=self.headers):

            def rewrite_headers(flow: HTTPFlow, captures: Captures) -> None:
                # They count together or not at all by themselves.
                edit(flow.request, flow, captures)

            return rewrite_headers

        def rewrite(flow: HTTPFlow, captures: Captures) -> None:
            # The edits are made on a copy: every value is of the request as it was, and all edits count or none.
            request = flow.request.copy()
            method = self.method.fill(flow, captures) if self.method is not None else None
            if method is not None and not _is_method(method):
                raise ActionError(f"{method[:40]!r} is not a method")
            if edit is not None:
                edit(request, flow, captures)
            self._move(request, flow, captures)
            if self.query is not None:
                self.query.apply(request, flow, captures)
            if method is not None:
                request.method = method
            self._edit_contents(request, flow, captures)
            _take(flow.request, request)

        return rewrite

    def _move(self, request: HTTPRequest, flow: HTTPFlow, captures: Captures) -> None:
        if self.url is not None:
            request.url = self.url.fill(flow, captures)
        if self.scheme is not None or self.host is not None or self.port is not None:
            self._move_server(request, flow, captures)
        if self.path is not None:
            path = self.path.fill(flow, captures)
            if not path.startswith("/"):
                raise ActionError(f"the path {path[:80]!r} does not start with a slash")
            query = request.path.partition("?")[2]
            request.path = f"{path}?{query}" if query and "?" not in path else path

    def _move_server(self, request: HTTPRequest, flow: HTTPFlow, captures: Captures) -> None:
        scheme = self.scheme or request.scheme
        port = self.port or request.port
        if self.port is None and request.port == default_port(request.scheme):
            port = default_port(scheme)
        request.scheme = scheme
        request.move(_host(self.host.fill(flow, captures, for_host)) if self.host is not None else request.host, port)
        request.update_host_header()

    def _edit_contents(self, request: HTTPRequest, flow: HTTPFlow, captures: Captures) -> None:
        if self.cookies is not None:
            request.headers.raw = self.cookies.edited(request.headers.raw, flow, captures)
        if self.form is not None:
            edit_form(self.form, request, flow, captures)
        if self.body is not None:
            self.body.apply(request, flow, captures)
        if self.text is not None:
            BodyEdits(set=self.text).apply(request, flow, captures)
        if self.json is not None:
            edit_json(self.json, request, flow, captures)


@dataclass(frozen=True, slots=True)
class RewriteResponse(Action):
    """Change the response on its way to the client.

    Attributes:
        status: the new status; the reason phrase follows.
        reason: the reason phrase, where it shall be another one.
        headers: edits of the header fields.
        cookies: edits of the cookies that are set, one by one.
        body: edits of the body.
        text: the new body as text.
        json: edits of a JSON body; what they do not name keeps its bytes.
        html: edits of a page; what is no HTML passes unchanged.
    """

    key: ClassVar = "rewrite.response"
    events: ClassVar = RESPONSE
    needs: ClassVar = ("*",)
    synonyms: ClassVar = {"header": "headers", "code": "status", "content": "body", "cookie": "cookies"}

    status: Annotated[int, Range(200, 599)] | None = None
    reason: Template | None = None
    headers: HeaderEdits | None = None
    cookies: SetCookieEdits | None = None
    body: BodyEdits | None = None
    text: Template | None = None
    json: JSONEdits | None = None
    html: HTMLEdits | None = None

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
        Example(
            "match: response.status >= 500\nrewrite:\n  response:\n    json:\n      merge: {error: gone, trace: null}",
            "GET http://a.test/", '503\n\n{"error": "gone"}',
            response='503\ncontent-type: application/json\n\n{"error": "db password", "trace": [1, 2]}',
        ),
        Example(
            "match: response.content_type == 'text/html'\nrewrite:\n  response:\n    html:\n"
            "      append-head: <script src=/debug.js></script>\n      remove: ['#ad', 'script[src*=tracker]']",
            "GET http://a.test/",
            "200\n\n<head><title>x</title><script src=/debug.js></script></head><p>text",
            response="200\ncontent-type: text/html\n\n"
            "<head><title>x</title><script src=//tracker.test/t.js></script></head><div id=ad>buy</div><p>text",
        ),
        Example(
            "match: ~all\nrewrite:\n  response:\n    cookies: {remove: track, session: none}",
            "GET http://a.test/", "200\nset-cookie: session=none; Path=/; Secure",
            response="200\nset-cookie: track=1\nset-cookie: session=x; Path=/; Secure",
        ),
    )  # fmt: skip

    @property
    def edits_body(self) -> Side | None:
        edits = (self.body, self.text, self.json, self.html)
        return "response" if any(edit is not None for edit in edits) else None

    def touches(self, message: HTTPMessage) -> bool:
        return (
            self.body is not None
            or self.text is not None
            or (self.json is not None and may_be_json(message))
            or (self.html is not None and may_be_html(message))
        )

    def check(self, node: Node, reader: Reader) -> None:
        _needs_a_key(node, reader, self.key)
        if not isinstance(node, nodes.Mapping):
            return
        _one_body(node, reader, (("body", "text"), ("json", "html")))
        reason, fixed = node.get("reason"), self.reason.constant if self.reason is not None else None
        if reason is not None and fixed is not None and _BAD_REASON(fixed):
            reader.note("RP609", reason, "a reason phrase is one line of text", "write a few words")

    def bind(self) -> Handler:
        edit = self.headers.bind() if self.headers is not None else None
        if edit is not None and self == RewriteResponse(headers=self.headers):

            def rewrite_headers(flow: HTTPFlow, captures: Captures) -> None:
                if flow.response is not None:
                    edit(flow.response, flow, captures)

            return rewrite_headers

        def rewrite(flow: HTTPFlow, captures: Captures) -> None:
            if flow.response is None:
                return
            # A copy, for the reasons that a request is edited on one.
            response = flow.response.copy()
            reason = self.reason.fill(flow, captures) if self.reason is not None else None
            if reason is not None and _BAD_REASON(reason):
                raise ActionError(f"{reason[:40]!r} cannot be a reason phrase")
            if edit is not None:
                edit(response, flow, captures)
            if self.status is not None:
                response.status_code = self.status
                response.reason = reason_phrase(self.status)
            if reason is not None:
                response.reason = reason
            if self.cookies is not None:
                response.headers.raw = self.cookies.edited(response.headers.raw, flow, captures)
            if self.edits_body and not bodiless("GET", response.status_code) and not is_part(response):
                if flow.request.method != "HEAD":
                    self._edit_body(response, flow, captures)
                elif self.html is None and self.touches(response):
                    # What the body would be is not known, so nothing is said about it (RFC 9110 section 9.3.2). Of
                    # pages not even that is known: much that claims to be HTML is none, and would stay as it is.
                    response.headers.pop("content-length", None)
                    body_changed(response)
            flow.response.status_code, flow.response.reason = response.status_code, response.reason
            _take_message(flow.response, response)

        return rewrite

    def _edit_body(self, response: HTTPResponse, flow: HTTPFlow, captures: Captures) -> None:
        if self.body is not None:
            self.body.apply(response, flow, captures)
        if self.text is not None:
            BodyEdits(set=self.text).apply(response, flow, captures)
        if self.json is not None:
            edit_json(self.json, response, flow, captures)
        if self.html is not None:
            self.html.apply(response, flow, captures)


_BAD_REASON = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search


def _take(request: HTTPRequest, edited: HTTPRequest) -> None:
    """Make a request what an edited copy of it is."""
    request.method, request.scheme, request.path = edited.method, edited.scheme, edited.path
    request.move(edited.host, edited.port)
    _take_message(request, edited)


def _take_message(message: HTTPMessage, edited: HTTPMessage) -> None:
    message.headers.raw = edited.headers.raw
    message.trailers = edited.trailers
    message.body_source = edited.body_source


def _is_method(text: str) -> bool:
    """Whether a request can have this method: what follows a CONNECT is no response (RFC 9110 section 9.3.6)."""
    return is_token(to_bytes(text)) and text != "CONNECT"


def _host(text: str) -> str:
    """A host as a URL would have it.

    Raises:
        ValueError: it is none, or has a port.
    """
    host, port = split_authority(f"[{text}]" if text.count(":") > 1 else text, 0)
    if port:
        raise ActionError(f"the host {text[:80]!r} has a port")
    return host


def _check_host(node: Node, text: str, reader: Reader) -> None:
    try:
        _host(text)
    except (ValueError, ActionError) as error:
        help = "the port is a key of its own: `port: 8443`" if ":" in text else "write a name or an address"
        reader.note("RP615", node, f"this is not a host: {error}", help)


def _one_body(node: nodes.Mapping, reader: Reader, pairs: tuple[tuple[str, str], ...]) -> None:
    for first, second in pairs:
        key = node.key(second)
        if node.key(first) is not None and key is not None:
            reader.note("RP607", key, f"`{first}` and `{second}` both make the body", "keep one of them")


def _needs_a_key(node: Node, reader: Reader, name: str) -> None:
    if isinstance(node, nodes.Mapping) and not node.entries:
        reader.note("RP106", node, f"`{name}` changes nothing", "name what it shall change, or remove it")
