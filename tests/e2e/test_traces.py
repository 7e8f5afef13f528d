"""Golden traces: whole sequences of lifecycle events, over real sockets and real TLS."""

from __future__ import annotations

import pytest

from rulesproxy import HTTPFlow, HTTPResponse, Proxy
from tests.support.client import RawClient
from tests.support.origin import Origin, OriginConnection, answer, script
from tests.support.recorder import Do, Recorder
from tests.support.running import client_of, get, running, second
from tests.support.traces import Scenario, trace_of

START = "clientconnect next_layer"
DIAL = "serverconnect serverconnected"
ANSWER = "responseheaders response"


async def plain_get(client: RawClient, proxy: Proxy, origin: Origin) -> None:
    response = await client.request(get(f"{origin.url}/x"))
    assert (response.status, response.body) == (200, b"GET /x HTTP/1.1")


async def bad_gateway(client: RawClient, proxy: Proxy, origin: Origin) -> None:
    response = await client.request(get(f"{origin.url}/x"))
    assert response.status == 502
    assert origin.authority.encode() in response.body
    assert await client.read_to_end() == b""


async def silence(client: RawClient, proxy: Proxy, origin: Origin) -> None:
    client.send(get(f"{origin.url}/x"))
    assert await client.read_to_end() == b""


