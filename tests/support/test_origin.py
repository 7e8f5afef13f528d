"""Origin and client, against each other without a proxy between them."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from tests.support import pki
from tests.support.client import RawClient
from tests.support.leaks import no_leaks
from tests.support.origin import Origin, OriginConnection, answer, script

GET = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def test_answers_and_records() -> None:
    async with no_leaks(), Origin() as origin, await RawClient.connect(origin.port) as client:
        assert (await client.request(GET)).body == b"GET /x HTTP/1.1"
        await client.trickle(GET)
        assert (await client.read_response()).status == 200
        assert [request.target for request in origin.requests] == ["/x", "/x"]
        assert origin.received == GET * 2
        assert await client.is_open()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_tls_and_addresses(host: str) -> None:
    async with no_leaks(), Origin.http(answer(200, b"hello"), tls="good", host=host, alpn=("http/1.1",)) as origin:
        assert origin.url == (f"https://[::1]:{origin.port}" if ":" in host else f"https://127.0.0.1:{origin.port}")
        async with await RawClient.connect(origin.port, host) as client:
            await client.start_tls(None, host, alpn=("http/1.1",))
            assert client.tls is not None
            assert client.tls.selected_alpn_protocol() == "http/1.1"
            assert (await client.request(GET)).body == b"hello"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("expired", "expired"),
        ("not-yet", "not yet valid"),
        ("wrong-host", "mismatch"),
        ("self-signed", "self-signed"),
        ("unknown-ca", "unable to get local issuer"),
    ],
)
async def test_bad_certificates(kind: pki.Kind, message: str) -> None:
    async with Origin(tls=kind, raw=True) as origin, await RawClient.connect(origin.port) as client:
        with pytest.raises(ssl.SSLError, match=message):
            await client.start_tls(None)


@pytest.mark.parametrize("kind", ["old", "client-cert"])
async def test_servers_that_refuse(kind: pki.Kind) -> None:
    async with Origin(tls=kind, raw=True) as origin, await RawClient.connect(origin.port) as client:
        try:
            await client.start_tls(None)
        except (ssl.SSLError, ConnectionError):
            return
        assert await client.read_to_end() == b"", "TLS 1.3 refuses behind the handshake"


@pytest.mark.parametrize(
    ("steps", "data", "broken"),
    [
        (["request", b"abc", "close"], b"abc", False),
        (["request", b"abc", "end"], b"abc", False),
        (["request", "reset"], b"", True),
        ([b"first", "close"], b"first", False),
        (["head", b"head", "end", "stall"], b"head", False),
    ],
)
async def test_scripts(steps: list[bytes | str], data: bytes, broken: bool) -> None:
    async with no_leaks(), Origin(script(*steps)) as origin, await RawClient.connect(origin.port) as client:
        if isinstance(steps[0], str):
            client.send(GET)  # Who closes while something is unread resets.
        assert await client.read_to_end() == data
        assert client.broken == broken


@pytest.mark.parametrize(("act", "end"), [("half_close", (True, False)), ("reset", (True, True))])
async def test_what_a_client_can_do(act: str, end: tuple[bool, bool]) -> None:
    ends: asyncio.Queue[tuple[bool, bool]] = asyncio.Queue()

    async def note(connection: OriginConnection) -> None:
        await connection.read_exactly(9)
        await connection.wait_end()
        ends.put_nowait((connection.ended, connection.broken))

    async with no_leaks(), Origin(note, raw=True) as origin, await RawClient.connect(origin.port) as client:
        client.send(b"any bytes")
        await client.drain()
        await origin.wait_connections(1)
        getattr(client, act)()
        assert await ends.get() == end


async def test_after_raw_nothing_is_checked() -> None:
    steps = ["request", "raw", b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "echo"]
    async with Origin(script(*steps)) as origin, await RawClient.connect(origin.port) as client:
        client.send(GET + b"\0not http")
        assert (await client.read_response()).status == 101
        assert await client.read_exactly(9) == b"\0not http"
        assert len(origin.requests) == 1


async def test_the_checker_finds_bad_bytes() -> None:
    async with Origin(script("stall")) as origin, await RawClient.connect(origin.port) as client:
        client.send(b"GET / HTTP/1.1\nHost: a\n\n")
        await origin.wait_connections(1)
        origin.connections[0].received += b"GET / HTTP/1.1\nHost: a\n\n"
    with pytest.raises(AssertionError, match="an origin received bad HTTP"):
        origin.check()
    Origin.opened.remove(origin)


async def test_a_script_that_fails_fails_the_test() -> None:
    async def fail(connection: OriginConnection) -> None:
        raise ValueError("wrong")

    async with Origin(fail) as origin, await RawClient.connect(origin.port) as client:
        assert await client.read_to_end() == b""
    with pytest.raises(AssertionError, match="script of an origin failed"):
        origin.check()
    Origin.opened.remove(origin)


async def test_leaks_are_found() -> None:
    with pytest.raises(AssertionError, match="0 sockets and 1 tasks are left"):
        async with no_leaks(0.05):
            task = asyncio.create_task(asyncio.Event().wait())
    task.cancel()
    origin = Origin()
    with pytest.raises(AssertionError, match="1 sockets"):
        async with no_leaks(0.05):
            await origin.__aenter__()
    await origin.stop()


def test_answers() -> None:
    assert answer(404, b"x", [("A", "1")], reason="No") == b"HTTP/1.1 404 No\r\nA: 1\r\nContent-Length: 1\r\n\r\nx"
    assert answer(chunks=[b"abc"], trailers=[("T", "1")]).endswith(b"\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n")
    assert answer(204).endswith(b"204 OK\r\n\r\n")
