"""The action `map-remote`: another server answers, and the client does not notice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from rulesproxy.flow.headers import Field, check_field, to_str
from rulesproxy.flow.http import HTTPFlow, HTTPRequest
from rulesproxy.flow.url import format_authority, split_authority, split_url
from rulesproxy.rules.action import REQUEST, RESPONSE, Action, ActionError, Captures, Example, Handler
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.nodes import Node
from rulesproxy.rules.schema import Reader
from rulesproxy.rules.templates.urls import URLTemplate

_TO_SERVER = (b"origin", b"referer")
_TO_CLIENT = (b"location", b"content-location", b"access-control-allow-origin")


class Origin(NamedTuple):
    """Scheme, host and port of a server."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, request: HTTPRequest) -> Origin:
        """The origin of a request's URL."""
        return cls(request.scheme, request.host.lower(), request.port)

    def __str__(self) -> str:
        return f"{self.scheme}://{format_authority(self.host, self.port, self.scheme)}"


@dataclass(frozen=True, slots=True)
class MapRemote(Action):
    """Send the request to another server, with its path and query, and make the answer fit the one that was asked.

    Attributes:
        to: the URL of the other server; a path in it, other than a slash alone, replaces the path of the request.
        keep_host: leave the Host header as it is, and with it Origin and Referer.
        rewrite_back: what names one server is made to name the other: Origin and Referer on the way there, Location,
            Content-Location, Access-Control-Allow-Origin and the domain of cookies on the way back.
    """

    key: ClassVar = "map-remote"
    events: ClassVar = REQUEST | RESPONSE
    short: ClassVar = "to"
    edits_request: ClassVar = True
    synonyms: ClassVar = {
        "url": "to", "target": "to", "host": "to", "preserve-host": "keep-host", "keep_host": "keep-host",
        "rewrite_back": "rewrite-back",
    }  # fmt: skip

    to: URLTemplate
    keep_host: bool = False
    rewrite_back: bool = True

    examples: ClassVar = (
        Example(
            "match: host == 'prod.test'\nmap-remote: https://staging.test:8443", "GET https://prod.test/a?x=1",
            "GET https://staging.test:8443/a?x=1\nhost: staging.test:8443",
        ),
        Example(
            "match: host == 'prod.test'\nmap-remote: https://staging.test:8443", "GET https://prod.test/a",
            "302\nlocation: https://prod.test/b\nset-cookie: s=1; Domain=prod.test; Secure",
            response="302\nlocation: https://staging.test:8443/b\nset-cookie: s=1; Domain=staging.test; Secure",
        ),
        Example(
            'match: host == "prod.test" and path ~ r"^/api/(?P<rest>.*)"\nmap-remote:\n'
            "  to: http://localhost:3000/v2/${rest}\n  keep-host: true",
            "GET http://prod.test/api/users?x=1", "GET http://localhost:3000/v2/users?x=1\nhost: prod.test",
        ),
    )  # fmt: skip

    def check(self, node: Node, reader: Reader) -> None:
        self.to.check((node.get("to") if isinstance(node, nodes.Mapping) else None) or node, reader)

    def parts(self) -> tuple[Action, ...]:
        return (_There(self), _Back(self)) if self.rewrite_back else (_There(self),)


@dataclass(frozen=True, slots=True)
class _There(Action):
    """The way to the other server."""

    key: ClassVar = MapRemote.key
    events: ClassVar = REQUEST
    edits_request: ClassVar = True

    action: MapRemote

    def bind(self) -> Handler:
        to, keep_host = self.action.to, self.action.keep_host
        rewrite = self.action.rewrite_back and not keep_host
        keeps_query = not to.has_query

        def go(flow: HTTPFlow, captures: Captures) -> None:
            request = flow.request
            url = to.fill(flow, captures)
            try:
                scheme, host, port, path = split_url(url)
            except ValueError as error:
                raise ActionError(f"cannot go there: {error}") from None
            old, new = Origin.of(request), Origin(scheme, host.lower(), port)
            if rewrite:
                request.headers.raw = _moved(request.headers.raw, _TO_SERVER, old, new)
            request.scheme = scheme
            request.move(host, port)
            if not keep_host:
                request.update_host_header()
            if path != "/" or "?" in url:
                query = request.path.partition("?")[2]
                request.path = f"{path}?{query}" if query and keeps_query else path

        return go


@dataclass(frozen=True, slots=True)
class _Back(Action):
    """The way back to the client."""

    key: ClassVar = MapRemote.key
    events: ClassVar = RESPONSE

    action: MapRemote

    def bind(self) -> Handler:
        def come_back(flow: HTTPFlow, captures: Captures) -> None:
            response = flow.response
            server, client = Origin.of(flow.request), Origin.of(flow.orig)
            if response is None or server == client:
                return
            raw = _moved(response.headers.raw, _TO_CLIENT, server, client)
            response.headers.raw = [_own_cookie(field, server.host, client.host) for field in raw]

        return come_back


def _moved(raw: list[Field], names: tuple[bytes, ...], old: Origin, new: Origin) -> list[Field]:
    """The fields of these names with one origin in the place of the other; all else as it is."""
    return [
        check_field(name, moved(to_str(value), old, new)) if key in names else (key, name, value)
        for key, name, value in raw
    ]


def moved(url: str, old: Origin, new: Origin) -> str:
    """A URL at another server where it was at `old`; what follows the authority keeps its bytes."""
    scheme, found, rest = url.partition("://")
    if not found and url.startswith("//"):
        # It has the scheme of the page that it stands in.
        scheme, rest = old.scheme, url[2:]
    end = next((at for at, char in enumerate(rest) if char in "/?#"), len(rest))
    try:
        host, port = split_authority(rest[:end], 443 if scheme.lower() == "https" else 80)
    except ValueError:
        return url
    if (scheme.lower(), host.lower(), port) != old:
        return url
    start = str(new) if found else f"//{format_authority(new.host, new.port, new.scheme)}"
    return start + rest[end:]


def _own_cookie(field: Field, server: str, client: str) -> Field:
    """A Set-Cookie whose domain the client accepts from the server that it has asked (RFC 6265 section 5.3)."""
    if field[0] != b"set-cookie":
        return field
    pair, *attributes = to_str(field[2]).split(";")
    changed = False
    for at, attribute in enumerate(attributes):
        name, found, value = attribute.partition("=")
        domain = value.strip()
        bare = domain.lstrip(".").lower()
        if found and name.strip().lower() == "domain" and _covers(bare, server) and not _covers(bare, client):
            dot = "." if domain.startswith(".") else ""
            blank = value[: len(value) - len(value.lstrip())]
            attributes[at] = f"{name}={blank}{dot}{client}"
            changed = True
    return check_field(field[1], ";".join([pair, *attributes])) if changed else field


def _covers(domain: str, host: str) -> bool:
    return bool(domain) and (host == domain or host.endswith(f".{domain}"))
