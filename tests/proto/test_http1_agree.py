"""Properties of the readers on generated, mutated and hostile bytes.

Both implementations read the same, or both refuse; a split changes nothing; what a third parser (llhttp) makes of
accepted requests is what we made of them; what the writer writes is read back.
"""

from __future__ import annotations

import httptools
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rulesproxy.proto.http1 import (
    CHUNKED,
    END,
    NEED_DATA,
    NO_BODY,
    End,
    RequestHead,
    RequestReader,
    ResponseHead,
    ResponseReader,
    encode_chunk,
    encode_last_chunk,
    encode_request_head,
    encode_response_head,
)

TOKEN = "!#$%&'*+-.^_`|~0123456789ABCXYZabcxyz"
SPECIAL = [
    b"Content-Length: 5", b"Content-Length: 0", b"content-length: 3", b"Content-Length: 5, 5", b"Content-Length: 05",
    b"Transfer-Encoding: chunked", b"transfer-encoding:CHUNKED", b"Transfer-Encoding: gzip", b"TE: trailers",
    b"Host: a", b"Host: b:80", b"Host:", b"Connection: close", b"Connection: keep-alive, Upgrade", b"Upgrade: x",
    b"Expect: 100-continue", b"X: \xff y", b"X:\tz ", b"Trailer: X", b"Proxy-Connection: close",
]  # fmt: skip
HOSTILE = [
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b" ", b"\t", b"\x00", b":", b",", b";", b"\r\n ", b"\x0b"),
    *(b"\x7f", b"\x85", b"\xa0", b"0\r\n\r\n", b"5\r\nhello\r\n", b"hello", b"0", b"+5", b"0x5\r\n", b"5;ext\r\n"),
    *(b"ffffffffffffffff\r\n", b"GET / HTTP/1.1\r\n", b"POST http://a/ HTTP/1.1\r\n", b"HEAD * HTTP/1.0\r\n"),
    *(b"CONNECT a:1 HTTP/1.1\r\n", b"HTTP/1.1", b"HTTP/2.0", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 204\r\n"),
    *(b"HTTP/1.1 100 x\r\n", b"HTTP/1.1 101 x\r\n", b"HTTP/1.1 304 \r\n"),
]

tokens = st.text(TOKEN, min_size=1, max_size=10)
values = st.binary(max_size=12).map(lambda raw: bytes(code for code in raw if code == 9 or 32 <= code != 127).strip())
ordinary = st.builds(lambda name, value: name.encode() + b":" + value, tokens, values)
chunked = st.lists(st.binary(min_size=1, max_size=9), max_size=4).map(
    lambda chunks: b"".join(map(encode_chunk, chunks)) + encode_last_chunk()
)
bodies = st.one_of(st.sampled_from([b"", b"hello", b"5;x\r\nhello\r\n0\r\nX: y\r\n\r\n"]), chunked)
framed = st.one_of(
    st.just(([], b"")),
    st.binary(max_size=9).map(lambda body: ([b"Content-Length: %d" % len(body)], body)),
    chunked.map(lambda body: ([b"Transfer-Encoding: chunked"], body)),
)
targets = st.sampled_from(["/", "*", "/a?b", "http://a/b", "a:443", "/%41"])
request_lines = st.builds(
    lambda method, target, version: f"{method} {target} HTTP/1.{version}".encode(),
    st.one_of(st.sampled_from(["GET", "POST", "CONNECT", "HEAD"]), tokens),
    targets,
    st.sampled_from("1110"),
)
status_lines = st.builds(
    lambda version, status, reason: b"HTTP/1.%d %d %b" % (version, status, reason),
    st.sampled_from([1, 1, 0]),
    st.sampled_from([100, 101, 103, 200, 201, 204, 304, 404, 599]),
    values,
)


def good(start: st.SearchStrategy[bytes], needed: list[bytes]) -> st.SearchStrategy[bytes]:
    """One to three messages whose framing is right."""

    def build(line: bytes, fields: list[bytes], framing: tuple[list[bytes], bytes]) -> bytes:
        return b"\r\n".join([line, *needed, *fields, *framing[0]]) + b"\r\n\r\n" + framing[1]

    one = st.builds(build, start, st.lists(ordinary, max_size=4), framed)
    return st.lists(one, min_size=1, max_size=3).map(b"".join)


def mixed(start: st.SearchStrategy[bytes], needed: list[bytes]) -> st.SearchStrategy[bytes]:
    """A message whose framing may be anything."""

    def build(line: bytes, fields: list[bytes], body: bytes) -> bytes:
        return b"\r\n".join([line, *needed, *fields]) + b"\r\n\r\n" + body

    return st.builds(build, start, st.lists(st.one_of(ordinary, st.sampled_from(SPECIAL)), max_size=4), bodies)


@st.composite
def mutated(draw: st.DrawFn, source: st.SearchStrategy[bytes]) -> bytes:
    data = draw(source)
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(data)))
        gone = draw(st.integers(0, 4))
        new = draw(st.one_of(st.sampled_from(HOSTILE), st.binary(max_size=2)))
        data = data[:at] + new + data[at + gone :]
    return data


soup = st.lists(st.sampled_from(HOSTILE + [line + b"\r\n" for line in SPECIAL]), max_size=12).map(b"".join)


