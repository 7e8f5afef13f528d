"""Every pack over real traffic: the tests that it carries, sent through a real proxy to a real server."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from rulesproxy import HTTPFlow, load_rules
from rulesproxy.flow.connection import ServerConn
from rulesproxy.resources import packs
from rulesproxy.rules.dry.cases import Exchange
from rulesproxy.rules.dry.expected import Difference
from rulesproxy.rules.load import load_files
from tests.support.origin import Origin, answer
from tests.support.running import running
from tests.support.wire import Request

SAMPLED = {"ab": ("share",), "flaky": ("failing", "broken", "slow")}
"""Packs that leave to chance what they do, and the variables that are the shares."""
EXCHANGES = [
    pytest.param(name, exchange, id=f"{name}: {case.name}")
    for name, path in packs().items()
    for case in load_files([path]).tests
    for exchange in case.exchanges
]


@dataclass
class Wires:
    """An addon in the place of DNS, which also remembers which rules have matched."""

    plain: Origin
    secure: Origin
    hits: list[str] = field(default_factory=list)

    def serverconnect(self, server_conn: ServerConn) -> None:
        origin = self.secure if server_conn.address[1] == 443 else self.plain
        server_conn.address = ("127.0.0.1", origin.port)

    def response(self, flow: HTTPFlow) -> None:
        self.hits = list(flow.hits)

    def error(self, flow: HTTPFlow) -> None:
        self.hits = list(flow.hits)

    def requests(self) -> list[HTTPFlow]:
        """What the servers got."""
        return [
            HTTPFlow.make(
                request.method, f"{scheme}://{_host(request)}{request.target}", _fields(request), request.body
            )
            for scheme, origin in (("http", self.plain), ("https", self.secure))
            for request in origin.requests
        ]


def _fields(request: Request) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.fields]


def _host(request: Request) -> str:
    return next(value for name, value in _fields(request) if name.lower() == "host")


def rules_of(name: str, sampled: bool) -> str:
    """The pack as a file includes it: what is left to chance happens always or never."""
    vars = dict.fromkeys(SAMPLED.get(name, ()), "100%" if sampled else "0%")
    vars |= {"wait": "10ms"} if name == "flaky" else {}
    lines = [f"    vars: {{{', '.join(f'{key}: {value}' for key, value in vars.items())}}}"] if vars else []
    return "\n".join(["version: 1", "rules:", f"  - include: pack:{name}", *lines, ""])


@pytest.mark.parametrize(("name", "exchange"), EXCHANGES)
async def test_the_tests_of_a_pack_hold_on_the_wire(name: str, exchange: Exchange) -> None:
    sent = exchange.flow()
    server = sent.response
    assert server is not None
    wire = answer(server.status_code, server.content or b"", list(server.headers.items(multi=True)))
    async with Origin.http(wire) as plain, Origin.http(wire, tls="good") as secure:
        wires = Wires(plain, secure)
        rules = load_rules(text=rules_of(name, exchange.sampled))
        async with running(wires, rules=rules, verify_upstream=False) as proxy:
            headers = [(key, value) for key, value in sent.request.headers.items(multi=True) if key.lower() != "host"]
            trust = ssl.create_default_context(cafile=proxy.ca_path)
            async with httpx.AsyncClient(proxy=proxy.url, verify=trust, trust_env=False, timeout=20) as client:
                try:
                    got = await client.request(
                        sent.request.method, sent.request.url, headers=headers, content=sent.request.content
                    )
                except (httpx.RemoteProtocolError, httpx.ReadError):
                    got = None
        compare(exchange, got, wires)


def compare(exchange: Exchange, got: httpx.Response | None, wires: Wires) -> None:
    """Everything that is expected has come."""
    expect = exchange.expect
    found: list[Difference] = []
    if expect.rules is not None:
        assert wires.hits == [name for name, _ in expect.rules.names]
    if expect.rules_include is not None:
        assert {name for name, _ in expect.rules_include.names} <= set(wires.hits)
    assert (got is None) == (expect.end is not None)
    if got is not None:
        assert expect.status is None or got.status_code == expect.status.value
        response = HTTPFlow.make(
            "GET", "http://server/", status=got.status_code, response_headers=list(got.headers.multi_items())
        ).response
        assert response is not None
        found += expect.headers.compare(response) if expect.headers is not None else ()
        found += expect.body.compare(response, got.content) if expect.body is not None else ()
        found += expect.json.compare(got.content) if expect.json is not None else ()
    asked = wires.requests()
    if expect.upstream is not None:
        found += expect.upstream.compare(asked[0].request if asked else None)
    assert found == []


def test_every_pack_has_tests_that_all_of_its_rules_pass() -> None:
    tested = {param.values[0] for param in EXCHANGES}
    assert tested == set(packs())
    for name, path in packs().items():
        loaded = load_files([Path(f"pack:{name}")])
        assert [str(diagnostic) for diagnostic in loaded.diagnostics] == []
        assert {rule.id for rule in loaded.rules} == {rule.id for rule in load_files([path]).rules}
        assert all(rule.id for rule in loaded.rules), f"a rule of the pack {name} has no id"


@pytest.mark.parametrize("name", packs())
def test_a_pack_is_about_the_host_that_it_is_given(name: str) -> None:
    for given in ("vars: {host: only.test}", 'filters: {scope: host == "only.test"}'):
        rules = load_rules(text=f"version: 1\nrules:\n  - include: pack:{name}\n    {given}\n")
        for host, about in (("only.test", True), ("other.test", False)):
            flow = HTTPFlow.make(
                "GET", f"https://{host}/", status=200, response_headers=[("content-type", "text/html")]
            )
            assert rules.wants_host(host) == about
            assert about or rules.run(flow).hits == ()
