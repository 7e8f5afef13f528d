"""The modes, over real sockets: reverse, upstream, socks5, tcp, several at once, and clients that must give a password."""

from __future__ import annotations

import base64
import logging
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rulesproxy import OptionsError, Proxy, load_rules
from tests.support import pki
from tests.support.client import RawClient
from tests.support.origin import Origin, OriginConnection, script
from tests.support.pki import client_hello
from tests.support.programs import needs, run
from tests.support.recorder import Recorder
from tests.support.running import client_of, get, home, running, second
from tests.support.socks import socks

GET = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


# Reverse and raw


async def test_tcp_mode_carries_bytes_both_ways() -> None:
    async with Origin(script("echo"), raw=True) as origin:
        async with running(mode=f"tcp:{origin.authority}") as proxy, client_of(proxy) as client:
            client.send(b"GET \x00\xff")
            assert await client.read_exactly(6) == b"GET \x00\xff"
            client.half_close()
            assert await client.read_to_end() == b""


async def test_tcp_mode_lets_the_server_speak_first() -> None:
    async with Origin(script(b"220 hello\r\n", "stall"), raw=True) as origin:
        async with running(mode=f"reverse:tcp://{origin.authority}") as proxy, client_of(proxy) as client:
            assert await client.read_exactly(11) == b"220 hello\r\n"


async def test_tcp_mode_leaves_tls_alone() -> None:
    async with Origin(script("echo"), tls="good", raw=True) as origin:
        async with running(mode=f"tcp:{origin.authority}", intercept="all") as proxy, client_of(proxy) as client:
            # The client sees the server's own certificate.
            await client.start_tls(pki.ca_file())
            client.send(b"ping")
            assert await client.read_exactly(4) == b"ping"


