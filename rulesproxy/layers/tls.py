"""`TLSLayer`: TLS from a client, decrypted or passed through. The ClientHello is read before anything is decided."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable

from rulesproxy.engine.dispatch import dispatch
from rulesproxy.flow.url import format_authority
from rulesproxy.layers.detect import run_tunnel
from rulesproxy.layers.http import HTTPLayer
from rulesproxy.layers.layer import Layer, run_next
from rulesproxy.layers.names import mismatch
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
        if hello.sni:
            context.names = (*context.names, hello.sni)
            if context.options.host_mismatch == "block" and (other := mismatch(context.names, hello.sni)):
                _log.warning("%s: TLS for %s inside a tunnel to %s is refused (host_mismatch)",
                             self._peer(), hello.sni, other)  # fmt: skip
                context.stream.abort()
                return
        hello.client_conn = context.client_conn
        context.client_conn.alpn_offers = tuple(hello.alpn)
        chain = context.services.chain()
        if chain.clienthello:
            await dispatch(chain.clienthello, hello)
        if self.killed:
            context.stream.abort()
        elif context.server_conn is not None and (hello.passthrough or not self._wanted(hello)):
            # The client's bytes are TLS already: another handshake of ours around them would hang both sides.
            context.server_conn = context.server(context.server_conn.address)
            layer = TCPLayer(context, events=context.options.tcp_events_in_tunnels)
            tunnels = context.services.tunnels
            if not hello.passthrough and context.options.intercept == "auto":
                # Other rules may want it one day.
                tunnels[layer] = tuple(filter(None, (hello.sni, context.client_conn.connect_host)))
            try:
                await run_next(layer)
            finally:
                tunnels.pop(layer, None)
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
        alpn = () if context.mode.raw else ALPN
        try:
            contexts = services.server_contexts.get(host, alpn)
            tls = TLSStream(inner, contexts, server_side=True, server_hostname=hello.sni)
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
        try:
            await self._inside()
        finally:
            await tls.close()

    def _inside(self) -> Awaitable[None]:
        """What is spoken inside: what the mode says, what ALPN has agreed on, or what the first bytes look like."""
        context = self.context
        mode, server_conn, client_conn = context.mode, context.server_conn, context.client_conn
        if mode.raw:
            return run_next(TCPLayer(context))
        if server_conn is None or mode.name == "reverse":
            return run_next(HTTPLayer(context))
        # Whoever speaks TLS with us wants us to speak it with the server.
        context.server_conn = context.server(server_conn.address, tls=True)
        context.server_conn.sni = client_conn.sni or server_conn.address[0]
        return run_next(HTTPLayer(context)) if client_conn.alpn in ALPN else run_tunnel(context)

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
