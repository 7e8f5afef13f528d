"""`TLSStream` in memory: two of them back to back, cut into single bytes, damaged, and ended in every way."""

from __future__ import annotations

import asyncio
import math
import ssl
from pathlib import Path

import pytest
import trustme

from rulesproxy.layers.stream import MemoryStream, StreamClosed, StreamTimeout
from rulesproxy.layers.tls_stream import TLSStream, distrust, reason
from rulesproxy.tls.authority import Authority
from rulesproxy.tls.context import ServerContexts

HOST = "a.example"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class Pipe(MemoryStream):
    """One end of a pair; `step` is into how many bytes it cuts what it sends. It reads everything there is at once."""

    def __init__(self, step: int = 0) -> None:
        super().__init__()
        self.other: Pipe = self
        self.step = step
        self.biggest = 0

    def write(self, data: bytes) -> None:
        self.biggest = max(self.biggest, len(data))
        super().write(data)
        if not self.closed:
            for i in range(0, len(data), self.step or len(data)):
                self.other.feed(data[i : i + (self.step or len(data))])

    async def read(self) -> bytes:
        data = await super().read()
        while self._incoming and not self.other.step:
            data += await super().read()
        return data

    async def close(self) -> None:
        await super().close()
        self.other.feed_eof()

    def abort(self) -> None:
        super().abort()
        self.other.break_off()


def pipe(step: int = 0) -> tuple[Pipe, Pipe]:
    one, other = Pipe(step), Pipe(step)
    one.other, other.other = other, one
    return one, other


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.load_or_create(Path(tmp_path_factory.mktemp("ca")))


class Rig:
    """A client and a server over a pair, not shaken hands yet; and what each has below it."""

    def __init__(self, authority: Authority, version: ssl.TLSVersion = VERSIONS[1], step: int = 0) -> None:
        self.client_context = ssl.create_default_context(cafile=str(authority.cert_path))
        self.client_context.minimum_version = self.client_context.maximum_version = version
        self.client_context.set_alpn_protocols(["h2", "http/1.1"])
        self.server_context = ServerContexts(authority).get(HOST, ("http/1.1",))
        self.below_client, self.below_server = pipe(step)

    def make(self) -> tuple[TLSStream, TLSStream]:
        client = TLSStream(self.below_client, self.client_context, server_side=False, server_hostname=HOST)
        server = TLSStream(self.below_server, self.server_context, server_side=True, server_hostname=HOST)
        return client, server

    async def pair(self) -> tuple[TLSStream, TLSStream]:
        client, server = self.make()
        await asyncio.wait_for(asyncio.gather(client.handshake(), server.handshake()), 5)
        return client, server


@pytest.fixture(params=VERSIONS, ids=["1.2", "1.3"])
def rig(request: pytest.FixtureRequest, authority: Authority) -> Rig:
    return Rig(authority, request.param)


