"""Raw TCP: what its events may do, how it ends, and how much of it is held."""

from __future__ import annotations

import asyncio
import logging
import ssl

import pytest

from rulesproxy import HTTPFlow, HTTPLayer, Layer, Route, TCPFlow, TCPLayer
from rulesproxy.limits import DEFAULT
from tests.support import pki
from tests.support.client import RawClient
from tests.support.origin import Origin, OriginConnection, script
from tests.support.recorder import Do, Recorder
from tests.support.running import client_of, running


def echo() -> Origin:
    return Origin(script("echo"), raw=True)


async def silent(connection: OriginConnection) -> None:
    connection.raw()
    await connection.wait_end()


async def test_messages_are_edited_and_dropped() -> None:
    def edit(flow: TCPFlow) -> None:
        message = flow.messages[-1]
        if message.from_client:
            message.content = message.content.replace(b"secret", b"public")
        elif b"drop" in message.content:
            message.content = b""

    async with echo() as origin, running(Do(tcp_message=edit), mode=f"tcp:{origin.authority}") as proxy:
        async with client_of(proxy) as client:
            client.send(b"a secret")
            assert await client.read_exactly(8) == b"a public"
            client.send(b"drop")
            await origin.wait_received(b"drop")
            client.send(b"end")
            assert await client.read_exactly(3) == b"end"


async def test_bytes_are_injected_behind_the_message() -> None:
    def inject(flow: TCPFlow) -> None:
        if flow.messages[-1].from_client:
            flow.inject(True, b"[to client]")
            flow.inject(False, b"[to server]")

    async with echo() as origin, running(Do(tcp_message=inject), mode=f"tcp:{origin.authority}") as proxy:
        async with client_of(proxy) as client:
            client.send(b"hi")
            await origin.wait_received(b"hi[to server]")
            assert b"[to client]" in await client.read_until(b"[to client]")


async def test_bytes_are_injected_at_any_time() -> None:
    flows: list[TCPFlow] = []

    def greet(flow: TCPFlow) -> None:
        flows.append(flow)
        flow.inject(True, b"welcome ")

    async with Origin(silent, raw=True) as origin:
        async with running(Do(tcp_start=greet), mode=f"tcp:{origin.authority}") as proxy, client_of(proxy) as client:
            assert await client.read_exactly(8) == b"welcome "
            (flow,) = flows
            # Nothing moves now, and no handler runs.
            flow.inject(True, b"again")
            flow.inject(False, b"to the server")
            assert await client.read_exactly(5) == b"again"
            await origin.wait_received(b"to the server")
            assert not flow.injected


async def test_injection_waits_for_an_async_handler() -> None:
    release = asyncio.Event()

    async def slow(flow: TCPFlow) -> None:
        if flow.messages[-1].from_client:
            flow.inject(False, b"behind")
            await release.wait()

    async with echo() as origin, running(Do(tcp_message=slow), mode=f"tcp:{origin.authority}") as proxy:
        async with client_of(proxy) as client:
            client.send(b"before ")
            await origin.wait_connections(1)
            release.set()
            await origin.wait_received(b"before behind")


