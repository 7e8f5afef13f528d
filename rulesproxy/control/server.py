"""`Control`: where the control API listens, and who may speak to it.

It listens on this machine only. A page in a browser on this machine could reach it too, by its own address or by a name
that is made to point here: so every request needs the token, a Host that is ours, and no foreign Origin.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from hmac import compare_digest
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from rulesproxy.control.feed import Feed
from rulesproxy.flow.url import format_authority, split_authority
from rulesproxy.limits import CONTROL_CONNECTIONS, CONTROL_PATIENCE

if TYPE_CHECKING:
    import uvicorn

    from rulesproxy.control.served import Served
    from rulesproxy.flow.connection import Address

FOLDER = "control"
"""Where, below the state directory, every running proxy says how it is reached."""

_Scope: TypeAlias = dict[str, Any]


class ControlError(Exception):
    """The control API cannot be offered: `str()` says why in one line."""


class Control:
    """The control API of one proxy.

    Attributes:
        feed: the addon to put into the proxy's chain.
        url: where it listens, once it does: `http://127.0.0.1:PORT`, or `unix:PATH`.
        token: what a request must bring as `Authorization: Bearer TOKEN`.
        file: the file that says both, readable by this user only.
    """

    def __init__(self, address: str, home: Path) -> None:
        """
        Args:
            address: `host:port` on this machine, a port alone, or `unix:PATH`.
            home: the state directory.

        Raises:
            ControlError: the address is none, other machines can reach it, or a package is missing.
        """
        try:
            import starlette  # noqa: F401
            import uvicorn  # noqa: F401
        except ImportError:
            raise ControlError("--control needs two more packages: pip install 'rulesproxy[control]'") from None
        self.feed = Feed()
        self.url = ""
        self.token = secrets.token_urlsafe(32)
        self.file = home / FOLDER / f"{os.getpid()}.json"
        self._address = address
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._sockets: list[socket.socket] = []
        self._unix: Path | None = None
        self._own: Address | None = None
        self._hosts: frozenset[str] = frozenset()

    async def start(self, proxy: Served) -> None:
        """Listen, and say where.

        Raises:
            ControlError: it cannot listen there, or cannot write its file.
        """
        import uvicorn

        from rulesproxy.control.api import Api

        self._sockets = [self._listen()]
        if self._own is not None:
            # A client of the proxy must not reach through it what only this machine may.
            await proxy.refuse_address(self._own)
        for each in self._sockets:
            # Whoever reads our file may connect at once.
            each.listen()
        config = uvicorn.Config(
            self._guard(Api(proxy, self.feed).app), log_config=None, access_log=False, lifespan="off", http=_patient(),
            ws="none", server_header=False, timeout_graceful_shutdown=1, h11_max_incomplete_event_size=16384,
        )  # fmt: skip
        self._server = _quiet(config)
        self._task = asyncio.create_task(self._server.serve(sockets=self._sockets))
        try:
            self._write_file()
        except OSError as error:
            await self.stop()
            raise ControlError(f"cannot write {self.file}: {error.strerror}") from None
        except ControlError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close it."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await asyncio.wait([self._task], timeout=3)
            self._task.cancel()
        for each in self._sockets:
            each.close()
        if self._unix is not None:
            self._unix.unlink(missing_ok=True)
        self.file.unlink(missing_ok=True)

    # Listening

    def _listen(self) -> socket.socket:
        if self._address.startswith("unix:"):
            return self._listen_unix(Path(self._address.removeprefix("unix:")))
        text = f"127.0.0.1:{self._address}" if self._address.isdecimal() else self._address
        try:
            host, port = (text[:-2], 0) if text.endswith(":0") else split_authority(text, 0)
            loopback = host == "localhost" or ip_address(host.strip("[]")).is_loopback
        except ValueError:
            raise ControlError(f"--control {self._address}: write host:port, a port, or unix:PATH") from None
        if not loopback:
            raise ControlError(f"--control {self._address}: other machines could reach it; listen on 127.0.0.1")
        host = "127.0.0.1" if host == "localhost" else host.strip("[]")
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
        except OSError as error:
            listener.close()
            raise ControlError(f"--control {self._address}: {(error.strerror or str(error)).lower()}") from None
        port = listener.getsockname()[1]
        self.url = f"http://{format_authority(host, port, '')}"
        self._hosts = frozenset({format_authority(host, port, ""), f"localhost:{port}"})
        self._own = (host, port)
        return listener

    def _listen_unix(self, path: Path) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        umask = os.umask(0o177)
        try:
            if path.is_socket() and not _answers(path):
                # Left behind by a proxy that was killed.
                path.unlink()
            listener.bind(str(path))
        except OSError as error:
            listener.close()
            raise ControlError(f"--control {self._address}: {(error.strerror or str(error)).lower()}") from None
        finally:
            os.umask(umask)
        self._unix = path
        self.url = f"unix:{path.absolute()}"
        self._hosts = frozenset({"localhost"})
        return listener

    def _write_file(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = self.file.parent.stat()
        if hasattr(os, "geteuid") and (found.st_uid != os.geteuid() or found.st_mode & 0o022):
            # Who can write there could send `ctl`, and what it is told, somewhere else.
            raise ControlError(f"others can write to {self.file.parent}: it must belong to you alone (chmod go-w)")
        text = json.dumps({"pid": os.getpid(), "url": self.url, "token": self.token}) + "\n"
        draft = self.file.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        draft.replace(self.file)

    # Who may speak

    def _guard(self, app: Any) -> Any:
        async def guarded(scope: _Scope, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                refusal = self._refusal({name.decode("latin-1"): value for name, value in scope["headers"]})
                if refusal is not None:
                    from starlette.responses import JSONResponse

                    status, why = refusal
                    headers = {"www-authenticate": "Bearer"} if status == 401 else None
                    await JSONResponse({"error": why}, status, headers)(scope, receive, send)
                    return
            await app(scope, receive, send)

        return guarded

    def _refusal(self, headers: dict[str, bytes]) -> tuple[int, str] | None:
        host = headers.get("host", b"").decode("latin-1").lower()
        if host not in self._hosts:
            return 403, "this is not the name of this API"
        origin = headers.get("origin", b"").decode("latin-1").lower()
        if origin and origin.partition("://")[2] not in self._hosts:
            return 403, "pages of other origins may not speak to this API"
        scheme, _, token = headers.get("authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not compare_digest(token.strip(), self.token.encode()):
            return 401, f"send `Authorization: Bearer TOKEN`; the token is in {self.file}"
        return None


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _patient() -> type[asyncio.Protocol]:
    """What speaks HTTP on a connection: as uvicorn does, but whoever does not finish a head is not waited for."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Patient(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > CONTROL_CONNECTIONS:
                transport.close()
            else:
                self.loop.call_later(CONTROL_PATIENCE, self._look)

        def _look(self) -> None:
            # `cycle` is None in the declaration of uvicorn, too, until the first request is there.
            begun = self.cycle is None or (self.cycle.response_complete and self.conn.trailing_data[0])
            if self.transport.is_closing():
                return
            if begun:
                self.transport.close()
            else:
                self.loop.call_later(CONTROL_PATIENCE, self._look)

    return Patient


def _quiet(config: uvicorn.Config) -> uvicorn.Server:
    """A server that leaves signals to the proxy, which tells it when to stop."""
    import uvicorn

    class Quiet(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    return Quiet(config)
