"""Budgets of Python calls for one exchange: what a change may not add to the hot path unnoticed."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

import pytest

import rulesproxy
from rulesproxy.addons.access_log import AccessLog
from rulesproxy.addons.har import Har
from rulesproxy.addons.hits import Hits
from rulesproxy.rules.ruleset import load_rules
from tests.layers.rig import Rig, settle

_OURS = str(Path(rulesproxy.__file__).parent)
_GET = b"GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\nAccept: */*\r\n\r\n"
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
_REQUESTS = 10
_HEADER_RULE = """
version: 1
rules:
  - match: ~all
    rewrite: {request: {headers: {x-req: "1"}}, response: {headers: {x-resp: "1"}}}
"""


@pytest.mark.parametrize(("rules", "budget"), [((), 113), ((_HEADER_RULE,), 157)], ids=["untouched", "two headers set"])
async def test_calls_of_an_exchange(
    rules: tuple[str, ...], budget: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "rulesproxy")
    # Commands that other tests have run in this process leave the handler that writes to standard error.
    monkeypatch.setattr(logging.getLogger("rulesproxy"), "handlers", [])
    sets = [load_rules(text=text) for text in rules]
    rig = Rig([None] * (_REQUESTS + 1), addons=[*sets, AccessLog(), Hits(), Har()])
    task = await rig.start(_GET)
    await settle()
    rig.servers[0].feed(_OK)
    await settle()
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        # Comprehensions are calls in some versions of Python only, and the streams here are those of tests.
        ours = code.co_filename.startswith(_OURS) and not code.co_filename.endswith("layers/stream.py")
        if event == "call" and ours and code.co_name[0] != "<":
            calls[f"{code.co_filename[len(_OURS) + 1 :]} {code.co_name}"] += 1

    sys.setprofile(count)
    try:
        for _ in range(_REQUESTS):
            # Both sides are waited for, and all coroutines above the wait are calls when it is over.
            rig.client.feed(_GET)
            await settle()
            rig.servers[0].feed(_OK)
            await settle()
    finally:
        sys.setprofile(None)
    rig.client.feed_eof()
    await task
    assert rig.client.sent.count(b"hello") == _REQUESTS + 1
    assert (b"x-req: 1" in rig.sent()) is (b"x-resp: 1" in rig.client.sent) is bool(rules)
    per_request = calls.total() / _REQUESTS
    shown = "\n".join(f"{number / _REQUESTS:g} {name}" for name, number in calls.most_common())
    assert per_request <= budget, f"{per_request:g} calls for a request\n{shown}"