async def test_injection_is_bounded() -> None:
    recorder = Recorder()
    async with Origin(silent, raw=True) as origin:
        async with running(recorder, mode=f"tcp:{origin.authority}") as proxy, client_of(proxy):
            await recorder.wait("tcp_start")
            (flow,) = recorder.args("tcp_start")
            assert isinstance(flow, TCPFlow)
            quarter = bytes(DEFAULT.injected // 4)
            for _ in range(4):
                flow.inject(True, quarter)
            with pytest.raises(BufferError):
                flow.inject(True, b"x")


async def test_injection_into_a_side_that_has_been_closed_is_lost() -> None:
    recorder = Recorder()
    async with Origin(silent, raw=True) as origin:
        async with running(recorder, mode=f"tcp:{origin.authority}") as proxy, client_of(proxy) as client:
            await recorder.wait("tcp_start")
            (flow,) = recorder.args("tcp_start")
            assert isinstance(flow, TCPFlow)
            client.half_close()
            await origin.wait_ended()
            flow.inject(False, b"too late")
            flow.inject(True, b"in time")
            assert b"in time" in await client.read_until(b"in time")


@pytest.mark.parametrize("moment", ["start", "message", "outside"])
async def test_a_conversation_is_killed(moment: str) -> None:
    flows: list[TCPFlow] = []

    def start(flow: TCPFlow) -> None:
        flows.append(flow)
        if moment == "start":
            flow.kill()

    def message(flow: TCPFlow) -> None:
        if moment == "message":
            flow.kill()

    recorder = Recorder()
    async with echo() as origin, running(Do(tcp_start=start, tcp_message=message), recorder,
                                         mode=f"tcp:{origin.authority}") as proxy:  # fmt: skip
        async with client_of(proxy) as client:
            if moment != "start":
                client.send(b"hello")
            if moment == "outside":
                assert await client.read_exactly(5) == b"hello"
                flows[0].kill()
            assert await client.read_to_end() == b""
            assert client.broken
        trace = await recorder.settled()
    assert trace.endswith("tcp_error tcp_end clientdisconnect")
    assert flows[0].error is not None
    assert (flows[0].error.kind, str(flows[0].error)) == ("killed", "Connection killed.")


async def test_half_close_from_the_client() -> None:
    async def reply(connection: OriginConnection) -> None:
        await connection.wait_end()
        connection.send(b"all of " + bytes(connection.received))
        await connection.close()

    async with Origin(reply, raw=True) as origin, running(mode=f"tcp:{origin.authority}") as proxy:
        async with client_of(proxy) as client:
            client.send(b"it")
            client.half_close()
            assert await client.read_to_end() == b"all of it"
            assert not client.broken


async def test_half_close_from_the_server() -> None:
    async with Origin(script(b"bye", "end", "stall"), raw=True) as origin:
        async with running(mode=f"tcp:{origin.authority}") as proxy, client_of(proxy) as client:
            assert await client.read_to_end() == b"bye"
            client.send(b"one more thing")
            await origin.wait_received(b"one more thing")
            client.half_close()
            await origin.wait_ended()


async def test_the_end_of_tls_is_the_end_of_all() -> None:
    recorder = Recorder()
    async with Origin(silent, tls="good", raw=True) as origin:
        mode = f"reverse:tls://localhost:{origin.port}"
        async with running(recorder, mode=mode) as proxy:
            async with client_of(proxy) as client:
                await client.start_tls(proxy.ca_path)
                client.send(b"hi")
                await origin.wait_received(b"hi")
            await origin.wait_ended()
            assert await recorder.settled() == (
                "clientconnect next_layer clienthello next_layer serverconnect serverconnected tcp_start tcp_message "
                "tcp_end clientdisconnect"
            )


async def test_what_a_tls_server_sent_last_arrives() -> None:
    size = 2_000_000
    async with Origin(script(bytes(size), "close"), tls="good", raw=True) as origin:
        async with running(mode=f"reverse:tls://localhost:{origin.port}") as proxy, client_of(proxy) as client:
            received = 0
            while data := await client.read():
                received += len(data)
                client.take(len(client.received))
                await asyncio.sleep(0)
            assert received == size


async def test_a_reset_breaks_the_other_side_too() -> None:
    recorder = Recorder()
    async with echo() as origin, running(recorder, mode=f"tcp:{origin.authority}") as proxy:
        async with client_of(proxy) as client:
            client.send(b"hi")
            assert await client.read_exactly(2) == b"hi"
            client.reset()
            await origin.wait_ended()
        trace = await recorder.settled()
    assert origin.connections[0].broken
    assert trace.endswith("tcp_error tcp_end clientdisconnect")


async def test_an_idle_conversation_ends() -> None:
    recorder = Recorder()
    async with Origin(silent, raw=True) as origin:
        async with running(recorder, mode=f"tcp:{origin.authority}", limits_tunnel_idle=0.1) as proxy:
            async with client_of(proxy) as client:
                assert await client.read_to_end() == b""
            trace = await recorder.settled()
    assert trace.endswith("tcp_start tcp_error tcp_end clientdisconnect")
    (flow,) = recorder.args("tcp_error")
    assert flow.error.kind == "timeout"  # type: ignore[attr-defined]


async def test_a_slow_reader_stops_its_writer() -> None:
    async with Origin(silent, raw=True) as origin, running(mode=f"tcp:{origin.authority}") as proxy:
        async with await RawClient.connect(proxy.port) as client:
            await origin.wait_connections(1)
            origin.connections[0]._writer.transport.set_write_buffer_limits(high=0)
            connection = origin.connections[0]
            chunk, sent = bytes(1_000_000), 0
            # Nobody reads: the kernel's buffers and ours fill, and then the server is held back.
            try:
                for _ in range(100):
                    connection.send(chunk)
                    async with asyncio.timeout(0.5):
                        await connection.drain()
                    sent += len(chunk)
            except TimeoutError:
                pass
            assert 0 < sent < 50_000_000
            (stream,) = [one for one in proxy._streams if one.peername == ("127.0.0.1", client.port)]
            assert stream._transport.get_write_buffer_size() <= 2 * DEFAULT.write_buffer  # type: ignore[union-attr]


async def test_addons_without_tcp_handlers_cost_no_flow_events() -> None:
    recorder = Recorder()
    recorder.observes = True  # type: ignore[attr-defined]
    async with echo() as origin, running(Do(request=lambda flow: None), mode=f"tcp:{origin.authority}") as proxy:
        async with client_of(proxy) as client:
            client.send(b"\x00")
            assert await client.read_exactly(1) == b"\x00"


# next_layer: layers are replaced


async def test_an_addon_makes_http_raw() -> None:
    def raw(layer: Layer) -> Layer | None:
        return TCPLayer(layer.context) if isinstance(layer, HTTPLayer) and layer.server_conn else None

    recorder = Recorder()
    async with echo() as origin, running(Do(next_layer=raw), recorder) as proxy, client_of(proxy) as client:
        assert (await client.connect_to(origin.authority)).status == 200
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert await client.read_exactly(18) == b"GET / HTTP/1.1\r\n\r\n"
        assert recorder.count("requestheaders") == 0
        assert recorder.count("tcp_message") == 2


async def test_an_addon_makes_a_raw_port_http() -> None:
    def http(layer: Layer) -> Layer | None:
        return HTTPLayer(layer.context) if isinstance(layer, TCPLayer) else None

    recorder = Recorder()
    async with Origin() as origin, running(Do(next_layer=http), recorder, mode=f"tcp:{origin.authority}") as proxy:
        async with client_of(proxy) as client:
            response = await client.request(b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n")
            assert response.body == b"GET /x HTTP/1.1"
    assert recorder.count("requestheaders") == 1


async def test_a_raw_layer_without_a_server_says_so(caplog: pytest.LogCaptureFixture) -> None:
    def raw(layer: Layer) -> Layer:
        return TCPLayer(layer.context)

    async with running(Do(next_layer=raw), errors=True) as proxy, client_of(proxy) as client:
        client.send(b"GET http://a.test/ HTTP/1.1\r\n\r\n")
        assert await client.read_to_end() == b""
    assert "has no server to lead to" in caplog.text


async def test_a_layer_is_refused() -> None:
    async with Origin() as origin, running(Do(next_layer=lambda layer: layer.kill())) as proxy:
        async with client_of(proxy) as client:
            client.send(b"GET / HTTP/1.1\r\n\r\n")
            assert await client.read_to_end() == b""
    assert origin.connections == []


# What is spoken is found out


async def test_raw_bytes_inside_decrypted_tls() -> None:
    recorder = Recorder()
    async with Origin(script("echo"), tls="good", raw=True) as origin, running(recorder) as proxy:
        async with client_of(proxy) as client:
            await client.tunnel(f"localhost:{origin.port}", proxy.ca_path, alpn=())
            client.send(b"\x00secret")
            assert await client.read_exactly(7) == b"\x00secret"
        trace = await recorder.settled()
    assert trace.startswith(
        "clientconnect next_layer http_connect next_layer clienthello next_layer serverconnect serverconnected tcp_start "
        "tcp_message tcp_message"
    )
    (flow,) = set(recorder.args("tcp_message"))
    assert flow.server_conn.tls_version  # type: ignore[attr-defined]


async def test_a_server_that_speaks_first_inside_decrypted_tls() -> None:
    async with Origin(script(b"220 hello\r\n", "stall"), tls="good", raw=True) as origin, running(Recorder()) as proxy:
        async with client_of(proxy) as client:
            await client.tunnel(f"localhost:{origin.port}", proxy.ca_path, alpn=())
            assert await client.read_exactly(11) == b"220 hello\r\n"


async def test_a_tls_client_without_alpn_that_waits_is_not_lost() -> None:
    """It waits long enough for the server to be asked, and then speaks HTTP after all."""
    recorder = Recorder()
    async with Origin(tls="good") as origin, running(recorder, limits_peek=0.05) as proxy:
        async with client_of(proxy) as client:
            await client.tunnel(f"localhost:{origin.port}", proxy.ca_path, alpn=())
            await recorder.wait("serverconnected")
            assert (await client.request(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")).status == 200


async def test_nobody_is_dialled_for_a_client_that_connects_to_https_in_advance() -> None:
    recorder = Recorder()
    async with Origin(tls="good") as origin:

        def elsewhere(flow: HTTPFlow) -> None:
            flow.plan.upstream = Route(address=(origin.host, origin.port))

        async with running(Do(requestheaders=elsewhere), recorder, limits_peek=0.3) as proxy:
            async with client_of(proxy) as client:
                await client.tunnel("localhost:443", proxy.ca_path, alpn=())
                # Longer than clients are waited for where the server may be the one that speaks first.
                assert all([await client.is_open() for _ in range(4)])
                assert recorder.count("serverconnect") == 0
                assert (await client.request(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")).status == 200


async def test_http2_without_tls_passes_as_bytes(caplog: pytest.LogCaptureFixture) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    recorder = Recorder()
    with caplog.at_level(logging.INFO, "rulesproxy"):
        async with echo() as origin, running(recorder) as proxy, client_of(proxy) as client:
            assert (await client.connect_to(origin.authority)).status == 200
            await client.trickle(preface)
            assert await client.read_exactly(len(preface)) == preface
            assert recorder.count("requestheaders") == 0
    assert "speaks HTTP/2 without TLS" in caplog.text


async def test_http2_to_the_proxy_itself_is_refused() -> None:
    async with running() as proxy, client_of(proxy) as client:
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert (await client.read_response()).status == 505


async def test_passthrough_by_an_addon_shows_the_real_certificate() -> None:
    def pin(hello: object) -> None:
        hello.passthrough = True  # type: ignore[attr-defined]

    async with Origin(tls="good") as origin, running(Do(clienthello=pin), Recorder(), mode="socks5") as proxy:
        async with client_of(proxy) as client:
            client.send(b"\x05\x01\x00\x05\x01\x00\x03\x09localhost" + origin.port.to_bytes(2, "big"))
            await client.read_exactly(12)
            await client.start_tls(pki.ca_file())
            tls = client.tls
            assert isinstance(tls, ssl.SSLObject)
            assert tls.getpeercert()
            assert (await client.request(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")).status == 200
