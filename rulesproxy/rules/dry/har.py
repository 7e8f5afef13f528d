"""`read_har`: recorded traffic as flows, for dry runs (HAR 1.2). Recordings are untrusted: bounds hold for all of it.

Browsers write bodies without their content codings and name fields of HTTP/2 that are none; both is put right here.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from rulesproxy.diagnostics import Diagnostic, DiagnosticError, Source
from rulesproxy.flow.error import FlowError, Kind
from rulesproxy.flow.headers import check_field, is_token
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.url import split_url
from rulesproxy.limits import HAR_CHARACTERS, HAR_ENTRIES
from rulesproxy.rules.edits import json_text
from rulesproxy.rules.edits.json_path import Step
from rulesproxy.rules.files.nodes import File

_DROPPED = frozenset({"content-encoding", "content-length", "transfer-encoding"})
_ERRORS: tuple[tuple[str, Kind], ...] = (
    ("REFUSED", "refused"), ("TIMED_OUT", "timeout"), ("NAME_NOT", "dns"), ("CERT", "tls"), ("SSL", "tls"),
)  # fmt: skip
_USER = re.compile(r"(?<=://)[^/?#]*@")
_VERSIONS = {"http/1.0": "HTTP/1.0", "h2": "HTTP/2.0", "http/2": "HTTP/2.0", "http/2.0": "HTTP/2.0"}


_SHOWN = 10
"""Entries that cannot be read and are shown with their places: each place is a search in the whole text."""


class HARError(DiagnosticError):
    """A recording that cannot be read, or of which no entry can."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What a HAR file holds.

    Attributes:
        flows: the exchanges, in order: each with the request as sent, and the response or the error that came back.
        left_out: how many entries are about no HTTP, such as `data:` URLs.
        bad: how many entries cannot be read.
        warnings: what is wrong with the first of these.
    """

    flows: tuple[HTTPFlow, ...]
    left_out: int
    bad: int = 0
    warnings: tuple[Diagnostic, ...] = ()


def read_har(source: Source) -> Recording:
    """The exchanges of a HAR file.

    Raises:
        HARError: it is over a bound, no JSON, or no HAR, or no entry can be read; with the places.
    """
    reader = _Reader(source)
    try:
        return reader.read()
    except _Bad as bad:
        raise HARError([reader.diagnostic(bad)]) from None


class _Bad(Exception):
    """What is wrong, at an offset or at the path of a value."""

    def __init__(self, title: str, at: int | tuple[Step, ...], help: str) -> None:
        self.title, self.at, self.help = title, at, help


class _Reader:
    def __init__(self, source: Source) -> None:
        self.source = source

    def read(self) -> Recording:
        text = self.source.text.removeprefix("\ufeff")
        if len(text) > HAR_CHARACTERS:
            self.fail(f"this recording has over {HAR_CHARACTERS} characters", 0, "record less of it, or cut it")
        try:
            document = json.loads(text)
        except json.JSONDecodeError as error:
            self.fail(f"this is not JSON: {error.msg.lower()}", error.pos)
        except (RecursionError, ValueError):
            self.fail("this JSON is nested too deeply, or has a number without end", 0)
        log = self.mapping(document, ())
        entries = self.array(self.mapping(log.get("log"), ("log",)).get("entries"), ("log", "entries"))
        if len(entries) > HAR_ENTRIES:
            self.fail(f"this recording has over {HAR_ENTRIES} entries", 0, "record less of it, or cut it")
        flows: list[HTTPFlow] = []
        bad: list[_Bad] = []
        for number, entry in enumerate(entries):
            try:
                flow = self.flow(entry, ("log", "entries", number))
            except _Bad as found:
                bad.append(found)
            else:
                if flow is not None:
                    flows.append(flow)
        if bad and not flows:
            raise HARError([self.diagnostic(found) for found in bad[:_SHOWN]])
        warnings = [self.diagnostic(found, "this entry is left out, the others are used") for found in bad[:_SHOWN]]
        return Recording(tuple(flows), len(entries) - len(flows) - len(bad), len(bad), tuple(warnings))

    def flow(self, entry: object, at: tuple[Step, ...]) -> HTTPFlow | None:
        """One exchange; None where it is no HTTP."""
        record = self.mapping(entry, at)
        request = self.mapping(record.get("request"), (*at, "request"))
        method = self.text(request.get("method"), (*at, "request", "method"))
        # A user and password in a URL are sent as a header field, which is recorded too.
        url = _USER.sub("", self.text(request.get("url"), (*at, "request", "url")))
        if not url.lower().startswith(("http:", "https:", "ws:", "wss:")):
            return None
        try:
            split_url(url)
        except ValueError as error:
            self.fail(str(error).replace("'", "`"), (*at, "request", "url"))
        if not is_token(method.encode()):
            self.fail(f"`{method[:40]}` is no method", (*at, "request", "method"))
        headers = self.headers(request.get("headers"), (*at, "request", "headers"))
        body = self.posted(request.get("postData"), (*at, "request", "postData"))
        flow = HTTPFlow.make(method, url, headers, body)
        flow.request.http_version = _version(request.get("httpVersion"))
        address = record.get("serverIPAddress")
        if isinstance(address, str) and address:
            flow.server_conn.peername = (_clean(address).strip("[]"), flow.request.port)
        self.answer(flow, self.mapping(record.get("response"), (*at, "response")), (*at, "response"))
        return flow

    def answer(self, flow: HTTPFlow, record: Mapping[str, object], at: tuple[Step, ...]) -> None:
        status = record.get("status")
        if not isinstance(status, int) or isinstance(status, bool) or not 0 <= status <= 999:
            self.fail("a status is a number up to 999", (*at, "status"))
        if not status:
            said = record.get("_error")
            words = _clean(said) if isinstance(said, str) and said else "no answer was recorded"
            kind: Kind = next((kind for word, kind in _ERRORS if word in words.upper()), "disconnected")
            flow.error = FlowError(words, kind)
            return
        headers = self.headers(record.get("headers"), (*at, "headers"))
        content = record.get("content")
        body = b""
        if content is not None:
            body = self.content(self.mapping(content, (*at, "content")), (*at, "content"))
        made = HTTPFlow.make("GET", "http://server/", status=status, response_headers=headers, response_body=body)
        flow.response = made.response
        assert flow.response is not None
        flow.response.http_version = _version(record.get("httpVersion"))

    def headers(self, value: object, at: tuple[Step, ...]) -> list[tuple[str, str]]:
        """Header fields without what stands for framing, and without those that could not go over the wire."""
        found = []
        for number, item in enumerate(self.array([] if value is None else value, at)):
            field = self.mapping(item, (*at, number))
            name = self.text(field.get("name"), (*at, number, "name"))
            text = self.text(field.get("value"), (*at, number, "value"))
            if name.lower() in _DROPPED:
                continue
            try:
                check_field(name, text)
            except ValueError:
                # `:authority` and its like are no fields, and nobody could have sent the others.
                continue
            found.append((name, text))
        return found

    def posted(self, value: object, at: tuple[Step, ...]) -> bytes:
        if value is None:
            return b""
        data = self.mapping(value, at)
        if isinstance(data.get("text"), str):
            return self.content(data, at)
        pairs = []
        for number, item in enumerate(self.array(data.get("params") or [], (*at, "params"))):
            param = self.mapping(item, (*at, "params", number))
            name = self.text(param.get("name"), (*at, "params", number, "name"))
            pairs.append((name, _clean(str(param.get("value") or ""))))
        from rulesproxy.flow.forms import format_query

        return format_query(pairs).encode()

    def content(self, data: Mapping[str, object], at: tuple[Step, ...]) -> bytes:
        text = data.get("text")
        if text is None:
            return b""
        if not isinstance(text, str):
            self.fail("a body is text", (*at, "text"))
        if data.get("encoding") == "base64":
            try:
                return base64.b64decode(text.encode("ascii", "replace"), validate=True)
            except ValueError:
                self.fail("this body is no base64", (*at, "text"))
        return _clean(text).encode()

    # Values

    def mapping(self, value: object, at: tuple[Step, ...]) -> Mapping[str, object]:
        if not isinstance(value, dict):
            self.fail(f"`{json_text.shown(at)}` is an object in a HAR file", at)
        return value

    def array(self, value: object, at: tuple[Step, ...]) -> Sequence[object]:
        if not isinstance(value, list):
            self.fail(f"`{json_text.shown(at)}` is an array in a HAR file", at)
        return value

    def text(self, value: object, at: tuple[Step, ...]) -> str:
        if not isinstance(value, str):
            self.fail(f"`{json_text.shown(at)}` is text in a HAR file", at)
        return _clean(value)

    def fail(self, title: str, at: int | tuple[Step, ...], help: str = "") -> NoReturn:
        raise _Bad(title, at, help or "export the traffic as HAR 1.2 once more")

    def diagnostic(self, bad: _Bad, left_out: str = "") -> Diagnostic:
        """What is wrong at its place: a warning, with what becomes of it, where the entry is left out."""
        start = bad.at if isinstance(bad.at, int) else self.place(bad.at)
        title = "".join([char if char.isprintable() else "\ufffd" for char in bad.title])
        span = File(self.source).span(start, start + 1)
        return Diagnostic("RP920", "warning" if left_out else "error", title, span, left_out or bad.help)

    def place(self, path: tuple[Step, ...]) -> int:
        """Where the value at a path begins, or else the nearest value around it."""
        while path:
            found = json_text.find(self.source.text, path)
            if found:
                return found[0]
            path = path[:-1]
        return json_text.root(self.source.text)


def _version(value: object) -> str:
    return _VERSIONS.get(value.lower(), "HTTP/1.1") if isinstance(value, str) else "HTTP/1.1"


def _clean(text: str) -> str:
    """The text without half surrogates, which JSON can hold and nothing can send."""
    return text.encode("utf-8", "replace").decode()
