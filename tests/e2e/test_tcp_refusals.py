"""Raw TCP in every mode on real sockets: who is refused before the server is dialled, and what goes wrong on the way."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rulesproxy import Proxy, TCPFlow, load_rules
from rulesproxy.flow.plan import Rate, Throttle
from tests.support import pki
from tests.support.client import RawClient
from tests.support.line import Talking, line
from tests.support.origin import Origin, OriginConnection, answer, script
from tests.support.programs import needs, run
from tests.support.recorder import Observer, Recorder
from tests.support.running import client_of, get, running
from tests.support.socks import socks

MODES = pytest.mark.parametrize("mode", ["tcp", "reverse", "socks5", "connect", "tls"])
"""The ways to raw TCP: two modes with a server of their own, SOCKS5, a tunnel, and TLS in a tunnel that is undone."""


@asynccontextmanager
async def raw(
    mode: str, rules: str, origin: Origin, *addons: object, **options: object
) -> AsyncIterator[tuple[Proxy, RawClient]]:
    """A client of a proxy with these rules whose bytes go to the origin."""
    loaded = load_rules(text="version: 1\nrules:\n" + rules)
    modes = {"tcp": f"tcp:{origin.authority}", "reverse": f"reverse:tcp://{origin.authority}", "socks5": "socks5"}
    async with running(*addons, rules=loaded, mode=modes.get(mode, "regular"), **options) as proxy:
        async with client_of(proxy) as client:
            if mode == "socks5":
                assert await socks(client, "localhost", origin.port) == b"\x05\x00"
            elif mode in ("connect", "tls"):
                assert (await client.connect_to(f"localhost:{origin.port}")).status == 200
            if mode == "tls":
                await client.start_tls(proxy.ca_path)
            yield proxy, client


@asynccontextmanager
async def talk(mode: str, rules: str) -> AsyncIterator[tuple[RawClient, OriginConnection]]:
    """Both ends of such a connection; the client has said hello."""
    said = Talking()
    tls = "good" if mode == "tls" else None
    options: dict[str, object] = {"intercept": "all"} if tls else {}
    async with Origin(said, raw=True, tls=tls) as origin, raw(mode, rules, origin, **options) as (_, client):
        client.send(b"\x00hello")
        server = await said.connections.get()
        assert await server.read_exactly(6) == b"\x00hello"
        try:
            yield client, server
        finally:
            said.over.set()


# Faults, throttles and delays in every mode


@MODES
@pytest.mark.parametrize("match", ["~tcp", "client.ip == 127.0.0.1", "protocol == tcp"])
async def test_a_connection_is_cut_behind_so_many_bytes(match: str, mode: str) -> None:
    async with talk(mode, f"  - match: {match}\n    fault: {{truncate: 5}}\n") as (client, server):
        server.send(b"123")
        assert await client.read_exactly(3) == b"123"
        client.send(b"not counted")
        assert await server.read_exactly(11) == b"not counted"
        server.send(b"45678")
        assert await client.read_to_end() == b"45"
        assert not client.broken
        await server.wait_end()


@MODES
@pytest.mark.parametrize(("fault", "broken"), [("reset", True), ("empty", False)])
async def test_a_connection_ends_at_a_message(fault: str, broken: bool, mode: str) -> None:
    async with talk(mode, f"  - match: tcp.data contains 'boom'\n    fault: {fault}\n") as (client, server):
        server.send(b"fine")
        assert await client.read_exactly(4) == b"fine"
        client.send(b"boom")
        assert await client.read_to_end() == b""
        assert client.broken is broken
        await server.wait_end()
        assert not server.broken
        assert bytes(server.received[server.handled :]) == b""


@MODES
async def test_a_connection_is_slow(mode: str) -> None:
    async with talk(mode, "  - match: ~tcp\n    throttle: {down: 50KB/s, up: 20KB/s}\n") as (client, server):
        begin = time.monotonic()
        server.send(b"x" * 25_000)
        assert await client.read_exactly(25_000) == b"x" * 25_000
        assert time.monotonic() - begin >= 0.3
        begin = time.monotonic()
        client.send(b"y" * 12_000)
        assert await server.read_exactly(12_000) == b"y" * 12_000
        assert time.monotonic() - begin >= 0.3


@MODES
async def test_a_connection_is_slow_from_a_message_on(mode: str) -> None:
    async with talk(mode, "  - match: tcp.data contains 'slow'\n    throttle: {down: 50KB/s, up: 20KB/s}\n") as (
        client,
        server,
    ):
        server.send(b"x" * 100_000)
        assert await client.read_exactly(100_000)
        for _ in range(3):
            server.send(b"slow")
            assert await client.read_exactly(4) == b"slow"
        begin = time.monotonic()
        server.send(b"x" * 25_000)
        assert await client.read_exactly(25_000)
        assert time.monotonic() - begin >= 0.3
        begin = time.monotonic()
        client.send(b"y" * 12_000)
        assert await server.read_exactly(12_000)
        assert time.monotonic() - begin >= 0.3


@MODES
async def test_one_message_goes_wrong(mode: str) -> None:
    rules = """
  - match: tcp.data contains "slow"
    fault: {dribble: {chunks: 2, over: 300ms}}
    inject-message: {to: server, text: seen}
  - match: tcp.data contains "boom"
    fault: {truncate: 2}