@pytest.mark.parametrize("secure", [True, False])
async def test_tls_mode_speaks_tls_with_the_server(secure: bool) -> None:
    recorder = Recorder()
    async with Origin(script("echo"), tls="good", raw=True) as origin:
        mode = f"reverse:tls://localhost:{origin.port}"
        async with running(recorder, mode=mode) as proxy, client_of(proxy) as client:
            if secure:
                await client.start_tls(proxy.ca_path)
            client.send(b"\x00secret")
            assert await client.read_exactly(7) == b"\x00secret"
        await recorder.wait("tcp_end")
    inside = "next_layer clienthello next_layer" if secure else "next_layer"
    assert " ".join(recorder.trace).startswith(f"clientconnect {inside} serverconnect serverconnected tcp_start")
    (flow,) = set(recorder.args("tcp_message"))
    assert [message.content for message in flow.messages] == [b"\x00secret", b"\x00secret"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_reverse_mode_takes_clients_with_and_without_tls(scheme: str) -> None:
    async with Origin(tls="good" if scheme == "https" else None) as origin:
        async with running(mode=f"reverse:{scheme}://localhost:{origin.port}") as proxy:
            async with client_of(proxy) as client:
                assert (await client.request(GET)).status == 200
            async with client_of(proxy) as client:
                await client.start_tls(proxy.ca_path)
                assert (await client.request(GET)).status == 200
    assert {request.get_all("host")[0] for request in origin.requests} == {f"localhost:{origin.port}"}


async def test_a_mode_does_not_lead_to_the_proxy_itself(caplog: pytest.LogCaptureFixture) -> None:
    async with running(mode=["regular", "socks5"], listen=["127.0.0.1:0", "127.0.0.1:0"]) as proxy:
        regular, second = proxy.listeners
        async with await RawClient.connect(second.port) as client:
            assert await socks(client, "localhost", regular.port) == b"\x05\x00"
            response = await client.request(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert response.status == 502
            assert b"this proxy itself" in response.body


# Several at once


async def test_several_modes_at_once() -> None:
    async with Origin() as origin, Origin(script("echo"), raw=True) as echo:
        modes = ["regular@127.0.0.1:0", "socks5", f"tcp:{echo.authority}@127.0.0.1:0", f"reverse:{origin.url}"]
        async with running(mode=modes) as proxy:
            assert [one.mode for one in proxy.listeners] == ["regular", "socks5", "tcp", "reverse"]
            assert [str(one).partition("://")[0] for one in proxy.listeners] == ["http", "socks5", "tcp", "http"]
            ports = [one.port for one in proxy.listeners]
            async with await RawClient.connect(ports[0]) as client:
                assert (await client.request(get(f"{origin.url}/x"))).status == 200
            async with await RawClient.connect(ports[1]) as client:
                assert await socks(client, origin.host, origin.port) == b"\x05\x00"
                assert (await client.request(GET)).status == 200
            async with await RawClient.connect(ports[2]) as client:
                client.send(b"\x01")
                assert await client.read_exactly(1) == b"\x01"
            async with await RawClient.connect(ports[3]) as client:
                assert (await client.request(GET)).status == 200


# SOCKS5


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_socks5_intercepts_https(host: str) -> None:
    recorder = Recorder()
    async with Origin(tls="good") as origin, running(recorder, mode="socks5") as proxy:
        async with client_of(proxy) as client:
            assert await socks(client, host, origin.port) == b"\x05\x00"
            await client.start_tls(proxy.ca_path, alpn=("http/1.1",))
            assert (await client.request(GET)).body == b"GET /x HTTP/1.1"
        (flow,) = recorder.args("response")
    assert flow.client_conn.connect_host == host  # type: ignore[attr-defined]
    assert "http_connect" not in recorder.trace


async def test_socks5_to_ipv6() -> None:
    async with Origin(script("echo"), raw=True, host="::1") as origin, running(mode="socks5") as proxy:
        async with client_of(proxy) as client:
            packed = bytes(15) + b"\x01"
            client.send(b"\x05\x01\x00" + b"\x05\x01\x00\x04" + packed + struct.pack("!H", origin.port))
            assert await client.read_exactly(12) == b"\x05\x00" + b"\x05\x00\x00\x01" + bytes(6)
            client.send(b"\x00hello")
            assert await client.read_exactly(6) == b"\x00hello"


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (b"\x05\x02\x00\x01\x7f\x00\x00\x01\x00\x50", 7),  # BIND
        (b"\x05\x03\x00\x01\x7f\x00\x00\x01\x00\x50", 7),  # UDP ASSOCIATE
        (b"\x05\x01\x00\x02\x7f\x00\x00\x01\x00\x50", 8),  # an address of no kind
        (b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x00", 1),  # port 0
    ],
)
async def test_socks5_refuses_what_it_has_not(request_: bytes, reply: int) -> None:
    recorder = Recorder()
    async with running(recorder, mode="socks5") as proxy:
        async with client_of(proxy) as client:
            client.send(b"\x05\x01\x00" + request_)
            assert await client.read_exactly(2) == b"\x05\x00"
            assert await client.read_to_end() == bytes([5, reply, 0, 1, 0, 0, 0, 0, 0, 0])
        assert await recorder.settled() == "clientconnect clientdisconnect"


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (b"GET http://a.test/ HTTP/1.1\r\n\r\n", "it speaks HTTP; this port speaks SOCKS5"),
        (b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00", "it speaks SOCKS4"),
        (b"\x16\x03\x01", "it speaks TLS"),
    ],
)
async def test_socks5_says_what_a_client_speaks_instead(
    first: bytes, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "rulesproxy"):
        async with running(mode="socks5") as proxy, client_of(proxy) as client:
            client.send(first)
            assert await client.read_to_end() == b""
    assert said in caplog.text


@pytest.mark.parametrize(
    ("given", "answer_"), [(("joe", "pw"), b"\x05\x00"), (("joe", "no"), b"\x01\x01"), (None, b"\x05\xff")]
)
async def test_socks5_with_a_password(
    given: tuple[str, str] | None, answer_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "rulesproxy"):
        async with Origin(script("echo"), raw=True) as origin, running(mode="socks5", auth="joe:pw") as proxy:
            async with client_of(proxy) as client:
                assert await socks(client, origin.host, origin.port, given) == answer_
                if answer_ == b"\x05\x00":
                    client.send(b"\x00hi")
                    assert await client.read_exactly(3) == b"\x00hi"
                else:
                    assert await client.read_to_end() == b""
    assert "pw" not in caplog.text.replace("upw", "")


