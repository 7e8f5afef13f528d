"""The table of lifecycle events: declared once, here, with their documentation.

Every addon is an object with methods named after these events; it implements only what it needs. `EVENTS` is made from
the classes below, and dispatch, checks and documentation are made from `EVENTS`: an event exists when its method stands
here.

A handler may be a plain function or `async def`, except `start`, `load` and `configure`, which are plain. Return values
count for `start` and `next_layer` only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from rulesproxy.flow.connection import ClientConn, ServerConn
    from rulesproxy.flow.http import HTTPFlow
    from rulesproxy.flow.tcp import TCPFlow
    from rulesproxy.flow.websocket import WebSocketFlow

Handler: TypeAlias = Callable[..., object]


class LayerContext(Protocol):
    """What a layer knows of its connection.

    Attributes:
        client_conn: the client's side.
        server_conn: the server's side as far as it is known; None where the client has not named one.
        options: the configuration.
        layers: the stack so far, the root first.
        peeked: the first bytes that the client has sent, where it has sent some.
    """

    @property
    def client_conn(self) -> ClientConn: ...
    @property
    def server_conn(self) -> ServerConn | None: ...
    @property
    def options(self) -> object: ...
    @property
    def layers(self) -> list[object]: ...
    @property
    def peeked(self) -> bytes: ...


class LayerLike(Protocol):
    """A protocol layer of one client connection. Gives transparent access to its context's attributes."""

    @property
    def context(self) -> LayerContext: ...
    @property
    def client_conn(self) -> ClientConn: ...
    @property
    def server_conn(self) -> ServerConn | None: ...
    @property
    def options(self) -> object: ...
    @property
    def layers(self) -> list[object]: ...
    def kill(self) -> None: ...


class ClientHelloLike(Protocol):
    """A client's first TLS message.

    Attributes:
        sni: the server name it asks for, lower-case; None where it names none.
        alpn: the protocols it offers.
        passthrough: set it to tunnel this connection untouched.
        client_conn: the connection that it came on.
    """

    sni: str | None
    alpn: list[str]
    passthrough: bool
    client_conn: ClientConn | None


class LogEntryLike(Protocol):
    """A line of the log: `msg`, and `level`: debug, info, warn, error or alert."""

    msg: str
    level: str


class EntryLike(Protocol):
    """What `load` receives."""

    def add_option(
        self, name: str, typespec: object, default: object, help: str, choices: Iterable[str] | None = None
    ) -> None: ...
    def add_command(self, path: str, func: Callable[..., object]) -> None: ...


class General:
    """The life of an addon."""

    def start(self) -> object:
        """Called once per addon, before any other event.

        A returned object replaces the addon, and its own `start` then runs: a module can boot into a class.
        """

    def load(self, entry: EntryLike) -> None:
        """The addon is loaded for the first time. `entry.add_option(...)` and `entry.add_command(...)` extend us."""

    def configure(self, options: object, updated: set[str]) -> None:
        """The configuration changed.

        Called once at start-up with every option name in `updated`, then on every change with only the changed names.
        A new version of the rule files is such a change, with `rules` in `updated`. A handler with one parameter gets
        `updated` alone. Raising `OptionsError` rolls the whole update back and calls `configure` again with the old
        values.
        """

    def running(self) -> None:
        """The listeners are bound and every addon is loaded."""

    def tick(self) -> None:
        """Called every 100 ms while the proxy runs. The timer exists only while some addon has a `tick`."""

    def log(self, entry: LogEntryLike) -> None:
        """A log entry was added. Logging inside `log` does not recurse."""

    def update(self, flows: list[HTTPFlow | WebSocketFlow | TCPFlow]) -> None:
        """Flows were changed outside their own events, usually by another addon through `ctx.update(flows)`."""

    def done(self) -> None:
        """The addon is removed, or the proxy shuts down. The last event an addon sees."""


class Connections:
    """Clients, servers, and the layers between them."""

    def clientconnect(self, layer: LayerLike) -> None:
        """A client connected. `layer` is the root layer; `layer.kill()` refuses the client.

        One connection may carry many requests.
        """

    def clientdisconnect(self, layer: LayerLike) -> None:
        """That client is gone. Exactly once per `clientconnect`."""

    def serverconnect(self, server_conn: ServerConn) -> None:
        """The proxy is about to dial a server.

        `server_conn.address` is never None. It may be changed, and so may `server_conn.via`, the proxy that leads
        there; setting `server_conn.error` refuses.
        """

    def serverconnected(self, server_conn: ServerConn) -> None:
        """The dial, and TLS where it was asked for, succeeded: `peername`, `tls_version`, `certificate` are known."""

    def serverdisconnect(self, server_conn: ServerConn) -> None:
        """That connection is closed. Exactly once per `serverconnected`.

        A connection from the pool fires neither when it is used again: decide per flow in `request`.
        """

    def next_layer(self, layer: LayerLike) -> LayerLike | None:
        """The proxy has chosen the next layer of a connection, and it is about to run.

        Return another layer to replace it, such as `TCPLayer(layer.context)`. `layer.context` shows the stack so far
        and the first bytes.
        """

    def clienthello(self, hello: ClientHelloLike) -> None:
        """A client's TLS ClientHello was read, before any certificate is made.

        `hello.passthrough = True` tunnels the bytes untouched.
        """


