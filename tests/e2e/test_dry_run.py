"""A dry run is the live proxy without the network: the same rules and flows give the same hits, request and answer,
the same messages bring the same messages to the two sides of a conversation, and end it alike."""

from __future__ import annotations

import asyncio
import gzip
import socket
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rulesproxy import DryRun, HTTPFlow, TCPFlow, WebSocketFlow, load_rules
from rulesproxy.flow.connection import ClientConn, ServerConn
from rulesproxy.flow.error import FlowError
from rulesproxy.flow.headers import to_str
from rulesproxy.flow.http import HTTPMessage
from rulesproxy.proto.websocket import Close
from rulesproxy.rules.outside import the_machine
from tests.rules import test_message_oracle as messages
from tests.rules.test_oracle import requests, rule_sets
from tests.support.line import Talking
from tests.support.origin import LIMIT, Origin, answer
from tests.support.running import client_of, running
from tests.support.websocket import HANDSHAKE, Peer, open_websocket, serving
from tests.support.wire import Message

FRAMING = frozenset({"content-length", "transfer-encoding", "connection"})
"""Hop by hop: made anew on every connection, and no business of the rules."""

SAMPLED = replace(the_machine(), sampled=True)
"""A dry run takes every flow for one of the sample."""

make = HTTPFlow.make


def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Watcher:
    """Stands for DNS, and looks on: every server is the origin that speaks its protocol, every hit is written down."""

    observes = True

    def __init__(self, plain: Origin, secure: Origin) -> None:
        self.origins = (plain, secure)
        self.up = True
        self.hits: tuple[str, ...] = ()

    def serverconnect(self, server_conn: ServerConn) -> None:
        server_conn.address = ("127.0.0.1", self.origins[server_conn.tls].port if self.up else closed_port())

    def http_connect(self, flow: HTTPFlow) -> None:
        self.hits = tuple(flow.hits)

    def response(self, flow: HTTPFlow) -> None:
        self.hits = tuple(flow.hits)

    error = response


def lines(fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in fields if name.lower() not in FRAMING]


def wired(message: Message | None) -> list[tuple[str, str]]:
    return [] if message is None else lines([(to_str(name), to_str(value)) for name, value in message.fields])


def held(message: HTTPMessage | None) -> list[tuple[str, str]]:
    return [] if message is None else lines(list(message.headers.items(multi=True)))


async def live(text: str, flow: HTTPFlow) -> tuple[object, ...]:
    """What hits, goes upstream and comes back on real sockets."""
    request = flow.request
    given = flow.response or make("GET", "http://none/", status=200).response
    assert given is not None
    tls = request.scheme == "https"
    reply = answer(given.status_code, given.raw_content or b"", given.headers.items(multi=True), reason=given.reason)
    body = request.raw_content or b""
    target = request.path if tls else request.url
    head = [f"{request.method} {target} HTTP/1.1", *[f"{name}: {value}" for name, value in request.headers.items(True)]]
    head += [f"Content-Length: {len(body)}"] if body else []
    sent = "\r\n".join([*head, "", ""]).encode() + body
    async with Origin.http(reply) as plain, Origin.http(reply, tls="good") as secure:
        watcher = Watcher(plain, secure)
        watcher.up = flow.error is None
        async with (
            running(
                watcher, rules=load_rules(text=text, outside=SAMPLED), verify_upstream=False, intercept="all"
            ) as proxy,
            client_of(proxy) as client,
        ):
            refused = None
            if tls:
                tunnel = await client.connect_to(f"{request.host}:{request.port}")
                if tunnel.status == 200:
                    await client.start_tls(proxy.ca_path, request.host)
                else:
                    refused = tunnel
            response = refused or await ended(client, sent, request.method)
        asked = [*plain.requests, *secure.requests]
        upstream = asked[0] if asked else None
    assert len(asked) < 2
    got = None if upstream is None else (upstream.method, upstream.target, wired(upstream), upstream.body)
    answered: tuple[object, ...] | None = (
        None if response is None else (response.status, wired(response), response.body)
    )
    if response is not None and b"\n\nrulesproxy: " in response.body:
        # The page of the proxy itself, which names the address.
        answered = (response.status,)
    return watcher.hits, got, answered


