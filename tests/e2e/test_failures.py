"""Answers in place of errors, with the exact traffic: statuses, refused connections, and servers that break off."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rulesproxy import Proxy, load_rules
from rulesproxy.flow.connection import ServerConn
from tests.e2e.test_scenarios import Names
from tests.support.client import RawClient
from tests.support.origin import Origin, OriginConnection, answer
from tests.support.running import client_of, get, running

# A20: a stale answer in place of a failure

FALLBACK = """
version: 1
rules:
  - id: stale
    match: response.status >= 500 or has(error.kind)
    respond:
      file: ./stale.json
      headers: {warning: "110 - stale"}
  - id: cors
    match: host == "api.t"
    cors: unlock
"""


@asynccontextmanager
async def fallback(folder: Path, *addons: object) -> AsyncIterator[tuple[Proxy, RawClient]]:
    (folder / "stale.json").write_text('{"stale": true}')
    (folder / "rules.yaml").write_text(FALLBACK)
    async with running(*addons, rules=load_rules(folder / "rules.yaml")) as proxy, client_of(proxy) as client:
        yield proxy, client


class Nowhere:
    """An addon that leads every name to a port on which nobody listens."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    def serverconnect(self, server_conn: ServerConn) -> None:
        server_conn.address = ("127.0.0.1", self.port)


@pytest.mark.parametrize("status", [500, 502, 503, 599])
async def test_a20_a_failing_server_is_covered(tmp_path: Path, status: int) -> None:
    async with Origin.http(answer(status, b"trace of the error", [("X-Trace", "1")])) as origin:
        async with fallback(tmp_path, Names(origin)) as (_, client):
            for _ in range(2):
                response = await client.request(get("http://api.t/data", "Origin: http://app.t"))
                assert (response.status, response.body) == (200, b'{"stale": true}')
                assert (response.get("warning"), response.get("content-type")) == ("110 - stale", "application/json")
                assert response.get("x-trace") is None
                # Rules below see the answer: a page may read it.
                assert response.get("access-control-allow-origin") == "http://app.t"


@pytest.mark.parametrize("status", [200, 304, 404, 429, 499])
async def test_a20_anything_else_passes(tmp_path: Path, status: int) -> None:
    body = b"" if status == 304 else b"mine"
    async with Origin.http(answer(status, body)) as origin, fallback(tmp_path, Names(origin)) as (_, client):
        response = await client.request(get("http://api.t/data"))
        assert (response.status, response.body, response.get("warning")) == (status, body, None)


async def test_a20_a_refused_connection_counts_too(tmp_path: Path) -> None:
    async with fallback(tmp_path, Nowhere()) as (proxy, client):
        response = await client.request(get("http://api.t/data", "Origin: http://app.t"))
        assert (response.status, response.body) == (200, b'{"stale": true}')
        assert response.get("warning") == "110 - stale"
        assert response.get("access-control-allow-origin") == "http://app.t"
        assert proxy.hits["stale"] == 1


async def test_a20_a_refused_connection_inside_tls(tmp_path: Path) -> None:
    async with fallback(tmp_path, Nowhere()) as (proxy, client):
        await client.tunnel("api.t:443", proxy.ca_path)
        response = await client.request(b"GET /data HTTP/1.1\r\nHost: api.t\r\n\r\n")
        assert (response.status, response.body) == (200, b'{"stale": true}')


@pytest.mark.parametrize("sent", [b"", b"no http\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Le"])
async def test_a20_a_server_that_breaks_off_before_its_answer(tmp_path: Path, sent: bytes) -> None:
    async def script(connection: OriginConnection) -> None:
        await connection.read_request()
        connection.send(sent)
        await connection.close()

    async with Origin(script) as origin, fallback(tmp_path, Names(origin)) as (_, client):
        response = await client.request(get("http://api.t/data"))
        assert (response.status, response.body) == (200, b'{"stale": true}')


async def test_a_half_answer_is_never_made_whole(tmp_path: Path) -> None:
    """What was sent cannot be taken back: the connection breaks off, and no rule pretends otherwise."""

    async def script(connection: OriginConnection) -> None:
        await connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await connection.close()

    async with Origin(script) as origin, fallback(tmp_path, Names(origin)) as (_, client):
        client.send(get("http://api.t/data"))
        received = await client.read_to_end()
        assert received.endswith(b"half")
        assert b"stale" not in received


async def test_a_failure_may_end_in_a_reset() -> None:
    rules = "version: 1\nrules:\n  - match: error.kind == refused\n    block: reset\n"
    async with running(Nowhere(), rules=load_rules(text=rules)) as proxy, client_of(proxy) as client:
        client.send(get("http://api.t/data"))
        assert (await client.read_to_end(), client.broken) == (b"", True)