"""
    async with talk(mode, rules) as (client, server):
        begin = time.monotonic()
        server.send(b"slow")
        assert await client.read_exactly(4) == b"slow"
        assert time.monotonic() - begin >= 0.3
        assert await server.read_exactly(4) == b"seen"
        # It goes wrong for whoever gets it.
        client.send(b"boom")
        assert await client.read_to_end() == b""
        await server.wait_end()
        assert bytes(server.received[server.handled :]) == b"bo"


@MODES
async def test_messages_wait(mode: str) -> None:
    async with talk(mode, "  - match: tcp.data contains 'late'\n    delay: 300ms\n") as (client, server):
        begin = time.monotonic()
        server.send(b"late")
        assert await client.read_exactly(4) == b"late"
        assert time.monotonic() - begin >= 0.3


@MODES
async def test_a_connection_dribbles_and_ends_late(mode: str) -> None:
    rules = "  - match: ~tcp\n    fault: {dribble: {chunks: 4, over: 300ms}, slow-close: 400ms}\n"
    async with talk(mode, rules) as (client, server):
        begin = time.monotonic()
        server.send(b"12345678")
        assert await client.read_exactly(2) == b"12"
        assert await client.read_exactly(6) == b"345678"
        assert time.monotonic() - begin >= 0.3
        begin = time.monotonic()
        if mode != "tls":
            server.end()
            assert await client.read_to_end() == b""
            assert time.monotonic() - begin >= 0.4


async def test_a_client_shares_a_rate_between_http_and_tcp() -> None:
    rules = load_rules(
        text="version: 1\nrules:\n  - match: client.ip == 127.0.0.1\n    throttle: {down: 100KB/s, scope: client}\n"
    )

    async def sending(connection: OriginConnection) -> None:
        await connection.read_until(b"go")
        connection.send(b"x" * 40_000)
        await connection.wait_end()

    async with Origin(sending, raw=True) as tcp, Origin.http(answer(200, b"y" * 40_000)) as http:
        modes = [f"tcp:{tcp.authority}@127.0.0.1:0", "regular@127.0.0.1:0"]
        async with running(rules=rules, mode=modes) as proxy:
            first, second = proxy.listeners
            async with await RawClient.connect(first.port) as one, await RawClient.connect(second.port) as two:
                begin = time.monotonic()
                one.send(b"go")
                two.send(get(http.url))
                await asyncio.gather(one.read_exactly(40_000), two.read_exactly(40_000))
                # Each alone would be through in 0.3 s.
                assert time.monotonic() - begin >= 0.6


async def test_the_beginning_waits_before_the_server_is_dialled() -> None:
    async with Origin(script("echo"), raw=True) as origin:
        async with raw("tcp", f"  - match: port == {origin.port}\n    delay: 300ms\n", origin) as (_, client):
            begin = time.monotonic()
            client.send(b"hi")
            assert await client.read_exactly(2) == b"hi"
            assert time.monotonic() - begin >= 0.3
            begin = time.monotonic()
            client.send(b"ho")
            assert await client.read_exactly(2) == b"ho"
            assert time.monotonic() - begin < 0.3


async def test_a_heartbeat_on_tcp() -> None:
    rules = '  - match: ~tcp\n    inject-message: {to: server, text: "${counter}\\n", when: open, every: 100ms}\n'
    async with line(rules) as (client, server):
        assert await server.read_exactly(6) == b"1\n2\n3\n"
        client.half_close()
        # Nothing more goes to a side that has been told that no more comes.
        before = bytes(server.received)
        await server.wait_end()
        assert len(server.received) - len(before) <= 4


async def test_a_function_is_called_with_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "helpers.py").write_text(
        "def edit(flow):\n    message = flow.messages[-1]\n    if message.content == b'drop':\n        message.kill()\n"
        "        flow.inject(True, b'dropped')\n    elif message.content == b'end':\n        flow.close()\n"
        "    else:\n        message.content = message.content.upper()\n"
    )
    monkeypatch.chdir(tmp_path)
    async with line("  - match: tcp.from_client\n    run: helpers.py:edit\n") as (client, server):
        client.send(b"loud")
        assert await server.read_exactly(4) == b"LOUD"
        client.send(b"drop")
        assert await client.read_exactly(7) == b"dropped"
        client.send(b"end")
        assert await client.read_to_end() == b""
        await server.wait_end()
        assert bytes(server.received) == b"LOUDend"


# Refusals


BLOCKS = [("block:", False), ("block: 451", False), ("block: close", False), ("block: reset", True)]
FILTERS: list[Callable[[Origin], str]] = [
    lambda origin: 'host == "127.0.0.1"',
    lambda origin: f"port == {origin.port}",
    lambda origin: "client.ip in {127.0.0.0/8}",
]


@pytest.mark.parametrize("match", FILTERS, ids=["host", "port", "client.ip"])
@pytest.mark.parametrize(("block", "broken"), BLOCKS)
async def test_it_is_refused_before_the_server_is_dialled(
    block: str, broken: bool, match: Callable[[Origin], str], caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder()
    async with Origin(script("echo"), raw=True) as origin:
        rules = f"  - id: no\n    match: '{match(origin)}'\n    {block}\n"
        with caplog.at_level(logging.INFO):
            async with raw("tcp", rules, origin, recorder) as (proxy, client):
                client.send(b"hello")
                assert await client.read_to_end() == b""
                assert client.broken is broken
                await recorder.wait("tcp_end")
                assert proxy.hits["no"] == 1
        assert not origin.connections
    assert [name for name in recorder.trace if name.startswith(("tcp", "server"))] == ["tcp_error", "tcp_end"]
    assert f"refused: {'reset' if broken else 'close'} (no)" in caplog.text


async def test_a_client_of_socks5_is_told() -> None:
    rules = load_rules(text="version: 1\nrules:\n  - id: no\n    match: host == 'redis.test'\n    block:\n")
    recorder = Recorder()
    async with running(recorder, rules=rules, mode="socks5") as proxy:
        async with client_of(proxy) as client:
            assert await socks(client, "redis.test", 6379) == b"\x05\x02"
            assert await client.read_to_end() == b""
            assert not client.broken
        assert proxy.hits["no"] == 1
    assert "serverconnect" not in recorder.trace


async def test_a_client_of_socks5_is_reset_or_waits() -> None:
    text = "version: 1\nrules:\n  - match: port == 1\n    block: reset\n  - match: port == 2\n    block: timeout\n"
    async with running(rules=load_rules(text=text), mode="socks5") as proxy:
        async with client_of(proxy) as client:
            with pytest.raises(AssertionError):
                await socks(client, "a.test", 1)
            assert client.broken
        async with client_of(proxy) as client:
            client.send(b"\x05\x01\x00")
            assert await client.read_exactly(2) == b"\x05\x00"
            client.send(b"\x05\x01\x00\x03\x06a.test\x00\x02")
            assert await client.is_open()


async def test_a_rule_above_may_allow_it() -> None:
    rules = """
  - match: host == "localhost"
    stop: true
  - match: ~all
    block:
  - match: tcp.data contains "x"
    rewrite: {message: {text: y}}
