"""The ClientHello: real ones of OpenSSL, hand-made ones for every field, and everything that is none."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rulesproxy.events import ClientHelloLike
from rulesproxy.limits import Limits
from rulesproxy.proto import ProtocolError
from rulesproxy.proto.clienthello import ClientHello, looks_like_tls, parse

# How a ClientHello is put together (RFC 8446 section 4.1.2)


def block(size: int, data: bytes) -> bytes:
    return len(data).to_bytes(size, "big") + data


def extension(kind: int, data: bytes) -> bytes:
    return kind.to_bytes(2, "big") + block(2, data)


def server_name(*names: bytes, kind: int = 0) -> bytes:
    return extension(0, block(2, b"".join(bytes([kind]) + block(2, name) for name in names)))


def alpn(*names: bytes) -> bytes:
    return extension(16, block(2, b"".join(block(1, name) for name in names)))


def versions(*numbers: int) -> bytes:
    return extension(43, block(1, b"".join(number.to_bytes(2, "big") for number in numbers)))


def message(*extensions: bytes, version: int = 0x0303, tail: bytes = b"", bare: bool = False) -> bytes:
    body = version.to_bytes(2, "big") + bytes(32) + block(1, bytes(32)) + block(2, b"\x13\x01") + block(1, b"\0")
    if not bare:
        body += block(2, b"".join(extensions))
    return b"\x01" + block(3, body + tail)


def records(data: bytes, size: int = 16384, kind: int = 22) -> bytes:
    parts = [data[i : i + size] for i in range(0, len(data), size)]
    return b"".join(bytes([kind, 3, 1]) + block(2, part) for part in parts)


def real(host: str | None, protocols: list[str], highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """The first bytes of OpenSSL."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.maximum_version = highest
    if protocols:
        context.set_alpn_protocols(protocols)
    out = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=host)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


def check(data: bytes, expected: ClientHello) -> None:
    """`data` reads as `expected`: whole, followed by more, and not a byte before its end."""
    assert parse(data) == expected
    assert parse(data + b"anything") == expected
    for end in range(len(data)):
        assert parse(data[:end]) is None


@pytest.mark.parametrize("size", [16384, 100, 16])
@pytest.mark.parametrize(
    ("host", "protocols", "highest", "expected"),
    [
        (
            "A.Example", ["h2", "http/1.1"], ssl.TLSVersion.TLSv1_3,
            ClientHello("a.example", ["h2", "http/1.1"], [0x0304, 0x0303]),
        ),
        ("a.example", [], ssl.TLSVersion.TLSv1_2, ClientHello("a.example", [], [0x0303])),
        ("192.0.2.1", [], ssl.TLSVersion.TLSv1_3, ClientHello(None, [], [0x0304, 0x0303])),
        (None, ["x"], ssl.TLSVersion.TLSv1_2, ClientHello(None, ["x"], [0x0303])),
    ],
)  # fmt: skip
def test_real_ones(
    host: str | None, protocols: list[str], highest: ssl.TLSVersion, expected: ClientHello, size: int
) -> None:
    data = real(host, protocols, highest)
    assert looks_like_tls(data)
    check(records(data[5:], size), expected)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (message(bare=True), ClientHello(None, [], [0x0303])),
        (message(bare=True, version=0x0301), ClientHello(None, [], [0x0301])),
        (message(), ClientHello(None, [], [0x0303])),
        (message(server_name(b"a.b")), ClientHello("a.b", [], [0x0303])),
        (message(server_name(b"A.B.")), ClientHello("a.b", [], [0x0303])),
        (message(server_name(b"192.0.2.1")), ClientHello("192.0.2.1", [], [0x0303])),
        (message(server_name(b"\xff\x00", kind=7)), ClientHello(None, [], [0x0303])),
        (message(extension(0, block(2, b""))), ClientHello(None, [], [0x0303])),
        (message(alpn(b"h2", b"\x0a\x0a")), ClientHello(None, ["h2", "\n\n"], [0x0303])),
        (message(versions(0x3A3A, 0x0304, 0x0303)), ClientHello(None, [], [0x0304, 0x0303])),
        (message(extension(0x1A1A, b"\0"), extension(21, bytes(300))), ClientHello(None, [], [0x0303])),
        (message(extension(65037, bytes(9)), server_name(b"outer")), ClientHello("outer", [], [0x0303])),
    ],
)
def test_fields(data: bytes, expected: ClientHello) -> None:
    check(records(data), expected)
    check(records(data, 7), expected)


