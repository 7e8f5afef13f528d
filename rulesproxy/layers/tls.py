"""`TLSLayer`: TLS from a client, decrypted or passed through. The ClientHello is read before anything is decided."""

from __future__ import annotations

import logging
import ssl

from rulesproxy.engine.dispatch import dispatch
from rulesproxy.flow.connection import ServerConn
from rulesproxy.flow.url import format_authority
from rulesproxy.layers.http import HTTPLayer
from rulesproxy.layers.layer import Layer, run_next
from rulesproxy.layers.stream import FOREVER, StreamClosed, StreamTimeout
from rulesproxy.layers.tcp import TCPLayer
from rulesproxy.layers.tls_stream import TLSStream, distrust, reason
from rulesproxy.proto import ProtocolError
from rulesproxy.proto.clienthello import ClientHello, parse

_log = logging.getLogger("rulesproxy")

ALPN = ("http/1.1",)
"""What clients are offered."""


class TLSLayer(Layer):
    """TLS with a client: inside a tunnel, or on a connection made to us directly."""

    __slots__ = ()

    async def run(self) -> None:
        """Read the ClientHello, let addons and rules decide, then decrypt or pass through."""
        context = self.context
        try:
            hello = await self._read_hello()
        except ProtocolError as exc:
            _log.info("%s: this is not TLS: %s", self._peer(), exc)
            context.stream.abort()
            return
        except (StreamClosed, StreamTimeout):
            context.stream.abort()
            return
        if hello is None:
            return
        context.client_conn.sni = hello.sni
        hello.client_conn = context.client_conn
        context.client_conn.alpn_offers = tuple(hello.alpn)
        chain = context.services.chain()
        if chain.clienthello:
            await dispatch(chain.clienthello, hello)
        if self.killed:
            context.stream.abort()
        elif context.server_conn is not None and (hello.passthrough or not self._wanted(hello)):
            # The client's bytes are TLS already: another handshake of ours around them would hang both sides.
            context.server_conn = ServerConn(context.server_conn.address)
            await run_next(TCPLayer(context, events=context.options.tcp_events_in_tunnels))
        else:
            await self._decrypt(hello)

    async def _read_hello(self) -> ClientHello | None:
        """The ClientHello; its bytes are left to be read. None where the client leaves first."""
        stream = self.context.stream
        stream.deadline = self.context.services.clock.now() + self.context.options.limits.tls_handshake
        data = b""
        try:
            while (hello := parse(data)) is None:
                more = await stream.read()
                if not more:
                    return None
                data += more
            return hello
        finally:
            stream.unread(data)
            self.context.peeked = data
            stream.deadline = FOREVER

    def _wanted(self, hello: ClientHello) -> bool:
        """Whether this connection is to be decrypted."""
        context = self.context
        intercept = context.options.intercept
        if intercept == "auto" and context.client_conn.mode != "reverse":
            chain = context.services.chain()
            named = context.client_conn.connect_host
            # Either name is enough: a rule about the one must not be dodged by sending the other.
            return bool(
                (hello.sni and chain.wants_host(hello.sni))
                or (named and named != hello.sni and chain.wants_host(named))
            )
        return intercept != "none"

    async def _decrypt(self, hello: ClientHello) -> None:
        context = self.context
        inner, services, client_conn = context.stream, context.services, context.client_conn
        host = hello.sni or client_conn.connect_host or (inner.sockname[0] if inner.sockname else "localhost")
        try:
            tls = TLSStream(
                inner, services.server_contexts.get(host, ALPN), server_side=True, server_hostname=hello.sni
            )
        except ValueError as exc:
            _log.warning("%s asks for a host that cannot have a certificate: %s", self._peer(), exc)
            inner.abort()
            return
        inner.deadline = services.clock.now() + context.options.limits.tls_handshake
        try:
            await tls.handshake()
        except (ssl.SSLError, StreamClosed, StreamTimeout) as exc:
            self._say_why(exc, host)
            # An alert may be on its way out.
            await inner.close()
            return
        inner.deadline = FOREVER
        client_conn.tls = True
        client_conn.tls_version, client_conn.cipher, client_conn.alpn = tls.tls_version, tls.cipher, tls.alpn
        context.stream = tls
        server_conn = context.server_conn
        try:
            if client_conn.mode == "reverse":
                assert server_conn is not None
                await run_next(HTTPLayer(context, "https", server_conn.address, reverse=True))
            else:
                await run_next(HTTPLayer(context, "https", server_conn.address if server_conn else None))
        finally:
            await tls.close()

    def _say_why(self, exc: Exception, host: str) -> None:
        peer = self._peer()
        if isinstance(exc, StreamTimeout):
            _log.info("%s did not finish its TLS handshake for %s", peer, host)
        elif distrust(exc):
            _log.warning(
                "%s does not trust our certificate for %s: install the CA of `rulesproxy ca path` in that client, or "
                "pass this host through undecrypted", peer, host,
            )  # fmt: skip
        elif isinstance(exc, StreamClosed):
            _log.info("%s, asking for %s: %s", peer, host, exc)
        else:
            _log.warning("the TLS handshake with %s for %s failed: %s", peer, host, reason(exc))

    def _peer(self) -> str:
        host, port = self.context.client_conn.address
        return format_authority(host, port, "")
