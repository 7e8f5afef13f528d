"""The access log: one line for each exchange, and nothing secret in it."""

import logging

import pytest

from rulesproxy.addons import access_log
from rulesproxy.addons.access_log import AccessLog
from rulesproxy.engine.bind import chain_of
from rulesproxy.engine.dispatch import dispatch
from rulesproxy.flow.connection import ClientConn, ServerConn
from rulesproxy.flow.error import FlowError
from rulesproxy.flow.http import HTTPFlow, HTTPResponse
from rulesproxy.flow.plan import FileBody
from rulesproxy.flow.tcp import TCPFlow
from rulesproxy.flow.websocket import WebSocketFlow


def make(status=200, url="http://a.test/x?y=1", **response):
    flow = HTTPFlow.make("GET", url, status=status, **response)
    flow.client_conn.address = ("10.0.0.7", 5000)
    flow.timestamp_start = 1000.0
    if flow.response:
        flow.response.timestamp_end = 1000.012
    return flow


async def line(flow, event, caplog):
    with caplog.at_level(logging.INFO, logger="rulesproxy"):
        await dispatch(getattr(chain_of([AccessLog()]), event), flow)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("rulesproxy.access", "INFO")
    return record


def sized(size):
    flow = make()
    flow.response.headers["content-length"] = str(size)
    flow.response.body_source = None
    return flow


def streamed():
    flow = make()
    flow.response.body_source = None
    return flow


def from_file(tmp):
    flow = make()
    flow.response.body_source = FileBody(tmp / "never-opened", 0, 2048)
    return flow


def changed(**attributes):
    flow = make()
    for name, value in attributes.items():
        setattr(flow, name, value)
    return flow


def slow():
    flow = make()
    flow.response.timestamp_end = 1012.34
    return flow


def on_ipv6():
    flow = make()
    flow.client_conn.address = ("::1", 5000)
    return flow


@pytest.mark.parametrize(("flow", "expected"), [
    (make(response_body=b"x" * 512),   "10.0.0.7:5000 GET http://a.test/x?y=1 -> 200 512B 12ms"),
    (make(status=204),                 "10.0.0.7:5000 GET http://a.test/x?y=1 -> 204 0B 12ms"),
    (sized(2048),                      "10.0.0.7:5000 GET http://a.test/x?y=1 -> 200 2.0KiB 12ms"),
    (sized(5 * 1024**2),               "10.0.0.7:5000 GET http://a.test/x?y=1 -> 200 5.0MiB 12ms"),
    (sized(3 * 1024**4),               "10.0.0.7:5000 GET http://a.test/x?y=1 -> 200 3072.0GiB 12ms"),
    (sized("x\u0663"),                 "10.0.0.7:5000 GET http://a.test/x?y=1 -> 200 12ms"),
    (streamed(),                       "10.0.0.7:5000 GET http://a.test/x?y=1 -> 200 12ms"),
    (changed(timestamp_start=0.0),     "10.0.0.7:5000 GET http://a.test/x?y=1 -> 200 0B"),
    (slow(),                           "10.0.0.7:5000 GET http://a.test/x?y=1 -> 200 0B 12.3s"),
    (changed(hits=["mock", "r.yaml:3"]), "10.0.0.7:5000 GET http://a.test/x?y=1 -> 200 0B 12ms (mock, r.yaml:3)"),
    (on_ipv6(),                        "[::1]:5000 GET http://a.test/x?y=1 -> 200 0B 12ms"),
    (make(url="http://a.test/\x1b[2J\n\u202e"), r"10.0.0.7:5000 GET http://a.test/\x1b[2J\n\u202e -> 200 0B 12ms"),
])  # fmt: skip
async def test_lines(flow, expected, caplog):
    assert (await line(flow, "response", caplog)).getMessage() == expected


async def test_a_file_is_not_opened(tmp_path, caplog):
    assert (await line(from_file(tmp_path), "response", caplog)).getMessage().endswith("-> 200 2.0KiB 12ms")


