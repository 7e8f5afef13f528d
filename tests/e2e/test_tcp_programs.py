"""Redis, PostgreSQL and mail through TCP mode and SOCKS5: real servers and real clients, which notice nothing."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rulesproxy import Proxy, load_rules
from tests.support.origin import Origin, OriginConnection
from tests.support.programs import Ran, listening, needs, run
from tests.support.recorder import Recorder
from tests.support.running import running

_POSTGRES = max([str(path) for path in Path("/usr/lib/postgresql").glob("*/bin")], default="")
_PATH = os.pathsep.join([os.environ.get("PATH", ""), _POSTGRES])
MODES = ["tcp", "socks5"]
BOTH = pytest.mark.parametrize("rules", [False, True], ids=["plain", "rules"])


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@asynccontextmanager
async def server(port: int, *command: str, user: str | None = None) -> AsyncIterator[int]:
    """A server program, from the moment it can be connected to; the port."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, user=user, cwd="/"
    )
    try:
        await listening(port, process)
        yield port
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


RULES = r"""version: 1
rules:
  - id: never
    match: tcp.data contains "no such text" or tcp.data ~ "nosuch=[a-z]+;" or ~bq "never .* sent" or ~bs "^zero says "
    drop-message:
  - match: ~tcp # rulesproxy: ignore[RP683]
    rewrite: {message: {replace: [{text: "nothing like it", with: x}, {regex: 'unheard=[\w.]+(?:;|$)', with: y}]}}
  - match: tcp.from_client
    delay: 0s
"""
"""Rules that change nothing. With them whoever waits for the end of a beginning that is none waits for longer than a
test may take: whoever passes has waited nowhere."""


def options(rules: bool) -> dict[str, object]:
    return {"rules": load_rules(text=RULES), "limits_tcp_hold": 600.0} if rules else {}


@asynccontextmanager
async def through(
    mode: str, port: int, recorder: Recorder, rules: bool = False
) -> AsyncIterator[tuple[Proxy, list[str], int]]:
    """A proxy in this mode, what a command line has to begin with, and the port that the command has to name."""
    if mode == "tcp":
        async with running(recorder, mode=f"tcp:127.0.0.1:{port}", **options(rules)) as proxy:
            yield proxy, [], proxy.port
        return
    async with running(recorder, mode=mode, **options(rules)) as proxy:
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as config:
            # A library that makes any program speak SOCKS5.
            config.write(f"strict_chain\nquiet_mode\n[ProxyList]\nsocks5 127.0.0.1 {proxy.port}\n")
            config.flush()
            yield proxy, ["proxychains4", "-q", "-f", config.name], port


async def said(recorder: Recorder, *pieces: bytes) -> None:
    """These bytes were seen by the addon, in whatever pieces they came."""
    await recorder.wait("tcp_end")
    (flow,) = set(recorder.args("tcp_message"))
    data = b"".join(message.content for message in flow.messages)  # type: ignore[attr-defined]
    for piece in pieces:
        assert piece in data


