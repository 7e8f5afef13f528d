"""What an addon can ask for through `flow.plan`, carried out by the layers on a clock that the test owns."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from rulesproxy.flow.http import HTTPFlow, HTTPResponse
from rulesproxy.flow.plan import Dribble, Fault, FileBody, Rate, Throttle
from rulesproxy.layers.reach import DialError
from tests.layers.rig import FakeClock, Rig, settle

GET = b"GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n"
HEAD = GET.replace(b"GET", b"HEAD")
OLD = b"GET http://a.test/x HTTP/1.0\r\nHost: a.test\r\n\r\n"
POST = b"POST http://a.test/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
TEN = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n6\r\n456789\r\n0\r\nX-Sum: 1\r\n\r\n"
CLOSE = b"Connection: close\r\n"


class Plans:
    """An addon that looks at heads only, and writes into the plan at one event.

    Attributes:
        ends: the events that ended flows.
    """

    observes = True

    def __init__(self, event: str, **plan: object) -> None:
        self.ends: list[str] = []
        self._plan = plan
        setattr(self, event, self._write)

    def _write(self, flow: HTTPFlow) -> None:
        for name, value in self._plan.items():
            setattr(flow.plan, name, value)


class Ends:
    """An addon that sees how flows end."""

    observes = True

    def __init__(self) -> None:
        self.ends: list[str] = []
        self.flows: list[HTTPFlow] = []

    def response(self, flow: HTTPFlow) -> None:
        self.ends.append("response")
        self.flows.append(flow)

    def error(self, flow: HTTPFlow) -> None:
        self.ends.append("error")
        self.flows.append(flow)


class Answer:
    """An addon that answers."""

    observes = True

    def __init__(self, body: bytes | FileBody) -> None:
        self._body = body

    def requestheaders(self, flow: HTTPFlow) -> None:
        flow.response = HTTPResponse.make(200, b"")
        flow.response.body_source = self._body


class Keep:
    """An addon that wants every body."""

    def request(self, flow: HTTPFlow) -> None: ...
    def response(self, flow: HTTPFlow) -> None: ...


# Delays


@pytest.mark.parametrize("event", ["requestheaders", "request", "responseheaders", "response"])
async def test_a_delay_passes_behind_its_event(event: str) -> None:
    for addons in ([], [Keep()]):
        clock = FakeClock()
        rig = Rig([OK], addons=[*addons, Plans(event, delay=1.25)], clock=clock)
        assert await rig.run(GET) == OK
        # Behind the end of a response that has streamed there is nothing to wait for.
        assert clock.time == pytest.approx(1000 if event == "response" and not addons else 1001.25)


async def test_a_request_that_waits_has_asked_no_server() -> None:
    clock = FakeClock()
    rig = Rig([OK], addons=[Plans("requestheaders", delay=5.0)], clock=clock)
    task = await rig.start(GET)
    await clock.sleep(4.9)
    assert rig.dialled == []
    await clock.sleep(0.2)
    assert rig.dialled == [("a.test", 80)]
    rig.client.feed_eof()
    await task


async def test_delays_add_up_and_are_waited_for_once() -> None:
    class Twice:
        observes = True

        def requestheaders(self, flow: HTTPFlow) -> None:
            flow.plan.delay += 1
            flow.plan.delay += 2

        def responseheaders(self, flow: HTTPFlow) -> None:
            assert flow.plan.delay == 0
            flow.plan.delay += 0.5

    clock = FakeClock()
    assert await Rig([OK, OK], addons=[Twice()], clock=clock).run(GET + GET) == OK + OK
    assert clock.time == pytest.approx(1007)


@pytest.mark.parametrize("event", ["requestheaders", "responseheaders"])
async def test_a_client_that_leaves_during_a_delay_is_noticed(event: str) -> None:
    clock, ends = FakeClock(), Ends()
    rig = Rig([OK], addons=[Plans(event, delay=100.0), ends], clock=clock)
    task = await rig.start(GET)
    await clock.sleep(10)
    rig.client.break_off()
    await task
    assert clock.time <= 1010.5
    assert ends.ends == ["error"]
    assert ends.flows[0].error is not None
    assert ends.flows[0].error.kind == "client"
    assert rig.services.upstreams.active == 0


# Flows that have failed


class Fails:
    """An addon that answers flows that fail, if it has a body for them, and writes into their plan."""

    observes = True

    def __init__(self, body: bytes | None, **plan: object) -> None:
        self._body = body
        self._plan = plan

    def error(self, flow: HTTPFlow) -> None:
        if self._body is not None:
            flow.response = HTTPResponse.make(503, self._body)
        for name, value in self._plan.items():
            setattr(flow.plan, name, value)


def failing(*addons: object, clock: FakeClock | None = None) -> Rig:
    return Rig(DialError("nobody listens", "refused"), addons=list(addons), clock=clock or FakeClock())


@pytest.mark.parametrize("body", [b"0123456789", None])
async def test_what_a_failed_flow_is_answered_with_waits(body: bytes | None) -> None:
    clock = FakeClock()
    answer = await failing(Fails(body, delay=1.25), clock=clock).run(GET)
    assert answer.startswith(b"HTTP/1.1 503" if body else b"HTTP/1.1 502")
    assert clock.time >= 1001.25
    task = await (rig := failing(Fails(body, delay=100.0), clock=clock)).start(GET)
    before = clock.time
    await clock.sleep(10)
    rig.client.break_off()
    await task
    assert clock.time <= before + 10.5


async def test_it_is_slow_and_spoiled_as_any_other_answer() -> None:
    clock, slow = FakeClock(), Throttle(Rate(100))
    whole = await failing(Fails(b"0" * 1000)).run(GET)
    assert await failing(Fails(b"0" * 1000), Plans("requestheaders", throttles=[slow]), clock=clock).run(GET) == whole
    assert clock.time >= 1010
    for addons in (
        [Fails(b"0123456789", fault=Fault(truncate=4))],
        [Plans("requestheaders", fault=Fault(truncate=4)), Fails(b"0123456789")],
    ):
        head, _, body = (await failing(*addons).run(GET)).partition(b"\r\n\r\n")
        assert b"Content-Length: 10" in head or b"content-length: 10" in head
        assert body == b"0123"


async def test_our_page_is_spoiled_only_by_who_asks_for_it_when_a_flow_has_failed() -> None:
    page = await failing().run(GET)
    assert b"nobody listens" in page
    assert await failing(Plans("requestheaders", fault=Fault(truncate=4))).run(GET) == page
    head, _, body = (await failing(Fails(None, fault=Fault(truncate=4))).run(GET)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 502")
    assert body == b"502 "


async def test_an_answer_to_a_failure_that_cannot_be_sent_is_none() -> None:
    assert await failing(Fails(b"", delay=float("nan"))).run(GET) == b""


# The bounds of a delay


async def test_a_delay_has_a_bound_and_must_be_a_time() -> None:
    clock = FakeClock()
    assert await Rig([OK], addons=[Plans("request", delay=1e9)], clock=clock).run(GET) == OK
    assert clock.time == 1120
    assert await Rig([OK], addons=[Plans("request", delay=9.0)], clock=clock, limits_delay=2.0).run(GET) == OK
    assert clock.time == 1122
    for bad in (-1, float("nan"), float("inf"), "1s"):
        got = await Rig(addons=[Plans("request", delay=bad)]).run(GET)
        assert got.startswith(b"HTTP/1.1 502 ")
        assert b"it is a number of seconds" in got


async def test_an_end_comes_after_its_delay() -> None:
    clock = FakeClock()
    rig = Rig(addons=[Plans("requestheaders", delay=3.0, end="reset")], clock=clock)
    assert await rig.run(GET, fin=False) == b""
    assert (clock.time, rig.client.aborted) == (1003, True)


async def test_a_tunnel_can_be_delayed_and_slow() -> None:
    clock = FakeClock()
    plans = Plans("http_connect", delay=2.0, throttles=[Throttle(down=Rate(100), latency=1.0)])
    rig = Rig([None], addons=[plans], clock=clock)
    task = await rig.start(b"CONNECT a.test:25 HTTP/1.1\r\nHost: a.test\r\n\r\n\x00\x01")
    await clock.sleep(2.5)
    assert rig.sent() == b"\x00\x01"
    rig.servers[0].feed(b"x" * 210)
    await clock.sleep(1.5)
    assert 40 <= bytes(rig.client.sent).count(b"x") <= 70
    await clock.sleep(3)
    assert bytes(rig.client.sent).endswith(b"\r\n\r\n" + b"x" * 210)
    rig.servers[0].feed_eof()
    rig.client.feed_eof()
    await task
    for bad in ("soon", -1.0):
        got = await Rig(addons=[Plans("http_connect", delay=bad)]).run(
            b"CONNECT a.test:25 HTTP/1.1\r\nHost: a.test\r\n\r\n"
        )
        assert got.startswith(b"HTTP/1.1 502 ")


# Throttles


async def test_a_response_is_slow_and_its_connection_goes_on_at_full_speed() -> None:
    class First:
        observes = True
        seen = 0

        def responseheaders(self, flow: HTTPFlow) -> None:
            self.seen += 1
            if self.seen == 1:
                flow.plan.throttles.append(Throttle(down=Rate(50_000), latency=0.2))

    body = b"x" * 100_000
    big = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + body
    for addons in ([], [Keep()]):
        clock = FakeClock()
        rig = Rig([big, OK], addons=[*addons, First()], clock=clock)
        assert await rig.run(GET + GET) == big + OK
        assert clock.time - 1000 == pytest.approx(2.2, rel=0.1)


async def test_a_throttle_holds_back_the_server() -> None:
    clock = FakeClock()
    rig = Rig([None], addons=[Plans("responseheaders", throttles=[Throttle(down=Rate(1000))])], clock=clock)
    task = await rig.start(GET)
    await settle()
    server = rig.servers[0]
    server.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    await clock.sleep(1)
    for _ in range(20):
        server.feed(b"64\r\n" + b"x" * 100 + b"\r\n")
    await clock.sleep(0.5)
    # Half a second's worth is out, and most of the rest has not been read.
    assert 300 < len(rig.client.sent) < 900
    assert server.pending
    rig.client.break_off()
    await task
    assert server.aborted


async def test_an_upload_is_slow() -> None:
    post = b"POST http://a.test/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5000\r\n\r\n" + b"y" * 5000
    for addons in ([], [Keep()]):
        clock = FakeClock()
        rig = Rig(
            [None, OK], addons=[*addons, Plans("requestheaders", throttles=[Throttle(up=Rate(1000))])], clock=clock
        )
        task = await rig.start(post[:-4000])
        await settle()
        # What came with the head is read already; the rest is slow.
        rig.client.feed(post[-4000:] + GET)
        rig.client.feed_eof()
        while rig.servers == [] or b"y" * 5000 not in rig.sent():
            await clock.sleep(0.1)
        assert clock.time - 1000 == pytest.approx(3.9, abs=0.2)
        rig.servers[0].feed(OK)
        await task
        assert bytes(rig.client.sent) == OK + OK


async def test_a_client_that_cancels_frees_the_server() -> None:
    clock, ends = FakeClock(), Ends()
    big = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
    rig = Rig([big], addons=[Plans("responseheaders", throttles=[Throttle(down=Rate(1000))]), ends], clock=clock)
    task = await rig.start(GET)
    await clock.sleep(5)
    assert 4000 < len(rig.client.sent) < 6000
    rig.client.break_off()
    left = clock.time
    await task
    assert clock.time - left <= 1
    assert rig.servers[0].aborted
    assert ends.ends == ["error"]


async def test_a_switched_connection_stays_slow() -> None:
    clock = FakeClock()
    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
    asks = GET[:-2] + b"Connection: Upgrade\r\nUpgrade: echo\r\n\r\n"
    rig = Rig([switch], addons=[Plans("requestheaders", throttles=[Throttle(down=Rate(100))])], clock=clock)
    task = await rig.start(asks)
    await clock.sleep(2)
    assert bytes(rig.client.sent).startswith(b"HTTP/1.1 101 ")
    before, now = len(rig.client.sent), clock.time
    rig.servers[0].feed(b"x" * 310)
    await clock.sleep(1)
    assert 60 <= len(rig.client.sent) - before <= 120
    rig.servers[0].feed_eof()
    rig.client.feed_eof()
    await task
    assert len(rig.client.sent) - before == 310
    assert clock.time - now == pytest.approx(3, abs=0.2)


# Faults

BAD = b"this is no chunk\r\n"
HEAD_OF_TEN = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

SPOILED = [
    # fault, request, the server's answer, what the client gets, whether its connection is reset
    (Fault(truncate=4), GET, TEN, HEAD_OF_TEN + b"0123", False),
    (Fault(truncate=0), GET, TEN, HEAD_OF_TEN, False),
    (Fault(truncate=4), GET, CHUNKS, CHUNKED_HEAD + b"4\r\n0123\r\n", False),
    (Fault(truncate=6), GET, CHUNKS, CHUNKED_HEAD + b"6\r\n012345\r\n", False),
    (Fault(truncate=4), OLD, CHUNKS, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n0123", True),
    (Fault(truncate=4), HEAD, HEAD_OF_TEN, HEAD_OF_TEN, False),
    (Fault(malformed_chunk=True), GET, TEN, CHUNKED_HEAD + b"a\r\n0123456789\r\n" + BAD, False),
    (Fault(malformed_chunk=True), GET, CHUNKS, CHUNKED_HEAD + b"a\r\n0123456789\r\n" + BAD, False),
    (Fault(malformed_chunk=True), GET, b"HTTP/1.1 204 No\r\n\r\n", b"HTTP/1.1 204 No\r\n\r\n", False),
]


@pytest.mark.parametrize(("fault", "request_", "answer", "got", "reset"), SPOILED)
@pytest.mark.parametrize("event", ["requestheaders", "responseheaders"])
async def test_an_answer_goes_wrong(
    fault: Fault, request_: bytes, answer: bytes, got: bytes, reset: bool, event: str
) -> None:
    ends = Ends()
    rig = Rig([answer], addons=[Plans(event, fault=fault), ends])
    whole = request_.startswith(b"HEAD") or answer.startswith(b"HTTP/1.1 204")
    assert await rig.run(request_, fin=whole) == got
    assert rig.client.aborted is reset
    assert ends.ends == ["response"]
    # A connection on which something may be left is never used again.
    assert rig.services.upstreams.active == 0
    assert bool(rig.services.upstreams.idle) is whole


@pytest.mark.parametrize("fault", [Fault(truncate=10), Fault(truncate=99)])
async def test_an_answer_that_is_short_enough_is_whole(fault: Fault) -> None:
    for answer in (TEN, CHUNKS):
        rig = Rig([answer, OK], addons=[Plans("requestheaders", fault=fault)])
        assert (await rig.run(GET + GET)).endswith(OK)


async def test_a_local_answer_goes_wrong(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    for body in (b"0123456789", FileBody(path, 0, 10)):
        rig = Rig(addons=[Answer(body), Plans("requestheaders", fault=Fault(truncate=3))])
        got = await rig.run(GET, fin=False)
        assert got == b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n012"
        rig = Rig(addons=[Answer(body), Plans("requestheaders", fault=Fault(malformed_chunk=True))])
        assert (await rig.run(GET, fin=False)).endswith(b"chunked\r\n\r\na\r\n0123456789\r\n" + BAD)


def body_of(sent: bytes) -> bytes:
    """What has arrived of a body, out of its chunks."""
    head, _, body = sent.partition(b"\r\n\r\n")
    if b"chunked" not in head:
        return body
    return b"".join(re.findall(rb"[1-9a-f]\r\n(.+?)\r\n", body))


async def test_a_body_dribbles() -> None:
    for server, addons in (([TEN, OK], []), ([TEN, OK], [Keep()]), ([CHUNKS, OK], [])):
        clock = FakeClock()
        fault = Fault(dribble=Dribble(4, 3.0))
        rig = Rig(server, addons=[*addons, Plans("requestheaders", fault=fault)], clock=clock)
        task = await rig.start(GET)
        seen = []
        for _ in range(4):
            await clock.sleep(0.5)
            assert not task.done()
            seen.append(body_of(bytes(rig.client.sent)))
            await clock.sleep(0.5)
        assert seen == [b"012", b"012345", b"012345678", b"0123456789"]
        rig.client.feed(GET)
        rig.client.feed_eof()
        await task
        assert bytes(rig.client.sent).count(b"HTTP/1.1 200 OK") == 2


async def test_an_endless_body_does_not_dribble(caplog: pytest.LogCaptureFixture) -> None:
    stream = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\n\n\r\n"
    rig = Rig([stream], addons=[Plans("requestheaders", fault=Fault(dribble=Dribble(2, 9.0)))], clock=FakeClock())
    task = await rig.start(GET)
    await settle()
    assert bytes(rig.client.sent).endswith(b"3\r\na\n\n\r\n")
    assert "nobody knows how long it is" in caplog.text
    rig.client.break_off()
    await task


async def test_a_slow_close_holds_the_connection_and_not_the_server() -> None:
    clock = FakeClock()
    rig = Rig([OK], addons=[Plans("requestheaders", fault=Fault(slow_close=7.0))], clock=clock)
    task = await rig.start(GET)
    await clock.sleep(0.1)
    assert bytes(rig.client.sent) == OK.replace(b"\r\n\r\n", b"\r\n" + CLOSE + b"\r\n")
    assert rig.services.upstreams.idle == 1
    await clock.sleep(6.8)
    assert not task.done()
    await task
    assert clock.time == pytest.approx(1007)
    # A client that closes first need not wait.
    rig = Rig([OK], addons=[Plans("requestheaders", fault=Fault(slow_close=7.0))], clock=clock)
    task = await rig.start(GET)
    await clock.sleep(0.1)
    rig.client.break_off()
    await asyncio.wait_for(task, 5)
    assert clock.time < 1008


async def test_the_server_of_a_spoiled_answer_gets_a_whole_request() -> None:
    for fault in (Fault(truncate=1), Fault(malformed_chunk=True), Fault(slow_close=0.1)):
        rig = Rig([TEN], addons=[Plans("requestheaders", fault=fault)], clock=FakeClock())
        await rig.run(POST, fin=False)
        assert rig.sent() == b"POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody"


async def test_flows_without_a_plan_make_none() -> None:
    ends = Ends()
    assert await Rig([OK], addons=[ends]).run(GET) == OK
    assert ends.flows[0].planned is None
