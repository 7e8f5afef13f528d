"""The rarer turns of an exchange: bodies from files, functions in the way of bodies, answers at odd moments, plans."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from rulesproxy.flow.error import FlowError
from rulesproxy.flow.http import HTTPFlow, HTTPResponse
from rulesproxy.flow.plan import FileBody
from tests.layers.rig import Rig, settle

GET = b"GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
POST = b"POST http://a.test/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody"


class On:
    """An addon with one handler, which looks at heads only."""

    observes = True

    def __init__(self, event: str, handler: object) -> None:
        setattr(self, event, handler)


def answer_with(body: FileBody, **fields: str) -> On:
    def handler(flow: HTTPFlow) -> None:
        flow.response = HTTPResponse.make(200, b"", fields)
        flow.response.body_source = body

    return On("request", handler)


async def test_a_file_is_sent_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(bytes(range(256)) * 4096)
    for start, length in ((0, 1024 * 1024), (5, 700_000), (0, 0)):
        got = await Rig(addons=[answer_with(FileBody(path, start, length))]).run(GET)
        head, _, body = got.partition(b"\r\n\r\n")
        assert b"content-length: %d" % length in head.lower()
        assert body == path.read_bytes()[start : start + length]
    got = await Rig(addons=[answer_with(FileBody(path, 0, 9))]).run(GET.replace(b"GET", b"HEAD"))
    assert got.endswith((b"content-length: 0\r\n\r\n", b"content-length: 9\r\n\r\n"))


async def test_a_file_that_shrinks_or_vanishes_never_looks_whole(tmp_path: Path) -> None:
    path = tmp_path / "short"
    path.write_bytes(b"abc")
    rig = Rig(addons=[answer_with(FileBody(path, 0, 10))])
    await rig.run(GET, fin=False)
    assert rig.client.aborted
    rig = Rig(addons=[answer_with(FileBody(tmp_path / "gone", 0, 10))])
    await rig.run(GET, fin=False)
    assert rig.client.aborted


async def test_a_response_that_comes_too_late_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    def late(flow: HTTPFlow) -> None:
        flow.response = HTTPResponse.make(200, b"late")

    got = await Rig([OK], addons=[On("request", late)]).run(POST)
    assert got == OK
    assert "it is ignored" in caplog.text


async def test_a_response_replaced_after_the_server_has_answered() -> None:
    def replace(flow: HTTPFlow) -> None:
        flow.response = HTTPResponse.make(200, b"another")

    rig = Rig([b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\npart of it"], addons=[On("responseheaders", replace)])
    got = await rig.run(GET)
    assert got == b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nanother"
    assert rig.servers[0].aborted
    assert rig.services.upstreams.active == 0


@pytest.mark.parametrize(("how", "aborted"), [("close", False), ("reset", True)])
async def test_a_plan_ends_the_connection(how: str, aborted: bool) -> None:
    def end(flow: HTTPFlow) -> None:
        flow.plan.end = how  # type: ignore[assignment]

    for event in ("requestheaders", "request", "responseheaders"):
        rig = Rig([OK], addons=[On(event, end)])
        assert await rig.run(GET, fin=False) == b""
        assert rig.client.aborted is aborted


async def test_a_plan_of_silence_lasts_until_the_client_leaves() -> None:
    def end(flow: HTTPFlow) -> None:
        flow.plan.end = "timeout"

    rig = Rig(addons=[On("requestheaders", end)])
    task = await rig.start(GET)
    await settle()
    assert not task.done()
    rig.client.feed_eof()
    await asyncio.wait_for(task, 5)
    assert bytes(rig.client.sent) == b""


async def test_a_plan_ends_a_tunnel_before_it_begins(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="rulesproxy")

    def end(flow: HTTPFlow) -> None:
        flow.plan.end = "reset"

    rig = Rig(addons=[On("http_connect", end)])
    assert await rig.run(b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n", fin=False) == b""
    assert rig.client.aborted
    rig = Rig(addons=[On("http_connect", lambda flow: flow.kill())])
    assert await rig.run(b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n", fin=False) == b""
    ends = [line.partition("CONNECT a.test:443 -> ")[2] for line in caplog.messages]
    assert ends == ["refused: reset", "refused: closed"]


async def test_a_request_that_was_answered_keeps_its_connection_where_little_is_unread() -> None:
    def answer(flow: HTTPFlow) -> None:
        flow.response = HTTPResponse.make(200, b"no")

    local = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno"
    got = await Rig(addons=[On("requestheaders", answer)]).run(POST + GET)
    assert got == local + local
    big = POST.replace(b"Content-Length: 4", b"Content-Length: 100000")
    closing = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nConnection: close\r\n\r\nno"
    assert await Rig(addons=[On("requestheaders", answer)]).run(big) == closing
    chunked = (
        b"POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"fff\r\n"
        + b"x" * 4095
        + b"\r\n"
    )
    flood = chunked + (b"fff\r\n" + b"x" * 4095 + b"\r\n") * 20
    assert await Rig(addons=[On("requestheaders", answer)]).run(flood) == closing
    expecting = POST.replace(b"Host", b"Expect: 100-continue\r\nHost").removesuffix(b"body")
    assert await Rig(addons=[On("requestheaders", answer)]).run(expecting) == closing


async def test_a_request_function_changes_pieces() -> None:
    def stream(flow: HTTPFlow) -> None:
        flow.request.stream = lambda data: [data.upper(), b"?"] if data else b"!"

    rig = Rig([OK], addons=[On("requestheaders", stream)])
    assert await rig.run(POST) == OK
    assert rig.sent().endswith(b"Transfer-Encoding: chunked\r\n\r\n4\r\nBODY\r\n1\r\n?\r\n1\r\n!\r\n0\r\n\r\n")


async def test_trailers_of_a_body_that_was_kept() -> None:
    class Keep:
        def response(self, flow: HTTPFlow) -> None:
            assert flow.response is not None
            assert flow.response.trailers is not None
            flow.response.trailers["x-sum"] = "2"

    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n"
    got = await Rig([chunked], addons=[Keep()]).run(GET)
    assert got == chunked.replace(b"X-Sum: 1", b"X-Sum: 2")


async def test_a_client_that_stops_sending_is_told() -> None:
    rig = Rig([None])
    task = await rig.start(POST.removesuffix(b"dy"))
    await settle()
    rig.client.feed_eof()
    await asyncio.wait_for(task, 5)
    assert bytes(rig.client.sent).startswith(b"HTTP/1.1 400 ")
    assert rig.servers[0].aborted


async def test_a_tunnel_relays_both_ways_and_tells_addons() -> None:
    seen: list[tuple[bool, bytes]] = []

    class Watch:
        def tcp_message(self, flow: object) -> None:
            message = flow.messages[-1]  # type: ignore[attr-defined]
            seen.append((message.from_client, message.content))
            message.content = message.content.replace(b"secret", b"public")
            if message.content == b"drop":
                message.content = b""
                flow.inject(True, b"dropped")  # type: ignore[attr-defined]

    rig = Rig([None], addons=[Watch()])
    task = await rig.start(b"CONNECT a.test:25 HTTP/1.1\r\nHost: a.test\r\n\r\n\x00\x01secret")
    await settle()
    assert rig.sent() == b"\x00\x01public"
    rig.servers[0].feed(b"a secret back")
    rig.client.feed(b"drop")
    await settle()
    assert bytes(rig.client.sent).endswith(b"dropped") or bytes(rig.client.sent).endswith(b"a public back")
    assert b"a public back" in bytes(rig.client.sent)
    rig.servers[0].feed_eof()
    rig.client.feed_eof()
    await asyncio.wait_for(task, 5)
    assert seen[0] == (True, b"\x00\x01secret")
    assert rig.servers[0].closed


async def test_a_tunnel_that_breaks_is_told() -> None:
    events: list[str] = []

    class Watch:
        pass

    watch = Watch()
    for name in ("tcp_start", "tcp_error", "tcp_end"):
        setattr(watch, name, lambda flow, name=name: events.append(name))
    rig = Rig([None], addons=[watch])
    task = await rig.start(b"CONNECT a.test:25 HTTP/1.1\r\nHost: a.test\r\n\r\n\x00\x01")
    await settle()
    rig.servers[0].break_off()
    await asyncio.wait_for(task, 5)
    assert events == ["tcp_start", "tcp_error", "tcp_end"]
    assert rig.client.aborted


@pytest.mark.parametrize(("name", "value"), [("scheme", "ftp"), ("port", 70000), ("port", 0), ("host", "")])
async def test_a_request_that_is_sent_to_no_server(name: str, value: object) -> None:
    def elsewhere(flow: HTTPFlow) -> None:
        setattr(flow.request, name, value)

    rig = Rig(addons=[On("request", elsewhere)])
    got = await rig.run(GET)
    assert got.startswith(b"HTTP/1.1 502 ")
    assert b"a rule or an addon" in got
    assert rig.dialled == []


async def test_trailers_that_cannot_be_sent_are_not_announced(tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(b"abc")
    chunked = b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n"

    class Replace:
        def response(self, flow: HTTPFlow) -> None:
            assert flow.response is not None
            flow.response.body_source = FileBody(path, 0, 3)

    got = await Rig([chunked], addons=[Replace()]).run(GET)
    assert got == b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
    got = await Rig([chunked]).run(GET.replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert got == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhi"
    assert await Rig([chunked]).run(GET) == chunked


@pytest.mark.parametrize(
    ("asked", "sent", "answer", "got"),
    [
        # The client waits for no body, so that what the server sends in one would be taken for the next response.
        ("HEAD", "GET", OK, OK.removesuffix(b"hi")),
        ("HEAD", "GET", b"HTTP/1.1 200 OK\r\n\r\nhi<FIN>", b"HTTP/1.1 200 OK\r\n\r\n"),
        # The client waits for a body, and the server has announced one that does not come.
        ("GET", "HEAD", OK.removesuffix(b"hi"), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ],
)
async def test_the_method_of_the_client_decides_whether_there_is_a_body(
    asked: str, sent: str, answer: bytes, got: bytes
) -> None:
    def other_method(flow: HTTPFlow) -> None:
        if flow.request.path == "/x":
            flow.request.method = sent

    first = GET.replace(b"GET", asked.encode())
    rig = Rig([answer, OK], [OK], addons=[On("requestheaders", other_method)])
    assert await rig.run(first + GET.replace(b"/x", b"/y")) == got + OK
    assert bytes(rig.servers[0].sent).startswith(sent.encode() + b" /x ")


@pytest.mark.parametrize(("status", "fields"), [(304, b"Content-Length: 2\r\n"), (204, b"")])
@pytest.mark.parametrize("wanted", [False, True])
async def test_a_status_without_a_body_has_none_of_the_server(status: int, fields: bytes, wanted: bool) -> None:
    def other_status(flow: HTTPFlow) -> None:
        assert flow.response is not None
        if flow.request.path == "/x":
            flow.response.status_code = status
            flow.response.reason = ""

    addon = On("responseheaders", other_status)
    addon.wants_body = lambda flow, side: wanted  # type: ignore[attr-defined]
    rig = Rig([OK, OK], [OK], addons=[addon])
    got = await rig.run(GET + GET.replace(b"/x", b"/y"))
    assert got == b"HTTP/1.1 %d \r\n" % status + fields + b"\r\n" + OK


async def test_no_request_becomes_a_connect() -> None:
    """What follows the answer to one is no response (RFC 9110 section 9.3.6)."""

    def connect(flow: HTTPFlow) -> None:
        flow.request.method = "CONNECT"

    rig = Rig([OK], addons=[On("requestheaders", connect)])
    got = await rig.run(GET)
    assert got.startswith(b"HTTP/1.1 502 ")
    assert b"its method is CONNECT" in got
    assert not rig.servers


async def test_a_bad_chunk_behind_a_good_one_is_the_servers_fault() -> None:
    errors: list[FlowError | None] = []
    bad = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nno chunk\r\n"
    rig = Rig([bad], addons=[On("error", lambda flow: errors.append(flow.error))])
    await rig.run(GET)
    assert rig.client.aborted
    [error] = errors
    assert error is not None
    assert (error.kind, "sent a bad response" in error.msg) == ("protocol", True)


async def test_trailers_of_a_request_stay_behind_an_edited_body() -> None:
    def edit(flow: HTTPFlow) -> None:
        flow.request.content = b"other"

    addon = On("request", edit)
    addon.observes = False
    rig = Rig([OK], addons=[addon])
    chunks = b"Transfer-Encoding: chunked\r\nTrailer: x-t\r\n\r\n4\r\nbody\r\n0\r\nx-t: 1\r\n\r\n"
    assert await rig.run(POST.partition(b"Content-Length")[0] + chunks) == OK
    sent = bytes(rig.servers[0].sent)
    assert sent.endswith(b"\r\n\r\n5\r\nother\r\n0\r\nx-t: 1\r\n\r\n")
    assert b"content-length" not in sent.lower()
