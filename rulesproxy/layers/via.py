"""Through another proxy: CONNECT (RFC 9110 section 9.3.6) or SOCKS5 (RFC 1928) on a stream that leads to it.

How long it may take is the deadline of the stream.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TypeVar

from rulesproxy.flow.connection import Address
from rulesproxy.flow.headers import Field
from rulesproxy.flow.route import Via
from rulesproxy.flow.url import format_authority
from rulesproxy.layers.stream import Stream, StreamClosed
from rulesproxy.limits import Limits
from rulesproxy.proto import ProtocolError, socks5
from rulesproxy.proto.http1 import CODECS, NEED_DATA, ResponseHead, encode_request_head

T = TypeVar("T")


class ViaError(Exception):
    """The proxy does not lead to the server. The message says why, and names the proxy."""


async def tunnel(stream: Stream, via: Via, address: Address, limits: Limits) -> None:
    """Make a stream to a proxy one to a server behind it.

    Raises:
        ViaError: the proxy refuses, or answers something else.
        StreamClosed: the connection broke.
        StreamTimeout: the deadline passed.
    """
    try:
        if via.scheme == "socks5":
            await _socks(stream, via, address)
        else:
            await _connect(stream, via, address, limits)
    except ProtocolError as exc:
        raise ViaError(f"the proxy {via} sent a bad answer: {exc}") from None


def authorization(via: Via) -> Field | None:
    """The header field that tells an HTTP proxy who we are (RFC 7617)."""
    if via.user is None:
        return None
    token = base64.b64encode(f"{via.user}:{via.password}".encode())
    return b"proxy-authorization", b"Proxy-Authorization", b"Basic " + token


def refused(via: Via, status: int, reason: str) -> str:
    """What an answer of an HTTP proxy that is not the server's means, in words."""
    words = f"the proxy {via} answered {status} {reason}".rstrip()
    if status != 407:
        return words
    if via.user is None:
        return f"{words}: it wants a user and a password, as in {via.scheme}://user:password@{via.host}:{via.port}"
    return f"{words}: it does not accept this user and password"


async def read_message(stream: Stream, parse: Callable[[bytes], tuple[T, int] | None]) -> T:
    """Read one message; what comes behind it is left to be read. `parse` bounds how long it may be.

    Raises:
        ProtocolError: it is malformed.
        StreamClosed: the peer left before its end.
    """
    data = b""
    while (found := parse(data)) is None:
        more = await stream.read()
        if not more:
            raise StreamClosed("it closed the connection")
        data += more
    message, size = found
    stream.unread(data[size:])
    return message


async def _connect(stream: Stream, via: Via, address: Address, limits: Limits) -> None:
    authority = format_authority(*address, "")
    fields: list[Field] = [(b"host", b"Host", authority.encode("ascii", "replace"))]
    auth = authorization(via)
    if auth is not None:
        fields.append(auth)
    try:
        stream.write(encode_request_head("CONNECT", authority, fields))
    except ValueError as exc:
        raise ViaError(f"the proxy {via} cannot be asked for {authority}: {exc}") from None
    reader = CODECS["native"][1](limits)
    reader.expect("CONNECT")
    while True:
        message = reader.next_message()
        if message is NEED_DATA:
            data = await stream.read()
            if not data:
                raise StreamClosed("it closed the connection")
            reader.feed(data)
        elif isinstance(message, ResponseHead) and (message.status >= 200 or message.status == 101):
            # Whatever follows a 101 is no answer to CONNECT (RFC 9110 section 15.2.2).
            break
    if not 200 <= message.status < 300:
        raise ViaError(refused(via, message.status, message.reason))
    stream.unread(reader.take_rest())


async def _socks(stream: Stream, via: Via, address: Address) -> None:
    stream.write(socks5.encode_greeting(via.user is not None))
    method = await read_message(stream, socks5.parse_method)
    if method == socks5.PASSWORD and via.user is not None:
        stream.write(socks5.encode_credentials(via.user, via.password))
        if not await read_message(stream, socks5.parse_verdict):
            raise ViaError(f"the proxy {via} does not accept this user and password")
    elif method != socks5.NO_AUTH:
        wants = "a user and a password" if via.user is None else "another way to prove who we are"
        raise ViaError(f"the proxy {via} wants {wants}")
    try:
        stream.write(socks5.encode_connect(address))
    except ValueError as exc:
        raise ViaError(str(exc)) from None
    code = await read_message(stream, socks5.parse_reply)
    if code != socks5.SUCCEEDED:
        raise ViaError(f"the proxy {via} cannot connect: {socks5.reason(code)}")
