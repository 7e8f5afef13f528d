"""Speaking to the control API of a running proxy on this machine."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote, urlencode

Pair: TypeAlias = tuple[str, str]

_PATIENCE = 30.0


class NotReached(Exception):
    """No proxy can be spoken to: `str()` says why in one line."""


class Refused(Exception):
    """The API has refused what was asked: `str()` says why, `answer` is all that it said."""

    def __init__(self, why: str, answer: Any) -> None:
        super().__init__(why)
        self.answer = answer


class Client:
    """The API of one proxy."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token

    @classmethod
    def find(cls, home: Path, pid: int | None = None) -> Client:
        """The proxy of this user that runs with `--control`: that of `pid`, or the only one.

        Raises:
            NotReached: there is none, or there are several.
        """
        found: dict[int, Client] = {}
        for file in sorted((home / "control").glob("*.json")):
            try:
                if not _is_ours(file):
                    continue
                known = json.loads(file.read_text(encoding="utf-8"))
                number, url, token = int(known["pid"]), str(known["url"]), str(known["token"])
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if _runs(number):
                found[number] = cls(url, token)
        if pid is not None:
            if pid not in found:
                raise NotReached(f"no proxy with --control has the process id {pid}")
            return found[pid]
        if not found:
            raise NotReached("no proxy runs with --control; start one with `rulesproxy run … --control 127.0.0.1:9090`")
        if len(found) > 1:
            raise NotReached(f"several proxies run: say which with --pid, one of {', '.join(map(str, found))}")
        return next(iter(found.values()))

    def ask(
        self, method: str, path: str, body: object = None, data: bytes | None = None, query: Sequence[Pair] = ()
    ) -> Any:
        """The answer to one request, JSON as what it means and all else as text.

        The request carries `body` as JSON, or `data` as it is.

        Raises:
            NotReached: the proxy does not answer.
            Refused: it refuses.
        """
        if body is not None:
            data = json.dumps(body).encode()
        connection = self._connect(_PATIENCE)
        try:
            response = self._send(connection, method, path, data, query)
            content = response.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            raise NotReached(f"the proxy at {self._url} does not answer: {error}") from None
        finally:
            connection.close()
        answer = json.loads(content) if "json" in (response.getheader("content-type") or "") else content
        if response.status >= 400:
            why = answer.get("error") if isinstance(answer, dict) else None
            raise Refused(why if isinstance(why, str) else f"status {response.status}", answer)
        return answer

    def follow(self, path: str) -> Iterator[tuple[str, Any]]:
        """The events of a stream as they come, each with its name.

        Raises:
            NotReached: the proxy does not answer.
        """
        connection = self._connect(None)
        try:
            response = self._send(connection, "GET", path, None)
            name = "message"
            while line := response.readline():
                field, _, value = line.decode("utf-8", "replace").rstrip("\r\n").partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    yield name, json.loads(value)
        except (OSError, http.client.HTTPException) as error:
            raise NotReached(f"the proxy at {self._url} does not answer: {error}") from None
        finally:
            connection.close()

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        data: bytes | None,
        query: Sequence[Pair] = (),
    ) -> http.client.HTTPResponse:
        headers = {"Authorization": f"Bearer {self._token}"}
        target = quote(path, safe="/:") + (f"?{urlencode(query)}" if query else "")
        connection.request(method, target, data, headers)
        return connection.getresponse()

    def _connect(self, timeout: float | None) -> http.client.HTTPConnection:
        if self._url.startswith("unix:"):
            return _UnixConnection(self._url.removeprefix("unix:"), timeout)
        return http.client.HTTPConnection(self._url.removeprefix("http://"), timeout=timeout)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _is_ours(file: Path) -> bool:
    """Whether nobody else can have written it: it says where to send what we are told."""
    found = file.stat()
    return not hasattr(os, "geteuid") or (found.st_uid == os.geteuid() and not found.st_mode & 0o022)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
