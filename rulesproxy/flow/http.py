"""`HTTPFlow`, `HTTPRequest`, `HTTPResponse`: one exchange, as plain mutable data.

They know HTTP semantics (RFC 9110) and no transport. The names are mitmproxy's, so that an addon moves over by changing
its imports.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING

from rulesproxy.flow.connection import ClientConn, ServerConn
from rulesproxy.flow.error import KILLED, FlowError
from rulesproxy.flow.headers import Fields, Headers, to_bytes
from rulesproxy.flow.message import HTTPMessage, Stream
from rulesproxy.flow.plan import Plan
from rulesproxy.flow.request import HTTPRequest
from rulesproxy.flow.url import format_authority, split_url

if TYPE_CHECKING:
    from rulesproxy.flow.websocket import WebSocketFlow

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_ids = count(1)


def next_flow_id() -> str:
    """An id that no other flow of this process has."""
    return f"{next(_ids):x}"


class HTTPResponse(HTTPMessage):
    """A response. `reason` is the reason phrase, often empty (RFC 9112 section 4)."""

    __slots__ = ("reason", "status_code")

    def __init__(self, status_code: int, reason: str, http_version: str, headers: Headers) -> None:
        self.status_code = status_code
        self.reason = reason
        self.http_version = http_version
        self.headers = headers
        self._body = b""
        self.trailers = None
        self.stream = False
        self.timestamp_start = 0.0
        self.timestamp_end = None

    @classmethod
    def make(cls, status_code: int = 200, content: bytes | str = b"", headers: Fields = ()) -> HTTPResponse:
        """A response from its parts; the length is set.

        Raises:
            ValueError: a status outside 100 to 599, or a header that could not go over the wire.
        """
        if not 100 <= status_code <= 599:
            raise ValueError(f"{status_code} is not an HTTP status: 100 to 599")
        response = cls(status_code, _REASONS.get(status_code, ""), "HTTP/1.1", Headers(headers))
        response._fill(content)
        # A 304 may name a length, but that of the body it stands for (RFC 9110 section 8.6).
        if status_code < 200 or status_code in (204, 304):
            del response.headers["content-length"]
        return response

    @property
    def body(self) -> bytes | None:
        """The same as `content`."""
        return self.content

    @body.setter
    def body(self, content: bytes | None) -> None:
        self.content = content

    @property
    def cookies(self) -> list[tuple[str, str]]:
        """The cookies that the response sets, as (name, value), in order; attributes are in the headers."""
        pairs = []
        for header in self.headers.get_all("set-cookie"):
            name, found, value = header.partition(";")[0].partition("=")
            if found:
                pairs.append((name.strip(), value.strip()))
        return pairs

    def copy(self) -> HTTPResponse:
        """A copy that shares nothing that can change."""
        other = HTTPResponse(self.status_code, self.reason, self.http_version, self.headers.copy())
        self._copy_to(other)
        return other

    def __repr__(self) -> str:
        return f"<HTTPResponse {self.status_code}>"


class HTTPFlow:
    """One exchange: a request and its response or error.

    Attributes:
        id: unique in this process.
        request: what goes to the server; edits of it count until it is sent.
        response: what goes to the client; set it before the server is asked and the server is not asked.
        error: set when the flow ends without a response.
        client_conn: the client's side.
        server_conn: the server's side; its address is that of the request until it is dialled.
        metadata: free for addons.
        tags: words that rules and addons leave here.
        hits: the names of the rules that matched, in order of their first hit.
        websocket: the conversation, where the request asks for a WebSocket (RFC 6455 section 4.1), from the beginning
            on; None for any other request.
        is_replay: `request` or `response` where one of them did not come from the wire.
        timestamp_start: when the request began, in seconds since the epoch.
        planned: the plan, if anybody has touched it: a look that makes none.
        rules: the position of the rule pass, owned by the rules; None before it.
    """

    __slots__ = (
        "_received", "client_conn", "error", "hits", "id", "is_replay", "metadata", "planned", "request", "response",
        "rules", "server_conn", "tags", "timestamp_start", "websocket",
    )  # fmt: skip

    def __init__(self, request: HTTPRequest, client_conn: ClientConn, server_conn: ServerConn) -> None:
        self.id = next_flow_id()
        self.request = request
        self.response: HTTPResponse | None = None
        self.error: FlowError | None = None
        self.client_conn = client_conn
        self.server_conn = server_conn
        self.metadata: dict[str, object] = {}
        self.tags: list[str] = []
        self.hits: list[str] = []
        self.websocket: WebSocketFlow | None = None
        self.is_replay: str | None = None
        self.timestamp_start = 0.0
        self.rules: object | None = None
        self.planned: Plan | None = None
        # Headers are copy-on-write, so the head as received costs one tuple until somebody asks for it.
        self._received = (
            request.method, request.scheme, request._host, request._port, request.path, request.http_version,
            request.headers.raw,
        )  # fmt: skip

    @classmethod
    def make(
        cls,
        method: str,
        url: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        status: int | None = None,
        response_headers: Iterable[tuple[str, str]] = (),
        response_body: bytes = b"",
    ) -> HTTPFlow:
        """A flow for tests and dry runs. Any text is accepted as method, URL and header, and nothing raises.

        Without `status` there is no response yet.
        """
        try:
            scheme, host, port, path = split_url(url)
        except ValueError:
            scheme, host, port, path = "http", "", 80, url
        raw = _made(headers)
        request = HTTPRequest(method, scheme, host, port, path, "HTTP/1.1", Headers.of(raw))
        if host and request.headers.first(b"host") is None:
            request.headers = Headers.of([*_made([("Host", format_authority(host, port, scheme))]), *raw])
        request.body_source = body
        flow = cls(request, ClientConn(), ServerConn((host, port), tls=scheme == "https"))
        if status is not None:
            fields = Headers.of(_made(response_headers))
            flow.response = HTTPResponse(status, _REASONS.get(status, ""), "HTTP/1.1", fields)
            flow.response.body_source = response_body
        return flow

    @property
    def orig(self) -> HTTPRequest:
        """The request head as it was received; its body is the current one."""
        method, scheme, host, port, path, version, raw = self._received
        request = HTTPRequest(method, scheme, host, port, path, version, Headers.of(raw))
        request.body_source = self.request.body_source
        return request

    @property
    def plan(self) -> Plan:
        """The effects that this flow asks for."""
        if self.planned is None:
            self.planned = Plan()
        return self.planned

    def kill(self) -> None:
        """End this flow: the client's connection is closed without another byte, and `error` fires."""
        self.error = FlowError(KILLED, "killed")

    @property
    def killed(self) -> bool:
        """Whether `kill()` was called."""
        return self.error is not None and self.error.kind == "killed"

    def copy(self) -> HTTPFlow:
        """A copy under its own id that shares only the connections."""
        other = HTTPFlow(self.request.copy(), self.client_conn, self.server_conn)
        other.response = None if self.response is None else self.response.copy()
        other.error = self.error
        other.metadata = dict(self.metadata)
        other.tags = list(self.tags)
        other.hits = list(self.hits)
        other.websocket = self.websocket
        other.is_replay = self.is_replay
        other.timestamp_start = self.timestamp_start
        other._received = self._received
        return other

    def __repr__(self) -> str:
        answer = f" -> {self.response.status_code}" if self.response else ""
        return f"<HTTPFlow {self.id} {self.request.method} {self.request.url}{answer}>"


def bodiless(method: str, status: int) -> bool:
    """Whether a response with this status to this method has no body (RFC 9110 section 6.4.1)."""
    return method == "HEAD" or status < 200 or status in (204, 304)


def reason_phrase(status: int) -> str:
    """The reason phrase that RFC 9110 section 15 gives a status; empty for others."""
    return _REASONS.get(status, "")


__all__ = [
    "HTTPFlow", "HTTPMessage", "HTTPRequest", "HTTPResponse", "Stream", "bodiless", "next_flow_id", "reason_phrase",
]  # fmt: skip


def _made(fields: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes, bytes]]:
    """Fields of a made-up message: halves of characters, as JSON may have them, are no error there."""
    raw = []
    for field in fields:
        try:
            name, value = map(to_bytes, field)
        except UnicodeEncodeError:
            name, value = [text.encode("utf-8", "surrogatepass") for text in field]
        raw.append((name.lower(), name, value))
    return raw
