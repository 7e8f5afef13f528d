"""The checker itself: it takes what is strictly valid, and nothing else."""

from __future__ import annotations

import pytest

from tests.support.wire import Incomplete, WireError, read_requests, read_response

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def post(*fields: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([b"POST / HTTP/1.1", b"Host: a", *fields, b"", b""]) + body


CHUNKED = b"Transfer-Encoding: chunked"

GOOD = [
    (GET, [b""]),
    (GET * 3, [b""] * 3),
    (b"", []),
    (b"OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", [b""]),
    (post(b"Content-Length: 3", body=b"abc") + GET, [b"abc", b""]),
    (post(CHUNKED, body=b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n") + GET, [b"abc0123456789", b""]),
    (post(CHUNKED, body=b"0\r\nX-T: 1\r\n\r\n"), [b""]),
    (post(b"X:", b"Y: \t a\tb \xff ", b"Connection: keep-alive, Upgrade", b"Upgrade: websocket"), [b""]),
    (post(b"TE: trailers", b"connection: te", b"expect: 100-continue"), [b""]),
]

CUT = [GET[:-1], GET[:5], b"GET / HTTP/1.1\r", post(b"Content-Length: 3", body=b"ab"), post(CHUNKED, body=b"3\r\nab")]

BAD = [
    GET.replace(b"\r\n", b"\n"),
    b"GET / HTTP/1.1\nHost: a",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb",
    b"\r\n" + GET,
    b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    b"GET / http/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    b"GET /\r\nHost: a\r\n\r\n",
    b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
    post(b"X : 1"),
    post(b" X: 1"),
    post(b"X: 1", b" folded"),
    post(b"X\0: 1"),
    post(b"X: \0"),
    post(b"X: \x7f"),
    post(b"X: \x01"),
    post(b"no colon"),
    post(b": empty"),
    post(b"Content-Length: 3", b"Content-Length: 3", body=b"abc"),
    post(b"Content-Length: 3, 3", body=b"abc"),
    post(b"Content-Length: +3", body=b"abc"),
    post(b"Content-Length: 03", body=b"abc"),
    post(b"Content-Length: 3", CHUNKED, body=b"0\r\n\r\n"),
    post(CHUNKED, CHUNKED, body=b"0\r\n\r\n"),
    post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    post(b"Transfer-Encoding: Chunked", body=b"0\r\n\r\n"),
    post(CHUNKED, body=b"3;x=y\r\nabc\r\n0\r\n\r\n"),
    post(CHUNKED, body=b"3 \r\nabc\r\n0\r\n\r\n"),
    post(CHUNKED, body=b"0x3\r\nabc\r\n0\r\n\r\n"),
    post(CHUNKED, body=b"-3\r\nabc\r\n0\r\n\r\n"),
    post(CHUNKED, body=b"3\r\nabcd\r\n0\r\n\r\n"),
    post(CHUNKED, body=b"3\nabc\n0\n\n"),
    post(CHUNKED, body=b"0\r\nHost: b\r\n\r\n"),
    post(CHUNKED, body=b"0\r\nContent-Length: 5\r\n\r\n"),
    post(b"Proxy-Connection: close"),
    post(b"Proxy-Authorization: Basic eA=="),
    post(b"Keep-Alive: 5"),
    post(b"Connection: X-Secret"),
    post(b"Upgrade: websocket"),
    post(b"TE: trailers"),
    post(b"TE: gzip", b"Connection: te"),
    post(b"Expect: something"),
    post(body=b"abc"),
]


@pytest.mark.parametrize(("data", "bodies"), GOOD)
def test_good(data: bytes, bodies: list[bytes]) -> None:
    requests = read_requests(data)
    assert [request.body for request in requests] == bodies
    assert b"".join(request.raw for request in requests) == data
    assert all(request.complete for request in requests)


@pytest.mark.parametrize("data", CUT)
def test_cut(data: bytes) -> None:
    assert [request.complete for request in read_requests(GET + data)] == [True, False]


@pytest.mark.parametrize("data", BAD)
def test_bad(data: bytes) -> None:
    with pytest.raises(WireError):
        read_requests(GET + data + GET)


def test_what_a_proxy_receives() -> None:
    data = (
        b"GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\nCONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nProxy-Authorization: x\r\n\r\n"
    )
    assert [request.target for request in read_requests(data, to_proxy=True)] == ["http://a/x", "a:1"]
    with pytest.raises(WireError):
        read_requests(GET, to_proxy=True)


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("data", "method", "body", "rest"),
    [
        (OK + b"Content-Length: 3\r\n\r\nabcREST", "GET", b"abc", b"REST"),
        (OK + b"Content-Length: 3\r\n\r\nREST", "HEAD", b"", b"REST"),
        (OK + b"\r\nREST", "CONNECT", b"", b"REST"),
        (OK + b"\r\nto the end", "GET", b"to the end", b""),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nREST", "GET", b"abc", b"REST"),
        (b"HTTP/1.1 204 \r\n\r\nREST", "GET", b"", b"REST"),
        (b"HTTP/1.1 100 Continue\r\n\r\nREST", "GET", b"", b"REST"),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\nREST", "GET", b"", b"REST"),
    ],
)
def test_responses(data: bytes, method: str, body: bytes, rest: bytes) -> None:
    response, size = read_response(data, method, ended=True)
    assert (response.body, data[size:]) == (body, rest)
    assert response.status in (100, 200, 204, 304)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 099 X\r\n\r\n",
        b"HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 X\r\nTransfer-Encoding: chunked\r\n\r\n",
        OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx",
        OK.replace(b"\r", b"") + b"\n",
    ],
)
def test_bad_responses(data: bytes) -> None:
    with pytest.raises(WireError):
        read_response(data, ended=True)


@pytest.mark.parametrize("data", [OK, OK + b"\r\nabc", OK + b"Content-Length: 3\r\n\r\nab", b"HTT"])
def test_incomplete_responses(data: bytes) -> None:
    with pytest.raises(Incomplete):
        read_response(data)


def test_reading_a_message() -> None:
    (request,) = read_requests(b"GET /x HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a: 2\r\n\r\n")
    assert (request.method, request.target, request.names) == ("GET", "/x", ["Host", "X-A", "x-a"])
    assert request.get_all("X-a") == ["1", "2"]
    assert request.get("nothing") is None
    with pytest.raises(AssertionError, match="2 times"):
        request.get("x-a")
