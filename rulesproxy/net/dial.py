"""Dialling: a name and a port become a connected stream, or one of the errors below."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

from rulesproxy.flow.connection import Address
from rulesproxy.layers.reach import DialError
from rulesproxy.limits import Limits
from rulesproxy.net.stream import SocketStream

OWN_TRAFFIC = "leave the proxy's own traffic out of the redirection, for example by its user (-m owner ! --uid-owner)"
"""What to do where a redirection of all traffic catches that of the proxy, too."""

# RFC 8305 section 5: the next address is tried after this delay, while the first goes on.
_STAGGER = 0.25


_Source: TypeAlias = tuple[IPv4Address | IPv6Address, int]


class Dialer:
    """Connects to servers. One per proxy."""

    def __init__(self, streams: set[SocketStream], limits: Callable[[], Limits]) -> None:
        self._streams = streams
        self._limits = limits
        self.own: set[Address] = set()
        """The addresses we listen on; a connection to ourselves through one of them is refused."""
        self.redirected = False
        """Whether connections are redirected to us, which may happen to our own ones."""
        self._sources: WeakValueDictionary[_Source, SocketStream] = WeakValueDictionary()
        self._clients: WeakValueDictionary[_Source, SocketStream] = WeakValueDictionary()

    def sent(self, client: SocketStream) -> bool:
        """Whether a redirected client is one of our own connections, come back to us."""
        if client.peername is None:
            return True
        address = _plain(client.peername[0]), client.peername[1]
        self._clients[address] = client
        return address in self._sources

    async def dial(self, address: Address) -> SocketStream:
        """A stream connected to `address`, by the first of its addresses that answers (RFC 8305).

        Raises:
            DialError: it does not resolve, nobody answers in `limits.connect` seconds, it refuses, or it is us.
        """
        limits = self._limits()
        host, port = address
        try:
            async with asyncio.timeout(limits.connect):
                sock = await self._connect(host, port)
                loop = asyncio.get_running_loop()
                try:
                    _, stream = await loop.create_connection(
                        lambda: SocketStream(self._streams, loop, limits), sock=sock
                    )
                except BaseException:
                    sock.close()
                    raise
        except TimeoutError:
            raise DialError(f"no answer within {limits.connect:g} s", "timeout") from None
        except socket.gaierror as exc:
            raise DialError(f"the name does not resolve ({exc.strerror or exc})", "dns") from None
        except OSError as exc:
            raise DialError(_why(exc), "refused") from None
        except UnicodeError:
            raise DialError("the name is not a valid host name", "dns") from None
        except (OverflowError, ValueError):
            raise DialError("that is no host and port that can be connected to", "dns") from None
        if stream.peername is not None and self._is_us(stream.peername, stream.sockname):
            stream.abort()
            raise DialError("that is this proxy itself", "refused")
        if self.redirected and stream.sockname is not None:
            source = _plain(stream.sockname[0]), stream.sockname[1]
            self._sources[source] = stream
            if source in self._clients:
                stream.abort()
                raise DialError(f"the connection was redirected back to this proxy: {OWN_TRAFFIC}", "refused")
        return stream

    def _is_us(self, peer: Address, source: Address | None) -> bool:
        """Whether `peer` is one of our listeners, reached from `source`."""
        for host, port in self.own:
            if port == peer[1]:
                there, ours = _plain(peer[0]), _plain(host)
                if there == ours:
                    return True
                # A listener on every address is reached through any of this machine's: a connection to oneself comes
                # from the address that it goes to, except among the many of the loopback.
                every = ours.is_unspecified and (ours.version == 6 or there.version == 4)
                if every and (there.is_loopback or (source is not None and there == _plain(source[0]))):
                    return True
        return False

    async def _connect(self, host: str, port: int) -> socket.socket:
        loop = asyncio.get_running_loop()
        infos = _literal(host, port) or await loop.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
        if len(infos) == 1:
            family, kind, proto, _, target = infos[0]
            sock = socket.socket(family, kind, proto)
            try:
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await loop.sock_connect(sock, target)
            except BaseException:
                sock.close()
                raise
            return sock
        from aiohappyeyeballs import start_connection

        sock = await start_connection(infos, happy_eyeballs_delay=_STAGGER, interleave=1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock


def _literal(host: str, port: int) -> list[Any]:
    """The address info of an IP literal, without asking the resolver; empty for a name."""
    try:
        version = ip_address(host).version
    except ValueError:
        return []
    if "%" in host:
        return []
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    target: tuple[Any, ...] = (host, port) if version == 4 else (host, port, 0, 0)
    return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", target)]


def _plain(host: str) -> IPv4Address | IPv6Address:
    """The address of a socket; an IPv4 address that IPv6 wraps is what it wraps."""
    address = ip_address(host)
    return getattr(address, "ipv4_mapped", None) or address


def _why(exc: OSError) -> str:
    if isinstance(exc, ConnectionRefusedError):
        return "connection refused"
    return (exc.strerror or str(exc) or type(exc).__name__).lower()
