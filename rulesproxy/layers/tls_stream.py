"""`TLSStream`: TLS over any `Stream`, made of `ssl.MemoryBIO` and `ssl.SSLObject`.

It knows records, alerts and the two ends of a stream. Which context and which host is the caller's business, and so is
how long a handshake may take.
"""

from __future__ import annotations

import asyncio
import ssl

from rulesproxy.flow.connection import Address
from rulesproxy.layers.stream import OnEnd, Stream, StreamClosed, StreamTimeout
from rulesproxy.tls.leaf import normalise

_RECORD = 16384
"""The most that one TLS record carries, so one read never leaves a part behind."""
_BATCH = 65536
"""What is encrypted at once. A MemoryBIO keeps the biggest buffer it ever had for as long as it lives."""


class TLSStream:
    """TLS on top of `inner`. Nothing can be read or written before `handshake`.

    Attributes:
        inner: the stream below. Its deadline is ours.
        sni: the server name that was asked for; None where it is unknown, and for an address.
        ended_cleanly: whether the peer said that it had sent everything (close_notify). After an end without it the
            data may be cut short.
        eof_ends: always set: the end of the peer's direction is the end of a TLS connection.
    """

    __slots__ = (
        "_decrypt", "_encrypt", "_ended", "_error", "_held", "_incoming", "_open", "_outgoing", "_resumed", "_tls",
        "_unread", "ended_cleanly", "eof_ends", "inner", "peername", "server_side", "sni", "sockname",
    )  # fmt: skip

    def __init__(
        self,
        inner: Stream,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None = None,
    ) -> None:
        """
        Args:
            inner: what carries the records.
            context: from `tls.context`.
            server_side: whether the peer is the client.
            server_hostname: towards a server, the host to ask for and to verify. From a client, the name that its
                ClientHello asked for, only remembered.

        Raises:
            ValueError: the server's host is no host, or is missing though it must be verified.
        """
        self.inner = inner
        # A TLS peer that ends its direction of TCP has left (RFC 8446 section 6.1 ends a direction by an alert).
        inner.eof_ends = self.eof_ends = True
        self.peername: Address | None = inner.peername
        self.sockname: Address | None = inner.sockname
        self.server_side = server_side
        name = server_hostname
        self.sni = name
        if name and not server_side:
            host = normalise(name)
            name = str(host)
            # RFC 6066 section 3: an address is verified, but never sent.
            self.sni = name if isinstance(host, str) else None
        elif context.check_hostname:
            # `ssl` checks this for sockets only: here it would quietly take a certificate of any host.
            raise ValueError("a server cannot be verified without its host name")
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side, None if server_side else name or None)
        self._decrypt = self._tls.read
        self._encrypt = self._tls.write
        self._unread = b""
        self._open = False
        self._ended = False
        self._error: ssl.SSLError | None = None
        self._held = bytearray()
        self._resumed: asyncio.Event | None = None
        self.ended_cleanly = False

    async def handshake(self) -> None:
        """Agree on keys, and as a client verify the server. The deadline is that of `inner`.

        After an error the alert that tells the peer is on its way: `close` sends it, `abort` may lose it.

        Raises:
            ssl.SSLError: it failed; `ssl.SSLCertVerificationError` where the server is not trusted. See `reason`.
            StreamClosed: the peer left, or the connection broke.
            StreamTimeout: the deadline passed.
        """
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                self._ended = True
                self._flush()
                raise
            self._flush()
            await self.inner.drain()
            data = await self.inner.read()
            if not data:
                self._ended = True
                raise StreamClosed(_LEFT[self.server_side])
            self._incoming.write(data)
        self._open = True
        self._flush()
        await self.inner.drain()

    # The interface of a stream

    async def read(self) -> bytes:
        if self._unread:
            data, self._unread = self._unread, b""
            return data
        while True:
            if self._incoming.pending and not self._ended:
                data = self._decrypt_all()
                if data:
                    return data
            if self._error:
                raise StreamClosed(reason(self._error)) from self._error
            if self._ended:
                return b""
            data = await self.inner.read()
            if data:
                self._incoming.write(data)
            else:
                self._ended = True

    def write(self, data: bytes) -> None:
        if not self._open or not data:
            return
        if self._held:
            self._held += data
            return
        view, done = memoryview(data), 0
        try:
            while done < len(data):
                batch = view[done : done + _BATCH]
                self._encrypt(batch)
                done += len(batch)
                self.inner.write(self._outgoing.read())
        except ssl.SSLWantReadError:
            self._hold(view[done:])
        except ssl.SSLError as error:
            self._break(error)

    async def drain(self) -> None:
        if self._resumed:
            await self._wait_until_resumed(self._resumed)
        if self._error:
            raise StreamClosed(reason(self._error)) from self._error
        await self.inner.drain()

    def write_eof(self) -> None:
        """Say close_notify; reading goes on, and the direction of TCP stays open for the alerts of TLS."""
        if not self._open:
            return
        # `unwrap` goes on to look for the peer's close_notify and chokes on data: it must find nothing.
        if self._incoming.pending and not self._ended:
            self._unread += self._decrypt_all()
        self._open = False
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._break(error)
        self._flush()

    async def close(self) -> None:
        self.write_eof()
        await self.inner.close()

    def abort(self) -> None:
        self._open = False
        self._resume()
        self.inner.abort()

    def unread(self, data: bytes) -> None:
        self._unread = bytes(data) + self._unread

    def on_end(self, callback: OnEnd | None) -> None:
        if callback and (self._ended or self._error):
            self.inner.on_end(None)
            callback()
        else:
            self.inner.on_end(callback)

    @property
    def ended(self) -> bool:
        return self._ended or self.inner.ended

    @property
    def pending(self) -> bool:
        return bool(self._unread) or self._incoming.pending > 0 or self.inner.pending

    @property
    def gone(self) -> bool:
        return self._ended or self._error is not None or self.inner.gone

    @property
    def deadline(self) -> float:
        """When a wait is over: the slot of the innermost stream."""
        return self.inner.deadline

    @deadline.setter
    def deadline(self, when: float) -> None:
        self.inner.deadline = when

    # What the handshake agreed on

    @property
    def tls_version(self) -> str | None:
        """Such as `TLSv1.3`; None before the handshake."""
        return self._tls.version()

    @property
    def alpn(self) -> str | None:
        """The protocol that was chosen by ALPN."""
        return self._tls.selected_alpn_protocol()

    @property
    def cipher(self) -> str | None:
        """The name of the cipher suite."""
        cipher = self._tls.cipher()
        return cipher[0] if cipher else None

    @property
    def certificate(self) -> bytes | None:
        """The peer's certificate in DER, verified or not; None where it sent none."""
        try:
            return self._tls.getpeercert(True)
        except ValueError:  # The handshake is not done.
            return None

    # Records in and out

    def _decrypt_all(self) -> bytes:
        """Everything that has arrived in whole records. What came before an error is handed out before it."""
        parts = []
        try:
            while True:
                part = self._decrypt(_RECORD)
                if not part:
                    self._ended = self.ended_cleanly = True
                    break
                parts.append(part)
                if not self._incoming.pending:
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # The same as b"", once our own close_notify is out.
            self._ended = self.ended_cleanly = True
        except ssl.SSLError as error:
            self._break(error)
        if self._held:
            self._release()
        if self._outgoing.pending:  # An answer of TLS itself: a key update, an alert, a certificate asked for late.
            self._flush()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _flush(self) -> None:
        if self._outgoing.pending:
            self.inner.write(self._outgoing.read())

    def _break(self, error: ssl.SSLError) -> None:
        # Without its traceback, whose frames would hold this object.
        self._error = error.with_traceback(None)
        self._ended = True
        self._open = False
        self._resume()

    # A renegotiation of TLS 1.2: nothing can be encrypted until the peer has answered.

    def _hold(self, data: memoryview) -> None:
        self._held += data
        self._resumed = self._resumed or asyncio.Event()
        self._flush()

    def _release(self) -> None:
        held, self._held = bytes(self._held), bytearray()
        self.write(held)
        if not self._held:
            self._resume()

    def _resume(self) -> None:
        resumed, self._resumed = self._resumed, None
        if resumed:
            resumed.set()

    async def _wait_until_resumed(self, resumed: asyncio.Event) -> None:
        """The peer's answer is read by whoever reads; this only waits for it."""
        deadline = self.deadline
        try:
            async with asyncio.timeout_at(None if deadline == float("inf") else deadline):
                await resumed.wait()
        except TimeoutError:
            raise StreamTimeout("the server did not finish its TLS renegotiation in time") from None


