"""The writer, and which fields go on to the next recipient."""

from __future__ import annotations

import pytest

from rulesproxy.flow.headers import Headers
from rulesproxy.proto.http1 import (
    encode_chunk,
    encode_last_chunk,
    encode_request_head,
    encode_response_head,
    end_to_end,
)

X = [(b"x", b"X", b"y")]


def test_the_canonical_form() -> None:
    fields = Headers([("Host", "a"), ("x-Y", "  z "), ("X-Empty", ""), ("x-y", "caf\u00e9")]).raw
    assert encode_request_head("GET", "/a?b", fields) == (
        b"GET /a?b HTTP/1.1\r\nHost: a\r\nx-Y: z\r\nX-Empty: \r\nx-y: caf\xc3\xa9\r\n\r\n"
    )
    assert encode_request_head("M-SEARCH", "*", iter(X)) == b"M-SEARCH * HTTP/1.1\r\nX: y\r\n\r\n"
    assert encode_response_head(200, "OK", X) == b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n"
    assert encode_response_head(599, "", []) == b"HTTP/1.1 599 \r\n\r\n"
    assert encode_response_head(200, "caf\u00e9 \udcff", []) == b"HTTP/1.1 200 caf\xc3\xa9 \xff\r\n\r\n"
    assert encode_chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert encode_chunk(b"") == b""
    assert encode_last_chunk() == encode_last_chunk([]) == b"0\r\n\r\n"
    assert encode_last_chunk(X) == b"0\r\nX: y\r\n\r\n"


@pytest.mark.parametrize("method", ["", "G T", "GET\r\n", "G\u00c9T", "\u00c9", "GET:", "GET\x00"])
def test_a_bad_method_is_not_written(method: str) -> None:
    with pytest.raises(ValueError, match="not a request method"):
        encode_request_head(method, "/", [])


@pytest.mark.parametrize("target", ["", "/a b", "/a\r\n", "/\u00e9", "/#x", "/\x00", "/\t", "/\x7f", "/\udcff"])
def test_a_bad_target_is_not_written(target: str) -> None:
    with pytest.raises(ValueError, match="not a request target"):
        encode_request_head("GET", target, [])


@pytest.mark.parametrize("status", [0, 99, 600, -1])
def test_a_bad_status_is_not_written(status: int) -> None:
    with pytest.raises(ValueError, match="not an HTTP status"):
        encode_response_head(status, "", [])


@pytest.mark.parametrize("bad", ["a\r\nX: y", "a\nb", "a\rb", "a\x00b"])
def test_a_line_too_many_is_not_written(bad: str) -> None:
    value = bad.encode()
    for write in (
        lambda: encode_response_head(200, bad, []),
        lambda: encode_response_head(200, "OK", [*X, (b"x", b"X", value)]),
        lambda: encode_request_head("GET", "/", [(value, value, b"x"), *X]),
        lambda: encode_last_chunk([(b"x", b"X", value)]),
    ):
        with pytest.raises(ValueError, match="nothing was sent"):
            write()


STAY = [("Host", "a"), ("Content-Length", "1"), ("Transfer-Encoding", "chunked"), ("Cookie", "c")]


@pytest.mark.parametrize(
    ("dropped", "kept"),
    [
        ([("Connection", "close")], []),
        ([("Proxy-Connection", "keep-alive"), ("Keep-Alive", "timeout=5")], []),
        ([("TE", "gzip"), ("Upgrade", "h2c"), ("Proxy-Authorization", "Basic x")], []),
        ([("Connection", "X-Hop"), ("X-Hop", "1"), ("x-hop", "2")], [("X-Other", "1")]),
        ([("Connection", " x-a ,,X-B"), ("Connection", "x-c"), ("X-A", "1"), ("X-B", "1"), ("X-C", "1")], []),
        ([("Connection", "Host, Content-Length, Transfer-Encoding, Cookie, close")], [("Close", "x")]),
        ([("Connection", "TE")], [("TE", "Trailers")]),
        ([("Connection", "close, x"), ("TE", "trailers, gzip")], [("Te", "trailers")]),
        ([("Connection", "close"), ("Connection", "close")], [("Proxy-Authenticate", "Basic")]),
    ],
)
def test_hop_by_hop_fields_stay_behind(dropped: list[tuple[str, str]], kept: list[tuple[str, str]]) -> None:
    expected = Headers([*STAY, *kept]).raw
    for fields in ([*STAY, *dropped, *kept], [*dropped, *STAY, *kept], [*STAY, *kept, *reversed(dropped)]):
        raw = Headers(fields).raw
        before = list(raw)
        assert end_to_end(raw) == expected
        assert raw == before, "the list is shared"


def test_nothing_to_remove_costs_nothing() -> None:
    fields = Headers([*STAY, ("TE", "trailers")]).raw
    assert end_to_end(fields) is fields