async def intercepted(client: RawClient, proxy: Proxy, origin: Origin) -> None:
    await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
    response = await client.request(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (response.status, response.body) == (200, b"GET /x HTTP/1.1")


async def passed_through(client: RawClient, proxy: Proxy, origin: Origin) -> None:
    await client.tunnel(f"localhost:{origin.port}", None)
    response = await client.request(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert response.status == 200


def tls_origin() -> Origin:
    return Origin(tls="good")


def answering(event: str) -> Do:
    def handler(flow: HTTPFlow) -> None:
        flow.response = HTTPResponse.make(200, b"GET /x HTTP/1.1")

    return Do(**{event: handler})


def killing(event: str) -> Do:
    return Do(**{event: lambda flow: flow.kill()})


def streaming(*events: str) -> Do:
    def request(flow: HTTPFlow) -> None:
        flow.request.stream = True

    def response(flow: HTTPFlow) -> None:
        assert flow.response is not None
        flow.response.stream = True

    return Do(requestheaders=request, responseheaders=response)


async def test_plain_get() -> None:
    trace, _ = await trace_of(plain_get, Origin())
    assert trace == f"{START} requestheaders request {DIAL} {ANSWER} clientdisconnect"


async def test_plain_get_observed() -> None:
    trace, _ = await trace_of(plain_get, Origin(), observes=True)
    assert trace == f"{START} requestheaders request {DIAL} {ANSWER} clientdisconnect"


@pytest.mark.parametrize("event", ["requestheaders", "request"])
async def test_answered_by_an_addon(event: str) -> None:
    origin = Origin()
    trace, _ = await trace_of(plain_get, origin, answering(event))
    assert trace == f"{START} requestheaders request {ANSWER} clientdisconnect"
    assert origin.connections == []


@pytest.mark.parametrize(
    ("event", "middle"),
    [
        ("requestheaders", "requestheaders error"),
        ("request", "requestheaders request error"),
        ("responseheaders", f"requestheaders request {DIAL} responseheaders error"),
        # A flow ends with one of the two, never with both.
        ("response", f"requestheaders request {DIAL} responseheaders response"),
    ],
)
async def test_killed(event: str, middle: str) -> None:
    trace, recorder = await trace_of(silence, Origin(), killing(event))
    assert trace == f"{START} {middle} clientdisconnect"
    (flow,) = set(recorder.args("requestheaders"))
    assert isinstance(flow, HTTPFlow)
    assert str(flow.error) == "Connection killed."


async def test_server_unreachable() -> None:
    async with Origin() as gone:
        pass
    gone_port = gone.port

    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        response = await client.request(get(f"http://127.0.0.1:{gone_port}/x"))
        assert response.status == 502
        assert f"127.0.0.1:{gone_port}".encode() in response.body
        assert await client.read_to_end() == b""

    trace, recorder = await trace_of(scenario, Origin())
    assert trace == f"{START} requestheaders request serverconnect error clientdisconnect"
    (flow,) = recorder.args("error")
    assert isinstance(flow, HTTPFlow)
    assert flow.error is not None
    assert flow.error.kind == "refused"


async def test_an_addon_refuses_the_server() -> None:
    def refuse(server_conn: object) -> None:
        server_conn.error = "not this one"  # type: ignore[attr-defined]

    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        response = await client.request(get(f"{origin.url}/x"))
        assert response.status == 502
        assert b"not this one" in response.body

    trace, _ = await trace_of(scenario, Origin(), Do(serverconnect=refuse))
    assert trace == f"{START} requestheaders request serverconnect error clientdisconnect"


async def test_an_error_handler_answers() -> None:
    async with Origin() as gone:
        pass

    def answer_instead(flow: HTTPFlow) -> None:
        flow.response = HTTPResponse.make(503, b"later", {"Retry-After": "5"})

    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        response = await client.request(get(f"{gone.url}/x"))
        assert (response.status, response.body, response.get("retry-after")) == (503, b"later", "5")

    trace, _ = await trace_of(scenario, Origin(), Do(error=answer_instead))
    assert trace == f"{START} requestheaders request serverconnect error clientdisconnect"


async def test_a_client_is_refused() -> None:
    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        client.send(get(f"{origin.url}/x"))
        assert await client.read_to_end() == b""

    trace, _ = await trace_of(scenario, Origin(), Do(clientconnect=lambda layer: layer.kill()))
    assert trace == "clientconnect clientdisconnect"


async def test_connect_and_tls() -> None:
    trace, recorder = await trace_of(intercepted, tls_origin())
    tunnel = f"{START} http_connect next_layer clienthello next_layer"
    assert trace == f"{tunnel} requestheaders request {DIAL} {ANSWER} clientdisconnect"
    (connect,), (flow,) = recorder.args("http_connect"), recorder.args("response")
    assert isinstance(connect, HTTPFlow)
    assert isinstance(flow, HTTPFlow)
    assert connect.request.method == "CONNECT"
    assert flow.client_conn.tls
    assert flow.client_conn.sni == "localhost"
    assert flow.server_conn.tls_version
    assert flow.server_conn.certificate


async def test_connect_refused_by_an_addon() -> None:
    def refuse(flow: HTTPFlow) -> None:
        flow.response = HTTPResponse.make(403, b"no tunnels")

    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        response = await client.request(b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n")
        assert (response.status, response.body) == (403, b"no tunnels")
        assert await client.read_to_end() == b""

    trace, _ = await trace_of(scenario, Origin(), Do(http_connect=refuse))
    assert trace == f"{START} http_connect clientdisconnect"


async def test_connect_killed() -> None:
    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        client.send(b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n")
        assert await client.read_to_end() == b""

    trace, _ = await trace_of(scenario, Origin(), killing("http_connect"))
    assert trace == f"{START} http_connect clientdisconnect"


async def test_connect_sent_elsewhere() -> None:
    def move(flow: HTTPFlow) -> None:
        flow.request.host, flow.request.port = "localhost", origin.port

    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        await client.tunnel("example.test:443", proxy.ca_path)
        assert (await client.request(b"GET /x HTTP/1.1\r\nHost: example.test\r\n\r\n")).status == 200

    origin = tls_origin()
    trace, _ = await trace_of(scenario, origin, Do(http_connect=move))
    assert trace.endswith(f"requestheaders request {DIAL} {ANSWER} clientdisconnect")
    assert origin.requests[0].get_all("host") == ["example.test"]


@pytest.mark.parametrize("by", ["intercept none", "clienthello", "observer"])
async def test_passed_through(by: str) -> None:
    def pass_through(hello: object) -> None:
        hello.passthrough = True  # type: ignore[attr-defined]

    addons = [Do(clienthello=pass_through)] if by == "clienthello" else []
    options = {"intercept": "none"} if by == "intercept none" else {}
    trace, _ = await trace_of(passed_through, tls_origin(), *addons, observes=by == "observer", **options)
    assert trace == f"{START} http_connect next_layer clienthello next_layer {DIAL} clientdisconnect"


async def test_passed_through_with_tcp_events() -> None:
    trace, _ = await trace_of(passed_through, tls_origin(), intercept="none", tcp_events_in_tunnels=True)
    head, _, tail = trace.partition(" tcp_start ")
    assert head == f"{START} http_connect next_layer clienthello next_layer {DIAL}"
    assert set(tail.split()) == {"tcp_message", "tcp_end", "clientdisconnect"}
    assert tail.endswith(" tcp_end clientdisconnect")


async def test_raw_tcp_in_a_tunnel() -> None:
    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        assert (await client.connect_to(origin.authority)).status == 200
        client.send(b"\x00\x01hello")
        assert await client.read_exactly(7) == b"\x00\x01hello"
        client.half_close()
        assert await client.read_to_end() == b""

    trace, _ = await trace_of(scenario, Origin(script("echo"), raw=True))
    messages = "tcp_message tcp_message"
    assert trace == f"{START} http_connect next_layer {DIAL} tcp_start {messages} tcp_end clientdisconnect"


async def test_a_server_that_speaks_first() -> None:
    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        assert (await client.connect_to(origin.authority)).status == 200
        assert await client.read_exactly(9) == b"220 hello"

    trace, _ = await trace_of(scenario, Origin(script(b"220 hello", "stall"), raw=True))
    # The server is asked before anybody knows which layer comes.
    assert trace.startswith(f"{START} http_connect {DIAL} next_layer tcp_start tcp_message")
    assert trace.count("tcp_end") == 1
    assert trace.endswith("clientdisconnect")


async def test_raw_tcp_unreachable() -> None:
    async with Origin() as gone:
        pass

    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        assert (await client.connect_to(gone.authority)).status == 200
        client.send(b"\x00\x01hello")
        assert await client.read_to_end() == b""

    trace, _ = await trace_of(scenario, Origin())
    assert trace == f"{START} http_connect next_layer serverconnect tcp_error tcp_end clientdisconnect"


async def test_raw_tcp_unreachable_where_the_client_waits(caplog: pytest.LogCaptureFixture) -> None:
    async with Origin() as gone:
        pass

    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        assert (await client.connect_to(gone.authority)).status == 200
        assert await client.read_to_end() == b""

    with caplog.at_level("INFO", logger="rulesproxy"):
        trace, _ = await trace_of(scenario, Origin())
    # The server is asked before anybody knows which layer comes.
    assert trace == f"{START} http_connect serverconnect next_layer tcp_error tcp_end clientdisconnect"
    assert f" TCP {gone.authority} -> error: cannot connect to {gone.authority}: connection refused" in caplog.text


async def test_plain_http_in_a_tunnel() -> None:
    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        assert (await client.connect_to(origin.authority)).status == 200
        request = f"GET /x HTTP/1.1\r\nHost: {origin.authority}\r\n\r\n".encode()
        assert (await client.request(request)).body == b"GET /x HTTP/1.1"

    trace, _ = await trace_of(scenario, Origin())
    assert trace == f"{START} http_connect next_layer requestheaders request {DIAL} {ANSWER} clientdisconnect"


async def test_malformed_head() -> None:
    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        response = await client.request(b"GET http://a/ HTTP/1.1\r\nbad line\r\n\r\n")
        assert response.status == 400
        assert await client.read_to_end() == b""

    trace, _ = await trace_of(scenario, Origin())
    assert trace == f"{START} clientdisconnect"


async def test_streamed_bodies() -> None:
    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        client.send(get(f"{origin.url}/x", "Content-Length: 6", method="POST"))
        await origin.wait_connections(1)
        client.send(b"abc")
        await origin.wait_received(b"abc")  # The body passes on before it is whole.
        client.send(b"def")
        response = await client.read_response()
        assert response.body == b"abcdef"

    origin = Origin.http(lambda request: answer(200, chunks=[request.body]))
    trace, recorder = await trace_of(scenario, origin, streaming())
    assert trace == f"{START} requestheaders {DIAL} request {ANSWER} clientdisconnect"
    (flow,) = recorder.args("response")
    assert isinstance(flow, HTTPFlow)
    assert flow.request.content is None
    assert flow.response is not None
    assert flow.response.content is None


async def test_server_answers_early() -> None:
    async def early(connection: OriginConnection) -> None:
        await connection.read_until(b"\r\n\r\n")
        connection.send(answer(413, b"too big", [("Connection", "close")], reason="Content Too Large"))

    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        client.send(get(f"{origin.url}/x", "Content-Length: 1000000", method="POST"))
        client.send(b"abc")
        response = await client.read_response()
        assert (response.status, response.body) == (413, b"too big")
        assert await client.read_to_end() == b"", "the rest of the upload has no use any more"

    trace, _ = await trace_of(scenario, Origin(early), streaming())
    assert trace == f"{START} requestheaders {DIAL} {ANSWER} clientdisconnect"


async def test_other_upgrade() -> None:
    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        response = await client.request(get(f"{origin.url}/x", "Connection: upgrade", "Upgrade: echo/1"))
        assert (response.status, response.get("upgrade")) == (101, "echo/1")
        client.send(b"\0any bytes")
        assert await client.read_exactly(10) == b"\0any bytes"
        client.half_close()
        assert await client.read_to_end() == b""

    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo/1\r\n\r\n"
    trace, _ = await trace_of(scenario, Origin(script("request", switch, "echo")))
    tcp = "next_layer tcp_start tcp_message tcp_message tcp_end"
    assert trace == f"{START} requestheaders request {DIAL} {ANSWER} {tcp} clientdisconnect"


async def test_keep_alive_uses_one_server_connection() -> None:
    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        for _ in range(3):
            await plain_get(client, proxy, origin)

    origin = Origin()
    trace, _ = await trace_of(scenario, origin)
    more = f" requestheaders request {ANSWER}" * 2
    assert trace == f"{START} requestheaders request {DIAL} {ANSWER}{more} clientdisconnect"
    assert len(origin.connections) == 1


async def test_reverse_mode_passes_tls_through() -> None:
    recorder = Recorder()
    async with tls_origin() as origin:
        async with running(recorder, mode=f"reverse:https://localhost:{origin.port}", intercept="none") as proxy:
            async with client_of(proxy) as client:
                await client.start_tls(None)
                response = await client.request(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert response.status == 200
            trace = await recorder.settled()
    assert trace == f"clientconnect next_layer clienthello next_layer {DIAL} clientdisconnect"


async def test_reverse_mode() -> None:
    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        response = await client.request(b"GET /x HTTP/1.1\r\nHost: whatever\r\n\r\n")
        assert response.body == b"GET /x HTTP/1.1"

    async with Origin() as origin:
        recorder = Recorder()
        async with running(recorder, mode=f"reverse:{origin.url}") as proxy:
            async with client_of(proxy) as client:
                await scenario(client, proxy, origin)
            trace = await recorder.settled()
        assert origin.requests[0].get_all("host") == [origin.authority]
    assert trace == f"{START} requestheaders request {DIAL} {ANSWER} clientdisconnect"
    (flow,) = recorder.args("response")
    assert isinstance(flow, HTTPFlow)
    assert flow.orig.host == "whatever"
    assert flow.request.host == "127.0.0.1"


async def test_tcp_mode() -> None:
    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert await client.read_exactly(18) == b"GET / HTTP/1.1\r\n\r\n"
        client.half_close()
        assert await client.read_to_end() == b""

    async with Origin(script("echo"), raw=True) as origin:
        trace, _ = await trace_in(f"tcp:{origin.authority}", scenario, origin)
    assert trace == f"{START} {DIAL} tcp_start tcp_message tcp_message tcp_end clientdisconnect"


async def test_tcp_mode_unreachable() -> None:
    async with Origin() as gone:
        pass

    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        assert await client.read_to_end() == b""

    trace, _ = await trace_in(f"tcp:{gone.authority}", scenario, gone)
    assert trace == f"{START} serverconnect tcp_error tcp_end clientdisconnect"


@pytest.mark.parametrize("tls", [False, True])
async def test_socks5(tls: bool) -> None:
    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        client.send(b"\x05\x01\x00\x05\x01\x00\x03\x09localhost" + origin.port.to_bytes(2, "big"))
        await client.read_exactly(12)
        if tls:
            await client.start_tls(proxy.ca_path, alpn=("http/1.1",))
        response = await client.request(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert response.body == b"GET /x HTTP/1.1"

    async with Origin(tls="good" if tls else None) as origin:
        trace, _ = await trace_in("socks5", scenario, origin)
    # The negotiation is no layer of its own, and no CONNECT.
    inside = "next_layer clienthello next_layer" if tls else "next_layer"
    assert trace == f"clientconnect {inside} requestheaders request {DIAL} {ANSWER} clientdisconnect"


@pytest.mark.parametrize("kind", ["plain", "tls"])
async def test_upstream(kind: str) -> None:
    """The other proxy changes nothing of what is seen."""
    async with Origin(tls="good" if kind == "tls" else None) as origin, running() as other:
        recorder = Recorder()
        async with second(recorder, mode=f"upstream:{other.url}") as proxy, client_of(proxy) as client:
            await (intercepted if kind == "tls" else plain_get)(client, proxy, origin)
        trace = await recorder.settled()
    inside = "http_connect next_layer clienthello next_layer " if kind == "tls" else ""
    assert trace == f"{START} {inside}requestheaders request {DIAL} {ANSWER} clientdisconnect"


async def trace_in(mode: str, scenario: Scenario, origin: Origin) -> tuple[str, Recorder]:
    """The events of one client in another mode; the origin runs already."""
    recorder = Recorder()
    async with running(recorder, mode=mode) as proxy:
        async with client_of(proxy) as client:
            await scenario(client, proxy, origin)
        trace = await recorder.settled()
    assert recorder.count("serverdisconnect") == recorder.count("serverconnected")
    return trace, recorder
