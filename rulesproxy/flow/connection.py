"""`ClientConn` and `ServerConn`: what is known of the two sides. Plain data; the streams are elsewhere."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from rulesproxy.flow.route import Via

Address: TypeAlias = tuple[str, int]
"""A host (a name, or an address without brackets) and a port."""

_ids = count(1)


class Connection:
    """One end of the transport.

    Attributes:
        id: unique in this process.
        address: a client's own address; the name and port a server is asked for.
        peername: the other end, as the socket says; None before it is connected.
        sockname: our end.
        tls: whether TLS is, or will be, spoken on it.
        tls_version: such as `TLSv1.3`; None without TLS or before its handshake.
        sni: the server name of the ClientHello.
        alpn: the protocol chosen by ALPN.
        cipher: the name of the cipher suite.
        certificate: the peer's certificate in DER.
        timestamp_start: when it was accepted or dialled, in seconds since the epoch; `timestamp_end` when it closed.
    """

    __slots__ = (
        "address", "alpn", "certificate", "cipher", "error", "id", "peername", "sni", "sockname",
        "timestamp_end", "timestamp_start", "tls", "tls_version",
    )  # fmt: skip

    def __init__(self, address: Address, peername: Address | None = None, sockname: Address | None = None) -> None:
        self.id = next(_ids)
        self.address = address
        self.peername = peername
        self.sockname = sockname
        self.tls = False
        self.tls_version: str | None = None
        self.sni: str | None = None
        self.alpn: str | None = None
        self.cipher: str | None = None
        self.certificate: bytes | None = None
        self.error: str | None = None
        self.timestamp_start = 0.0
        self.timestamp_end: float | None = None

    def __repr__(self) -> str:
        host, port = self.address
        return f"<{type(self).__name__} {self.id} {host}:{port}>"


class ClientConn(Connection):
    """The client's side.

    Attributes:
        mode: the listener's mode.
        connect_host: the host of its CONNECT or SOCKS5 request, or its original destination in transparent mode; None
            where it names none before it speaks HTTP.
        connect_port: its port.
        alpn_offers: the protocols that its ClientHello offers.
    """

    __slots__ = ("alpn_offers", "connect_host", "connect_port", "mode")

    def __init__(
        self,
        address: Address = ("127.0.0.1", 0),
        sockname: Address | None = None,
        mode: str = "regular",
    ) -> None:
        super().__init__(address, address, sockname)
        self.mode = mode
        self.connect_host: str | None = None
        self.connect_port: int | None = None
        self.alpn_offers: tuple[str, ...] = ()


class ServerConn(Connection):
    """The server's side. In `serverconnect` `address` and `via` may be changed, and `error` set to refuse it.

    Attributes:
        via: the proxy that leads to it; None where it is dialled itself.
    """

    __slots__ = ("via",)

    def __init__(self, address: Address, tls: bool = False, via: Via | None = None) -> None:
        super().__init__(address)
        self.tls = tls
        self.via = via
