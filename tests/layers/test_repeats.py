"""What is sent again and again, and what goes wrong in a conversation, on a clock that the test owns."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from rulesproxy.flow.plan import Dribble, Fault, Plan, Repeat
from rulesproxy.layers.conversation import CutOff, Spoiler
from rulesproxy.layers.layer import Services
from rulesproxy.layers.repeats import Beats, Repeats
from rulesproxy.layers.stream import MemoryStream, StreamClosed
from rulesproxy.limits import DEFAULT, Limits
from tests.layers.rig import FakeClock


def services(clock: FakeClock, limits: Limits = DEFAULT) -> Services:
    """As much of the services as these need."""
    return cast(Services, SimpleNamespace(clock=clock, options=SimpleNamespace(limits=limits)))


def counting(stop: Callable[[int], bool] = lambda number: False) -> Callable[[], str]:
    numbers = iter(range(1, 1000))

    def content() -> str:
        number = next(numbers)
        if stop(number):
            raise ValueError("that was the last one")
        return str(number)

    return content


async def repeated(
    plan: Plan, seconds: float, ready: Callable[[bool], bool] = lambda to_client: True, limits: Limits = DEFAULT
) -> list[tuple[float, bool, object]]:
    """What is sent in so many seconds, and when."""
    clock, sent = FakeClock(), []
    repeats = Repeats(
        services(clock, limits), ready, lambda to_client, content: sent.append((clock.time - 1000, to_client, content))
    )
    repeats.follow(plan)
    await clock.sleep(seconds)
    await repeats.stop(plan)
    assert not plan.repeats
    return sent


async def test_each_at_its_own_time() -> None:
    plan = Plan()
    plan.repeats += [Repeat(2.0, counting()), Repeat(3.0, lambda: b"x", to_client=False)]
    assert await repeated(plan, 6.5) == [
        (2, True, "1"), (3, False, b"x"), (4, True, "2"), (6, False, b"x"), (6, True, "3"),
    ]  # fmt: skip


async def test_none_is_sent_to_who_is_behind() -> None:
    plan = Plan()
    plan.repeats.append(Repeat(1.0, counting()))
    turns = iter([True, False, False, True, True])
    # What was left out is not made either: the next one is the second.
    assert await repeated(plan, 5.5, lambda to_client: next(turns)) == [(1, True, "1"), (4, True, "2"), (5, True, "3")]


async def test_none_is_sent_too_often_and_not_too_many(caplog: pytest.LogCaptureFixture) -> None:
    plan = Plan()
    plan.repeats += [Repeat(0.0, lambda: "x"), Repeat(1.0, lambda: "y"), Repeat(1.0, lambda: "z")]
    with caplog.at_level(logging.WARNING):
        sent = await repeated(plan, 1.05, limits=Limits(repeat=0.25, repeats=2))
    assert [content for _, _, content in sent] == ["x", "x", "x", "y", "x"]
    assert "more than 2 things" in caplog.text


async def test_what_cannot_be_made_ends(caplog: pytest.LogCaptureFixture) -> None:
    plan = Plan()
    plan.repeats += [Repeat(1.0, counting(lambda number: number == 3), name="rule beat"), Repeat(1.5, lambda: "")]
    with caplog.at_level(logging.ERROR):
        assert [content for _, _, content in await repeated(plan, 9)] == ["1", "2"]
    assert [record.getMessage() for record in caplog.records] == [
        "rule beat: what is sent every 1 s cannot be sent: that was the last one"
    ]


async def test_those_of_a_body_are_taken_when_they_are_due(caplog: pytest.LogCaptureFixture) -> None:
    clock, plan = FakeClock(), Plan()
    beats = Beats(services(clock))
    plan.repeats += [Repeat(1.0, counting()), Repeat(1.0, lambda: b""), Repeat(2.0, counting(lambda number: True))]
    beats.follow(plan)
    reading = asyncio.ensure_future(clock.sleep(3.5))
    got = []
    with caplog.at_level(logging.ERROR):
        while not reading.done():
            await beats.wait(cast("asyncio.Task[object]", reading))
            got += beats.due()
    assert got == [b"1", b"2", b"3"]
    assert "cannot be sent" in caplog.text
    await beats.stop(plan)
    assert not plan.repeats


SPOILED = [
    (Fault(truncate=4), [b"12", b"345"], [b"12", b"34"], True, 0),
    (Fault(truncate=5), [b"12", b"345"], [b"12", b"345"], False, 0),
    (Fault(truncate=0), [b"1"], [], True, 0),
    (Fault(malformed_chunk=True), [b"12"], [b"12", b"!"], True, 0),
    (Fault(dribble=Dribble(3, 4.0)), [b"1234567", b"", b"1"], [b"123", b"456", b"7", b"", b"1"], False, 4),
    (Fault(truncate=4, dribble=Dribble(3, 4.0)), [b"1234567"], [b"123", b"4"], True, 2),
    (Fault(dribble=Dribble(2, 1000.0)), [b"12"], [b"1", b"2"], False, DEFAULT.delay),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "data", "expected", "cut", "took"), SPOILED)
async def test_how_bytes_go_wrong(
    fault: Fault, data: list[bytes], expected: list[bytes], cut: bool, took: float
) -> None:
    clock, stream, sent = FakeClock(), MemoryStream(), []
    stream.deadline = clock.now() + 1
    spoiler = Spoiler(services(clock), fault, stream, b"!")

    async def write(part: bytes) -> None:
        sent.append(part)

    async def everything() -> None:
        for part in data:
            await spoiler.send(part, write)

    if cut:
        with pytest.raises(CutOff):
            await everything()
    else:
        await everything()
    assert sent == expected
    assert clock.time - 1000 == pytest.approx(took, abs=0.6)
    # The waits are ours, not the peer's.
    assert stream.deadline - clock.now() == pytest.approx(1, abs=0.6)


async def test_what_is_no_message_neither_dribbles_nor_ends() -> None:
    clock, stream, sent = FakeClock(), MemoryStream(), []

    async def write(part: bytes) -> None:
        sent.append(part)

    spoiler = Spoiler(services(clock), Fault(malformed_chunk=True, dribble=Dribble(2, 1.0)), stream, b"!")
    await spoiler.send(b"1234", write, message=False)
    assert (sent, clock.time) == ([b"1234"], 1000)
    stream.break_off()
    with pytest.raises(StreamClosed):
        await spoiler.send(b"1234", write)
