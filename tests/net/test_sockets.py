"""Listeners, socket streams and dialling, over the loopback interface."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from rulesproxy.layers.reach import DialError
from rulesproxy.layers.stream import StreamClosed, StreamTimeout
from rulesproxy.limits import DEFAULT, Limits
from rulesproxy.net.dial import Dialer
from rulesproxy.net.server import BindError, Server
from rulesproxy.net.stream import SocketStream

Serve = Callable[[SocketStream], Awaitable[None]]


class Net:
    """A server and a dialer that share their streams."""

    def __init__(self, limits: Limits = DEFAULT) -> None:
        self.streams: set[SocketStream] = set()
        self.server = Server(self.streams, lambda: limits)
        self.dialer = Dialer(self.streams, lambda: limits)


@asynccontextmanager
async def serving(serve: Serve, limits: Limits = DEFAULT, host: str = "127.0.0.1") -> AsyncIterator[tuple[Net, int]]:
    net = Net(limits)
    port = net.server.listen(host, 0, serve).address[1]
    net.server.resume()
    try:
        yield net, port
    finally:
        await net.server.close(0)
        for stream in list(net.streams):
            stream.abort()
        await asyncio.sleep(0.01)
        assert not net.streams


async def echo(stream: SocketStream) -> None:
    while data := await stream.read():
        stream.write(data)
        await stream.drain()


async def test_bytes_go_both_ways_and_a_half_close_ends_one_direction() -> None:
    async def late(stream: SocketStream) -> None:
        received = b""
        while data := await stream.read():
            received += data
        stream.write(received.upper())

    async with serving(late) as (net, port):
        stream = await net.dialer.dial(("127.0.0.1", port))
        assert stream.peername == ("127.0.0.1", port)
        stream.write(b"one ")
        stream.write(b"two")
        stream.write_eof()
        assert await stream.read() == b"ONE TWO"
        assert await stream.read() == b""
        assert (stream.ended, stream.gone) == (True, False)
        await stream.close()


async def test_unread_bytes_come_first() -> None:
    async with serving(echo) as (net, port):
        stream = await net.dialer.dial(("127.0.0.1", port))
        stream.unread(b"first")
        stream.unread(b"")
        assert await stream.read() == b"first"
        stream.write(b"second")
        assert await stream.read() == b"second"


async def test_a_reader_that_does_not_read_stops_its_writer() -> None:
    written = 0
    stopped = asyncio.Event()

    async def flood(stream: SocketStream) -> None:
        nonlocal written
        try:
            while True:
                stream.write(b"x" * 65536)
                written += 65536
                if stream._writing_paused:
                    stopped.set()
                await stream.drain()
        except StreamClosed:
            pass

    async with serving(flood) as (net, port):
        stream = await net.dialer.dial(("127.0.0.1", port))
        await asyncio.wait_for(stopped.wait(), 5)
        await asyncio.sleep(0.05)
        before = written
        await asyncio.sleep(0.05)
        assert written == before
        assert sum(map(len, stream._chunks)) <= DEFAULT.read_chunk + 256 * 1024
        received = 0
        while received < before:
            received += len(await stream.read())
        stream.abort()


async def test_a_deadline_is_told_by_the_sweep_and_can_be_set_anew() -> None:
    async def silent(stream: SocketStream) -> None:
        await stream.read()

    async with serving(silent) as (net, port):
        stream = await net.dialer.dial(("127.0.0.1", port))
        for _ in range(2):
            stream.deadline = 100.0
            reading = asyncio.ensure_future(stream.read())
            await asyncio.sleep(0)
            stream.sweep(99.0)
            await asyncio.sleep(0)
            assert not reading.done()
            stream.sweep(101.0)
            with pytest.raises(StreamTimeout):
                await reading
            stream.deadline = 1000.0
            stream.sweep(101.0)
        stream.abort()


async def test_a_reset_breaks_the_stream_and_tells_who_asked() -> None:
    async def reset(stream: SocketStream) -> None:
        await stream.read()
        stream.abort()

    async with serving(reset) as (net, port):
        stream = await net.dialer.dial(("127.0.0.1", port))
        told = asyncio.Event()
        stream.on_end(told.set)
        stream.write(b"x")
        await asyncio.wait_for(told.wait(), 5)
        with pytest.raises(StreamClosed, match="reset"):
            await stream.read()
        with pytest.raises(StreamClosed):
            await stream.drain()
        stream.write(b"ignored")
        again = asyncio.Event()
        stream.on_end(again.set)
        assert again.is_set()


async def test_a_fin_is_the_end_only_where_it_was_said_so() -> None:
    async def leave(stream: SocketStream) -> None:
        await stream.read()

    async with serving(leave) as (net, port):
        for ends in (False, True):
            stream = await net.dialer.dial(("127.0.0.1", port))
            stream.eof_ends = ends
            told = asyncio.Event()
            stream.on_end(told.set)
            stream.write(b"x")
            await asyncio.sleep(0.05)
            assert stream.ended
            assert (told.is_set(), stream.gone) == (ends, ends)
            await stream.close()


async def test_dialling_says_why_not() -> None:
    async def check(address: tuple[str, int], kind: str, why: str, limits: Limits = DEFAULT) -> None:
        with pytest.raises(DialError, match=why) as caught:
            await Net(limits).dialer.dial(address)
        assert caught.value.kind == kind

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        await check(("127.0.0.1", free.getsockname()[1]), "refused", "connection refused")
    await check(("no-such-host.invalid", 80), "dns", "does not resolve")
    await check(("a" * 70 + ".test", 80), "dns", "name")
    await check(("127.0.0.1", 70000), "dns", "no host and port")
    with socket.socket() as full:
        # A listener whose backlog is full answers no further SYN: the dial hangs.
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(full.getsockname())
            waiting.append(client)
        await check(full.getsockname(), "timeout", "no answer within 0.2 s", replace(DEFAULT, connect=0.2))
        for client in waiting:
            client.close()


async def test_the_first_address_that_answers_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(echo) as (net, port):
        loop = asyncio.get_running_loop()
        kind = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        infos = [
            (socket.AF_INET6, *kind, ("100::1", port, 0, 0)),
            (socket.AF_INET, *kind, ("127.0.0.99", 1)),
            (socket.AF_INET, *kind, ("127.0.0.1", port)),
        ]

        async def several(*_: object, **__: object) -> list[tuple[object, ...]]:
            return infos

        monkeypatch.setattr(loop, "getaddrinfo", several)
        stream = await net.dialer.dial(("many.test", port))
        assert stream.peername == ("127.0.0.1", port)
        stream.write(b"hello")
        assert await stream.read() == b"hello"


@pytest.mark.parametrize(
    ("listen", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "::ffff:127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("0.0.0.0", "127.0.0.2"),
    ],
)
async def test_the_proxy_does_not_dial_itself(listen: str, host: str) -> None:
    async with serving(echo, host=listen) as (net, port):
        net.dialer.own.add((listen, port))
        with pytest.raises(DialError, match="this proxy itself"):
            await net.dialer.dial((host, port))


async def test_another_address_with_the_same_port_is_somebody_else() -> None:
    async with serving(echo, host="127.0.0.2") as (net, port):
        net.dialer.own.add(("127.0.0.1", port))
        stream = await net.dialer.dial(("127.0.0.2", port))
        stream.write(b"x")
        assert await stream.read() == b"x"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_listening_on_both_families(host: str) -> None:
    try:
        async with serving(echo, host=host) as (net, port):
            stream = await net.dialer.dial((host, port))
            stream.write(b"x")
            assert await stream.read() == b"x"
    except BindError as exc:
        if host == "::1":
            pytest.skip(f"no IPv6 here: {exc}")
        raise


async def test_binding_says_why_not() -> None:
    net = Net()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BindError, match="another program has this port"):
            net.server.listen("127.0.0.1", taken.getsockname()[1], echo)
    with pytest.raises(BindError, match="does not have that address"):
        net.server.listen("192.0.2.1", 0, echo)
    with pytest.raises(BindError, match="cannot listen on"):
        net.server.listen("no-such-host.invalid", 0, echo)
    assert net.server.listeners == []


async def test_clients_over_the_limit_wait_until_others_leave(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(echo, replace(DEFAULT, client_connections=2)) as (net, port):
        streams = [await net.dialer.dial(("127.0.0.1", port)) for _ in range(3)]
        for stream in streams:
            stream.write(b"x")
        assert [await stream.read() for stream in streams[:2]] == [b"x", b"x"]
        waiting = asyncio.ensure_future(streams[2].read())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await streams[0].close()
        assert await asyncio.wait_for(waiting, 5) == b"x"
        assert len([record for record in caplog.records if "which is the limit" in record.message]) == 1


async def test_running_out_of_descriptors_pauses_and_resumes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rulesproxy.net.server._PAUSE", 0.05)
    async with serving(echo) as (net, port):
        listener = net.server.listeners[0]
        real, failures = listener._socket, [errno.EMFILE, errno.ECONNABORTED]

        class Exhausted:
            def accept(self) -> object:
                if failures:
                    raise OSError(failures.pop(0), "no")
                return real.accept()

            def __getattr__(self, name: str) -> object:
                return getattr(real, name)

        listener._socket = Exhausted()  # type: ignore[assignment]
        stream = await net.dialer.dial(("127.0.0.1", port))
        stream.write(b"x")
        assert await asyncio.wait_for(stream.read(), 5) == b"x"
        assert any("out of file descriptors" in record.message for record in caplog.records)


async def test_a_bug_of_ours_is_logged_and_closes_its_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(stream: SocketStream) -> None:
        raise RuntimeError("oh")

    with caplog.at_level(logging.ERROR):
        async with serving(broken) as (net, port):
            for _ in range(2):
                stream = await net.dialer.dial(("127.0.0.1", port))
                assert await stream.read() == b""
    assert len([record for record in caplog.records if "a bug of ours: RuntimeError: oh" in record.message]) == 2


async def test_closing_gives_connections_a_grace() -> None:
    finished = []

    async def slow(stream: SocketStream) -> None:
        await stream.read()
        await asyncio.sleep(0.05)
        stream.write(b"done")
        finished.append(True)

    async def stuck(stream: SocketStream) -> None:
        await stream.read()
        await asyncio.sleep(3600)

    for serve, answer in ((slow, b"done"), (stuck, b"")):
        net = Net()
        port = net.server.listen("127.0.0.1", 0, serve).address[1]
        net.server.resume()
        stream = await net.dialer.dial(("127.0.0.1", port))
        stream.write(b"x")
        await asyncio.sleep(0.02)
        await net.server.close(0.3)
        assert await stream.read() == answer
        assert not net.server.connections
        await stream.close()
    assert finished == [True]


async def test_connections_leave_no_cycle_however_they_end() -> None:
    async def serve(stream: SocketStream) -> None:
        try:
            while data := await stream.read():
                stream.write(data)
                await stream.drain()
        except StreamClosed:
            pass

    async def talk(net: Net, port: int) -> None:
        for end in ("close", "abort", "half"):
            stream = await net.dialer.dial(("127.0.0.1", port))
            stream.write(b"x")
            assert await stream.read() == b"x"
            if end == "abort":
                stream.abort()
                with pytest.raises(StreamClosed):
                    await stream.read()
            elif end == "half":
                stream.write_eof()
                assert await stream.read() == b""
            await stream.close()
        await asyncio.sleep(0.05)

    async with serving(serve) as (net, port):
        await talk(net, port)
        gc.collect()
        gc.disable()
        try:
            await talk(net, port)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            left = [type(found).__qualname__ for found in gc.garbage if type(found).__module__.startswith("rulesproxy")]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        assert left == []
