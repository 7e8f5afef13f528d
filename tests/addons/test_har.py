"""HAR files: what is in an entry, what is masked, and how files grow, stop and go on."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import logging
import resource
import signal
from pathlib import Path
from typing import Any

import pytest

from rulesproxy.addons import har
from rulesproxy.addons.har import Har, entry_of
from rulesproxy.engine import secrets
from rulesproxy.flow.error import FlowError
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.plan import FileBody, Record


@pytest.fixture(autouse=True)
def nothing_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_hidden", secrets._Hidden())


def entry(flow: HTTPFlow, **record: Any) -> dict[str, Any]:
    data = entry_of(flow, Record(Path("x.har"), **record))
    assert data.isascii()
    assert not [byte for byte in data if byte < 0x20 or byte == 0x7F]
    made: dict[str, Any] = json.loads(data)
    check_entry(made)
    return made


def check_entry(made: dict[str, Any]) -> None:
    """The members that HAR 1.2 demands, and their types."""
    request, response = made["request"], made["response"]
    for name in ("method", "url", "httpVersion"):
        assert isinstance(request[name], str)
    for name in ("statusText", "httpVersion", "redirectURL"):
        assert isinstance(response[name], str)
    assert isinstance(response["status"], int)
    for message in (request, response):
        for name in ("cookies", "headers"):
            assert all(isinstance(item["name"], str) and isinstance(item["value"], str) for item in message[name])
        assert isinstance(message["headersSize"], int)
        assert isinstance(message["bodySize"], int)
    assert all(isinstance(item["name"], str) and isinstance(item["value"], str) for item in request["queryString"])
    if "postData" in request:
        assert isinstance(request["postData"]["mimeType"], str)
        assert isinstance(request["postData"]["text"], str)
    assert isinstance(response["content"]["size"], int)
    assert isinstance(response["content"]["mimeType"], str)
    timings = made["timings"]
    assert made["time"] == pytest.approx(sum(max(0, timings[name]) for name in ("send", "wait", "receive")), abs=0.01)
    assert min(timings[name] for name in ("send", "wait", "receive")) >= 0
    assert made["startedDateTime"].endswith("+00:00")
    assert made["cache"] == {}


def exchange(**parts: Any) -> HTTPFlow:
    flow = HTTPFlow.make("POST", "http://a.test/p?q=1&r=a+b", **{"status": 200, **parts})
    flow.timestamp_start = flow.request.timestamp_start = 1_700_000_000.25
    flow.request.timestamp_end = 1_700_000_000.35
    assert flow.response is not None
    flow.response.timestamp_start, flow.response.timestamp_end = 1_700_000_000.55, 1_700_000_000.6
    return flow


def test_an_entry() -> None:
    flow = exchange(
        headers=[("Content-Type", "application/json"), ("X-A", "1"), ("x-a", "2")],
        body=b'{"a": 1}',
        response_headers=[("Content-Type", "text/plain"), ("Location", "/next")],
        response_body="grüß".encode(),
    )
    flow.hits, flow.tags = ["one"], ["t"]
    made = entry(flow)
    assert made["startedDateTime"] == "2023-11-14T22:13:20.250+00:00"
    assert made["timings"] | {} == {
        "blocked": -1, "dns": -1, "connect": -1, "ssl": -1, "send": 100, "wait": 200, "receive": 50,
    }  # fmt: skip
    request, response = made["request"], made["response"]
    assert (request["method"], request["url"]) == ("POST", "http://a.test/p?q=1&r=a+b")
    assert request["queryString"] == [{"name": "q", "value": "1"}, {"name": "r", "value": "a b"}]
    assert request["headers"][2:] == [{"name": "X-A", "value": "1"}, {"name": "x-a", "value": "2"}]
    assert request["postData"] == {"mimeType": "application/json", "text": '{"a": 1}'}
    assert response["redirectURL"] == "/next"
    assert response["content"] == {"size": 6, "mimeType": "text/plain", "text": "grüß"}
    assert (made["_rules"], made["_tags"]) == (["one"], ["t"])


def test_secrets_are_masked_unless_they_are_wanted() -> None:
    secrets.hide(["k-123456"])
    flow = exchange(
        headers=[("Authorization", "Bearer abc"), ("Cookie", "sid=77; x=88"), ("X-Key", "k-123456")],
        body=b"key=k-123456",
        response_headers=[("Set-Cookie", "sid=99; Path=/a; Secure; HttpOnly"), ("Set-Cookie", "t=66")],
        response_body=b"it was k-123456",
    )
    flow.request.path = "/?key=k-123456"
    text = json.dumps(entry(flow))
    assert not [
        secret for secret in ("abc", "77", "88", "99", "66", "k-123456") if f"{secret}" in text.replace("1700", "")
    ]
    assert "Bearer ***" in text
    made = entry(flow)
    assert made["request"]["cookies"] == [{"name": "sid", "value": "***"}, {"name": "x", "value": "***"}]
    assert made["response"]["cookies"][0] == {
        "name": "sid", "value": "***", "path": "/a", "secure": True, "httpOnly": True,
    }  # fmt: skip
    assert made["request"]["url"] == "http://a.test/?key=***"
    kept = json.dumps(entry(flow, keep_secrets=True))
    assert all(secret in kept for secret in ("Bearer abc", "sid=77", "sid=99", "k-123456"))


def test_bodies_are_decoded_cut_and_left_out() -> None:
    coded = exchange(response_headers=[("Content-Encoding", "gzip")], response_body=gzip.compress(b"x" * 1000))
    content = entry(coded)["response"]["content"]
    assert (content["size"], content["text"]) == (1000, "x" * 1000)
    assert entry(coded)["response"]["bodySize"] < 100
    binary = exchange(body=b"\xff\x00", response_body=b"\xfe\x01")
    made = entry(binary)
    assert made["response"]["content"]["encoding"] == "base64"
    assert base64.b64decode(made["response"]["content"]["text"]) == b"\xfe\x01"
    assert base64.b64decode(made["request"]["postData"]["text"]) == b"\xff\x00"
    cut = entry(exchange(response_body="aé".encode() * 10), body_limit=8)["response"]["content"]
    assert cut == {"size": 30, "mimeType": "", "text": "aéaéa", "comment": "cut to 8 bytes"}
    for left_out in (entry(binary, bodies=False), entry(streamed())):
        assert "postData" not in left_out["request"]
        assert "text" not in left_out["response"]["content"]
        assert left_out["response"]["content"]["comment"] == "the body was not kept"
    assert entry(streamed())["response"]["bodySize"] == -1


def streamed() -> HTTPFlow:
    flow = exchange()
    assert flow.response is not None
    flow.request.body_source = flow.response.body_source = None
    return flow


def test_a_body_from_a_file(tmp_path: Path) -> None:
    flow = exchange()
    assert flow.response is not None
    (tmp_path / "b").write_text("content")
    flow.response.body_source = FileBody(tmp_path / "b", 0, 7)
    assert entry(flow)["response"]["content"]["text"] == "content"
    (tmp_path / "b").unlink()
    assert "text" not in entry(flow)["response"]["content"]


def test_what_peers_send_is_escaped() -> None:
    flow = exchange(
        headers=[("X", "a\x1b[31m\x7f\x85\u202e"), ("Y", "\udcff")],
        response_headers=[("Content-Type", "\udc80"), ("Set-Cookie", "\udcff=\udcfe")],
        response_body=b"\x00\x1b\x7f\xe2\x80\xae",
    )
    flow.request.method = "\x1b"
    made = entry(flow)
    assert made["request"]["headers"][1]["value"] == "a\x1b[31m\x7f\x85\u202e"
    assert made["request"]["headers"][2]["value"] == "\\udcff"
    json.dumps(made, ensure_ascii=False).encode()


def test_a_flow_without_an_answer() -> None:
    flow = HTTPFlow.make("GET", "https://a.test/")
    flow.error = FlowError("cannot connect to a.test:443: refused", "refused")
    response = entry(flow)["response"]
    assert (response["status"], response["_error"]) == (0, "cannot connect to a.test:443: refused")


# Files


def wanted(path: Path, number: int = 0, **record: Any) -> HTTPFlow:
    flow = exchange(response_body=b"%d" % number)
    flow.plan.records.append(Record(path, **record))
    return flow


async def record(recorder: Har, *flows: HTTPFlow) -> None:
    for flow in flows:
        waiting = recorder.response(flow)
        if waiting is not None:
            await waiting


def bodies(path: Path) -> list[str]:
    whole = json.loads(path.read_bytes())
    assert whole["log"]["version"] == "1.2"
    assert whole["log"]["creator"]["name"] == "rulesproxy"
    for made in whole["log"]["entries"]:
        check_entry(made)
    return [made["response"]["content"]["text"] for made in whole["log"]["entries"]]


async def test_flows_are_written_in_order(tmp_path: Path) -> None:
    one, two = tmp_path / "one.har", tmp_path / "two.har"
    recorder = Har()
    for number in range(20):
        await record(recorder, wanted(one, number), wanted(two, -number))
    await recorder.done()
    assert bodies(one) == [str(number) for number in range(20)]
    assert bodies(two) == [str(-number) for number in range(20)]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["one.har", "two.har"]


async def test_an_entry_is_there_soon(tmp_path: Path) -> None:
    recorder, path = Har(), tmp_path / "x.har"
    await record(recorder, wanted(path, 1))
    task = recorder._files[path]._task
    assert task is not None
    await task
    assert bodies(path) == ["1"]
    await recorder.done()


async def test_a_file_goes_on_or_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "x.har"
    for append, count in ((True, 1), (True, 2), (False, 1), (True, 2)):
        recorder = Har()
        await record(recorder, wanted(path, append=append))
        await recorder.done()
        assert len(bodies(path)) == count


async def test_a_flow_is_written_once_to_a_file(tmp_path: Path) -> None:
    flow = wanted(tmp_path / "x.har")
    flow.plan.records.append(Record(tmp_path / "x.har", bodies=False))
    flow.plan.records.append(Record(tmp_path / "y.har"))
    recorder = Har()
    await record(recorder, flow)
    await recorder.done()
    assert len(json.loads((tmp_path / "x.har").read_bytes())["log"]["entries"]) == 1
    assert len(bodies(tmp_path / "y.har")) == 1


@pytest.mark.parametrize("text", ["no HAR", '{"log": {"entries": 3}}', "[" * 100_000])
async def test_what_is_no_har_is_left_alone(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "x.har"
    path.write_text(text)
    recorder = Har()
    await record(recorder, wanted(path))
    await asyncio.wait({recorder._files[path]._task})  # type: ignore[arg-type]
    await record(recorder, wanted(path))
    await recorder.done()
    assert path.read_text() == text
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert "is not written to any more: what is in it is no HAR" in caplog.text


async def test_a_folder_that_is_gone_stops_the_recording(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Har()
    await record(recorder, wanted(tmp_path / "gone" / "x.har"))
    await recorder.done()
    assert "No such file or directory" in caplog.text
    assert "traffic goes on" in caplog.text


async def test_a_full_disk_stops_the_recording_and_gets_its_room_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder, path = Har(), tmp_path / "x.har"
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        for number in range(10):
            await record(recorder, wanted(path, number))
            await asyncio.wait({recorder._files[path]._task})  # type: ignore[arg-type]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "is not written to any more: File too large" in caplog.text
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.har"], "also before the proxy ends"
    assert 0 < len(bodies(path)) < 10
    await recorder.done()


async def test_a_slow_disk_holds_flows_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(har, "HAR_BACKLOG", 2000)
    recorder, path = Har(), tmp_path / "x.har"
    largest = 0
    for number in range(100):
        await record(recorder, wanted(path, number))
        largest = max(largest, recorder._files[path]._size)
    await recorder.done()
    assert largest < 4000
    assert len(bodies(path)) == 100


def test_flows_that_ask_for_nothing_cost_a_look() -> None:
    recorder = Har()
    flow = exchange()
    assert recorder.response(flow) is None
    assert flow.planned is None
    flow.plan.delay = 1
    assert recorder.error(flow) is None
