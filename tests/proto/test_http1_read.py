"""The readers' interface: what they pass on, hold, remember and cost."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc

import pytest

from rulesproxy.limits import Limits
from rulesproxy.proto import ProtocolError, fields, http1_read
from rulesproxy.proto.http1 import (
    CODECS,
    END,
    NEED_DATA,
    End,
    RequestHead,
    RequestReader,
    ResponseHead,
    ResponseReader,
    StrictRequestReader,
)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"


def drain(reader: RequestReader) -> None:
    while reader.next_message() is not NEED_DATA:
        pass


def test_names_in_messages() -> None:
    reader = RequestReader()
    reader.feed(POST)
    assert repr(reader.next_message()) == "<RequestHead POST / length=10>"
    response = ResponseReader()
    response.feed(OK + b"\r\n")
    assert repr(response.next_message()) == "<ResponseHead 200 length=-2>"
    assert (repr(END), repr(End([(b"a", b"A", b"b")]))) == ("<End>", "<End trailers=1>")


def test_body_data_is_passed_on_as_it_came() -> None:
    reader = RequestReader()
    reader.feed(POST)
    assert isinstance(reader.next_message(), RequestHead)
    for piece in (b"12345", b"67890"):
        reader.feed(piece)
        assert reader.next_message() is piece
    assert reader.next_message() is END
    response = ResponseReader()
    response.feed(OK + b"Transfer-Encoding: chunked\r\n\r\n64\r\n")
    assert isinstance(response.next_message(), ResponseHead)
    assert response.next_message() is NEED_DATA
    piece = b"x" * 50
    response.feed(piece)
    assert response.next_message() is piece


def test_small_chunks_come_as_one_message() -> None:
    reader = ResponseReader()
    reader.feed(OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1000 + b"2\r\ny")
    assert isinstance(reader.next_message(), ResponseHead)
    assert reader.next_message() == b"x" * 1000 + b"y"
    assert reader.next_message() is NEED_DATA


@pytest.mark.parametrize("codec", CODECS)
def test_idle_and_started(codec: str) -> None:
    reader = CODECS[codec][0]()
    assert (reader.idle, reader.started) == (True, False)
    reader.feed(POST[:20])
    assert reader.next_message() is NEED_DATA
    assert (reader.idle, reader.started) == (False, True)
    reader.feed(POST[20:])
    assert isinstance(reader.next_message(), RequestHead)
    assert (reader.idle, reader.started) == (False, False)
    reader.feed(b"0123456789")
    assert reader.next_message() == b"0123456789"
    assert (reader.idle, reader.started) == (False, False)
    assert reader.next_message() is END
    assert (reader.idle, reader.started) == (True, False)
    reader.feed(b"\r\n")
    assert reader.next_message() is NEED_DATA
    assert (reader.idle, reader.started) == (True, False)


@pytest.mark.parametrize("codec", CODECS)
def test_the_method_may_be_said_after_the_first_byte(codec: str) -> None:
    reader = CODECS[codec][1]()
    reader.feed(OK)
    assert reader.next_message() is NEED_DATA
    reader.expect("HEAD")
    reader.feed(b"Content-Length: 5\r\n\r\n")
    assert isinstance(reader.next_message(), ResponseHead)
    assert reader.next_message() is END
    reader.feed(OK + b"Content-Length: 5\r\n\r\n")
    assert isinstance(reader.next_message(), ResponseHead)
    reader.expect("HEAD")
    reader.feed(b"hello" + OK + b"Content-Length: 5\r\n\r\n")
    assert reader.next_message() == b"hello"
    assert reader.next_message() is END
    assert isinstance(reader.next_message(), ResponseHead)
    assert reader.next_message() is END


@pytest.mark.parametrize("codec", CODECS)
def test_what_follows_a_connect_is_handed_over(codec: str) -> None:
    reader = CODECS[codec][0]()
    reader.feed(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n\x16\x03")
    reader.feed(b"\x01")
    assert isinstance(reader.next_message(), RequestHead)
    assert reader.next_message() is END
    assert reader.take_rest() == b"\x16\x03\x01"
    reader.feed(b"more")
    assert reader.next_message() is NEED_DATA
    assert not reader.idle
    assert reader.take_rest() == b"more"


def test_the_same_section_twice_is_read_once() -> None:
    reader = RequestReader()
    reader.feed(GET + GET.replace(b"/", b"/2", 1) + GET.replace(b"a", b"b"))
    heads = [message for _ in range(6) if isinstance(message := reader.next_message(), RequestHead)]
    assert [head.target for head in heads] == ["/", "/2", "/"]
    assert heads[0].fields is heads[1].fields
    assert [head.host for head in heads] == ["a", "a", "b"]


def test_a_long_section_is_not_kept() -> None:
    reader = RequestReader()
    reader.feed(GET[:-2] + b"X: %b\r\n\r\n" % (b"y" * 3000) + GET[:-2] + b"X: %b\r\n\r\n" % (b"y" * 3000))
    first, _, second = (reader.next_message() for _ in range(3))
    assert isinstance(first, RequestHead)
    assert isinstance(second, RequestHead)
    assert first.fields == second.fields
    assert first.fields is not second.fields


def test_what_is_remembered_is_bounded() -> None:
    request, response = RequestReader(), ResponseReader()
    for number in range(1500):
        request.feed(b"GET / HTTP/1.1\r\nHost: h%d\r\nX-%d: %d\r\n\r\n" % (number, number, number))
        assert isinstance(request.next_message(), RequestHead)
        assert request.next_message() is END
        response.feed(b"HTTP/1.1 204 %d\r\n\r\n" % number)
        assert isinstance(response.next_message(), ResponseHead)
        assert response.next_message() is END
    long = b"z" * 300
    request.feed(b"GET / HTTP/1.1\r\nHost: %b\r\n%b: %b\r\n\r\n" % (long, long, long))
    assert isinstance(request.next_message(), RequestHead)
    response.feed(b"HTTP/1.1 204 %b\r\n\r\n" % long)
    assert isinstance(response.next_message(), ResponseHead)
    for table in (fields._LINES, fields._NAMES, fields._HOSTS, http1_read._STATUS_LINES):
        assert 0 < len(table) <= 1024
        assert all(len(key) <= 256 for key in table)


@pytest.mark.parametrize("codec", CODECS)
def test_an_endless_head_is_refused_before_it_fills_memory(codec: str) -> None:
    reader = CODECS[codec][0](Limits())
    reader.feed(b"GET / HTTP/1.1\r\n")
    fed = 0

    def go_on() -> None:
        nonlocal fed
        while reader.next_message() is NEED_DATA:
            reader.feed(b"X: 1234567890\r\n")
            fed += 15

    tracemalloc.start()
    with pytest.raises(ProtocolError) as error:
        go_on()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error.value.status == 431
    assert fed < 66_000
    assert peak < 400_000


def test_a_disagreement_of_the_parsers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # There is none that we know of, so one is made: a reader that takes a NUL for a space.
    reader = StrictRequestReader()
    reader.feed(GET)
    assert isinstance(reader.next_message(), RequestHead)
    monkeypatch.setitem(fields._LINES, b"X: a\x00b", (b"x", b"X", b"a b"))
    reader.feed(GET[:-2] + b"X: a\x00b\r\n\r\n")
    assert reader.next_message() is END
    with pytest.raises(ProtocolError, match="do not agree"):
        reader.next_message()
    with pytest.raises(ProtocolError, match="do not agree"):
        reader.next_message()


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        (b"X: a", (b"x", b"X", b"b")),
        (b"Content-Length: 5", (b"content-length", b"Content-Length", b"6")),
        (b"Content-Length: 6", (b"content-length", b"Content-Length", b"0")),
        (b"Content-Length: 7", (b"x", b"Content-Length", b"7")),
        (b"Y: chunked", (b"transfer-encoding", b"Y", b"chunked")),
    ],
)
def test_every_disagreement_is_seen(line: bytes, wrong: tuple[bytes, bytes, bytes], monkeypatch) -> None:
    monkeypatch.setitem(fields._LINES, line, wrong)
    reader = StrictRequestReader()
    reader.feed(GET[:-2] + line + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    with pytest.raises(ProtocolError, match="do not agree"):
        drain(reader)


def test_h11_is_imported_when_it_is_needed() -> None:
    code = "import sys, rulesproxy.proto.http1; sys.exit('h11' in sys.modules or 'httptools' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_calls_per_message() -> None:
    """A budget of Python function calls: what a change may not add to the hottest code unnoticed."""
    browser = GET[:-2] + b"".join(b"X-%d: y\r\n" % number for number in range(17))
    response = OK + b"Content-Length: 5\r\nConnection: keep-alive\r\nDate: %d\r\n\r\nhello"
    request_reader, response_reader = RequestReader(), ResponseReader()

    def exchange(number: int) -> int:
        calls = 0

        def count(frame: object, event: str, argument: object) -> None:
            nonlocal calls
            calls += event == "call"

        request_data, response_data = browser + b"Y: %d\r\n\r\n" % number, response % number
        sys.setprofile(count)
        request_reader.feed(request_data)
        request_reader.next_message()
        request_reader.next_message()
        response_reader.feed(response_data)
        response_reader.next_message()
        response_reader.next_message()
        response_reader.next_message()
        sys.setprofile(None)
        return calls

    exchange(0)
    assert exchange(0) <= 20
    assert exchange(1) <= 34
