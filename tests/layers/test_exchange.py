"""One exchange: what the server gets, what the client gets, which events fire."""

from __future__ import annotations

import asyncio
import logging

import pytest

from rulesproxy.events import EVENTS
from rulesproxy.flow.http import HTTPFlow, HTTPResponse
from rulesproxy.layers.modes import Mode
from rulesproxy.layers.reach import DialError
from tests.layers.rig import Rig, settle

GET = b"GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
POST = b"POST http://a.test/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody"


class Trace:
    """Records events without asking for bodies."""

    observes = True

    def __init__(self) -> None:
        self.events: list[str] = []
        self.flows: list[HTTPFlow] = []
        for name, event in EVENTS.items():
            if event.group != "General":
                setattr(self, name, self._recorder(name))

    def _recorder(self, name: str) -> object:
        def record(subject: object) -> None:
            self.events.append(name)
            if isinstance(subject, HTTPFlow) and subject not in self.flows:
                self.flows.append(subject)

        return record

    def __str__(self) -> str:
        return " ".join(self.events)


def test_a_request_goes_through_unchanged() -> None:
    async def check(request: bytes, sent: bytes, response: bytes, got: bytes | None = None) -> None:
        rig = Rig([response])
        client = await rig.run(request)
        assert rig.sent() == sent
        assert client == (response.removesuffix(b"<FIN>") if got is None else got)

    async def cases() -> None:
        await check(GET, b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n", OK)
        await check(POST, b"POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody", OK)
        # Order, case and duplicates survive; what is hop-by-hop does not.
        await check(
            b"GET http://a.test/ HTTP/1.1\r\nHOST: a.test\r\nx-B: 1\r\nX-a: 2\r\nx-b: 3\r\nProxy-Connection: keep-alive\r\n"
            b"Connection: keep-alive, x-hop\r\nX-Hop: 1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHOST: a.test\r\nx-B: 1\r\nX-a: 2\r\nx-b: 3\r\n\r\n",
            b"HTTP/1.1 200 Fine by me\r\nset-cookie: a\r\nSet-Cookie: b\r\nX: y\r\nset-cookie: c\r\ncontent-length: 0\r\n\r\n",
        )
        # The absolute-form wins over Host.
        await check(
            b"GET http://a.test:81/x HTTP/1.1\r\nHost: other.test\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a.test:81\r\n\r\n",
            OK,
        )
        await check(
            b"GET http://a.test?q HTTP/1.1\r\nHost: a.test\r\n\r\n", b"GET /?q HTTP/1.1\r\nHost: a.test\r\n\r\n", OK
        )
        await check(
            b"OPTIONS http://a.test HTTP/1.1\r\nHost: a.test\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n", OK
        )
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n"
        await check(GET, b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n", chunked)
        await check(
            b"POST http://a.test/x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nT: 1\r\n\r\n",
            b"POST /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nT: 1\r\n\r\n",
            OK,
        )
        # A body that ends with the connection is chunked for the client, whose connection goes on.
        await check(
            GET,
            b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nall of it<FIN>",
            b"HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nall of it\r\n0\r\n\r\n",
        )
        for status in (b"204 No Content", b"304 Not Modified"):
            await check(GET, b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n", b"HTTP/1.1 " + status + b"\r\nETag: x\r\n\r\n")
        head = GET.replace(b"GET", b"HEAD")
        await check(head, b"HEAD /x HTTP/1.1\r\nHost: a.test\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
        # Interim responses are passed on, except a 100 that nobody asked for.
        await check(
            GET,
            b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK,
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK,
        )

    asyncio.run(cases())


async def test_pipelined_requests_are_answered_in_order_over_one_server_connection() -> None:
    rig = Rig([OK, OK.replace(b"hi", b"ho"), OK])
    got = await rig.run(GET + GET.replace(b"/x", b"/y") + POST)
    assert got == OK + OK.replace(b"hi", b"ho") + OK
    assert rig.dialled == [("a.test", 80)]
    assert rig.sent().count(b"HTTP/1.1\r\n") == 3


async def test_the_pool_serves_other_clients_and_is_closed_by_the_sweep() -> None:
    trace = Trace()
    rig = Rig([OK, OK], addons=[trace])
    task = await rig.start(GET)
    await settle()
    rig.client.feed_eof()
    await task
    assert (rig.services.upstreams.idle, rig.services.upstreams.active) == (1, 0)
    await rig.services.upstreams.sweep(2000.0)
    assert rig.services.upstreams.idle == 0
    assert rig.servers[0].closed
    assert trace.events[-1] == "serverdisconnect"


async def test_a_stale_connection_is_replaced_once_for_an_idempotent_request() -> None:
    for request, dials, answered in ((GET, 2, True), (POST, 1, False)):
        rig = Rig([OK, b""], [OK])
        got = await rig.run(GET + request)
        assert len(rig.dialled) == dials
        assert (got == OK + OK) is answered
        assert (b"502 Bad Gateway" in got) is not answered


async def test_an_http_1_0_client_gets_a_body_that_ends_with_the_connection() -> None:
    rig = Rig([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"])
    got = await rig.run(b"GET http://a.test/ HTTP/1.0\r\nHost: a.test\r\n\r\n")
    assert got == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhi"


@pytest.mark.parametrize(
    ("request_", "events"),
    [
        (GET, "requestheaders request serverconnect serverconnected responseheaders response"),
        (POST, "requestheaders serverconnect serverconnected request responseheaders response"),
    ],
)
async def test_events_of_an_exchange(request_: bytes, events: str) -> None:
    trace = Trace()
    await Rig([OK], addons=[trace]).run(request_)
    assert str(trace) == f"clientconnect next_layer {events} clientdisconnect"


async def test_a_response_set_by_an_addon_never_asks_a_server() -> None:
    for event in ("requestheaders", "request"):
        trace = Trace()

        class Answer:
            pass

        answer = Answer()
        setattr(answer, event, lambda flow: setattr(flow, "response", HTTPResponse.make(200, b"mine")))
        rig = Rig(addons=[answer, trace])
        got = await rig.run(GET)
        assert got == b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nmine"
        assert str(trace) == "clientconnect next_layer requestheaders request responseheaders response clientdisconnect"
        assert rig.dialled == []


async def test_a_killed_flow_gets_no_byte() -> None:
    for event in ("requestheaders", "request", "responseheaders", "response"):
        trace = Trace()

        class Kill:
            pass

        addon = Kill()
        setattr(addon, event, lambda flow: flow.kill())
        rig = Rig([OK], addons=[trace, addon])
        assert await rig.run(GET, fin=False) == b""
        # A flow ends with one of the two: whoever kills it in `response` has seen its end already.
        ends = [name for name in trace.events if name in ("response", "error")]
        assert ends == (["response"] if event == "response" else ["error"])
        assert trace.events[-1] == "clientdisconnect"
        assert "Connection killed." in str(trace.flows[0].error)


@pytest.mark.parametrize(
    ("server", "status", "why", "kind"),
    [
        (DialError("connection refused", "refused"), 502, "cannot connect to a.test:80: connection refused", "refused"),
        (DialError("no answer within 10 s", "timeout"), 504, "cannot connect to a.test:80: no answer", "timeout"),
        ([b""], 502, "a.test:80 closed the connection without an answer", "disconnected"),
        ([b"SSH-2.0-x\r\n\r\n"], 502, "a.test:80 sent a bad response", "protocol"),
        ([b"HTTP/1.1 200 OK\r\nContent-Le<FIN>"], 502, "a.test:80 sent a bad response", "protocol"),
        (
            [b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"],
            502,
            "sent a bad response",
            "protocol",
        ),
    ],
)
async def test_a_server_that_fails(
    server: DialError | list[bytes | None], status: int, why: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    trace = Trace()
    rig = Rig(server, addons=[trace])
    with caplog.at_level(logging.INFO, "rulesproxy"):
        got = await rig.run(GET)
    assert got.startswith(b"HTTP/1.1 %d " % status)
    assert why.encode() in got
    assert trace.flows[0].error is not None
    assert trace.flows[0].error.kind == kind
    assert "error" in trace.events
    assert "response" not in trace.events
    assert len([record for record in caplog.records if "a.test" in record.message]) == 1
    assert rig.services.upstreams.active == 0


async def test_a_response_that_breaks_off_is_never_silently_short() -> None:
    for framing in (b"Content-Length: 99", b"Transfer-Encoding: chunked"):
        body = b"3\r\nabc\r\n" if b"chunked" in framing else b"abc"
        trace = Trace()
        rig = Rig([b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + body + b"<FIN>"], addons=[trace])
        got = await rig.run(GET, fin=False)
        assert got.startswith(b"HTTP/1.1 200 OK\r\n")
        assert not got.endswith(b"0\r\n\r\n")
        assert rig.client.aborted
        assert trace.events[-2:] == ["error", "clientdisconnect"] or "error" in trace.events


async def test_an_error_handler_may_answer() -> None:
    class Fallback:
        def error(self, flow: HTTPFlow) -> None:
            flow.response = HTTPResponse.make(503, b"later", {"Retry-After": "1"})

    got = await Rig(DialError("connection refused", "refused"), addons=[Fallback()]).run(GET)
    assert (
        got
        == b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\ncontent-length: 5\r\nConnection: close\r\n\r\nlater"
    )


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
        (b"GET ftp://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
        (b"GET http://a.test:99999/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
        (b"GET http://user@a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
        (b"CONNECT a.test HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
        (
            b"GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"GET http://a.test/ HTTP/2.0\r\nHost: a.test\r\n\r\n", 505),
        (b"GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nX y: 1\r\n\r\n", 400),
        (b"garbage\r\n\r\n", 400),
    ],
)
async def test_a_bad_request_is_refused_and_makes_no_flow(request_: bytes, status: int) -> None:
    trace = Trace()
    rig = Rig(addons=[trace])
    got = await rig.run(request_)
    assert got.startswith(b"HTTP/1.1 %d " % status)
    assert str(trace) == "clientconnect next_layer clientdisconnect"
    assert rig.dialled == []


async def test_expect_is_answered_by_whoever_reads_the_body() -> None:
    request = POST.replace(b"Host", b"Expect: 100-continue\r\nHost").removesuffix(b"body")

    class Wants:
        def request(self, flow: HTTPFlow) -> None:
            assert flow.request.content == b"body"

    # Buffered: the proxy answers, and the server does not see the expectation.
    rig = Rig([OK], addons=[Wants()])
    task = await rig.start(request)
    await settle()
    assert bytes(rig.client.sent) == b"HTTP/1.1 100 Continue\r\n\r\n"
    rig.client.feed(b"body")
    await settle()
    rig.client.feed_eof()
    await task
    assert b"Expect" not in rig.sent()
    assert bytes(rig.client.sent).endswith(OK)

    # Streamed: the server answers.
    rig = Rig([b"HTTP/1.1 100 Continue\r\n\r\n"])
    task = await rig.start(request)
    await settle()
    assert b"Expect: 100-continue" in rig.sent()
    assert bytes(rig.client.sent) == b"HTTP/1.1 100 Continue\r\n\r\n"
    rig.client.feed(b"body")
    await settle()
    assert rig.sent().endswith(b"body")
    rig.servers[0].feed(OK)
    await settle()
    rig.client.feed_eof()
    await task
    assert bytes(rig.client.sent).endswith(OK)


async def test_an_upload_streams_while_it_arrives_and_the_answer_may_overtake_it() -> None:
    trace = Trace()
    rig = Rig([None], addons=[trace])
    task = await rig.start(
        b"POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
    )
    await settle()
    assert rig.sent().endswith(b"1\r\na\r\n")
    rig.client.feed(b"1\r\nb\r\n")
    await settle()
    assert rig.sent().endswith(b"1\r\na\r\n1\r\nb\r\n")
    rig.servers[0].feed(b"HTTP/1.1 413 Too Big\r\nContent-Length: 0\r\n\r\n")
    await settle()
    rig.client.feed_eof()
    await task
    assert bytes(rig.client.sent) == b"HTTP/1.1 413 Too Big\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    assert "request" not in trace.events
    assert trace.events[-2:] == ["serverdisconnect", "clientdisconnect"]


async def test_a_client_that_leaves_frees_the_server() -> None:
    trace = Trace()
    rig = Rig([None], addons=[trace])
    task = await rig.start(GET)
    await settle()
    rig.client.break_off()
    await asyncio.wait_for(task, 5)
    assert rig.servers[0].aborted
    assert trace.flows[0].error is not None
    assert trace.flows[0].error.kind == "client"
    assert rig.services.upstreams.active == 0


async def test_an_upgrade_turns_into_a_tunnel() -> None:
    trace = Trace()
    rig = Rig(
        [b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly"], addons=[trace]
    )
    task = await rig.start(
        b"GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nfirst"
    )
    await settle()
    assert rig.sent() == b"GET / HTTP/1.1\r\nHost: a.test\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nfirst"
    assert bytes(rig.client.sent).endswith(b"\r\n\r\nearly")
    rig.client.feed_eof()
    await settle()
    assert rig.servers[0].write_ended
    rig.servers[0].feed(b"last words")
    rig.servers[0].feed_eof()
    await asyncio.wait_for(task, 5)
    assert bytes(rig.client.sent).endswith(b"earlylast words")
    start = trace.events.index("responseheaders")
    assert trace.events[start : start + 4] == ["responseheaders", "response", "next_layer", "tcp_start"]
    assert trace.events[-3:] == ["tcp_end", "serverdisconnect", "clientdisconnect"]


async def test_h2c_is_not_offered_to_servers() -> None:
    rig = Rig([OK])
    await rig.run(
        GET.replace(
            b"\r\n\r\n", b"\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n"
        )
    )
    assert rig.sent() == b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n"


async def test_reverse_mode_serves_one_server() -> None:
    request = b"GET /x HTTP/1.1\r\nHost: localhost:8080\r\n\r\n"
    for keep, host in ((False, b"site.test:8000"), (True, b"localhost:8080")):
        trace = Trace()
        rig = Rig([OK], addons=[trace], mode=Mode("reverse", ("site.test", 8000)), keep_host=keep)
        await rig.run(request)
        assert rig.dialled == [("site.test", 8000)]
        assert rig.sent() == b"GET /x HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
        flow = trace.flows[0]
        assert (flow.request.host, flow.request.port) == ("site.test", 8000)
        assert flow.orig.headers["host"] == "localhost:8080"


async def test_an_addon_sends_a_request_elsewhere() -> None:
    class Elsewhere:
        def requestheaders(self, flow: HTTPFlow) -> None:
            flow.request.host = "b.test"
            flow.request.port = 8000
            flow.request.update_host_header()

    rig = Rig([OK], addons=[Elsewhere()])
    await rig.run(GET)
    assert rig.dialled == [("b.test", 8000)]
    assert b"Host: b.test:8000\r\n" in rig.sent()


async def test_bodies_are_kept_only_where_somebody_wants_them() -> None:
    class Edit:
        def request(self, flow: HTTPFlow) -> None:
            flow.request.content = (flow.request.content or b"").upper()

        def response(self, flow: HTTPFlow) -> None:
            assert flow.response is not None
            flow.response.text = "longer than before"

    rig = Rig([OK], addons=[Edit()])
    got = await rig.run(POST)
    assert rig.sent().endswith(b"Content-Length: 4\r\n\r\nBODY")
    assert got == b"HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\nlonger than before"


async def test_a_body_over_the_limit_streams_on_unread(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[object] = []

    class Wants:
        def request(self, flow: HTTPFlow) -> None:
            seen.append(flow.request.content)

        def response(self, flow: HTTPFlow) -> None:
            assert flow.response is not None
            seen.append(flow.response.content)

    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n6\r\nghijkl\r\n0\r\n\r\n"
    rig = Rig([chunks], addons=[Wants()], limits_body=10)
    request = b"POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: 12\r\n\r\nabcdefghijkl"
    got = await rig.run(request)
    assert seen == [None, None]
    assert rig.sent().endswith(b"abcdefghijkl")
    assert got.startswith(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert got.endswith(b"0\r\n\r\n")
    assert len([record for record in caplog.records if "limits_body" in record.message]) == 2


async def test_a_streaming_function_changes_pieces() -> None:
    class Upper:
        def responseheaders(self, flow: HTTPFlow) -> None:
            assert flow.response is not None
            flow.response.stream = lambda data: data.upper() if data else b"!"

    got = await Rig([OK], addons=[Upper()]).run(GET)
    assert got == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nHI\r\n1\r\n!\r\n0\r\n\r\n"


async def test_a_refused_tunnel(caplog: pytest.LogCaptureFixture) -> None:
    trace = Trace()

    class Refuse:
        def http_connect(self, flow: HTTPFlow) -> None:
            flow.hits.append("ads")
            flow.response = HTTPResponse.make(403, b"no\n")

    rig = Rig(addons=[Refuse(), trace])
    with caplog.at_level(logging.INFO, logger="rulesproxy"):
        got = await rig.run(b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n")
    assert caplog.messages[-1].endswith(" CONNECT a.test:443 -> refused: 403 (ads)")
    assert got == b"HTTP/1.1 403 Forbidden\r\ncontent-length: 3\r\nconnection: close\r\n\r\nno\n"
    assert str(trace) == "clientconnect next_layer http_connect clientdisconnect"


async def test_plain_http_inside_a_tunnel() -> None:
    rig = Rig([OK])
    request = b"GET /x HTTP/1.1\r\nHost: name.test\r\n\r\n"
    got = await rig.run(b"CONNECT 192.0.2.1:8000 HTTP/1.1\r\nHost: 192.0.2.1:8000\r\n\r\n", request)
    assert got == b"HTTP/1.1 200 Connection established\r\n\r\n" + OK
    assert rig.dialled == [("192.0.2.1", 8000)]
    assert rig.sent() == request
