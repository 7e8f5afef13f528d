"""How a server is reached: dialled, through a proxy where one leads to it, and made secure.

It knows what makes two server connections interchangeable. It keeps none: that is `upstream`.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rulesproxy.engine.dispatch import dispatch
from rulesproxy.flow.connection import Address, ServerConn
from rulesproxy.flow.error import Kind
from rulesproxy.flow.route import ClientCert, HTTPVersion, Route, Via
from rulesproxy.layers.stream import FOREVER, Stream, StreamClosed, StreamTimeout
from rulesproxy.layers.tls_stream import TLSStream, reason
from rulesproxy.layers.via import ViaError, tunnel
from rulesproxy.tls.context import ContextError

if TYPE_CHECKING:
    from rulesproxy.layers.layer import Context, Services


class DialError(Exception):
    """A server cannot be reached. The message says why, without the address; `kind` is the flow error's."""

    def __init__(self, message: str, kind: Kind) -> None:
        super().__init__(message)
        self.kind: Kind = kind


HTTP1 = ("http/1.1",)
HTTP2 = ("h2",)
EITHER = ("h2", "http/1.1")
"""What servers are offered: one version of HTTP, or the choice (RFC 9113 section 3.2)."""


class Key(NamedTuple):
    """What makes two server connections interchangeable.

    Attributes:
        address: where the server is.
        tls: whether TLS is spoken with it.
        sni: the name that it is asked for, and that its certificate has to be for.
        verify: whether its certificate is verified.
        ca: files with further authorities that may vouch for it.
        client_cert: our own certificate.
        via: the proxy that leads to it.
        forward: whether that proxy is sent the requests themselves, in absolute-form, instead of a CONNECT.
        alpn: the protocols that it is offered; without TLS, the one that is spoken.
    """

    address: Address
    tls: bool
    sni: str | None
    verify: bool
    ca: tuple[str, ...]
    client_cert: ClientCert | None = None
    via: Via | None = None
    forward: bool = False
    alpn: tuple[str, ...] = HTTP1

    def along(self, route: Route) -> Key:
        """The key of the same server, reached as a route says."""
        via = self.via if route.via is None else None if route.via == "direct" else route.via
        return Key(
            route.address or self.address,
            self.tls,
            route.sni or self.sni if self.tls else None,
            self.verify if route.verify is None else route.verify,
            self.ca if route.ca is None else (*self.ca, *map(str, route.ca)),
            route.client_cert,
            via,
            self.forward,
            self.alpn if route.http_version is None else _offers(route.http_version, self.tls),
        )


def _offers(version: HTTPVersion, tls: bool) -> tuple[str, ...]:
    """What `http-version` says to a server. Without TLS nothing can be offered: HTTP/2 is spoken or it is not."""
    if version == "2":
        return HTTP2
    return EITHER if version == "auto" and tls else HTTP1


def plain_key(services: Services, address: Address, tls: bool, sni: str | None, via: Via | None) -> Key:
    """The key of a server that is reached as the options have it."""
    options = services.options
    return Key(address, tls, sni, options.verify_upstream, options.upstream_ca, None, via)


async def open_tunnel(context: Context) -> Stream:
    """Dial the server of a connection that carries no HTTP, or none that we see.

    Raises:
        DialError: see `open_stream`.
    """
    services, server_conn = context.services, context.server_conn
    assert server_conn is not None, "a raw tunnel has a server"
    key = plain_key(services, server_conn.address, server_conn.tls, server_conn.sni, server_conn.via)
    route = services.chain().route_tunnel(context.client_conn, server_conn.address)
    if context.route is not None:
        route = context.route.over(route)
    if route is not None:
        key = key.along(route)
        server_conn.address, server_conn.sni, server_conn.via = key.address, key.sni, key.via
    # What is spoken inside is not known, so no protocol is offered.
    return await open_stream(services, server_conn, key._replace(alpn=()))


