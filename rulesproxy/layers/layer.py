"""`Layer` and `Context`: what the `next_layer` event sees and may replace; and `Services`, what all layers share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rulesproxy.engine.chain import Chain
from rulesproxy.engine.dispatch import dispatch_layer
from rulesproxy.flow.connection import Address, ClientConn, ServerConn
from rulesproxy.flow.route import Route
from rulesproxy.flow.websocket import WebSocketFlow
from rulesproxy.layers.modes import Mode
from rulesproxy.layers.stream import Stream
from rulesproxy.limits import Limits
from rulesproxy.tls.context import ClientContexts, ServerContexts

if TYPE_CHECKING:
    from rulesproxy.layers.tcp import TCPLayer
    from rulesproxy.layers.upstream import Upstreams


class Clock(Protocol):
    """The time, from outside: layers ask no clock of their own."""

    def now(self) -> float:
        """Seconds on a clock that never jumps: what deadlines are counted in."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch: what timestamps are."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let so many seconds pass: the delays that flows ask for, and the pace of slow lines."""
        ...


class Dialer(Protocol):
    """Makes connections to servers."""

    async def dial(self, address: Address) -> Stream:
        """A connected stream.

        Raises:
            DialError: nobody answers there.
        """
        ...


class Configuration(Protocol):
    """The options that layers read."""

    @property
    def limits(self) -> Limits: ...
    @property
    def intercept(self) -> str: ...
    @property
    def http1_codec(self) -> str: ...
    @property
    def verify_upstream(self) -> bool: ...
    @property
    def upstream_ca(self) -> tuple[str, ...]: ...
    @property
    def tcp_events_in_tunnels(self) -> bool: ...
    @property
    def keep_host(self) -> bool: ...
    @property
    def host_mismatch(self) -> str: ...
    @property
    def auth(self) -> str: ...


class Services:
    """What the layers of every connection share.

    Attributes:
        options: the configuration.
        clock: the time.
        chain: gives the addon chain as it is now; a flow or connection keeps the one it began with.
        dialer: makes connections.
        upstreams: the pool of server connections.
        server_contexts: TLS towards clients.
        client_contexts: TLS towards servers.
        closing: whether the proxy shuts down: no connection is kept for another request.
        resting: the clients that have said nothing yet, or are between two requests; a shutdown need not wait for them.
        conversations: the WebSockets that are open.
        tunnels: what is passed through because nobody wanted its host, and the names of that host.
    """

    __slots__ = (
        "chain", "client_contexts", "clock", "closing", "conversations", "dialer", "options", "resting",
        "server_contexts", "tunnels", "upstreams",
    )  # fmt: skip

    def __init__(
        self,
        options: Configuration,
        clock: Clock,
        chain: Callable[[], Chain],
        dialer: Dialer,
        server_contexts: ServerContexts,
        client_contexts: ClientContexts,
    ) -> None:
        from rulesproxy.layers.upstream import Upstreams

        self.options = options
        self.clock = clock
        self.chain = chain
        self.dialer = dialer
        self.server_contexts = server_contexts
        self.client_contexts = client_contexts
        self.closing = False
        self.resting: set[Stream] = set()
        self.conversations: set[WebSocketFlow] = set()
        self.tunnels: dict[TCPLayer, tuple[str, ...]] = {}
        self.upstreams: Upstreams = Upstreams(self)

    async def rest(self) -> None:
        """The proxy shuts down: close the clients that wait for nothing, end WebSockets, and let the others finish."""
        self.closing = True
        for stream in list(self.resting):
            await stream.close()
        for flow in list(self.conversations):
            flow.close(1001, "the proxy shuts down")

    @property
    def upstream_ca(self) -> tuple[Path, ...]:
        """The files of further authorities that servers may be vouched for by."""
        return tuple(Path(path) for path in self.options.upstream_ca)


class Context:
    """What a layer knows of its connection.

    Attributes:
        services: what all connections share.
        stream: the client's bytes, at this depth of the stack.
        client_conn: the client's side.
        mode: the listener's mode.
        server_conn: the server's side as far as the client or the mode has named it.
        route: how the servers of this connection are reached, where a handler of `http_connect` has said so.
        names: the hosts that the client has asked for outside HTTP: by CONNECT, by SOCKS5, in its ClientHello.
        layers: the stack so far, the root first.
        peeked: the first bytes that the client has sent, where it has sent some.
    """

    __slots__ = (
        "client_conn", "layers", "mode", "names", "peeked", "route", "server_conn", "services", "stream",
    )  # fmt: skip

    def __init__(self, services: Services, stream: Stream, client_conn: ClientConn, mode: Mode) -> None:
        self.services = services
        self.stream = stream
        self.client_conn = client_conn
        self.mode = mode
        self.server_conn: ServerConn | None = None
        self.route: Route | None = None
        self.names: tuple[str, ...] = ()
        self.layers: list[object] = []
        self.peeked = b""

    def server(self, address: Address, tls: bool = False) -> ServerConn:
        """A server, reached as the mode says."""
        return ServerConn(address, tls, self.mode.via)

    @property
    def options(self) -> Configuration:
        """The configuration."""
        return self.services.options


class Layer:
    """One protocol of a client connection. Subclasses say what `run` does; the context's attributes are theirs too."""

    __slots__ = ("context", "killed")

    def __init__(self, context: Context) -> None:
        self.context = context
        self.killed = False

    async def run(self) -> None:
        """Speak the protocol until the connection, or this layer's part of it, is over."""
        raise TypeError(f"{type(self).__name__} has no run()")

    def kill(self) -> None:
        """Refuse this connection: it is closed without another byte."""
        self.killed = True

    @property
    def client_conn(self) -> ClientConn:
        """The client's side."""
        return self.context.client_conn

    @property
    def server_conn(self) -> ServerConn | None:
        """The server's side, where it is known."""
        return self.context.server_conn

    @property
    def options(self) -> Configuration:
        """The configuration."""
        return self.context.options

    @property
    def layers(self) -> list[object]:
        """The stack so far, the root first."""
        return self.context.layers


async def run_next(layer: Layer) -> None:
    """Offer `layer` to the `next_layer` event, then run it or what replaces it."""
    context = layer.context
    handlers = context.services.chain().next_layer
    if handlers:
        chosen = await dispatch_layer(handlers, layer)
        if isinstance(chosen, Layer):
            layer = chosen
    if layer.killed:
        context.stream.abort()
        return
    context.layers.append(layer)
    await layer.run()
