"""Fields of the two connections: the client's, the server's, and what is spoken on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rulesproxy.filters.fields.base import Field, Kind
from rulesproxy.filters.normal import IPAddress, normal_address, normal_host
from rulesproxy.filters.phases import ALL, FROM_HELLO, FROM_REQUEST, FROM_SERVER, Phase
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.tcp import TCPFlow

if TYPE_CHECKING:
    from rulesproxy.filters.view import FlowView

_TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_HTTP_VERSIONS = ("HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/3")
_TLS_NAMES = {
    spelling: name
    for name in _TLS_VERSIONS
    for number in ("1.0" if name == "TLSv1" else name[4:],)
    for spelling in (name.lower(), number, f"tls{number}", f"tls {number}", f"tlsv{number}")
}
_HTTP_NAMES = {
    spelling: name
    for name in _HTTP_VERSIONS
    for number in (name[5:],)
    for spelling in (name.lower(), number, f"http{number}", f"{number}.0", f"http/{number}.0")
}
_ANY_FLOW = FROM_REQUEST | Phase.X
"""Where it is known what is spoken: inside a tunnel it is anybody's guess."""


def tls_name(text: str) -> str:
    """A version of TLS in the spelling of the fields; what is none stays as it is."""
    return _TLS_NAMES.get(text.lower(), text)


def http_name(text: str) -> str:
    """A version of HTTP in the spelling of the field; what is none stays as it is."""
    return _HTTP_NAMES.get(text.lower(), text)


def client_ip(view: FlowView) -> IPAddress | None:
    """The client's address."""
    conn = view.flow.client_conn
    return normal_address((conn.peername or conn.address)[0])


def client_port(view: FlowView) -> int:
    """The client's port."""
    conn = view.flow.client_conn
    return (conn.peername or conn.address)[1]


def listen_port(view: FlowView) -> int | None:
    """The port of ours that the client has connected to."""
    name = view.flow.client_conn.sockname
    return None if name is None else name[1]


def mode(view: FlowView) -> str:
    """The mode of the listener, such as `regular`; without what may stand behind a colon."""
    return view.flow.client_conn.mode.partition(":")[0].lower()


def connect_host(view: FlowView) -> str | None:
    """The host of the tunnel that a request came in, by CONNECT, SOCKS5 or its original destination; else missing."""
    name = view.flow.client_conn.connect_host
    return normal_host(name) if name else None


def tls(view: FlowView) -> bool:
    """Whether the client speaks TLS with us."""
    return bool(view.flow.client_conn.tls)


def sni(view: FlowView) -> str | None:
    """The server name in the client's ClientHello."""
    name = view.flow.client_conn.sni
    return normal_host(name) if name else None


def tls_version(view: FlowView) -> str | None:
    """The version of TLS between the client and us, such as `TLSv1.3`; missing before the handshake."""
    version = view.flow.client_conn.tls_version
    return tls_name(version) if version else None


def tls_alpn(view: FlowView) -> tuple[str, ...]:
    """The protocols that the client offers in its ClientHello (ALPN), its favourite first."""
    conn = view.flow.client_conn
    return conn.alpn_offers or ((conn.alpn,) if conn.alpn else ())


def protocol(view: FlowView) -> str:
    """What is spoken: `http1`, `http2`, `websocket` from its handshake on, or `tcp`."""
    flow: HTTPFlow | TCPFlow = view.flow
    if isinstance(flow, TCPFlow):
        return "tcp"
    if flow.websocket:
        return "websocket"
    return "http2" if view.request.http_version.startswith("HTTP/2") else "http1"


def http_version(view: FlowView) -> str:
    """The version of HTTP in which the request came, such as `HTTP/1.1`."""
    return http_name(view.request.http_version)


def server_ip(view: FlowView) -> IPAddress | None:
    """The address of the server that was dialled; missing where none was."""
    name = view.flow.server_conn.peername
    return None if name is None else normal_address(name[0])


