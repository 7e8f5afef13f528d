"""Fields of the request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rulesproxy.filters.fields import message
from rulesproxy.filters.fields.base import Field, Kind
from rulesproxy.filters.normal import decoded_path, normal_host, normal_path, raw_path
from rulesproxy.filters.phases import FROM_REQUEST, Phase
from rulesproxy.flow.forms import host_of_authority, parse_query
from rulesproxy.flow.headers import to_str
from rulesproxy.flow.url import default_port, format_authority

if TYPE_CHECKING:
    from rulesproxy.filters.view import FlowView

_FROM_TARGET = FROM_REQUEST | Phase.C | Phase.T


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


def header_block(view: FlowView) -> str:
    """The request's header section."""
    return message.block(view.request.headers)


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
    Field("query", Kind.TEXT, FROM_REQUEST, query, "request", keyed=True, original=True),
    Field("url", Kind.TEXT, FROM_REQUEST, url, "request", original=True),
    Field("request.header", Kind.TEXT, FROM_REQUEST, header, "request", keyed=True, names=True),
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
    Field("~d", Kind.HOST, _FROM_TARGET, hosts, "request", fold=True, many=True),
    Field("~u", Kind.TEXT, FROM_REQUEST, pretty_url, "request"),
    Field("~hq", Kind.TEXT, FROM_REQUEST, header_block, "request"),
)
