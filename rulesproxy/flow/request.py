"""`HTTPRequest`: where it goes, what it asks for, and its query, cookies and forms as they may be edited (RFC 9110)."""

from __future__ import annotations

from rulesproxy.flow import forms
from rulesproxy.flow.headers import Fields, Headers, to_str
from rulesproxy.flow.message import HTTPMessage
from rulesproxy.flow.url import format_authority, split_url


class HTTPRequest(HTTPMessage):
    """A request.

    Attributes:
        method: as received; methods are case-sensitive (RFC 9110 section 9.1).
        scheme: `http` or `https`.
        path: path and query as sent; `*` for the asterisk-form; empty for CONNECT.
    """

    __slots__ = ("_host", "_port", "method", "path", "scheme")

    def __init__(
        self, method: str, scheme: str, host: str, port: int, path: str, http_version: str, headers: Headers
    ) -> None:
        self.method = method
        self.scheme = scheme
        self._host = host
        self._port = port
        self.path = path
        # Inlined from HTTPMessage: this runs once per exchange.
        self.http_version = http_version
        self.headers = headers
        self._body = b""
        self.trailers = None
        self.stream = False
        self.timestamp_start = 0.0
        self.timestamp_end = None

    @classmethod
    def make(cls, method: str, url: str, content: bytes | str = b"", headers: Fields = ()) -> HTTPRequest:
        """A request from its parts. Host is added unless `headers` has one, and the length where there is a body.

        `method` is written in capitals: here a person writes it, and no known method has small letters.

        Raises:
            ValueError: `url` is not an absolute http or https URL, or a header could not go over the wire.
        """
        scheme, host, port, path = split_url(url)
        request = cls(method.upper(), scheme, host, port, path, "HTTP/1.1", Headers(headers))
        if "host" not in request.headers:
            request.headers.insert(0, "Host", format_authority(host, port, scheme))
        if content:
            request._fill(content)
        return request

    @property
    def host(self) -> str:
        """The server's name or address, without port and brackets. Assigning moves the Host header with it."""
        return self._host

    @host.setter
    def host(self, host: str) -> None:
        self._host = host
        self.update_host_header()

    @property
    def port(self) -> int:
        """The server's port. Assigning moves the Host header with it."""
        return self._port

    @port.setter
    def port(self, port: int) -> None:
        self._port = port
        self.update_host_header()

    def move(self, host: str, port: int) -> None:
        """Send the request to another server, and leave its Host header alone."""
        self._host = host
        self._port = port

    def update_host_header(self) -> None:
        """Make Host say what `host`, `port` and `scheme` say (RFC 9110 section 7.2)."""
        if "host" in self.headers:
            self.headers["host"] = format_authority(self._host, self._port, self.scheme)
        else:
            self.headers.insert(0, "Host", format_authority(self._host, self._port, self.scheme))

    @property
    def authority(self) -> str:
        """Host and port, the port left out where it is the scheme's own."""
        return format_authority(self._host, self._port, self.scheme)

    @property
    def url(self) -> str:
        """The absolute URL; of CONNECT its `host:port`. Assigning moves scheme, host, port, path and the Host header.

        Raises:
            ValueError: not an absolute http or https URL.
        """
        if self.method == "CONNECT" and not self.path:
            return format_authority(self._host, self._port, "")
        # The target URI of the asterisk-form has no path (RFC 9112 section 3.3).
        path = "" if self.path == "*" else self.path
        return f"{self.scheme}://{self.authority}{path}"

    @url.setter
    def url(self, url: str) -> None:
        self.scheme, self._host, self._port, self.path = split_url(url)
        self.update_host_header()

    @property
    def pretty_host(self) -> str:
        """The host as the client wrote it: from the Host header where there is one."""
        header = self.headers.first(b"host")
        if not header:
            return self._host
        return forms.host_of_authority(to_str(header)) or self._host

    @property
    def query(self) -> forms.MultiDict:
        """The query parameters, decoded. Edits of it go into `path`; so does assigning pairs or a mapping."""
        return forms.MultiDict(forms.parse_query(self.path), self._set_query)

    @query.setter
    def query(self, pairs: forms.Pairs) -> None:
        self._set_query(forms.to_pairs(pairs))

    def _set_query(self, pairs: list[tuple[str, str]]) -> None:
        path, mark, fragment = self.path.partition("#")
        path = path.partition("?")[0]
        query = f"?{forms.format_query(pairs)}" if pairs else ""
        self.path = f"{path}{query}{mark}{fragment}"

    @property
    def cookies(self) -> forms.MultiDict:
        """The cookies of the request (RFC 6265 section 4.2). Edits of it go into the Cookie header."""
        return forms.MultiDict(forms.parse_cookies(self.headers.get_all("cookie")), self._set_cookies)

    @cookies.setter
    def cookies(self, pairs: forms.Pairs) -> None:
        self._set_cookies(forms.to_pairs(pairs))

    def _set_cookies(self, pairs: list[tuple[str, str]]) -> None:
        if pairs:
            self.headers["cookie"] = "; ".join([f"{name}={value}" for name, value in pairs])
        else:
            self.headers.pop("cookie", None)

    @property
    def urlencoded_form(self) -> forms.MultiDict:
        """The fields of an `application/x-www-form-urlencoded` body; empty for any other."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        text = self.text if kind == "application/x-www-form-urlencoded" else None
        return forms.MultiDict(forms.parse_form(text or ""), self._set_form)

    @urlencoded_form.setter
    def urlencoded_form(self, pairs: forms.Pairs) -> None:
        self._set_form(forms.to_pairs(pairs))

    def _set_form(self, pairs: list[tuple[str, str]]) -> None:
        self.headers["content-type"] = "application/x-www-form-urlencoded"
        self.content = forms.format_query(pairs).encode()

    @property
    def multipart_form(self) -> list[tuple[bytes, bytes]]:
        """The parts of a `multipart/form-data` body as (name, content); empty for any other."""
        content = self.content
        boundary = forms.multipart_boundary(self.headers.get("content-type", ""))
        return forms.parse_multipart(content, boundary) if content and boundary else []

    def anticache(self) -> None:
        """Remove the conditions that could make the server answer 304."""
        for name in ("if-modified-since", "if-none-match"):
            self.headers.pop(name, None)

    def copy(self) -> HTTPRequest:
        """A copy that shares nothing that can change."""
        other = HTTPRequest(
            self.method, self.scheme, self._host, self._port, self.path, self.http_version, self.headers.copy()
        )
        self._copy_to(other)
        return other

    def __repr__(self) -> str:
        return f"<HTTPRequest {self.method} {self.url}>"
