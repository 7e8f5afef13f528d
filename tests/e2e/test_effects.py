"""Delays, slow lines, faults, records and functions on real sockets, with the exact traffic of the scenarios."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from rulesproxy import Proxy, load_rules
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.plan import Fault, Rate, Throttle
from rulesproxy.proto.websocket import Close
from tests.e2e.test_scenarios import Names, scene
from tests.support.client import RawClient
from tests.support.origin import LIMIT, Origin, OriginConnection, answer
from tests.support.programs import needs, run
from tests.support.running import client_of, get, running
from tests.support.websocket import echo, serving, websocket


class Ends:
    """An addon that waits for the end of flows."""

    observes = True

    def __init__(self) -> None:
        self.ended: asyncio.Queue[tuple[str, HTTPFlow]] = asyncio.Queue()

    def response(self, flow: HTTPFlow) -> None:
        self.ended.put_nowait(("response", flow))

    def error(self, flow: HTTPFlow) -> None:
        self.ended.put_nowait(("error", flow))

    async def next(self) -> tuple[str, HTTPFlow]:
        async with asyncio.timeout(LIMIT):
            return await self.ended.get()


# A8: throttle

SLOW = """
  - match: host in {"slow.t" "localhost"}
    throttle:
      down: 50KB/s
      latency: 150ms..250ms
      scope: {scope}
      seed: "42"
"""
BODY = bytes(range(256)) * 240
RATE, BURST = 50_000, 5000
"""61,440 bytes at 50 KB/s, of which a tenth of a second is saved up."""


async def paced(client: RawClient, url: str) -> tuple[float, float]:
    """Fetch `url`, and see that no byte is ahead of the rate. The times of the first and the last byte."""
    started = time.monotonic()
    client.send(get(url))
    await client.read()
    first = time.monotonic() - started
    received = len(client.received)
    while received < len(BODY):
        await client.read()
        received = len(client.received)
        # A machine that is busy makes bytes late, never early; what is on its way at once is one piece more.
        assert received <= BURST + 2 * RATE // 20 + RATE * (time.monotonic() - started - first + 0.05) + 500
    response = await client.read_response()
    assert response.body == BODY
    return first, time.monotonic() - started


async def test_a8_a_response_is_paced_behind_its_latency() -> None:
    rules = SLOW.replace("{scope}", "flow")
    async with Origin.http(answer(200, BODY)) as origin, scene(rules, origin) as (_, client, _):
        first, last = await paced(client, "http://slow.t/")
        assert first >= 0.15
        assert last >= (len(BODY) - BURST) / RATE
        # The next flow on the same connection is as slow; other hosts are not.
        assert (await client.request(get("http://fast.t/"))).body == BODY


async def test_a8_flows_of_one_rule_share_its_rate() -> None:
    async with Origin.http(answer(200, BODY[:30_000])) as origin:
        async with scene(SLOW.replace("{scope}", "rule"), origin) as (proxy, one, _), client_of(proxy) as two:
            started = time.monotonic()
            for client in (one, two):
                client.send(get("http://slow.t/"))
            for client in (one, two):
                assert (await client.read_response()).body == BODY[:30_000]
            assert time.monotonic() - started >= (60_000 - BURST) / RATE


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a8_a_client_that_cancels_frees_the_server(how: str) -> None:
    freed = asyncio.Event()

    async def endless(conn: OriginConnection) -> None:
        await conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 1_000_000)
        await conn.wait_end()
        freed.set()

    ends = Ends()
    async with Origin(endless) as origin:
        rules = load_rules(text="version: 1\nrules:" + SLOW.replace("{scope}", "flow"))
        async with running(Names(origin), ends, rules=rules) as proxy:
            client = await RawClient.connect(proxy.port)
            client.send(get("http://slow.t/"))
            await client.read_until(b"x" * 100)
            if how == "reset":
                client.reset()
            await client.close()
            async with asyncio.timeout(LIMIT):
                await freed.wait()
            assert (await ends.next())[0] == "error"


async def test_a8_inside_tls() -> None:
    async with Origin.http(answer(200, BODY[:20_000]), tls=True) as origin:
        async with scene(SLOW.replace("{scope}", "flow"), origin) as (proxy, client, _):
            await client.tunnel("localhost:443", proxy.ca_path)
            started = time.monotonic()
            response = await client.request(get("/", "Host: localhost"))
            assert response.body == BODY[:20_000]
            assert time.monotonic() - started >= (20_000 - BURST) / RATE + 0.15


async def test_a8_a_websocket_is_paced() -> None:
    rules = load_rules(text="version: 1\nrules:" + SLOW.replace("{scope}", "flow"))
    async with Origin(serving(echo)) as origin, running(Names(origin), rules=rules) as proxy:
        async with websocket(proxy.port, "http://slow.t/") as peer:
            started = time.monotonic()
            for _ in range(2):
                peer.send(BODY[:20_000])
                assert await peer.receive() == BODY[:20_000]
            assert time.monotonic() - started >= (40_000 - 2 * BURST) / RATE
            assert await peer.close() == Close(1000, "")


async def test_a8_an_event_stream_is_paced() -> None:
    event = b"data: " + b"x" * 994 + b"\n\n"

    async def events(conn: OriginConnection) -> None:
        await conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(30):
            conn.send(b"3ea\r\n" + event + b"\r\n")
        conn.send(b"0\r\n\r\n")
        await conn.wait_end()

    async with Origin(events) as origin, scene(SLOW.replace("{scope}", "flow"), origin) as (_, client, _):
        started = time.monotonic()
        client.send(get("http://slow.t/"))
        # The first events are there long before the last one has left.
        await client.read_until(event)
        assert len(client.received) < 10_000
        while not client.received.endswith(b"\r\n0\r\n\r\n"):
            await client.read()
        assert time.monotonic() - started >= (30_000 - BURST) / RATE + 0.15


# A11: a flaky backend

FLAKY = """
  - match: host == "api.t"
    times: 2
    fault: reset
  - match: host == "api.t"
    times: 1
    respond:
      status: 503
      headers: {retry-after: "1"}