async def open_stream(services: Services, server_conn: ServerConn, key: Key) -> Stream:
    """Dial a server as `key` says, with TLS where it says so, around the events of a server connection.

    Raises:
        DialError: it cannot be reached, refuses TLS, or an addon refuses it.
    """
    chain = services.chain()
    if chain.serverconnect:
        await dispatch(chain.serverconnect, server_conn)
        if server_conn.error is not None:
            raise DialError(server_conn.error, "refused")
    server_conn.timestamp_start = services.clock.wall()
    via = server_conn.via
    if via is None:
        stream = await services.dialer.dial(server_conn.address)
    else:
        forward = key.forward and via == key.via and server_conn.address == key.address
        stream = await _reach(services, via, None if forward else server_conn.address)
    if server_conn.tls:
        stream = await _secure_server(services, stream, server_conn, key)
    server_conn.peername = stream.peername
    server_conn.sockname = stream.sockname
    if chain.serverconnected:
        try:
            await dispatch(chain.serverconnected, server_conn)
        except BaseException:
            stream.abort()
            raise
    return stream


async def close_stream(services: Services, stream: Stream, server_conn: ServerConn, abort: bool = False) -> None:
    """Close a server connection that `open_stream` made, and say so to the addons."""
    server_conn.timestamp_end = services.clock.wall()
    if abort:
        stream.abort()
    else:
        await stream.close()
    handlers = services.chain().serverdisconnect
    if handlers:
        await dispatch(handlers, server_conn)


async def _reach(services: Services, via: Via, address: Address | None) -> Stream:
    """A stream to a server behind a proxy, or to the proxy itself where no address is given."""
    limits = services.options.limits
    try:
        stream = await services.dialer.dial(via.address)
    except DialError as exc:
        raise DialError(f"the proxy {via} cannot be reached: {exc}", exc.kind) from None
    if via.scheme == "https":
        key = plain_key(services, via.address, True, via.host, None)
        try:
            stream = await _secure(services, stream, key)
        except DialError as exc:
            raise DialError(f"the proxy {via}: {exc}", exc.kind) from None
    if address is None:
        return stream
    stream.deadline = services.clock.now() + limits.proxy_connect
    try:
        await tunnel(stream, via, address, limits)
    except StreamTimeout:
        stream.abort()
        raise DialError(f"the proxy {via} did not answer within {limits.proxy_connect:g} s", "timeout") from None
    except (ViaError, StreamClosed) as exc:
        await stream.close()
        why = str(exc) if isinstance(exc, ViaError) else f"the proxy {via}: {exc}"
        raise DialError(why, "refused") from None
    except BaseException:
        stream.abort()
        raise
    stream.deadline = FOREVER
    return stream


async def _secure_server(services: Services, stream: Stream, server_conn: ServerConn, key: Key) -> Stream:
    secured = await _secure(services, stream, key._replace(sni=server_conn.sni or server_conn.address[0]))
    server_conn.tls_version = secured.tls_version
    server_conn.alpn = secured.alpn
    server_conn.cipher = secured.cipher
    server_conn.certificate = secured.certificate
    return secured


async def _secure(services: Services, stream: Stream, key: Key) -> TLSStream:
    limits = services.options.limits
    try:
        context = services.client_contexts.get(
            verify=key.verify, ca=tuple(map(Path, key.ca)), client_cert=key.client_cert, alpn=key.alpn
        )
        secured = TLSStream(stream, context, server_side=False, server_hostname=key.sni)
        stream.deadline = services.clock.now() + limits.tls_handshake
        await secured.handshake()
        stream.deadline = FOREVER
    except ssl.SSLError as exc:
        await stream.close()
        raise DialError(reason(exc), "tls") from None
    except StreamTimeout:
        stream.abort()
        raise DialError(f"no TLS handshake within {limits.tls_handshake:g} s", "timeout") from None
    except StreamClosed:
        stream.abort()
        raise DialError("it closed the connection during the TLS handshake", "tls") from None
    except (ContextError, ValueError) as exc:
        stream.abort()
        raise DialError(str(exc), "tls") from None
    except BaseException:
        stream.abort()
        raise
    return secured
