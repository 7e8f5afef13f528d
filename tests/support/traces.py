"""The trace of one client: every event of a real proxy, in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from rulesproxy.app import Proxy
from tests.support.client import RawClient
from tests.support.origin import Origin
from tests.support.recorder import Observer, Recorder
from tests.support.running import client_of, running

Scenario: TypeAlias = Callable[[RawClient, Proxy, Origin], Awaitable[None]]


async def trace_of(
    scenario: Scenario, origin: Origin, *addons: object, observes: bool = False, **options: object
) -> tuple[str, Recorder]:
    """The events of one client that does `scenario`, the addons standing before the recorder."""
    recorder = Observer() if observes else Recorder()
    async with origin, running(*addons, recorder, **options) as proxy:
        async with client_of(proxy) as client:
            await scenario(client, proxy, origin)
        trace = await recorder.settled()
    assert recorder.count("serverdisconnect") == recorder.count("serverconnected")
    return trace, recorder
