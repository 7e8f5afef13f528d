"""`DryRun`: what rules do with a flow, without a network. `test`, `try` and `explain` are made of it.

It fires the events of an exchange in their order at the handlers of a rule set, the same ones that live traffic calls,
and plays the two peers: the request is the client's, the response that the flow brings is the server's. It waits for
nothing. Why a rule did nothing is said by `trace`, and only when somebody asks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace

from rulesproxy.engine.dispatch import Bound
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.connection import ClientConn, ServerConn
from rulesproxy.flow.error import FlowError
from rulesproxy.flow.headers import Headers
from rulesproxy.flow.http import HTTPFlow, HTTPMessage, HTTPRequest, HTTPResponse
from rulesproxy.flow.plan import FileBody
from rulesproxy.flow.url import split_authority
from rulesproxy.flow.websocket import WebSocketFlow
from rulesproxy.limits import DEFAULT
from rulesproxy.rules.action import Captures, Side
from rulesproxy.rules.changes import Moment
from rulesproxy.rules.compile import Compiled
from rulesproxy.rules.gates import Gate
from rulesproxy.rules.hosts import ended
from rulesproxy.rules.model import Rule
from rulesproxy.rules.outside import Outside
from rulesproxy.rules.passes import Rest, Runner
from rulesproxy.rules.position import Pass
from rulesproxy.rules.state import Store
from rulesproxy.rules.trace import Act, Given, Result

WALL = 1767225600.0
"""The time of a dry run: the first second of 2026, UTC."""
_BODILESS = (204, 304)
_NO_WAITING = "it waits for something, which a dry run cannot"
_WAITS = 1000
"""How often the functions of one pass are told that they cannot wait; one that does not listen is left alone then."""


class DryRun:
    """Runs flows through rules, one after the other, on one clock that stands still and with counters of its own.

    It is not for several threads at once.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._recorder = _Recorder()
        self._uuids = 0
        outside = Outside(lambda: WALL, lambda: 0.0, self._uuid, "0")
        self._rules = [_Recorded(rule, number, outside, self._recorder) for number, rule in enumerate(rules)]
        self._store = Store()
        self._gates = {
            sampled: [
                (rule, Gate(rule.rule.gates, rule.rule.identity, rule.memory, replace(outside, sampled=sampled)))
                for rule in self._rules
                if rule.rule.gates is not None
            ]
            for sampled in (True, False)
        }
        self._runner = Runner(self._rules, self._store)
        self._handlers: dict[str, Callable[..., Rest]] = self._runner.handlers  # type: ignore[assignment]

    def reset(self) -> None:
        """Forget what the flows so far have left: counters, sequences, identifiers, named state."""
        self._uuids = 0
        self._store.clear()
        # Of thousands of rules few have counted: those that have acted, and those whose gates were asked.
        for number in self._recorder.acted:
            self._rules[number].memory.counts = {}
        self._recorder.acted.clear()
        for rule, _ in self._gates[True]:
            rule.memory.counts = {}

    def run(self, flow: HTTPFlow, sampled: bool = True) -> Result:
        """What the rules do with a flow, which is left as it is.

        Its request is what the client sends. Its response is what the server would answer; without one the run ends
        where the server would be asked, and with an `error` instead of it, the server is asked in vain. `sampled` is
        whether it is one of those that rules with a `sample` act on. Never raises.
        """
        self._recorder.acts = []
        for rule, gate in self._gates[sampled]:
            rule.gate = gate
        result = _Exchange(self, flow).run()
        state = result.flow.rules
        if isinstance(state, Pass) and state.matched is not None:
            # Their captures were made, which may count, although no action has followed.
            self._recorder.acted.update(state.matched)
        return result

    def fire(self, event: str, subject: object) -> None:
        """Call the handler of an event, if the rules need it."""
        handler = self._handlers.get(event)
        if handler is not None:
            rest = handler(subject)
            if rest is not None:
                _complete(rest)

    def remember(self, flow: HTTPFlow) -> None:
        """Let a flow see what the flows before it have left."""
        self._store.attach(flow)

    def wants_body(self, flow: HTTPFlow, side: Side) -> bool:
        """Whether some rule waits for the body of this side."""
        return self._runner.wants_body(flow, side)

    @property
    def rules(self) -> Sequence[Compiled]:
        """The rules, ready to run."""
        return self._rules

    @property
    def acts(self) -> list[Act]:
        """What the rules have done with the present flow."""
        return self._recorder.acts

    def _uuid(self) -> str:
        self._uuids += 1
        return f"00000000-0000-4000-8000-{self._uuids:012x}"


