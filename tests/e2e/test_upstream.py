"""The action `upstream` over real sockets: proxies, addresses, TLS by rule, and which connections are shared."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from rulesproxy import HTTPFlow, Route, Via, load_rules
from rulesproxy.flow.route import ClientCert
from rulesproxy.rules.ruleset import RuleSet
from tests.support import pki
from tests.support.client import RawClient
from tests.support.origin import Origin, OriginConnection, answer, script
from tests.support.recorder import Do, Recorder
from tests.support.running import client_of, get, running, second
from tests.support.wire import Request

HOST = b"GET /x HTTP/1.1\r\nHost: %b\r\n\r\n"


def rules_of(text: str) -> RuleSet:
    return load_rules(text="version: 1\nrules:\n" + text)


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our own certificate with its key, vouched for by the authority of the tests."""
    path = tmp_path_factory.mktemp("identity") / "me.pem"
    pki.authority().issue_cert("me.test").private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


def with_peer(connection: OriginConnection) -> Awaitable[None]:
    """Answer with the name on the client's certificate."""

    async def serve() -> None:
        while await connection.read_request() is not None:
            tls = connection.tls
            assert isinstance(tls, ssl.SSLObject)
            names = (tls.getpeercert() or {}).get("subjectAltName", ())
            connection.send(answer(200, repr(names).encode()))

    return serve()


# Scenario A16


async def test_passthrough_and_client_certificates(identity: Path) -> None:
    async with (
        Origin(tls="good") as pinned,
        Origin(with_peer, tls="client-cert") as bank,
        Origin(tls="self-signed") as self_signed,
        Origin(tls="self-signed") as other,
    ):
        rules = rules_of(
            f"""
- match: host == "pinned.t"
  passthrough:
- match: host == "pinned.t"
  upstream: {{address: "127.0.0.1:{pinned.port}"}}
- match: host == "bank.t"
  upstream: {{address: "127.0.0.1:{bank.port}", client-cert: "{identity}"}}
- match: host == "self.t"
  upstream: {{address: "127.0.0.1:{self_signed.port}", verify: false}}
- match: host == "other.t"
  upstream: {{address: "127.0.0.1:{other.port}"}}
- match: host under "t"
  rewrite: {{response: {{headers: {{x-seen: "1"}}}}}}
"""
        )
        async with running(rules=rules) as proxy:
            async with client_of(proxy) as client:
                assert (await client.connect_to("pinned.t:443")).status == 200
                # The real certificate, of the server's own authority.
                await client.start_tls(pki.ca_file(), "pinned.t")
                response = await client.request(HOST % b"pinned.t")
                assert (response.status, response.get("x-seen")) == (200, None)
            for host, status, said in [
                ("bank.t", 200, b"me.test"),
                ("self.t", 200, b"GET /x HTTP/1.1"),
                ("other.t", 502, b"certificate is not trusted"),
            ]:
                async with client_of(proxy) as client:
                    await client.tunnel(f"{host}:443", proxy.ca_path)
                    response = await client.request(HOST % host.encode())
                    assert response.status == status
                    assert said in response.body
                    if status == 200:
                        assert response.get("x-seen") == "1"


async def test_what_is_not_verified_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    rules = rules_of("- id: mine\n  match: host == 'localhost'\n  upstream: {verify: false}\n")
    async with Origin(tls="self-signed") as origin, running(rules=rules) as proxy:
        for _ in range(2):
            async with client_of(proxy) as client:
                await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
                assert (await client.request(HOST % b"localhost")).status == 200
    assert caplog.text.count("not verified") == 1
    assert "mine" in caplog.text


async def test_a_ca_by_rule(tmp_path: Path) -> None:
    rules = rules_of(f"- match: host == 'localhost'\n  upstream: {{ca: '{pki.ca_file()}'}}\n")
    async with Origin(tls="good") as origin, running(rules=rules, upstream_ca=()) as proxy, client_of(proxy) as client:
        await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
        assert (await client.request(HOST % b"localhost")).status == 200


async def test_verification_by_rule_where_it_is_off() -> None:
    rules = rules_of("- match: path == '/x'\n  upstream: {verify: true}\n")
    async with Origin(tls="self-signed") as origin, running(rules=rules, verify_upstream=False) as proxy:
        async with client_of(proxy) as client:
            await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
            assert (await client.request(b"GET /y HTTP/1.1\r\nHost: localhost\r\n\r\n")).status == 200
            assert (await client.request(HOST % b"localhost")).status == 502


# Proxies by rule


