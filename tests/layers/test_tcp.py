"""Raw TCP with rules on a clock that stands still while something can run: who waits, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rulesproxy.layers.modes import Mode
from rulesproxy.limits import DEFAULT, TCP_HOLD_SHARES
from rulesproxy.rules.ruleset import load_rules
from tests.layers.rig import FakeClock, Rig

MODE = Mode("tcp", ("a.test", 6379), raw=True)
RULES = r"""version: 1
rules:
  - match: ~tcp # rulesproxy: ignore[RP683]
    rewrite: {message: {replace: [{regex: 'secret=\w+', with: hidden}]}}
"""


async def until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never comes")


async def start(clock: FakeClock) -> tuple[Rig, asyncio.Task[None]]:
    rig = Rig([], addons=[load_rules(text=RULES)], mode=MODE, clock=clock)
    task = await rig.start()
    await until(lambda: len(rig.servers) == 1)
    return rig, task


async def end(rig: Rig, task: asyncio.Task[None]) -> None:
    rig.client.feed_eof()
    rig.servers[0].feed_eof()
    await asyncio.wait_for(task, 5)
    await rig.engine.shutdown()


async def test_a_protocol_of_requests_and_answers_is_slowed_at_its_beginning_only() -> None:
    clock = FakeClock()
    rig, task = await start(clock)
    (server,) = rig.servers
    took = []
    for turn in range(1, 21):
        begin = clock.time
        # What may be the beginning of a match ends each request, and nobody sends the rest before the answer.
        rig.client.feed(b"get secret=x")
        await until(lambda: bytes(server.sent) == b"get hidden" * turn)  # noqa: B023
        took.append(clock.time - begin)
        server.feed(b"got\r\n")
        await until(lambda: bytes(rig.client.sent) == b"got\r\n" * turn)  # noqa: B023
    assert abs(took[0] - DEFAULT.tcp_hold) < 1e-6
    assert abs(took[1] - DEFAULT.tcp_hold / 2) < 1e-6
    assert abs(took[-1] - DEFAULT.tcp_hold / TCP_HOLD_SHARES) < 1e-6
    # Once the rest has come in time, it is waited for as long as before.
    begin = clock.time
    rig.client.feed(b"|secr")
    await until(lambda: bytes(server.sent).endswith(b"|"))
    rig.client.feed(b"et=x|secret=")
    await until(lambda: bytes(server.sent).endswith(b"|hidden|"))
    rig.client.feed(b"x")
    await until(lambda: bytes(server.sent).endswith(b"|hidden|hidden"))
    assert abs(clock.time - begin - DEFAULT.tcp_hold) < 1e-6
    await end(rig, task)


async def test_nobody_waits_where_nothing_has_begun() -> None:
    clock = FakeClock()
    rig, task = await start(clock)
    (server,) = rig.servers
    for turn in range(1, 21):
        rig.client.feed(b"get secret=x\r\n")
        await until(lambda: bytes(server.sent) == b"get hidden\r\n" * turn)  # noqa: B023
        server.feed(b"secret=y\r\n")
        await until(lambda: bytes(rig.client.sent) == b"hidden\r\n" * turn)  # noqa: B023
    assert clock.time == FakeClock().time
    await end(rig, task)


async def test_the_end_of_one_direction_sends_what_was_kept() -> None:
    clock = FakeClock()
    rig, task = await start(clock)
    (server,) = rig.servers
    rig.client.feed(b"a secret=ab")
    rig.client.feed(b"cd secr")
    rig.client.feed_eof()
    await until(lambda: bytes(server.sent) == b"a hidden secr")
    server.feed(b"secr")
    server.feed(b"et=x")
    server.feed_eof()
    await until(lambda: bytes(rig.client.sent) == b"hidden")
    assert clock.time == FakeClock().time
    await asyncio.wait_for(task, 5)
    await rig.engine.shutdown()