class HTTP:
    """HTTP exchanges."""

    def http_connect(self, flow: HTTPFlow) -> None:
        """A CONNECT request arrived; it fires none of the other HTTP events.

        A non-2xx `flow.response` is sent and the connection closed. Changing host or port changes the tunnel's target.
        """

    def requestheaders(self, flow: HTTPFlow) -> None:
        """The request head is read; its body is empty.

        Change the head, set `flow.response`, set `flow.request.stream`, or `flow.kill()`.
        """

    def request(self, flow: HTTPFlow) -> None:
        """The whole request is read; where it streams, after its last byte was forwarded.

        Set `flow.response` to answer without the server.
        """

    def responseheaders(self, flow: HTTPFlow) -> None:
        """The response head is read; its body is empty.

        Change the head, set `flow.response.stream`, or replace the response.
        """

    def response(self, flow: HTTPFlow) -> None:
        """The whole response is read; its content is None where it streamed."""

    def error(self, flow: HTTPFlow) -> None:
        """The flow failed: invalid response, connection lost, timeout, killed. Not an HTTP error status.

        `flow.error` is set. A `flow.response` set here is what the client gets. A flow ends with `response` or with
        `error`, never with both.
        """


class WebSocket:
    """WebSocket conversations. After `101 Switching Protocols` no further HTTP event fires."""

    def websocket_handshake(self, flow: HTTPFlow) -> None:
        """A client asks for a WebSocket. Its headers may be changed; fires before the server is asked."""

    def websocket_start(self, flow: WebSocketFlow) -> None:
        """The handshake succeeded. `flow.handshake_flow` is the HTTPFlow.

        From here on, in handlers and outside of them, `flow.inject(to_client, content)` sends a message to one side and
        `flow.close(code, reason)` ends the conversation.
        """

    def websocket_message(self, flow: WebSocketFlow) -> None:
        """A whole message arrived from either side: `flow.messages[-1]`.

        Its `content` may be changed, `kill()` drops it, `delay` holds it back. Messages are shown one at a time: no
        other one comes before every handler of this one is done. An addon that has this handler makes messages be read,
        in all conversations or in those that its `wants_messages(handshake_flow)` chooses; one that only observes does
        not.
        """

    def websocket_error(self, flow: WebSocketFlow) -> None:
        """The connection broke, or a peer broke the protocol. `websocket_end` follows."""

    def websocket_end(self, flow: WebSocketFlow) -> None:
        """The connection is closed: `flow.close_code`, `flow.close_reason`, `flow.closed_by_client`."""


class TCP:
    """Raw TCP conversations."""

    def tcp_start(self, flow: TCPFlow) -> None:
        """Streaming starts."""

    def tcp_message(self, flow: TCPFlow) -> None:
        """Bytes arrived from either side: `flow.messages[-1]`, which may be changed; empty content drops it."""

    def tcp_error(self, flow: TCPFlow) -> None:
        """The connection broke, could not be made, or was refused before it was. `tcp_end` follows."""

    def tcp_end(self, flow: TCPFlow) -> None:
        """It ended. Exactly once per `tcp_start`, or per `tcp_error` without one."""


@dataclass(frozen=True, slots=True)
class Event:
    """A lifecycle event.

    Attributes:
        name: the name of its handler.
        group: the class above that declares it.
        parameters: the names of what it passes.
        returns: whether a handler's return value counts.
        plain: whether its handlers must be plain functions.
        doc: its documentation.
    """

    name: str
    group: str
    parameters: tuple[str, ...]
    returns: bool
    plain: bool
    doc: str


_GROUPS = (General, Connections, HTTP, WebSocket, TCP)
_RETURNS = frozenset({"start", "next_layer"})
_PLAIN = frozenset({"start", "load", "configure"})


def _declared() -> dict[str, Event]:
    events = {}
    for group in _GROUPS:
        for name, function in vars(group).items():
            if name.startswith("_"):
                continue
            code = function.__code__
            parameters = code.co_varnames[1 : code.co_argcount]
            doc = inspect.cleandoc(function.__doc__)
            events[name] = Event(name, group.__name__, parameters, name in _RETURNS, name in _PLAIN, doc)
    return events


EVENTS: Mapping[str, Event] = MappingProxyType(_declared())
"""Every event by name, in the order of the documentation."""

LIFECYCLE: frozenset[str] = frozenset(name for name, event in EVENTS.items() if event.group == "General")
"""The events of an addon's own life; all others belong to traffic."""

HTTP_EVENTS: frozenset[str] = frozenset(name for name, event in EVENTS.items() if event.group == "HTTP")