def all_kinds(start: st.SearchStrategy[bytes], needed: list[bytes]) -> st.SearchStrategy[bytes]:
    right, any_framing = good(start, needed), mixed(start, needed)
    return st.one_of(right, mutated(right), any_framing, mutated(any_framing), soup, st.binary(max_size=80))


requests = all_kinds(request_lines, [b"Host: a"])
responses = all_kinds(status_lines, [])


@st.composite
def split(draw: st.DrawFn, source: st.SearchStrategy[bytes]) -> list[bytes]:
    data = draw(source)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if a < b]


def same_outcome(lines: list[str]) -> list[str]:
    """A split may show another fault of the same bytes first: then only the status differs."""
    return [*lines[:-1], "refused"] if lines and lines[-1].startswith("refused") else lines


@settings(max_examples=400)
@given(split(requests), st.booleans())
@example([b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"], False)
def test_both_codecs_read_requests_alike(read, pieces: list[bytes], eof: bool) -> None:
    whole = read("native", "request", [b"".join(pieces)], eof=eof)
    assert read("h11", "request", [b"".join(pieces)], eof=eof) == whole
    expected = same_outcome(whole)
    assert same_outcome(read("native", "request", pieces, eof=eof)) == expected
    assert same_outcome(read("h11", "request", pieces, eof=eof)) == expected


@settings(max_examples=400)
@given(split(responses), st.booleans(), st.lists(st.sampled_from(["GET", "HEAD", "CONNECT"]), max_size=3))
def test_both_codecs_read_responses_alike(read, pieces: list[bytes], eof: bool, methods: list[str]) -> None:
    whole = read("native", "response", [b"".join(pieces)], methods, eof)
    assert read("h11", "response", [b"".join(pieces)], methods, eof) == whole
    expected = same_outcome(whole)
    assert same_outcome(read("native", "response", pieces, methods, eof)) == expected
    assert same_outcome(read("h11", "response", pieces, methods, eof)) == expected


class Llhttp:
    """What llhttp makes of one request."""

    def __init__(self, data: bytes) -> None:
        self.url, self.body, self.fields, self.complete = b"", b"", [], False
        self._head_done = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.strip(b" \t")))  # It leaves the whitespace behind a value.

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


def read_one(data: bytes) -> tuple[RequestHead, bytes, End, bytes] | None:
    """The first request of `data`, its body, its end and its bytes; None where it is refused or not complete."""
    reader = RequestReader()
    reader.feed(data)
    body = b""
    try:
        head = reader.next_message()
        while isinstance(message := reader.next_message(), bytes):
            body += message
    except Exception:
        return None
    if not isinstance(head, RequestHead) or not isinstance(message, End):
        return None
    return head, body, message, data.removesuffix(reader.take_rest())


@settings(max_examples=400)
@given(requests)
def test_what_is_accepted_reads_alike_in_llhttp(data: bytes) -> None:
    request = read_one(data)
    if request is None:
        return
    head, body, end, raw = request
    try:
        other = Llhttp(raw)
    except httptools.HttpParserUpgrade:
        return
    except httptools.HttpParserError:
        return  # It knows a fixed set of methods, and less of some other things. Refusing is not disagreeing.
    assert other.complete
    assert (head.method.encode(), head.target.encode(), body) == (other.parser.get_method(), other.url, other.body)
    trailers = [(name, value) for _, name, value in end.trailers or ()]
    assert [(name, value) for _, name, value in head.fields] + trailers == other.fields


fields = st.lists(
    st.builds(lambda name, value: (b"x-" + name.lower().encode(), b"X-" + name.encode(), value), tokens, values),
    max_size=6,
)
pieces_of_body = st.lists(st.binary(min_size=1, max_size=40), max_size=5)


@given(tokens, targets, fields, pieces_of_body, fields)
def test_a_written_request_is_read_back(method, target, header, pieces, trailers) -> None:
    if method == "CONNECT":
        pieces = []
    header = [(b"host", b"Host", b"a"), *header]
    if pieces:
        header.append((b"transfer-encoding", b"Transfer-Encoding", b"chunked"))
    reader = RequestReader()
    reader.feed(encode_request_head(method, target, header))
    head = reader.next_message()
    assert isinstance(head, RequestHead)
    assert (head.method, head.target, head.fields) == (method, target, header)
    assert head.length == (CHUNKED if pieces else NO_BODY)
    if pieces:
        reader.feed(b"".join(map(encode_chunk, pieces)) + encode_last_chunk(trailers))
        assert reader.next_message() == b"".join(pieces)
    end = reader.next_message()
    assert isinstance(end, End)
    assert (end.trailers or []) == (trailers if pieces else [])
    assert end is END or end.trailers
    assert reader.next_message() is NEED_DATA
    assert reader.idle


@given(st.integers(200, 599), st.binary(max_size=9).filter(lambda raw: not {*raw} - {9, *range(32, 127)}), fields)
def test_a_written_response_is_read_back(status, reason, header) -> None:
    reader = ResponseReader()
    reader.feed(encode_response_head(status, reason.decode(), header))
    head = reader.next_message()
    assert isinstance(head, ResponseHead)
    assert (head.status, head.reason, head.fields) == (status, reason.decode(), header)
