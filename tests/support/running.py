"""A proxy in this process, on a real socket, as tests want it: trusting the test authority, leaving nothing behind."""

from __future__ import annotations

import atexit
import logging
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from rulesproxy import Proxy
from tests.support import pki
from tests.support.client import RawClient
from tests.support.leaks import no_leaks
from tests.support.recorder import Observer, Recorder

READING = {"streaming": Observer, "buffering": Recorder}
"""The two ways in which a body goes through: seen by nobody, or by an addon that wants all of it."""


@cache
def home() -> Path:
    """The state directory that the proxies of one test run share, so that they share a CA."""
    path = Path(mkdtemp(prefix="rulesproxy-home-"))
    atexit.register(shutil.rmtree, path)
    return path


@asynccontextmanager
async def running(*addons: object, errors: bool = False, **options: object) -> AsyncIterator[Proxy]:
    """A proxy with these addons and options.

    Fails where it leaves sockets or tasks behind, and, unless `errors`, where it logs an error: whatever peers do, that
    is a bug of ours.
    """
    with errors_of() as logged:
        async with no_leaks(), second(*addons, **options) as proxy:
            yield proxy
    assert errors or not logged, f"the proxy logged errors: {[record.getMessage() for record in logged]}"


def second(*addons: object, **options: object) -> Proxy:
    """A proxy to be run inside `running`, which finds what this one leaves behind, too: the two may share connections."""
    options.setdefault("upstream_ca", (str(pki.ca_file()),))
    options.setdefault("shutdown_grace", 0.5)
    return Proxy(addons=addons, home=home(), **options)  # type: ignore[arg-type]


@contextmanager
def errors_of() -> Iterator[list[logging.LogRecord]]:
    """What the proxy logs at the level of errors."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = records.append  # type: ignore[method-assign, assignment]
    logger = logging.getLogger("rulesproxy")
    logger.addHandler(handler)
    try:
        yield records
    finally:
        logger.removeHandler(handler)


@asynccontextmanager
async def client_of(proxy: Proxy) -> AsyncIterator[RawClient]:
    """A client that is connected to a proxy."""
    async with await RawClient.connect(proxy.port) as client:
        yield client


def get(url: str, *fields: str, method: str = "GET", body: bytes = b"", version: str = "HTTP/1.1") -> bytes:
    """A request to a proxy, in bytes; Host comes from the URL unless a field names it."""
    authority = url.partition("://")[2].partition("/")[0]
    lines = [f"{method} {url} {version}"]
    if not any(field.lower().startswith("host:") for field in fields):
        lines.append(f"Host: {authority}")
    lines += fields
    if body and not any(field.lower().startswith(("content-length:", "transfer-encoding:")) for field in fields):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
