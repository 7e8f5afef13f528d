"""SOCKS5: every message whole and byte by byte, what is refused, and that the two roles understand each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rulesproxy.proto import ProtocolError
from rulesproxy.proto.socks5 import (
    ADDRESS_NOT_SUPPORTED,
    COMMAND_NOT_SUPPORTED,
    FAILURE,
    Credentials,
    SocksError,
    encode_connect,
    encode_credentials,
    encode_greeting,
    encode_method,
    encode_reply,
    encode_verdict,
    parse_credentials,
    parse_greeting,
    parse_method,
    parse_reply,
    parse_request,
    parse_verdict,
    reason,
)

Parse = Callable[[bytes], Any]
V6 = bytes.fromhex("20010db8000000000000000000000001")

GOOD: list[tuple[Parse, bytes, object]] = [
    (parse_greeting, b"\x05\x01\x00", b"\x00"),
    (parse_greeting, b"\x05\x00", b""),
    (parse_greeting, b"\x05\x03\x00\x01\x02", b"\x00\x01\x02"),
    (parse_credentials, b"\x01\x03joe\x02pw", Credentials(b"joe", b"pw")),
    (parse_credentials, b"\x01\x00\x00", Credentials(b"", b"")),
    (parse_request, b"\x05\x01\x00\x01\x0a\x00\x00\x01\x01\xbb", ("10.0.0.1", 443)),
    (parse_request, b"\x05\x01\x00\x04" + V6 + b"\x00\x50", ("2001:db8::1", 80)),
    (parse_request, b"\x05\x01\x00\x03\x06a.test\x00\x50", ("a.test", 80)),
    (parse_request, b"\x05\x01\x00\x03\x08[::0001]\x00\x50", ("::1", 80)),
    (parse_method, b"\x05\x02", 2),
    (parse_verdict, b"\x01\x00", True),
    (parse_verdict, b"\x01\x05", False),
    (parse_reply, b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00", 0),
    (parse_reply, b"\x05\x00\x00\x04" + V6 + b"\x00\x50", 0),
    (parse_reply, b"\x05\x00\x00\x03\x06a.test\x00\x50", 0),
]


@pytest.mark.parametrize(("parse", "data", "message"), GOOD)
def test_a_message(parse: Parse, data: bytes, message: object) -> None:
    for end in range(len(data)):
        assert parse(data[:end]) is None
    assert parse(data) == (message, len(data))
    assert parse(data + b"rest") == (message, len(data))


BAD: list[tuple[Parse, bytes, str, int | None]] = [
    (parse_greeting, b"\x04", "it speaks SOCKS4", None),
    (parse_greeting, b"G", "it speaks HTTP", None),
    (parse_greeting, b"\x16", "it speaks TLS", None),
    (parse_greeting, b"\x00", "begins with byte 0", None),
    (parse_credentials, b"\x05", "version 5", None),
    (parse_request, b"\x04", "not SOCKS5", None),
    (parse_request, b"\x05\x02\x00\x01\x0a\x00\x00\x01\x01\xbb", "BIND is not supported", COMMAND_NOT_SUPPORTED),
    (parse_request, b"\x05\x03\x00\x01\x0a\x00\x00\x01\x01\xbb", "UDP ASSOCIATE", COMMAND_NOT_SUPPORTED),
    (parse_request, b"\x05\x09\x00\x01\x0a\x00\x00\x01\x01\xbb", "command 9", COMMAND_NOT_SUPPORTED),
    (parse_request, b"\x05\x01\x00\x02\x0a", "address type 2", ADDRESS_NOT_SUPPORTED),
    (parse_request, b"\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x00", "port 0", FAILURE),
    (parse_request, b"\x05\x01\x00\x03\x00\x00\x50", "is not a host name", None),
    (parse_request, b"\x05\x01\x00\x03\x03a/b\x00\x50", "is not a host name", None),
    (parse_request, b"\x05\x01\x00\x03\x03a\r\n\x00\x50", "is not a host name", None),
    (parse_request, b"\x05\x01\x00\x03\x02\xc3\xa4\x00\x50", "is not a host name", None),
    (parse_request, b"\x05\x01\x00\x03\x04a:80\x00\x50", "is not a host name", None),
    (parse_method, b"H", "not SOCKS5", None),
    (parse_reply, b"H", "not SOCKS5", None),
]


@pytest.mark.parametrize(("parse", "data", "said", "reply"), BAD)
def test_what_is_refused(parse: Parse, data: bytes, said: str, reply: int | None) -> None:
    with pytest.raises(ProtocolError, match=said) as raised:
        parse(data)
    assert (raised.value.reply if isinstance(raised.value, SocksError) else None) == reply


def test_a_refusal_may_be_short() -> None:
    assert parse_reply(b"\x05\x05") == (5, 2)
    assert reason(5) == "connection refused"
    assert reason(99) == "code 99"


@given(st.ip_addresses().map(str) | st.from_regex(r"[a-z][a-z0-9.-]{0,60}[a-z]", fullmatch=True), st.integers(1, 65535))
def test_a_request_is_understood(host: str, port: int) -> None:
    data = encode_connect((host, port))
    assert parse_request(data) == ((host, port), len(data))


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60))
def test_credentials_are_understood(user: str, password: str) -> None:
    try:
        data = encode_credentials(user, password)
    except (ValueError, UnicodeEncodeError):
        return
    assert parse_credentials(data) == (Credentials(user.encode(), password.encode()), len(data))


def test_the_answers() -> None:
    assert parse_method(encode_method(2)) == (2, 2)
    assert parse_verdict(encode_verdict(True)) == (True, 2)
    assert parse_verdict(encode_verdict(False)) == (False, 2)
    assert parse_reply(encode_reply(0)) == (0, 10)
    assert parse_reply(encode_reply(7)) == (7, 10)
    assert parse_greeting(encode_greeting(False)) == (b"\x00", 3)
    assert parse_greeting(encode_greeting(True)) == (b"\x00\x02", 4)


@pytest.mark.parametrize(("user", "password"), [("", "x"), ("x", ""), ("x" * 256, "x")])
def test_credentials_that_do_not_fit(user: str, password: str) -> None:
    with pytest.raises(ValueError, match="1 to 255"):
        encode_credentials(user, password)


def test_a_name_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="1 to 255"):
        encode_connect(("a" * 256, 1))
    assert b"xn--" in encode_connect(("ä.test", 1))


@pytest.mark.parametrize("parse", [parse_greeting, parse_credentials, parse_request, parse_method, parse_reply])
@given(data=st.binary(max_size=600))
def test_garbage_is_a_message_or_an_error(parse: Parse, data: bytes) -> None:
    try:
        found = parse(data)
    except ProtocolError:
        return
    assert found is not None or len(data) < 515
