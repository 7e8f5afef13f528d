"""Handlers that raise, hang or make what cannot be sent: their flow is handled as `on_error` says, others are fine."""

from __future__ import annotations

import asyncio
import logging

import pytest

from rulesproxy import AddonHalt, HTTPFlow, HTTPResponse
from tests.support.origin import Origin
from tests.support.recorder import Do, Recorder
from tests.support.running import client_of, errors_of, get, running

EVENTS = ["requestheaders", "request", "responseheaders", "response"]


def raising(event: str, on_error: str) -> Do:
    def handler(flow: HTTPFlow) -> None:
        if flow.request.path == "/bad":
            raise RuntimeError("it broke")

    return Do(on_error=on_error, **{event: handler})  # type: ignore[arg-type]


def hanging(event: str, on_error: str) -> Do:
    async def handler(flow: HTTPFlow) -> None:
        if flow.request.path == "/bad":
            await asyncio.Event().wait()

    return Do(on_error=on_error, **{event: handler})  # type: ignore[arg-type]


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("on_error", ["open", "closed"])
@pytest.mark.parametrize("make", [raising, hanging])
async def test_handlers_that_fail(make: object, on_error: str, event: str) -> None:
    recorder = Recorder()
    addon = make(event, on_error)  # type: ignore[operator]
    async with Origin() as origin, running(addon, recorder, errors=True, limits_handler=0.1) as proxy:
        with errors_of() as logged:
            async with client_of(proxy) as client:
                response = await client.request(get(origin.url + "/bad"))
                assert response.status == (502 if on_error == "closed" else 200)
            async with client_of(proxy) as client:
                assert (await client.request(get(origin.url + "/good"))).status == 200
    assert len(logged) == 1
    message = logged[0].getMessage()
    assert event in message
    assert "it broke" in message or "0.1" in message


SPOILED = {
    "no request": ("request", "request", None, "HTTPRequest"),
    "a text for a response": ("request", "response", "hello", "HTTPResponse"),
    "no response head": ("responseheaders", "response", None, "took the response away"),
    "no response": ("response", "response", None, "took the response away"),
    "an interim response": ("request", "response", HTTPResponse.make(101), "101"),
}


@pytest.mark.parametrize("name", SPOILED)
async def test_handlers_that_break_their_flow(name: str) -> None:
    event, attribute, value, says = SPOILED[name]

    def handler(flow: HTTPFlow) -> None:
        setattr(flow, attribute, value)

    async with Origin() as origin, running(Do(**{event: handler})) as proxy, client_of(proxy) as client:
        response = await client.request(get(origin.url + "/"))
        assert response.status == 502
        assert says.encode() in response.body


async def test_a_status_that_is_no_number() -> None:
    def handler(flow: HTTPFlow) -> None:
        assert flow.response is not None
        flow.response.status_code = "abc"  # type: ignore[assignment]

    async with Origin() as origin, running(Do(response=handler)) as proxy, client_of(proxy) as client:
        response = await client.request(get(origin.url + "/"))
        assert response.status == 502
        assert b"a status is a number, not str" in response.body


@pytest.mark.parametrize(
    "event", ["clientconnect", "next_layer", "serverconnect", "serverconnected", "clientdisconnect"]
)
async def test_connection_handlers_that_raise(event: str) -> None:
    def handler(argument: object) -> None:
        raise RuntimeError("it broke")

    async with Origin() as origin, running(Do(**{event: handler}), Recorder(), errors=True) as proxy:
        async with client_of(proxy) as client:
            assert (await client.request(get(origin.url + "/"))).status == 200


async def test_an_error_handler_that_raises() -> None:
    def handler(flow: HTTPFlow) -> None:
        raise RuntimeError("it broke")

    async with Origin() as gone:
        pass
    async with running(Do(error=handler), errors=True) as proxy, client_of(proxy) as client:
        assert (await client.request(get(gone.url + "/"))).status == 502


async def test_halt_stops_the_addons_behind() -> None:
    def handler(flow: HTTPFlow) -> None:
        flow.response = HTTPResponse.make(418)
        raise AddonHalt

    recorder = Recorder()
    async with running(Do(request=handler), recorder) as proxy, client_of(proxy) as client:
        assert (await client.request(get("http://example.test/"))).status == 418
    assert recorder.count("request") == 0
    assert recorder.count("response") == 1


BAD_EDITS = {
    "a path with a space": lambda flow: setattr(flow.request, "path", "/a b"),
    "a path with a line break": lambda flow: setattr(flow.request, "path", "/a\r\nX: y"),
    "a method with a space": lambda flow: setattr(flow.request, "method", "GET /x HTTP/1.1\r\nX:"),
    "an empty path": lambda flow: setattr(flow.request, "path", ""),
    "a raw field": lambda flow: setattr(flow.request.headers, "raw", [(b"x", b"x", b"a\r\nb: c")]),
    "no Host": lambda flow: flow.request.headers.clear(),
}


@pytest.mark.parametrize("name", BAD_EDITS)
async def test_requests_that_cannot_be_sent(name: str) -> None:
    """Whatever a handler makes of a request: what goes out is valid, or nothing goes out."""
    async with (
        Origin() as origin,
        running(Do(request=BAD_EDITS[name]), errors=True) as proxy,
        client_of(proxy) as client,
    ):
        response = await client.request(get(origin.url + "/"))
        assert response.status in (200, 502)
        if name != "no Host" and name != "an empty path":
            assert response.status == 502
            assert origin.requests == []


BAD_RESPONSES = {
    "a status of four digits": lambda response: setattr(response, "status_code", 2000),
    "a reason with a line break": lambda response: setattr(response, "reason", "OK\r\nX: y"),
    "a raw field": lambda response: setattr(response.headers, "raw", [(b"x", b"x", b"a\r\nb: c")]),
}


@pytest.mark.parametrize("name", BAD_RESPONSES)
async def test_responses_that_cannot_be_sent(name: str) -> None:
    def edit(flow: HTTPFlow) -> None:
        BAD_RESPONSES[name](flow.response)

    async with Origin() as origin, running(Do(response=edit), errors=True) as proxy, client_of(proxy) as client:
        assert (await client.request(get(origin.url + "/"))).status == 502


async def test_framing_fields_that_a_handler_sets_do_not_frame() -> None:
    def request(flow: HTTPFlow) -> None:
        flow.request.headers["content-length"] = "99"
        flow.request.headers["transfer-encoding"] = "gzip"

    def response(flow: HTTPFlow) -> None:
        assert flow.response is not None
        flow.response.headers["content-length"] = "99"

    async with Origin() as origin, running(Do(request=request, response=response)) as proxy, client_of(proxy) as client:
        answered = await client.request(get(origin.url + "/", method="POST", body=b"hello"))
        assert answered.body == b"POST / HTTP/1.1"
        assert [request.body for request in origin.requests] == [b"hello"]


async def test_a_handler_that_blocks_is_named(caplog: pytest.LogCaptureFixture) -> None:
    import time

    def slow(flow: HTTPFlow) -> None:
        time.sleep(0.4)

    with caplog.at_level(logging.WARNING, "rulesproxy"):
        async with Origin() as origin, running(Do(request=slow), limits_handler_blocks=0.1) as proxy:
            async with client_of(proxy) as client:
                assert (await client.request(get(origin.url + "/"))).status == 200
    assert any("Do" in record.getMessage() and "request" in record.getMessage() for record in caplog.records)
