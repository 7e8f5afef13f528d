"""Recordings: browsers' HAR files become flows, and bad ones are refused at their place."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from rulesproxy.diagnostics import Source
from rulesproxy.rules.dry import har
from rulesproxy.rules.dry.har import HARError, Recording, read_har


def entry(url: str = "https://a.test/x?y=1", **other: Any) -> dict[str, Any]:
    request = {"method": "GET", "url": url, "httpVersion": "h2", "headers": [], **other.pop("request", {})}
    response = {"status": 200, "httpVersion": "http/1.1", "headers": [], "content": {}, **other.pop("response", {})}
    return {"request": request, "response": response, **other}


def read(*entries: Any) -> Recording:
    return read_har(Source("trace.har", json.dumps({"log": {"version": "1.2", "entries": list(entries)}}, indent=1)))


def pairs(**named: str) -> list[dict[str, str]]:
    return [{"name": name.replace("_", "-"), "value": value} for name, value in named.items()]


def test_an_exchange_becomes_a_flow() -> None:
    request = {
        "method": "POST", "headers": [{"name": ":authority", "value": "a.test"}, *pairs(content_type="text/plain", content_length="99")],
        "postData": {"mimeType": "text/plain", "text": "é"},
    }  # fmt: skip
    response = {
        "status": 503, "headers": pairs(content_encoding="br", content_type="text/html", transfer_encoding="chunked", x_a="1"),
        "content": {"text": base64.b64encode(b"\xff\x00").decode(), "encoding": "base64"},
    }  # fmt: skip
    (flow,) = read(entry(request=request, response=response, serverIPAddress="[::1]")).flows
    assert (flow.request.method, flow.request.url, flow.request.http_version) == (
        "POST",
        "https://a.test/x?y=1",
        "HTTP/2.0",
    )
    assert flow.request.headers.items(True) == [("Host", "a.test"), ("content-type", "text/plain")]
    assert flow.request.raw_content == "é".encode()
    assert flow.response is not None
    assert (flow.response.status_code, flow.response.http_version) == (503, "HTTP/1.1")
    assert flow.response.headers.items(True) == [("content-type", "text/html"), ("x-a", "1")]
    assert flow.response.raw_content == b"\xff\x00"
    assert flow.server_conn.peername == ("::1", 443)


def test_forms_are_written_again_from_their_fields() -> None:
    posted = {
        "mimeType": "application/x-www-form-urlencoded",
        "params": [{"name": "a b", "value": "1&2"}, {"name": "c"}],
    }
    assert read(entry(request={"postData": posted})).flows[0].request.raw_content == b"a+b=1%262&c="


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("net::ERR_CONNECTION_REFUSED", "refused"),
        ("net::ERR_CERT_DATE_INVALID", "tls"),
        ("net::ERR_NAME_NOT_RESOLVED", "dns"),
        ("net::ERR_CONNECTION_TIMED_OUT", "timeout"),
        (None, "disconnected"),
    ],
)
def test_a_request_that_failed(said: str | None, kind: str) -> None:
    (flow,) = read(entry(response={"status": 0, "_error": said})).flows
    assert flow.error is not None
    assert (flow.response, flow.error.kind) == (None, kind)


def test_what_is_no_http_is_left_out_and_counted() -> None:
    found = read(entry("data:text/plain,x"), entry("chrome-extension://x/y"), entry("wss://a.test/ws"))
    assert ([flow.request.url for flow in found.flows], found.left_out) == (["https://a.test/ws"], 2)


def test_fields_that_nobody_can_send_are_dropped() -> None:
    headers = [{"name": "a b", "value": "1"}, {"name": "x", "value": "a\r\nb: c"}, {"name": "y", "value": "\ud800"}]
    (flow,) = read(entry(request={"headers": headers})).flows
    assert flow.request.headers.items(True) == [("Host", "a.test"), ("y", "?")]


BAD = [
    ("", 1, 1, "this is not JSON: expecting value"),
    ('{"log":\n  {"entries": [}\n}', 2, 16, "this is not JSON: expecting value"),
    ("[]", 1, 1, "`$` is an object in a HAR file"),
    ("[" * 100_000, 1, 1, "this JSON is nested too deeply, or has a number without end"),
    ("9" * 5_000, 1, 1, "this JSON is nested too deeply, or has a number without end"),
    ('{"log": 1}', 1, 9, "`$.log` is an object in a HAR file"),
    ('{"log": {"x": 1}}', 1, 9, "`$.log.entries` is an array in a HAR file"),
    ('{"log": {"entries": [\n  7]}}', 2, 3, "`$.log.entries[0]` is an object in a HAR file"),
    ('{"log": {"entries": [\n  {"request":\n {"method": "GET"}}]}}', 3, 2, "`$.log.entries[0].request.url` is text in a HAR file"),
    ('{"log": {"entries": [{"request": {"method": "G T",\n"url": "http://a/"}}]}}', 1, 45, "`G T` is no method"),
    ('{"log": {"entries": [{"request": {"method": "G",\n"url": "http://a:b/"}}]}}', 2, 8, "`b` is not a port: 1 to 65535"),
    ('{"log": {"entries": [{"request": {"method": "G", "url": "http://a/"},\n"response": {"status": "200"}}]}}', 2, 24,
     "a status is a number up to 999"),
    ('{"log": {"entries": [{"request": {"method": "G", "url": "http://a/", "headers":\n[{"name": 1}]}}]}}', 2, 11,
     "`$.log.entries[0].request.headers[0].name` is text in a HAR file"),
    ('{"log": {"entries": [{"request": {"method": "G", "url": "http://a/"},\n"response": {"status": 200, "content":\n'
     '{"encoding": "base64", "text": "*"}}}]}}', 3, 32, "this body is no base64"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "column", "title"), BAD)
def test_bad_recordings_are_refused_at_their_place(text: str, line: int, column: int, title: str) -> None:
    with pytest.raises(HARError) as caught:
        read_har(Source("trace.har", text))
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.span is not None
    assert (diagnostic.code, diagnostic.title) == ("RP920", title)
    assert (diagnostic.span.line, diagnostic.span.column) == (line, column)


def test_bad_entries_are_left_out_with_a_warning_at_their_place() -> None:
    text_for_status, no_base64 = {"status": "200"}, {"content": {"encoding": "base64", "text": "*"}}
    found = read(
        entry("http://a/1"),
        entry(response=text_for_status),
        entry("data:,"),
        entry(response=no_base64),
        7,
        entry("http://a/2"),
    )
    assert [flow.request.url for flow in found.flows] == ["http://a/1", "http://a/2"]
    assert (found.left_out, found.bad) == (1, 3)
    assert [(each.severity, each.title) for each in found.warnings] == [
        ("warning", "a status is a number up to 999"),
        ("warning", "this body is no base64"),
        ("warning", "`$.log.entries[4]` is an object in a HAR file"),
    ]
    lines = [each.span.line for each in found.warnings if each.span is not None]
    assert lines == sorted(set(lines))
    assert len(lines) == 3
    many = read(*[7] * 1000, entry())
    assert (many.bad, len(many.warnings), len(many.flows)) == (1000, 10, 1)


def test_a_recording_without_one_good_entry_is_refused() -> None:
    with pytest.raises(HARError) as caught:
        read(7, entry("data:,"), entry(response={"status": "200"}))
    assert [(each.severity, each.title) for each in caught.value.diagnostics] == [
        ("error", "`$.log.entries[0]` is an object in a HAR file"),
        ("error", "a status is a number up to 999"),
    ]


def test_a_mark_of_byte_order_is_no_mistake() -> None:
    assert read_har(Source("trace.har", '\ufeff{"log": {"entries": []}}')).flows == ()


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(har, "HAR_ENTRIES", 2)
    with pytest.raises(HARError, match="over 2 entries"):
        read(entry(), entry(), entry())
    monkeypatch.setattr(har, "HAR_CHARACTERS", 100)
    with pytest.raises(HARError, match="over 100 characters"):
        read(entry())


def test_a_user_in_a_url_is_no_part_of_the_host() -> None:
    for user in ("ann@", "ann:pass@word@", ":@"):
        (flow,) = read(entry(url=f"https://{user}a.test/x@y?z=@")).flows
        assert (flow.request.host, flow.request.url) == ("a.test", "https://a.test/x@y?z=@")
