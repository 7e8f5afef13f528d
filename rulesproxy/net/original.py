"""Where a redirected connection was going before the kernel turned it to us (Linux netfilter)."""

from __future__ import annotations

import socket
import struct
import sys
from ipaddress import IPv6Address, ip_address

from rulesproxy.flow.connection import Address
from rulesproxy.net.stream import SocketStream

# From linux/netfilter_ipv4.h and linux/netfilter_ipv6/ip6_tables.h; Python has no names for them.
_SO_ORIGINAL_DST = 80
_IP6T_SO_ORIGINAL_DST = 80

SUPPORTED = sys.platform == "linux"


def original_destination(stream: SocketStream) -> Address | None:
    """The address that the client has asked for; None where the connection was not redirected, or is gone."""
    sock = stream.socket
    if sock is None:
        return None
    try:
        if sock.family == socket.AF_INET6:
            return _of_ipv6(sock)
        return _of_ipv4(sock)
    except OSError:
        return None


def _of_ipv4(sock: socket.socket) -> Address | None:
    # A sockaddr_in: family, port, address, padding.
    data = sock.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16)
    port, packed = struct.unpack_from("!2xH4s", data)
    return _unless_ours(sock, str(ip_address(packed)), port)


def _of_ipv6(sock: socket.socket) -> Address | None:
    if ip_address(sock.getpeername()[0]).ipv4_mapped:  # type: ignore[union-attr]
        return _of_ipv4(sock)
    # A sockaddr_in6: family, port, flow label, address, scope.
    data = sock.getsockopt(socket.IPPROTO_IPV6, _IP6T_SO_ORIGINAL_DST, 28)
    port, packed = struct.unpack_from("!2xH4x16s", data)
    return _unless_ours(sock, str(IPv6Address(packed)), port)


def _unless_ours(sock: socket.socket, host: str, port: int) -> Address | None:
    """Connection tracking also knows connections that were never redirected: those were going to us."""
    name = sock.getsockname()
    ours = ip_address(str(name[0]).partition("%")[0])
    ours = getattr(ours, "ipv4_mapped", None) or ours
    return None if (ip_address(host), port) == (ours, name[1]) else (host, port)
