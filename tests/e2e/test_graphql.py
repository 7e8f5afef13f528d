"""A mocked GraphQL operation (A13), on real sockets: however it is asked for, and in a batch beside others."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest

from rulesproxy import load_rules
from tests.support.client import RawClient
from tests.support.origin import Origin, answer
from tests.support.running import client_of, get, running
from tests.support.wire import Request, Response

RULES = """version: 1
rules:
  - id: mock
    match: path == "/graphql" and graphql.operation in {"GetUser" "me"}
    respond:
      json: {data: {user: {name: "${request.json['variables']['id'] | default('nobody')}"}}}
"""
JSON = ("Content-Type: application/json",)


def real(request: Request) -> bytes:
    """A server that answers every operation with its name, and a batch with a batch."""
    asked = json.loads(request.body) if request.body.startswith((b"[", b"{")) else {}
    items = asked if isinstance(asked, list) else [asked]
    answers = [{"data": {"real": item.get("operationName")}} for item in items]
    body = json.dumps(answers if isinstance(asked, list) else answers[0]).encode()
    return answer(200, body, [("Content-Type", "application/json"), ("ETag", '"1"')])


async def ask(rules: str, origin: Origin, data: bytes, *headers: str) -> Response:
    async with running(rules=load_rules(text=rules)) as proxy, client_of(proxy) as client:
        return await post(client, origin, data, *headers)


async def post(client: RawClient, origin: Origin, data: bytes, *headers: str) -> Response:
    lines = (*(headers or JSON), f"Content-Length: {len(data)}")
    return await client.request(get(f"http://127.0.0.1:{origin.port}/graphql", *lines, method="POST") + data, "POST")


def dumped(*operations: str, **variables: object) -> bytes:
    items = [
        {"operationName": name, "query": f"query {name} {{ x }}", "variables": {"id": f"{name}-{at}", **variables}}
        for at, name in enumerate(operations)
    ]
    return json.dumps(items).encode()


FORM = (
    b'--b\r\nContent-Disposition: form-data; name="operations"\r\n\r\n'
    b'{"operationName": "%s", "query": "mutation %s($f: Upload!) { x(f: $f) }", "variables": {"f": null}}\r\n'
    b'--b\r\nContent-Disposition: form-data; name="map"\r\n\r\n{"0": ["variables.f"]}\r\n'
    b'--b\r\nContent-Disposition: form-data; name="0"; filename="a.bin"\r\n\r\n\x00\xff\r\n--b--\r\n'
)
MULTIPART = ("Content-Type: multipart/form-data; boundary=b",)
ONE_BY_ONE: list[Any] = [
    pytest.param(b'{"operationName": "GetUser", "query": "query GetUser { user { name } }"}', JSON, True, id="json"),
    pytest.param(b'{"query": "query GetUser { user { name } }"}', JSON, True, id="named-in-the-document"),
    pytest.param(b'{"operationName": "GetUserX", "query": "query GetUserX { user }"}', JSON, False, id="another-name"),
    pytest.param(b'{"query": "{ me { name } }"}', JSON, True, id="anonymous"),
    pytest.param(b'{"query": "{ you { me } }"}', JSON, False, id="anonymous-other-root-field"),
    pytest.param(b'{"operationName": "GetUser", "extensions": {"persistedQuery": {"version": 1, "sha256Hash": "ab"}}}', JSON, True, id="persisted"),
    pytest.param(FORM % (b"GetUser", b"GetUser"), MULTIPART, True, id="upload"),
    pytest.param(FORM % (b"Other", b"Other"), MULTIPART, False, id="another-upload"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "headers", "mocked"), ONE_BY_ONE)
async def test_one_operation(data: bytes, headers: tuple[str, ...], mocked: bool) -> None:
    async with Origin.http(real) as origin:
        response = await ask(RULES, origin, data, *headers)
        assert response.status == 200
        assert ("user" in json.loads(response.body)["data"]) is mocked
        assert len(origin.requests) == (not mocked)
        assert mocked or origin.requests[0].body == data


@pytest.mark.parametrize(
    ("query", "mocked"),
    [("operationName=GetUser", True), ("operationName=GetUserX", False), ("query=%7B+me+%7D", True)],
)
async def test_a_get(query: str, mocked: bool) -> None:
    async with (
        Origin.http(real) as origin,
        running(rules=load_rules(text=RULES)) as proxy,
        client_of(proxy) as client,
    ):
        response = await client.request(get(f"http://127.0.0.1:{origin.port}/graphql?{query}"))
        assert ("user" in json.loads(response.body)["data"]) is mocked
        assert len(origin.requests) == (not mocked)


async def test_a_part_of_a_batch() -> None:
    async with Origin.http(real) as origin:
        response = await ask(RULES, origin, dumped("GetUser", "Other"))
        assert json.loads(response.body) == [{"data": {"user": {"name": "GetUser-0"}}}, {"data": {"real": "Other"}}]
        assert response.get("etag") is None
        assert response.get("content-type") == "application/json"
        assert json.loads(origin.requests[0].body) == json.loads(dumped("x", "Other"))[1:]


async def test_every_order_is_kept() -> None:
    async with Origin.http(real) as origin:
        response = await ask(RULES, origin, dumped("A", "GetUser", "B", "me", "C"))
        assert [next(iter(each["data"])) for each in json.loads(response.body)] == [
            "real",
            "user",
            "real",
            "user",
            "real",
        ]
        assert [each["data"].get("real") for each in json.loads(response.body)] == ["A", None, "B", None, "C"]
        assert [each["operationName"] for each in json.loads(origin.requests[0].body)] == ["A", "B", "C"]


async def test_the_server_is_not_asked_for_nothing() -> None:
    async with Origin.http(real) as origin:
        response = await ask(RULES, origin, dumped("GetUser", "GetUser"))
        assert [each["data"]["user"]["name"] for each in json.loads(response.body)] == ["GetUser-0", "GetUser-1"]
        assert origin.requests == []


async def test_a_batch_without_such_an_operation_is_untouched() -> None:
    async with Origin.http(real) as origin:
        data = dumped("GetUserX", "Other").replace(b", ", b" ,\n")
        response = await ask(RULES, origin, data)
        assert origin.requests[0].body == data
        assert response.get("etag") == '"1"'


TWO = RULES + """
  - id: other
    match: graphql.operation == "Other"
    respond: {json: {data: {other: true}}}
  - id: seen
    match: response.status == 200 and graphql.operation == "GetUser"
    rewrite: {response: {headers: {x-seen: "1"}}}
  - id: counted
    match: graphql.operation == "Third"
    rewrite: {response: {json: {set: {"$[2].data.edited": true}}}}
