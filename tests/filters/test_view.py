"""`FlowView`: values are made once, kept, and forgotten by side."""

import pytest

from rulesproxy.filters.fields import FIELDS
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.error import FlowError
from rulesproxy.flow.http import HTTPFlow, HTTPResponse
from rulesproxy.flow.websocket import WebSocketMessage


def flow():
    return HTTPFlow.make("GET", "http://a.test/x?y=1", [("X", "1")], status=200, response_headers=[("Y", "2")])


def test_values_are_made_once():
    view = FlowView(flow())
    assert view.host == "a.test"
    view.flow.request.host = "b.test"
    assert view.host == "a.test"
    assert view.request_header[b"x"] is view.request_header[b"x"]
    assert view.query["y"] is view.query["y"]


def test_an_edit_of_the_request_is_seen_after_forgetting():
    view = FlowView(flow())
    assert (view.host, view.path, view.hosts, view.request_header[b"x"]) == ("a.test", "/x", ("a.test",), ("1",))
    assert view.response_status == 200
    view.flow.request.host = "b.test"
    view.flow.request.path = "/z"
    view.flow.request.headers["x"] = "3"
    view.flow.response.status_code = 500
    view.forget_request()
    assert (view.host, view.path, view.hosts, view.request_header[b"x"]) == ("b.test", "/z", ("b.test",), ("3",))
    assert view.response_status == 200
    view.forget_response()
    assert view.response_status == 500


def test_another_message_is_seen_after_forgetting():
    view = FlowView(flow())
    assert (view.method, view.response_header[b"y"], view.tilde_s) == ("GET", ("2",), True)
    view.flow.request = HTTPFlow.make("POST", "http://b.test/").request
    view.flow.response = None
    view.forget_request()
    view.forget_response()
    assert (view.method, view.response_header[b"y"], view.tilde_s) == ("POST", (), False)


def test_a_view_at_an_earlier_request_keeps_it():
    view = FlowView(flow())
    earlier = view.at(view.flow.request.copy())
    view.flow.request.path = "/new"
    view.flow.response = HTTPResponse.make(404)
    view.forget_request()
    assert (earlier.path, view.path) == ("/x", "/new")
    earlier.forget_request()
    assert (earlier.path, earlier.response_status) == ("/x", 404)


def test_orig_is_the_request_as_received():
    view = FlowView(flow())
    view.flow.request.url = "https://b.test:8443/new"
    assert (view.orig.host, view.orig.path, view.orig.url) == ("a.test", "/x", "http://a.test/x?y=1")
    assert (view.host, view.path, view.url) == ("b.test", "/new", "https://b.test:8443/new")
    assert view.orig is view.orig


def test_a_host_header_is_a_second_host_only_where_it_differs():
    assert FlowView(HTTPFlow.make("GET", "http://a.test/", [("Host", "A.test:81")])).hosts == ("a.test",)
    assert FlowView(HTTPFlow.make("GET", "http://a.test/", [("Host", "b.test")])).hosts == ("a.test", "b.test")
    assert FlowView(HTTPFlow.make("GET", "http://a.test/", [("Host", "")])).hosts == ("a.test",)


def test_connect_has_an_authority_for_a_url():
    connect = flow()
    connect.request.method = "CONNECT"
    connect.request.path = ""
    assert (FlowView(connect).url, FlowView(connect).tilde_u) == ("a.test:80", "a.test:80")


def test_an_unknown_attribute_is_an_error():
    view = FlowView(flow())
    with pytest.raises(AttributeError):
        _ = view.nothing
    assert not hasattr(view, "__dict__")


@pytest.mark.parametrize("field", FIELDS.values(), ids=lambda field: field.name)
def test_folded_values_have_no_capitals(field):
    odd = HTTPFlow.make("Get", "HTTP://A.TEST/", [("Content-Type", "TEXT/X"), ("Host", "B.TEST"), ("Sec-Fetch-Dest", "EMPTY"),
                         ("Sec-Fetch-Site", "NONE")], status=200,
                        response_headers=[("CONTENT-TYPE", "A/B")])  # fmt: skip
    odd.request.scheme = "HTTP"
    odd.client_conn.sni = odd.client_conn.connect_host = "C.TEST"
    odd.client_conn.mode = "Reverse:https://a.test"
    odd.error = FlowError("oh", "refused")
    view = FlowView.of_message(odd, WebSocketMessage(True, "Hi"), 0) if field.side == "message" else FlowView(odd)
    value = getattr(view, field.slot)
    if field.fold:
        for text in value if isinstance(value, tuple) else (value,):
            assert text == text.lower()
            assert text
