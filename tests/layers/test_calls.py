"""A budget of Python calls for one exchange that nothing touches: what a change may not add to the hot path unnoticed."""

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
from tests.layers.rig import Rig, settle

_OURS = str(Path(rulesproxy.__file__).parent)
_GET = b"GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\nAccept: */*\r\n\r\n"
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
_REQUESTS = 10
_BUDGET = 113


async def test_calls_of_a_plain_exchange(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rulesproxy")
    rig = Rig([None] * (_REQUESTS + 1), addons=[AccessLog(), Hits(), Har()])
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
    per_request = calls.total() / _REQUESTS
    shown = "\n".join(f"{number / _REQUESTS:g} {name}" for name, number in calls.most_common())
    assert per_request <= _BUDGET, f"{per_request:g} calls for a request\n{shown}"
