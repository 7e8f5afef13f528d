"""`HTTPLayer`: HTTP/1.1 towards one client. Reads one request head after the other and runs an exchange for each.

It knows what a request target means in the mode at hand (RFC 9112 section 3.2); the life of the exchange is in
`exchange`.
"""

from __future__ import annotations

import logging
from functools import lru_cache

from rulesproxy.engine.dispatch import dispatch
from rulesproxy.flow.connection import Address, ServerConn
from rulesproxy.flow.headers import Field, Headers
from rulesproxy.flow.http import HTTPFlow, HTTPRequest, HTTPResponse, reason_phrase
from rulesproxy.flow.url import format_authority, split_authority
from rulesproxy.flow.websocket import WebSocketFlow
from rulesproxy.layers.auth import CHALLENGE, accepts_basic
from rulesproxy.layers.effects import slowed, wait_as_planned
from rulesproxy.layers.exchange import Exchange
from rulesproxy.layers.layer import Context, Layer
from rulesproxy.layers.names import mismatch
from rulesproxy.layers.outcome import FlowFailed
from rulesproxy.layers.pages import error_page
from rulesproxy.layers.reach import Key
from rulesproxy.layers.stream import FOREVER, StreamClosed, StreamTimeout
from rulesproxy.layers.upstream import Upstream
from rulesproxy.proto import ProtocolError
from rulesproxy.proto.http1 import CODECS, NEED_DATA, NO_BODY, RequestHead, encode_response_head

_log = logging.getLogger("rulesproxy")

_authority = lru_cache(maxsize=4096)(split_authority)

