"""The answers that the proxy gives in its own name: short, plain text, naming the cause."""

from __future__ import annotations

from rulesproxy.flow.headers import Field
from rulesproxy.flow.http import reason_phrase


def error_page(status: int, why: str) -> tuple[bytes, list[Field]]:
    """Body and header fields of an error answer; the connection closes behind it."""
    body = f"{status} {reason_phrase(status)}\n\nrulesproxy: {why}\n".encode("utf-8", "backslashreplace")
    fields = [
        (b"content-type", b"Content-Type", b"text/plain; charset=utf-8"),
        (b"content-length", b"Content-Length", b"%d" % len(body)),
        (b"connection", b"Connection", b"close"),
    ]
    return body, fields
