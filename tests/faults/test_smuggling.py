"""Requests that two parsers could read two ways: refused, and nothing of them is forwarded."""

from __future__ import annotations

import pytest

from tests.support.origin import Origin
from tests.support.recorder import Recorder
from tests.support.running import READING, client_of, running

# `AUTH` stands for the origin. Every head but the first line comes behind "Host: AUTH".
LINE = b"POST http://AUTH/ HTTP/1.1\r\nHost: AUTH\r\n"
SMUGGLED = b"GET http://AUTH/smuggled HTTP/1.1\r\nHost: AUTH\r\n\r\n"

HEADS = {
    "length and chunks": LINE + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": LINE + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": LINE + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "the same length twice": LINE + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "a list of lengths": LINE + b"Content-Length: 0, 5\r\n\r\n",
    "a list of one length": LINE + b"Content-Length: 0, 0\r\n\r\n",
    "length +0": LINE + b"Content-Length: +0\r\n\r\n",
    "length -0": LINE + b"Content-Length: -0\r\n\r\n",
    "length 0x0": LINE + b"Content-Length: 0x0\r\n\r\n",
    "length 0.0": LINE + b"Content-Length: 0.0\r\n\r\n",
    "length empty": LINE + b"Content-Length:\r\n\r\n",
    "length with a space": LINE + b"Content-Length: 0 0\r\n\r\n",
    "length of Arabic digits": LINE + "Content-Length: ٣\r\n\r\n".encode(),
    "length of 20 digits": LINE + b"Content-Length: 18446744073709551616\r\n\r\n",
    "length, vertical tab": LINE + b"Content-Length:\x0b0\r\n\r\n",
    "chunked twice": LINE + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked, chunked": LINE + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked, identity": LINE + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "identity": LINE + b"Transfer-Encoding: identity\r\n\r\n",
    "xchunked": LINE + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "gzip, chunked": LINE + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "quoted chunked": LINE + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "chunked;x": LINE + b"Transfer-Encoding: chunked;x=y\r\n\r\n0\r\n\r\n",
    "chunked, empty member": LINE + b"Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
    "chunked, vertical tab": LINE + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked, NUL": LINE + b"Transfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n",
    "empty coding": LINE + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n",
    "coding, space before the colon": LINE + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "coding, space before the name": LINE + b" Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding, folded": LINE + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "coding behind a fold": LINE + b"X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding behind a bare CR": LINE + b"X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding behind a bare LF": LINE + b"X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "tab in a name": LINE + b"Transfer\tEncoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": LINE.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare LF at the end": LINE.replace(b"\r\n", b"\n") + b"\n",
    "bare LF ends the head": LINE + b"X: y\r\n\n",
    "bare CR ends the head": LINE + b"X: y\r\r",
    "NUL in a value": LINE + b"X: a\0b\r\n\r\n",
    "NUL in a name": LINE + b"X\0: ab\r\n\r\n",
    "DEL in a value": LINE + b"X: a\x7fb\r\n\r\n",
    "no colon": LINE + b"Content-Length 0\r\n\r\n",
    "no name": LINE + b": 0\r\n\r\n",
    "non-ASCII name": LINE + b"X\xe9: 0\r\n\r\n",
    "bracket in a name": LINE + b"X(: 0\r\n\r\n",
    "no Host": b"GET http://AUTH/ HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET http://AUTH/ HTTP/1.1\r\nHost: AUTH\r\nHost: AUTH\r\n\r\n",
    "a list of Hosts": b"GET http://AUTH/ HTTP/1.1\r\nHost: AUTH, other\r\n\r\n",
    "Host with a path": b"GET http://AUTH/ HTTP/1.1\r\nHost: AUTH/x\r\n\r\n",
    "Host with userinfo": b"GET http://AUTH/ HTTP/1.1\r\nHost: u@AUTH\r\n\r\n",
    "Host with a space": b"GET http://AUTH/ HTTP/1.1\r\nHost: AUTH x\r\n\r\n",
    "userinfo in the target": b"GET http://u@AUTH/ HTTP/1.1\r\nHost: AUTH\r\n\r\n",
    "fragment in the target": b"GET http://AUTH/#x HTTP/1.1\r\nHost: AUTH\r\n\r\n",
    "non-ASCII target": b"GET http://AUTH/\xc3\xa9 HTTP/1.1\r\nHost: AUTH\r\n\r\n",
    "NUL in the target": b"GET http://AUTH/\0 HTTP/1.1\r\nHost: AUTH\r\n\r\n",
    "space in the target": b"GET http://AUTH/a b HTTP/1.1\r\nHost: AUTH\r\n\r\n",
    "backslash for the authority": b"GET http://AUTH\\@evil/ HTTP/1.1\r\nHost: AUTH\r\n\r\n",
    "a port that is none": b"GET http://127.0.0.1:99999/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "no authority": b"GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n",
    "another scheme": b"GET ftp://AUTH/ HTTP/1.1\r\nHost: AUTH\r\n\r\n",
    "origin-form to a proxy": b"GET / HTTP/1.1\r\nHost: AUTH\r\n\r\n",
    "relative target": b"GET x HTTP/1.1\r\nHost: AUTH\r\n\r\n",
    "asterisk of GET": b"GET * HTTP/1.1\r\nHost: AUTH\r\n\r\n",
    "two spaces": b"GET  http://AUTH/ HTTP/1.1\r\nHost: AUTH\r\n\r\n",
    "a tab": b"GET\thttp://AUTH/ HTTP/1.1\r\nHost: AUTH\r\n\r\n",
    "a space behind the version": b"GET http://AUTH/ HTTP/1.1 \r\nHost: AUTH\r\n\r\n",
    "a space before the method": b" GET http://AUTH/ HTTP/1.1\r\nHost: AUTH\r\n\r\n",
    "a bad method": b"G(T http://AUTH/ HTTP/1.1\r\nHost: AUTH\r\n\r\n",
    "a long method": b"G" * 100 + b" http://AUTH/ HTTP/1.1\r\nHost: AUTH\r\n\r\n",
    "HTTP/0.9": b"GET http://AUTH/\r\n\r\n",
    "HTTP/2.0": b"GET http://AUTH/ HTTP/2.0\r\nHost: AUTH\r\n\r\n",
    "HTTP/1.2": b"GET http://AUTH/ HTTP/1.2\r\nHost: AUTH\r\n\r\n",
    "HTTP/1.10": b"GET http://AUTH/ HTTP/1.10\r\nHost: AUTH\r\n\r\n",
    "http/1.1": b"GET http://AUTH/ http/1.1\r\nHost: AUTH\r\n\r\n",
    "an HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "two empty lines first": b"\r\n\r\nGET http://AUTH/ HTTP/1.1\r\nHost: AUTH\r\n\r\n",
    "CONNECT with a body": b"CONNECT AUTH HTTP/1.1\r\nHost: AUTH\r\nContent-Length: 5\r\n\r\nabcde",
    "CONNECT with a URL": b"CONNECT http://AUTH/ HTTP/1.1\r\nHost: AUTH\r\n\r\n",
    "CONNECT without a port": b"CONNECT localhost HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a long target": b"GET http://AUTH/" + b"x" * 17_000 + b" HTTP/1.1\r\nHost: AUTH\r\n\r\n",
    "a long head": LINE + b"X: " + b"x" * 70_000 + b"\r\n\r\n",
    "many fields": LINE + b"X: y\r\n" * 201 + b"\r\n",
}

