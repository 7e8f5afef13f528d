"""`TLSStream` over real sockets, against Python's own TLS and against the openssl command."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import threading
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import trustme

from rulesproxy.flow.route import ClientCert
from rulesproxy.layers.stream import StreamClosed
from rulesproxy.layers.tls_stream import TLSStream, distrust
from rulesproxy.net.stream import SocketStream
from rulesproxy.tls.authority import Authority
from rulesproxy.tls.context import ClientContexts, ServerContexts

HOST = "a.example"
MIB = 1 << 20
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
Serve = Callable[[TLSStream], Awaitable[None]]

needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl command")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.load_or_create(Path(tmp_path_factory.mktemp("ca")))


@pytest.fixture(params=VERSIONS, ids=["1.2", "1.3"])
def version(request: pytest.FixtureRequest) -> ssl.TLSVersion:
    chosen: ssl.TLSVersion = request.param
    return chosen


@asynccontextmanager
async def listening(authority: Authority, serve: Serve) -> AsyncIterator[int]:
    """A server of ours on the port it gives; what `serve` raises comes out here."""
    loop = asyncio.get_running_loop()
    context = ServerContexts(authority).get(HOST, ())
    tasks: list[asyncio.Task[None]] = []

    async def run(stream: SocketStream) -> None:
        await serve(TLSStream(stream, context, server_side=True))

    class Accepted(SocketStream):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            tasks.append(loop.create_task(run(self)))

    server = await loop.create_server(lambda: Accepted(set(), loop), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
        await asyncio.wait_for(asyncio.gather(*tasks), 20)
    finally:
        server.close()


class Noticing(SocketStream):
    """Its next write calls `notice`."""

    notice: Callable[[], object] | None = None

    def write(self, data: bytes) -> None:
        super().write(data)
        notice, self.notice = self.notice, None
        if notice:
            notice()


async def connect(port: int, context: ssl.SSLContext) -> TLSStream:
    loop = asyncio.get_running_loop()
    _, stream = await loop.create_connection(lambda: Noticing(set(), loop), "127.0.0.1", port)
    return TLSStream(stream, context, server_side=False, server_hostname=HOST)


async def echo(stream: TLSStream) -> None:
    await stream.handshake()
    while data := await stream.read():
        stream.write(data)
        await stream.drain()
    assert stream.ended_cleanly
    await stream.close()


def python_client(authority: Authority, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.cert_path))
    context.minimum_version = context.maximum_version = version
    return context


def receive(sock: ssl.SSLSocket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := sock.recv(65536)):
        data += more
    return data


# Python's own TLS


async def test_a_python_client(authority: Authority, version: ssl.TLSVersion) -> None:
    def talk(port: int) -> None:
        context = python_client(authority, version)
        with socket.create_connection(("127.0.0.1", port), 10) as raw:
            sock = context.wrap_socket(raw, server_hostname=HOST)
            for size in (1, 1024, 100_000):
                sock.sendall(bytes(size))
                assert receive(sock, size) == bytes(size)
            # This waits for the close_notify of the other side.
            sock.unwrap()

    async with listening(authority, echo) as port:
        await asyncio.to_thread(talk, port)


async def test_a_python_server(version: ssl.TLSVersion) -> None:
    bench = trustme.CA()
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.maximum_version = version
    bench.issue_cert(HOST).configure_cert(theirs)
    ours = ssl.create_default_context()
    bench.configure_trust(ours)

    def talk(listener: socket.socket) -> None:
        raw, _ = listener.accept()
        with theirs.wrap_socket(raw, server_side=True) as sock:
            while data := sock.recv(65536):
                sock.sendall(data)
            sock.unwrap()

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        peer = asyncio.ensure_future(asyncio.to_thread(talk, listener))
        stream = await connect(listener.getsockname()[1], ours)
        await stream.handshake()
        assert stream.tls_version == version.name.replace("_", ".")
        for size in (1, 1024, 100_000):
            stream.write(bytes(size))
            left = size
            while left:
                left -= len(await stream.read())
        stream.write_eof()
        assert await stream.read() == b""
        assert stream.ended_cleanly
        await stream.close()
        await asyncio.wait_for(peer, 10)


async def test_a_client_without_our_ca(authority: Authority, version: ssl.TLSVersion) -> None:
    def talk(port: int) -> None:
        context = ssl.create_default_context()
        context.maximum_version = version
        with socket.create_connection(("127.0.0.1", port), 10) as raw, pytest.raises(ssl.SSLCertVerificationError):
            context.wrap_socket(raw, server_hostname=HOST)

    async def serve(stream: TLSStream) -> None:
        with pytest.raises(ssl.SSLError) as caught:
            await stream.handshake()
        assert distrust(caught.value)
        await stream.close()

    async with listening(authority, serve) as port:
        await asyncio.to_thread(talk, port)


async def test_a_client_that_is_gone_is_told_while_nobody_reads(authority: Authority) -> None:
    async def serve(stream: TLSStream) -> None:
        await stream.handshake()
        gone = asyncio.Event()
        stream.on_end(gone.set)
        await asyncio.wait_for(gone.wait(), 10)
        assert stream.ended
        await stream.close()

    async with listening(authority, serve) as port:
        stream = await connect(port, python_client(authority, VERSIONS[1]))
        await stream.handshake()
        await stream.close()


async def test_a_reset(authority: Authority) -> None:
    async def serve(stream: TLSStream) -> None:
        await stream.handshake()
        with pytest.raises(StreamClosed):
            await stream.read()
        with pytest.raises(StreamClosed):
            await stream.drain()
        await stream.close()

    async with listening(authority, serve) as port:
        stream = await connect(port, python_client(authority, VERSIONS[1]))
        await stream.handshake()
        stream.abort()


# Much data


async def test_ten_mib_both_ways_at_once_in_little_memory(authority: Authority, version: ssl.TLSVersion) -> None:
    total, chunk = 10 * MIB, bytes(64 * 1024)
    async with listening(authority, echo) as port:
        stream = await connect(port, python_client(authority, version))
        await stream.handshake()

        async def send() -> None:
            for _ in range(total // len(chunk)):
                stream.write(chunk)
                await stream.drain()

        tracemalloc.start()
        try:
            sending = asyncio.ensure_future(send())
            received = 0
            while received < total:
                received += len(await stream.read())
            await sending
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        await stream.close()
        assert received == total
        assert peak < 3 * MIB


async def test_a_peer_that_does_not_read_stops_its_writer(authority: Authority) -> None:
    total, chunk = 30 * MIB, bytes(64 * 1024)
    reading = threading.Event()
    sent = 0

    def talk(port: int) -> int:
        received = 0
        with socket.create_connection(("127.0.0.1", port), 10) as raw:
            sock = python_client(authority, VERSIONS[1]).wrap_socket(raw, server_hostname=HOST)
            reading.wait(10)
            while data := sock.recv(65536):
                received += len(data)
        return received

    async def serve(stream: TLSStream) -> None:
        nonlocal sent
        await stream.handshake()
        while sent < total:
            stream.write(chunk)
            sent += len(chunk)
            await stream.drain()
        await stream.close()

    async with listening(authority, serve) as port:
        peer = asyncio.ensure_future(asyncio.to_thread(talk, port))
        before = -1
        while sent != before or not sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < total / 2
        reading.set()
        assert await asyncio.wait_for(peer, 20) == total


# The openssl command


class Command:
    """An `openssl` that runs: `say` types a line, `hear` waits until it has printed something."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin
        assert process.stdout
        self.process, self.stdin, self.stdout = process, process.stdin, process.stdout
        self.heard = b""

    def say(self, line: str) -> None:
        self.stdin.write(line.encode() + b"\n")

    async def hear(self, words: str) -> bytes:
        while words.encode() not in self.heard:
            try:
                more = await asyncio.wait_for(self.stdout.read(65536), 10)
            except TimeoutError:
                more = b""
            assert more, f"{words!r} was not printed, but: {self.heard.decode(errors='replace')}"
            self.heard += more
        before, _, self.heard = self.heard.partition(words.encode())
        return before


