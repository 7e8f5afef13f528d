"""Rules that act on some flows, on real sockets: experiments, flaky servers, and bodies that are refused for their size."""

from __future__ import annotations

import pytest

from rulesproxy import load_rules
from tests.e2e.test_scenarios import Names
from tests.support.origin import Origin, answer
from tests.support.running import client_of, get, running

# on-overflow

READS = """
version: 1
rules:
  - match: request.text contains "secret"
    on-overflow: block
    block: 403
  - match: path == "/r" and response.text contains "secret"
    on-overflow: block
    rewrite: {response: {headers: {x-seen: "1"}}}
"""


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_request_that_is_too_big_to_be_read_is_refused(chunked: bool) -> None:
    async with Origin.http(answer(200, b"ok")) as origin:
        names = Names(origin)
        async with running(names, rules=load_rules(text=READS), limits_body=1000) as proxy:
            async with client_of(proxy) as client:
                assert (await client.request(get("http://a.t/", method="POST", body=b"x" * 1000))).status == 200
                assert (await client.request(get("http://a.t/", method="POST", body=b"a secret"))).status == 403
                request = get("http://a.t/", method="POST", body=b"x" * 1001)
                if chunked:
                    request = get("http://a.t/", "Transfer-Encoding: chunked", method="POST")
                    request += b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n"
                response = await client.request(request)
                assert response.status == 413
                assert b"over 1000 bytes" in response.body
        assert [request.method for request in origin.requests] == ["POST"]


@pytest.mark.parametrize("chunks", [[], [b"x" * 500, b"x" * 501]])
async def test_a_response_that_is_too_big_to_be_read_is_refused(chunks: list[bytes]) -> None:
    async with Origin.http(answer(200, b"" if chunks else b"x" * 1001, chunks=chunks or None)) as origin:
        names = Names(origin)
        async with running(names, rules=load_rules(text=READS), limits_body=1000) as proxy:
            async with client_of(proxy) as client:
                # A body that no rule needs passes at any size.
                assert len((await client.request(get("http://a.t/other"))).body) == 1001
                response = await client.request(get("http://a.t/r"))
                assert (response.status, b"over 1000 bytes" in response.body) == (502, True)