STATUS = {
    "identity": 501,
    "xchunked": 501,
    "gzip, chunked": 501,
    "chunked;x": 501,
    "chunked, identity": 501,
    "HTTP/2.0": 505,
    "HTTP/1.2": 505,
    "an HTTP/2 preface": 505,
    "a long target": 414,
    "a long head": 431,
    "many fields": 431,
}


@pytest.mark.parametrize("name", HEADS)
async def test_bad_heads(name: str) -> None:
    recorder = Recorder()
    async with Origin() as origin, running(recorder) as proxy:
        async with client_of(proxy) as client:
            client.send((HEADS[name] + SMUGGLED).replace(b"AUTH", origin.authority.encode()))
            response = await client.read_response()
            assert response.status == STATUS.get(name, 400)
            assert await client.read_to_end() == b"", "the connection is over"
        assert origin.connections == []
        assert await recorder.settled() == "clientconnect next_layer clientdisconnect"


@pytest.mark.parametrize(
    "name", ["length and chunks", "two lengths", "coding behind a bare LF", "two Hosts", "HTTP/2.0"]
)
async def test_bad_heads_inside_tls(name: str) -> None:
    async with Origin(tls="good") as origin, running(intercept="all") as proxy, client_of(proxy) as client:
        await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
        client.send(HEADS[name].replace(b"http://AUTH", b"").replace(b"AUTH", b"localhost") + SMUGGLED)
        assert (await client.read_response()).status == STATUS.get(name, 400)
        assert await client.read_to_end() == b""
        assert origin.connections == []