async def read(stream: TLSStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await asyncio.wait_for(stream.read(), 5)
        assert more, "the stream ended"
        data += more
    return data


async def test_what_the_handshake_agrees_on(rig: Rig) -> None:
    client, server = rig.make()
    for side in (client, server):
        assert (side.tls_version, side.alpn, side.cipher, side.certificate) == (None, None, None, None)
    await asyncio.gather(client.handshake(), server.handshake())
    for side in (client, server):
        assert side.tls_version == rig.client_context.maximum_version.name.replace("_", ".")
        assert side.alpn == "http/1.1"
        assert side.sni == HOST
        assert side.cipher
        assert (side.peername, side.sockname) == (("127.0.0.1", 40000), ("127.0.0.1", 8080))
    assert client.cipher == server.cipher
    assert client.certificate
    assert client.certificate.startswith(b"\x30")
    assert server.certificate is None


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("step", [0, 1, 7, 1000])
async def test_both_ways(authority: Authority, version: ssl.TLSVersion, step: int) -> None:
    client, server = await Rig(authority, version, step).pair()
    for data in (b"x", b"hello", bytes(20_000)):
        client.write(data)
        await client.drain()
        assert await read(server, len(data)) == data
        server.write(data[::-1])
        await server.drain()
        assert await read(client, len(data)) == data[::-1]


async def test_everything_that_has_arrived_comes_in_one_read(rig: Rig) -> None:
    client, server = await rig.pair()
    for part in (b"one", b"two", bytes(50_000)):
        client.write(part)
    assert await server.read() == b"onetwo" + bytes(50_000)


async def test_a_part_of_a_record_wakes_nobody(rig: Rig) -> None:
    client, server = await rig.pair()
    del rig.below_client.sent[:]
    rig.below_client.other = Pipe()
    client.write(b"hello")
    record = bytes(rig.below_client.sent)
    reading = asyncio.ensure_future(server.read())
    for i in range(len(record)):
        assert not reading.done()
        rig.below_server.feed(record[i : i + 1])
        for _ in range(3):
            await asyncio.sleep(0)
    assert await reading == b"hello"


async def test_a_cancelled_read_loses_nothing(rig: Rig) -> None:
    client, server = await rig.pair()
    reading = asyncio.ensure_future(server.read())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    client.write(b"hello")
    assert await server.read() == b"hello"


async def test_a_big_write_goes_down_in_batches(rig: Rig) -> None:
    client, server = await rig.pair()
    data = bytes(range(256)) * 4096
    client.write(data)
    assert 65536 <= rig.below_client.biggest < 70_000
    assert await read(server, len(data)) == data


async def test_unread(rig: Rig) -> None:
    client, server = await rig.pair()
    client.write(b"third")
    server.unread(b"second")
    server.unread(b"first")
    server.unread(b"")
    assert await read(server, 11) == b"firstsecond"
    assert await read(server, 5) == b"third"


async def test_the_deadline_is_that_of_the_stream_below(rig: Rig) -> None:
    client, _ = rig.make()
    assert client.deadline == math.inf
    client.deadline = 7.0
    assert rig.below_client.deadline == 7.0


async def test_nothing_is_sent_before_the_handshake(rig: Rig) -> None:
    client, _ = rig.make()
    client.write(b"secret")
    client.write_eof()
    assert not rig.below_client.sent


@pytest.mark.parametrize("empty", [b""])
async def test_an_empty_write_is_no_record(rig: Rig, empty: bytes) -> None:
    client, _ = await rig.pair()
    before = len(rig.below_client.sent)
    client.write(empty)
    assert len(rig.below_client.sent) == before


async def test_tls_in_tls(authority: Authority) -> None:
    outer = Rig(authority)
    client, server = await outer.pair()
    inner_client = TLSStream(client, outer.client_context, server_side=False, server_hostname=HOST)
    inner_server = TLSStream(server, outer.server_context, server_side=True)
    await asyncio.wait_for(asyncio.gather(inner_client.handshake(), inner_server.handshake()), 5)
    data = bytes(100_000)
    inner_client.write(data)
    assert await read(inner_server, len(data)) == data
    inner_client.deadline = 3.0
    assert outer.below_client.deadline == 3.0
    await inner_client.close()
    assert await inner_server.read() == b""
    assert inner_server.ended_cleanly


async def test_a_write_that_waits_for_a_renegotiation_has_a_deadline(authority: Authority) -> None:
    """How one comes about is tested with a server that asks for it; here none answers."""
    client, _ = await Rig(authority, ssl.TLSVersion.TLSv1_2).pair()
    client._hold(memoryview(b"waiting"))
    client.deadline = asyncio.get_running_loop().time() + 0.01
    with pytest.raises(StreamTimeout, match="renegotiation"):
        await client.drain()
    client.write(b" more")
    assert client._held == b"waiting more"
    client.deadline = math.inf
    waiting = asyncio.ensure_future(client.drain())
    await asyncio.sleep(0)
    client.abort()
    with pytest.raises(StreamClosed):
        await waiting


# The end


async def check_ended(stream: TLSStream, cleanly: bool) -> None:
    for _ in range(2):
        assert await asyncio.wait_for(stream.read(), 5) == b""
    assert stream.ended
    assert stream.ended_cleanly is cleanly


async def test_close(rig: Rig) -> None:
    client, server = await rig.pair()
    client.write(b"last words")
    await client.close()
    await client.close()
    client.write(b"too late")
    assert rig.below_client.closed
    assert not rig.below_client.aborted
    assert await read(server, 10) == b"last words"
    await check_ended(server, cleanly=True)


async def test_close_before_the_handshake(rig: Rig) -> None:
    client, server = rig.make()
    await client.close()
    assert rig.below_client.closed
    with pytest.raises(StreamClosed, match="client left during the TLS handshake"):
        await server.handshake()


async def test_abort_says_nothing(rig: Rig) -> None:
    client, server = await rig.pair()
    before = len(rig.below_client.sent)
    client.abort()
    assert rig.below_client.aborted
    assert len(rig.below_client.sent) == before
    with pytest.raises(StreamClosed):
        await server.read()
    with pytest.raises(StreamClosed):
        await client.read()
    await client.close()


async def test_half_close(rig: Rig) -> None:
    """The client ends its direction at once, and still gets everything: tickets, data, and the end."""
    client, server = await rig.pair()
    client.write(b"request")
    client.write_eof()
    client.write_eof()
    client.write(b"not sent")
    assert not rig.below_client.write_ended
    assert await read(server, 7) == b"request"
    await check_ended(server, cleanly=True)
    answer = bytes(200_000)
    server.write(answer)
    await server.drain()
    assert await read(client, len(answer)) == answer
    assert not client.ended_cleanly
    await server.close()
    await check_ended(client, cleanly=True)


async def test_half_close_with_data_that_nobody_has_read(rig: Rig) -> None:
    client, server = await rig.pair()
    server.write(b"first ")
    server.write(b"second ")
    client.write_eof()
    server.write(b"third")
    assert await read(client, 18) == b"first second third"


async def test_half_close_with_data_that_came_with_the_handshake(authority: Authority) -> None:
    """In TLS 1.2 the server speaks last in the handshake, and may go on at once."""
    rig = Rig(authority, ssl.TLSVersion.TLSv1_2)
    client, server = rig.make()
    task = asyncio.ensure_future(client.handshake())
    await server.handshake()
    server.write(b"greeting")
    await task
    assert client._incoming.pending
    client.write_eof()
    assert await read(client, 8) == b"greeting"
    await check_ended(server, cleanly=True)


async def test_both_half_close(rig: Rig) -> None:
    client, server = await rig.pair()
    client.write_eof()
    server.write_eof()
    await check_ended(client, cleanly=True)
    await check_ended(server, cleanly=True)
    await client.close()
    await server.close()


async def test_an_end_without_close_notify_is_not_clean(rig: Rig) -> None:
    client, server = await rig.pair()
    client.write(b"cut")
    rig.below_server.feed_eof()
    assert await read(server, 3) == b"cut"
    await check_ended(server, cleanly=False)


async def test_an_end_inside_a_record_is_not_clean(rig: Rig) -> None:
    client, server = await rig.pair()
    rig.below_client.other = Pipe()
    del rig.below_client.sent[:]
    client.write(b"whole")
    client.write(b"never whole")
    rig.below_server.feed(bytes(rig.below_client.sent[:-1]))
    rig.below_server.feed_eof()
    assert await read(server, 5) == b"whole"
    await check_ended(server, cleanly=False)


async def test_what_follows_close_notify_is_ignored(rig: Rig) -> None:
    client, server = await rig.pair()
    client.write_eof()
    rig.below_server.feed(b"garbage")
    await check_ended(server, cleanly=True)


async def test_a_damaged_record_breaks_the_stream_after_what_was_good(rig: Rig) -> None:
    client, server = await rig.pair()
    client.write(b"good")
    rig.below_server.feed(b"\x17\x03\x03\x00\x20" + bytes(32))
    sent = len(rig.below_server.sent)
    assert await read(server, 4) == b"good"
    for _ in range(2):
        with pytest.raises(StreamClosed, match="TLS failed: "):
            await server.read()
    with pytest.raises(StreamClosed, match="TLS failed: "):
        await server.drain()
    assert server.ended
    assert not server.ended_cleanly
    assert len(rig.below_server.sent) > sent, "the alert"
    server.write(b"dropped")
    with pytest.raises(StreamClosed, match="ended TLS with the alert"):
        await client.read()
    await server.close()
    assert rig.below_server.closed


async def test_a_reset_below(rig: Rig) -> None:
    client, server = await rig.pair()
    client.write(b"good")
    rig.below_server.break_off()
    assert await read(server, 4) == b"good"
    with pytest.raises(StreamClosed, match="reset"):
        await server.read()
    with pytest.raises(StreamClosed, match="reset"):
        await server.drain()
    assert server.ended


# The end while nobody reads


class Calls:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def check_on_end(stream: TLSStream, before: bool = False, calls: Calls | None = None) -> Calls:
    calls = calls or Calls()
    stream.on_end(calls)
    assert calls.count == before
    return calls


async def test_the_end_of_the_connection_is_told(rig: Rig) -> None:
    client, server = await rig.pair()
    calls = check_on_end(server)
    await client.close()
    assert calls.count == 1
    assert server.ended
    rig.below_server.break_off()
    assert calls.count == 1
    check_on_end(server, before=True)


async def test_a_reset_is_told(rig: Rig) -> None:
    client, server = await rig.pair()
    calls = check_on_end(server)
    client.abort()
    assert calls.count == 1
    check_on_end(server, before=True)


async def test_close_notify_that_was_read_is_told(rig: Rig) -> None:
    client, server = await rig.pair()
    client.write_eof()
    assert await server.read() == b""
    check_on_end(server, before=True)


async def test_a_callback_taken_back_is_not_called(rig: Rig) -> None:
    client, server = await rig.pair()
    calls = check_on_end(server)
    server.on_end(None)
    await client.close()
    assert calls.count == 0


# Handshakes that fail


async def fail(client: TLSStream, server: TLSStream) -> tuple[Exception, Exception]:
    """How each side fails; each closes what is below it, as its owner would."""

    async def one(side: TLSStream) -> Exception:
        try:
            await side.handshake()
            await side.read()
        except (ssl.SSLError, StreamClosed) as error:
            await side.close()
            return error
        raise AssertionError("it did not fail")

    ours, theirs = await asyncio.wait_for(asyncio.gather(one(client), one(server)), 5)
    return ours, theirs


async def test_a_client_that_does_not_trust_us(rig: Rig) -> None:
    rig.client_context = ssl.create_default_context()
    client, server = rig.make()
    ours, theirs = await fail(client, server)
    assert isinstance(ours, ssl.SSLCertVerificationError)
    assert not distrust(ours)
    assert "certificate is not trusted: " in reason(ours)
    assert isinstance(theirs, ssl.SSLError)
    assert distrust(theirs)
    assert reason(theirs) == "the peer does not trust our certificate"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "does not speak TLS"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak TLS"),
        (bytes(100), "does not speak TLS"),
        (b"\x16\x03\x01\x00\x05hello", "TLS failed: "),
    ],
)
async def test_garbage_instead_of_a_handshake(rig: Rig, data: bytes, words: str) -> None:
    for index in (0, 1):
        side = rig.make()[index]
        side.inner.unread(data)
        with pytest.raises(ssl.SSLError) as caught:
            await side.handshake()
        assert words in reason(caught.value)
        assert "\n" not in reason(caught.value)
        assert not distrust(caught.value)
        side.write(b"dropped")
        await side.close()