def test_the_biggest_one() -> None:
    padding = 65536 - len(message(extension(21, b"")))
    data = message(extension(21, bytes(padding)))
    assert len(data) == 65536
    assert parse(records(data)) == ClientHello(None, [], [0x0303])
    with pytest.raises(ProtocolError, match="65537 bytes: at most 65536"):
        parse(records(b"\x01" + (65533).to_bytes(3, "big"))[:9])
    with pytest.raises(ProtocolError, match="at most 100"):
        parse(records(data), Limits(client_hello=100))


def test_too_many_records() -> None:
    data = message(extension(21, bytes(200)))
    assert parse(records(data, -(-len(data) // 64))) is not None
    with pytest.raises(ProtocolError, match="more than 64 TLS records"):
        parse(records(data, 1))


GARBAGE: dict[str, tuple[bytes, str]] = {
    "http": (b"GET / HTTP/1.1\r\n", "not TLS"),
    "one byte": (b"G", "not TLS"),
    "zeros": (b"\0" * 10, "not TLS"),
    "an alert": (b"\x15\x03\x01\x00\x02\x02\x28", "not TLS"),
    "another major version": (b"\x16\x02\x00", "not TLS"),
    "an empty record": (b"\x16\x03\x01\x00\x00", "record of 0 bytes"),
    "a record too long": (b"\x16\x03\x01\x40\x01", "record of 16385 bytes"),
    "a ServerHello": (b"\x16\x03\x01\x00\x04\x02", "begins with message 2"),
    "huge": (b"\x16\x03\x01\x00\x05\x01\xff\xff\xff", "16777219 bytes"),
    "an alert between its records": (records(message(), 40)[:45] + b"\x15", "interrupted"),
    "nothing in it": (records(b"\x01\0\0\0"), "ends inside a field"),
    "bytes behind": (records(message(tail=b"x")), "bytes behind its extensions"),
    "an extension cut off": (records(message(b"\0\0\0\x05abc")), "ends inside a field"),
    "an extension twice": (records(message(server_name(b"a"), server_name(b"b"))), "extension 0 twice"),
    "two names": (records(message(server_name(b"a", b"b"))), "two server names"),
    "no name": (records(message(server_name(b""))), "not printable ASCII"),
    "a NUL in the name": (records(message(server_name(b"a\0b"))), "not printable ASCII"),
    "a line break in the name": (records(message(server_name(b"a\r\nb"))), "not printable ASCII"),
    "a space in the name": (records(message(server_name(b"a b"))), "not printable ASCII"),
    "UTF-8 in the name": (records(message(server_name("ü".encode()))), "not printable ASCII"),
    "an empty protocol": (records(message(alpn(b""))), "empty ALPN"),
    "bytes behind the names": (records(message(extension(0, block(2, b"") + b"x"))), "behind its extension 0"),
    "half a version": (records(message(extension(43, block(1, b"\x03")))), "ends inside a field"),
}


@pytest.mark.parametrize(("data", "words"), GARBAGE.values(), ids=GARBAGE)
def test_what_is_none(data: bytes, words: str) -> None:
    with pytest.raises(ProtocolError, match=words) as caught:
        parse(data)
    assert caught.value.status == 400
    # However it is cut off, it is refused for the same reason or not yet.
    assert {refusal(data[:end]) for end in range(len(data))} <= {None, str(caught.value)}


def refusal(data: bytes) -> str | None:
    """Why it is refused; None where more is needed."""
    try:
        assert parse(data) is None
    except ProtocolError as error:
        return str(error)
    return None


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_any_bytes_are_read_or_refused(noise: bytes) -> None:
    for data in (noise, b"\x16\x03" + noise, records(b"\x01" + block(3, noise)), records(message(noise))):
        try:
            assert isinstance(parse(data), ClientHello | None)
        except ProtocolError:
            pass


@given(st.data())
@settings(max_examples=300)
def test_a_damaged_one_is_read_or_refused(data: st.DataObject) -> None:
    good = bytearray(records(message(server_name(b"a.example"), alpn(b"h2"), versions(0x0304))))
    at = data.draw(st.integers(0, len(good) - 1))
    good[at] = data.draw(st.integers(0, 255))
    try:
        assert isinstance(parse(bytes(good)), ClientHello | None)
    except ProtocolError:
        pass


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", False),
        (b"\x16", True),
        (b"\x16\x03", True),
        (b"\x16\x03\x01\x02\x00", True),
        (b"\x16\x02", False),
        (b"\x17\x03\x03", False),
        (b"GET", False),
        (b"\x05\x01\x00", False),
    ],
)
def test_looks_like_tls(data: bytes, expected: bool) -> None:
    assert looks_like_tls(data) is expected


def test_it_is_what_handlers_see() -> None:
    hello: ClientHelloLike = ClientHello("a", ["h2"], [])
    hello.passthrough = True
    assert hello.passthrough
