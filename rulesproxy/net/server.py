"""The listeners: sockets that accept clients and give each connection one task."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Awaitable, Callable

from rulesproxy.flow.connection import Address
from rulesproxy.limits import Limits
from rulesproxy.net.stream import SocketStream

_log = logging.getLogger("rulesproxy")

_BACKLOG = 1024
# How many clients one turn of the loop accepts, so that a flood of connects does not starve those that are served.
_BATCH = 32
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE = 0.5
# A shortage lasts: it is not told at every pause.
_QUIET = 60.0


class BindError(Exception):
    """An address cannot be listened on; the message says which, why, and what to do."""


class Listener:
    """One listening socket."""

    def __init__(self, server: Server, sock: socket.socket, serve: Serve) -> None:
        self._server = server
        self._socket = sock
        self._serve = serve
        self._loop = asyncio.get_running_loop()
        self._open = False
        name = sock.getsockname()
        self.address: Address = (str(name[0]), int(name[1]))

    def resume(self) -> None:
        """Accept clients (again)."""
        if not self._open and self._socket.fileno() >= 0:
            self._open = True
            self._loop.add_reader(self._socket.fileno(), self._accept)

    def pause(self) -> None:
        """Leave new clients in the backlog."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket.fileno())

    def close(self) -> None:
        """Stop listening."""
        self.pause()
        self._socket.close()

    def _accept(self) -> None:
        for _ in range(_BATCH):
            if self._server.full:
                self._server.pause()
                return
            try:
                sock, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as exc:
                if exc.errno not in _EXHAUSTED:
                    # The client is gone before it was accepted (ECONNABORTED and its kin, accept(2)).
                    continue
                self.pause()
                self._server.say_exhausted(self._loop.time())
                self._loop.call_later(_PAUSE, self._server.resume)
                return
            self._server.start(sock, self._serve)


Serve = Callable[[SocketStream], Awaitable[None]]
"""What is run for one accepted connection; the stream is closed when it returns."""


class Server:
    """All listeners of a proxy, and the connections that came through them."""

    def __init__(self, streams: set[SocketStream], limits: Callable[[], Limits]) -> None:
        self.listeners: list[Listener] = []
        self.connections: set[asyncio.Task[None]] = set()
        self._streams = streams
        self._limits = limits
        self._closing = False
        self._warned = False
        self._quiet_until = 0.0

    def listen(self, host: str, port: int, serve: Serve) -> Listener:
        """Bind and listen on a host and port; port 0 takes a free one. Clients wait until `resume`.

        Raises:
            BindError: the address is taken, not ours, or not permitted.
        """
        return self.adopt(open_socket(host, port), serve)

    def adopt(self, sock: socket.socket, serve: Serve) -> Listener:
        """Serve the clients of a socket that listens already. Clients wait until `resume`."""
        listener = Listener(self, sock, serve)
        self.listeners.append(listener)
        return listener

    @property
    def full(self) -> bool:
        """Whether as many clients are connected as the limit allows."""
        return len(self.connections) >= self._limits().client_connections

    def resume(self) -> None:
        """Accept on every listener."""
        if not self._closing:
            for listener in self.listeners:
                listener.resume()

    def pause(self) -> None:
        """Accept on no listener until a client leaves."""
        if self.full and not self._warned:
            self._warned = True
            _log.warning("%d clients are connected, which is the limit: new ones wait", len(self.connections))
        for listener in self.listeners:
            listener.pause()

    def say_exhausted(self, now: float) -> None:
        """Say, once a minute, that no descriptor is left for another client."""
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET
            _log.error("out of file descriptors: new clients wait until others leave (raise `ulimit -n`)")

    def start(self, sock: socket.socket, serve: Serve) -> None:
        """Serve an accepted socket in its own task."""
        task = asyncio.get_running_loop().create_task(self._run(sock, serve))
        self.connections.add(task)
        task.add_done_callback(self._finished)

    def close_listeners(self) -> None:
        """Accept nobody any more."""
        self._closing = True
        for listener in self.listeners:
            listener.close()

    async def close(self, grace: float) -> None:
        """Stop listening, let connections finish for `grace` seconds, then end them."""
        self.close_listeners()
        if self.connections and grace > 0:
            await asyncio.wait(self.connections, timeout=grace)
        for task in self.connections:
            task.cancel()
        if self.connections:
            await asyncio.wait(self.connections)

    def _finished(self, task: asyncio.Task[None]) -> None:
        full = self.full
        self.connections.discard(task)
        if full:
            self.resume()
        if not self.connections:
            self._warned = False
        if not task.cancelled() and (exc := task.exception()) is not None:
            _log.error("a connection ended by a bug of ours: %s: %s", type(exc).__name__, exc, exc_info=exc)

    async def _run(self, sock: socket.socket, serve: Serve) -> None:
        loop = asyncio.get_running_loop()
        limits = self._limits()
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _, stream = await loop.connect_accepted_socket(lambda: SocketStream(self._streams, loop, limits), sock)
        except OSError:
            sock.close()
            return
        try:
            await serve(stream)
        finally:
            await stream.close()


def open_socket(host: str, port: int, shared: bool = False) -> socket.socket:
    """A socket that listens on a host and port; port 0 takes a free one.

    Args:
        host: a name or an address.
        port: the port.
        shared: further sockets may listen there, and the system deals new clients out to all of them (SO_REUSEPORT).

    Raises:
        BindError: the address is taken, not ours, or not permitted.
    """
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        infos = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, target = infos[0]
        # With the protocol named, accepted sockets get TCP_NODELAY from the event loop.
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as exc:
        raise BindError(f"cannot listen on {shown}: {exc.strerror or exc}") from exc
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host in ("", "::") else 1)
        sock.bind(target)
        sock.listen(_BACKLOG)
    except OSError as exc:
        sock.close()
        raise BindError(_why_not(shown, exc)) from exc
    return sock


def _why_not(shown: str, exc: OSError) -> str:
    if exc.errno == errno.EADDRINUSE:
        return f"cannot listen on {shown}: another program has this port; choose another with --listen"
    if exc.errno in (errno.EACCES, errno.EPERM):
        return f"cannot listen on {shown}: ports below 1024 need a privilege; choose another with --listen"
    if exc.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on {shown}: this machine does not have that address"
    return f"cannot listen on {shown}: {exc.strerror or exc}"