@pytest.mark.parametrize("kind", ["http", "https", "socks5"])
@pytest.mark.parametrize("tls", [False, True])
async def test_a_proxy_by_rule(kind: str, tls: bool) -> None:
    seen = Recorder()
    async with Origin(tls="good" if tls else None) as origin:
        async with running(seen, mode="socks5" if kind == "socks5" else "regular") as other:
            rules = rules_of(f"- match: path == '/x'\n  upstream: {kind}://localhost:{other.port}\n")
            trust = (str(pki.ca_file()), str(other.ca_path))
            async with second(rules=rules, upstream_ca=trust) as proxy, client_of(proxy) as client:
                if tls:
                    await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
                    prefix, host = "", b"localhost"
                else:
                    prefix, host = origin.url, origin.authority.encode()
                for path, count in [("/y", 0), ("/x", 1), ("/y", 1), ("/x", 1)]:
                    head = f"GET {prefix}{path} HTTP/1.1\r\nHost: ".encode() + host + b"\r\n\r\n"
                    assert (await client.request(head)).status == 200
                    assert seen.count("clientconnect") == count
    # One connection of each kind, both kept: they are not the same.
    assert len(origin.connections) == 2


async def test_direct_by_rule_in_upstream_mode() -> None:
    async with Origin() as gone:
        pass
    rules = rules_of("- match: path == '/x'\n  upstream: direct\n")
    async with Origin() as origin, running(rules=rules, mode=f"upstream:{gone.url}") as proxy:
        async with client_of(proxy) as client:
            assert (await client.request(get(f"{origin.url}/x"))).status == 200
        async with client_of(proxy) as client:
            assert (await client.request(get(f"{origin.url}/y"))).status == 502


async def test_rules_add_up() -> None:
    seen = Recorder()
    async with Origin() as origin, running(seen, mode="socks5") as other:
        rules = rules_of(
            f"""
- match: host == "a.test"
  upstream: http://127.0.0.1:1
- match: host under "test"
  upstream: {{address: "{origin.authority}"}}
- match: host == "a.test"
  upstream: socks5://127.0.0.1:{other.port}
"""
        )
        async with second(rules=rules) as proxy, client_of(proxy) as client:
            response = await client.request(get("http://a.test/x"))
            assert response.status == 200
        (flow,) = seen.args("response")
        assert isinstance(flow, HTTPFlow)
        assert flow.client_conn.connect_host == origin.host
        assert flow.request.headers["host"] == "a.test"


async def test_the_password_of_a_proxy_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_AUTH", "joe:pw")
    async with Origin() as origin, running(auth="joe:pw") as other:
        rules = rules_of(f"- match: ~all\n  upstream: http://${{env:PROXY_AUTH}}@127.0.0.1:{other.port}\n")
        async with second(rules=rules) as proxy, client_of(proxy) as client:
            assert (await client.request(get(f"{origin.url}/x"))).status == 200


# Tunnels


async def in_connect(client: RawClient, host: str) -> None:
    assert (await client.connect_to(f"{host}:443")).status == 200


async def in_socks(client: RawClient, host: str) -> None:
    client.send(b"\x05\x01\x00\x05\x01\x00\x03" + bytes([len(host)]) + host.encode() + b"\x01\xbb")
    await client.read_exactly(12)


@pytest.mark.parametrize(("mode", "enter"), [("regular", in_connect), ("socks5", in_socks)])
async def test_a_tunnel_follows_a_rule(mode: str, enter: Callable[[RawClient, str], Awaitable[None]]) -> None:
    recorder = Recorder()
    recorder.observes = True  # type: ignore[attr-defined]
    async with Origin(script("echo"), raw=True) as raw, Origin(tls="good") as secure:
        rules = rules_of(
            f"""
- match: host == "raw.test"
  upstream: {{address: "{raw.authority}"}}
- match: host == "secure.test"
  upstream: {{address: "{secure.authority}"}}
"""
        )
        assert not rules.wants_host("secure.test")
        async with running(recorder, rules=rules, mode=mode) as proxy:
            async with client_of(proxy) as client:
                await enter(client, "raw.test")
                client.send(b"\x00hi")
                assert await client.read_exactly(3) == b"\x00hi"
            async with client_of(proxy) as client:
                await enter(client, "secure.test")
                # Never decrypted: nothing of the rule needs it.
                await client.start_tls(pki.ca_file(), "localhost")
                assert (await client.request(HOST % b"secure.test")).status == 200
        assert "requestheaders" not in recorder.trace


async def test_a_tcp_listener_follows_a_rule() -> None:
    async with Origin(script("echo"), raw=True) as origin:
        rules = rules_of(f"- match: mode == tcp\n  upstream: {{address: '{origin.authority}'}}\n")
        async with running(rules=rules, mode="tcp:nowhere.test:1") as proxy, client_of(proxy) as client:
            client.send(b"hi")
            assert await client.read_exactly(2) == b"hi"


