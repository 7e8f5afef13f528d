"""`rewrite` in detail: hosts, cookies, forms, reasons; that nothing else changes, and that no value breaks out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Exchange = Callable[..., Any]


def rewrite(side: str, edits: str) -> str:
    return f"  - match: path like '/{{id}}' or ~all\n    rewrite:\n      {side}: {edits}\n"


MOVES = [
    ("{host: b.test}", "http://a.test/x", "http://b.test/x"),
    ("{scheme: https}", "http://a.test/x", "https://a.test/x"),
    ("{scheme: https}", "http://a.test:81/x", "https://a.test:81/x"),
    ("{scheme: http, port: 443}", "https://a.test/x", "http://a.test:443/x"),
    ("{host: 'x.${host}', port: 8443}", "https://a.test/x", "https://x.a.test:8443/x"),
    ("{host: '::1'}", "http://a.test/x", "http://[::1]/x"),
    ("{host: \"${query['h']}\"}", "http://a.test/?h=b.test:99", "http://a.test/?h=b.test:99"),
    ("{host: \"${query['h']}\", method: PUT}", "http://a.test/?h=b/c", "http://a.test/?h=b/c"),
    ("{host: b.test, path: /y, query: {z: '1'}}", "http://a.test/x?y=2", "http://b.test/y?y=2&z=1"),
]


@pytest.mark.parametrize(("edits", "before", "after"), MOVES)
def test_a_request_moves(exchange: Exchange, edits: str, before: str, after: str) -> None:
    sent = exchange(rewrite("request", edits), url=before).upstream
    assert (sent.url, sent.headers["host"], sent.method) == (after, sent.authority, "GET")


COOKIES = [
    ("{a: '9'}", ["a=1;  b=2", "c=3"], ["a=9;  b=2", "c=3"]),
    ("{c: '9', new: n}", ["a=1;  b=2", "c=3"], ["a=1;  b=2", "c=9; new=n"]),
    ("{new: n}", [], ["new=n"]),
    ("{remove: [a]}", ["a=1;  b=2", "c=3"], ["b=2", "c=3"]),
    ("{remove: ['?']}", ["a=1;  b=2", "c=3"], []),
    ("{remove: ['_g*', c]}", ["_ga=1; x; _gid=2;b", "c=3"], ["x;b"]),
    ("{default: {a: '9', d: '4'}}", ["a=1"], ["a=1; d=4"]),
    ("{add: {a: '9'}}", ["a=1"], ["a=1; a=9"]),
    ("{replace: {a: {text: '1', with: '22'}}}", ["b=1; a=1; a=x1"], ["b=1; a=22; a=x22"]),
    ("{a: '9'}", ["a=1; b; a=2"], ["a=9; b"]),
    ("{a: [x, y]}", ["b=2; a=1"], ["b=2; a=x; a=y"]),
    ("{a: '${query[\"v\"]}'}", ["a=1"], ["a=1"]),
]


@pytest.mark.parametrize(("edits", "before", "after"), COOKIES)
def test_cookies_of_a_request(exchange: Exchange, edits: str, before: list[str], after: list[str]) -> None:
    headers = [("x-a", "1"), *[("COOKIE", value) for value in before], ("x-b", "2")]
    sent = exchange(rewrite("request", f"{{cookies: {edits}}}"), url="http://a.test/?v=x;y=1", headers=headers).upstream
    name = "COOKIE" if before else "Cookie"
    cookies = [(name, value) for value in after]
    fields = [("x-a", "1"), *(cookies if before else ()), ("x-b", "2"), *(() if before else cookies)]
    assert list(sent.headers.items(multi=True))[1:] == fields


SET_COOKIES = [
    ("{a: '9'}", ["a=9; Path=/;Secure", "b=2; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "a2=3"]),
    ("{a: '9; Path=/x'}", ["a=9; Path=/x", "b=2; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "a2=3"]),
    ("{remove: [a*]}", ["b=2; Expires=Wed, 21 Oct 2026 07:28:00 GMT"]),
    ("{c: '9; HttpOnly', remove: [a, b]}", ["a2=3", "c=9; HttpOnly"]),
    ("{default: {a: '9', c: '9'}, remove: b}", ["a=1; Path=/;Secure", "a2=3", "c=9"]),
    ("{add: {a: '9'}, remove: [b, a2]}", ["a=1; Path=/;Secure", "a=9"]),
    ("{replace: {a: {regex: '^', with: 'x'}}, remove: [b, a2]}", ["a=x1; Path=/;Secure"]),
]


@pytest.mark.parametrize(("edits", "after"), SET_COOKIES)
def test_cookies_of_a_response(exchange: Exchange, edits: str, after: list[str]) -> None:
    before = ["a=1; Path=/;Secure", "b=2; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "a2=3"]
    headers = [("x-a", "1"), *[("Set-cookie", value) for value in before], ("x-b", "2")]
    outcome = exchange(rewrite("response", f"{{cookies: {edits}}}"), response_headers=headers)
    assert outcome.flow.response.headers.get_all("set-cookie") == after
    others = [field for field in outcome.flow.response.headers.items(multi=True) if field[0].lower() != "set-cookie"]
    assert others == [("x-a", "1"), ("x-b", "2")]


def test_a_replacement_that_finds_nothing_keeps_the_bytes_of_a_cookie(exchange: Exchange) -> None:
    outcome = exchange(
        rewrite("response", "{cookies: {replace: {a: {text: x, with: y}}}}"),
        response_headers=[("Set-Cookie", "a = 1 ;Path=/")],
    )
    assert outcome.flow.response.headers.get_all("set-cookie") == ["a = 1 ;Path=/"]


def test_no_value_adds_an_attribute_to_a_cookie(exchange: Exchange, caplog: pytest.LogCaptureFixture) -> None:
    edits = "{cookies: {a: '${query[\"v\"]}; Path=/'}}"
    assert exchange(rewrite("response", edits), url="http://a.test/?v=x").header("set-cookie") == "a=x; Path=/"
    assert exchange(rewrite("response", edits), url="http://a.test/?v=x;Domain=b").header("set-cookie") is None
    assert "cannot be part of a cookie" in caplog.text


FORM = "application/x-www-form-urlencoded"
FORMS = [
    ("{a: '9'}", FORM, b"a=1&b=%20+&a=2", b"a=9&b=%20+", False),
    ("{remove: [csrf*], c: 'ü &'}", FORM + "; charset=utf-8", b"csrf_x=1&b=%zz&&b", b"b=%zz&&b&c=%C3%BC+%26", False),
    ("{replace: {a: {regex: '[0-9]', with: '#'}}}", FORM, b"a=a1%31&b=1", b"a=a%23%23&b=1", False),
    ("{a: '9'}", "application/json", b"{}", b"{}", True),
    ("{a: '9'}", None, b"", b"a=9", False),
]


@pytest.mark.parametrize(("edits", "kind", "before", "after", "fails"), FORMS)
def test_forms(
    exchange: Exchange, caplog: pytest.LogCaptureFixture, edits: str, kind: str | None, before: bytes, after: bytes,
    fails: bool,
) -> None:  # fmt: skip
    headers = [("x-a", "1"), *([("content-type", kind), ("content-length", str(len(before)))] if kind else [])]
    sent = exchange(rewrite("request", f"{{form: {edits}}}"), method="POST", headers=headers, body=before).upstream
    assert sent.raw_content == after
    assert sent.headers["content-type"] == (kind or FORM)
    assert sent.headers["content-length"] == str(len(after))
    assert ("the body is no form" in caplog.text) == fails


def part(name: str, value: str, more: str = "") -> str:
    return f'--b x\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'


UPLOAD = "preamble\r\n" + part("a", "1") + part("f", "\x00\r\n--b", '; filename="a.txt"\r\nContent-Type: x/y')
UPLOAD = UPLOAD.replace("name=", "NAME=", 1) + part("a", "2").replace("--b x\r", "--b x \t\r")
END = "--b x--\r\nepilogue"
FIRST, FILE, SECOND = (f"--b x{piece}" for piece in UPLOAD.split("--b x")[1:])

MULTIPARTS = [
    ("{}", [FIRST, FILE, SECOND]),
    ("{a: '9'}", [part("a", "9"), FILE]),
    ("{a: [x, y], c: é}", [part("a", "x"), part("a", "y"), FILE, part("c", "é")]),
    ("{remove: [a]}", [FILE]),
    ("{remove: ['*']}", []),
    ("{add: {f: x}, default: {a: n, d: m}}", [FIRST, FILE, SECOND, part("f", "x"), part("d", "m")]),
    ("{replace: {a: {regex: '[0-9]', with: n}, f: {text: b, with: n}}}",
     [FIRST.replace("1", "n"), FILE, SECOND.replace("2", "n")]),
    ("{'q\"': '${query[\"v\"]}'}", [FIRST, FILE, SECOND, part("q%22", "v")]),
]  # fmt: skip


@pytest.mark.parametrize(("edits", "after"), MULTIPARTS)
def test_multipart_forms_keep_the_parts_that_no_edit_names(exchange: Exchange, edits: str, after: list[str]) -> None:
    body = (UPLOAD + END).encode()
    sent = exchange(
        rewrite("request", f"{{form: {edits}}}"), method="POST", url="http://a.test/?v=v", body=body,
        headers=[("content-type", 'multipart/form-data; boundary="b x"')],
    ).upstream  # fmt: skip
    assert sent.raw_content.decode() == "preamble\r\n" + "".join(after) + END
    assert len(sent.multipart_form) == len(after)


@pytest.mark.parametrize("body", [b"", b"x", UPLOAD.encode(), (UPLOAD + END).encode()])
def test_a_multipart_form_that_cannot_be_edited_stays(exchange: Exchange, body: bytes) -> None:
    sent = exchange(
        rewrite("request", "{form: {a: '${query[\"v\"]}'}}"), method="POST", url="http://a.test/?v=%0d%0a--b%20x--", body=body,
        headers=[("content-type", 'multipart/form-data; boundary="b x"')],
    ).upstream  # fmt: skip
    assert sent.raw_content == body


def test_nothing_else_in_a_message_changes(exchange: Exchange) -> None:
    odd = [("X-B", "2"), ("x-a", ""), ("Accept", "a ;q=1"), ("x-b", "\udcff"), ("COOKIE", "a=1;b=2")]
    edits = "{cookies: {b: '3'}, json: {set: {$.z: 1}}, headers: {x-new: n}, query: {q: '2'}, text: '{ \"a\":1 }'}"
    sent = exchange(rewrite("request", edits), url="http://a.test/%7e?x=%20&q=1&&y", headers=odd, body=b"old").upstream
    assert sent.path == "/%7e?x=%20&q=2&&y"
    assert list(sent.headers.items(multi=True)) == [
        ("Host", "a.test"), *odd[:4], ("COOKIE", "a=1;b=3"), ("x-new", "n"), ("content-length", "15"),
    ]  # fmt: skip
    assert sent.raw_content == b'{ "a":1,"z":1 }'


def test_the_reason(exchange: Exchange, caplog: pytest.LogCaptureFixture) -> None:
    outcome = exchange(rewrite("response", "{status: 404, reason: Gone fishing}"))
    assert (outcome.status, outcome.flow.response.reason) == (404, "Gone fishing")
    bad = exchange(rewrite("response", "{reason: \"${query['r']}\", status: 404}"), url="http://a.test/?r=a%0d%0ax: y")
    assert bad.status == 200
    assert "cannot be a reason phrase" in caplog.text


@pytest.mark.parametrize("place", ["headers: {x: VALUE}", "cookies: {x: VALUE}", "method: VALUE", "host: VALUE"])
@pytest.mark.parametrize("value", ["a%0d%0ab: c", "a%0ab", "a%00b"])
@pytest.mark.parametrize("policy", ["open", "closed"])
def test_no_value_breaks_out_of_its_line(exchange: Exchange, place: str, value: str, policy: str) -> None:
    edits = place.replace("VALUE", "\"${query['v']}\"")
    rule = rewrite("request", f"{{{edits}, query: {{remove: v}}}}") + f"    on-error: {policy}\n"
    outcome = exchange(rule, url=f"http://a.test/?v={value}")
    if policy == "closed":
        assert (outcome.status, outcome.upstream) == (502, None)
    else:
        # All of a rewrite or nothing.
        assert outcome.upstream.url == f"http://a.test/?v={value}"
        assert list(outcome.upstream.headers.keys()) == ["Host"]


def test_framing_is_left_to_the_proxy(exchange: Exchange) -> None:
    edits = "{headers: {Connection: close, content-length: '5', TE: trailers, x-a: b, default: {transfer-encoding: x}}}"
    outcome = exchange(rewrite("response", edits))
    assert list(outcome.flow.response.headers.items(multi=True)) == [("x-a", "b")]


KEPT = [
    ("{html: {append-body: x}, headers: {x-a: b}}", "text/html; charset=utf-8", True),
    ("{html: {append-body: x}, headers: {x-a: b}}", "image/png", False),
    ("{html: {append-body: x}, headers: {x-a: b}}", None, False),
    ("{json: {set: {$.a: 1}}, headers: {x-a: b}}", "application/problem+json", True),
    ("{json: {set: {$.a: 1}}, headers: {x-a: b}}", "text/plain", True),
    ("{json: {set: {$.a: 1}}, headers: {x-a: b}}", None, True),
    ("{json: {set: {$.a: 1}}, headers: {x-a: b}}", "video/mp4", False),
    ("{json: {set: {$.a: 1}}, headers: {x-a: '${response.text}'}}", "video/mp4", True),
    ("{body: {append: x}, headers: {x-a: b}}", "video/mp4", True),
]


@pytest.mark.parametrize(("edits", "kind", "kept"), KEPT)
def test_only_what_may_be_changed_is_kept_in_memory(
    exchange: Exchange, edits: str, kind: str | None, kept: bool
) -> None:
    headers = [("content-type", kind)] if kind else []
    outcome = exchange(rewrite("response", edits), response_headers=headers, response_body=b"{}")
    assert outcome.read == ({"response"} if kept else set())
    assert outcome.header("x-a") in ("b", "{}")
    # A body that is not kept keeps no other edit away either.
    large = exchange(rewrite("response", edits), response_headers=headers, response_body=b"b" * 99, limit=9)
    assert large.header("x-a") == (None if kept else "b")
