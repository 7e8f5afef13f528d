"""Rules for raw TCP on real sockets: words that are cut anywhere, what is held and for how long, and a real Redis."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rulesproxy import Proxy, load_rules
from tests.support.client import RawClient
from tests.support.line import line
from tests.support.running import client_of, running

REPLACE = """
  - match: not tcp.from_client # rulesproxy: ignore[RP683]
    rewrite:
      message:
        replace: [{text: secret, with: public!}]
"""
REDIS = (
    REPLACE
    + """
  - match: tcp.from_client and tcp.data contains "FLUSHALL"
    nth: 3
    close:
"""
)


@pytest.mark.parametrize("cut", range(1, 6))
async def test_a_word_over_two_segments_is_replaced(cut: int) -> None:
    # Nothing is let go before the rest of the word comes, however slow this machine is.
    async with line(REPLACE, limits_tcp_hold=60.0) as (client, server):
        server.send(b"a " + b"secret"[:cut])
        # What is no part of the word is there at once.
        assert await client.read_until(b"a ") == b"a "
        server.send(b"secret"[cut:] + b" b")
        assert await client.read_exactly(9) == b"public! b"
        client.send(b"secret")
        assert await server.read_exactly(6) == b"secret"


@pytest.mark.parametrize("cut", range(1, 12))
async def test_a_regex_over_two_segments_is_replaced(cut: int) -> None:
    rules = r"""
  - match: not tcp.from_client # rulesproxy: ignore[RP683]
    rewrite: {message: {replace: [{regex: 'secret=(\w+)', with: 'public=<\1>'}]}}
"""
    async with line(rules, limits_tcp_hold=60.0) as (client, server):
        server.send(b"a " + b"secret=abcd"[:cut])
        assert await client.read_exactly(2) == b"a "
        server.send(b"secret=abcd"[cut:] + b"\r\nsecret=e")
        assert await client.read_exactly(15) == b"public=<abcd>\r\n"
        client.send(b"secret=abcd")
        assert await server.read_exactly(11) == b"secret=abcd"
        server.end()
        assert await client.read_to_end() == b"public=<e>"


async def test_what_rules_do_with_a_match_over_segments() -> None:
    rules = """
  - match: not tcp.from_client and tcp.data ~ "drop[0-9]{4};"
    drop-message:
    inject-message: {to: client, text: "dropped;", when: before}
  - match: tcp.data ~ "QU+IT;"
    inject-message: {to: client, text: bye}
    close:
  - match: tcp.from_client and ~bq "k+ill;"
    block: reset
"""
    async with line(rules, limits_tcp_hold=60.0) as (client, server):
        server.send(b"a;dro")
        assert await client.read_exactly(2) == b"a;"
        server.send(b"p12")
        server.send(b"34;")
        assert await client.read_exactly(8) == b"dropped;"
        server.send(b"b;QUUU")
        assert await client.read_until(b"b;") == b"b;"
        server.send(b"IT;")
        assert await client.read_to_end() == b"QUUUIT;bye"
    async with line(rules, limits_tcp_hold=60.0) as (client, server):
        client.send(b"x KI")
        assert await server.read_exactly(2) == b"x "
        client.send(b"LL;")
        assert await client.read_to_end() == b""
        assert client.broken


async def test_what_is_held_goes_on_after_a_moment_or_at_the_end() -> None:
    async with line(REPLACE) as (client, server):
        server.send(b"secre")
        assert await client.read_exactly(5) == b"secre"
        server.send(b"t sec")
        assert await client.read_exactly(5) == b"t sec"
    async with line(REPLACE, limits_tcp_hold=60.0) as (client, server):
        server.send(b"x sec")
        assert await client.read_exactly(2) == b"x "
        server.end()
        assert await client.read_to_end() == b"sec"


async def test_what_rules_do_with_bytes() -> None:
    rules = """
  - match: client.ip in {127.0.0.0/8 ::1}
    inject-message: {to: client, text: "welcome ", when: open}
  - match: tcp.data contains "drop"
    drop-message:
    inject-message: {to: client, text: "dropped ", when: before}
  - match: tcp.from_client and tcp.data ~ "^hello (?P<name>[a-z]+)"
    rewrite: {message: {text: "${name}, ${tcp.data}"}}
    inject-message: {to: server, bytes: 21 0a}
    tag: ${name}
  - match: tcp.data contains "kill"
    block: reset
"""
    async with line(rules) as (client, server):
        assert await client.read_exactly(8) == b"welcome "
        server.send(b"drop this")
        assert await client.read_exactly(8) == b"dropped "
        client.send(b"hello ann")
        assert await server.read_exactly(16) == b"ann, hello ann!\n"
        client.send(b"kill")
        assert await client.read_to_end() == b""
        assert client.broken


async def test_a_slow_line() -> None:
    rules = "  - match: ~tcp\n    throttle: {down: 1MB/s, up: 20KB/s}\n"
    async with line(rules) as (client, server):
        begin = asyncio.get_running_loop().time()
        client.send(b"x" * 10_000)
        assert await server.read_exactly(10_000) == b"x" * 10_000
        # A rate is a bound from below on the time; it may always take longer. A tenth of a second is saved up.
        assert asyncio.get_running_loop().time() - begin > 0.3
        server.send(b"y" * 1000)
        assert await client.read_exactly(1000) == b"y" * 1000


@asynccontextmanager
async def redis(folder: Path) -> AsyncIterator[Path]:
    """The socket of a real Redis."""
    socket = folder / "redis.sock"
    process = await asyncio.create_subprocess_exec(
        "redis-server", "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            while b"eady to accept connections" not in await process.stdout.readline():
                pass
        yield socket
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def redis_port(folder: Path) -> AsyncIterator[int]:
    """The same on a TCP port that nobody else has."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(socket)

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
            sink.close()

        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer), return_exceptions=True)

    async with redis(folder) as socket:
        server = await asyncio.start_server(relay, "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]


async def ask(client: RawClient, *words: str) -> None:
    parts = [b"*%d\r\n" % len(words), *[b"$%d\r\n%b\r\n" % (len(word), word.encode()) for word in words]]
    client.send(b"".join(parts))


@pytest.mark.e2e
@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")
async def test_redis(tmp_path: Path) -> None:
    rules = load_rules(text="version: 1\nrules:\n" + REDIS)
    proxy: Proxy
    async with redis_port(tmp_path) as port, running(rules=rules, mode=f"tcp:127.0.0.1:{port}") as proxy:
        async with client_of(proxy) as client:
            await ask(client, "SET", "key", "a secret b")
            assert await client.read_exactly(5) == b"+OK\r\n"
            await ask(client, "GET", "key")
            # The length that Redis says is the old one, which is what `check` warns of.
            assert await client.read_exactly(18) == b"$10\r\na public! b\r\n"
            for _ in range(2):
                await ask(client, "FLUSHALL")
                assert await client.read_exactly(5) == b"+OK\r\n"
            await ask(client, "FLUSHALL")
            assert await client.read_to_end() in (b"", b"+OK\r\n")
        async with client_of(proxy) as client:
            # Another connection counts anew, and the third FLUSHALL had reached the server.
            await ask(client, "FLUSHALL")
            assert await client.read_exactly(5) == b"+OK\r\n"
    loud = load_rules(text="version: 1\nrules:\n" + REDIS.replace(" # rulesproxy: ignore[RP683]", ""))
    assert [diagnostic.code for diagnostic in loud.warnings] == ["RP683"]