def distrust(error: BaseException | None) -> bool:
    """Whether the peer refused our certificate: a client that does not trust our CA, or that pins its server.

    Args:
        error: what `handshake`, `read` or `drain` raised.
    """
    while error is not None:
        if isinstance(error, ssl.SSLError) and error.reason in _DISTRUST:
            return True
        error = error.__cause__
    return False


def reason(error: BaseException) -> str:
    """Why TLS failed, as the end of a sentence for a person."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not trusted: {error.verify_message}"
    if not isinstance(error, ssl.SSLError):
        return str(error)
    if not error.reason:
        return "TLS failed for a reason that OpenSSL does not tell"
    if error.reason in _DISTRUST:
        return "the peer does not trust our certificate"
    known = _REASONS.get(error.reason)
    if known:
        return known
    # OpenSSL's own words: `SSLV3_ALERT_ILLEGAL_PARAMETER` is the peer's alert, the rest is what we found.
    words = error.reason.lower().replace("_", " ")
    _, alert, what = words.partition(" alert ")
    return f"the peer ended TLS with the alert {what!r}" if alert else f"TLS failed: {words}"


_DISTRUST = frozenset(
    {
        "TLSV1_ALERT_UNKNOWN_CA",
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
    }
)
"""Chromium says certificate unknown, Firefox bad certificate, OpenSSL unknown CA."""

_NOT_TLS = "the peer does not speak TLS"
_VERSION = "there is no TLS version that both sides speak; 1.2 is the lowest here"
_CLIENT_CERT = "the server wants a client certificate"
_REASONS = {
    "WRONG_VERSION_NUMBER": _NOT_TLS,
    "HTTP_REQUEST": _NOT_TLS,
    "HTTPS_PROXY_REQUEST": _NOT_TLS,
    "PACKET_LENGTH_TOO_LONG": _NOT_TLS,
    "UNSUPPORTED_PROTOCOL": _VERSION,
    "TLSV1_ALERT_PROTOCOL_VERSION": _VERSION,
    "NO_SHARED_CIPHER": "there is no cipher suite that both sides speak",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the peer found no common settings, or it wants a client certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _CLIENT_CERT,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": _CLIENT_CERT,
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": "the peer takes none of the versions of HTTP that it was offered (ALPN)",
    "TLSV1_UNRECOGNIZED_NAME": "the server does not know the host that it was asked for",
}

_LEFT = {
    True: "the client left during the TLS handshake; some clients that do not trust our CA do so without a word",
    False: "the server closed the connection during the TLS handshake",
}
