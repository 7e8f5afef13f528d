"""Events that nobody waits for."""

import asyncio
import threading

from rulesproxy.engine import later
from rulesproxy.engine.later import Later


async def test_order_and_bound(monkeypatch):
    seen = []

    async def run(argument):
        await asyncio.sleep(0)
        seen.append(argument)

    monkeypatch.setattr(later, "BACKLOG", 3)
    queue = Later(run)
    for number in range(6):
        queue.put(number)
    await queue.flush(5)
    assert seen == [3, 4, 5]
    await queue.flush(5)
    queue.put("again")
    await queue.flush(5)
    assert seen[3:] == ["again"]


async def test_what_hangs_is_lost_at_the_end():
    async def run(argument):
        await asyncio.Event().wait()

    queue = Later(run)
    queue.put(1)
    queue.put(2)
    await queue.flush(0.01)
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1


def test_nothing_happens_after_the_end():
    seen = []

    async def run(argument):
        seen.append(argument)

    async def make():
        return Later(run)

    queue = asyncio.run(make())
    queue.put(1)
    thread = threading.Thread(target=queue.put, args=(2,))
    thread.start()
    thread.join()
    assert seen == []