@needs("curl")
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_curl_through_socks5(scheme: str) -> None:
    async with Origin(tls="good") as origin, running(Recorder(), mode="socks5", auth="joe:pw") as proxy:
        address = f"{scheme}://joe:pw@127.0.0.1:{proxy.port}"
        ran = await run(
            "curl", "-sS", "--proxy", address, "--cacert", proxy.ca_path, f"https://localhost:{origin.port}/x"
        )
        assert (ran.code, ran.out) == (0, b"GET /x HTTP/1.1")


# Clients that must give a password


@pytest.mark.parametrize("given", [None, "Basic !!", basic("joe", "no"), basic("jo", "pw"), "Bearer joe:pw"])
async def test_a_client_without_the_password_gets_407(given: str | None, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder()
    fields = [] if given is None else [f"Proxy-Authorization: {given}"]
    with caplog.at_level(logging.DEBUG, "rulesproxy"):
        async with Origin() as origin, running(recorder, auth="joe:pw") as proxy:
            async with client_of(proxy) as client:
                response = await client.request(get(f"{origin.url}/x", *fields))
                assert response.status == 407
                assert response.get("proxy-authenticate") == 'Basic realm="rulesproxy", charset="UTF-8"'
                # The same connection may try again, and every request is asked.
                good = f"Proxy-Authorization: {basic('joe', 'pw')}"
                assert (await client.request(get(f"{origin.url}/x", good))).status == 200
                assert (await client.request(get(f"{origin.url}/x"))).status == 407
                refused = await client.connect_to("localhost:443")
                assert refused.status == 407
            assert recorder.count("requestheaders") == 1
            assert recorder.count("http_connect") == 0
    assert [request.get_all("proxy-authorization") for request in origin.requests] == [[]]
    assert "pw" not in caplog.text


async def test_a_body_without_the_password_ends_the_connection() -> None:
    async with Origin() as origin, running(auth="joe:pw") as proxy, client_of(proxy) as client:
        response = await client.request(get(f"{origin.url}/x", method="POST", body=b"secret"))
        assert response.status == 407
        assert await client.read_to_end() == b""
        assert origin.connections == []


async def test_a_tunnel_is_asked_once() -> None:
    async with Origin(tls="good") as origin, running(Recorder(), auth="joe:pw") as proxy, client_of(proxy) as client:
        authority = f"localhost:{origin.port}"
        head = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nProxy-Authorization: {basic('joe', 'pw')}\r\n\r\n"
        assert (await client.request(head.encode(), "CONNECT")).status == 200
        await client.start_tls(proxy.ca_path, alpn=("http/1.1",))
        assert (await client.request(GET)).status == 200


async def test_proxy_authorization_never_goes_on() -> None:
    async with Origin() as origin, running() as proxy, client_of(proxy) as client:
        assert (await client.request(get(f"{origin.url}/x", "Proxy-Authorization: Basic abc"))).status == 200
    assert origin.requests[0].get_all("proxy-authorization") == []


@pytest.mark.parametrize("auth", ["joe", "joe:", ":pw"])
async def test_half_a_password_is_no_password(auth: str) -> None:
    with pytest.raises(OptionsError, match="user:password"):
        async with Proxy(auth=auth, home=home()):
            pass


@pytest.mark.parametrize(
    ("mode", "options", "fine"),
    [
        ("regular", {}, False),
        ("socks5", {}, False),
        ("transparent", {}, False),
        ("transparent", {"auth": "joe:pw"}, False),
        ("regular", {"auth": "joe:pw"}, True),
        ("socks5", {"allow_public": True}, True),
        ("reverse:http://a.test", {}, True),
        ("tcp:a.test:1", {}, True),
    ],
)
async def test_a_public_address_needs_a_password_or_a_word(mode: str, options: dict[str, object], fine: bool) -> None:
    proxy = Proxy(mode=mode, listen="0.0.0.0:0", home=home(), **options)
    if fine:
        async with proxy:
            pass
    else:
        with pytest.raises(OptionsError, match="other machines can reach"):
            await proxy.start()


async def test_a_mode_that_cannot_ask_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async with running(mode=["regular", "reverse:http://a.test"], auth="joe:pw"):
        assert "reverse cannot ask anybody for a password" in caplog.text


# Upstream: the other proxy is one of ours


@asynccontextmanager
async def chained(kind: str, *addons: object, **options: object) -> AsyncIterator[tuple[Proxy, Proxy, Recorder]]:
    """A proxy that reaches everything through another one, that other one, and what the other one sees."""
    seen = Recorder()
    seen.observes = True  # type: ignore[attr-defined]
    mode = "socks5" if kind == "socks5" else "regular"
    async with running(seen, mode=mode, auth="joe:p@w") as other:
        url = f"{kind}://joe:p%40w@localhost:{other.port}"
        trust = (str(pki.ca_file()), str(other.ca_path))
        async with second(*addons, mode=f"upstream:{url}", upstream_ca=trust, **options) as proxy:
            yield proxy, other, seen


@pytest.mark.parametrize("kind", ["http", "https", "socks5"])
async def test_plain_http_through_another_proxy(kind: str) -> None:
    recorder = Recorder()
    async with Origin() as origin, chained(kind, recorder) as (proxy, _, seen):
        async with client_of(proxy) as client:
            for _ in range(2):
                assert (await client.request(get(f"{origin.url}/x"))).body == b"GET /x HTTP/1.1"
        (first, *_) = recorder.args("serverconnect")
        assert first.address == (origin.host, origin.port)  # type: ignore[attr-defined]
        assert str(first.via).startswith(f"{kind}://localhost:")  # type: ignore[attr-defined]
        assert recorder.count("serverconnect") == 1
        # In absolute-form, so that no tunnel is needed for it.
        assert seen.count("http_connect") == 0
    assert [request.get_all("proxy-authorization") for request in origin.requests] == [[], []]


@pytest.mark.parametrize("kind", ["http", "https", "socks5"])
async def test_https_through_another_proxy(kind: str) -> None:
    async with Origin(tls="good") as origin, chained(kind, Recorder()) as (proxy, _, seen):
        async with client_of(proxy) as client:
            await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
            assert (await client.request(GET)).body == b"GET /x HTTP/1.1"
        assert seen.count("http_connect") == (0 if kind == "socks5" else 1)
        assert seen.count("clienthello") == (2 if kind == "https" else 1)


@pytest.mark.parametrize("kind", ["http", "https", "socks5"])
async def test_raw_tcp_through_another_proxy(kind: str) -> None:
    async with Origin(script("echo"), raw=True) as origin, chained(kind) as (proxy, _, _):
        async with client_of(proxy) as client:
            assert (await client.connect_to(origin.authority)).status == 200
            client.send(b"\x00hello")
            assert await client.read_exactly(6) == b"\x00hello"


async def test_an_upgrade_goes_through_a_tunnel() -> None:
    async def switch(connection: OriginConnection) -> None:
        await connection.read_request()
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        await connection.echo()

    async with Origin(switch) as origin, chained("http") as (proxy, _, seen):
        async with client_of(proxy) as client:
            head = get(f"{origin.url}/x", "Connection: Upgrade", "Upgrade: echo")
            assert (await client.request(head)).status == 101
            client.send(b"hi")
            assert await client.read_exactly(2) == b"hi"
        assert seen.count("http_connect") == 1


@pytest.mark.parametrize(
    ("kind", "auth", "said"),
    [
        ("http", "", "answered 407 Proxy Authentication Required: it wants a user and a password"),
        ("http", "joe:no@", "answered 407 Proxy Authentication Required: it does not accept this user"),
        ("socks5", "", "wants a user and a password"),
        ("socks5", "joe:no@", "does not accept this user and password"),
    ],
)
@pytest.mark.parametrize("tls", [False, True])
async def test_a_proxy_that_refuses_is_named(
    kind: str, auth: str, said: str, tls: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(mode="socks5" if kind == "socks5" else "regular", auth="joe:pw") as other:
        url = f"{kind}://{auth}localhost:{other.port}"
        async with second(Recorder(), mode=f"upstream:{url}") as proxy, client_of(proxy) as client:
            if tls:
                await client.tunnel("localhost:9", proxy.ca_path)
                response = await client.request(GET)
            else:
                response = await client.request(get("http://localhost:9/x"))
            page = response.body.decode()
            assert response.status == 502
            assert f"{kind}://localhost:{other.port}" in page
            assert said in page
    assert "joe:no" not in page + caplog.text


@pytest.mark.parametrize(
    "reply", [b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", b"gibberish\r\n\r\n", b"", b"\x05"]
)
async def test_a_proxy_that_gives_no_tunnel(reply: bytes) -> None:
    async def refuse(connection: OriginConnection) -> None:
        await connection.read_until(b"\r\n\r\n")
        connection.send(reply)
        await connection.close()

    async with Origin(refuse, proxy=True, raw=True) as other:
        async with running(Recorder(), mode=f"upstream:{other.url}") as proxy, client_of(proxy) as client:
            await client.tunnel("localhost:9", proxy.ca_path)
            response = await client.request(GET)
    assert response.status == 502
    assert f"the proxy {other.url}" in response.body.decode()
    if reply.startswith(b"HTTP"):
        assert b"answered 503 Busy" in response.body


async def test_a_proxy_that_is_not_there() -> None:
    async with Origin() as gone:
        pass
    async with running(mode=f"upstream:{gone.url}") as proxy, client_of(proxy) as client:
        response = await client.request(get("http://localhost:9/x"))
    assert response.status == 502
    assert f"the proxy {gone.url} cannot be reached: connection refused" in response.body.decode()


async def test_a_proxy_that_says_nothing_is_given_up() -> None:
    async with Origin(script("stall"), raw=True) as other:
        async with running(Recorder(), mode=f"upstream:{other.url}", limits_proxy_connect=0.1) as proxy:
            async with client_of(proxy) as client:
                await client.tunnel("localhost:9", proxy.ca_path)
                response = await client.request(GET)
    assert response.status == 504
    assert b"did not answer within 0.1 s" in response.body


async def test_the_target_behind_a_proxy_is_gone() -> None:
    """A proxy that has dialled and failed says so by its own 502 to plain HTTP, and by an end inside a tunnel."""
    async with Origin() as gone:
        pass
    async with chained("http") as (proxy, _, _), client_of(proxy) as client:
        response = await client.request(get(f"{gone.url}/x"))
    assert response.status == 502
    assert b"connection refused" in response.body


async def test_an_addon_may_change_the_proxy() -> None:
    class Direct:
        def serverconnect(self, server_conn: object) -> None:
            server_conn.via = None  # type: ignore[attr-defined]

    async with Origin() as origin, chained("http", Direct()) as (proxy, _, seen):
        async with client_of(proxy) as client:
            for _ in range(2):
                assert (await client.request(get(f"{origin.url}/x"))).body == b"GET /x HTTP/1.1"
    assert seen.trace == []
    # The connection is its client's own, and is used again by it.
    assert len(origin.connections) == 1


async def test_rules_work_in_front_of_another_proxy() -> None:
    rules = load_rules(text='version: 1\nrules:\n- match: path == "/x"\n  block: 451\n')
    async with chained("http", rules=rules) as (proxy, _, seen), client_of(proxy) as client:
        assert (await client.request(get("http://a.test/x"))).status == 451
    assert seen.trace == []


# What names a server


@pytest.mark.parametrize(("mode", "status"), [("allow", 200), ("block", 421)])
async def test_names_that_differ(mode: str, status: int) -> None:
    async with Origin(tls="good") as origin, running(Recorder(), host_mismatch=mode) as proxy:
        async with client_of(proxy) as client:
            await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
            assert (await client.request(GET.replace(b"localhost", b"LOCALHOST."))).status == 200
            response = await client.request(GET.replace(b"localhost", b"other.test"))
            assert response.status == status
            if status == 421:
                assert b"a connection that was made for localhost" in response.body


async def test_tls_for_another_host_than_the_tunnel_is_for(caplog: pytest.LogCaptureFixture) -> None:
    async with Origin(tls="good") as origin, running(Recorder(), host_mismatch="block") as proxy:
        async with client_of(proxy) as client:
            assert (await client.connect_to(f"localhost:{origin.port}")).status == 200
            client.send(client_hello("example.test"))
            assert await client.read_to_end() == b""
    assert "TLS for example.test inside a tunnel to localhost is refused" in caplog.text
    assert origin.connections == []


async def test_an_address_contradicts_no_name() -> None:
    async with Origin() as origin, running(host_mismatch="block") as proxy, client_of(proxy) as client:
        assert (await client.connect_to(origin.authority)).status == 200
        assert (await client.request(GET)).status == 200
