"""A client of yaml-language-server, as far as the tests need one: open a text, ask for its problems, complete, hover."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

VERSION = "1"
DEADLINE = 30.0


class Unavailable(Exception):
    """The server cannot be installed here; the message says why."""


def install(folder: Path) -> Path:
    """Install the server from npm below a folder; its program.

    Raises:
        Unavailable: there is no Node.js, or npm cannot fetch it.
    """
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        raise Unavailable("there is no node and npm here")
    command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), f"yaml-language-server@{VERSION}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    program = folder / "node_modules" / ".bin" / "yaml-language-server"
    if done.returncode or not program.exists():
        raise Unavailable(f"npm cannot install yaml-language-server: {done.stderr.strip()[-200:]}")
    return program


class LanguageServer:
    """A running server with one schema for every file."""

    def __init__(self, program: Path, schema: Path) -> None:
        self._settings = {"schemas": {schema.as_uri(): "/*"}, "validate": True, "hover": True, "completion": True,
                          "schemaStore": {"enable": False}, "format": {"enable": False}}  # fmt: skip
        self._process = subprocess.Popen([str(program), "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._messages: queue.Queue[dict[str, Any]] = queue.Queue()
        self._number = 0
        self._texts = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        capabilities = {
            "textDocument": {
                "completion": {"completionItem": {"snippetSupport": True, "documentationFormat": ["markdown"]}},
                "hover": {"contentFormat": ["markdown"]},
            },
            "workspace": {"configuration": True},
        }
        self._ask("initialize", {"processId": None, "rootUri": None, "capabilities": capabilities})
        self._send({"method": "initialized", "params": {}})

    def problems(self, *texts: str) -> list[list[str]]:
        """What the server says of each text."""
        return self._problems_of([self._open(text) for text in texts])

    def complete(self, text: str) -> dict[str, Any]:
        """The completions where `|` stands in a text, by label."""
        uri, position = self._open_at(text)
        found = self._ask("textDocument/completion", {"textDocument": {"uri": uri}, "position": position})
        return {item["label"]: item for item in (found["items"] if isinstance(found, dict) else found)}

    def hover(self, text: str) -> str:
        """What is shown for the place of `|` in a text; empty for nothing."""
        uri, position = self._open_at(text)
        found = self._ask("textDocument/hover", {"textDocument": {"uri": uri}, "position": position})
        contents = found["contents"] if found else ""
        return contents["value"] if isinstance(contents, dict) else str(contents)

    def close(self) -> None:
        """End the server."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _open_at(self, text: str) -> tuple[str, dict[str, int]]:
        before, _, after = text.partition("|")
        uri = self._open(before + after)
        self._problems_of([uri])
        return uri, {"line": before.count("\n"), "character": len(before.rpartition("\n")[2])}

    def _open(self, text: str) -> str:
        self._texts += 1
        uri = f"file:///rules-{self._texts}.yaml"
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        return uri

    def _problems_of(self, uris: list[str]) -> list[list[str]]:
        """The server checks a text a moment after it was opened, whatever is asked meanwhile."""
        found: dict[str, list[str]] = {}
        while set(uris) - set(found):
            message = self._next()
            if message.get("method") == "textDocument/publishDiagnostics":
                params = message["params"]
                found[params["uri"]] = [problem["message"] for problem in params["diagnostics"]]
        return [found[uri] for uri in uris]

    def _ask(self, method: str, params: dict[str, Any]) -> Any:
        self._number += 1
        self._send({"id": self._number, "method": method, "params": params})
        while True:
            message = self._next()
            if message.get("id") == self._number and "method" not in message:
                assert "error" not in message, message["error"]
                return message["result"]

    def _next(self) -> dict[str, Any]:
        message = self._messages.get(timeout=DEADLINE)
        if "id" in message and "method" in message:
            # The server asks for its settings, and for leave to register what it can do.
            settings = message["method"] == "workspace/configuration"
            result = (
                [self._settings if item.get("section") == "yaml" else {} for item in message["params"]["items"]]
                if settings
                else None
            )
            self._send({"id": message["id"], "result": result})
        return message

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self._process.stdin.flush()

    def _read(self) -> None:
        pipe = self._process.stdout
        assert pipe is not None
        while True:
            length = 0
            for line in iter(pipe.readline, b"\r\n"):
                if not line:
                    return
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            self._messages.put(json.loads(pipe.read(length)))
