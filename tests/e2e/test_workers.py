"""`run --workers N`: real processes that serve one address, and what becomes of them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import RawClient
from tests.support.command import Command, run_command, start
from tests.support.origin import LIMIT, Origin, answer
from tests.support.running import get

pytestmark = pytest.mark.e2e

RULES = """version: 1
rules:
  - id: word
    match: path == "/one"
    block: 451
"""
TWO = RULES.replace("/one", "/two")
BROKEN = RULES.replace("block", "blok")
ADDON = """
import os
import signal
from pathlib import Path

from rulesproxy import HTTPResponse, OptionsError, ctx

MARKS = Path(__file__).parent
VERSION = 1


class Addon:
    def load(self, entry):
        entry.add_option("word", str, "tea", "a word")

    def configure(self, updated):
        if "rules" in updated:
            if (MARKS / f"refuse-{os.getpid()}").exists():
                raise OptionsError("not these")
            if (MARKS / f"die-{os.getpid()}").exists():
                os.kill(os.getpid(), signal.SIGKILL)

    def request(self, flow):
        text = {"/pid": os.getpid(), "/word": ctx.options.word, "/version": VERSION}.get(flow.request.path)
        if text is not None:
            flow.response = HTTPResponse.make(200, str(text).encode())
        if flow.request.path == "/shutdown":
            ctx.shutdown()


addons = [Addon()]
"""
HELPER = """
import os
import signal
from pathlib import Path

if (Path(__file__).parent / f"die-{os.getpid()}").exists():
    os.kill(os.getpid(), signal.SIGKILL)


def sign(flow):
    flow.request.headers["x-signed"] = "VERSION"
