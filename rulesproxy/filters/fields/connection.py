"""Fields of the client's connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rulesproxy.filters.fields.base import Field, Kind
from rulesproxy.filters.normal import IPAddress, normal_address, normal_host
from rulesproxy.filters.phases import ALL, FROM_HELLO

if TYPE_CHECKING:
    from rulesproxy.filters.view import FlowView


def client_ip(view: FlowView) -> IPAddress | None:
    """The client's address."""
    conn = view.flow.client_conn
    return normal_address((conn.peername or conn.address)[0])


def client_port(view: FlowView) -> int:
    """The client's port."""
    conn = view.flow.client_conn
    return (conn.peername or conn.address)[1]


def tls(view: FlowView) -> bool:
    """Whether the client speaks TLS with us."""
    return bool(view.flow.client_conn.tls)


def sni(view: FlowView) -> str | None:
    """The server name in the client's ClientHello."""
    name = view.flow.client_conn.sni
    return normal_host(name) if name else None


FIELDS = (
    Field("client.ip", Kind.ADDRESS, ALL, client_ip, "connection", optional=True),
    Field("client.port", Kind.INT, ALL, client_port, "connection", bounds=(0, 65535)),
    Field("tls", Kind.BOOL, FROM_HELLO, tls, "connection"),
    Field("sni", Kind.HOST, FROM_HELLO, sni, "connection", fold=True, normal=normal_host, optional=True),
)