def server_port(view: FlowView) -> int | None:
    """The port of the server that was dialled; missing where none was."""
    name = view.flow.server_conn.peername
    return None if name is None else name[1]


def server_tls_version(view: FlowView) -> str | None:
    """The version of TLS between us and the server, such as `TLSv1.3`."""
    version = view.flow.server_conn.tls_version
    return tls_name(version) if version else None


def source(view: FlowView) -> str:
    """Address and port of the client, such as `192.0.2.7:51000`; IPv6 without brackets."""
    host, port = view.flow.client_conn.peername or view.flow.client_conn.address
    return f"{host}:{port}"


def is_http(view: FlowView) -> bool:
    """Whether this is an HTTP exchange; a WebSocket is one too, by its handshake."""
    return not isinstance(view.flow, TCPFlow)


def is_tcp(view: FlowView) -> bool:
    """Whether this is a raw TCP conversation."""
    return isinstance(view.flow, TCPFlow)


def is_websocket(view: FlowView) -> bool:
    """Whether this is a WebSocket, or the request for one."""
    return not isinstance(view.flow, TCPFlow) and bool(view.flow.websocket)


FIELDS = (
    Field("client.ip", Kind.ADDRESS, ALL, client_ip, "connection", optional=True),
    Field("client.port", Kind.INT, ALL, client_port, "connection", bounds=(0, 65535)),
    Field("listen.port", Kind.INT, ALL, listen_port, "connection", bounds=(0, 65535), optional=True),
    Field(
        "mode",
        Kind.ENUM,
        ALL,
        mode,
        "connection",
        fold=True,
        normal=str.lower,
        words=("regular", "reverse", "socks5", "tcp", "transparent", "upstream"),
    ),
    Field(
        "connect.host",
        Kind.HOST,
        ALL & ~Phase.C,
        connect_host,
        "connection",
        fold=True,
        normal=normal_host,
        optional=True,
    ),
    Field("tls", Kind.BOOL, FROM_HELLO, tls, "connection"),
    Field("sni", Kind.HOST, FROM_HELLO, sni, "connection", fold=True, normal=normal_host, optional=True),
    Field(
        "tls.version",
        Kind.ENUM,
        FROM_HELLO,
        tls_version,
        "connection",
        normal=tls_name,
        words=_TLS_VERSIONS,
        optional=True,
    ),
    Field("tls.alpn", Kind.TEXT, FROM_HELLO, tls_alpn, "connection", many=True),
    Field(
        "protocol",
        Kind.ENUM,
        _ANY_FLOW,
        protocol,
        "request",
        fold=True,
        normal=str.lower,
        words=("http1", "http2", "websocket", "tcp"),
        decided=("tcp", Phase.X),
    ),
    Field("http.version", Kind.ENUM, FROM_REQUEST, http_version, "request", normal=http_name, words=_HTTP_VERSIONS),
    Field("server.ip", Kind.ADDRESS, FROM_SERVER, server_ip, "response", optional=True),
    Field("server.port", Kind.INT, FROM_SERVER, server_port, "response", bounds=(0, 65535), optional=True),
    Field(
        "server.tls.version",
        Kind.ENUM,
        FROM_SERVER,
        server_tls_version,
        "response",
        normal=tls_name,
        words=_TLS_VERSIONS,
        optional=True,
    ),
    Field("~src", Kind.TEXT, ALL, source, "connection"),
    Field("~http", Kind.BOOL, ALL & ~Phase.T, is_http, "connection", holds=ALL & ~Phase.X, fails=Phase.X),
    Field("~tcp", Kind.BOOL, _ANY_FLOW, is_tcp, "connection", holds=Phase.X, fails=ALL & ~Phase.X),
    Field("~websocket", Kind.BOOL, _ANY_FLOW, is_websocket, "request", holds=ALL & ~Phase.X),
)
