"""Rules that read bodies, on real sockets: what is waited for, what is passed on, and in which order rules act."""

from __future__ import annotations

import gzip

import pytest

from rulesproxy.rules.ruleset import RuleSet, load_rules
from tests.support.origin import Origin, answer, script
from tests.support.running import client_of, get, running

EVENT = b"data: one\n\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + EVENT

ORDER = """
  - id: body
    match: request.json["user"]["id"] == 42
    rewrite: {request: {headers: {x-vip: "yes"}}}
  - id: head
    match: request.header["x-vip"] == "yes"
    rewrite: {request: {path: /vip}}
  - id: secret
    match: response.json["error"] contains "password"
    rewrite: {response: {status: 502}}
  - id: operation
    match: graphql.operation == "GetUser"
    block: 418
"""


def rules(text: str) -> RuleSet:
    return load_rules(text="version: 1\nrules:\n" + text)


async def test_body_rules_and_head_rules_act_in_the_order_of_the_file() -> None:
    async with Origin() as origin, running(rules=rules(ORDER)) as proxy, client_of(proxy) as client:
        await client.request(get(origin.url + "/", method="POST", body=b'{"user": {"id": 42}}'))
        await client.request(get(origin.url + "/", method="POST", body=b'{"user": {"id": 43}}'))
        assert [request.target for request in origin.requests] == ["/vip", "/"]
        assert [request.get_all("x-vip") for request in origin.requests] == [["yes"], []]


async def test_an_answer_may_be_made_of_the_request_body() -> None:
    echo = """
  - match: path == "/early"
    respond: {status: 200, body: early}
  - id: echo
    match: response.status == 200
    rewrite: {response: {text: "got ${request.text}"}}
"""
    options = {"limits_body": 1000}
    async with (
        Origin.http(answer(body=b"x")) as origin,
        running(rules=rules(echo), **options) as proxy,
        client_of(proxy) as client,
    ):
        for target in ("/", "/early"):
            response = await client.request(get(origin.url + target, method="POST", body=b"this"))
            assert response.body == b"got this"
        # What is not there makes nothing: the rule does not apply, and says so once.
        response = await client.request(get(origin.url + "/", method="POST", body=b"x" * 2000))
        assert response.body == b"x"


async def test_answers_are_judged_by_their_decoded_body() -> None:
    body = gzip.compress(b'{"error": "db password wrong"}')
    reply = answer(200, body, [("Content-Encoding", "gzip"), ("Content-Type", "application/json")])
    async with Origin.http(reply) as origin, running(rules=rules(ORDER)) as proxy, client_of(proxy) as client:
        response = await client.request(get(origin.url + "/"))
        assert (response.status, response.body) == (502, body)


async def test_graphql_operations_are_answered_one_by_one() -> None:
    async with Origin() as origin, running(rules=rules(ORDER)) as proxy, client_of(proxy) as client:
        for name, status in (("GetUser", 418), ("GetUserX", 200)):
            body = b'{"query": "query %b { user { id } }"}' % name.encode()
            response = await client.request(get(origin.url + "/graphql", method="POST", body=body))
            assert response.status == status
        assert len(origin.requests) == 1


@pytest.mark.parametrize(
    "match", ['response.text contains "two"', 'not response.text contains "two"', "~bs two", 'response.body ~ "x"']
)
async def test_an_event_stream_arrives_as_it_is_sent(match: str, caplog: pytest.LogCaptureFixture) -> None:
    text = f"  - id: it\n    match: '{match}'\n    rewrite: {{response: {{headers: {{x-hit: '1'}}}}}}\n"
    stream = script("request", STREAM, "stall")
    async with Origin(stream) as origin, running(rules=rules(text)) as proxy, client_of(proxy) as client:
        client.send(get(origin.url + "/"))
        head = await client.read_until(b"data: one")
        assert b"x-hit" not in head
    assert [record.getMessage() for record in caplog.records if "did not apply" in record.getMessage()]


@pytest.mark.parametrize("match", ['request.text contains "x"', 'not request.text contains "x"'])
async def test_a_body_over_the_limit_goes_on_and_its_rule_does_not_apply(
    match: str, caplog: pytest.LogCaptureFixture
) -> None:
    text = f"  - id: it\n    match: method == POST and {match}\n    block: 403\n"
    size = 11 * 1024 * 1024
    async with (
        Origin.http(lambda request: answer(200, str(len(request.body)).encode())) as origin,
        running(rules=rules(text)) as proxy,
        client_of(proxy) as client,
    ):
        for _ in range(2):
            response = await client.request(get(origin.url + "/", method="POST", body=b"y" * size))
            assert (response.status, response.body) == (200, str(size).encode())
    assert len([record for record in caplog.records if "rule it did not apply" in record.getMessage()]) == 1


async def test_fields_of_tls_are_known() -> None:
    text = """
  - id: client
    match: tls and tls.version == 1.3 and tls.alpn[0] == "h2" and tls.alpn[1] == "http/1.1" and sni == "localhost"
    rewrite: {request: {headers: {x-client: "yes"}}}
  - id: server
    match: server.tls.version == 1.3 and server.ip == 127.0.0.1 and response.ttfb < 10s and mode == regular
    rewrite: {response: {headers: {x-server: "yes"}}}
"""
    async with Origin(tls="good") as origin, running(rules=rules(text)) as proxy, client_of(proxy) as client:
        await client.tunnel(f"localhost:{origin.port}", proxy.ca_path, alpn=("h2", "http/1.1"))
        response = await client.request(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert origin.requests[0].get_all("x-client") == ["yes"]
        assert response.get_all("x-server") == ["yes"]
