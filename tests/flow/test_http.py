"""`HTTPRequest`, `HTTPResponse`, `HTTPFlow`: the surface that addons use, with the habits of mitmproxy's."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rulesproxy.flow.coding import CodingError
from rulesproxy.flow.error import FlowError
from rulesproxy.flow.headers import Headers
from rulesproxy.flow.http import HTTPFlow, HTTPMessage, HTTPRequest, HTTPResponse, reason_phrase
from rulesproxy.flow.plan import FileBody
from rulesproxy.flow.url import default_port


def pairs(message: HTTPMessage) -> list[tuple[str, str]]:
    return list(message.headers.items(multi=True))


def request(url: str = "http://example.com/path?a=1", **headers: str) -> HTTPRequest:
    return HTTPRequest.make("GET", url, headers=Headers(**headers))


def response(body: bytes = b"", **headers: str) -> HTTPResponse:
    message = HTTPResponse(200, "OK", "HTTP/1.1", Headers(**headers))
    message.raw_content = body
    return message


# Making


@pytest.mark.parametrize("headers", [{"X-A": "1"}, [("X-A", "1")], [(b"X-A", b"1")], Headers([("X-A", "1")])])
def test_make_takes_headers_in_any_form(headers: object) -> None:
    made = HTTPRequest.make("GET", "http://example.com/", headers=headers)
    assert pairs(made) == [("Host", "example.com"), ("X-A", "1")]
    assert pairs(HTTPResponse.make(200, headers=headers)) == [("X-A", "1"), ("content-length", "0")]


def test_make_keeps_duplicates_of_headers() -> None:
    cookies = Headers([("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    assert HTTPResponse.make(200, b"", cookies).headers.get_all("set-cookie") == ["a=1", "b=2"]
    assert len(cookies) == 1, "the length went into the response's own headers"


def test_make_request() -> None:
    made = HTTPRequest.make("post", "https://example.com:8443?x#y", "é", {"host": "other"})
    assert (made.method, made.scheme, made.host, made.port, made.path) == ("POST", "https", "example.com", 8443, "/?x")
    assert made.http_version == "HTTP/1.1"
    assert made.content == "é".encode()
    assert pairs(made) == [("host", "other"), ("content-length", "2")]
    assert repr(made) == "<HTTPRequest POST https://example.com:8443/?x>"
    for url in ("ftp://a/b", "//a/b", "/path"):
        with pytest.raises(ValueError, match="absolute URL"):
            HTTPRequest.make("GET", url)


@pytest.mark.parametrize(
    ("status", "content", "reason", "length"),
    [
        (200, b"abc", "OK", "3"),
        (200, "é", "OK", "2"),
        (404, b"", "Not Found", "0"),
        (299, b"", "", "0"),
        (101, b"", "Switching Protocols", None),
        (204, b"", "No Content", None),
        (304, b"", "Not Modified", None),
    ],
)
def test_make_response(status: int, content: bytes | str, reason: str, length: str | None) -> None:
    made = HTTPResponse.make(status, content)
    assert (made.status_code, made.reason, made.http_version) == (status, reason, "HTTP/1.1")
    assert made.headers.get("content-length") == length
    assert repr(made) == f"<HTTPResponse {status}>"
    assert reason_phrase(status) == reason


@pytest.mark.parametrize("status", [-1, 0, 99, 600, 1000])
def test_make_response_with_no_status(status: int) -> None:
    with pytest.raises(ValueError, match="is not an HTTP status: 100 to 599"):
        HTTPResponse.make(status)


def test_make_with_wrong_types() -> None:
    with pytest.raises(TypeError, match="content is bytes, got int"):
        HTTPResponse.make(200, 5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="text or bytes are wanted here, got int"):
        HTTPResponse.make(200, b"", {"retry-after": 5})  # type: ignore[dict-item]


def test_make_corrects_a_length_that_is_wrong() -> None:
    made = HTTPResponse.make(200, b"abc", {"Content-Length": "99", "Transfer-Encoding": "chunked"})
    assert pairs(made) == [("Content-Length", "3")]


def test_make_encodes_text_as_the_headers_say() -> None:
    assert HTTPResponse.make(200, "é", {"content-type": "text/plain; charset=latin-1"}).raw_content == b"\xe9"


def test_a_message_starts_empty() -> None:
    message = HTTPMessage("HTTP/1.0", Headers())
    assert (message.http_version, message.content, message.text, message.trailers) == ("HTTP/1.0", b"", "", None)
    assert (message.stream, message.timestamp_start, message.timestamp_end) == (False, 0.0, None)


# Content


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd", "gzip, br", "identity", ""])
def test_content_is_decoded_and_encoded(name: str) -> None:
    message = response(content_encoding=name, transfer_encoding="chunked")
    message.content = b"hello" * 100
    assert message.content == message.body == message.get_content() == b"hello" * 100
    assert (message.raw_content == message.content) == (name in ("", "identity"))
    assert message.headers["content-length"] == str(len(message.raw_content or b""))
    assert "transfer-encoding" not in message.headers, "the length says where it ends"
    message.body = b"again"
    assert message.content == b"again"


def test_raw_content_leaves_the_headers_alone() -> None:
    message = response(b"old", content_length="3", content_encoding="gzip")
    message.raw_content = gzip.compress(b"new body")
    assert message.headers["content-length"] == "3"
    assert message.content == b"new body"


@pytest.mark.parametrize(("name", "raw"), [("gzip", b"not gzip"), ("unknown", b"x"), ("gzip, unknown", b"x")])
def test_content_that_cannot_be_decoded_is_raw(name: str, raw: bytes) -> None:
    message = response(raw, content_encoding=name)
    assert message.content == raw
    with pytest.raises(CodingError):
        message.get_content()


def test_assigning_drops_a_coding_that_cannot_be_made() -> None:
    message = response(b"x", content_encoding="unknown")
    message.content = b"plain"
    assert pairs(message) == [("content-length", "5")]
    assert message.raw_content == b"plain"


def test_a_streamed_body_is_none() -> None:
    message = response(b"x", content_length="1")
    message.content = None
    assert message.raw_content is message.content is message.text is message.body is message.get_content() is None
    assert message.headers["content-length"] == "1"
    with pytest.raises(ValueError, match="streamed"):
        message.json()
    message.text = "back"
    assert message.content == b"back"
    message.text = None
    assert message.content is None


def test_content_is_bytes() -> None:
    for wrong in ("text", bytearray(b"x"), 5):
        with pytest.raises(TypeError, match="for text assign `text`"):
            response().content = wrong  # type: ignore[assignment]


def test_a_body_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(gzip.compress(b"hello"))
    message = response(content_encoding="gzip")
    message.body_source = FileBody(tmp_path / "body", 0, (tmp_path / "body").stat().st_size)
    assert isinstance(message.body_source, FileBody), "it is read only when somebody asks"
    assert message.content == b"hello"


# Text


@pytest.mark.parametrize(
    ("content_type", "raw", "text"),
    [
        ("", b"\xc3\xa9", "é"),
        ("", b"\xe9", "é"),
        ("text/html", b"\xff\xfe", "ÿþ"),
        ("text/html; charset=latin-1", b"\xc3\xa9", "Ã©"),
        ('text/html; charset="UTF-8"', b"\xc3\xa9", "é"),
        ("text/html; charset=utf-8", b"\xe9", "\udce9"),
        ("text/html; charset=utf-16-le", b"a\0b\0", "ab"),
        ("text/html; charset=utf-16-le", b"abc", "abc"),
        ("text/html; charset=no-such-thing", b"\xc3\xa9", "é"),
        ("text/html; charset=hex", b"6162", "6162"),
        ("text/html; charset=undefined", b"x", "x"),
        ("text/html; charset=idna", b"x", "x"),
        ("text/html; charset=ascii", b"\xe9", "\udce9"),
        ("text/html; charset=a\x01b", b"x", "x"),
    ],
)
def test_text(content_type: str, raw: bytes, text: str) -> None:
    assert response(raw, content_type=content_type).text == text


CHARSETS = [
    "", "utf-8", "latin-1", "ascii", "utf-16", "utf-16-le", "utf-32", "utf-7", "utf-8-sig", "cp1252", "shift_jis",
    "gb18030", "iso-2022-jp", "idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "hex", "rot13",
    "mbcs", "x-\udcff",
]  # fmt: skip


@given(st.sampled_from(CHARSETS), st.binary(max_size=20), st.text(max_size=20))
def test_text_reads_back_as_assigned(charset: str, before: bytes, text: str) -> None:
    message = response(before, content_type=f"text/html; charset={charset}" if charset else "text/html")
    assert isinstance(message.text, str)
    message.text = text
    assert message.text == text


@given(st.sampled_from(["text/html", "text/html; charset=utf-8", "text/html; charset=latin-1"]), st.binary(max_size=20))
def test_text_that_nobody_changes_keeps_its_bytes(content_type: str, raw: bytes) -> None:
    message = response(raw, content_type=content_type)
    message.text = message.text
    assert message.raw_content == raw
    assert message.headers["content-type"] == content_type


@pytest.mark.parametrize(
    ("content_type", "after"),
    [
        ("text/html; charset=ascii", "text/html; charset=utf-8"),
        ("text/html; charset=latin-1; x=y", "text/html; charset=utf-8"),
        (None, None),
    ],
)
def test_a_charset_that_is_too_small_becomes_utf8(content_type: str | None, after: str | None) -> None:
    message = response(**({"content_type": content_type} if content_type else {}))
    message.text = "€"
    assert message.raw_content == "€".encode()
    assert message.headers.get("content-type") == after


def test_a_guess_that_would_not_read_back_is_written_down() -> None:
    message = response(b"\xe9")
    message.text = "Ã©"
    assert message.raw_content == "Ã©".encode()
    assert message.headers["content-type"] == "text/plain; charset=utf-8"


def test_a_made_flow_takes_any_text() -> None:
    for text in ("\ud800", "\udfff\u20ac", "\udc80", "a\r\nb", "\0"):
        flow = HTTPFlow.make(text, text, [(text, text)], b"", 200, [(text, text)], b"")
        assert flow.response is not None
        assert len(flow.request.headers) == len(flow.response.headers) == 1
        flow = HTTPFlow.make("GET", f"http://{text}/{text}", [(text, text)])
        assert [value for _, _, value in flow.request.headers.raw][-1] == text.encode(
            "utf-8", "surrogatepass" if text[0] != "\udc80" else "surrogateescape"
        )


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(ValueError):
        response().text = "\ud800"


@pytest.mark.parametrize(
    ("raw", "value"),
    [(b'{"a": 1}', {"a": 1}), (b"null", None), ("é".encode().join([b'"', b'"']), "é"), ('"é"'.encode("utf-16"), "é")],
)
def test_json(raw: bytes, value: object) -> None:
    assert response(raw).json() == value
    assert response(gzip.compress(raw), content_encoding="gzip").json() == value


@pytest.mark.parametrize(
    ("raw", "coding"),
    [(b"", ""), (b"{", ""), (b"\xff", ""), (b"[" * 200_000, ""), (b"1" * 10_000, ""), (b"{}", "gzip")],
)
def test_bad_json(raw: bytes, coding: str) -> None:
    with pytest.raises(ValueError):
        response(raw, content_encoding=coding).json()


# Where a request goes


EDITS = [
    (lambda r: setattr(r, "host", "other"), "http://other/path?a=1", "other"),
    (lambda r: setattr(r, "host", "::1"), "http://[::1]/path?a=1", "[::1]"),
    (lambda r: setattr(r, "port", 8080), "http://example.com:8080/path?a=1", "example.com:8080"),
    (lambda r: setattr(r, "url", "https://other:444/x"), "https://other:444/x", "other:444"),
    (lambda r: setattr(r, "url", "https://other"), "https://other/", "other"),
    (lambda r: setattr(r, "path", "/x"), "http://example.com/x", "example.com"),
    (lambda r: setattr(r, "path", "*"), "http://example.com", "example.com"),
    (lambda r: setattr(r, "query", [("b", "2"), ("b", "3")]), "http://example.com/path?b=2&b=3", "example.com"),
    (lambda r: setattr(r, "query", {"b": "x y"}), "http://example.com/path?b=x+y", "example.com"),
    (lambda r: setattr(r, "query", []), "http://example.com/path", "example.com"),
    (lambda r: r.query.add("b", "&"), "http://example.com/path?a=1&b=%26", "example.com"),
    (lambda r: r.query.pop("a"), "http://example.com/path", "example.com"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "url", "host"), EDITS)
@pytest.mark.parametrize("had_host", [True, False])
def test_edits_of_the_target(edit: object, url: str, host: str, had_host: bool) -> None:
    changed = request()
    if not had_host:
        del changed.headers["host"]
    edit(changed)
    assert changed.url == url
    assert changed.authority == url.partition("://")[2].partition("/")[0]
    moved = host != "example.com"
    assert changed.headers.get("host") == (host if had_host or moved else None)


def test_a_redirect_in_three_lines_says_the_right_host() -> None:
    moved = request("https://example.com/x")
    moved.host = "localhost"
    moved.port = 3000
    moved.scheme = "http"
    assert (moved.url, moved.headers["host"]) == ("http://localhost:3000/x", "localhost:3000")


def test_host_moves_in_its_place_and_spelling() -> None:
    moved = HTTPRequest.make("GET", "http://a/", headers=[("X", "1"), ("HOST", "a"), ("Y", "2")])
    moved.host = "b"
    assert pairs(moved) == [("X", "1"), ("HOST", "b"), ("Y", "2")]


def test_move_leaves_the_host_header_alone() -> None:
    moved = request()
    moved.move("10.0.0.1", 8080)
    assert (moved.url, moved.headers["host"]) == ("http://10.0.0.1:8080/path?a=1", "example.com")


def test_a_bad_url_changes_nothing() -> None:
    target = request()
    with pytest.raises(ValueError):
        target.url = "no url"
    assert target.url == "http://example.com/path?a=1"


def test_query_keeps_the_fragment() -> None:
    target = request()
    target.path = "/p?a=1#frag"
    assert target.query.get_all("a") == ["1"]
    target.query = [("b", "2")]
    assert target.path == "/p?b=2#frag"


def test_the_url_of_connect() -> None:
    target = HTTPRequest("CONNECT", "", "example.com", 443, "", "HTTP/1.1", Headers())
    assert target.url == "example.com:443"


@pytest.mark.parametrize(
    ("host", "pretty"),
    [(None, "10.0.0.1"), ("", "10.0.0.1"), ("example.com:80", "example.com"), ("[::1]:80", "::1"), (":80", "10.0.0.1")],
)
def test_pretty_host(host: str | None, pretty: str) -> None:
    target = request("http://10.0.0.1/")
    if host is None:
        del target.headers["host"]
    else:
        target.headers["host"] = host
    assert target.pretty_host == pretty


# Cookies and forms


def test_request_cookies() -> None:
    target = request(cookie="a=1; b=2")
    target.cookies["a"] = "9"
    assert target.headers["cookie"] == "a=9; b=2"
    target.cookies = {"c": "3"}
    assert target.headers["cookie"] == "c=3"
    target.cookies.clear()
    assert "cookie" not in target.headers
    target.cookies = []
    assert pairs(target) == [("Host", "example.com")]


def test_response_cookies() -> None:
    message = HTTPResponse.make(
        headers=[("Set-Cookie", "a=1; Path=/"), ("set-cookie", " b = x=y "), ("set-cookie", "bad")]
    )
    assert message.cookies == [("a", "1"), ("b", "x=y")]


def test_urlencoded_form() -> None:
    target = HTTPRequest.make(
        "POST", "http://a/", b"a=1&b=x+y", {"content-type": "Application/X-www-form-urlencoded; x=y"}
    )
    assert list(target.urlencoded_form.items(multi=True)) == [("a", "1"), ("b", "x y")]
    target.urlencoded_form["b"] = "é"
    assert target.content == b"a=1&b=%C3%A9"
    assert target.headers["content-length"] == str(len(target.content))
    target.headers["content-type"] = "text/plain"
    assert len(target.urlencoded_form) == 0
    target.urlencoded_form = {"c": "3"}
    assert (target.content, target.headers["content-type"]) == (b"c=3", "application/x-www-form-urlencoded")
    target.content = None
    assert len(target.urlencoded_form) == 0


def test_multipart_form() -> None:
    body = b'--b\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n'
    target = HTTPRequest.make("POST", "http://a/", body, {"content-type": "multipart/form-data; boundary=b"})
    assert target.multipart_form == [(b"a", b"1")]
    target.headers["content-type"] = "text/plain"
    assert target.multipart_form == []


def test_anticache() -> None:
    target = request(if_none_match="x", accept="y", if_modified_since="z")
    target.anticache()
    target.anticache()
    assert pairs(target) == [("Host", "example.com"), ("accept", "y")]


# Flows


def flow() -> HTTPFlow:
    made = HTTPFlow.make("GET", "https://example.com/x", [("X", "1")], b"body", 404, [("Y", "2")], b"gone")
    made.request.trailers = Headers(t="1")
    made.metadata["k"] = "v"
    made.tags.append("t")
    made.hits.append("rule")
    made.websocket = True
    made.is_replay = "request"
    made.timestamp_start = 5.0
    made.error = FlowError("x")
    return made


def test_make_flow() -> None:
    made = flow()
    assert made.request.url == "https://example.com/x"
    assert pairs(made.request) == [("Host", "example.com"), ("X", "1")]
    assert made.request.content == b"body"
    assert made.server_conn.address == ("example.com", 443)
    assert made.server_conn.tls
    assert made.response is not None
    assert (made.response.status_code, made.response.reason, made.response.content) == (404, "Not Found", b"gone")
    assert pairs(made.response) == [("Y", "2")]
    assert repr(made) == f"<HTTPFlow {made.id} GET https://example.com/x -> 404>"
    assert HTTPFlow.make("GET", "http://a/").response is None
    assert repr(HTTPFlow.make("GET", "http://a/")).endswith(" GET http://a/>")


@given(st.text(), st.text(), st.lists(st.tuples(st.text(), st.text()), max_size=3), st.none() | st.integers())
def test_make_flow_takes_anything(method: str, url: str, headers: list[tuple[str, str]], status: int | None) -> None:
    made = HTTPFlow.make(method, url, headers, b"", status, headers)
    assert made.request.method == method
    assert (made.response is None) == (status is None)
    repr(made)


def test_the_host_of_a_made_flow_may_be_given() -> None:
    made = HTTPFlow.make("GET", "http://10.0.0.1/", [("HOST", "example.com")])
    assert pairs(made.request) == [("HOST", "example.com")]
    assert made.request.pretty_host == "example.com"


def test_orig_is_the_head_as_received() -> None:
    made = flow()
    made.request.url = "http://other:81/y"
    made.request.method = "PUT"
    made.request.headers["X"] = "2"
    made.request.headers.add("Z", "3")
    assert (made.orig.method, made.orig.url, made.orig.port) == ("GET", "https://example.com/x", 443)
    assert pairs(made.orig) == [("Host", "example.com"), ("X", "1")]
    assert made.orig.content == b"body"
    made.orig.headers["X"] = "9"
    assert made.orig.headers["X"] == "1", "what was received does not change"


def test_a_copy_shares_nothing_that_can_change() -> None:
    made = flow()
    copy = made.copy()
    assert copy.id != made.id
    assert (copy.client_conn, copy.server_conn) == (made.client_conn, made.server_conn)
    for name in ("metadata", "tags", "hits", "websocket", "is_replay", "timestamp_start", "error"):
        assert getattr(copy, name) == getattr(made, name)
    copy.request.headers["x"] = copy.request.method = copy.request.host = "changed"
    copy.request.trailers["t"] = "2"
    copy.response.content = b"new"
    copy.response.status_code = 500
    copy.metadata["k2"] = 1
    copy.tags.append("t2")
    copy.hits.clear()
    assert made.request.url == copy.orig.url == "https://example.com/x"
    assert pairs(made.request) == [("Host", "example.com"), ("X", "1")]
    assert made.request.trailers == {"t": "1"}
    assert (made.response.status_code, made.response.content) == (404, b"gone")
    assert (made.metadata, made.tags, made.hits) == ({"k": "v"}, ["t"], ["rule"])
    made.response = None
    assert made.copy().response is None
    assert made.request.copy().trailers == {"t": "1"}
    assert made.request.copy().content == b"body"


def test_kill() -> None:
    made = HTTPFlow.make("GET", "http://a/")
    assert not made.killed
    made.error = FlowError("lost", "disconnected")
    assert not made.killed
    made.kill()
    assert made.killed
    assert str(made.error) == "Connection killed."


def test_a_plan_is_made_when_it_is_asked_for() -> None:
    made = HTTPFlow.make("GET", "http://a/")
    assert made.planned is None
    made.plan.end = "reset"
    assert made.planned is made.plan
    assert made.plan.end == "reset"


@pytest.mark.parametrize("record", [flow(), request(), response()])
def test_a_misspelt_attribute_is_an_error(record: object) -> None:
    with pytest.raises(AttributeError):
        record.contents = b""  # type: ignore[attr-defined]


def test_the_module_gives_default_ports() -> None:
    assert default_port("https") == 443


def test_json_of_what_json_wrote() -> None:
    message = HTTPResponse.make(200, json.dumps({"é": ["€", "\ud800"]}))
    assert message.json() == {"é": ["€", "\ud800"]}