_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class HTTPLayer(Layer):
    """HTTP/1.1 with a client.

    Attributes:
        client: the client's bytes.
        target: where requests go that name no server themselves: the other end of a tunnel, or the server of reverse
            mode. None for a client that speaks to us as its proxy.
        scheme: that of these requests.
        private: idle connections to servers that this client alone may use.
        harmless: the fields of the last request that were found to prove nothing about the whole connection.
        reverse: whether every request is for `target`, whatever it names.
    """

    __slots__ = ("_auth", "_names", "client", "harmless", "private", "reader", "reverse", "scheme", "target")

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        server_conn, options = context.server_conn, context.options
        self.client = context.stream
        self.reverse = context.mode.name == "reverse"
        secure = context.client_conn.tls if self.reverse else server_conn is not None and server_conn.tls
        self.scheme = "https" if secure else "http"
        self.target: Address | None = None if server_conn is None else server_conn.address
        # Inside a tunnel the client has been asked already.
        self._auth = options.auth if self.target is None else ""
        self._names = context.names if options.host_mismatch == "block" and not self.reverse else ()
        self.private: dict[Key, Upstream] = {}
        self.harmless: list[Field] = []
        self.reader = CODECS[options.http1_codec][0](options.limits)

    async def run(self) -> None:
        """Serve requests until the client or an answer ends the connection."""
        # One coroutine, not two: whatever happens further down wakes all that wait above it, one after the other.
        try:
            while True:
                head = await self._next_head()
                if head is None:
                    return
                if self._auth and not accepts_basic(self._auth, head.fields):
                    if not await self._challenge(head):
                        return
                    continue
                if head.method == "CONNECT":
                    await self._connect(head)
                    return
                if not await self._exchange(head):
                    return
        except ProtocolError as exc:
            _log.info("%s sent a bad request: %s", _peer(self.context), exc)
            await self.refuse(exc.status, str(exc))
        except FlowFailed as exc:
            _log.warning("%s: %s", _peer(self.context), exc)
            await self.refuse(exc.status, str(exc))
        except StreamTimeout:
            if self.reader.started:
                await self.refuse(408, "the request head did not arrive in time")
        except StreamClosed:
            pass
        finally:
            for upstream in self.private.values():
                await self.context.services.upstreams.discard(upstream)

    async def refuse(self, status: int, why: str) -> None:
        """Answer something that never became a flow, and end the connection."""
        body, fields = error_page(status, why)
        self.client.write(encode_response_head(status, reason_phrase(status), fields) + body)
        await self.linger()

    async def _challenge(self, head: RequestHead) -> bool:
        """Ask for user and password (RFC 9110 section 15.5.8). Whether the connection can carry another request."""
        sent = any(field[0] == b"proxy-authorization" for field in head.fields)
        why = "wrong user or password" if sent else "this proxy wants a user and a password"
        _log.info("%s: %s", _peer(self.context), why)
        keep = head.keep_alive and head.length == NO_BODY
        body, fields = error_page(407, why)
        if keep:
            self.reader.next_message()
            fields = [field for field in fields if field[0] != b"connection"]
        head_bytes = encode_response_head(407, reason_phrase(407), [CHALLENGE, *fields])
        self.client.write(head_bytes + (b"" if head.method == "HEAD" else body))
        if not keep:
            await self.linger()
        return keep

    async def keep_private(self, upstream: Upstream) -> None:
        """Keep a connection for this client's next request to the same server."""
        before = self.private.pop(upstream.key, None)
        self.private[upstream.key] = upstream
        if before is not None:
            await self.context.services.upstreams.discard(before)

    async def linger(self) -> None:
        """End our direction, and read on for a moment: a reset for unread bytes would destroy the answer."""
        clock, limits = self.context.services.clock, self.context.options.limits
        self.client.write_eof()
        self.client.deadline = clock.now() + limits.close_linger
        left = limits.write_buffer
        try:
            while left > 0 and (data := await self.client.read()):
                left -= len(data)
        except (StreamClosed, StreamTimeout):
            pass

    async def _next_head(self) -> RequestHead | None:
        reader, client = self.reader, self.client
        message = reader.next_message()
        if message is NEED_DATA:
            services, limits = self.context.services, self.context.options.limits
            if not reader.started:
                client.deadline = services.clock.now() + limits.idle
                services.resting.add(client)
                try:
                    data = await client.read()
                finally:
                    services.resting.discard(client)
                if not data:
                    return None
                reader.feed(data)
                message = reader.next_message()
            if message is NEED_DATA:
                client.deadline = services.clock.now() + limits.header_read
                while message is NEED_DATA:
                    data = await client.read()
                    if not data:
                        return None
                    reader.feed(data)
                    message = reader.next_message()
            client.deadline = FOREVER
        assert isinstance(message, RequestHead)
        return message

    async def _exchange(self, head: RequestHead) -> bool:
        """Run the exchange of one request. Whether the connection can carry another."""
        context = self.context
        request, address = self.request_of(head)
        if self._names and (other := mismatch(self._names, request.host)) is not None:
            raise ProtocolError(
                f"the request is for {request.host}, on a connection that was made for {other} (host_mismatch)", 421
            )
        flow = HTTPFlow(request, context.client_conn, ServerConn(address, False, context.mode.via))
        if self.reverse:
            # `flow.orig` has kept what the client asked for.
            self._retarget(request, address)
        now = context.services.clock.wall()
        flow.timestamp_start = request.timestamp_start = now
        if head.upgrade and "websocket" in map(str.strip, head.upgrade.split(",")):
            flow.websocket = WebSocketFlow(flow, now)
        chain = context.services.chain()
        chain.hold()
        try:
            return await Exchange(self, chain, head, flow, address).run()
        finally:
            chain.release()

    def request_of(self, head: RequestHead) -> tuple[HTTPRequest, Address]:
        """The request that a head asks for, and the address it goes to unless somebody changes it.

        The identity is the authority of the target: the absolute-form wins over Host, which is rewritten to it
        (RFC 9112 section 3.2.2).
        """
        target, method = head.target, head.method
        if target.startswith("/") or (target == "*" and method == "OPTIONS"):
            return self._origin_form(head, target)
        scheme, found, rest = target.partition("://")
        scheme = scheme.lower()
        if not found or scheme not in ("http", "https"):
            raise ProtocolError(f"the request target {_shown(target)!r} is neither a path nor an http or https URL")
        end = len(rest)
        for mark in "/?":
            at = rest.find(mark)
            if 0 <= at < end:
                end = at
        authority, path = rest[:end], rest[end:]
        host, port = _split(authority, 443 if scheme == "https" else 80)
        if not path:
            # RFC 9112 section 3.2.4: the last proxy turns an empty path of OPTIONS into the asterisk-form.
            path = "*" if method == "OPTIONS" else "/"
        elif path[0] == "?":
            path = "/" + path
        request = HTTPRequest(method, scheme, host, port, path, head.version, Headers.of(head.fields))
        if head.host != authority:
            request.update_host_header()
        if self.target is not None:
            return request, self.target
        return request, (host, port)

    def _origin_form(self, head: RequestHead, path: str) -> tuple[HTTPRequest, Address]:
        target = self.target
        if target is None:
            raise ProtocolError(
                "this is a proxy: it wants an absolute URL or CONNECT; set it as the HTTP proxy of your client"
            )
        headers = Headers.of(head.fields)
        if head.host:
            host, port = _split(head.host, target[1])
        else:
            host, port = target
        request = HTTPRequest(head.method, self.scheme, host, port, path, head.version, headers)
        if not head.host:
            request.update_host_header()
        return request, target

    def _retarget(self, request: HTTPRequest, address: Address) -> None:
        """Reverse mode: the request is for the configured server, whatever name the client knows us by."""
        server = self.context.server_conn
        request.scheme = "https" if server is not None and server.tls else "http"
        if self.context.options.keep_host:
            request.move(*address)
        else:
            request.move(*address)
            request.update_host_header()

    # CONNECT

    async def _connect(self, head: RequestHead) -> None:
        """Open a tunnel (RFC 9110 section 9.3.6). The server is dialled when the tunnel needs it."""
        context = self.context
        if self.target is not None:
            raise ProtocolError("CONNECT is for a proxy; this connection already leads to a server", 400)
        if "/" in head.target or ":" not in head.target.rpartition("]")[2]:
            raise ProtocolError(f"CONNECT wants host:port, got {_shown(head.target)!r}")
        host, port = _split(head.target, 443)
        request = HTTPRequest("CONNECT", "", host, port, "", head.version, Headers.of(head.fields))
        flow = HTTPFlow(request, context.client_conn, context.server((host, port)))
        flow.timestamp_start = request.timestamp_start = context.services.clock.wall()
        chain = context.services.chain()
        if chain.http_connect:
            chain.hold()
            try:
                await dispatch(chain.http_connect, flow)
            finally:
                chain.release()
            if flow.killed:
                self._tell_refused(flow, "closed")
                self.client.abort()
                return
            plan = flow.planned
            if plan is not None:
                await wait_as_planned(context.services, self.client, plan)
                context.route = plan.upstream
                if plan.end is not None:
                    self._tell_refused(flow, plan.end)
                    await self.end(plan.end)
                    return
            if flow.response is not None and not 200 <= flow.response.status_code < 300:
                self._tell_refused(flow, str(flow.response.status_code))
                await self._refuse_tunnel(flow.response)
                return
        context.names = (host,)
        host, port = request.host, request.port
        context.client_conn.connect_host, context.client_conn.connect_port = host, port
        context.server_conn = context.server((host, port))
        self.client.write(_ESTABLISHED)
        self.client.unread(self.reader.take_rest())
        if flow.planned is not None:
            context.stream = slowed(context.services, self.client, flow.planned)
        from rulesproxy.layers.detect import run_tunnel

        await run_tunnel(context)

    def _tell_refused(self, flow: HTTPFlow, how: str) -> None:
        """Write the line of a tunnel that is refused: no event follows that the access log could see."""
        client, target = _peer(self.context), format_authority(flow.request.host, flow.request.port, "")
        fields = {"client": client, "method": "CONNECT", "target": target, "refused": how, "rules": flow.hits}
        by = f" ({', '.join(flow.hits)})" if flow.hits else ""
        _log.info("%s CONNECT %s -> refused: %s%s", client, target, how, by, extra={"fields": fields})

    async def _refuse_tunnel(self, response: HTTPResponse) -> None:
        body = response.raw_content or b""
        response.headers["content-length"] = str(len(body))
        response.headers["connection"] = "close"
        head = encode_response_head(response.status_code, response.reason, response.headers.raw)
        self.client.write(head + body)
        await self.linger()

    async def end(self, how: str) -> None:
        """End the client's connection as a plan asks."""
        if how == "reset":
            self.client.abort()
        elif how == "timeout":
            # Silence until the client gives up; what it still sends is read, so that its leaving is noticed.
            self.client.deadline = self.context.services.clock.now() + self.context.options.limits.tunnel_idle
            try:
                while await self.client.read():
                    pass
            except (StreamClosed, StreamTimeout):
                pass


def _split(authority: str, default: int) -> Address:
    try:
        return _authority(authority, default)
    except ValueError as exc:
        raise ProtocolError(str(exc)) from None


def _shown(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _peer(context: Context) -> str:
    host, port = context.client_conn.address
    return format_authority(host, port, "")
