"""The real `rulesproxy run`: ready file, rules, addons, options, signals, exit codes."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support import pki
from tests.support.client import RawClient
from tests.support.command import Command, run_command, start
from tests.support.origin import LIMIT, Origin, OriginConnection, answer, script
from tests.support.running import get
from tests.support.wire import Request

pytestmark = pytest.mark.e2e

RULES = """
version: 1
rules:
  - id: WORD
    match: path == "/WORD"
    block:
"""

ADDON = """
from rulesproxy import HTTPResponse, ctx


class Teapot:
    def load(self, entry):
        entry.add_option("teapot_word", str, "tea", "what the teapot says")

    def request(self, flow):
        if flow.request.path == "/teapot":
            flow.response = HTTPResponse.make(418, ctx.options.teapot_word.encode())
        if flow.request.path == "/raise":
            raise RuntimeError("it broke")


addons = [Teapot()]
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES.replace("WORD", "one"))
    return path


@pytest.fixture
def addon(tmp_path: Path) -> Path:
    path = tmp_path / "teapot.py"
    path.write_text(ADDON)
    return path


async def status(proxy: Command, url: str) -> int:
    """The status of one request on a connection of its own."""
    async with await RawClient.connect(proxy.port) as client:
        return (await client.request(get(url, "Connection: close"))).status


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so."""
    async with asyncio.timeout(LIMIT):
        while not await check():  # noqa: ASYNC110  (there is nothing to wait on: another process decides)
            await asyncio.sleep(0.05)


async def test_it_runs_rules(rules: Path) -> None:
    async with Origin() as origin, run_command(rules) as proxy:
        assert proxy.ready["pid"] == proxy.process.pid
        assert proxy.ready["revision"] == 1
        assert [listener["mode"] for listener in proxy.listeners] == ["regular"]
        assert "PRIVATE" not in proxy.ca_path.read_text()
        assert await status(proxy, f"{origin.url}/x") == 200
        assert await status(proxy, f"{origin.url}/one") == 403
        assert [request.target for request in origin.requests] == ["/x"]
    assert f"listening on http://127.0.0.1:{proxy.port}" in proxy.log


async def test_https(rules: Path) -> None:
    async with Origin(tls="good") as origin, run_command(rules, "--upstream-ca", pki.ca_file()) as proxy:
        for path, expected in (("/x", 200), ("/one", 403)):
            async with await RawClient.connect(proxy.port) as client:
                await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
                request = f"GET {path} HTTP/1.1\r\nHost: localhost:{origin.port}\r\nConnection: close\r\n\r\n"
                assert (await client.request(request.encode())).status == expected


async def test_reverse_mode(rules: Path) -> None:
    async with Origin() as origin, run_command(rules, "--mode", f"reverse:{origin.url}") as proxy:
        assert proxy.listeners[0]["mode"] == "reverse"
        async with await RawClient.connect(proxy.port) as client:
            assert (await client.request(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")).body == b"GET /x HTTP/1.1"
            assert (await client.request(b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n")).status == 403


async def test_two_listeners(rules: Path) -> None:
    async with Origin() as origin:
        modes = ["--mode", "regular", "--mode", f"reverse:{origin.url}", "--listen", "127.0.0.1:0"]
        async with run_command(rules, *modes) as proxy:
            assert [listener["mode"] for listener in proxy.listeners] == ["regular", "reverse"]
            assert await status(proxy, f"{origin.url}/x") == 200
            async with await RawClient.connect(int(str(proxy.listeners[1]["port"]))) as client:
                assert (await client.request(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200


async def test_an_addon_and_its_option(addon: Path) -> None:
    async with Origin() as origin, run_command("--addon", addon, "--set", "teapot_word=coffee") as proxy:
        async with await RawClient.connect(proxy.port) as client:
            response = await client.request(get(f"{origin.url}/teapot"))
            assert (response.status, response.body) == (418, b"coffee")
            assert (await client.request(get(f"{origin.url}/raise"))).status == 200
        await proxy.wait_log("it broke")
        line = next(line for line in proxy.log.splitlines() if "it broke" in line)
        assert "teapot.py" in line, "the place is named"
        assert "request" in line


async def test_hot_reload(rules: Path) -> None:
    async with Origin() as origin, run_command(rules) as proxy:
        assert await status(proxy, f"{origin.url}/one") == 403
        rules.write_text(RULES.replace("WORD", "two"))

        async def reloaded() -> bool:
            return await status(proxy, f"{origin.url}/two") == 403

        await eventually(reloaded)
        assert await status(proxy, f"{origin.url}/one") == 200
        rules.write_text("version: 1\nrules:\n  - id: bad\n    mach: x\n")
        await proxy.wait_log("did you mean `match`?")
        assert await status(proxy, f"{origin.url}/two") == 403, "the last good rules stay"
        rules.write_text(RULES.replace("WORD", "three"))

        async def again() -> bool:
            return await status(proxy, f"{origin.url}/three") == 403

        await eventually(again)


async def test_rules_that_vanish_and_come_back(rules: Path) -> None:
    async with Origin() as origin, run_command(rules) as proxy:
        rules.unlink()
        proxy.process.send_signal(signal.SIGHUP)
        await proxy.wait_log("rules.yaml")
        assert await status(proxy, f"{origin.url}/one") == 403
        rules.write_text(RULES.replace("WORD", "two"))

        async def reloaded() -> bool:
            return await status(proxy, f"{origin.url}/two") == 403

        await eventually(reloaded)


async def test_sighup_storm(rules: Path) -> None:
    async with Origin() as origin, run_command(rules) as proxy:
        for _ in range(50):
            proxy.process.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.005)
        assert await status(proxy, f"{origin.url}/one") == 403


async def test_sigint(rules: Path) -> None:
    async with run_command(rules, code=130) as proxy:
        proxy.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(LIMIT):
            await proxy.process.wait()


async def test_sigterm_lets_flows_finish(rules: Path) -> None:
    async def later(connection: OriginConnection) -> None:
        await connection.read_request()
        await asyncio.sleep(0.5)
        connection.send(answer(200, b"done"))

    async with Origin(later) as origin, run_command(rules) as proxy, await RawClient.connect(proxy.port) as client:
        early = await RawClient.connect(proxy.port)  # Browsers connect in advance: no reason to wait either.
        client.send(get(f"{origin.url}/x"))
        await origin.wait_received(b"\r\n\r\n")
        proxy.process.send_signal(signal.SIGTERM)
        assert (await client.read_response()).body == b"done"
        async with asyncio.timeout(3):  # The client is idle now, and no reason to wait for the grace.
            await proxy.process.wait()
        assert await early.read_to_end() == b""


async def test_sigterm_under_load(rules: Path) -> None:
    async with Origin(script("request", "stall")) as origin:
        async with run_command(rules, "--set", "shutdown_grace=0.5") as proxy:
            clients = [await RawClient.connect(proxy.port) for _ in range(20)]
            for client in clients:
                client.send(get(f"{origin.url}/x"))
            await origin.wait_connections(20)
            proxy.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(5):
                await proxy.process.wait()
            for client in clients:
                await client.close()


async def test_a_second_signal_ends_it_now(rules: Path) -> None:
    async with Origin(script("request", "stall")) as origin:
        async with run_command(rules, "--set", "shutdown_grace=600", code=143) as proxy:
            async with await RawClient.connect(proxy.port) as client:
                client.send(get(f"{origin.url}/x"))
                await origin.wait_connections(1)
                proxy.process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(LIMIT):
                    # It accepts nobody any more: the first signal is being obeyed.
                    while await _accepts(proxy.port):
                        pass
                proxy.process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(LIMIT):
                    await proxy.process.wait()


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return False
    writer.close()
    return True


async def test_done_is_the_last_that_addons_see(rules: Path, tmp_path: Path) -> None:
    """Also where a flow had to be ended with the grace: its `error` comes first."""
    addon, seen = tmp_path / "addon.py", tmp_path / "seen"
    lines = [f"def {event}(*_):\n    open({str(seen)!r}, 'a').write('{event} ')\n"
             for event in ("requestheaders", "error", "clientdisconnect", "done")]  # fmt: skip
    addon.write_text("\n".join(lines))
    async with Origin(script("request", "stall")) as origin:
        async with run_command(rules, "--addon", addon, "--set", "shutdown_grace=0.2") as proxy:
            async with await RawClient.connect(proxy.port) as client:
                client.send(get(f"{origin.url}/x"))
                await origin.wait_connections(1)
                proxy.process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(LIMIT):
                    await proxy.process.wait()
    assert seen.read_text() == "requestheaders error clientdisconnect done "


async def test_sighup_while_it_starts(rules: Path, tmp_path: Path) -> None:
    """It is the wish for a reload from the beginning, never the end of the process."""
    addon = tmp_path / "addon.py"
    addon.write_text(
        "import os, signal\n\ndef load(entry):\n    os.kill(os.getpid(), signal.SIGHUP)\n\ndef done():\n    pass\n"
    )
    async with Origin() as origin, run_command(rules, "--addon", addon) as proxy:
        assert await status(proxy, f"{origin.url}/one") == 403


# What it refuses to start with


async def ended(*arguments: str | Path, home: Path, **environment: str) -> tuple[int, str]:
    """The exit status of a run that ends by itself, and what it said."""
    listening = [] if "--listen" in arguments else ["--listen", "127.0.0.1:0"]
    process = await start(*arguments, *listening, home=home, environment=environment)
    async with asyncio.timeout(2 * LIMIT):
        try:
            _, stderr = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode is not None
    said = stderr.decode()
    assert "Traceback" not in said, said
    return process.returncode, said


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["RULES", "--set", "limits_bodi=1"], 2, "limits_body"),
        (["RULES", "--set", "limits_body=many"], 2, "limits_body"),
        (["RULES", "--intercept", "some"], 2, "auto"),
        (["RULES", "--mode", "sideways"], 2, "sideways"),
        (["RULES", "--mode", "reverse:ftp://nowhere"], 2, "nowhere"),
        (["RULES", "--listen", "127.0.0.1:99999"], 2, "99999"),
        (["RULES", "--listen", "0.0.0.0:0"], 2, "--allow-public"),
        (["RULES", "--listen", "here"], 2, "cannot listen on 'here': it has no port"),
        (["RULES", "--listen", "127.0.0.1:0", "--ready-file", "nowhere/x.json"], 2, "ready file nowhere/x.json"),
        (["RULES", "--listen", "127.0.0.1:TAKEN"], 3, "TAKEN"),
        (["RULES", "--addon", "nothing.py"], 2, "nothing.py"),
        (["RULES", "--addon", "BROKEN"], 2, "broken.py"),
        (["RULES", "--upstream-ca", "nothing.pem"], 2, "nothing.pem"),
        (["nothing.yaml"], 2, "nothing.yaml"),
        (["BAD"], 1, "did you mean `match`?"),
        ([], 2, "rules.yaml"),
    ],
)
async def test_it_refuses(
    arguments: list[str], code: int, says: str, rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.yaml").write_text("version: 1\nrules:\n  - id: bad\n    mach: x\n")
    (tmp_path / "broken.py").write_text("def request(flow:\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = {
            "RULES": str(rules),
            "BAD": str(tmp_path / "bad.yaml"),
            "BROKEN": str(tmp_path / "broken.py"),
            "TAKEN": str(taken.getsockname()[1]),
        }
        for word, value in words.items():
            arguments = [argument.replace(word, value) for argument in arguments]
            says = says.replace(word, value)
        got, said = await ended(*arguments, home=tmp_path / "home")
    assert says in said
    assert got == code, said


async def test_a_ca_key_that_others_can_read(rules: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with run_command(rules, home=home) as proxy:
        folder = proxy.ca_path.parent
    keys = [path for path in folder.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert len(keys) == 1
    assert keys[0].stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    keys[0].chmod(0o644)
    code, said = await ended(rules, "--listen", "127.0.0.1:0", home=home)
    assert code != 0
    assert str(keys[0]) in said


async def test_two_at_once_share_one_new_ca(rules: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with run_command(rules, home=home) as one, run_command(rules, home=home) as two:
        assert one.ca_path.read_bytes() == two.ca_path.read_bytes()


def _fields(request: Request) -> bytes:
    return b"".join(b"%b: %b\r\n" % field for field in request.fields)


async def test_the_project_file_gives_options_and_addons(tmp_path: Path) -> None:
    (tmp_path / "first.py").write_text("def requestheaders(flow):\n    flow.request.headers['x-order'] = 'addon'\n")
    (tmp_path / "rulesproxy.yaml").write_text(
        "version: 1\noptions: {limits: {target: 200}}\naddons: [first.py, rules]\nrules:\n"
        "  - match: request.header['x-order'] == 'addon'\n    rewrite: {request: {headers: {x-order: [addon, rule]}}}\n"
    )
    async with (
        Origin.http(lambda request: answer(200, _fields(request))) as origin,
        run_command(folder=tmp_path) as proxy,
        await RawClient.connect(proxy.port) as client,
    ):
        response = await client.request(get(origin.url + "/"))
        assert b"x-order: addon\r\nx-order: rule\r\n" in response.body
        assert (await client.request(get(origin.url + "/" + "x" * 300))).status == 414


async def test_a_pattern_that_gains_a_file_is_loaded_again(tmp_path: Path) -> None:
    (tmp_path / "rules.d").mkdir()
    (tmp_path / "rules.yaml").write_text(
        "version: 1\nvars: {status: '451'}\nprofiles: {soft: {vars: {status: '404'}}}\nrules:\n"
        "  - include: rules.d/*.yaml\n  - match: host == 'a.test'\n    block: ${vars.status}\n"
    )
    async with (
        run_command("--profile", "soft", folder=tmp_path) as proxy,
        await RawClient.connect(proxy.port) as client,
    ):
        assert (await client.request(get("http://a.test/"))).status == 404
        new = tmp_path / "rules.d" / "new.yaml"
        new.write_text("version: 1\nrules:\n  - match: host == 'a.test'\n    block: 410\n")
        await proxy.wait_log("rev 2: +1")
        assert (await client.request(get("http://a.test/"))).status == 410
        new.unlink()
        await proxy.wait_log("rev 3: +0 ~0 -1")
        assert (await client.request(get("http://a.test/"))).status == 404


async def test_an_unknown_option_of_the_project_file_is_shown_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "rulesproxy.yaml").write_text("version: 1\noptions:\n  intercpt: all\nrules: []\n")
    process = await start("--listen", "127.0.0.1:0", home=tmp_path / "home", cwd=tmp_path)
    _, said = await asyncio.wait_for(process.communicate(), LIMIT)
    assert process.returncode == 1
    assert b"error[RP113]: no option `intercpt`\n" in said
    assert b"--> rulesproxy.yaml:3:3\n" in said


async def test_a_reload_closes_the_idle_tunnels_of_hosts_that_it_wants(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    text = "version: 1\nrules:\n  - id: it\n    match: host == 'HOST' and path == '/x'\n    block:\n"
    rules.write_text(text.replace("HOST", "other.test"))
    async with Origin(tls="good") as origin, run_command(rules) as proxy, await RawClient.connect(proxy.port) as client:
        await client.tunnel(f"localhost:{origin.port}", None)
        request = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert (await client.request(request)).status == 200
        rules.write_text(text.replace("HOST", "localhost"))
        await proxy.wait_log("idle tunnels were closed, since the rules are about their hosts now: localhost")
        assert await client.read_to_end() == b""
        async with await RawClient.connect(proxy.port) as again:
            await again.tunnel(f"localhost:{origin.port}", proxy.ca_path)
            assert (await again.request(request)).status == 403
        assert "tunnel to" not in proxy.log


async def test_modes_with_addresses_and_a_password(rules: Path) -> None:
    token = "Proxy-Authorization: Basic am9lOnNlY3JldA=="
    modes = ["--mode", "regular@127.0.0.1:0", "--mode", "socks5@127.0.0.1:0"]
    async with Origin() as origin:
        proxied = run_command(rules, *modes, listen=None, environment={"RULESPROXY_AUTH": "joe:secret"})
        async with proxied as proxy:
            assert [listener["mode"] for listener in proxy.listeners] == ["regular", "socks5"]
            async with await RawClient.connect(proxy.port) as client:
                assert (await client.request(get(f"{origin.url}/one"))).status == 407
                assert (await client.request(get(f"{origin.url}/one", token))).status == 403
                assert (await client.request(get(f"{origin.url}/x", token))).status == 200
            await proxy.wait_log("listening on socks5://127.0.0.1:")
        assert "secret" not in proxy.log


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--mode", "sock5"], "did you mean `socks5`?"),
        (["--mode", "upstream:http://joe:secret@proxy.test/x"], "a proxy is scheme, host and port alone"),
        (["--mode", "regular", "--mode", "socks5", "--listen", "1"], "give one --listen for each --mode"),
        (["--mode", "socks5@0.0.0.0:0"], "say --auth user:password or --allow-public"),
        (["--mode", "regular@127.0.0.1:0", "--auth", "joe"], "write user:password"),
    ],
)
async def test_a_mode_that_cannot_be(rules: Path, arguments: list[str], said: str, tmp_path: Path) -> None:
    process = await start(rules, *arguments, home=tmp_path / "home", cwd=tmp_path)
    assert process.stderr is not None
    async with asyncio.timeout(2 * LIMIT):
        stderr = (await process.stderr.read()).decode()
        assert await process.wait() == 2
    assert said in stderr
    assert "secret" not in stderr
    assert "Traceback" not in stderr
