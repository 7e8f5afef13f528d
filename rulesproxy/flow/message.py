"""`HTTPMessage`: what requests and responses share, above all the body: as bytes, without its codings, as text."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable
from typing import TypeAlias

from rulesproxy.flow import coding, forms
from rulesproxy.flow.headers import Headers
from rulesproxy.flow.plan import Ending, FileBody, Pause

Stream: TypeAlias = bool | Callable[[bytes], bytes | Iterable[bytes | Pause | Ending]]
"""`True` passes a body on as it arrives; a function is called with every piece and, at the end, with `b""`.

It gives bytes, or several pieces of them, which are sent one after the other. Among those of a response a `Pause` lets
what follows wait, and `END` ends the body; a ValueError of the function breaks it off.
"""

# Codecs of Python that no charset means: they interpret escapes, or are for host names.
_NOT_CHARSETS = frozenset({"unicode-escape", "raw-unicode-escape", "idna", "punycode", "undefined"})


class HTTPMessage:
    """What requests and responses share: version, headers, body, trailers.

    Attributes:
        http_version: `HTTP/1.1`, `HTTP/1.0` or `HTTP/2.0`, as received.
        headers: the header section, editable in place.
        trailers: the trailer section; None where there was none.
        stream: pass the body on without keeping it; to be set in the headers event.
        timestamp_start: when the head was complete, in seconds since the epoch.
        timestamp_end: when the last byte was there.
    """

    __slots__ = ("_body", "headers", "http_version", "stream", "timestamp_end", "timestamp_start", "trailers")

    def __init__(self, http_version: str, headers: Headers) -> None:
        self.http_version = http_version
        self.headers = headers
        self._body: bytes | FileBody | None = b""
        self.trailers: Headers | None = None
        self.stream: Stream = False
        self.timestamp_start = 0.0
        self.timestamp_end: float | None = None

    # Body

    @property
    def body_source(self) -> bytes | FileBody | None:
        """The body as it is held: bytes as they go over the wire, a part of a file, or None if it is not kept."""
        return self._body

    @body_source.setter
    def body_source(self, body: bytes | FileBody | None) -> None:
        self._body = body

    @property
    def raw_content(self) -> bytes | None:
        """The body with its content codings, or None where it streamed. Assigning leaves the headers alone."""
        return self._body.read() if isinstance(self._body, FileBody) else self._body

    @raw_content.setter
    def raw_content(self, content: bytes | None) -> None:
        self._body = content

    @property
    def content(self) -> bytes | None:
        """The body without its content codings, or None where it streamed.

        Reading gives the raw bytes where they cannot be decoded. Assigning encodes again and sets the length.
        """
        return self.get_content(strict=False)

    @content.setter
    def content(self, content: bytes | None) -> None:
        if content is None:
            self._body = None
            return
        if not isinstance(content, bytes):
            raise TypeError(f"content is bytes, got {type(content).__name__}; for text assign `text`")
        try:
            self._body = coding.encode(content, self.headers.get("content-encoding"))
        except coding.CodingError:
            del self.headers["content-encoding"]
            self._body = content
        self.headers.pop("transfer-encoding", None)
        self.headers["content-length"] = str(len(self._body))

    def get_content(self, strict: bool = True) -> bytes | None:
        """The body without its content codings.

        Raises:
            CodingError: it cannot be decoded and `strict` is true.
        """
        raw = self.raw_content
        header = self.headers.get("content-encoding") if raw else None
        if raw is None or header is None:
            return raw
        try:
            return coding.decode(raw, header)
        except coding.CodingError:
            if strict:
                raise
            return raw

    @property
    def text(self) -> str | None:
        """The body as text in the charset of the Content-Type, or None where it streamed.

        Without a charset it is UTF-8 where it can be, else Latin-1. Text that is assigned goes back in the same
        charset; only where that cannot hold it, it becomes UTF-8 and the Content-Type says so.

        Raises:
            ValueError: assigned text holds a lone surrogate, which no charset can.
        """
        content = self.content
        return None if content is None else self.decode_text(content)

    @text.setter
    def text(self, text: str | None) -> None:
        if text is None:
            self.content = None
            return
        charset = self._declared_charset() or _guessed_charset(self.content or b"")
        try:
            encoded = text.encode(charset, "surrogateescape")
            same = self.decode_text(encoded) == text
        except ValueError:
            same = False
        if not same:
            kind = self.headers.get("content-type", "text/plain").partition(";")[0].strip()
            self.headers["content-type"] = f"{kind}; charset=utf-8"
            encoded = text.encode("utf-8", "surrogateescape")
        self.content = encoded

    def decode_text(self, content: bytes) -> str:
        """`content`, which has no content codings any more, as text in the charset of the Content-Type."""
        charset = self._declared_charset()
        if charset:
            try:
                return content.decode(charset, "surrogateescape")
            except ValueError:
                pass  # The header is wrong, so guess.
        return content.decode(_guessed_charset(content), "surrogateescape")

    def _declared_charset(self) -> str:
        """The charset that the Content-Type names; empty where it names none that is known."""
        named = forms.header_parameter(self.headers.get("content-type", ""), "charset")
        if not named:
            return ""
        try:
            known = codecs.lookup(named).name
            "".encode(known)
        except (LookupError, ValueError):  # ValueError: a NUL in the name, or the codec that refuses everything.
            return ""
        return "" if known in _NOT_CHARSETS else known

    def json(self) -> object:
        """The body read as JSON.

        Raises:
            ValueError: it is not JSON, is nested too deeply, or it streamed.
        """
        content = self.get_content()
        if content is None:
            raise ValueError("the body was streamed and is not kept")
        try:
            value: object = json.loads(content)
        except RecursionError:
            raise ValueError("the JSON is nested too deeply") from None
        return value

    def _fill(self, content: bytes | str) -> None:
        if isinstance(content, str):
            self.text = content
        else:
            self.content = content

    def _copy_to(self, other: HTTPMessage) -> None:
        other._body = self._body
        other.trailers = None if self.trailers is None else self.trailers.copy()
        other.stream = self.stream
        other.timestamp_start = self.timestamp_start
        other.timestamp_end = self.timestamp_end


def _guessed_charset(content: bytes) -> str:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"