BODIES = {
    "no size": b"\r\n",
    "size x": b"x\r\n",
    "size -1": b"-1\r\nabc\r\n",
    "size +3": b"+3\r\nabc\r\n",
    "size 0x3": b"0x3\r\nabc\r\n",
    "size 3 ": b"3 \r\nabc\r\n",
    "size  3": b" 3\r\nabc\r\n",
    "size 3\\t": b"3\t\r\nabc\r\n",
    "size 3_": b"3_\r\nabc\r\n",
    "size of 17 digits": b"00000000000000003\r\nabc\r\n",
    "bare LF behind the size": b"3\nabc\r\n",
    "bare CR behind the size": b"3\rabc\r\n",
    "bare LF behind the data": b"3\r\nabc\n",
    "CR in an extension": b"3;a\rb\r\nabc\r\n",
    "LF in an extension": b"3;a\nb\r\nabc\r\n",
    "NUL in an extension": b"3;a\0b\r\nabc\r\n",
    "a long extension": b"3;" + b"x" * 300 + b"\r\nabc\r\n",
    "too long a chunk": b"3\r\nabcd\r\n",
    "too short a chunk": b"5\r\nabc\r\n0\r\n\r\n",
    "a bad trailer": b"0\r\nbad line\r\n",
    "a trailer that frames": b"0\r\nContent-Length: 5\r\n\r\n",
    "a trailer that routes": b"0\r\nHost: evil\r\n\r\n",
    "a folded trailer": b"0\r\nX: a\r\n b\r\n\r\n",
    "bare LF in the trailers": b"0\r\nX: a\n\r\n",
    "long trailers": b"0\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("reading", READING)
@pytest.mark.parametrize("name", BODIES)
async def test_bad_chunks(name: str, reading: str) -> None:
    head = LINE + b"Transfer-Encoding: chunked\r\n\r\n"
    async with Origin() as origin, running(READING[reading]()) as proxy, client_of(proxy) as client:
        client.send((head + b"4\r\ngood\r\n" + BODIES[name] + SMUGGLED).replace(b"AUTH", origin.authority.encode()))
        response = await client.read_response()
        assert 400 <= response.status < 500
        assert await client.read_to_end() == b""
        if reading == "buffering":
            assert origin.connections == []
        else:
            assert [request.complete for request in origin.requests] in ([], [False]), "nothing whole went out"


@pytest.mark.parametrize("body", [b"0\r\n\r\n", b"5;ext=1\r\nhello\r\n0;last\r\nX-T: 1\r\n\r\n"])
async def test_what_is_allowed_is_sent_on_plainly(body: bytes) -> None:
    """An extension, an empty line before the request, OWS: taken from the client, never sent to the server."""
    head = b"\r\n" + LINE + b"Transfer-Encoding: \t chunked \t\r\nX-Empty:\r\n\r\n"
    async with Origin() as origin, running(Recorder()) as proxy, client_of(proxy) as client:
        response = await client.request((head + body).replace(b"AUTH", origin.authority.encode()))
        assert response.status == 200
        (request,) = origin.requests
        assert b";" not in request.raw
        assert request.body == (b"hello" if b"hello" in body else b"")