async def test_the_peer_leaves_inside_the_handshake(rig: Rig) -> None:
    client, server = rig.make()
    rig.below_client.feed_eof()
    with pytest.raises(StreamClosed, match="server closed the connection during the TLS handshake"):
        await client.handshake()
    assert client.ended
    rig.below_server.feed_eof()
    with pytest.raises(StreamClosed, match="do not trust our CA"):
        await server.handshake()


async def test_a_reset_inside_the_handshake(rig: Rig) -> None:
    client, _ = rig.make()
    rig.below_client.break_off()
    with pytest.raises(StreamClosed, match="reset"):
        await client.handshake()


async def test_no_common_version(authority: Authority) -> None:
    rig = Rig(authority, ssl.TLSVersion.TLSv1_2)
    rig.server_context.minimum_version = ssl.TLSVersion.TLSv1_3
    ours, theirs = await fail(*rig.make())
    assert "no TLS version that both sides speak" in reason(ours)
    assert "no TLS version that both sides speak" in reason(theirs)


async def test_a_client_certificate_is_wanted(rig: Rig) -> None:
    """In TLS 1.3 the client learns it only after its handshake."""
    rig.server_context.verify_mode = ssl.CERT_REQUIRED
    ours, theirs = await fail(*rig.make())
    assert "wants a client certificate" in str(ours) + reason(ours)
    assert "wants a client certificate" in reason(theirs)


