"""HTTP/2: what a client makes of what a server sends, whole and byte by byte, and what it sends itself."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rulesproxy.flow.headers import Field, Headers
from rulesproxy.limits import DEFAULT, KIB, Limits
from rulesproxy.proto import ProtocolError
from rulesproxy.proto.http1_messages import NEED_DATA, End, ResponseHead
from rulesproxy.proto.http2 import Changed, ClientCodec, GoAway, Message, Reset, error_name, trailer_fields
from tests.support.h2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END,
    END_HEADERS,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SERVER,
    SETTINGS,
    WINDOW_UPDATE,
    block,
    cut,
    data,
    frame,
    goaway,
    head,
    setting,
    trailers,
    word,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def client(methods: Sequence[str] = ("GET",), limits: Limits = DEFAULT) -> ClientCodec:
    """A client that has sent these requests, on the streams 1, 3, 5 and so on; those with a body are not over."""
    codec = ClientCodec(limits)
    for method in methods:
        codec.open(method, "https", b"a.test", "/", [], end=method != "POST")
    return codec


def show(number: int, message: Message) -> str:
    if isinstance(message, ResponseHead):
        fields = "".join(f" {name.decode()}={value.decode('latin-1')}" for _, name, value in message.fields)
        return f"{number} {message.status} {message.reason} length={message.length}{fields}"
    if isinstance(message, bytes):
        return f"{number} data {len(message)}"
    if isinstance(message, End):
        return f"{number} end" + "".join(
            f" {name.decode()}={value.decode()}" for _, name, value in message.trailers or ()
        )
    if isinstance(message, Reset):
        return f"{number} reset {error_name(message.code)}{message.why and ': ' + message.why}"
    if isinstance(message, GoAway):
        return f"goaway {error_name(message.code)} {message.text.decode()}".rstrip()
    assert isinstance(message, Changed)
    return ""


def read(pieces: Iterable[bytes], methods: Sequence[str] = ("GET",), limits: Limits = DEFAULT) -> list[str]:
    """What a client makes of what comes, as lines; pieces of one body joined; `broken` with the code at an error."""
    codec = client(methods, limits)
    codec.take_output()
    lines: list[str] = []
    bodies: dict[int, int] = {}
    for piece in pieces:
        codec.feed(piece)
        while True:
            try:
                event = codec.next_message()
            except ProtocolError as exc:
                return [*lines, *bodies_of(bodies), broken(codec, exc)]
            if event is NEED_DATA:
                break
            number, message = event
            if isinstance(message, bytes):
                assert message, "body data is never empty"
                bodies[number] = bodies.get(number, 0) + len(message)
                codec.consumed(number, len(message), behind=False)
                continue
            if bodies.get(number):
                lines.append(f"{number} data {bodies.pop(number)}")
            line = show(number, message)
            lines += [line] if line else []
    return lines + bodies_of(bodies)


def bodies_of(sizes: dict[int, int]) -> list[str]:
    return [f"{number} data {size}" for number, size in sizes.items()]


def broken(codec: ClientCodec, error: ProtocolError) -> str:
    """It stays broken, and the server is told."""
    with pytest.raises(ProtocolError, match=re.escape(str(error))):
        codec.next_message()
    kind, _, _, payload = cut(codec.take_output())[-1]
    assert (kind, error.status) == (GOAWAY, 502)
    return f"broken {error_name(int.from_bytes(payload[4:], 'big'))}: {error}"


def check(sent: bytes, lines: list[str], methods: Sequence[str] = ("GET",), limits: Limits = DEFAULT) -> None:
    """Whole, byte by byte, and in two pieces at many places: always the same."""
    assert read([sent], methods, limits) == lines
    assert read([sent[at : at + 1] for at in range(len(sent))], methods, limits) == lines
    for at in range(0, len(sent), max(1, len(sent) // 50)):
        assert read([sent[:at], sent[at:]], methods, limits) == lines


GOOD: list[tuple[str, Sequence[str], bytes, list[str]]] = [
    ("only a head", ["GET"], head(1, 200, ("x", "1"), end=True), ["1 200 OK length=0 x=1", "1 end"]),
    ("a body", ["GET"], head(1) + data(1, b"hello", True), ["1 200 OK length=-2", "1 data 5", "1 end"]),
    (
        "a body of a known length",
        ["GET"],
        head(1, 200, ("content-length", "5")) + data(1, b"he") + data(1, b"llo") + data(1, b"", True),
        ["1 200 OK length=5 content-length=5", "1 data 5", "1 end"],
    ),
    (
        "duplicates and order",
        ["GET"],
        head(1, 200, ("set-cookie", "a=1"), ("x", ""), ("set-cookie", "b=2"), end=True),
        ["1 200 OK length=0 set-cookie=a=1 x= set-cookie=b=2", "1 end"],
    ),
    (
        "bytes that are no ASCII",
        ["GET"],
        frame(HEADERS, END_HEADERS | END, 1, b"\x88\x00\x01x\x02\xc3\xa9"),
        ["1 200 OK length=0 x=Ã©", "1 end"],
    ),
    (
        "interim responses",
        ["GET"],
        head(1, 103, ("link", "</s>")) + head(1, 100) + head(1, 204, end=True),
        ["1 103 Early Hints length=0 link=</s>", "1 100 Continue length=0", "1 204 No Content length=0", "1 end"],
    ),
    (
        "trailers",
        ["GET"],
        head(1) + data(1, b"x") + trailers(1, ("grpc-status", "0")),
        ["1 200 OK length=-2", "1 data 1", "1 end grpc-status=0"],
    ),
    (
        "a length and trailers that are announced",
        ["GET"],
        head(1, 200, ("content-length", "1"), ("trailer", "x")) + data(1, b"x") + trailers(1, ("x", "1")),
        ["1 200 OK length=-2 content-length=1 trailer=x", "1 data 1", "1 end x=1"],
    ),
    (
        "HEAD",
        ["HEAD"],
        head(1, 200, ("content-length", "5"), end=True),
        ["1 200 OK length=0 content-length=5", "1 end"],
    ),
    ("HEAD, ended late", ["HEAD"], head(1, 200, ("content-length", "5")) + data(1, b"", True), ["1 200 OK length=0 content-length=5", "1 end"]),
    ("304", ["GET"], head(1, 304, ("content-length", "9"), end=True), ["1 304 Not Modified length=0 content-length=9", "1 end"]),
    ("a status without a name", ["GET"], head(1, 299, end=True), ["1 299  length=0", "1 end"]),
    (
        "padding",
        ["GET"],
        frame(HEADERS, END_HEADERS | PADDED | HAS_PRIORITY, 1, b"\x03\0\0\0\0\x0f" + block((":status", "200")) + b"\0" * 3)
        + frame(DATA, END | PADDED, 1, b"\x04hi\0\0\0\0"),
        ["1 200 OK length=-2", "1 data 2", "1 end"],
    ),
    (
        "continuations",
        ["GET"],
        frame(HEADERS, END, 1, block((":status", "200"))[:1])
        + frame(CONTINUATION, 0, 1, block(("x", "1")))
        + frame(CONTINUATION, END_HEADERS, 1, block(("y", "2"))),
        ["1 200 OK length=0 x=1 y=2", "1 end"],
    ),
    (
        "streams mixed",
        ["GET", "GET"],
        head(3) + head(1, 404) + data(3, b"aa") + data(1, b"b", True) + data(3, b"a", True),
        ["3 200 OK length=-2", "1 404 Not Found length=-2", "1 data 1", "1 end", "3 data 3", "3 end"],
    ),
    ("reset", ["GET"], word(RST_STREAM, 1, 7), ["1 reset REFUSED_STREAM"]),
    ("an unknown error", ["GET"], word(RST_STREAM, 1, 99), ["1 reset error 0x63"]),
    (
        "an answer before the request is over",
        ["POST"],
        head(1, 403, end=True) + word(RST_STREAM, 1, 0),
        ["1 403 Forbidden length=0", "1 end", "1 reset NO_ERROR"],
    ),
    (
        "what is left out by a GOAWAY",
        ["GET", "GET"],
        goaway(1, 0) + head(1) + data(1, b"x", True),
        ["3 reset REFUSED_STREAM", "goaway NO_ERROR", "1 200 OK length=-2", "1 data 1", "1 end"],
    ),
    ("a GOAWAY with a reason", ["GET"], goaway(1, 11, b"calm"), ["goaway ENHANCE_YOUR_CALM calm"]),
    (
        "frames that mean nothing here",
        ["GET"],
        frame(PRIORITY, 0, 1, b"\0" * 5) + frame(0xFA, 7, 1, b"x") + frame(PING, ACK, 0, b"\0" * 8) + frame(SETTINGS, ACK, 0)
        + setting((99, 1)) + word(WINDOW_UPDATE, 0, 1000) + word(WINDOW_UPDATE, 1, 1000) + head(1, end=True)
        + word(WINDOW_UPDATE, 1, 1000) + word(RST_STREAM, 1, 8),
        ["1 200 OK length=0", "1 end"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("methods", "sent", "lines"), [case[1:] for case in GOOD], ids=[case[0] for case in GOOD])
def test_what_a_server_may_send(methods: Sequence[str], sent: bytes, lines: list[str]) -> None:
    check(SERVER + sent, lines, methods)


MALFORMED: list[tuple[str, bytes, str]] = [
    ("no status", frame(HEADERS, END_HEADERS | END, 1, block(("x", "1"))), "no :status"),
    ("two", frame(HEADERS, END_HEADERS | END, 1, block((":status", "200"), (":status", "200"))), "one :status"),
    ("another pseudo field", head(1, 200, (":path", "/"), end=True), "not ':path'"),
    ("late", frame(HEADERS, END_HEADERS | END, 1, block(("x", "1"), (":status", "200"))), "behind other fields"),
    ("no number", head(1, "2OO", end=True), "not an HTTP status"),
    ("too small", head(1, "099", end=True), "not an HTTP status"),
    ("too large", head(1, "600", end=True), "not an HTTP status"),
    ("101", head(1, 101), "101"),
    ("an interim end", head(1, 100, end=True), "interim"),
    ("capitals", head(1, 200, ("X-A", "1"), end=True), "lower case"),
    ("no token", head(1, 200, ("x y", "1"), end=True), "bad header name"),
    ("no name", head(1, 200, ("", "1"), end=True), "bad header name"),
    ("connection", head(1, 200, ("connection", "close"), end=True), "does not exist in HTTP/2"),
    ("transfer-encoding", head(1, 200, ("transfer-encoding", "chunked"), end=True), "does not exist in HTTP/2"),
    ("keep-alive", head(1, 200, ("keep-alive", "1"), end=True), "does not exist in HTTP/2"),
    ("upgrade", head(1, 200, ("upgrade", "h3"), end=True), "does not exist in HTTP/2"),
    ("a line break", head(1, 200, ("x", "a\r\nset-cookie: b=1"), end=True), "control character"),
    ("NUL", head(1, 200, ("x", "a\0"), end=True), "control character"),
    ("spaces", head(1, 200, ("x", " a"), end=True), "begins or ends with a space"),
    ("two lengths", head(1, 200, ("content-length", "1"), ("content-length", "1")), "more than one"),
    ("no length", head(1, 200, ("content-length", "+1")), "not one number"),
    ("a length and no body", head(1, 200, ("content-length", "1"), end=True), "Content-Length says 1"),
    ("too long", head(1, 200, ("content-length", "1")) + data(1, b"ab"), "2 bytes or more, but Content-Length says 1"),
    ("too short", head(1, 200, ("content-length", "3")) + data(1, b"ab", True), "2 bytes, but Content-Length says 3"),
    ("short, with trailers", head(1, 200, ("content-length", "3")) + trailers(1, ("a", "b")), "0 bytes, but"),
    (
        "too short, with trailers that are announced",
        head(1, 200, ("content-length", "3"), ("trailer", "x")) + trailers(1, ("x", "1")),
        "0 bytes, but",
    ),
    ("a body of 204", head(1, 204) + data(1, b"x"), "has none"),
    ("a body first", data(1, b"x"), "before its head"),
    ("a body behind an interim head", head(1, 103) + data(1, b"x"), "before its head"),
    ("a second head", head(1) + head(1), "second head"),
    ("a status in trailers", head(1) + trailers(1, (":status", "200")), "pseudo field"),
    ("framing in trailers", head(1) + trailers(1, ("content-length", "0")), "before the body"),
    ("a line break in trailers", head(1) + trailers(1, ("x", "a\nb")), "control character"),
    ("long trailers", head(1) + trailers(1, ("x", "a" * 9000)), "trailers are longer"),
    ("many fields", head(1, 200, *[("x", "1")] * 201, end=True), "more than 200"),
    ("no window", head(1) + word(WINDOW_UPDATE, 1, 0), "window"),
    ("a window that is too large", head(1) + word(WINDOW_UPDATE, 1, 2**31 - 1), "window"),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "why"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED])
def test_a_bad_response_ends_its_own_stream(sent: bytes, why: str) -> None:
    sent = SERVER + sent + head(3, end=True)
    lines = read([sent], ["GET", "GET"])
    [reset] = [line for line in lines if "reset" in line]
    assert reset.startswith(("1 reset PROTOCOL_ERROR: ", "1 reset FLOW_CONTROL_ERROR: "))
    assert why in reset
    assert lines[-2:] == ["3 200 OK length=0", "3 end"], "the other stream goes on"
    assert "1 data 2" not in lines or "says 3" in why, "nothing of a body that is too long"
    check(sent, lines, ["GET", "GET"])


BROKEN: list[tuple[str, bytes, str]] = [
    ("HTTP/1", b"HTTP/1.1 400 Bad Request\r\n\r\n", "PROTOCOL_ERROR: it answered in HTTP/1"),
    ("no settings", head(1), "PROTOCOL_ERROR: its first bytes are not those of HTTP/2"),
    ("an answer to settings first", frame(SETTINGS, ACK, 0), "PROTOCOL_ERROR: its first bytes are not those of HTTP/2"),
    ("something else", b"220 mail.example.com ESMTP\r\n", "its first bytes are not those of HTTP/2"),
    ("a long frame", SERVER + frame(DATA, 0, 1, bytes(16385)), "FRAME_SIZE_ERROR: a frame of 16385 bytes"),
    ("settings of 5 bytes", SERVER + frame(SETTINGS, 0, 0, bytes(5)), "FRAME_SIZE_ERROR: a SETTINGS"),
    ("an answer with settings", SERVER + frame(SETTINGS, ACK, 0, bytes(6)), "FRAME_SIZE_ERROR: an answer"),
    ("settings on a stream", SERVER + frame(SETTINGS, 0, 1), "PROTOCOL_ERROR: settings on a stream"),
    ("a first window", SERVER + setting((4, 2**31)), "FLOW_CONTROL_ERROR"),
    ("a growing window", SERVER + word(WINDOW_UPDATE, 1, 2**31 - 1 - 65535) + setting((4, 65536)), "FLOW_CONTROL_ERROR"),
    ("frames that are too small", SERVER + setting((5, 100)), "PROTOCOL_ERROR: a largest frame"),
    ("frames that are too large", SERVER + setting((5, 2**24)), "PROTOCOL_ERROR: a largest frame"),
    ("pushes", SERVER + setting((2, 1)), "PROTOCOL_ERROR: a server that wants"),
    ("a push", SERVER + frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02\x82"), "PROTOCOL_ERROR: a PUSH_PROMISE"),
    ("a stream of its own", SERVER + head(2), "PROTOCOL_ERROR: a frame on stream 2"),
    ("a stream that nobody has opened", SERVER + head(5), "PROTOCOL_ERROR: a frame on stream 5"),
    ("a body on the connection", SERVER + data(0, b"x"), "PROTOCOL_ERROR: a frame on stream 0"),
    ("a body on a stream that is over", SERVER + head(1, end=True) + data(1, b"x"), "STREAM_CLOSED"),
    ("a PING on a stream", SERVER + frame(PING, 0, 1, bytes(8)), "PROTOCOL_ERROR: a PING on a stream"),
    ("a PING of 7 bytes", SERVER + frame(PING, 0, 0, bytes(7)), "FRAME_SIZE_ERROR: a PING of 7"),
    ("a PRIORITY of 4 bytes", SERVER + frame(PRIORITY, 0, 1, bytes(4)), "FRAME_SIZE_ERROR: a PRIORITY"),
    ("a reset of 3 bytes", SERVER + frame(RST_STREAM, 0, 1, bytes(3)), "FRAME_SIZE_ERROR: a RST_STREAM"),
    ("a window of 5 bytes", SERVER + frame(WINDOW_UPDATE, 0, 0, bytes(5)), "FRAME_SIZE_ERROR: a WINDOW_UPDATE"),
    ("a GOAWAY of 7 bytes", SERVER + frame(GOAWAY, 0, 0, bytes(7)), "FRAME_SIZE_ERROR: a GOAWAY"),
    ("a GOAWAY on a stream", SERVER + frame(GOAWAY, 0, 1, bytes(8)), "PROTOCOL_ERROR: a GOAWAY on a stream"),
    ("no window", SERVER + word(WINDOW_UPDATE, 0, 0), "FLOW_CONTROL_ERROR"),
    ("a window that is too large", SERVER + word(WINDOW_UPDATE, 0, 2**31 - 1), "FLOW_CONTROL_ERROR"),
    ("padding alone", SERVER + frame(DATA, PADDED, 1), "FRAME_SIZE_ERROR: a padded frame"),
    ("more padding than frame", SERVER + frame(DATA, PADDED, 1, b"\x05abc"), "PROTOCOL_ERROR: a frame is shorter"),
    ("a continuation of nothing", SERVER + frame(CONTINUATION, 0, 1), "PROTOCOL_ERROR: a CONTINUATION"),
    ("something inside a head", SERVER + frame(HEADERS, 0, 1, b"\x88") + data(1), "PROTOCOL_ERROR: a header block was"),
    ("another head inside a head", SERVER + frame(HEADERS, 0, 1) + frame(CONTINUATION, 4, 3), "PROTOCOL_ERROR: a header"),
    ("what cannot be decompressed", SERVER + frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\x0f"), "COMPRESSION_ERROR"),
    ("a table that is too large", SERVER + frame(HEADERS, END_HEADERS, 1, b"\x3f\xe2\x1f\x88"), "COMPRESSION_ERROR"),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "why"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_what_breaks_the_connection(sent: bytes, why: str) -> None:
    lines = read([sent])
    assert lines[-1].startswith("broken ")
    assert why in lines[-1]
    check(sent, lines)


def test_good_messages_come_before_an_error() -> None:
    lines = read([SERVER + head(1) + data(1, b"good") + frame(PING, 0, 1, bytes(8)) + head(3)])
    assert lines == ["1 200 OK length=-2", "1 data 4", "broken PROTOCOL_ERROR: a PING on a stream"]


# What is sent


def fields_of(*pairs: tuple[str, str]) -> list[Field]:
    return Headers(pairs).raw


class Judge:
    """A server of the library h2, which reads what a client sends."""

    def __init__(self) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8", normalize_inbound_headers=False)
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.events: list[h2.events.Event] = []

    def take(self, codec: ClientCodec) -> None:
        """Read what a client sends, and answer."""
        self.events += self.h2.receive_data(codec.take_output())
        codec.feed(self.h2.data_to_send())
        while codec.next_message() is not NEED_DATA:
            pass

    def of(self, kind: type[h2.events.Event]) -> list[h2.events.Event]:
        return [event for event in self.events if isinstance(event, kind)]


def test_a_request() -> None:
    codec, judge = ClientCodec(), Judge()
    sent = fields_of(
        ("Host", "b.test"), ("X-A", "1"), ("Cookie", "a=1"), ("Cookie", "b=2"), ("TE", "trailers"), ("TE", "gzip"),
        ("Transfer-Encoding", "chunked"), ("Upgrade", "x"), ("Proxy-Connection", "close"), ("HTTP2-Settings", "AA"),
        ("Authorization", "secret"), ("X-Empty", ""),
    )  # fmt: skip
    number = codec.open("GET", "https", b"b.test", "/x?y=1", sent, end=True)
    judge.take(codec)
    [request] = judge.of(h2.events.RequestReceived)
    assert isinstance(request, h2.events.RequestReceived)
    assert (request.stream_id, number) == (1, 1)
    assert [(str(name), str(value)) for name, value in request.headers or ()] == [
        (":method", "GET"), (":scheme", "https"), (":authority", "b.test"), (":path", "/x?y=1"), ("x-a", "1"),
        ("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers"), ("authorization", "secret"), ("x-empty", ""),
    ]  # fmt: skip
    assert codec.settled


def test_secrets_stay_out_of_the_table() -> None:
    codec = ClientCodec()
    codec.take_output()
    long = "x" * 30
    sizes = []
    for _ in range(2):
        secrets = fields_of(("Authorization", long), ("Cookie", "short"))
        codec.open("GET", "https", b"b.test", "/", [*secrets, *fields_of(("X-Other", long))], end=True)
        sizes.append(codec.take_output())
    [first, second] = [cut(size)[0][3] for size in sizes]
    # RFC 7541 section 6.2.3: a literal that is never indexed begins with 0001, and goes out as it is each time.
    assert len(second) < len(first) - 15, "the other field is remembered"
    assert second.count(b"\x1f\x08") == 1, "authorization has the number 23 of the static table"
    assert second.count(b"\x1f\x11") == 1, "cookie has the number 32"


def test_a_body_with_trailers() -> None:
    codec, judge = ClientCodec(), Judge()
    number = codec.open("POST", "https", b"b.test", "/", [], end=False)
    judge.take(codec)
    codec.send_data(number, b"x" * 40000)
    codec.send_trailers(number, trailer_fields(fields_of(("X-T", "1"), ("Content-Length", "4"))))
    judge.take(codec)
    bodies = judge.of(h2.events.DataReceived)
    assert [len(event.data or b"") for event in bodies if isinstance(event, h2.events.DataReceived)] == [
        16384,
        16384,
        7232,
    ]
    [end] = judge.of(h2.events.TrailersReceived)
    assert isinstance(end, h2.events.TrailersReceived)
    assert list(end.headers or ()) == [("x-t", "1")]
    assert judge.of(h2.events.StreamEnded)


def test_a_long_head_is_continued() -> None:
    codec, judge = ClientCodec(), Judge()
    codec.open("GET", "https", b"b.test", "/", fields_of(*[(f"x-{n}", "\x7f" * 500) for n in range(60)]), end=True)
    judge.take(codec)
    [request] = judge.of(h2.events.RequestReceived)
    assert isinstance(request, h2.events.RequestReceived)
    assert len(list(request.headers or ())) == 64


@pytest.mark.parametrize(
    ("method", "path", "fields"),
    [
        ("G T", "/", []),
        ("GET\r\n", "/", []),
        ("GET", "", []),
        ("GET", "/ä", []),
        ("GET", "/a b", []),
        ("GET", "/#x", []),
        ("GET", "/", [(b"x", b"x", b"a\r\nb")]),
        ("GET", "/", [(b"x", b"x", b"\0")]),
        ("GET", "/", [(b"x y", b"x y", b"1")]),
    ],
)
def test_what_cannot_be_sent(method: str, path: str, fields: list[Field]) -> None:
    codec = ClientCodec()
    codec.take_output()
    with pytest.raises(ValueError):
        codec.open(method, "https", b"b.test", path, fields, end=True)
    assert codec.take_output() == b""
    assert codec.open("GET", "https", b"b.test", "/", [], end=True) == 1
    with pytest.raises(ValueError):
        trailer_fields([(b"x", b"x", b"a\nb")])


# Flow control


def drain(codec: ClientCodec) -> list[str]:
    lines = []
    while (event := codec.next_message()) is not NEED_DATA:
        lines.append(show(*event))
    return lines


def updates(sent: bytes) -> list[tuple[int, int]]:
    return [(stream, int.from_bytes(payload, "big")) for kind, _, stream, payload in cut(sent) if kind == WINDOW_UPDATE]


def test_what_a_client_begins_with() -> None:
    sent = ClientCodec().take_output()
    assert sent.startswith(PREFACE)
    [settings, window] = cut(sent[len(PREFACE) :])
    pairs = {
        int.from_bytes(settings[3][at : at + 2], "big"): int.from_bytes(settings[3][at + 2 : at + 6], "big")
        for at in range(0, 18, 6)
    }
    assert pairs == {2: 0, 4: 64 * KIB, 6: 64 * KIB}
    assert updates(frame(*window)) == [(0, 1024 * KIB - 65535)]


def test_a_body_waits_for_the_windows_of_the_server() -> None:
    codec = client(["POST", "POST"])
    codec.feed(setting((4, 100)))
    drain(codec)
    assert (codec.room(1), codec.room(3)) == (100, 100)
    codec.send_data(1, b"x" * 100)
    assert (codec.room(1), codec.room(3)) == (0, 100)
    codec.feed(setting((4, 50)))
    drain(codec)
    assert (codec.room(1), codec.room(3)) == (0, 50), "a window may be less than nothing (RFC 9113 section 6.9.2)"
    codec.feed(word(WINDOW_UPDATE, 1, 300))
    drain(codec)
    assert codec.room(1) == 250
    codec.feed(setting((4, 2**31 - 1)))
    with pytest.raises(ProtocolError):
        drain(codec)


def test_the_window_of_the_connection_is_for_all_streams() -> None:
    codec = client(["POST", "POST"])
    codec.feed(setting((4, 1024 * KIB)))
    drain(codec)
    assert codec.room(3) == 65535
    codec.send_data(1, b"x" * 60000)
    assert (codec.room(1), codec.room(3)) == (5535, 5535)
    codec.feed(word(WINDOW_UPDATE, 0, 1000))
    drain(codec)
    assert codec.room(3) == 6535
    assert codec.room(5) == 0, "no such stream"


def fill(codec: ClientCodec, number: int, size: int, end: bool = False) -> None:
    while size:
        part = min(size, 16384)
        size -= part
        codec.feed(data(number, b"x" * part, end and not size))


def test_a_stream_that_nobody_reads_stops_at_its_window() -> None:
    codec = client(["GET", "GET"])
    codec.take_output()
    codec.feed(SERVER + head(1) + head(3))
    fill(codec, 1, 64 * KIB)
    fill(codec, 3, 64 * KIB)
    assert len(drain(codec)) == 11
    assert updates(codec.take_output()) == [], "nothing was taken"
    codec.consumed(3, 32 * KIB, behind=True)
    assert updates(codec.take_output()) == [(3, 32 * KIB)]
    fill(codec, 3, 32 * KIB)
    drain(codec)
    codec.feed(data(1, b"x"))
    with pytest.raises(ProtocolError, match="window of its stream"):
        drain(codec)


def test_the_connection_has_its_window_back_at_once() -> None:
    codec = client(["GET"] * 20)
    codec.take_output()
    codec.feed(SERVER)
    for number in range(1, 41, 2):
        codec.feed(head(number))
        fill(codec, number, 64 * KIB)
    drain(codec)
    back = updates(codec.take_output())
    assert {stream for stream, _ in back} == {0}
    assert sum(size for _, size in back) >= 20 * 64 * KIB - 512 * KIB, "20 slow readers hold up nobody else"


def test_a_window_grows_where_all_is_taken_at_once() -> None:
    codec = client(["GET"] * 6)
    codec.take_output()
    codec.feed(SERVER)
    drain(codec)
    windows = [64 * KIB] * 6
    for index in range(6):
        codec.feed(head(2 * index + 1))
        for _ in range(300):
            fill(codec, 2 * index + 1, 16 * KIB)
            drain(codec)
            codec.consumed(2 * index + 1, 16 * KIB, behind=False)
            for stream, size in updates(codec.take_output()):
                windows[index] = max(windows[index], size) if stream else windows[index]
    # What is given back at once is more than a half of a window, and all together stay within 4 MiB.
    assert windows[0] >= 512 * KIB
    assert windows[5] < 64 * KIB * 2
    codec.reset(1, 8)
    fill(codec, 11, 16 * KIB)
    drain(codec)
    codec.consumed(11, 32 * KIB, behind=False)
    assert sum(size for stream, size in updates(codec.take_output()) if stream) >= 64 * KIB, (
        "the room of stream 1 is free"
    )


def test_padding_is_given_back() -> None:
    codec = client()
    codec.take_output()
    codec.feed(SERVER + head(1) + frame(DATA, PADDED, 1, b"\xfed" + bytes(254)) * 200)
    assert len(drain(codec)) == 202
    assert sum(size for stream, size in updates(codec.take_output()) if stream == 1) >= 200 * 255 - 32 * KIB


def test_what_was_on_its_way_to_a_stream_that_is_over_is_dropped() -> None:
    codec = client(["GET", "GET"])
    codec.feed(SERVER + head(1))
    drain(codec)
    codec.reset(1, 8)
    codec.reset(1, 8)
    fill(codec, 1, 64 * KIB)
    assert drain(codec) == []
    assert [one[:3] for one in cut(codec.take_output()[len(PREFACE) :]) if one[0] == RST_STREAM] == [(RST_STREAM, 0, 1)]
    codec.feed(data(1, b"x"))
    with pytest.raises(ProtocolError, match="closed"):
        drain(codec)


def test_how_many_streams_a_server_allows() -> None:
    codec = ClientCodec()
    assert codec.limit == 1, "nobody knows before its settings"
    codec.feed(SERVER)
    drain(codec)
    assert codec.limit == 100
    codec.feed(setting((3, 7)))
    drain(codec)
    assert codec.limit == 7


def test_the_numbers_of_streams_end() -> None:
    codec = ClientCodec()
    codec._next = 2**31 - 1
    assert codec.open("GET", "https", b"a", "/", [], end=True) == 2**31 - 1
    assert codec.leaving


# What a hostile server may cost


HOSTILE: list[tuple[str, bytes, str]] = [
    ("PING", frame(PING, 0, 0, bytes(8)) * 1000, "control frames"),
    ("answers to PING", frame(PING, ACK, 0, bytes(8)) * 1000, "control frames"),
    ("SETTINGS", SERVER * 1000, "control frames"),
    ("PRIORITY", frame(PRIORITY, 0, 1, bytes(5)) * 1000, "control frames"),
    ("unknown frames", frame(0xF0, 0, 0) * 1000, "control frames"),
    ("crumbs of window", word(WINDOW_UPDATE, 1, 1) * 1000, "control frames"),
    ("interim responses", head(1, 103) * 1000, "control frames"),
    ("resets of nothing", head(1, end=True) + word(RST_STREAM, 1, 0) * 1000, "control frames"),
    ("heads of nothing", head(1, end=True) * 1001, "control frames"),
    ("GOAWAY", goaway(2**31 - 1, 0) * 1000, "control frames"),
    ("empty continuations", frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1) * 1000, "control frames"),
    ("a head without end", frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1, bytes(16000)) * 5, "block is longer"),
    ("empty data", head(1) + data(1) * 101, "empty DATA"),
    ("padded empty data", head(1) + frame(DATA, PADDED, 1, b"\x01\0") * 101, "empty DATA"),
]


@pytest.mark.parametrize(("sent", "why"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_what_carries_nothing_ends(sent: bytes, why: str) -> None:
    lines = read([SERVER + sent])
    assert lines[-1].startswith("broken ENHANCE_YOUR_CALM: ")
    assert why in lines[-1]


def test_a_server_that_is_well_may_ping_for_ever() -> None:
    codec = client()
    codec.feed(SERVER)
    for _ in range(100):
        codec.feed(frame(PING, 0, 0, bytes(8)) * 900)
        drain(codec)
        codec.take_output()
        codec.tick()


def test_answers_wait_for_a_server_that_reads_none() -> None:
    codec = client()
    codec.feed(SERVER)
    drain(codec)
    codec.take_output()
    for _ in range(4):
        codec.feed(frame(PING, 0, 0, bytes(8)) * 250)
        drain(codec)
        codec.tick()
    codec.feed(frame(PING, 0, 0, bytes(8)))
    with pytest.raises(ProtocolError, match="reads no answer"):
        drain(codec)


def test_a_compression_bomb() -> None:
    # A value of 3,000 bytes in the table, named with one byte each time.
    name = b"\x40\x01x\x7f" + bytes([(3000 - 127) & 0x7F | 0x80, (3000 - 127) >> 7]) + b"a" * 3000
    bomb = b"\x88" + name + b"\xbe" * 10000
    lines = read([SERVER + frame(HEADERS, END_HEADERS, 1, bomb)])
    assert lines == ["broken ENHANCE_YOUR_CALM: a head is longer than 262144 bytes"]
    small = b"\x88" + name + b"\xbe" * 50
    lines = read([SERVER + frame(HEADERS, END_HEADERS, 1, small) + head(3, end=True)], ["GET", "GET"])
    assert lines == ["1 reset PROTOCOL_ERROR: the head is longer than 65536 bytes", "3 200 OK length=0", "3 end"]


def test_tables_that_change_without_end_leave_no_trace() -> None:
    codec = client()
    codec.feed(SERVER)
    for _ in range(50):
        codec.feed(setting((1, 0)) + setting((1, 4096)) + setting((1, 100)) + setting((1, 65536)))
        drain(codec)
    codec.take_output()
    codec.open("GET", "https", b"a.test", "/", [], end=True)
    assert len(codec.take_output()) < 40
    judge = Judge()
    fresh = ClientCodec()
    judge.take(fresh)
    fresh.feed(setting((1, 0)) + setting((1, 4096)))
    drain(fresh)
    fresh.open("GET", "https", b"a.test", "/", fields_of(("x", "y" * 50)), end=True)
    judge.take(fresh)
    assert judge.of(h2.events.RequestReceived)


FRAMES = st.builds(
    frame,
    st.integers(0, 11),
    st.integers(0, 255),
    st.sampled_from([0, 1, 1, 1, 2, 3, 5]),
    st.one_of(
        st.binary(max_size=20),
        st.sampled_from([block((":status", "200")), block((":status", "200"), ("a", "b")), b"x" * 9000]),
    ),
)


@given(st.lists(st.one_of(FRAMES, st.binary(max_size=12)), max_size=12), st.data())
def test_anything_is_read_alike_however_it_is_cut(parts: list[bytes], draw: st.DataObject) -> None:
    sent = SERVER + b"".join(parts)
    lines = read([sent], ["GET", "POST"])
    at = draw.draw(st.integers(0, len(sent)))
    assert read([sent[:at], sent[at:]], ["GET", "POST"]) == lines
    if len(sent) < 200:
        assert read([sent[at : at + 1] for at in range(len(sent))], ["GET", "POST"]) == lines


def test_http_1_loads_nothing_of_it() -> None:
    code = (
        "import asyncio, sys; from tests.layers.rig import Rig\n"
        "rig = Rig([b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nhi'])\n"
        "got = asyncio.run(rig.run(b'GET http://a.test/ HTTP/1.1\\r\\nHost: a.test\\r\\n\\r\\n'))\n"
        "assert got.endswith(b'hi'), got\n"
        "sys.exit(any(name.split('.')[0] == 'hpack' or 'http2' in name for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0