"""


class Crew:
    """Workers, and a connection to each of them.

    Attributes:
        command: the supervisor.
        folder: where its rules and its addon are.
        workers: a client for each worker, by process id.
    """

    def __init__(self, command: Command, folder: Path, origin: str) -> None:
        self.command, self.folder, self.origin = command, folder, origin
        self.workers: dict[int, RawClient] = {}
        self._clients = AsyncExitStack()

    @property
    def rules(self) -> Path:
        return self.folder / "rules.yaml"

    async def meet(self, count: int = 2) -> None:
        """Connect until so many workers are known."""
        async with asyncio.timeout(LIMIT):
            while len(self.workers) < count:
                client = await self._clients.enter_async_context(await RawClient.connect(self.command.port))
                pid = int((await client.request(get(f"{self.origin}/pid"))).body)
                self.workers.setdefault(pid, client)

    async def meet_again(self) -> None:
        """Forget them, and connect anew."""
        await self.leave()
        await self.meet()

    async def leave(self) -> None:
        """Close all connections."""
        await self._clients.aclose()
        self.workers.clear()

    async def statuses(self, path: str) -> list[int]:
        """What each worker answers."""
        return [(await client.request(get(self.origin + path))).status for client in self.workers.values()]

    async def bodies(self, path: str) -> list[str]:
        """The same for bodies."""
        return [(await client.request(get(self.origin + path))).body.decode() for client in self.workers.values()]

    async def until(self, path: str, body: str) -> None:
        """Wait until all of them answer so."""
        async with asyncio.timeout(LIMIT):
            while set(await self.bodies(path)) != {body}:  # noqa: ASYNC110  (each of them takes its time)
                await asyncio.sleep(0.05)

    async def save(self, text: str, says: str) -> None:
        """Save the rules, and wait for what is said about them."""
        self.rules.write_text(text)
        await self.command.wait_log(says)


@asynccontextmanager
async def crew(
    folder: Path, *arguments: str | Path, rules: str = RULES, code: int = 0, within: Path | None = None
) -> AsyncIterator[Crew]:
    """Two workers with an addon, before an origin that answers 200. They run `within` a folder."""
    (folder / "rules.yaml").write_text(rules)
    (folder / "addon.py").write_text(ADDON)
    more = ["--addon", folder / "addon.py", "--workers", "2", *arguments]
    async with (
        Origin.http(answer()) as origin,
        run_command(folder / "rules.yaml", *more, code=code, folder=within) as command,
    ):
        found = Crew(command, folder, origin.url)
        await found.meet()
        try:
            yield found
        finally:
            await found.leave()


def lives(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until_gone(*pids: int) -> None:
    """Wait for the end of processes that are not our children."""
    async with asyncio.timeout(LIMIT):
        while any(map(lives, pids)):  # noqa: ASYNC110  (they tell nobody)
            await asyncio.sleep(0.02)


async def test_they_share_an_address(tmp_path: Path) -> None:
    async with crew(tmp_path) as it:
        ready = it.command.ready
        assert ready["pid"] == it.command.process.pid
        assert ready["pid"] not in it.workers
        assert await it.statuses("/one") == [451, 451]
        assert await it.statuses("/x") == [200, 200]
        assert it.command.ca_path.exists()
        pids = list(it.workers)
        assert it.command.log.count("a certificate authority was made") == 1
        assert it.command.log.count("1 rule from") == 1
    assert not any(map(lives, pids)), "they end with the supervisor"


async def test_a_reload_reaches_all_of_them(tmp_path: Path) -> None:
    async with crew(tmp_path) as it:
        await it.save(TWO, "rev 2: +0 ~1 -0 rules")
        assert (await it.statuses("/one"), await it.statuses("/two")) == ([200, 200], [451, 451])
        await it.save(BROKEN, "the last good ones stay in force")
        assert await it.statuses("/two") == [451, 451]
        assert it.command.log.count("did you mean `block`?") == 1, "it is said once"
        await it.save(RULES, "rev 3:")
        assert await it.statuses("/one") == [451, 451]
        it.command.process.send_signal(signal.SIGHUP)
        await it.command.wait_log("rev 4: +0 ~0 -0 rules")
        assert await it.statuses("/one") == [451, 451]


async def test_rules_that_several_cannot_serve_by(tmp_path: Path) -> None:
    async with crew(tmp_path) as it:
        await it.save(TWO.replace("    block", "    times: 1\n    block"), "error[RP850]: `times` counts flows")
        await it.command.wait_log("the last good ones stay in force")
        assert await it.statuses("/one") == [451, 451]
    (tmp_path / "rules.yaml").write_text(RULES.replace("    block", "    times: 1\n    block"))
    process = await start(tmp_path / "rules.yaml", "--workers", "2", "--listen", "127.0.0.1:0", home=tmp_path / "home")
    _, said = await process.communicate()
    assert process.returncode == 1
    assert b"rules.yaml:5:5" in said


@pytest.mark.parametrize("who", [0, 1])
async def test_one_that_refuses_keeps_all_on_the_old_rules(tmp_path: Path, who: int) -> None:
    async with crew(tmp_path) as it:
        mark = tmp_path / f"refuse-{sorted(it.workers)[who]}"
        mark.touch()
        await it.save(TWO, "the new rules are refused, the last good ones stay in force: worker")
        assert "addon Addon: not these" in it.command.log
        assert (await it.statuses("/one"), await it.statuses("/two")) == ([451, 451], [200, 200])
        mark.unlink()
        await it.save(TWO + "  # again\n", "rev 2:")
        assert (await it.statuses("/one"), await it.statuses("/two")) == ([200, 200], [451, 451])


async def test_one_that_dies_while_it_swaps(tmp_path: Path) -> None:
    async with crew(tmp_path) as it:
        dying = min(it.workers)
        (tmp_path / f"die-{dying}").touch()
        await it.save(TWO, "rev 2:")
        await it.command.wait_log(f"(process {dying}) was killed by signal 9: another one takes its place")
        await it.command.wait_log("is process")
        await it.meet_again()
        assert dying not in it.workers
        assert await it.statuses("/two") == [451, 451]


async def test_one_that_dies_while_it_compiles(tmp_path: Path) -> None:
    helper = tmp_path / "helper.py"
    helper.write_text(HELPER.replace("VERSION", "1"))
    rules = RULES + "  - match: path == '/x'\n    run: helper.py:sign\n"
    async with crew(tmp_path, rules=rules) as it:
        dying = max(it.workers)
        (tmp_path / f"die-{dying}").touch()
        helper.write_text(HELPER.replace("VERSION", "2"))
        await it.command.wait_log("rev 2:")
        await it.command.wait_log("is process")
        await it.meet_again()
        assert dying not in it.workers
        assert await it.statuses("/x") == [200, 200]


async def test_a_new_one_begins_with_what_the_others_have(tmp_path: Path) -> None:
    async with crew(tmp_path) as it:
        await it.save(TWO, "rev 2:")
        await it.save(BROKEN, "the last good ones stay in force")
        it.rules.unlink()
        os.kill(min(it.workers), signal.SIGKILL)
        await it.command.wait_log("is process")
        await it.meet_again()
        assert await it.statuses("/two") == [451, 451]
        await it.save(RULES, "rev 3:")
        assert (await it.statuses("/one"), await it.statuses("/two")) == ([451, 451], [200, 200])


async def test_one_that_ends_by_term_is_replaced_too(tmp_path: Path) -> None:
    async with crew(tmp_path) as it:
        os.kill(min(it.workers), signal.SIGTERM)
        await it.command.wait_log("has ended with exit code 0: another one takes its place")
        await it.command.wait_log("is process")
        await it.meet_again()


async def test_one_that_cannot_come_back_leaves_its_clients_to_the_others(tmp_path: Path) -> None:
    async with crew(tmp_path) as it:
        addon = tmp_path / "addon.py"
        text = addon.read_text()
        addon.write_text("def request(flow: nonsense\n")
        await it.command.wait_log("what was loaded before goes on")
        dead = min(it.workers)
        os.kill(dead, signal.SIGKILL)
        await it.command.wait_log("cannot start: exit code 2; the others go on")
        await it.leave()
        await it.meet(1)
        (left,) = it.workers
        for _ in range(8):
            async with await RawClient.connect(it.command.port) as client:
                assert int((await client.request(get(f"{it.origin}/pid"))).body) == left
        addon.write_text(text)
        await it.command.wait_log("is process")
        await it.meet_again()


# Load


class Tally:
    """What the clients of a test have seen."""

    def __init__(self) -> None:
        self.answers = 0
        self.lost: list[int] = []
        self.changed = asyncio.Event()

    def answered(self) -> None:
        self.answers += 1
        self.changed.set()

    async def more(self, count: int) -> None:
        """Wait for so many more answers."""
        wanted = self.answers + count
        async with asyncio.timeout(3 * LIMIT):
            while self.answers < wanted:
                self.changed.clear()
                await self.changed.wait()


async def _ask(crew: Crew, over: asyncio.Event, tally: Tally) -> None:
    """Ask on one connection after the other. A connection must break only where its worker was killed."""
    request = get(f"{crew.origin}/load")
    while not over.is_set():
        reader, writer = await asyncio.open_connection("127.0.0.1", crew.command.port)
        try:
            writer.write(get(f"{crew.origin}/pid"))
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(re.search(rb"(?i)content-length: (\d+)", head)[1])  # type: ignore[index]
            pid = int(await reader.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            tally.lost.append(0)
            writer.close()
            continue
        try:
            while not over.is_set():
                writer.write(request)
                async with asyncio.timeout(LIMIT):
                    head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 "), head
                assert b"content-length: 0" in head.lower()
                tally.answered()
        except (asyncio.IncompleteReadError, ConnectionError):
            tally.lost.append(pid)
        writer.close()


async def test_kill_9_under_load_loses_only_what_was_in_flight_there(tmp_path: Path) -> None:
    clients = 24
    async with crew(tmp_path, "-q") as it:
        over, tally = asyncio.Event(), Tally()
        tasks = [asyncio.create_task(_ask(it, over, tally)) for _ in range(clients)]
        await tally.more(500)
        killed = min(it.workers)
        os.kill(killed, signal.SIGKILL)
        await until_gone(killed)
        await tally.more(3000)
        await it.meet_again()
        assert killed not in it.workers
        await tally.more(500)
        over.set()
        await asyncio.gather(*tasks)
        # Each client had one request in flight, or was being accepted: it lost one connection, and nobody else did.
        assert set(tally.lost) <= {killed, 0}
        assert 0 < len(tally.lost) < clients


# Signals and ends


async def test_flows_finish_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES + "  - match: path == '/slow'\n    delay: {response: 1s}\n")
    async with Origin.http(answer()) as origin, run_command(tmp_path / "rules.yaml", "--workers", "2") as command:
        async with await RawClient.connect(command.port) as client:
            client.send(get(f"{origin.url}/slow", "Connection: close"))
            async with asyncio.timeout(LIMIT):
                while not origin.requests:  # noqa: ASYNC110  (the origin tells nobody)
                    await asyncio.sleep(0.01)
            command.process.send_signal(signal.SIGTERM)
            assert (await client.read_response()).status == 200
            # Another signal would be a second one.
            await command.process.wait()


async def test_a_second_signal_waits_for_nobody(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES + "  - match: path == '/slow'\n    delay: {request: 60s}\n")
    more = ["--workers", "2", "--set", "shutdown_grace=60"]
    async with run_command(tmp_path / "rules.yaml", *more, code=130) as command:
        await command.wait_log("processes ")
        pids = [int(each) for each in command.log.partition("processes ")[2].split("\n")[0].split(", ")]
        async with await RawClient.connect(command.port) as client:
            client.send(get("http://a.test/slow"))
            assert await client.is_open()
            command.process.send_signal(signal.SIGINT)
            assert await client.is_open()
            assert command.process.returncode is None
            command.process.send_signal(signal.SIGINT)
            await command.process.wait()
            await until_gone(*pids)


async def test_they_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    async with crew(tmp_path, code=-9) as it:
        pids = list(it.workers)
        await it.leave()
        it.command.process.kill()
        await until_gone(*pids)


async def test_an_addon_ends_all(tmp_path: Path) -> None:
    async with crew(tmp_path) as it:
        await next(iter(it.workers.values())).request(get(f"{it.origin}/shutdown"))
        async with asyncio.timeout(LIMIT):
            assert await it.command.process.wait() == 0


# Addons and options


async def test_addons_are_loaded_again_everywhere(tmp_path: Path) -> None:
    async with crew(tmp_path) as it:
        assert await it.bodies("/version") == ["1", "1"]
        addon = tmp_path / "addon.py"
        addon.write_text(ADDON.replace("VERSION = 1", "VERSION = 2"))
        await it.until("/version", "2")


async def test_a_storm_of_signals_to_reload(tmp_path: Path) -> None:
    async with crew(tmp_path) as it:
        pids = set(it.workers)
        for _ in range(200):
            it.command.process.send_signal(signal.SIGHUP)
        await it.command.wait_log("rev 2:")
        (tmp_path / "addon.py").write_text(ADDON.replace("VERSION = 1", "VERSION = 2"))
        it.command.process.send_signal(signal.SIGHUP)
        await it.until("/version", "2")
        assert await it.statuses("/one") == [451, 451]
        assert set(it.workers) == pids
        assert it.command.log.count("rev ") < 100


async def test_options_of_the_project_file(tmp_path: Path) -> None:
    project = tmp_path / "rulesproxy.yaml"
    project.write_text("version: 1\noptions: {word: coffee}\nrules: []\n")
    (tmp_path / ".git").mkdir()
    async with crew(tmp_path, within=tmp_path) as it:
        assert await it.bodies("/word") == ["coffee", "coffee"]
        project.write_text("version: 1\noptions: {word: milk}\nrules: []\n")
        await it.until("/word", "milk")
        project.write_text("version: 1\noptions: {wort: water}\nrules: []\n")
        await it.command.wait_log("error[RP113]: no option `wort`")
        assert it.command.log.count("error[RP113]") == 1
        assert await it.bodies("/word") == ["milk", "milk"]
        os.kill(min(it.workers), signal.SIGKILL)
        await it.command.wait_log("is process")
        await it.meet_again()
        assert await it.bodies("/word") == ["milk", "milk"]


async def test_addons_of_the_project_file_are_in_the_workers_alone(tmp_path: Path) -> None:
    loaded = tmp_path / "loaded"
    (tmp_path / "mine.py").write_text(
        f"import os\nwith open({str(loaded)!r}, 'a') as file:\n    print(os.getpid(), file=file)\ndef done(): pass\n"
    )
    (tmp_path / "rulesproxy.yaml").write_text("version: 1\naddons: [mine.py]\nrules: []\n")
    (tmp_path / ".git").mkdir()
    async with crew(tmp_path, within=tmp_path) as it:
        assert sorted(map(int, loaded.read_text().split())) == sorted(it.workers)


# The control API


class Control:
    """The control API of a crew."""

    def __init__(self, crew: Crew) -> None:
        control: Any = crew.command.ready["control"]
        self.port = int(str(control["url"]).rpartition(":")[2])
        self._token = json.loads(Path(control["file"]).read_text())["token"]

    def request(self, method: str, path: str, body: object = None) -> bytes:
        """The bytes of a request."""
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nAuthorization: Bearer {self._token}\r\n"
        return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """The status and the answer of one request."""
        async with await RawClient.connect(self.port) as client:
            response = await client.request(self.request(method, path, body), method)
        text = response.body.decode()
        return response.status, json.loads(text) if "json" in (response.get("content-type") or "") else text


async def test_the_control_api_is_that_of_all(tmp_path: Path) -> None:
    async with crew(tmp_path, "--control", "127.0.0.1:0") as it:
        control = Control(it)
        assert await it.statuses("/one") == [451, 451]
        status, state = await control.ask("GET", "/status")
        assert (status, state["workers"], state["revision"], state["error"]) == (200, 2, 1, None)
        assert state["rules"] == [{"name": "word", "enabled": True, "hits": 2}]
        assert state["connections"] >= 2
        requests = int(
            re.search(r"^rulesproxy_requests_total (\d+)$", (await control.ask("GET", "/metrics"))[1], re.M)[1]
        )  # type: ignore[index]
        assert requests >= 4

        assert (await control.ask("PATCH", "/rules/word", {"enabled": False}))[1]["revision"] == 2
        assert await it.statuses("/one") == [200, 200]
        assert (await control.ask("PATCH", "/rules/nothing", {"enabled": False}))[0] == 404
        it.rules.write_text(TWO)
        assert (await control.ask("POST", "/reload"))[1]["ok"] is True
        assert await it.statuses("/two") == [200, 200], "it stays off"
        killed = min(it.workers)
        os.kill(killed, signal.SIGKILL)
        await it.command.wait_log("is process")
        await it.meet_again()
        assert await it.statuses("/two") == [200, 200], "also in a new worker"
        assert (await control.ask("PATCH", "/rules/word", {"enabled": True}))[0] == 200
        assert await it.statuses("/two") == [451, 451]
        _, state = await control.ask("GET", "/status")
        assert state["rules"][0]["hits"] == 4, "what the dead one has counted stays"

        it.rules.write_text(BROKEN)
        status, answer = await control.ask("POST", "/reload")
        assert (status, answer["ok"], answer["error"][0]["code"]) == (422, False, "RP101")
        times = TWO.replace("    block", "    times: 1\n    block")
        async with await RawClient.connect(control.port) as client:
            head, _, _ = control.request("POST", "/check").partition(b"Content-Length")
            response = await client.request(head + b"Content-Length: %d\r\n\r\n%b" % (len(times), times.encode()))
        assert json.loads(response.body)["diagnostics"][0]["code"] == "RP850"


async def test_options_at_run_time_are_those_of_all(tmp_path: Path) -> None:
    async with crew(tmp_path, "--control", "0") as it:
        control = Control(it)
        status, options = await control.ask("PATCH", "/options", {"word": "milk"})
        assert (status, options["word"]["value"], options["word"]["source"]) == (200, "milk", "run time")
        assert await it.bodies("/word") == ["milk", "milk"]
        assert (await control.ask("PATCH", "/options", {"word": "water", "wort": 1}))[0] == 422
        assert await it.bodies("/word") == ["milk", "milk"]
        os.kill(max(it.workers), signal.SIGKILL)
        await it.command.wait_log("is process")
        await it.meet_again()
        assert await it.bodies("/word") == ["milk", "milk"]
        for client in it.workers.values():
            response = await client.request(get(f"http://127.0.0.1:{control.port}/status", "Connection: close"))
            assert response.status == 502, "no way to it through the proxy"
        assert (await control.ask("GET", "/commands"))[0] == 501


async def test_what_passes_in_all_of_them(tmp_path: Path) -> None:
    async with crew(tmp_path, "--control", "0") as it:
        control = Control(it)
        async with await RawClient.connect(control.port) as reader:
            reader.send(control.request("GET", "/events"))
            await reader.read_until(b"from now on")
            seen = b""
            async with asyncio.timeout(LIMIT):
                # They are told of the reader a moment later.
                while not all(b"client-%d" % pid in seen for pid in it.workers):
                    for pid, client in it.workers.items():
                        await client.request(get(f"{it.origin}/client-{pid}"))
                    seen += await reader.read()


# What cannot be


async def _said(tmp_path: Path, *arguments: str | Path) -> tuple[int | None, str]:
    process = await start("--workers", "2", *arguments, home=tmp_path / "home", cwd=tmp_path)
    async with asyncio.timeout(3 * LIMIT):
        _, said = await process.communicate()
    return process.returncode, said.decode()


async def test_a_taken_port(tmp_path: Path) -> None:
    async with crew(tmp_path) as it:
        listen = ["--listen", f"127.0.0.1:{it.command.port}", it.rules]
        code, said = await _said(tmp_path, *listen)
        assert (code, "another program has this port" in said) == (3, True), "other workers share it with nobody"
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        code, said = await _said(tmp_path, "--listen", f"127.0.0.1:{taken.getsockname()[1]}", it.rules)
        assert (code, "another program has this port" in said) == (3, True)


async def test_what_no_worker_can_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "broken.py").write_text("def request(flow:\n")
    listen = ["--listen", "127.0.0.1:0", "rules.yaml"]
    code, said = await _said(tmp_path, *listen, "--addon", "broken.py")
    assert (code, said.count("broken.py:1")) == (2, 1), said
    code, said = await _said(tmp_path, *listen, "--set", "nonsense=1")
    assert (code, said.count("no option `nonsense`")) == (2, 1), said
    code, said = await _said(tmp_path, "--listen", "0.0.0.0:0", "rules.yaml")
    assert (code, said.count("other machines can reach")) == (2, 1), said


async def test_what_is_no_number_of_workers(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    for count in ("0", "-1", "two", "257"):
        process = await start("rules.yaml", f"--workers={count}", home=tmp_path / "home", cwd=tmp_path)
        _, said = await process.communicate()
        assert process.returncode == 2
        assert b"a number of processes from 1 to 256" in said