async def test_a_client_certificate_is_shown(rig: Rig) -> None:
    other = trustme.CA()
    rig.server_context.verify_mode = ssl.CERT_REQUIRED
    other.configure_trust(rig.server_context)
    other.issue_cert("me@a.example").configure_cert(rig.client_context)
    _, server = await rig.pair()
    assert server.certificate
    assert server.certificate.startswith(b"\x30")


async def test_a_server_that_distrusts_our_client_certificate(rig: Rig) -> None:
    rig.server_context.verify_mode = ssl.CERT_REQUIRED
    trustme.CA().issue_cert("me@a.example").configure_cert(rig.client_context)
    ours, _ = await fail(*rig.make())
    assert distrust(ours)
    assert "does not trust our certificate" in str(ours) + reason(ours)


@pytest.mark.parametrize(
    ("host", "sni"),
    [
        (HOST, HOST),
        (HOST + ".", HOST),
        ("127.0.0.1", None),
        ("::1", None),
        ("[::1]", None),
        ("fe80::1%eth0", None),
        ("under_score.example", "under_score.example"),
    ],
)
def test_the_host_that_is_asked_for(authority: Authority, host: str, sni: str | None) -> None:
    rig = Rig(authority)
    client = TLSStream(rig.below_client, rig.client_context, server_side=False, server_hostname=host)
    assert client.sni == sni


@pytest.mark.parametrize("host", [None, "", ".", "a..b", "x" * 64 + ".example", "a\0b", "a\nb", ".a", "a:b"])
def test_a_host_that_cannot_be_asked_for(authority: Authority, host: str | None) -> None:
    rig = Rig(authority)
    with pytest.raises(ValueError):
        TLSStream(rig.below_client, rig.client_context, server_side=False, server_hostname=host)


def test_reasons_of_other_errors() -> None:
    assert reason(StreamClosed("the connection was reset")) == "the connection was reset"
    assert not distrust(StreamClosed("the connection was reset"))
    assert not distrust(StreamTimeout())
    assert not distrust(None)
