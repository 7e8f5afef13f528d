"""The cases of the Autobahn test suite (by `kosoku`, which runs them on today's Python), through a proxy, both ways.

The suite is the client of a proxied echo server, and the server of a proxied echo client. The proxy's own record of its
conversations must show every one of them: a suite that passes it by would score full marks.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path

import pytest
import websockets.asyncio.client
import websockets.asyncio.server
from websockets.exceptions import WebSocketException

from tests.support.programs import listening
from tests.support.recorder import Observer, Recorder
from tests.support.running import running

pytest.importorskip("kosoku")

CASES = [
    "1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.1.1", "9.2.1", "9.3.1", "9.3.2", "9.3.3", "9.4.1", "9.4.2", "9.4.6", "9.7.1", "10.*",
]  # fmt: skip
DEFLATE = ["12.1.1", "12.1.4", "12.2.3", "12.4.2", "13.1.1", "13.3.2", "13.4.2", "13.7.2"]
READING = {"unread": Observer, "read": Recorder}

GOOD = {"OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED"}
"""NON-STRICT: an error was found later than it could have been, or cut off an answer that was still on its way.
UNIMPLEMENTED: the echo does not take the compression that the suite offers."""

UNREAD = {
    # A Close frame inside a fragmented message is passed on; that library refuses one.
    "7.1.5",
}


@pytest.fixture(autouse=True)
def any_number_of_fragments(monkeypatch: pytest.MonkeyPatch) -> None:
    """That library takes 4,096 fragments of a message, and 4 MiB come in 65,536. Ours are bounded by their bytes."""
    monkeypatch.setattr("websockets.asyncio.messages.MAX_FRAGMENTS", 1 << 20)


@pytest.mark.e2e
@pytest.mark.parametrize("mode", READING)
async def test_the_suite_as_client(mode: str, tmp_path: Path) -> None:
    recorder = READING[mode]()
    async with websockets.asyncio.server.serve(echo, "127.0.0.1", 0, max_size=None, ping_interval=None) as server:
        port = server.sockets[0].getsockname()[1]
        async with running(recorder, mode=f"reverse:http://127.0.0.1:{port}") as proxy:
            await suite(tmp_path, *selected(CASES + DEFLATE), f"127.0.0.1:{proxy.port}")
    judge(tmp_path, mode, recorder, 0)


@pytest.mark.e2e
@pytest.mark.parametrize("mode", READING)
async def test_the_suite_as_server(mode: str, tmp_path: Path, unused_tcp_port: int) -> None:
    recorder, url = READING[mode](), f"ws://127.0.0.1:{unused_tcp_port}"
    arguments = ("-m", "fuzzingserver", *selected(CASES + DEFLATE), f"127.0.0.1:{unused_tcp_port}")
    running_suite = asyncio.create_task(suite(tmp_path, *arguments))
    try:
        await listening(unused_tcp_port)
        async with running(recorder) as proxy:
            count = int(await ask(f"{url}/getCaseCount", proxy.url))
            for number in range(1, count + 1):
                await ask(f"{url}/runCase?case={number}&agent=proxied", proxy.url)
            await ask(f"{url}/updateReports?agent=proxied", proxy.url)
            await recorder.wait(*["websocket_end"] * (count + 2))
        await running_suite  # It writes its report and ends.
    finally:
        running_suite.cancel()
        await asyncio.wait([running_suite])
    judge(tmp_path, mode, recorder, 2)


async def echo(connection: websockets.asyncio.server.ServerConnection) -> None:
    try:
        async for message in connection:
            await connection.send(message)
    except WebSocketException:
        pass  # The suite is here to break things.


async def ask(url: str, proxy: str) -> str:
    """Echo what comes through the proxy, until the end; the last of it."""
    said = ""
    try:
        async with (
            asyncio.timeout(60),
            websockets.asyncio.client.connect(url, proxy=proxy, max_size=None, ping_interval=None) as connection,
        ):
            async for message in connection:
                said = str(message) if len(message) < 100 else ""
                await connection.send(message)
    except WebSocketException:
        pass  # The suite is here to break things.
    return said


async def suite(folder: Path, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("kosoku"), *arguments, "-o", str(folder),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(100):
            await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


def selected(cases: list[str]) -> list[str]:
    return [word for case in cases for word in ("-i", case)]


def judge(folder: Path, mode: str, recorder: Recorder, others: int) -> None:
    """Every case is good, and the proxy was in the way of each."""
    (cases,) = json.loads((folder / "index.json").read_text()).values()
    bad = {
        name: (case["behavior"], case["behaviorClose"])
        for name, case in cases.items()
        if not {case["behavior"], case["behaviorClose"]} <= GOOD and not (mode == "unread" and name in UNREAD)
    }
    assert bad == {}
    assert len(cases) >= 250
    found = Counter(case["behavior"] for case in cases.values())
    assert found["NON-STRICT"] <= (14 if mode == "unread" else 10), found
    assert recorder.count("websocket_start") == recorder.count("websocket_end") == len(cases) + others
    assert (recorder.count("websocket_message") > 0) == (mode == "read")
