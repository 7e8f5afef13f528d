"""The real `rulesproxy run --control`, as a process of its own, and what tests ask its control API."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.client import RawClient
from tests.support.command import ROOT, Command, run_command
from tests.support.origin import LIMIT
from tests.support.running import get

RULES = """version: 1
rules:
  - id: one
    match: path == "/one"
    block: 451
  - id: counts
    match: path == "/count"
    respond: {body: "${counter}"}
    log: asked for ${path}
"""
ADDON = """
import asyncio
from rulesproxy import command, ctx

class Addon:
    def load(self, entry):
        entry.add_option("word", str, "tea", "a word")

    @command("words.say")
    def say(self, times: int = 1) -> str:
        "Say it."
        return " ".join([ctx.options.word] * times)

    @command("words.fail")
    async def fail(self) -> None:
        raise RuntimeError("it broke")

    @command("words.hang")
    async def hang(self) -> None:
        await asyncio.Event().wait()

    @command("words.odd")
    def odd(self) -> object:
        "What JSON has no word for."
        return [float("nan"), "\\ud800"]

addons = [Addon()]
"""


class Running:
    """A proxy with a control API."""

    def __init__(self, proxy: Command, rules: Path) -> None:
        self.proxy, self.rules = proxy, rules
        control: Any = proxy.ready["control"]
        self.url, self.file = str(control["url"]), Path(str(control["file"]))
        self.token = json.loads(self.file.read_text())["token"]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """One request with the token, unless a header says otherwise."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        fields = {"Host": f"127.0.0.1:{self.port}", "Authorization": f"Bearer {self.token}", **headers}
        head = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
        async with await RawClient.connect(self.port) as client:
            client.send(f"{method} {path} HTTP/1.1\r\n{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
            response = await client.read_response(method)
        text = response.body.decode()
        return response.status, json.loads(text) if "json" in (response.get("content-type") or "") else text

    async def status(self, target: str) -> int:
        """The status that a client of the proxy gets."""
        async with await RawClient.connect(self.proxy.port) as client:
            return (await client.request(get(f"http://a.test{target}", "Connection: close"))).status

    async def ctl(self, *arguments: str, stdin: str = "") -> tuple[int, str]:
        """What `rulesproxy ctl` prints, and its exit code."""
        environment = {**os.environ, "RULESPROXY_HOME": str(self.proxy.home), "PYTHONPATH": str(ROOT)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "rulesproxy", "ctl", *arguments, env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(2 * LIMIT):
            out, _ = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return process.returncode, out.decode()


@asynccontextmanager
async def controlled(
    tmp_path: Path, *arguments: str, control: str = "127.0.0.1:0", profiles: str = ""
) -> AsyncIterator[Running]:
    """The real command with two rules, an addon and `--control`."""
    rules, addon = tmp_path / "rules.yaml", tmp_path / "words.py"
    rules.write_text(RULES + (f"profiles:\n  {profiles}\n" if profiles else ""))
    addon.write_text(ADDON)
    async with run_command(rules, "--addon", addon, "--control", control, *arguments) as proxy:
        yield Running(proxy, rules)
