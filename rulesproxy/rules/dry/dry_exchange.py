"""`DryExchange`: one flow on its way through a dry run, from the CONNECT of its client to the answer.

It does what `layers.exchange` and the layers in front of it do, without streams: it knows the order of events, and when
there is a body. What rules do at an event is the business of the `DryRun`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rulesproxy.filters.fields.marks import STATE
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.connection import ClientConn, ServerConn
from rulesproxy.flow.error import FlowError
from rulesproxy.flow.headers import Headers
from rulesproxy.flow.http import HTTPFlow, HTTPMessage, HTTPRequest, HTTPResponse, bodiless
from rulesproxy.flow.plan import FileBody
from rulesproxy.flow.url import split_authority
from rulesproxy.flow.websocket import WebSocketFlow
from rulesproxy.limits import DEFAULT
from rulesproxy.rules.action import Side
from rulesproxy.rules.dry.changes import Moment
from rulesproxy.rules.dry.dry_talk import talk_websocket
from rulesproxy.rules.dry.heard import Heard, Said
from rulesproxy.rules.dry.trace import Given, Result
from rulesproxy.rules.hosts import ended

if TYPE_CHECKING:
    from rulesproxy.rules.dry.dry_run import DryRun


class DryExchange:
    """The request is what the client sends; a response or an error on the flow is what comes from the server."""

    def __init__(self, dry: DryRun, given: HTTPFlow, wall: float) -> None:
        self.dry = dry
        self.wall = wall
        self.heard: Heard | None = None
        self.server_answer = None if given.response is None else given.response.copy()
        if self.server_answer is not None:
            _give_length(self.server_answer, self.server_answer.body_source)
        self.failure = given.error
        self.flow = _fresh(given, wall)
        dry.remember(self.flow)
        self.body = given.request.raw_content or b""
        self.upstream: HTTPRequest | None = None
        self.received = Moment(self.flow)
        self.answered: HTTPResponse | None = None
        self.unread: set[Side] = set()
        self.tunnel = ""
        self.failed = 0

    def run(self, messages: Iterable[Said] = ()) -> Result:
        flow = self.flow
        if flow.client_conn.mode == "regular" and flow.request.scheme == "https" and self._connect():
            return self._result()
        if self._request():
            if flow.response is not None:
                self.dry.fire("responseheaders", flow)
                self._whole_response()
            elif self.failure is not None:
                self._fail(self.failure, 504 if self.failure.kind == "timeout" else 502)
            elif self.server_answer is not None:
                self._server_response(self.server_answer)
                self._talk(messages)
        return self._result()

    def _talk(self, messages: Iterable[Said]) -> None:
        """What passes behind the handshake of a WebSocket, if this was one and it has succeeded."""
        flow, response = self.flow, self.flow.response
        switched = self.answered is not None and self.answered.status_code == 101
        if flow.websocket is None or not switched or ended(flow) or response is None or response.status_code != 101:
            return
        self.heard = talk_websocket(self.dry, flow, flow.websocket, messages, self.wall)

    def _connect(self) -> bool:
        """Ask for the tunnel, as a client of a proxy does; whether that was all."""
        flow, dry = self.flow, self.dry
        conn = flow.client_conn
        host, port = conn.connect_host or flow.request.host, conn.connect_port or flow.request.port
        request = HTTPRequest("CONNECT", "", host, port, "", "HTTP/1.1", Headers())
        asked = HTTPFlow(request, conn, ServerConn((host, port)))
        dry.fire("http_connect", asked)
        if asked.response is not None or ended(asked):
            self.tunnel = "refused"
            flow.hits, flow.response = asked.hits, asked.response
            if asked.planned is not None:
                flow.plan.end = asked.planned.end
            return True
        hello = _Hello(host, conn)
        dry.fire("clienthello", hello)
        if hello.passthrough:
            self.tunnel = "passed"
            view = FlowView(asked)
            flow.hits = [rule.name for rule in dry.rules if rule.passes and rule.matches(view)][:1]
            self.upstream = flow.request.copy()
            self.upstream.body_source = self.body
            flow.request.body_source = self.body
            flow.response, flow.error = self.server_answer, self.failure
        return hello.passthrough

    def _request(self) -> bool:
        """The request pass; whether the flow goes on."""
        flow, dry = self.flow, self.dry
        dry.fire("requestheaders", flow)
        if ended(flow):
            return False
        if not self.body:
            dry.fire("request", flow)
        elif dry.wants_body(flow, "request") and len(self.body) <= DEFAULT.body:
            flow.request.body_source = self.body
            dry.fire("request", flow)
        elif self._refuses("request", 413):
            return False
        else:
            flow.request.body_source = None
            if flow.response is None:
                # The head goes upstream before the body has passed: what happens to it now comes too late.
                self._send()
            dry.fire("request", flow)
            if self.upstream is not None:
                flow.response = None
        if flow.request.body_source is None:
            self.unread.add("request")
        if ended(flow):
            return False
        if flow.response is None and self.upstream is None:
            self._send()
        return True

    def _send(self) -> None:
        self.upstream = self.flow.request.copy()
        if self.upstream.body_source is None:
            self.upstream.body_source = self.body

    def _server_response(self, answer: HTTPResponse) -> None:
        flow, dry = self.flow, self.dry
        self.answered = answer.copy()
        body, answer.body_source = answer.raw_content or b"", b""
        if bodiless(flow.request.method, answer.status_code):
            body = b""
        flow.response = answer
        dry.fire("responseheaders", flow)
        if ended(flow):
            return
        stream, answer.stream = answer.stream, False
        if callable(stream):
            # The events of a stream pass the rules here all at once; nobody waits.
            made = [piece for part in (body, b"") for piece in stream(part)]
            body = b"".join([piece for piece in made if isinstance(piece, bytes)])
        if flow.response is not answer or answer.body_source != b"":
            # A rule has replaced it: what the server still sends is of no use to anybody.
            self._whole_response()
        elif not body:
            self._whole_response()
        elif dry.wants_body(flow, "response") and len(body) <= DEFAULT.body:
            answer.body_source = body
            self._whole_response()
        elif not self._refuses("response", 502):
            answer.body_source = None
            self._whole_response()
            if flow.response is answer and answer.body_source is None:
                answer.body_source = body

    def _whole_response(self) -> None:
        flow = self.flow
        if ended(flow):
            return
        if flow.response is not None and flow.response.body_source is None:
            self.unread.add("response")
        self.dry.fire("response", flow)

    def _refuses(self, side: Side, status: int) -> bool:
        """Whether a body that cannot be kept is refused, because a rule wants it that way."""
        plan = self.flow.planned
        if plan is None or side not in plan.refuses_big:
            return False
        why = f"the {side} body is over {DEFAULT.body} bytes, and a rule refuses such"
        self._fail(FlowError(why, "handler"), status)
        return True

    def _fail(self, error: FlowError, status: int) -> None:
        """No answer comes; the status is that of the page that the proxy makes, unless a rule answers."""
        self.flow.error, self.flow.response = error, None
        self.failed = status
        self.dry.fire("error", self.flow)

    def _result(self) -> Result:
        flow = self.flow
        if flow.request.body_source is None:
            flow.request.body_source = self.body
        if flow.response is not None:
            _load(flow.response)
        given = Given(self.received, self.body, self.answered, self.server_answer, frozenset(self.unread))
        rules, acts = self.dry.rules, self.dry.acts
        return Result(rules, flow, self.upstream, self.tunnel, self.failed, acts, given, self.heard)


class _Hello:
    """The ClientHello of a client that names the host it wants."""

    def __init__(self, host: str, conn: ClientConn) -> None:
        self.sni: str | None = conn.sni or host
        self.alpn: list[str] = ["http/1.1"]
        self.passthrough = False
        self.client_conn: ClientConn | None = conn


def _fresh(given: HTTPFlow, wall: float) -> HTTPFlow:
    """The flow as it is when its head has arrived: nothing has happened to it, and its body is not there yet."""
    request = given.request.copy()
    request.body_source = b""
    _give_length(request, given.request.body_source)
    conn = _client(given.client_conn, request)
    if conn.mode == "regular":
        _settle_host(request)
    server = ServerConn((request.host, request.port), tls=request.scheme == "https")
    server.peername = given.server_conn.peername
    flow = HTTPFlow(request, conn, server)
    flow.tags, flow.metadata, flow.is_replay = list(given.tags), dict(given.metadata), given.is_replay
    kept = flow.metadata.get(STATE)
    if isinstance(kept, Mapping):
        # A copy: what live flows remember is none of a dry run's business.
        flow.metadata[STATE] = dict(kept)
    flow.timestamp_start = request.timestamp_start = given.timestamp_start or wall
    if given.websocket or _asks_for_websocket(request):
        flow.websocket = WebSocketFlow(flow, flow.timestamp_start)
    return flow


def _give_length(message: HTTPMessage, body: bytes | FileBody | None) -> None:
    """Add the length where there is a body: without one it could not go over the wire."""
    framed = {b"content-length", b"transfer-encoding"} & {key for key, _, _ in message.headers.raw}
    if body and not framed:
        message.headers["Content-Length"] = str(body.length if isinstance(body, FileBody) else len(body))


def _settle_host(request: HTTPRequest) -> None:
    """Where Host differs from the URL: a proxy rewrites it (RFC 9112 section 3.2.2), but inside a tunnel it counts."""
    host = request.headers.get("host")
    if host is None or host == request.authority:
        return
    if request.scheme == "http":
        request.update_host_header()
        return
    try:
        request.move(*split_authority(host, 443))
    except ValueError:
        # The proxy would answer 400. There is nothing that rules could do.
        pass


def _client(conn: ClientConn, request: HTTPRequest) -> ClientConn:
    """The client's side as it is once it speaks HTTP: inside TLS, and behind a CONNECT, where the URL says https."""
    if request.scheme != "https" or conn.tls or conn.mode != "regular":
        return conn
    inside = ClientConn(conn.address, conn.sockname, conn.mode)
    inside.peername = conn.peername
    inside.tls, inside.tls_version, inside.sni = True, "TLSv1.3", request.host
    inside.connect_host, inside.connect_port = request.host, request.port
    return inside


def _asks_for_websocket(request: HTTPRequest) -> bool:
    upgrade = request.headers.get("upgrade", "").strip().lower()
    return upgrade == "websocket" and "upgrade" in request.headers.get("connection", "").lower()


def _load(response: HTTPResponse) -> None:
    """Read an answer from a file, so that it stays what it is; a huge one is left where it is."""
    body = response.body_source
    if isinstance(body, FileBody) and body.length <= DEFAULT.body:
        try:
            response.body_source = body.read()
        except OSError:
            # It has changed since it was chosen. Whoever reads it gets the error.
            pass
