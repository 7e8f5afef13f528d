"""A real browser through the proxy: it trusts our CA, and loads an HTTPS page that a rule has changed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rulesproxy.proto.websocket import Deflate
from tests.support import pki
from tests.support.command import Command, run_command
from tests.support.origin import Origin, OriginConnection, answer
from tests.support.programs import Ran, needs, run
from tests.support.websocket import Peer, accept
from tests.support.wire import Request

PAGE = b"<!doctype html><title>from the origin</title><p id=who>origin</p><script src=/app.js></script>"
SCRIPT = b"document.body.append('script of the origin')"

RULES = """
version: 1
rules:
  - id: page
    match: path == "/" and response.header["content-type"] contains "html"
    rewrite:
      response:
        headers:
          x-edited: "yes"
        body:
          replace:
            - text: <p id=who>origin</p>
              with: <p id=who>a rule</p>
  - id: script
    match: path == "/app.js"
    map-local: app.js
"""


def _origin(request: Request) -> bytes:
    if request.target == "/":
        return answer(200, PAGE, [("Content-Type", "text/html; charset=utf-8")])
    return answer(200, SCRIPT, [("Content-Type", "text/javascript")])


@pytest.mark.e2e
@needs("chromium", "certutil")
async def test_chromium_loads_a_page_that_a_rule_changed(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    (tmp_path / "app.js").write_text("document.body.append('script of a rule')")
    async with (
        Origin.http(_origin, tls="good") as origin,
        run_command(rules, "--upstream-ca", pki.ca_file()) as proxy,
    ):
        page = await browse(tmp_path, proxy, f"{origin.url}/")
        dom = page.out.decode()
        assert '<p id="who">a rule</p>' in dom, f"{dom}\n{page.err[-2000:]}\n{proxy.log}"
        assert "script of a rule" in dom
        assert "does not trust" not in proxy.log
        # The page came through the proxy, and the script never asked the origin.
        targets = [request.target for request in origin.requests]
        assert "/" in targets
        assert "/app.js" not in targets


TALK = b"""<!doctype html><title>talk</title><p id=log></p><script>
const say = text => { document.getElementById("log").textContent += text + "; " }
const socket = new WebSocket("wss://" + location.host + "/ws")
socket.onopen = () => socket.send("the price, please ".repeat(20))
socket.onmessage = event => { say(event.data); socket.send("thanks for " + event.data) }
socket.onclose = event => { say("closed " + event.code + " " + event.reason + " " + event.wasClean); fetch("/closed") }
</script><script src=/wait></script>"""
ADDON = """
def websocket_start(flow):
    flow.inject(True, "hello from an addon")

def websocket_message(flow):
    message = flow.messages[-1]
    if message.content.startswith("price"):
        message.content = message.content.replace("10", "99")
    if message.content == "price 99 " * 20 and not message.from_client:
        flow.close(4001, "enough")
"""


@pytest.mark.e2e
@needs("chromium", "certutil")
async def test_chromium_talks_over_a_websocket_that_an_addon_changes(tmp_path: Path) -> None:
    heard: list[object] = []
    closed = asyncio.Event()

    async def talk(peer: Peer) -> None:
        while (said := await peer.receive()) is not None:
            heard.append(said)
            if said == "the price, please " * 20:
                peer.send("price 10 " * 30, compressed=True)
            elif said == "thanks for " + "price 99 " * 30:
                peer.send("price 10 " * 20, compressed=True)

    async def script(connection: OriginConnection) -> None:
        while (request := await connection.read_request()) is not None:
            if request.target == "/ws":
                connection.raw()
                extension = "Sec-WebSocket-Extensions: permessage-deflate"
                connection.send(accept(extension, key=request.get("sec-websocket-key") or ""))
                await talk(Peer(connection, Deflate()))
                return
            if request.target == "/closed":
                closed.set()
            elif request.target == "/wait":
                # The time of the page stands still while something loads, but its WebSocket goes on.
                await closed.wait()
            connection.send(answer(200, TALK if request.target == "/" else b"", [("Content-Type", "text/html")]))

    (tmp_path / "addon.py").write_text(ADDON)
    (tmp_path / "rules.yaml").write_text("version: 1\nrules: []\n")
    async with (
        Origin(script, tls="good") as origin,
        run_command(tmp_path / "rules.yaml", "--addon", tmp_path / "addon.py", "--upstream-ca", pki.ca_file()) as proxy,
    ):
        page = await browse(tmp_path, proxy, f"{origin.url}/")
        dom = page.out.decode()
        said = ["hello from an addon", "price 99 " * 30, "price 99 " * 20, "closed 4001 enough true"]
        assert "; ".join(said) in dom, f"{dom}\n{page.err[-2000:]}\n{proxy.log}\n{heard}"
        assert "-> websocket 4001 by the proxy" in proxy.log
    assert heard[:3] == [
        "the price, please " * 20,
        "thanks for hello from an addon",
        "thanks for " + "price 99 " * 30,
    ] or (heard[:3] == ["thanks for hello from an addon", "the price, please " * 20, "thanks for " + "price 99 " * 30])


async def browse(folder: Path, proxy: Command, url: str) -> Ran:
    """Load a page in Chromium through the proxy, whose authority it trusts; the page as it is then."""
    profile = folder / "home"
    database = profile / ".pki" / "nssdb"
    database.mkdir(parents=True)
    for arguments in (
        ["-N", "--empty-password"],
        ["-A", "-t", "C,,", "-n", "rulesproxy", "-i", proxy.ca_path],
    ):
        made = await run("certutil", "-d", f"sql:{database}", *arguments)
        assert made.code == 0, made.err
    return await run(
        "env",
        f"HOME={profile}",
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={folder / 'chromium'}",
        f"--proxy-server={proxy.url}",
        "--proxy-bypass-list=<-loopback>",
        "--virtual-time-budget=5000",
        "--dump-dom",
        url,
        timeout=90,
    )