"""


async def test_a11_two_resets_then_503_then_200() -> None:
    async with Origin.http(answer(200, b"fine")) as origin, scene(FLAKY, origin) as (proxy, _, names):
        for _ in range(2):
            async with client_of(proxy) as client:
                client.send(get("http://api.t/"))
                assert await client.read_to_end() == b""
                assert client.broken
        assert names.asked == []
        async with client_of(proxy) as client:
            response = await client.request(get("http://api.t/"))
            assert (response.status, response.get("retry-after")) == (503, "1")
            assert (await client.request(get("http://api.t/"))).status == 200
        assert len(origin.requests) == 1
        assert sorted(proxy.hits.as_dict().values()) == [1, 2]


CUT = """
  - match: host == "api.t"
    sample: {share}% seed 42
    fault:
      truncate: 1000
"""


async def cuts(share: int, count: int) -> list[bool]:
    """Which of so many answers are cut off after 1,000 bytes; the others are whole."""
    found = []
    async with Origin.http(answer(200, b"x" * 5000)) as origin:
        async with scene(CUT.replace("{share}", str(share)), origin) as (proxy, _, _):
            for _ in range(count):
                async with client_of(proxy) as client:
                    client.send(get("http://api.t/"))
                    got = b""
                    while not client.ended and len(got) < 5000:
                        await client.read()
                        head, _, got = client.received.partition(b"\r\n\r\n")
                    assert b"Content-Length: 5000" in head
                    assert not client.broken
                    assert got in (b"x" * 1000, b"x" * 5000)
                    found.append(len(got) == 1000)
    return found


async def test_a11_a_share_of_answers_is_cut_off() -> None:
    first = await cuts(20, 60)
    assert 4 <= sum(first) <= 22
    assert first == await cuts(20, 60)
    assert sum(await cuts(0, 30)) == 0


# Faults, as programs see them

FAULTS = [
    # what curl says: https://curl.se/libcurl/c/libcurl-errors.html
    ("reset", 56),
    ("empty", 52),
    ("{truncate: 1000}", 18),
    ("malformed-chunk", 56),
    ("{slow-close: 100ms}", 0),
    ("{dribble: {chunks: 5, over: 200ms}}", 0),
]


@needs("curl")
@pytest.mark.parametrize(("fault", "code"), FAULTS)
@pytest.mark.parametrize("match", ["~all", "response.status == 200"])
async def test_what_curl_says(fault: str, code: int, match: str) -> None:
    rules = f"  - match: {match}\n    fault: {fault}\n"
    async with Origin.http(answer(200, b"x" * 5000)) as origin, scene(rules, origin) as (proxy, _, _):
        done = await run("curl", "-sS", "-x", proxy.url, "http://api.t/")
        assert done.code == code, done.err
        if code in (0, 18):
            assert done.out == b"x" * {0: 5000, 18: 1000}[code]
        # The server has seen a whole request, or none; the checker of every origin looks at its bytes.
        assert len(origin.requests) == (0 if match == "~all" and fault in ("reset", "empty") else 1)


async def test_a_spoiled_answer_of_a_rule() -> None:
    rules = '  - match: path == "/"\n    respond: {body: 0123456789}\n    fault: {truncate: 4}\n'
    async with scene(rules) as (_, client, _):
        client.send(get("http://api.t/"))
        assert (await client.read_to_end()).endswith(b"\r\n\r\n0123")
        assert not client.broken


# Delays


async def test_a_client_that_leaves_during_a_delay_is_noticed() -> None:
    ends, begun = Ends(), asyncio.Event()

    class Begun:
        observes = True

        def requestheaders(self, flow: HTTPFlow) -> None:
            begun.set()

    async with Origin.http(answer()) as origin:
        rules = load_rules(text="version: 1\nrules:\n  - match: ~all\n    delay: 100s\n")
        async with running(Names(origin), ends, Begun(), rules=rules) as proxy:
            client = await RawClient.connect(proxy.port)
            client.send(get("http://a.t/"))
            await begun.wait()
            client.reset()
            await client.close()
            how, flow = await ends.next()
            assert how == "error"
            assert flow.error is not None
            assert flow.error.kind == "client"
        assert origin.requests == []


async def test_a_delay_delays() -> None:
    rules = "  - match: ~all\n    delay: {request: 100ms, response: 150ms}\n"
    async with Origin.http(answer(200, b"late")) as origin, scene(rules, origin) as (_, client, _):
        started = time.monotonic()
        assert (await client.request(get("http://a.t/"))).body == b"late"
        assert time.monotonic() - started >= 0.25


# A6 and A14: records

TOKEN = "tok-3141592653"
AUTH = """
  - match: host == "api.t"
    rewrite:
      request:
        headers:
          default: {authorization: "Bearer ${env:A6_TOKEN}"}
          x-key: ${env:A6_TOKEN}
  - match: ~all
    record: {file}