class _Recorder:
    """Where the rules of a dry run write what they do: with the present flow, and who has acted since the start."""

    __slots__ = ("acted", "acts")

    def __init__(self) -> None:
        self.acts: list[Act] = []
        self.acted: set[int] = set()


class _Recorded(Compiled):
    """A rule whose actions leave a record of what they changed. Everything else is as in live traffic."""

    __slots__ = ("_recorder",)

    def __init__(self, rule: Rule, number: int, outside: Outside, recorder: _Recorder) -> None:
        super().__init__(rule, number, outside=outside)
        self._recorder = recorder

    def bound(self, event: str) -> Bound:
        bound = self._bounds.get(event)
        if bound is None:
            bound = super().bound(event)
            bound.call = self._recording(event, bound.call)
        return bound

    def _recording(self, event: str, call: Callable[..., object]) -> Callable[..., object]:
        def record(flow: HTTPFlow, captures: Captures) -> object:
            act = Act(self.number, event, Moment(flow), dict(captures))
            self._recorder.acts.append(act)
            self._recorder.acted.add(self.number)
            try:
                result = call(flow, captures)
            except Exception as error:
                act.fail(error)
                raise
            finally:
                act.after = Moment(flow)
            return result if not hasattr(result, "__await__") else finish(act, flow, result)

        async def finish(act: Act, flow: HTTPFlow, waiting: Awaitable[object]) -> None:
            try:
                await waiting
            except Exception as error:
                if isinstance(error, RuntimeError) and "event loop" in str(error):
                    # What asyncio says to those who wait without one.
                    error = WaitsError(_NO_WAITING)
                act.fail(error)
                raise error from None
            finally:
                act.after = Moment(flow)

        return record


class WaitsError(Exception):
    """A function of a rule waits for something; a dry run has no event loop, and no network to wait for."""


def _complete(rest: Coroutine[object, object, None]) -> None:
    """Run the rest of a pass, in which every function that waits for something fails."""
    try:
        rest.send(None)
        for _ in range(_WAITS):
            rest.throw(WaitsError(_NO_WAITING))
    except StopIteration:
        return
    rest.close()


class _Exchange:
    """One flow on its way through a dry run: what `layers.exchange` does, without the layers."""

    def __init__(self, dry: DryRun, given: HTTPFlow) -> None:
        self.dry = dry
        self.server_answer = None if given.response is None else given.response.copy()
        if self.server_answer is not None:
            _give_length(self.server_answer, self.server_answer.body_source)
        self.failure = given.error
        self.flow = _fresh(given)
        dry.remember(self.flow)
        self.body = given.request.raw_content or b""
        self.upstream: HTTPRequest | None = None
        self.received = Moment(self.flow)
        self.answered: HTTPResponse | None = None
        self.unread: set[Side] = set()
        self.tunnel = ""
        self.failed = 0

    def run(self) -> Result:
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
        return self._result()

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
        if flow.request.method == "HEAD" or answer.status_code in _BODILESS:
            body = b""
        flow.response = answer
        dry.fire("responseheaders", flow)
        if ended(flow):
            return
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
        return Result(self.dry.rules, flow, self.upstream, self.tunnel, self.failed, self.dry.acts, given)


class _Hello:
    """The ClientHello of a client that names the host it wants."""

    def __init__(self, host: str, conn: ClientConn) -> None:
        self.sni: str | None = conn.sni or host
        self.alpn: list[str] = ["http/1.1"]
        self.passthrough = False
        self.client_conn: ClientConn | None = conn


def _fresh(given: HTTPFlow) -> HTTPFlow:
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
    flow.timestamp_start = request.timestamp_start = given.timestamp_start or WALL
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