@needs("redis-server", "redis-cli", "proxychains4")
@pytest.mark.parametrize("mode", MODES)
@BOTH
async def test_redis(mode: str, rules: bool) -> None:
    recorder = Recorder()
    listen = free_port()
    options = ["--port", str(listen), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", "/"]
    async with (
        server(listen, "redis-server", *options) as port,
        through(mode, port, recorder, rules) as (_, prefix, named),
    ):
        ran = await run(*prefix, "redis-cli", "-h", "127.0.0.1", "-p", str(named),
                        stdin=b'SET key "a value"\nGET key\nINCR n\n')  # fmt: skip
        assert ran.code == 0, ran.err
        assert ran.out.splitlines() == [b"OK", b"a value", b"1"]
        await said(recorder, b"GET", b"$7\r\na value\r\n", b":1\r\n")


def _postgres_user() -> str | None:
    """Whom a PostgreSQL server runs as: it refuses to be root."""
    return "postgres" if os.geteuid() == 0 else None


def _postgres_missing() -> str:
    missing = [name for name in ("initdb", "postgres", "psql") if shutil.which(name, path=_PATH) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    try:
        pwd.getpwnam(_postgres_user() or pwd.getpwuid(os.geteuid()).pw_name)
    except KeyError:
        return "no user that a PostgreSQL server can run as"
    return ""


@asynccontextmanager
async def postgres() -> AsyncIterator[int]:
    """A PostgreSQL server with an empty cluster."""
    user = _postgres_user()
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as folder:
        if user is not None:
            shutil.chown(folder, user)
        initdb, program = (str(shutil.which(name, path=_PATH)) for name in ("initdb", "postgres"))
        made = await asyncio.create_subprocess_exec(
            initdb, "-D", f"{folder}/data", "-A", "trust", "-U", "tester", "--no-sync", "-E", "UTF8", "--locale=C",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, user=user, cwd="/",
        )  # fmt: skip
        _, err = await made.communicate()
        assert made.returncode == 0, err.decode()
        port = free_port()
        options = ["-D", f"{folder}/data", "-h", "127.0.0.1", "-p", str(port), "-k", "", "-c", "fsync=off"]
        async with server(port, program, *options, user=user):
            yield port


@needs("proxychains4")
@pytest.mark.skipif(bool(_postgres_missing()), reason=_postgres_missing())
@pytest.mark.parametrize("mode", MODES)
@BOTH
async def test_postgresql(mode: str, rules: bool) -> None:
    recorder = Recorder()
    async with postgres() as port, through(mode, port, recorder, rules) as (_, prefix, named):
        ran = await psql(prefix, named, "SELECT 6 * 7 AS answer; CREATE TABLE t (x int); "
                         "INSERT INTO t SELECT generate_series(1, 5000); SELECT sum(x) FROM t;")  # fmt: skip
        assert ran.code == 0, ran.err
        assert ran.out.split() == [b"42", b"CREATE", b"TABLE", b"INSERT", b"0", b"5000", b"12502500"]
        await recorder.wait("tcp_end")
        assert recorder.count("tcp_start") >= 1


async def psql(prefix: list[str], port: int, statements: str) -> Ran:
    program = str(shutil.which("psql", path=_PATH))
    connection = f"host=127.0.0.1 port={port} user=tester dbname=postgres"
    arguments = [argument for statement in statements.split("; ") for argument in ("-c", statement)]
    return await run(*prefix, program, connection, "-XAt", *arguments)


async def mail_server(connection: OriginConnection) -> None:
    """SMTP as far as one mail needs it (RFC 5321). It speaks first."""
    connection.raw()
    connection.send(b"220 mail.test ESMTP\r\n")
    while True:
        line = (await connection.read_until(b"\r\n")).upper()
        if line.startswith(b"DATA"):
            connection.send(b"354 go on\r\n")
            await connection.read_until(b"\r\n.\r\n")
            connection.send(b"250 taken\r\n")
        elif line.startswith(b"QUIT"):
            connection.send(b"221 bye\r\n")
            await connection.close()
            return
        else:
            connection.send(b"250 fine\r\n")


@needs("curl")
@pytest.mark.parametrize("mode", MODES)
@BOTH
async def test_mail(mode: str, rules: bool, tmp_path: Path) -> None:
    recorder = Recorder()
    mail = tmp_path / "mail.txt"
    mail.write_bytes(b"Subject: hi\r\n\r\nHow are you?\r\n")
    async with Origin(mail_server, raw=True) as origin:
        target = f"tcp:{origin.authority}" if mode == "tcp" else mode
        async with running(recorder, mode=target, **options(rules)) as proxy:
            port = proxy.port if mode == "tcp" else origin.port
            proxied = [] if mode == "tcp" else ["--proxy", f"socks5h://127.0.0.1:{proxy.port}"]
            ran = await run("curl", "-sS", *proxied, f"smtp://127.0.0.1:{port}", "--mail-from", "a@a.test",
                            "--mail-rcpt", "b@b.test", "--upload-file", mail)  # fmt: skip
            assert ran.code == 0, ran.err
            await said(recorder, b"220 mail.test", b"How are you?", b"221 bye")
    assert b"RCPT TO:<b@b.test>" in origin.received
