"""Exchanges and connections are gone with their last reference: nothing is left to the garbage collector.

A cycle per request would cost pauses of tens of milliseconds, and memory until the collector comes by.
"""

from __future__ import annotations

import pytest

from rulesproxy.rules.ruleset import load_rules
from tests.layers.rig import Rig
from tests.support.cycles import left_by

GET = b"GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n"
POST = b"POST http://a.test/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

RULES = """
version: 1
rules:
  - match: ~all
    rewrite: {request: {headers: {x-a: "1"}}, response: {headers: {x-b: "2"}}}
  - match: path == "/x"
    rewrite: {response: {body: {append: "!"}}}
"""


@pytest.mark.parametrize("request_", [GET, POST], ids=["get", "post"])
@pytest.mark.parametrize("rules", [False, True], ids=["plain", "rules"])
async def test_an_exchange_leaves_no_cycle(request_: bytes, rules: bool) -> None:
    async def once() -> Rig:
        rig = Rig([OK] * 3, addons=[load_rules(text=RULES)] if rules else [])
        got = await rig.run(request_ * 3)
        assert got.count(b"200 OK") == 3
        return rig

    first, rig, left = await left_by(once)
    # The pool, the engine and the client's stream live on in the rig, as they do in a proxy.
    assert first.services.upstreams.idle == rig.services.upstreams.idle == 1
    assert left == []