"""
    async with Origin(script("echo"), raw=True) as origin:
        async with raw("socks5", rules, origin) as (proxy, client):
            # Nor do the rules below have to do with what is said.
            client.send(b"\x00xx")
            assert await client.read_exactly(3) == b"\x00xx"
            async with await RawClient.connect(proxy.port) as other:
                assert await socks(other, "127.0.0.1", origin.port) == b"\x05\x02"


async def test_nobody_dials_for_a_client_that_waits_for_the_server_to_speak() -> None:
    async with Origin(script("echo"), raw=True) as origin:
        async with raw("connect", "  - match: ~tcp\n    block: reset\n", origin) as (_, client):
            assert await client.read_to_end() == b""
            assert client.broken
        assert not origin.connections


async def test_requests_inside_are_answered() -> None:
    """Where HTTP is spoken a refusal is an answer, whatever rules say of raw TCP."""
    rules = "  - match: ~tcp\n    block:\n  - match: path == '/x'\n    block: 451\n"
    async with Origin() as origin, raw("connect", rules, origin) as (_, client):
        assert (await client.request(get("/x", "Host: localhost"))).status == 451
        assert (await client.request(get("/y", "Host: localhost"))).status == 200


@pytest.mark.parametrize(("gate", "expected"), [("nth: 2", [True, False, True]), ("times: 1", [False, True, True])])
async def test_gates_count_connections(gate: str, expected: list[bool]) -> None:
    loaded = load_rules(text=f"version: 1\nrules:\n  - match: ~tcp\n    {gate}\n    block:\n")
    async with Origin(script("echo"), raw=True) as origin:
        async with running(rules=loaded, mode=f"tcp:{origin.authority}") as proxy:
            for goes in expected:
                async with client_of(proxy) as client:
                    client.send(b"hi")
                    assert bool(await client.read()) is goes
        assert len(origin.connections) == sum(expected)


async def test_gates_count_messages() -> None:
    rules = "  - match: tcp.data contains 'FLUSHALL'\n    nth: 2\n    block: close\n"
    async with line(rules) as (client, server):
        client.send(b"FLUSHALL\n")
        assert await server.read_exactly(9) == b"FLUSHALL\n"
        client.send(b"FLUSHALL\n")
        assert await client.read_to_end() == b""
        assert not client.broken
        await server.wait_end()
        assert bytes(server.received) == b"FLUSHALL\n"


async def test_a_message_is_refused_with_silence() -> None:
    async with line("  - match: tcp.data contains 'boom'\n    block: timeout\n") as (client, server):
        client.send(b"boom")
        await server.wait_end()
        assert bytes(server.received) == b""
        client.send(b"anybody?")
        assert await client.is_open()


@pytest.mark.parametrize("effect", ["block: reset", "throttle: 20KB/s", "fault: {truncate: 0}"])
async def test_tls_that_is_passed_through(effect: str) -> None:
    """Nobody sees inside, but the connection has a host."""
    rules = load_rules(text=f"version: 1\nrules:\n  - match: sni == 'localhost'\n    {effect}\n")
    recorder = Observer()
    async with Origin.http(answer(200, b"x" * 20_000), tls="good") as origin:
        async with running(recorder, rules=rules, intercept="none") as proxy, client_of(proxy) as client:
            assert (await client.connect_to(f"127.0.0.1:{origin.port}")).status == 200
            if effect.startswith("throttle"):
                await client.start_tls(pki.ca_file())
                begin = time.monotonic()
                assert (await client.request(get("/", "Host: localhost"))).status == 200
                assert time.monotonic() - begin >= 0.8
                return
            client.send(pki.client_hello("localhost"))
            assert await client.read_to_end() == b""
            assert client.broken is effect.endswith("reset")
        assert ("serverconnect" in recorder.trace) is effect.startswith("fault")


@pytest.mark.parametrize("seen", [False, True])
async def test_raw_tcp_is_not_tls_that_is_passed_through(seen: bool) -> None:
    """A rule against raw TCP must not refuse HTTPS that nobody decrypts, unless its bytes are to be seen as TCP."""
    rules = load_rules(text="version: 1\nrules:\n  - match: ~tcp\n    block:\n")
    async with Origin.http(answer(200, b"fine"), tls="good") as origin:
        async with running(rules=rules, tcp_events_in_tunnels=seen) as proxy, client_of(proxy) as client:
            assert (await client.connect_to(f"localhost:{origin.port}")).status == 200
            if seen:
                with pytest.raises((ConnectionError, OSError)):
                    await client.start_tls(pki.ca_file())
                return
            await client.start_tls(pki.ca_file())
            assert (await client.request(get("/", "Host: localhost"))).body == b"fine"


async def test_an_addon_is_asked_and_may_fail() -> None:
    asked: list[tuple[str, bool]] = []

    class Gate:
        on_error = "closed"

        def begin_tcp(self, flow: TCPFlow, certain: bool) -> None:
            asked.append((flow.server_conn.address[0], certain))
            if flow.server_conn.address[0] == "localhost":
                flow.plan.throttles.append(Throttle(down=Rate(1_000_000)))
            else:
                raise ValueError("no")

    async with Origin(script("echo"), raw=True) as origin:
        async with running(Gate(), errors=True, mode="socks5") as proxy:
            async with client_of(proxy) as client:
                assert await socks(client, "localhost", origin.port) == b"\x05\x00"
                client.send(b"\x00hi")
                assert await client.read_exactly(3) == b"\x00hi"
            async with client_of(proxy) as client:
                with pytest.raises(AssertionError):
                    await socks(client, "a.test", 1)
                assert client.broken
    assert asked == [("localhost", False), ("localhost", True), ("a.test", False)]


async def test_a_client_that_leaves_while_it_waits_is_noticed() -> None:
    recorder = Recorder()
    async with Origin(script("echo"), raw=True) as origin:
        rules = f"  - match: port == {origin.port}\n    delay: 60s\n"
        async with raw("tcp", rules, origin, recorder) as (_, client):
            client.send(b"hi")
            client.reset()
            await recorder.wait("clientdisconnect")
        assert not origin.connections


async def test_a_filter_about_the_server_is_asked_when_it_is_there() -> None:
    async with Origin(script("echo"), raw=True) as origin:
        async with raw("tcp", f"  - match: ~tcp and server.port == {origin.port}\n    block: reset\n", origin) as (
            _,
            client,
        ):
            client.send(b"hi")
            assert await client.read_to_end() == b""
            assert client.broken
        assert len(origin.connections) == 1


async def test_an_upgrade_is_not_slowed_twice() -> None:
    """Rules that have acted on the exchange do not act again when it becomes raw TCP."""

    async def upgrading(connection: OriginConnection) -> None:
        await connection.read_request()
        connection.raw()
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n")
        await connection.echo()

    seen: list[int] = []

    class Look:
        def tcp_start(self, flow: TCPFlow) -> None:
            seen.append(len(flow.plan.throttles))

    rules = load_rules(text="version: 1\nrules:\n  - match: client.ip == 127.0.0.1\n    throttle: 100KB/s\n")
    async with Origin(upgrading) as origin, running(Look(), rules=rules) as proxy, client_of(proxy) as client:
        head = await client.request(get(origin.url, "Connection: upgrade", "Upgrade: other"))
        assert head.status == 101
        client.send(b"hi")
        assert await client.read_exactly(2) == b"hi"
    assert seen == [1]


# Who speaks first, or not at all


async def banner(connection: OriginConnection) -> None:
    connection.raw()
    connection.send(b"220 welcome\r\n")
    await connection.wait_end()
    connection.send(b"221 bye\r\n")
    await connection.close()


@pytest.mark.parametrize("wait", [False, True], ids=["at once", "after a while"])
@pytest.mark.parametrize("mode", ["tcp", "socks5", "connect"])
async def test_a_client_that_only_listens(mode: str, wait: bool) -> None:
    """`nc host port </dev/null` ends its direction at once, and shows what the server says."""
    async with Origin(banner, raw=True) as origin, raw(mode, "  - match: ~tcp\n    tag: t\n", origin) as (_, client):
        if wait:
            await client.read_until(b"welcome\r\n")
        client.half_close()
        assert (await client.read_to_end()).endswith(b"221 bye\r\n")


@needs("socat")
async def test_socat_only_listens() -> None:
    async with Origin(banner, raw=True) as origin, running() as proxy:
        address = f"PROXY:127.0.0.1:localhost:{origin.port},proxyport={proxy.port}"
        ran = await run("socat", "-t5", "-", address, stdin=b"")
        assert ran.out.endswith(b"221 bye\r\n")


def test_the_plan_says_what_is_refused() -> None:
    rules = load_rules(
        text="""version: 1
rules:
  - id: redis
    match: port == 6379
    block:
  - id: slow
    match: ~tcp
    throttle: 3g
  - id: word
    match: tcp.data contains "x"
    block: close
""".replace("throttle: 3g", "throttle: {profile: 3g}")
    )
    plan = rules.plan().split("\n")
    assert "  when a raw TCP connection begins: redis, slow" in plan
    assert "  on messages of TCP: word" in plan