@asynccontextmanager
async def openssl(*arguments: str) -> AsyncIterator[Command]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        "openssl", *arguments, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    try:
        yield Command(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def s_server(folder: Path, *arguments: str) -> AsyncIterator[tuple[Command, TLSStream]]:
    """`openssl s_server` with a certificate of its own, and a stream of ours to it, shaken hands."""
    bench = trustme.CA()
    issued = bench.issue_cert(HOST)
    issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    bench.cert_pem.write_to_path(str(folder / "ca.pem"))
    bench.issue_cert("me@a.example").private_key_and_cert_chain_pem.write_to_path(str(folder / "me.pem"))
    files = ("-cert", str(folder / "server.pem"), "-CAfile", str(folder / "ca.pem"))
    async with openssl("s_server", "-accept", "127.0.0.1:0", *files, *arguments) as command:
        await command.hear("ACCEPT 127.0.0.1:")
        port = int((await command.hear("\n")).strip())
        context = ClientContexts().get(ca=(folder / "ca.pem",), client_cert=ClientCert(folder / "me.pem"))
        stream = await connect(port, context)
        await asyncio.wait_for(stream.handshake(), 10)
        yield command, stream
        await stream.close()


async def read_until(stream: TLSStream, words: bytes) -> bytes:
    data = b""
    async with asyncio.timeout(10):
        while words not in data:
            more = await stream.read()
            assert more, f"it ended after {data!r}"
            data += more
    return data


@needs_openssl
@pytest.mark.parametrize("flag", ["-tls1_2", "-tls1_3"])
async def test_an_openssl_server(tmp_path: Path, flag: str) -> None:
    async with s_server(tmp_path, flag, "-rev") as (_, stream):
        stream.write(b"hello\n")
        assert await read_until(stream, b"\n") == b"olleh\n"


@needs_openssl
@pytest.mark.parametrize("flag", ["-tls1_2", "-tls1_3"])
async def test_an_openssl_client(authority: Authority, flag: str) -> None:
    async with listening(authority, echo) as port:
        trust = ("-CAfile", str(authority.cert_path), "-verify_return_error", "-x509_strict", "-verify_hostname", HOST)
        async with openssl("s_client", "-connect", f"127.0.0.1:{port}", "-servername", HOST, flag, *trust) as command:
            await command.hear("Verify return code: 0 (ok)")
            command.say("hello there")
            await command.hear("hello there\n")
            command.say("Q")
            assert await asyncio.wait_for(command.process.wait(), 10) == 0


@needs_openssl
@pytest.mark.parametrize(("command", "answered"), [("k", False), ("K", True)])
async def test_keys_are_changed_on_the_way(tmp_path: Path, command: str, answered: bool) -> None:
    """RFC 8446 section 4.6.3; `K` asks us to change ours as well."""
    async with s_server(tmp_path, "-tls1_3", "-msg") as (server, stream):
        reading = asyncio.ensure_future(read_until(stream, b"after\n"))
        server.say(command)
        await server.hear(", KeyUpdate")
        server.say("after")
        assert await reading == b"after\n"
        stream.write(b"ours\n")
        if answered:
            await server.hear(", KeyUpdate")
        await server.hear("ours\n")


@needs_openssl
async def test_a_certificate_asked_for_after_the_handshake(tmp_path: Path) -> None:
    async with s_server(tmp_path, "-tls1_3", "-msg") as (server, stream):
        reading = asyncio.ensure_future(read_until(stream, b"after\n"))
        server.say("c")
        await server.hear(", CertificateRequest")
        # It reads our answer with the next data.
        stream.write(b"ours\n")
        await server.hear("verify return:1")
        await server.hear("ours\n")
        server.say("after")
        await reading


@needs_openssl
async def test_a_renegotiation(tmp_path: Path) -> None:
    """TLS 1.2 servers ask late for a certificate by it; what is written meanwhile waits and keeps its order."""
    # Without tickets and cache it cannot take the session up again, and asks for the certificate.
    async with s_server(tmp_path, "-tls1_2", "-no_ticket", "-no_cache") as (server, stream):
        loop = asyncio.get_running_loop()
        sent = asyncio.Event()

        def write_meanwhile() -> None:
            stream.write(b"first\n")
            stream.write(b"second\n")
            assert stream._held == b"first\nsecond\n"
            sent.set()

        inner = stream.inner
        assert isinstance(inner, Noticing)
        reading = asyncio.ensure_future(read_until(stream, b"after\n"))
        inner.notice = lambda: loop.call_soon(write_meanwhile)
        server.say("R")
        await asyncio.wait_for(sent.wait(), 10)
        await asyncio.wait_for(stream.drain(), 10)
        stream.write(b"third\n")
        await server.hear("verify return:1")
        await server.hear("first\nsecond\nthird\n")
        server.say("after")
        assert await reading == b"after\n"
