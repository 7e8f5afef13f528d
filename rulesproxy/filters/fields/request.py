"""Fields of the request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rulesproxy.filters.fields import message, stream
from rulesproxy.filters.fields.base import Field, Kind
from rulesproxy.filters.fields.document import JSONValues
from rulesproxy.filters.normal import decoded_path, normal_host, normal_path, raw_path
from rulesproxy.filters.phases import FROM_BODY, FROM_REQUEST, Phase
from rulesproxy.flow.forms import host_of_authority, parse_cookies, parse_query
from rulesproxy.flow.headers import to_str
from rulesproxy.flow.tcp import TCPFlow
from rulesproxy.flow.url import default_port, format_authority

if TYPE_CHECKING:
    from rulesproxy.filters.view import FlowView

_FROM_TARGET = FROM_REQUEST | Phase.C | Phase.T
_FLOW = FROM_BODY | Phase.X

_DESTINATIONS = (
    "audio", "audioworklet", "document", "embed", "empty", "fencedframe", "font", "frame", "iframe", "image", "json",
    "manifest", "object", "paintworklet", "report", "script", "serviceworker", "sharedworker", "speculationrules",
    "style", "text", "track", "video", "webidentity", "worker", "xslt",
)  # fmt: skip
"""The values of Sec-Fetch-Dest (Fetch standard, destinations)."""

_SITES = ("cross-site", "same-origin", "same-site", "none")
"""The values of Sec-Fetch-Site (Fetch Metadata section 2.4)."""


def method(view: FlowView) -> str:
    """The method, in upper case."""
    return view.request.method.upper()


def scheme(view: FlowView) -> str:
    """`http` or `https`."""
    return view.request.scheme.lower()


def host(view: FlowView) -> str:
    """The server's name or address: lower-case, in A-labels, without port and trailing dot."""
    return normal_host(view.request.host)


def port(view: FlowView) -> int:
    """The server's port."""
    return view.request.port


def path(view: FlowView) -> str:
    """The path without the query; percent-encoded unreserved characters are decoded, dot segments kept."""
    return normal_path(view.request.path)


def path_raw(view: FlowView) -> str:
    """The path without the query, as sent."""
    return raw_path(view.request.path)


def path_segments(view: FlowView) -> tuple[str, ...]:
    """The segments of the path, each as in `path`; an empty last one, behind a final slash, does not count."""
    segments = view.path.split("/")[1:]
    return tuple(segments[:-1] if segments and not segments[-1] else segments)


def query(view: FlowView) -> message.PairValues:
    """The values of a query parameter, decoded; `+` is a space."""
    return message.PairValues(parse_query(view.request.path))


def url(view: FlowView) -> str:
    """The absolute URL with its query; the scheme's own port is left out."""
    request = view.request
    if request.method == "CONNECT" and not request.path:
        return format_authority(view.host, request.port, "")
    return f"{request.scheme}://{format_authority(view.host, request.port, request.scheme)}{request.path}"


def header(view: FlowView) -> message.HeaderValues:
    """The values of a request header."""
    return message.HeaderValues(view.request.headers.raw)


def cookie(view: FlowView) -> message.PairValues:
    """The values of a cookie of the request."""
    return message.PairValues(parse_cookies(view.request_header[b"cookie"]))


def size(view: FlowView) -> int | None:
    """The size of the request body in bytes as its Content-Length says; missing where it comes in chunks."""
    request = view.request
    declared = message.size(request)
    if declared is None and request.body_source == b"" and request.http_version.startswith("HTTP/1"):
        # Without a length and without chunks it has no body (RFC 9112 section 6.3).
        return None if request.headers.first(b"transfer-encoding") is not None else 0
    return declared


def destination(view: FlowView) -> str | None:
    """What a browser will use the answer for (Sec-Fetch-Dest): `document`, `script`, `image`, …; `empty` for fetch."""
    return _sent(view, b"sec-fetch-dest")


def site(view: FlowView) -> str | None:
    """How the page that asks is related to the host (Sec-Fetch-Site): `same-origin`, `same-site`, `cross-site`,
    `none`."""
    return _sent(view, b"sec-fetch-site")


def content(view: FlowView) -> bytes | None:
    """The request body without its content codings, as bytes."""
    return message.content(view.request)


def body(view: FlowView) -> str | None:
    """The bytes of the request body, without its content codings."""
    data = view.tilde_content_request
    return None if data is None else data.decode("latin-1")


def text(view: FlowView) -> str | None:
    """The request body as text, decoded by the charset of its Content-Type."""
    return message.text(view.request, view.tilde_content_request)


def json(view: FlowView) -> JSONValues:
    """The values in a JSON request body: members by name, items by position, `[*]` for each."""
    return JSONValues(view.tilde_content_request)


def form(view: FlowView) -> message.PairValues:
    """The values of a field of a form in the request body, urlencoded or multipart."""
    return message.PairValues(message.form(view.request.headers, view.tilde_content_request))


def kept(view: FlowView) -> bool:
    """Whether the request body is there: not over the limit, and not streamed."""
    return view.message is not None or view.tilde_content_request is not None


