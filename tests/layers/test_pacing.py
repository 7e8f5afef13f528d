"""Slow lines on a clock that the test owns: rates, bursts, who shares them, and what back-pressure sees."""

from __future__ import annotations

import asyncio

import pytest

from rulesproxy.flow.plan import Rate, Throttle
from rulesproxy.layers.pacing import PacedStream, pause
from rulesproxy.layers.stream import FOREVER, MemoryStream, StreamClosed
from tests.layers.rig import FakeClock, settle


class Timed(MemoryStream):
    """A stream that remembers when it was given how many bytes."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock
        self.moves: list[tuple[float, int]] = []
        self.late = False

    def write(self, data: bytes) -> None:
        super().write(data)
        self.moves.append((self._clock.time - 1000, len(data)))
        self.late = self.late or self._clock.time >= self.deadline


def test_a_rate_must_be_one() -> None:
    for bad in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="more than 0 bytes"):
            Rate(bad)


def test_a_rate_saves_up_a_tenth_of_a_second() -> None:
    rate = Rate(1000)
    assert [round(rate.reserve(50, 5.0), 3) for _ in range(5)] == [0, 0, 0, 0.05, 0.1]
    # Nothing happens for a long time; what was not used is lost but for the same burst.
    assert [round(rate.reserve(50, 50.0), 3) for _ in range(4)] == [0, 0, 0, 0.05]


@pytest.mark.parametrize("speed", [10, 1000, 50_000, 10_000_000])
async def test_bytes_move_at_the_rate(speed: int) -> None:
    clock = FakeClock()
    below = Timed(clock)
    line = PacedStream(below, clock, Throttle(down=Rate(speed)))
    below.deadline = clock.now() + 1.5
    data = bytes(range(256)) * (speed // 100 + 1)
    line.write(data[:7])
    line.write(data[7:])
    await line.drain()
    assert bytes(below.sent) == data
    took = clock.time - 1000
    assert took == pytest.approx(len(data) / speed - 0.1, abs=0.11)
    assert max(size for _, size in below.moves) <= max(1, speed // 20)
    gaps = [after - before for (before, _), (after, _) in zip(below.moves, below.moves[1:], strict=False)]
    assert max(gaps) <= max(0.06, 1.01 / speed)
    # The peer was never made late by our own waits, though all of it took longer than its deadline.
    assert took > 1.5
    assert not below.late


async def test_a_shared_rate_is_shared_evenly() -> None:
    clock = FakeClock()
    rate = Rate(1000)
    streams = [Timed(clock), Timed(clock)]
    lines = [PacedStream(stream, clock, Throttle(down=rate)) for stream in streams]
    for line in lines:
        line.write(b"x" * 2000)
    await asyncio.gather(*[line.drain() for line in lines])
    assert clock.time - 1000 == pytest.approx(4, abs=0.2)
    ends = [stream.moves[-1][0] for stream in streams]
    assert abs(ends[0] - ends[1]) < 0.25


async def test_rates_of_their_own_do_not_meet() -> None:
    clock = FakeClock()
    lines = [PacedStream(Timed(clock), clock, Throttle(down=Rate(1000))) for _ in range(2)]
    for line in lines:
        line.write(b"x" * 2000)
    await asyncio.gather(*[line.drain() for line in lines])
    assert clock.time - 1000 == pytest.approx(2, abs=0.2)


async def test_the_slowest_of_several_throttles_decides() -> None:
    clock = FakeClock()
    line = PacedStream(Timed(clock), clock, Throttle(down=Rate(500)))
    line = PacedStream(line, clock, Throttle(down=Rate(5000)))
    line.write(b"x" * 2000)
    await line.drain()
    assert clock.time - 1000 == pytest.approx(4, abs=0.2)


async def test_latency_is_paid_after_a_silence() -> None:
    clock = FakeClock()
    below = Timed(clock)
    line = PacedStream(below, clock, Throttle(latency=0.2))
    for wait in (0, 0.1, 0.5):
        await clock.sleep(wait)
        line.write(b"x")
        await line.drain()
    assert [round(when, 3) for when, _ in below.moves] == [0.2, 0.3, 1.0]


async def test_an_upload_is_read_at_the_rate() -> None:
    clock = FakeClock()
    below = MemoryStream(b"x" * 3000, b"y" * 10)
    line = PacedStream(below, clock, Throttle(up=Rate(1000)))
    below.feed_eof()
    got = []
    while data := await line.read():
        got.append(data)
    assert b"".join(got) == b"x" * 3000 + b"y" * 10
    assert max(map(len, got)) == 50
    assert clock.time - 1000 == pytest.approx(2.9, abs=0.11)


async def test_what_is_left_goes_back_to_the_stream_below() -> None:
    clock = FakeClock()
    below = MemoryStream(b"x" * 60, b"next")
    line = PacedStream(below, clock, Throttle(up=Rate(1000), down=Rate(1)))
    assert await line.read() == b"x" * 50
    assert line.pending
    line.unread(b"z")
    line.write(b"out")
    assert line.detach() is below
    assert bytes(below.sent) == b"out"
    assert await below.read() == b"z" + b"x" * 10


async def test_the_reader_of_the_other_side_waits() -> None:
    """Whoever drains is held: so nothing is read from a server while the line is busy."""
    clock = FakeClock()
    line = PacedStream(Timed(clock), clock, Throttle(down=Rate(100)))
    line.write(b"x" * 1000)
    draining = asyncio.ensure_future(line.drain())
    await settle()
    assert not draining.done()
    await draining


async def test_two_writers_do_not_overtake_each_other() -> None:
    clock = FakeClock()
    below = Timed(clock)
    line = PacedStream(below, clock, Throttle(down=Rate(100), latency=0.3))

    async def send(data: bytes) -> None:
        line.write(data)
        await line.drain()

    await asyncio.gather(send(b"abc" * 20), send(b"defg" * 20))
    assert bytes(below.sent) == b"abc" * 20 + b"defg" * 20


async def test_a_client_that_leaves_ends_every_wait() -> None:
    for throttle in (Throttle(down=Rate(1)), Throttle(latency=60), Throttle(down=Rate(1000), latency=3)):
        clock = FakeClock()
        below = MemoryStream()
        line = PacedStream(below, clock, throttle)
        line.write(b"x" * 100_000)
        draining = asyncio.ensure_future(line.drain())
        await clock.sleep(0.3)
        below.break_off()
        left = clock.time
        with pytest.raises(StreamClosed):
            await draining
        assert clock.time - left <= 1


async def test_a_pause_ends_with_the_client() -> None:
    clock = FakeClock()
    client = MemoryStream()
    await pause(clock, client, 3.25)
    assert clock.time - 1000 == pytest.approx(3.25)
    waiting = asyncio.ensure_future(pause(clock, client, 1e6))
    await clock.sleep(2)
    client.break_off()
    left = clock.time
    with pytest.raises(StreamClosed):
        await waiting
    assert clock.time - left <= 0.5


async def test_the_rest_is_the_stream_below() -> None:
    below = MemoryStream(b"in", peername=("192.0.2.9", 1))
    line = PacedStream(below, FakeClock(), Throttle(down=Rate(1)))
    assert line.peername == ("192.0.2.9", 1)
    assert line.sockname == below.sockname
    line.deadline, line.eof_ends = 7.0, True
    assert (below.deadline, below.eof_ends) == (7.0, True)
    line.deadline = FOREVER
    assert line.ended_cleanly
    assert await line.read() == b"in"
    ends: list[bool] = []
    line.on_end(lambda: ends.append(True))
    below.feed_eof()
    assert (ends, line.ended, line.gone) == ([True], True, True)
    line.write(b"a")
    line.write_eof()
    assert (bytes(below.sent), below.write_ended) == (b"a", True)
    line.write(b"b")
    await line.close()
    assert (bytes(below.sent), below.closed) == (b"ab", True)
    line.write(b"c")
    line.abort()
    assert below.aborted