async def test_errors(caplog, monkeypatch):
    monkeypatch.setattr(access_log.time, "time", lambda: 1002.0)
    flow = make(status=None)
    flow.error = FlowError("the client\nis gone", "client")
    expected = r"10.0.0.7:5000 GET http://a.test/x?y=1 -> error: the client\nis gone 2000ms"
    assert (await line(flow, "error", caplog)).getMessage() == expected
    caplog.clear()
    flow.response = HTTPResponse.make(502, b"page")
    record = await line(flow, "error", caplog)
    assert record.getMessage().endswith(r"-> 502 error: the client\nis gone 2000ms")
    assert record.fields == {
        "client": "10.0.0.7:5000", "method": "GET", "url": "http://a.test/x?y=1", "status": 502, "size": 4,
        "error": "the client\nis gone", "seconds": 2.0,
    }  # fmt: skip


def tcp(*hits):
    flow = TCPFlow(ClientConn(("10.0.0.7", 5000)), ServerConn(("db.test", 6379)), 1000.0)
    flow.hits += hits
    return flow


async def test_raw_tcp(caplog, monkeypatch):
    monkeypatch.setattr(access_log.time, "time", lambda: 1002.0)
    record = await line(tcp(), "tcp_end", caplog)
    assert record.getMessage() == "10.0.0.7:5000 TCP db.test:6379 -> closed 2000ms"
    assert record.fields == {"client": "10.0.0.7:5000", "target": "db.test:6379", "seconds": 2.0}
    caplog.clear()
    record = await line(tcp("flush", "r.yaml:3"), "tcp_end", caplog)
    assert record.getMessage() == "10.0.0.7:5000 TCP db.test:6379 -> closed 2000ms (flush, r.yaml:3)"
    assert record.fields["rules"] == ["flush", "r.yaml:3"]


async def test_the_rules_of_a_websocket(caplog):
    flow = make()
    flow.hits.append("bye")
    conversation = WebSocketFlow(flow, 1000.0)
    conversation.close_code, conversation.timestamp_end = 4001, 1001.0
    record = await line(conversation, "websocket_end", caplog)
    expected = "10.0.0.7:5000 GET http://a.test/x?y=1 -> websocket 4001 by the proxy, 0 messages, 1000ms (bye)"
    assert record.getMessage() == expected
    assert record.fields["rules"] == ["bye"]


async def test_what_went_wrong_with_tcp_has_a_line_already(caplog):
    flow = tcp()
    flow.error = FlowError("the connection was reset", "disconnected")
    with caplog.at_level(logging.INFO, logger="rulesproxy"):
        await dispatch(chain_of([AccessLog()]).tcp_end, flow)
    assert not caplog.records


async def test_what_a_server_did_wrong_has_a_line_already(caplog):
    flow = make(status=None)
    flow.error = FlowError("a.test:80 refused", "refused")
    with caplog.at_level(logging.INFO, logger="rulesproxy"):
        await dispatch(chain_of([AccessLog()]).error, flow)
    assert caplog.records == []


async def test_no_header_is_printed(caplog):
    flow = make(response_headers=[("Set-Cookie", "sid=secret")])
    flow.request.headers["Authorization"] = "Bearer secret"
    flow.request.headers["Cookie"] = "sid=secret"
    record = await line(flow, "response", caplog)
    assert "secret" not in record.getMessage() + str(record.fields)


async def test_nothing_is_done_where_nobody_looks(caplog):
    with caplog.at_level(logging.WARNING, logger="rulesproxy"):
        await dispatch(chain_of([AccessLog()]).response, object())
    assert caplog.records == []


def test_it_only_looks():
    chain = chain_of([AccessLog()])
    flow = make()
    assert (chain.wants_host("a.test"), chain.wants_body(flow, "request"), chain.wants_body(flow, "response")) == (
        False, False, False,
    )  # fmt: skip
