"""HTTP/2 towards servers, over real sockets: what arrives there and what clients get."""

from __future__ import annotations

from rulesproxy import load_rules
from rulesproxy.rules.ruleset import RuleSet
from tests.support.h2_origin import H2Origin
from tests.support.running import client_of, get, running


def version(number: str = "2", more: str = "") -> RuleSet:
    """Rules that speak HTTP/2 to every server."""
    return load_rules(
        text=f"version: 1\nrules:\n- match: ~all\n  upstream:\n    http-version: {number}\n{more}".replace("\t", "  ")
    )


async def test_a_request_over_tls() -> None:
    async with H2Origin() as origin, running(rules=version()) as proxy, client_of(proxy) as client:
        await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
        response = await client.request(b"GET /x HTTP/1.1\r\nHost: localhost\r\nX-Mixed-Case: a\r\n\r\n")
        assert (response.status, response.body) == (200, b"GET /x 0")
        assert response.get("content-type") == "text/plain"
        [request] = origin.streams
        assert request.fields == [
            (":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/x"),
            ("x-mixed-case", "a"),
        ]  # fmt: skip


async def test_a_request_without_tls() -> None:
    async with H2Origin(tls=None) as origin, running(rules=version()) as proxy, client_of(proxy) as client:
        response = await client.request(get(f"{origin.url}/y", method="POST", body=b"hello"))
        assert (response.status, response.body) == (200, b"POST /y 5")
