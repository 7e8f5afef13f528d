"""One line in the log for every finished exchange and conversation. It looks at heads only and prints no header."""

from __future__ import annotations

import logging
import time

from rulesproxy.engine.log import escape
from rulesproxy.flow.http import HTTPFlow, HTTPResponse
from rulesproxy.flow.plan import FileBody
from rulesproxy.flow.tcp import TCPFlow
from rulesproxy.flow.websocket import WebSocketFlow


class AccessLog:
    """`client method url -> status size duration (rules)`, or what went wrong instead of a status.

    A WebSocket has a line for its handshake, and one for its end: `-> websocket 1000 by the client, 12 messages, 5.1s`.
    So has raw TCP: `client TCP server -> closed 5.1s (rules)`.
    """

    name = "access_log"
    observes = True

    def response(self, flow: HTTPFlow) -> None:
        """The exchange ended with a response."""
        self._write(flow)

    def error(self, flow: HTTPFlow) -> None:
        """It ended without one, or with the page that tells so.

        What a server did wrong has a line of its own in the log already, which says more.
        """
        if flow.error is None or flow.error.kind in ("client", "killed"):
            self._write(flow)

    def websocket_end(self, flow: WebSocketFlow) -> None:
        """The conversation is over, in order or not."""
        if not _logger.isEnabledFor(logging.INFO):
            return
        handshake = flow.handshake_flow
        client, request = _address(handshake.client_conn.address), handshake.request
        seconds = max(0.0, (flow.timestamp_end or time.time()) - flow.timestamp_start)
        by = {True: "the client", False: "the server", None: "the proxy"}[flow.closed_by_client]
        words = [f"websocket {flow.close_code} by {by}, {flow.message_count} messages, {_human_time(seconds)}"]
        fields: dict[str, object] = {
            "client": client, "method": request.method, "url": request.url, "close_code": flow.close_code,
            "closed_by": by.removeprefix("the "), "messages": flow.message_count, "seconds": round(seconds, 6),
        }  # fmt: skip
        if flow.error is not None:
            fields["error"] = flow.error.msg
            words.append(f"error: {flow.error.msg}")
        elif flow.close_reason:
            fields["reason"] = flow.close_reason
            words.append(flow.close_reason)
        by_rules = _rules(handshake.hits, fields)
        line = escape(f"{client} {request.method} {request.url} -> {': '.join(words)}{by_rules}")
        _logger.info("%s", line, extra={"fields": fields})

    def tcp_end(self, flow: TCPFlow) -> None:
        """The connection is over. What went wrong with one has a line of its own already."""
        if flow.error is not None or not _logger.isEnabledFor(logging.INFO):
            return
        client, server = _address(flow.client_conn.address), _address(flow.server_conn.address)
        seconds = max(0.0, time.time() - flow.timestamp_start)
        fields: dict[str, object] = {"client": client, "target": server, "seconds": round(seconds, 6)}
        by_rules = _rules(flow.hits, fields)
        _logger.info(
            escape(f"{client} TCP {server} -> closed {_human_time(seconds)}{by_rules}"), extra={"fields": fields}
        )

    def _write(self, flow: HTTPFlow) -> None:
        if not _logger.isEnabledFor(logging.INFO):
            return
        request, response = flow.request, flow.response
        client = _address(flow.client_conn.address)
        ended = (response.timestamp_end if response else None) or time.time()
        seconds = max(0.0, ended - flow.timestamp_start) if flow.timestamp_start else None
        size = _size(response) if response else None
        url = request.url
        fields: dict[str, object] = {"client": client, "method": request.method, "url": url}
        words = []
        if response is not None:
            fields["status"] = response.status_code
            words.append(str(response.status_code))
        if flow.error is not None:
            fields["error"] = flow.error.msg
            words.append(f"error: {flow.error.msg}")
        elif size is not None:
            words.append(_human_size(size))
        if size is not None:
            fields["size"] = size
        if seconds is not None:
            fields["seconds"] = round(seconds, 6)
            words.append(_human_time(seconds))
        by_rules = _rules(flow.hits, fields)
        # Without arguments a line is no format: a percent sign in it stays as it is.
        _logger.info(
            escape(f"{client} {request.method} {url} -> {' '.join(words)}{by_rules}"), extra={"fields": fields}
        )


_logger = logging.getLogger("rulesproxy.access")


def _rules(hits: list[str], fields: dict[str, object]) -> str:
    """The end of a line that names the rules that matched."""
    if not hits:
        return ""
    fields["rules"] = hits
    return f" ({', '.join(hits)})"


def _address(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _size(response: HTTPResponse) -> int | None:
    """The bytes of the body as they go over the wire, where they are known without looking at it."""
    body = response.body_source
    if isinstance(body, FileBody):
        return body.length
    if body:
        return len(body)
    length = response.headers.first(b"content-length")
    if length is not None and length.isdigit():
        return int(length)
    return None if body is None else 0


def _human_size(size: int) -> str:
    value, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{size}B" if unit == "B" else f"{value:.1f}{unit}"


def _human_time(seconds: float) -> str:
    return f"{seconds * 1000:.0f}ms" if seconds < 10 else f"{seconds:.1f}s"