def sent(view: FlowView) -> str | None:
    """The bytes of the request body, or of the message where the client sends it."""
    return stream.sent(view, True) if view.message is not None else view.request_body


def content_type(view: FlowView) -> str | None:
    """The media type of the request body, lower-case, without parameters."""
    return message.content_type(view.request.headers)


def hosts(view: FlowView) -> tuple[str, ...]:
    """The host, and the Host header's where that is another one."""
    name = view.request.headers.first(b"host")
    if name is None:
        return (view.host,)
    named = normal_host(host_of_authority(to_str(name)))
    return (view.host,) if named == view.host or not named else (view.host, named)


def pretty_url(view: FlowView) -> str:
    """The URL as the client wrote it: with host and port of the Host header."""
    request = view.request
    name = request.headers.first(b"host")
    if not name or (request.method == "CONNECT" and not request.path):
        return url(view)
    authority = to_str(name)
    standard = f":{default_port(request.scheme)}"
    return f"{request.scheme}://{authority.removesuffix(standard)}{'' if request.path == '*' else request.path}"


def content_types(view: FlowView) -> tuple[str, ...]:
    """The values of the request's Content-Type headers."""
    return message.content_types(view.request.headers)


def address(view: FlowView) -> str:
    """Host and port of the server, such as `a.test:443`; IPv6 without brackets."""
    if isinstance(view.flow, TCPFlow):
        name, number = view.flow.server_conn.address
        return f"{name}:{number}"
    return f"{view.host}:{view.request.port}"


def header_block(view: FlowView) -> str:
    """The request's header section."""
    return message.block(view.request.headers)


def _sent(view: FlowView, name: bytes) -> str | None:
    values = view.request_header[name]
    return values[0].strip().lower() if values else None


FIELDS = (
    Field("method", Kind.METHOD, FROM_REQUEST, method, "request", normal=str.upper, original=True),
    Field(
        "scheme",
        Kind.ENUM,
        FROM_REQUEST,
        scheme,
        "request",
        fold=True,
        normal=str.lower,
        words=("http", "https"),
        original=True,
    ),
    Field("host", Kind.HOST, _FROM_TARGET, host, "request", fold=True, normal=normal_host, original=True),
    Field("port", Kind.INT, _FROM_TARGET, port, "request", bounds=(0, 65535), original=True),
    Field("path", Kind.PATH, FROM_REQUEST, path, "request", normal=decoded_path, original=True),
    Field("path.raw", Kind.PATH, FROM_REQUEST, path_raw, "request", original=True),
    Field("path.segments", Kind.TEXT, FROM_REQUEST, path_segments, "request", many=True, original=True),
    Field("query", Kind.TEXT, FROM_REQUEST, query, "request", keyed=True, original=True),
    Field("url", Kind.TEXT, FROM_REQUEST, url, "request", original=True),
    Field("request.header", Kind.TEXT, FROM_REQUEST, header, "request", keyed=True, names=True),
    Field("request.cookie", Kind.TEXT, FROM_REQUEST, cookie, "request", keyed=True),
    Field(
        "request.content_type",
        Kind.TEXT,
        FROM_REQUEST,
        content_type,
        "request",
        fold=True,
        normal=str.lower,
        optional=True,
    ),
    Field("request.size", Kind.SIZE, FROM_REQUEST, size, "request", optional=True),
    Field(
        "request.destination",
        Kind.ENUM,
        FROM_REQUEST,
        destination,
        "request",
        fold=True,
        normal=str.lower,
        words=_DESTINATIONS,
        optional=True,
    ),
    Field(
        "request.site",
        Kind.ENUM,
        FROM_REQUEST,
        site,
        "request",
        fold=True,
        normal=str.lower,
        words=_SITES,
        optional=True,
    ),
    Field("request.body", Kind.BYTES, FROM_BODY, body, "request", body=Phase.B, optional=True),
    Field("request.text", Kind.TEXT, FROM_BODY, text, "request", body=Phase.B, optional=True),
    Field("request.json", Kind.JSON, FROM_BODY, json, "request", body=Phase.B, keyed=True),
    Field("request.form", Kind.TEXT, FROM_BODY, form, "request", body=Phase.B, keyed=True),
    Field("~content.request", Kind.BYTES, FROM_BODY, content, "request", body=Phase.B, optional=True),
    Field("~kept.request", Kind.BOOL, _FLOW, kept, "request", body=Phase.B),
    Field("~bq", Kind.BYTES, _FLOW, sent, "request", body=Phase.B, optional=True),
    Field("~tq", Kind.TEXT, FROM_REQUEST, content_types, "request", many=True),
    Field("~dst", Kind.TEXT, _FROM_TARGET | Phase.X, address, "request"),
    Field("~d", Kind.HOST, _FROM_TARGET, hosts, "request", fold=True, many=True),
    Field("~u", Kind.TEXT, FROM_REQUEST, pretty_url, "request"),
    Field("~hq", Kind.TEXT, FROM_REQUEST, header_block, "request"),
)
