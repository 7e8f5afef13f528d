"""`Har`: writes the flows whose plan asks for it into HAR files (HAR 1.2), without secrets unless they are wanted.

It knows the format. How a file grows so that it is always a whole one is in `engine.growing`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Awaitable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from rulesproxy.engine.growing import GrowingList
from rulesproxy.engine.secrets import MASK, masked, masked_field
from rulesproxy.flow.forms import parse_cookies, parse_query
from rulesproxy.flow.headers import to_str
from rulesproxy.flow.http import HTTPFlow, HTTPMessage, HTTPRequest, HTTPResponse
from rulesproxy.flow.plan import FileBody, Record
from rulesproxy.limits import HAR_BACKLOG, HAR_IMPORT
from rulesproxy.version import __version__

_log = logging.getLogger("rulesproxy")

_CREATOR = json.dumps({"name": "rulesproxy", "version": __version__})
HEAD = f'{{"log": {{"version": "1.2", "creator": {_CREATOR}, "pages": [], "entries": ['.encode()
TAIL = b"\n]}}\n"


class Har:
    """Records what flows ask for in `flow.plan.records`. Others cost it one look."""

    name = "har"
    observes = True

    def __init__(self) -> None:
        self._files: dict[Path, _File] = {}

    def response(self, flow: HTTPFlow) -> Awaitable[None] | None:
        """The flow is over, with an answer."""
        plan = flow.planned
        return None if plan is None or not plan.records else self._record(flow, plan.records)

    def error(self, flow: HTTPFlow) -> Awaitable[None] | None:
        """The flow is over, without one."""
        return self.response(flow)

    async def done(self) -> None:
        """Write what is left, and let go of the files."""
        for file in self._files.values():
            await file.finish()

    async def _record(self, flow: HTTPFlow, records: Iterable[Record]) -> None:
        # Two rules may name one file, and the flow is written to it once.
        for record in {record.path: record for record in records}.values():
            file = self._files.get(record.path)
            if file is None:
                file = self._files[record.path] = _File(record)
            await file.put(flow, record)


class _File:
    """One file and what waits to be written to it. Disks are slow, so a thread writes."""

    def __init__(self, record: Record) -> None:
        self._path = record.path
        self._list = GrowingList(
            record.path, HEAD, TAIL, append=record.append, convert=_entries_of, largest=HAR_IMPORT
        )  # fmt: skip
        self._waiting: list[bytes] = []
        self._size = 0
        self._stopped = False
        self._task: asyncio.Task[None] | None = None

    async def put(self, flow: HTTPFlow, record: Record) -> None:
        """Write an entry soon. Waits only where the disk is behind."""
        if self._stopped:
            return
        entry = entry_of(flow, record)
        self._waiting.append(entry)
        self._size += len(entry)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._write())
        if self._size > HAR_BACKLOG:
            await asyncio.wait({self._task})

    async def finish(self) -> None:
        """Write everything, and close."""
        if self._task is not None:
            await asyncio.wait({self._task})
        await asyncio.get_running_loop().run_in_executor(None, self._list.close)

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting, self._size = self._waiting, [], 0
            try:
                await loop.run_in_executor(None, self._list.add, batch)
            except (OSError, ValueError) as error:
                self._stopped = True
                self._waiting, self._size = [], 0
                # The hidden copy would go on filling a disk that is full.
                await loop.run_in_executor(None, self._list.close)
                why = (error.strerror if isinstance(error, OSError) else None) or str(error)
                _log.warning(
                    "%s is not written to any more: %s; what is in it stays, and traffic goes on", self._path, why
                )
                return


def entry_of(flow: HTTPFlow, record: Record) -> bytes:
    """A flow as an entry of `log.entries`, in ASCII: everything else is escaped."""
    request, response = flow.request, flow.response
    start = flow.timestamp_start
    sent = request.timestamp_end or request.timestamp_start or start
    first = (response.timestamp_start if response is not None else 0.0) or sent
    last = (response.timestamp_end if response is not None else None) or first
    send, wait, receive = (max(0.0, round(1000 * gap, 3)) for gap in (sent - start, first - sent, last - first))
    entry: dict[str, object] = {
        "startedDateTime": datetime.fromtimestamp(start, UTC).isoformat(timespec="milliseconds"),
        "time": round(send + wait + receive, 3),
        "request": _request(request, record),
        "response": _no_response(flow) if response is None else _response(response, record),
        "cache": {},
        "timings": {"blocked": -1, "dns": -1, "connect": -1, "ssl": -1, "send": send, "wait": wait, "receive": receive},
        "connection": str(flow.client_conn.id),
    }
    if flow.server_conn.peername is not None:
        entry["serverIPAddress"] = flow.server_conn.peername[0]
    if flow.hits:
        entry["_rules"] = list(flow.hits)
    if flow.tags:
        entry["_tags"] = list(flow.tags)
    text = json.dumps(entry, ensure_ascii=True)
    # The one control character that JSON leaves as it is.
    return text.replace("\x7f", "\\u007f").encode()


def _request(request: HTTPRequest, record: Record) -> dict[str, object]:
    url = _shown(request.url, record)
    made: dict[str, object] = {
        "method": _shown(request.method, record),
        "url": url,
        "httpVersion": request.http_version,
        "cookies": [
            {"name": _shown(name, record), "value": _cookie(value, record)}
            for name, value in parse_cookies(request.headers.get_all("cookie"))
        ],
        "headers": _headers(request, record),
        "queryString": [
            {"name": _shown(name, record), "value": _shown(value, record)} for name, value in parse_query(request.path)
        ],
        "headersSize": -1,
        "bodySize": _wire_size(request),
    }
    text, coding = _body(request, record)
    if text is not None and text != "":
        data: dict[str, object] = {"mimeType": _type(request), "text": text}
        if coding:
            # HAR has no word for it here; this one is in use.
            data["_encoding"] = coding
        made["postData"] = data
    return made


def _response(response: HTTPResponse, record: Record) -> dict[str, object]:
    text, coding = _body(response, record)
    content: dict[str, object] = {"size": max(0, _wire_size(response)), "mimeType": _type(response)}
    whole = response.content if text is not None else None
    if text is not None and whole is not None:
        content["size"] = len(whole)
        content["text"] = text
        if coding:
            content["encoding"] = coding
        if len(whole) > record.body_limit:
            content["comment"] = f"cut to {record.body_limit} bytes"
    elif not record.bodies or response.body_source is None:
        content["comment"] = "the body was not kept"
    location = response.headers.get("location", "")
    return {
        "status": response.status_code,
        "statusText": _shown(response.reason, record),
        "httpVersion": response.http_version,
        "cookies": [_set_cookie(value, record) for value in response.headers.get_all("set-cookie")],
        "headers": _headers(response, record),
        "content": content,
        "redirectURL": _shown(location, record),
        "headersSize": -1,
        "bodySize": _wire_size(response),
    }


def _no_response(flow: HTTPFlow) -> dict[str, object]:
    """What stands for an answer that never came; `_error` is how browsers say why."""
    return {
        "status": 0, "statusText": "", "httpVersion": "", "cookies": [], "headers": [],
        "content": {"size": 0, "mimeType": "x-unknown"}, "redirectURL": "", "headersSize": -1, "bodySize": -1,
        "_error": masked("" if flow.error is None else flow.error.msg),
    }  # fmt: skip


def _headers(message: HTTPMessage, record: Record) -> list[dict[str, str]]:
    fields = [(to_str(name), to_str(value)) for _, name, value in message.headers.raw]
    shown = [(name, value if record.keep_secrets else masked_field(name, value)) for name, value in fields]
    return [{"name": _clean(name), "value": _clean(value)} for name, value in shown]


def _set_cookie(header: str, record: Record) -> dict[str, object]:
    pair, _, attributes = header.partition(";")
    name, found, value = pair.strip().partition("=")
    made: dict[str, object] = {
        "name": _shown(name if found else "", record),
        "value": _cookie(value if found else name, record),
    }
    for attribute in attributes.split(";"):
        key, _, value = attribute.strip().partition("=")
        key = key.lower()
        if key in ("path", "domain"):
            made[key] = _shown(value, record)
        elif key in ("httponly", "secure"):
            made["httpOnly" if key == "httponly" else key] = True
    return made


def _cookie(value: str, record: Record) -> str:
    return _clean(value) if record.keep_secrets else MASK


def _shown(text: str, record: Record) -> str:
    return _clean(text if record.keep_secrets else masked(text))


def _clean(text: str) -> str:
    """Bytes that are no UTF-8 are half surrogates here, which readers of JSON may refuse."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _body(message: HTTPMessage, record: Record) -> tuple[str | None, str]:
    """The body as text, and its coding: base64 where it is none. None where it is not written."""
    if not record.bodies or message.body_source is None:
        return None, ""
    try:
        content = message.content
    except OSError:
        return None, ""
    if content is None:
        return None, ""
    content = content[: record.body_limit]
    try:
        # A cut may have gone through a character.
        text = content.decode("utf-8") if len(content) < record.body_limit else _decode_cut(content)
    except UnicodeDecodeError:
        return base64.b64encode(content).decode(), "base64"
    return text if record.keep_secrets else masked(text), ""


def _decode_cut(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(content) - 3:
            raise
        return content[: error.start].decode("utf-8")


def _type(message: HTTPMessage) -> str:
    return _clean(message.headers.get("content-type", ""))


def _wire_size(message: HTTPMessage) -> int:
    """The bytes of the body as they went over the wire; -1 where nobody has counted them."""
    body = message.body_source
    if body is None:
        return -1
    return body.length if isinstance(body, FileBody) else len(body)


def _entries_of(data: bytes) -> list[bytes]:
    """The entries of a HAR file that somebody else has written.

    Raises:
        ValueError: it is none.
    """
    try:
        entries = json.loads(data)["log"]["entries"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError("what is in it is no HAR") from None
    if not isinstance(entries, list):
        raise ValueError("what is in it is no HAR")
    return [json.dumps(entry).encode() for entry in entries]
