"""Rules for event streams on real sockets: each event changed as it passes, at once, whatever its cuts and codings."""

from __future__ import annotations

import asyncio
import gzip
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from rulesproxy import load_rules
from tests.support.client import RawClient
from tests.support.command import run_command
from tests.support.events import Streaming, body_of, received, stream
from tests.support.origin import Origin
from tests.support.running import client_of, get, running

UPPER = """
  - match: has(event.json["choices"][0]["delta"]["content"])
    rewrite:
      message:
        json:
          set:
            $.choices[0].delta.content: ${event.json["choices"][0]["delta"]["content"] | upper}
"""


def choice(text: str) -> bytes:
    return b'{"choices":[{"delta":{"content":"%s"}}]}' % text.encode()


async def test_a_model_shouts() -> None:
    script = Streaming()
    async with stream(UPPER, script) as client:
        script.send(b"data: " + choice("first") + b"\n\n")
        # It is there before the server says anything more.
        body = await received(client, b"\n\n")
        assert body == b"data: " + choice("FIRST") + b"\n\n"
        whole = b": ping\r\nevent: delta\r\nid: 7\r\ndata: " + choice("split") + b"\r\n\r\n"
        script.send(whole[:20], whole[20:60], whole[60:])
        script.send(b"retry: 100\n\ndata:" + choice("lf") + b"\n\ndata: [DONE]\n\n")
        body = (await received(client, b"[DONE]\n\n"))[len(body) :]
        assert body == (
            b": ping\r\nevent: delta\r\nid: 7\r\ndata: " + choice("SPLIT") + b"\r\n\r\n"
            b"retry: 100\n\ndata:" + choice("LF") + b"\n\ndata: [DONE]\n\n"
        )  # fmt: skip


def gzipper() -> Callable[[bytes], bytes]:
    maker = zlib.compressobj(wbits=31)
    return lambda data: maker.compress(data) + maker.flush(zlib.Z_SYNC_FLUSH)


def brotli_maker() -> Callable[[bytes], bytes]:
    import brotli

    maker = brotli.Compressor()
    return lambda data: bytes(maker.process(data) + maker.flush())


def zstd_maker() -> Callable[[bytes], bytes]:
    import zstandard

    maker = zstandard.ZstdCompressor().compressobj()
    return lambda data: maker.compress(data) + maker.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


@pytest.mark.parametrize(("coding", "maker"), [("gzip", gzipper), ("br", brotli_maker), ("zstd", zstd_maker)])
async def test_a_coded_stream_is_read_as_it_arrives(coding: str, maker: Callable[[], Callable[[bytes], bytes]]) -> None:
    encode = maker()
    script = Streaming(fields=f"Content-Encoding: {coding}\r\n")
    async with stream(UPPER, script, f"Accept-Encoding: {coding}") as client:
        for word in ("one", "two"):
            script.send(encode(b"data: " + choice(word) + b"\n\n"))
            await received(client, choice(word.upper()) + b"\n\n")


async def test_lines_of_json() -> None:
    rules = """
  - match: event.json["level"] == "debug"
    drop-message:
  - match: event.json["level"] == "error"
    rewrite: {message: {json: {set: {$.level: bad}}}}
    inject-message: {to: client, json: {seen: true}}
"""
    script = Streaming("application/x-ndjson")
    async with stream(rules, script) as client:
        script.send(b'{"level":"debug"}\n{"level":"info"}\r\n{"level":"err', b'or"}\nnot json\n')
        body = await received(client, b"not json\n")
        assert body == b'{"level":"info"}\r\n{"level":"bad"}\n{"seen": true}\nnot json\n'


async def test_events_are_dropped_injected_delayed_and_the_stream_is_ended() -> None:
    rules = """
  - match: response.content_type == "text/event-stream" and host == "localhost"
    inject-message: {to: client, text: welcome, when: open}
  - match: event.name == "ad"
    drop-message:
  - match: event.data == "slow"
    delay: 20ms
    inject-message: {to: client, text: before, when: before}
  - match: event.data == "bye"
    nth: 2
    close:
  - match: event.data == "bye"
    tag: said-bye
"""
    script = Streaming()
    async with stream(rules.replace("localhost", "127.0.0.1"), script) as client:
        script.send(b"event: ad\ndata: buy\n\ndata: slow\n\ndata: bye\n\ndata: bye\n\ndata: never\n\n")
        response = body_of(await client.read_until(b"0\r\n\r\n"))
        assert response == b"data: welcome\n\ndata: before\n\ndata: slow\n\ndata: bye\n\ndata: bye\n\n"
        # The server is told that nobody listens; it is not kept for others.
        script.send(b"")
        await script.ended.wait()


async def test_a_stream_that_a_rule_has_made() -> None:
    rules = """
  - match: path == "/events"
    respond:
      headers: {content-type: text/event-stream}
      body: "data: a\\n\\ndata: b\\n\\n"
  - match: event.data == "b"
    rewrite: {message: {text: c}}
"""
    async with running(rules=load_rules(text="version: 1\nrules:\n" + rules)) as proxy, client_of(proxy) as client:
        response = await client.request(get("http://a.test/events"))
        assert response.body == b"data: a\n\ndata: c\n\n"


async def test_a_stream_that_is_not_what_it_says_breaks_off(caplog: pytest.LogCaptureFixture) -> None:
    script = Streaming(fields="Content-Encoding: gzip\r\n")
    async with stream(UPPER, script) as client:
        script.send(b"data: this was never compressed\n\n")
        assert not (await client.read_to_end()).endswith(b"0\r\n\r\n")
    assert "cannot be changed while it streams" in caplog.text


async def test_a_stream_that_no_rule_is_about_passes_as_it_is() -> None:
    rules = "  - match: host == 'other.test' and event.data == 'x'\n    drop-message:\n"
    script = Streaming(fields="Content-Encoding: gzip\r\n")
    loaded = load_rules(text="version: 1\nrules:\n" + rules)
    data = gzip.compress(b"data: x\n\n")
    async with Origin(script) as origin, running(rules=loaded) as proxy, client_of(proxy) as client:
        client.send(get(origin.url))
        script.send(data, b"")
        assert body_of(await client.read_until(b"0\r\n\r\n")) == data


@pytest.mark.e2e
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc to read the memory of another process")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("coding", ["", "gzip"])
async def test_memory_is_flat_over_a_hundred_megabytes(coding: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("version: 1\nrules:\n" + UPPER)
    event = b"data: " + choice("x" * 4000) + b"\n\n"
    count = 100 * 1024**2 // len(event)
    script = Streaming(fields="Content-Encoding: gzip\r\n" if coding else "")
    encode = gzipper() if coding else bytes
    async with Origin(script) as origin, run_command(tmp_path / "rules.yaml") as command:
        async with await RawClient.connect(command.port) as client:
            client.send(get(origin.url, *["Accept-Encoding: gzip"] * bool(coding)))
            script.send(encode(event))
            await received(client, b'X"}}]}\n\n')
            before = _peak(command.process.pid)
            left = count * len(event)
            # Coded, all of it is small enough to come at once: only a client that reads lets it be decoded.
            feeder = asyncio.ensure_future(_feed(script, encode, event, count))
            while left > 0:
                await client.read()
                left -= len(client.take(len(client.received)))
            await feeder
            assert _peak(command.process.pid) - before < 16 * 1024**2


async def _feed(script: Streaming, encode: Callable[[bytes], bytes], event: bytes, count: int) -> None:
    for _ in range(0, count, 16):
        await script.pieces.put(encode(event * 16))


def _peak(pid: int) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024