"""


async def test_a6_a_record_shows_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("A6_TOKEN", TOKEN)
    path = tmp_path / "a6.har"
    cookie = answer(200, b'{"you": "' + TOKEN.encode() + b'"}', [("Set-Cookie", "sid=abcdef; Path=/")])
    rules = AUTH.replace("{file}", str(path))
    async with Origin.http(cookie) as origin, scene(rules, origin) as (_, client, _):
        for host in ("api.t", "other.t"):
            await client.request(get(f"http://{host}/", "Cookie: sid=abcdef"))
        first, second = origin.requests
        assert first.get("authorization") == f"Bearer {TOKEN}"
        assert second.get("authorization") is None
    text = path.read_text()
    assert TOKEN not in text
    assert "abcdef" not in text
    entries = json.loads(text)["log"]["entries"]
    fields = {field["name"].lower(): field["value"] for field in entries[0]["request"]["headers"]}
    assert (fields["authorization"], fields["x-key"], fields["cookie"]) == ("Bearer ***", "***", "sid=***")
    assert entries[0]["response"]["content"]["text"] == '{"you": "***"}'
    assert [entry["request"]["url"] for entry in entries] == ["http://api.t/", "http://other.t/"]


async def test_a_record_has_bodies_of_both_sides_and_failures(tmp_path: Path) -> None:
    path = tmp_path / "x.har"
    rules = f"  - match: ~all\n    record: {path}\n"
    async with (
        Origin.http(answer(200, b"", chunks=[b"a", b"bc"])) as origin,
        scene(rules, origin) as (proxy, client, _),
    ):
        await client.request(get("http://api.t/", method="POST", body=b"question"))
        big = await client.request(get("http://api.t/big"))
        assert big.body == b"abc"
    port = origin.port
    async with running(rules=load_rules(text="version: 1\nrules:\n" + rules)) as proxy, client_of(proxy) as client:
        assert (await client.request(get(f"http://127.0.0.1:{port}/down"))).status == 502
    first, _, failed = json.loads(path.read_bytes())["log"]["entries"]
    assert first["request"]["postData"]["text"] == "question"
    assert first["response"]["content"]["text"] == "abc"
    assert failed["response"]["status"] == 0
    assert "refused" in failed["response"]["_error"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.har"]


# Functions


async def test_a_function_is_called_and_loaded_again(tmp_path: Path) -> None:
    code = tmp_path / "helpers.py"
    code.write_text("async def sign(flow):\n    flow.request.headers['x-signed'] = 'one'\n")
    rules = tmp_path / "rules.yaml"
    rules.write_text("version: 1\nrules:\n  - match: ~all\n    run: helpers.py:sign\n")
    async with Origin.http(answer()) as origin:
        async with running(Names(origin), rules=rules, errors=True) as proxy, client_of(proxy) as client:
            await client.request(get("http://a.t/"))
            code.write_text(
                "import asyncio\nasync def sign(flow):\n    await asyncio.sleep(0.01)\n    flow.request.headers['x-signed'] = 'two'\n"
            )
            assert await proxy.reload()
            await client.request(get("http://a.t/"))
            code.write_text("def sign(flow:\n")
            assert not await proxy.reload()
            await client.request(get("http://a.t/"))
        assert [request.get("x-signed") for request in origin.requests] == ["one", "two", "two"]


# Whatever rules can do, addons can do


class AllOfIt:
    """Every effect, asked for by an addon."""

    observes = True

    def __init__(self) -> None:
        self.rate = Rate(50_000)

    def requestheaders(self, flow: HTTPFlow) -> None:
        flow.plan.delay += 0.1
        if flow.request.path == "/slow":
            flow.plan.throttles.append(Throttle(down=self.rate, latency=0.1))
        elif flow.request.path == "/cut":
            flow.plan.fault = Fault(truncate=5)
        elif flow.request.path == "/gone":
            flow.plan.end = "reset"


async def test_an_addon_asks_for_effects() -> None:
    async with Origin.http(answer(200, BODY[:20_000])) as origin, running(Names(origin), AllOfIt()) as proxy:
        async with client_of(proxy) as client:
            started = time.monotonic()
            assert (await client.request(get("http://a.t/slow"))).body == BODY[:20_000]
            assert time.monotonic() - started >= 0.2 + (20_000 - BURST) / RATE
            client.send(get("http://a.t/cut"))
            assert (await client.read_to_end()).endswith(b"\r\n\r\n" + BODY[:5])
        async with client_of(proxy) as client:
            client.send(get("http://a.t/gone"))
            assert await client.read_to_end() == b""
            assert client.broken


async def test_a_proxy_without_effects_has_no_plans() -> None:
    ends = Ends()
    async with Origin.http(answer(200, b"ok")) as origin, running(Names(origin), ends) as proxy:
        assert isinstance(proxy, Proxy)
        async with client_of(proxy) as client:
            await client.request(get("http://a.t/"))
        assert (await ends.next())[1].planned is None