async def ended(client: Any, sent: bytes, method: str) -> Any:
    """The response; None where the connection ends without one."""
    client.send(sent)
    await client.read()
    return None if client.ended and not client.received else await client.read_response(method)


def dry(text: str, flow: HTTPFlow) -> tuple[object, ...]:
    result = load_rules(text=text).run(flow)
    upstream, response = result.upstream, result.flow.response
    got = None
    # A server that cannot be reached is asked in vain.
    if upstream is not None and flow.error is None:
        got = (upstream.method, upstream.path, held(upstream), upstream.raw_content or b"")
    if result.status is None:
        return result.hits, got, None
    if response is None:
        return result.hits, got, (result.status,)
    coded = response.raw_content or b"" if result.body else b""
    return result.hits, got, (result.status, held(response), coded)


def rules(text: str) -> str:
    return f"version: 1\nrules:\n{text}"


STRIP = """
  - match: ~all
    rewrite:
      request: {query: {remove: ["utm_*", gclid]}, headers: {x-debug: "1", remove: [cookie]}}
      response: {headers: {remove: [content-security-policy]}, cookies: {remove: [track]}}
"""


def down() -> HTTPFlow:
    flow = make("GET", "http://a.t/")
    flow.error = FlowError("down", "refused")
    return flow


CASES = {
    "nothing": ("  - match: host == 'b.t'\n    block:\n", make("GET", "http://a.t/", status=204)),
    "block": ("  - match: host == 'a.t'\n    block:\n", make("GET", "http://a.t/", status=200)),
    "refused tunnel": ("  - match: host == 'a.t'\n    block: 410\n", make("GET", "https://a.t/", status=200)),
    "a redirect of a tunnel": (
        "  - match: host == 'a.t'\n    block: {status: 302}\n",
        make("GET", "https://a.t/", status=200),
    ),
    "tag above a refusal": (
        "  - id: t\n    match: ~all\n    tag: x\n  - id: b\n    match: host == 'a.t'\n    block:\n",
        make("GET", "https://a.t/", status=200),
    ),
    "mock through TLS": (
        "  - match: path like '/u/{id}'\n    respond: {json: {id: '${id | int}'}, headers: {x-a: '${host}'}}\n",
        make("GET", "https://example.test/u/7", status=500),
    ),
    "inside TLS": (
        "  - match: tls and sni == 'example.test'\n    rewrite: {response: {headers: {x-tls: '1'}}}\n",
        make("GET", "https://example.test/u/7", status=200),
    ),
    "a rule edits what the next one sees": (
        "  - match: path == '/a'\n    rewrite: {request: {path: /b}}\n  - match: path == '/b'\n    block: 404\n",
        make("GET", "http://a.t/a", status=200),
    ),
    "strip": (
        STRIP,
        make(
            "GET", "http://a.t/x?a=%20&utm_source=1&b=+", [("Cookie", "a=1"), ("X-B", "1")], b"", 200,
            [("Content-Security-Policy", "none"), ("Set-Cookie", "track=1"), ("Set-Cookie", "b=2")], b"page",
        ),
    ),
    "request body": (
        "  - match: request.json['a'] == 1\n    rewrite: {request: {json: {set: {$.b: 2}}}}\n",
        make("POST", "http://a.t/", [("content-type", "application/json")], b'{"a": 1}', 200),
    ),
    "response body": (
        "  - match: response.status in {500..599}\n    rewrite: {response: {status: 502, json: {set: {$.error: no}}}}\n",
        make("GET", "http://a.t/", (), b"", 503, [("Content-Type", "application/json")], b'{"error": "db"}'),
    ),
    "a coded body": (
        "  - match: response.text contains 'secret'\n    rewrite: {response: {body: {replace: [{text: secret, with: public}]}}}\n",
        make("GET", "http://a.t/", (), b"", 200, [("Content-Encoding", "gzip")], gzip.compress(b"a secret", mtime=0)),
    ),
    "a body that nobody wants": (
        "  - match: response.status == 500 and response.text contains 'x'\n    block: 502\n",
        make("POST", "http://a.t/", (), b"up" * 9000, 200, [], b"down" * 9000),
    ),
    "cors on a mock": (
        "  - match: path == '/d'\n    respond: {json: {a: 1}}\n  - match: host == 'a.t'\n    cors: unlock\n",
        make("GET", "http://a.t/d", [("Origin", "http://app.t")], b"", 200),
    ),
    "a preflight": (
        "  - match: host == 'a.t'\n    cors: unlock\n",
        make("OPTIONS", "http://a.t/d", [("Origin", "http://x.t"), ("Access-Control-Request-Method", "PUT")], b"", 500),
    ),
    "no-cache": (
        "  - match: host == 'a.t'\n    no-cache:\n",
        make("GET", "http://a.t/d", [("If-None-Match", '"1"')], b"", 200, [("ETag", '"1"'), ("Age", "5")], b"x"),
    ),
    "another server": (
        "  - match: host == 'prod.t'\n    map-remote: http://stg.t:8443\n",
        make(
            "GET", "http://prod.t/a?x=1", [("Origin", "http://prod.t")], b"", 302,
            [("Location", "http://stg.t:8443/b"), ("Set-Cookie", "s=1; Domain=stg.t")],
        ),
    ),
    "stop": (
        "  - match: path under '/ok'\n    stop: true\n  - match: ~all\n    block:\n",
        make("GET", "http://a.t/ok/x", status=200),
    ),
    "close": ("  - match: ~all\n    block: close\n", make("GET", "http://a.t/", status=200)),
    "reset behind the response": (
        "  - match: response.status == 200\n    block: reset\n",
        make("GET", "http://a.t/", status=200),
    ),
    "HEAD": (
        "  - match: path == '/m'\n    respond: {body: hello}\n  - match: ~all\n    rewrite: {response: {headers: {x-a: '1'}}}\n",
        make("HEAD", "http://a.t/m", status=200),
    ),
    "a replaced answer": (
        "  - match: response.status == 404\n    respond: {status: 200, body: found}\n  - match: response.status == 200\n"
        "    rewrite: {response: {headers: {x-late: '1'}}}\n",
        make("GET", "http://a.t/m", (), b"", 404, [("X-Old", "1")], b"gone"),
    ),
    "a fallback for a server that is down": (
        "  - match: response.status >= 500 or has(error.kind)\n    respond: {status: 200, body: stale, headers: {warning: '110'}}\n"
        "  - match: response.status == 200\n    rewrite: {response: {headers: {x-late: '1'}}}\n",
        down(),
    ),
    "one operation of a batch": (
        "  - match: graphql.operation == 'GetUser'\n    respond: {json: {data: {user: mocked}}}\n",
        make(
            "POST", "http://a.t/graphql", [("Content-Type", "application/json")],
            b'[{"query": "query GetUser { user }"}, {"query": "query Other { other }"}]', 200,
            [("Content-Type", "application/json")], b'[{"data": {"other": 1}}]',
        ),
    ),
    "nth": ("  - match: ~all\n    nth: 2\n    block:\n", make("GET", "http://a.t/", status=200)),
    "the early request for a late rule": (
        "  - match: path == '/a'\n    rewrite: {request: {path: /b}, response: {headers: {x-saw: '${orig.path}'}}}\n"
        "  - match: path == '/a' and response.status == 200\n    block: 502\n",
        make("GET", "http://a.t/a", status=200),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
async def test_one_case_both_ways(name: str) -> None:
    text, flow = CASES[name]
    text = rules(text)
    before = flow.copy()
    expected = await live(text, flow)
    assert dry(text, flow) == expected
    assert dry(text, flow) == expected, "a second run differs from the first"
    assert (flow.request.headers, flow.request.url, flow.hits) == (before.request.headers, before.request.url, [])


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(rule_sets(), requests(), st.sampled_from(["http", "https"]))
def test_any_rules_both_ways(text: str, sent: dict[str, Any], scheme: str) -> None:
    url = sent["url"] if scheme == "http" else sent["url"].replace("http://", "https://").lower()
    flow = make(
        sent["method"], url, sent["headers"], sent["body"], sent["status"], [("X-R", "1")], sent["response_body"]
    )
    if flow.response is None:
        flow.error = FlowError("down", "refused")
    assert dry(text, flow) == asyncio.run(live(text, flow)), text


# Conversations

Said = list[tuple[bool, str | bytes]]
"""For each message whether the client sends it, and what it says."""
Came = tuple[list[str | bytes], list[str | bytes], object, list[str]]
"""What comes to the client and to the server, how a rule ends the conversation, and the rules that matched."""


class Counter:
    """An addon behind the rules that knows how many messages have passed them, and whether a rule has ended it."""

    def __init__(self) -> None:
        self.passed = 0
        self.ended = False
        self.over = False
        self.hits: list[str] = []
        self._moved = asyncio.Event()

    def websocket_message(self, flow: WebSocketFlow) -> None:
        self._note(flow.handshake_flow.hits, flow.ending is not None or flow.handshake_flow.plan.end is not None)

    def tcp_message(self, flow: TCPFlow) -> None:
        self._note(flow.hits, flow.closing)

    def websocket_end(self, flow: WebSocketFlow | TCPFlow) -> None:
        self.over = True
        self._moved.set()

    tcp_end = websocket_end

    def _note(self, hits: list[str], ended: bool) -> None:
        self.passed += 1
        self.hits, self.ended = list(hits), ended
        self._moved.set()

    async def until(self, number: int) -> bool:
        """Wait for so many messages; whether it goes on."""
        async with asyncio.timeout(LIMIT):
            while self.passed < number:
                self._moved.clear()
                await self._moved.wait()
        return not self.ended

    async def end(self) -> None:
        """Wait for the end."""
        async with asyncio.timeout(LIMIT):
            while not self.over:
                self._moved.clear()
                await self._moved.wait()


async def live_websocket(text: str, said: Said) -> Came:
    servers: asyncio.Queue[Peer] = asyncio.Queue()
    left = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await servers.put(peer)
        await left.wait()

    counter = Counter()
    async with Origin(serving(talk)) as origin:

        class Names:
            """Stands for DNS."""

            observes = True

            def serverconnect(self, server_conn: ServerConn) -> None:
                server_conn.address = ("127.0.0.1", origin.port)

        rules = load_rules(text=text, outside=SAMPLED)
        async with running(Names(), counter, rules=rules) as proxy, client_of(proxy) as raw:
            client = await open_websocket(raw, "http://a.test/")
            server = await servers.get()
            for number, (from_client, content) in enumerate(said, 1):
                (client if from_client else server).send(content)
                if not await counter.until(number):
                    break
            if not counter.ended:
                client.say_close(1000, "done")
            came = [await everything(peer) for peer in (server, client)]
            left.set()
            await counter.end()
    (to_server, closed), (to_client, _) = came
    end = None if closed == Close(1000, "done") else closed
    return to_client, to_server, end and end.code, counter.hits


async def everything(peer: Peer) -> tuple[list[str | bytes], Close | None]:
    """All messages that come to one side, up to the Close, which it answers."""
    found: list[str | bytes] = []
    while not isinstance(said := await peer.receive(), Close):
        if said is None:
            return found, None
        assert not isinstance(said, int)
        found.append(said)
    peer.say_close(said.code, said.reason)
    return found, said


def dry_websocket(text: str, said: Said) -> Came:
    dry = DryRun([addon.rule for addon in load_rules(text=text).rules])
    flow = make("GET", "http://a.test/", [line.split(": ") for line in HANDSHAKE], status=101)  # type: ignore[misc]
    result = dry.run(flow, messages=said)
    heard = result.heard
    assert heard is not None
    client, server = ([each.content for each in heard.arrived if each.to_client is side] for side in (True, False))
    return client, server, heard.close, list(result.hits)


@settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)
@given(
    messages.rule_sets(messages.WEBSOCKET, [*messages.ACTIONS, *messages.BOTH_WAYS[:2]]), messages.WEBSOCKET_MESSAGES
)
def test_any_websocket_both_ways(text: str, said: Said) -> None:
    assert dry_websocket(text, said) == asyncio.run(live_websocket(text, said)), text


async def live_tcp(text: str, from_client: bool, pieces: list[bytes]) -> Came:
    counter, script = Counter(), Talking()
    rules = load_rules(text=text, outside=SAMPLED)
    async with Origin(script, raw=True) as origin:
        # What is kept back waits for the next piece, however slow this machine is.
        options: dict[str, object] = {"mode": f"tcp:{origin.authority}", "limits_tcp_hold": 60.0}
        async with running(counter, rules=rules, **options) as proxy, client_of(proxy) as client:
            server = await script.connections.get()
            for number, piece in enumerate(pieces, 1):
                (client if from_client else server).send(piece)
                if not await counter.until(number):
                    break
            ended = counter.ended
            if from_client:
                client.half_close()
            else:
                server.end()
            async with asyncio.timeout(LIMIT):
                if from_client:
                    while await server.read():
                        pass
                    server.end()
                    to_client = await client.read_to_end()
                else:
                    to_client = await client.read_to_end()
                    client.half_close()
                    while await server.read():
                        pass
            to_server = bytes(server.received)
            script.over.set()
            await counter.end()
            hits = counter.hits
    return [to_client], [to_server], "close" if ended or counter.ended else None, hits


def dry_tcp(text: str, from_client: bool, pieces: list[bytes]) -> Came:
    dry = DryRun([addon.rule for addon in load_rules(text=text).rules])
    flow = TCPFlow(ClientConn(("127.0.0.1", 1)), ServerConn(("127.0.0.1", 2)))
    result = dry.connect(flow, [(from_client, piece) for piece in pieces])
    heard = result.heard
    client, server = (
        b"".join([each.content for each in heard.arrived if each.to_client is side])  # type: ignore[misc]
        for side in (True, False)
    )
    return [client], [server], heard.end, list(result.hits)


@settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)
@given(
    messages.rule_sets(messages.TCP, [*messages.ACTIONS, *messages.BOTH_WAYS[:2]]), st.booleans(),
    st.lists(st.sampled_from([*map(messages.as_bytes, messages.TEXTS), b"a\xffb"]), min_size=1, max_size=6),
)  # fmt: skip
def test_any_tcp_both_ways(text: str, from_client: bool, pieces: list[bytes]) -> None:
    assert dry_tcp(text, from_client, pieces) == asyncio.run(live_tcp(text, from_client, pieces)), text


async def test_a_websocket_that_is_cut_off_both_ways() -> None:
    text = rules("  - id: cut\n    match: ws.text == 'x'\n    block: reset\n")
    said: Said = [(True, "a"), (True, "x"), (True, "b")]
    to_client, to_server, _, hits = dry_websocket(text, said)
    assert (await live_websocket(text, said))[1:] == (to_server, None, hits)
    assert (to_client, to_server, hits) == ([], ["a"], ["cut"])