async def test_an_addon_routes_tunnels_and_requests() -> None:
    class Router:
        def __init__(self, route: Route) -> None:
            self.route = route

        def route_tunnel(self, client_conn: object, address: object) -> Route:
            return self.route

        def request(self, flow: HTTPFlow) -> None:
            flow.plan.upstream = self.route

    seen = Recorder()
    async with Origin() as origin, Origin(script("echo"), raw=True) as echo, running(seen, mode="socks5") as other:
        route = Route(via=Via("socks5", "127.0.0.1", other.port))
        async with second(Router(route)) as proxy:
            async with client_of(proxy) as client:
                assert (await client.request(get(f"{origin.url}/x"))).status == 200
            async with client_of(proxy) as client:
                assert (await client.connect_to(echo.authority)).status == 200
                client.send(b"\x00")
                assert await client.read_exactly(1) == b"\x00"
        assert seen.count("clientconnect") == 2


async def test_a_route_chosen_at_connect_holds_in_the_tunnel() -> None:
    async with Origin(tls="good") as origin:

        def choose(flow: HTTPFlow) -> None:
            flow.plan.upstream = Route(address=("127.0.0.1", origin.port), sni="localhost")

        async with running(Do(http_connect=choose)) as proxy, client_of(proxy) as client:
            await client.tunnel("elsewhere.test:443", proxy.ca_path)
            assert (await client.request(HOST % b"elsewhere.test")).status == 200


# What is shared, and what is not


async def test_connections_differ_by_their_certificate(identity: Path) -> None:
    rules = rules_of(f"- match: path == '/x'\n  upstream: {{client-cert: '{identity}'}}\n")
    async with Origin(tls="good") as origin, running(rules=rules) as proxy:
        for _ in range(2):
            async with client_of(proxy) as client:
                await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
                for path in (b"/x", b"/y"):
                    head = b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
                    assert (await client.request(head)).status == 200
    requests = [[request.start for request in origin.requests_of(connection)] for connection in origin.connections]
    assert requests == [[b"GET /x HTTP/1.1"] * 2, [b"GET /y HTTP/1.1"] * 2]


def ntlm(request: Request) -> bytes:
    """A server that knows NTLM: three requests on one connection."""
    given = request.get_all("authorization")
    if not given:
        return answer(
            401, b"", [("WWW-Authenticate", "Negotiate"), ("WWW-Authenticate", "NTLM")], reason="Unauthorized"
        )
    if given == ["NTLM one"]:
        return answer(401, b"", [("WWW-Authenticate", "NTLM two")], reason="Unauthorized")
    return answer(200, b"welcome")


async def test_ntlm_keeps_a_connection_to_its_client() -> None:
    async with Origin.http(ntlm) as origin, running() as proxy:

        async def sign_in(client: RawClient) -> None:
            for field, status in [
                ((), 401),
                (("Authorization: NTLM one",), 401),
                (("Authorization: NTLM three",), 200),
            ]:
                assert (await client.request(get(f"{origin.url}/x", *field))).status == status

        async with client_of(proxy) as one, client_of(proxy) as two:
            await sign_in(one)
            await sign_in(two)
            assert len(origin.connections) == 2
            # What was proved stays: no other client is given this connection, not even when its own has ended.
            await one.close()
            await two.close()
            await origin.wait_ended()
            async with client_of(proxy) as three:
                assert (await three.request(get(f"{origin.url}/x"))).status == 401
            assert len(origin.connections) == 3


async def test_negotiate_without_a_challenge() -> None:
    async with Origin() as origin, running() as proxy:
        for _ in range(2):
            async with client_of(proxy) as client:
                for _ in range(2):
                    assert (await client.request(get(f"{origin.url}/x", "Authorization: Negotiate abc"))).status == 200
    assert len(origin.connections) == 2


async def test_basic_authorization_is_nobodys_connection() -> None:
    async with Origin() as origin, running() as proxy:
        for _ in range(2):
            async with client_of(proxy) as client:
                assert (await client.request(get(f"{origin.url}/x", "Authorization: Basic abc"))).status == 200
    assert len(origin.connections) == 1


async def test_a_certificate_that_has_vanished(tmp_path: Path, identity: Path) -> None:
    copy = tmp_path / "me.pem"
    copy.write_bytes(identity.read_bytes())

    def choose(flow: HTTPFlow) -> None:
        flow.plan.upstream = Route(client_cert=ClientCert(copy))

    async with Origin(tls="good") as origin, running(Do(requestheaders=choose)) as proxy, client_of(proxy) as client:
        await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
        copy.unlink()
        response = await client.request(HOST % b"localhost")
    assert response.status == 502
    assert b"cannot read" in response.body


async def test_a_proxy_that_is_this_proxy() -> None:
    ports: list[int] = []

    def choose(flow: HTTPFlow) -> None:
        flow.plan.upstream = Route(via=Via("http", "localhost", ports[0]))

    async with running(Do(requestheaders=choose)) as proxy, client_of(proxy) as client:
        ports.append(proxy.port)
        response = await client.request(get("http://a.test/x"))
    assert response.status == 502
    assert b"cannot be reached: that is this proxy itself" in response.body