"""  # fmt: skip


async def test_two_rules_share_a_batch_and_the_response_pass_sees_all_answers() -> None:
    async with (
        Origin.http(real) as origin,
        running(rules=load_rules(text=TWO)) as proxy,
        client_of(proxy) as client,
    ):
        response = await post(client, origin, dumped("Other", "GetUser", "Third"))
        assert json.loads(response.body) == [
            {"data": {"other": True}}, {"data": {"user": {"name": "GetUser-1"}}}, {"data": {"real": "Third", "edited": True}},
        ]  # fmt: skip
        assert [each["operationName"] for each in json.loads(origin.requests[0].body)] == ["Third"]
        response = await post(client, origin, dumped("Other", "GetUser"))
        assert [list(each["data"]) for each in json.loads(response.body)] == [["other"], ["user"]]
        assert len(origin.requests) == 1


async def test_an_answer_that_cannot_stand_in_a_batch_answers_all_of_it() -> None:
    rules = 'version: 1\nrules:\n  - match: graphql.operation == "GetUser"\n    respond: {status: 503, body: down}\n'
    async with Origin.http(real) as origin:
        response = await ask(rules, origin, dumped("Other", "GetUser"))
        assert (response.status, response.body) == (503, b"down")
        assert origin.requests == []


async def test_a_server_that_refuses_batches_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    async with Origin.http(answer(400, b'{"errors": []}', [("Content-Type", "application/json")])) as origin:
        response = await ask(RULES, origin, dumped("GetUser", "Other"))
        assert (response.status, response.body) == (400, b'{"errors": []}')
        assert "is no batch of 1" in caplog.text


async def test_codings_on_both_sides() -> None:
    def coded(request: Request) -> bytes:
        assert gzip.decompress(request.body).startswith(b'[{"operationName": "Other"')
        body = gzip.compress(b' [ {"data": {"real": "\xc3\xa9"}} ] ')
        return answer(200, body, [("Content-Type", "application/json"), ("Content-Encoding", "gzip")])

    async with Origin.http(coded) as origin:
        response = await ask(
            RULES,
            origin,
            gzip.compress(dumped("GetUser", "Other")),
            *JSON,
            "Content-Encoding: gzip",
            "Accept-Encoding: gzip",
        )
        body = gzip.decompress(response.body) if response.get("content-encoding") == "gzip" else response.body
        assert json.loads(body) == [{"data": {"user": {"name": "GetUser-0"}}}, {"data": {"real": "é"}}]


async def test_a_template_that_fails_leaves_its_request_to_the_server() -> None:
    rules = "version: 1\nrules:\n  - match: graphql.operation == \"GetUser\"\n    respond: {json: {id: \"${request.json['variables']['id'] | int}\"}}\n"
    items = json.loads(dumped("GetUser", "GetUser", "Other"))
    items[1]["variables"]["id"] = 7
    async with (
        Origin.http(real) as origin,
        running(rules=load_rules(text=rules), errors=True) as proxy,
        client_of(proxy) as client,
    ):
        response = await post(client, origin, json.dumps(items).encode())
        assert json.loads(response.body) == [{"data": {"real": "GetUser"}}, {"id": 7}, {"data": {"real": "Other"}}]


async def test_batches_at_once() -> None:
    async with Origin.http(real) as origin, running(rules=load_rules(text=RULES)) as proxy:

        async def one(number: int) -> None:
            async with client_of(proxy) as client:
                response = await post(client, origin, dumped("GetUser", f"Other{number}"))
                assert json.loads(response.body)[1] == {"data": {"real": f"Other{number}"}}

        await asyncio.gather(*[one(number) for number in range(10)])
