"""What filters read of raw TCP when it begins: every field that is known then, and no other."""

from __future__ import annotations

import pytest

from rulesproxy.filters.check import check
from rulesproxy.filters.compile import compile_filter
from rulesproxy.filters.fields import FIELDS
from rulesproxy.filters.parse import parse
from rulesproxy.filters.phases import CONNECTING
from rulesproxy.filters.reference import matches
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.connection import ClientConn, ServerConn
from rulesproxy.flow.tcp import TCPFlow
from rulesproxy.rules.moments import begins_with

KNOWN = [
    field.slot for field in FIELDS.values()
    if field.phases & CONNECTING and field.side not in ("message", "response") and field.name not in ("~b", "~bq", "~bs")
]  # fmt: skip


def begun(host: str = "db.test", sni: str | None = None) -> FlowView:
    client = ClientConn(("10.0.0.1", 4000), ("127.0.0.1", 8080), "socks5")
    client.connect_host, client.connect_port, client.sni = host, 5432, sni
    return FlowView.of_message(TCPFlow(client, ServerConn((host, 5432))), None, 0)


@pytest.mark.parametrize("slot", KNOWN)
def test_every_field_can_be_read(slot: str) -> None:
    getattr(begun(), slot)


DECIDED = [
    ('host == "db.test"', True), ('host under "test"', True), ("port == 5432", True), ("port == 80", False),
    ("client.ip in {10.0.0.0/8}", True), ("mode == socks5", True), ("~d db.test", True), ("~dst db", True),
    ("~all", True), ("~tcp", True), ("not ~tcp", False), ("protocol == tcp", True), ("protocol == websocket", False),
    ('connect.host == "db.test"', True), ("tls", False), ('orig.host == "db.test"', True), ("not host == 'db.test'", False),
    ("~src 10.0.0.1", True), ('sni == "db.test"', False), ("~http", False), ("~websocket", False),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), DECIDED)
def test_what_is_decided_then(text: str, expected: bool) -> None:
    checked = check(parse(text))
    if not begins_with(checked, CONNECTING):
        assert not expected
        return
    assert compile_filter(checked)(begun()) is expected
    assert matches(checked.node, begun()) is expected


def test_a_name_in_tls_says_more_than_an_address() -> None:
    assert begun("192.0.2.1", "db.test").host == "db.test"
    assert begun("192.0.2.1").host == "192.0.2.1"
    assert begun("other.test", "db.test").host == "other.test"


LATER = [
    'path == "/x"',
    "method == GET",
    "tcp.data contains 'x'",
    "server.ip == 10.0.0.1",
    "~b x",
    "response.status == 200",
]


@pytest.mark.parametrize("text", LATER)
def test_what_is_not_decided_then(text: str) -> None:
    assert not begins_with(check(parse(text)), CONNECTING)
