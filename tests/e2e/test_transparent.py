"""Transparent mode: a router's kernel redirects a client's connections, which has never heard of a proxy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rulesproxy import HTTPFlow, load_rules
from tests.support import pki
from tests.support.namespaces import FAR, ROUTER, SERVER, SERVER6, Namespaces, namespaces
from tests.support.origin import Origin, script
from tests.support.programs import Ran, run
from tests.support.recorder import Recorder
from tests.support.running import running

MODE = "transparent@[::]:0"


@pytest.fixture
def net() -> Iterator[Namespaces]:
    with namespaces() as made:
        yield made


async def curl(net: Namespaces, *arguments: str | Path) -> Ran:
    """What the client gets, in its own namespace."""
    return await run("ip", "netns", "exec", net.client, "curl", "-sS", "--max-time", "10", *arguments)


@pytest.mark.parametrize("server", [SERVER, SERVER6])
async def test_plain_http(net: Namespaces, server: str) -> None:
    recorder = Recorder()
    rules = load_rules(
        text="version: 1\nrules:\n- match: host == 'a.test'\n  rewrite: {response: {headers: {x: '1'}}}\n"
    )
    async with Origin(host=server) as origin:
        async with running(recorder, mode=MODE, allow_public=True, rules=rules) as proxy:
            net.redirect(proxy.port)
            ran = await curl(net, "-i", "-H", "Host: a.test", f"http://{origin.authority}/x")
            assert ran.code == 0, ran.err
            assert b"GET /x HTTP/1.1" in ran.out
            assert b"x: 1" in ran.out
        trace = await recorder.settled()
    assert trace == (
        "clientconnect next_layer requestheaders request serverconnect serverconnected responseheaders response "
        "clientdisconnect"
    )
    (flow,) = recorder.args("response")
    assert isinstance(flow, HTTPFlow)
    assert flow.request.host == "a.test"
    assert flow.server_conn.address == (server, origin.port)
    assert (flow.client_conn.connect_host, flow.client_conn.connect_port) == (server, origin.port)


@pytest.mark.parametrize("server", [SERVER, SERVER6])
async def test_https_is_intercepted_for_the_name_in_it(net: Namespaces, server: str) -> None:
    recorder = Recorder()
    async with Origin(host=server, tls="good") as origin:
        async with running(recorder, mode=MODE, allow_public=True) as proxy:
            net.redirect(proxy.port)
            there = f"example.test:{origin.port}:{server}"
            ran = await curl(
                net, "--resolve", there, "--cacert", proxy.ca_path, f"https://example.test:{origin.port}/x"
            )
            assert (ran.code, ran.out) == (0, b"GET /x HTTP/1.1"), ran.err
        trace = await recorder.settled()
    assert trace == (
        "clientconnect next_layer clienthello next_layer requestheaders request serverconnect serverconnected "
        "responseheaders response clientdisconnect"
    )


async def test_what_no_rule_is_about_passes_undecrypted(net: Namespaces) -> None:
    rules = load_rules(text="version: 1\nrules:\n- match: host == 'other.test'\n  block:\n")
    async with Origin(host=SERVER, tls="good") as origin:
        async with running(mode=MODE, allow_public=True, rules=rules) as proxy:
            net.redirect(proxy.port)
            there = f"example.test:{origin.port}:{SERVER}"
            ran = await curl(
                net, "--resolve", there, "--cacert", pki.ca_file(), f"https://example.test:{origin.port}/x"
            )
            assert (ran.code, ran.out) == (0, b"GET /x HTTP/1.1"), ran.err


async def test_a_server_that_speaks_first(net: Namespaces) -> None:
    async with Origin(script(b"220 hello\r\n", "close"), host=SERVER, raw=True) as origin:
        async with running(mode=MODE, allow_public=True) as proxy:
            net.redirect(proxy.port)
            ran = await curl(net, f"telnet://{origin.authority}")
            assert ran.out == b"220 hello\r\n"


@pytest.mark.parametrize("effect", ["block: reset", "fault: {truncate: 4}", "throttle: 1KB/s"])
async def test_raw_tcp_is_refused_spoiled_and_slowed(net: Namespaces, effect: str) -> None:
    """By its port, which is all that is known of it, and refused before the server is dialled."""
    async with Origin(
        script(b"220 welcome to this server, which has much to say\r\n" * 20, "close"), host=SERVER
    ) as origin:
        rules = load_rules(text=f"version: 1\nrules:\n- match: port == {origin.port}\n  {effect}\n")
        async with running(mode=MODE, allow_public=True, rules=rules) as proxy:
            net.redirect(proxy.port)
            begin = time.monotonic()
            target = f"telnet://{origin.authority}"
            ran = await curl(net, "-N", target)
        if effect.startswith("block"):
            assert (ran.code, ran.out) == (56, b"")
            assert not origin.connections
        elif effect.startswith("fault"):
            assert ran.out == b"220 "
        else:
            assert len(ran.out) == 20 * 51
            assert time.monotonic() - begin >= 0.8


async def test_a_client_that_was_not_redirected(net: Namespaces, caplog: pytest.LogCaptureFixture) -> None:
    async with running(mode=MODE, allow_public=True) as proxy:
        ran = await curl(net, f"http://{ROUTER}:{proxy.port}/")
        assert ran.code != 0
    assert "has connected to the transparent port itself" in caplog.text


async def test_traffic_of_our_own_is_not_followed_in_a_circle(
    net: Namespaces, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(mode=MODE, allow_public=True) as proxy:
        net.redirect(proxy.port)
        # The mistake that everybody makes once: the proxy's own connections are redirected, too.
        net.redirect(proxy.port, "OUTPUT")
        ran = await curl(net, "-i", f"http://{FAR}/x")
        # At the first turn, or by the one connection that has already come back.
        assert ran.out.startswith(b"HTTP/1.1 502")
    assert "leave the proxy's own traffic out" in caplog.text
