"""Proxies that do not do what they are measured for, run for real: each must end in a failure and never in a number."""

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.benchmarks import load, scenarios
from tests.benchmarks.certificates import make_authority
from tests.benchmarks.errors import Failed, Unavailable
from tests.benchmarks.measure import Conditions, measure
from tests.benchmarks.origin import Origin
from tests.benchmarks.peers.base import Bench, Command, Proxy, find_program
from tests.benchmarks.scenarios import Scenario, Setup

pytestmark = pytest.mark.e2e

NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log error;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/client;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  limit_req_zone all zone=all:32k rate=1r/s;
  server {{
    listen 127.0.0.1:{port};
    location / {{ {body} }}
  }}
}}
"""
PASS_ON = "proxy_pass http://127.0.0.1:{origin}; proxy_http_version 1.1; proxy_set_header Connection '';"
UPGRADE = (
    "set $to http://127.0.0.1:{origin}; if ($http_upgrade) { set $to http://127.0.0.1:{echo}; } proxy_pass $to; "
    "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $http_connection;"
)
TUNNEL = """
import asyncio, sys
async def copy(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
async def serve(reader, writer):
    head = await reader.readuntil(b"\\r\\n\\r\\n")
    host, port = head.split()[1].decode().split(":")
    their_reader, their_writer = await asyncio.open_connection(host, port)
    writer.write(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
    await asyncio.gather(copy(reader, their_writer), copy(their_reader, writer))
async def main():
    async with await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1])) as server:
        await server.serve_forever()
asyncio.run(main())
"""


class Liar(Proxy):
    """nginx with one location that behaves as `body` says; or, without one, a tunnel that does not intercept."""

    name = "liar"

    def __init__(self, body: str) -> None:
        super().__init__()
        self._body = body

    def prepare(self, bench: Bench) -> str:
        make_authority(self.home, "ca")
        return "1"

    def unsupported(self, scenario: Scenario) -> str | None:
        return None

    def command(self, bench: Bench, setup: Setup, folder: Path, port: int) -> Command:
        if not self._body:
            return Command([sys.executable, "-c", TUNNEL, str(port)])
        if self._body == "exit":
            return Command(["sh", "-c", "echo no such option; exit 2"])
        body = self._body.replace("{origin}", str(bench.origin.port)).replace("{echo}", str(bench.origin.echo_port))
        conf = folder / "nginx.conf"
        conf.write_text(NGINX.format(folder=folder, port=port, body=body))
        return Command([find_program("nginx", "apt: nginx-light"), "-p", str(folder), "-c", str(conf)])

    def ca(self) -> Path | None:
        return self.home / "ca.pem"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    work = tmp_path_factory.mktemp("work")
    try:
        echo = load.build(tmp_path_factory.mktemp("cache"), "echo.c")
        with closing(Origin(work / "origin", max(os.sched_getaffinity(0)), echo)) as origin:
            yield Bench(work, work, sys.executable, origin)
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def conditions(tmp_path_factory: pytest.TempPathFactory) -> Conditions:
    cores = sorted(os.sched_getaffinity(0))
    try:
        client = load.build(tmp_path_factory.mktemp("cache"))
    except Unavailable as error:
        pytest.skip(str(error))
    return Conditions(client, cores[0], cores[-1], warm_up=0.1, duration=0.2, settle=0.0)


def run(bench: Bench, conditions: Conditions, key: str, body: str, home: Path) -> float:
    proxy = Liar(body)
    proxy.home = home
    proxy.prepare(bench)
    [scenario] = scenarios.select(key)
    return measure(bench, proxy, scenario, conditions).value


@pytest.mark.parametrize(
    ("key", "body", "reason"),
    [
        ("c", f"return 200 '{'x' * 1024}';", "the origin saw 0 of"),
        ("c", "return 502 'no';", "the probe was answered with 502"),
        ("c", f"limit_req zone=all burst=1 nodelay; {PASS_ON}", "wrong answers, last status 503"),
        ("b", PASS_ON, "the origin saw no x-req"),
        ("b", f"proxy_set_header x-req 1; {PASS_ON}", "x-resp is missing"),
        ("i", PASS_ON, "the origin saw no x-req"),
        ("a", f"proxy_set_header x-req 1; {PASS_ON}", "wrong answers, last status 417"),
        ("d", "", "does not intercept with its own authority"),
        ("g", PASS_ON, "the WebSocket was refused"),
        ("g-rule", UPGRADE, "the rule did not change the message"),
        ("h", "exit", "it did not start; it said: no such option"),
    ],
)
def test_no_number(bench: Bench, conditions: Conditions, key: str, body: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(Failed, match=reason):
        run(bench, conditions, key, body, tmp_path)


@pytest.mark.parametrize(
    ("key", "body"),
    [
        ("a", PASS_ON),
        ("b", f"proxy_set_header x-req 1; add_header x-resp 1; {PASS_ON}"),
        ("c", PASS_ON),
        ("g", UPGRADE),
        ("h", PASS_ON),
    ],
)
def test_number(bench: Bench, conditions: Conditions, key: str, body: str, tmp_path: Path) -> None:
    """The same nginx, where it does what is asked: so the failures above are not of the harness."""
    assert run(bench, conditions, key, body, tmp_path) > 0
