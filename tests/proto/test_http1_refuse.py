"""What the readers must refuse, with the status for it, and near it what they must not: both codecs, every split."""

from __future__ import annotations

import pytest

from rulesproxy.limits import Limits

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKS = POST + b"Transfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"

BAD_REQUESTS = [
    # Framing that can be read in two ways.
    (400, POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
    (400, POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    (400, POST + b"Content-Length: 5\r\ncontent-length: 6\r\n\r\nhello"),
    (400, POST + b"Content-Length: 5, 5\r\n\r\nhello"),
    (400, POST + b"Content-Length: +5\r\n\r\nhello"),
    (400, POST + b"Content-Length: -5\r\n\r\nhello"),
    (400, POST + b"Content-Length: 5 5\r\n\r\nhello"),
    (400, POST + b"Content-Length: 0x5\r\n\r\nhello"),
    (400, POST + b"Content-Length: 5_0\r\n\r\nhello"),
    (400, POST + b"Content-Length: \xb2\r\n\r\nhello"),
    (400, POST + b"Content-Length:\r\n\r\n"),
    (400, POST + b"Content-Length: 1000000000000000000\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: chunked,\r\n\r\n"),
    (400, POST + b"Transfer-Encoding:\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: \xe7hunked\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n"),
    (400, POST + b"Transfer-Encoding : chunked\r\n\r\n"),
    (400, POST + b"Transfer-Encoding\r\n\r\n"),
    (400, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n"),
    (501, POST + b"Transfer-Encoding: identity\r\n\r\n"),
    (501, POST + b"Transfer-Encoding: xchunked\r\n\r\n"),
    (501, POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n"),
    (501, POST + b"Transfer-Encoding: gzip;x=y\r\n\r\n"),
    (400, b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n!"),
    (400, b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
    # Line ends and folds.
    (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    (400, b"GET / HTTP/1.1\r\nHost: a\n\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    (400, b"GET / HTTP/1.1\r\nHost: a\r\n\nX: y\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
    (400, b"GET / HTTP/1.1\rHost: a\r\n\r\n"),
    (400, GET + b"X: a\r\n b\r\n\r\n"),
    (400, GET + b"X: a\r\n\tb\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\n\tHost: a\r\n\r\n"),
    (400, b"\r\n\r\n" + GET + b"\r\n"),
    (400, b"\n" + GET + b"\r\n"),
    (400, b"\r" + GET + b"\r\n"),
    (400, b"\r\n\r" + GET + b"\r\n"),
    (400, b" " + GET + b"\r\n"),
    (400, GET + b"\r\n\r\n\r\n" + GET + b"\r\n"),
    # Field lines.
    (400, GET + b"X y: z\r\n\r\n"),
    (400, GET + b"X : z\r\n\r\n"),
    (400, GET + b"X\t: z\r\n\r\n"),
    (400, GET + b": z\r\n\r\n"),
    (400, GET + b"X\r\n\r\n"),
    (400, GET + b"X\xe9: z\r\n\r\n"),
    (400, GET + b"(X): z\r\n\r\n"),
    (400, GET + b"X\x00: z\r\n\r\n"),
    *((400, GET + b"X: a%cb\r\n\r\n" % code) for code in (0, 1, 8, 10, 11, 12, 13, 27, 31, 127)),
    # Host.
    (400, b"GET / HTTP/1.1\r\n\r\n"),
    (400, b"GET http://a/ HTTP/1.1\r\n\r\n"),
    (400, GET + b"Host: a\r\n\r\n"),
    (400, GET + b"host: b\r\n\r\n"),
    (400, b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"),
    *(
        (400, b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
        for host in (
            *(b"user@a", b"a/b", b"a b", b"a:b", b"a:0", b"a:65536", b"a:1:2", b":80", b"[::1", b"[::1]x", b"a\xe9"),
            *(b"a?b", b"a#b", b"[a:b]c", b"a\\b", b'"a"', b"[]", b"http://a", b"a:+1"),
        )
    ),
    # Request lines.
    (400, b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    (400, b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, b"GET /\r\n\r\n"),
    (400, b"GET\r\n\r\n"),
    (400, b"GET / \r\nHost: a\r\n\r\n"),
    (400, b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    (400, b"GET / HTTP/1.1x\r\nHost: a\r\n\r\n"),
    (400, b"GET / HTTP/11\r\nHost: a\r\n\r\n"),
    (400, b"GET / HTTP/1.\xb9\r\nHost: a\r\n\r\n"),
    (400, b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, b"G\xc9T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, b"%b / HTTP/1.1\r\nHost: a\r\n\r\n" % (b"M" * 33)),
    (400, b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, b"GET /\xe9 HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, b"GET /\t HTTP/1.1\r\nHost: a\r\n\r\n"),
    (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    (505, b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    (505, b"GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
    (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    # Chunks.
    (400, CHUNKS + b"\r\nhello\r\n0\r\n\r\n"),
    (400, CHUNKS + b"g\r\nhello\r\n0\r\n\r\n"),
    (400, CHUNKS + b"5 \r\nhello\r\n0\r\n\r\n"),
    (400, CHUNKS + b" 5\r\nhello\r\n0\r\n\r\n"),
    (400, CHUNKS + b"5 ;x\r\nhello\r\n0\r\n\r\n"),
    (400, CHUNKS + b"0x5\r\nhello\r\n0\r\n\r\n"),
    (400, CHUNKS + b"+5\r\nhello\r\n0\r\n\r\n"),
    (400, CHUNKS + b"-5\r\nhello\r\n0\r\n\r\n"),
    (400, CHUNKS + b"5_0\r\nhello\r\n0\r\n\r\n"),
    (400, CHUNKS + b"00000000000000005\r\nhello\r\n0\r\n\r\n"),
    (400, CHUNKS + b"5\nhello\r\n0\r\n\r\n"),
    (400, CHUNKS + b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    (400, CHUNKS + b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    (400, CHUNKS + b"5;\x00\r\nhello\r\n0\r\n\r\n"),
    (400, CHUNKS + b"5;\x7f\r\nhello\r\n0\r\n\r\n"),
    (400, CHUNKS + b";x\r\nhello\r\n0\r\n\r\n"),
    (400, CHUNKS + b"5;" + b"x" * 255 + b"\r\nhello\r\n0\r\n\r\n"),
    # Trailers.
    (400, CHUNKS + b"0\r\nContent-Length: 5\r\n\r\n"),
    (400, CHUNKS + b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    (400, CHUNKS + b"0\r\nHost: b\r\n\r\n"),
    (400, CHUNKS + b"0\r\nAuthorization: b\r\n\r\n"),
    (400, CHUNKS + b"0\r\nX : b\r\n\r\n"),
    (400, CHUNKS + b"0\r\n X: b\r\n\r\n"),
    (400, CHUNKS + b"0\r\nX: b\r\n c\r\n\r\n"),
    (400, CHUNKS + b"0\r\nX: b\n\r\n\r\n"),
    (400, CHUNKS + b"0\r\nX: b\n\n"),
    (400, CHUNKS + b"0\r\n\n\r\n"),
]

BAD_RESPONSES = [
    OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    OK + b"Content-Length: 5, 5\r\n\r\nhello",
    OK + b"Content-Length: x\r\n\r\n",
    OK + b"Transfer-Encoding: gzip\r\n\r\n",
    OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 304 x\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
    OK + b"X: a\r\n b\r\n\r\n",
    OK + b"X: a\x00\r\n\r\n",
    OK + b"X : a\r\n\r\n",
    OK + b"Set-Cookie: a\rSet-Cookie: b\r\n\r\n",
    OK + b"\n",
    b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 20 OK\r\n\r\n",
    b"HTTP/1.1 2000 OK\r\n\r\n",
    b"HTTP/1.1 099 OK\r\n\r\n",
    b"HTTP/1.1 600 OK\r\n\r\n",
    b"HTTP/1.1 20\xb2 OK\r\n\r\n",
    b"HTTP/1.1  200 OK\r\n\r\n",
    b"HTTP/1.1 200\tOK\r\n\r\n",
    b"HTTP/1.1 200 O\x00K\r\n\r\n",
    b"HTTP/1.1 200 O\rK\r\n\r\n",
    b"HTTP/1.1 200 O\x1bK\r\n\r\n",
    b"HTTP/1.1\r\n\r\n",
    b"HTTP/2.0 200 OK\r\n\r\n",
    b"HTTP/1.2 200 OK\r\n\r\n",
    b"http/1.1 200 OK\r\n\r\n",
    b"ICY 200 OK\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"<html>hello</html>",
    OK + b"Transfer-Encoding: chunked\r\n\r\nhello\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n",
]

LIMITS = Limits(header_block=400, header_count=5, target=50, chunk_line=20, trailers=60)
LINE = b"GET /%b HTTP/1.1\r\n"
OVER_LIMITS = [
    (431, GET + b"X: " + b"y" * 400),
    (431, GET + b"X: " + b"y" * (400 - len(GET) - len(b"X: "))),
    (431, GET + b"X: %b\r\n\r\n" % (b"y" * (400 - len(GET) - len(b"X: \r\n\r\n") + 1))),
    (431, GET + b"A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\n\r\n"),
    (414, LINE % (b"x" * 50) + b"Host: a\r\n\r\n"),
    (414, LINE % (b"x" * 500)),
    (414, b"GET /" + b"x" * 200),
    (400, CHUNKS + b"5;" + b"x" * 19 + b"\r\nhello\r\n0\r\n\r\n"),
    (400, CHUNKS + b"5;" + b"x" * 500),
    (431, CHUNKS + b"0\r\nX: %b\r\n\r\n" % (b"y" * (60 - len(b"X: \r\n\r\n") + 1))),
    (431, CHUNKS + b"0\r\nX: " + b"y" * 100),
    (431, CHUNKS + b"0\r\nX: " + b"y" * (60 - len(b"X: "))),
    (431, CHUNKS + b"0\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\nF: 6\r\n\r\n"),
]
WITHIN_LIMITS = [
    GET + b"X: %b\r\n\r\n" % (b"y" * (400 - len(GET) - len(b"X: \r\n\r\n"))),
    GET + b"A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n",
    LINE % (b"x" * 49) + b"Host: a\r\n\r\n",
    CHUNKS + b"5;" + b"x" * 18 + b"\r\nhello\r\n0\r\n\r\n",
    CHUNKS + b"0\r\nX: %b\r\n\r\n" % (b"y" * (60 - len(b"X: \r\n\r\n"))),
    CHUNKS + b"0\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\n\r\n",
]

BROKEN_OFF = [
    ("request", b"G"),
    ("request", b"\r"),
    ("request", GET),
    ("request", GET + b"\r"),
    ("request", POST + b"Content-Length: 5\r\n\r\n"),
    ("request", POST + b"Content-Length: 5\r\n\r\nhell"),
    ("request", CHUNKS),
    ("request", CHUNKS + b"5"),
    ("request", CHUNKS + b"5\r\n"),
    ("request", CHUNKS + b"5\r\nhello"),
    ("request", CHUNKS + b"5\r\nhello\r\n"),
    ("request", CHUNKS + b"5\r\nhello\r\n0\r\n"),
    ("request", CHUNKS + b"5\r\nhello\r\n0\r\nX: y\r\n"),
    ("response", b"H"),
    ("response", OK),
    ("response", OK + b"Content-Length: 5\r\n\r\nhell"),
    ("response", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
]

GOOD_ENDS = [
    ("request", b""),
    ("request", b"\r\n"),
    ("request", GET + b"\r\n"),
    ("request", POST + b"Content-Length: 5\r\n\r\nhello\r\n"),
    ("request", CHUNKS + b"5\r\nhello\r\n0\r\n\r\n"),
    ("response", b""),
    ("response", b"HTTP/1.1 100 x\r\n\r\n"),
    ("response", OK + b"Content-Length: 5\r\n\r\nhello"),
    ("response", OK + b"\r\nhello"),
]


@pytest.mark.parametrize(("status", "data"), BAD_REQUESTS)
def test_bad_requests_are_refused(status: int, data: bytes, check) -> None:
    lines = check("request", data)
    assert lines[-1] == f"refused {status}"
    # Whatever follows, it stays refused.
    assert check("request", data + b"\r\n\r\n" + GET + b"\r\n")[-1].startswith("refused")


@pytest.mark.parametrize("data", BAD_RESPONSES)
def test_bad_responses_are_refused(data: bytes, check) -> None:
    assert check("response", data)[-1] == "refused 502"
    assert check("response", data + OK + b"\r\n")[-1].startswith("refused")


@pytest.mark.parametrize("data", [b"x\r\n", b"5\r\nhelloX\r\n0\r\n\r\n", b"5\r\nhello\rX0\r\n\r\n", b"5\r\nhello\r\nx"])
def test_good_data_comes_out_before_an_error(data: bytes, check) -> None:
    lines = check("request", CHUNKS + b"3\r\nabc\r\n" + data)
    assert lines[-2] == f"data {b'abc' + data[3:8]!r}" if data.startswith(b"5") else "data b'abc'"
    assert lines[-1] == "refused 400"


@pytest.mark.parametrize(("status", "data"), OVER_LIMITS)
def test_limits_are_kept(status: int, data: bytes, check) -> None:
    assert check("request", data, limits=LIMITS)[-1] == f"refused {status}"


@pytest.mark.parametrize("data", WITHIN_LIMITS)
def test_limits_are_reached(data: bytes, check) -> None:
    lines = check("request", data + GET + b"\r\n", limits=LIMITS)
    assert lines[-3:] == ["request GET / HTTP/1.1 length=0 keep-alive host=a", "  Host: a", "end"]


@pytest.mark.parametrize(("kind", "data"), BROKEN_OFF)
def test_a_connection_that_ends_inside_a_message_is_an_error(kind: str, data: bytes, check) -> None:
    assert check(kind, data)[-1:] != ["refused 400"]
    assert check(kind, data, eof=True)[-1] == ("refused 400" if kind == "request" else "refused 502")


@pytest.mark.parametrize(("kind", "data"), GOOD_ENDS)
def test_a_connection_that_ends_between_messages_is_none(kind: str, data: bytes, check) -> None:
    lines = check(kind, data, eof=True)
    assert not lines or lines[-1] == "end"
