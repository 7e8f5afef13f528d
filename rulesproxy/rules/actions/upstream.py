"""The action `upstream`: how the server is reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from rulesproxy.flow.connection import Address
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.route import ClientCert, HTTPVersion, Route, Via
from rulesproxy.flow.url import split_authority
from rulesproxy.rules.action import REQUEST, Action, Captures, Example, Handler
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.nodes import Node
from rulesproxy.rules.schema import Reader
from rulesproxy.rules.template import Template
from rulesproxy.rules.templates.paths import FilePath

_VERSIONS: dict[str, HTTPVersion] = {"1.1": "1.1", "2": "2", "auto": "auto"}
_MEANT = {
    "1": "1.1", "http1": "1.1", "http1.1": "1.1", "http/1.1": "1.1", "1.0": "1.1", "2.0": "2", "h2": "2", "h2c": "2",
    "http2": "2", "http/2": "2", "http/2.0": "2", "any": "auto", "both": "auto",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Proxy:
    """The proxy to go through, or `direct`."""

    via: Via | Literal["direct"]

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Proxy:
        template = Template.read(node, reader, name)
        if template.constant is None:
            help = "only `${env:NAME}` and `${vars.name}` can stand in it: it is read once, when the file is loaded"
            reader.fail("RP670", node, f"`{name}` is the same for every request", help)
        if template.constant == "direct":
            return cls("direct")
        try:
            return cls(Via.parse(template.constant))
        except ValueError as exc:
            help = "write http://host:port, https://host:port, socks5://host:port, or `direct`"
            reader.fail("RP670", node, f"`{name}` is no proxy: {exc}", help)

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        urls = r"^(direct$|([Hh][Tt][Tt][Pp][Ss]?|[Ss][Oo][Cc][Kk][Ss]5[Hh]?)://|.*\$\{)"
        about = "http://, https:// or socks5:// with host and port, or direct"
        return {"type": "string", "pattern": urls, "description": about}


@dataclass(frozen=True, slots=True)
class HostPort:
    """An address to connect to."""

    address: Address

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> HostPort:
        text = reader.text(node, name)
        try:
            host, port = split_authority(text, 0)
        except ValueError as exc:
            reader.fail("RP104", node, f"`{name}` is host:port: {exc}", "such as 10.0.0.5:8443 or [::1]:8443")
        if not port:
            reader.fail(
                "RP104", node, f"`{name}` has no port: `{text}`", f"write {text}:443, or the port that is meant"
            )
        return cls((host, port))

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        return {"type": "string", "pattern": r"^(\[[^\]]+\]|[^\s:/@\[\]]+):[0-9]{1,5}$", "description": "host:port"}


@dataclass(frozen=True, slots=True)
class HostName:
    """The name of a server in TLS."""

    name: str

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> HostName:
        text = reader.text(node, name)
        try:
            host, port = split_authority(text, 0)
        except ValueError:
            host, port = "", 0
        if not host or port:
            reader.fail("RP104", node, f"`{name}` is a host name, got `{text}`", "write it without scheme and port")
        return cls(host)

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        names = {"type": "string", "pattern": r"^(\[[^\]]+\]|[^\s:/@\[\]]+):?$"}
        return {"anyOf": [names, {"type": ["number", "boolean"]}], "description": "a host name"}


@dataclass(frozen=True, slots=True)
class Identity:
    """Our certificate and its key."""

    cert: FilePath
    key: FilePath | None = None

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Identity:
        if isinstance(node, nodes.Mapping):
            return reader.record(cls, node, name)
        return cls(FilePath.read(node, reader, name))

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        file = {"type": "string"}
        pair = {
            "type": "object", "properties": {"cert": file, "key": file}, "required": ["cert"],
            "additionalProperties": False,
        }  # fmt: skip
        return {"anyOf": [file, pair], "description": "a PEM file with certificate and key, or one for each"}

    @property
    def files(self) -> ClientCert:
        return ClientCert(self.cert.path, None if self.key is None else self.key.path)


@dataclass(frozen=True, slots=True)
class Version:
    """The version of HTTP that a server is spoken to in."""

    version: HTTPVersion

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Version:
        text = reader.scalar(node, name, "one word").text
        version = _VERSIONS.get(text)
        if version is None:
            meant = _MEANT.get(text.lower())
            help = f"did you mean `{meant}`?" if meant else "`auto` lets the server choose"
            reader.fail("RP104", node, f"`{name}` is 1.1, 2 or auto; got `{text}`", help)
        return cls(version)

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        return {"enum": [1.1, 2, "auto", "1.1", "2"], "description": "1.1, 2, or auto for what the server chooses"}


@dataclass(frozen=True, slots=True)
class Upstream(Action):
    """Reach the server in another way: through a proxy, at another address, with other TLS.

    The request stays as it is. Several rules add up; where two say the same key, the lower one has the last word. A
    rule that is decided by the host alone and says only `proxy` or `address` needs no decryption: it holds for tunnels.

    Attributes:
        proxy: the URL of a proxy (`http://`, `https://` or `socks5://`, with `user:password@` where it asks), or
            `direct` for none.
        address: where to connect instead, as `host:port`; Host and the server name in TLS stay.
        sni: the server name in TLS, which the certificate has to be for.
        verify: `false` accepts any certificate of the server.
        ca: files (PEM) with authorities that may vouch for the server, beside the usual ones.
        client_cert: the certificate that we show to the server, with its key: one PEM file, or `{cert, key}`.
        http_version: `1.1` (the default), `2`, or `auto` for what the server chooses in TLS. With `2` it is an error
            where a server does not take HTTP/2; over `http://` it is spoken without asking. What HTTP/2 does not have
            goes over HTTP/1.1 in any case: WebSockets and other upgrades, NTLM and Negotiate. The header names of an
            answer in HTTP/2 are in lower case.
    """

    key: ClassVar = "upstream"
    events: ClassVar = REQUEST
    short: ClassVar = "proxy"
    needs: ClassVar = ("*",)
    synonyms: ClassVar = {
        "via": "proxy", "url": "proxy", "host": "address", "to": "address", "server-name": "sni", "insecure": "verify",
        "cert": "client-cert", "client_cert": "client-cert", "certificate": "client-cert", "cacert": "ca",
        "http_version": "http-version", "version": "http-version", "http": "http-version", "alpn": "http-version",
        "http2": "http-version",
    }  # fmt: skip

    proxy: Proxy | None = None
    address: HostPort | None = None
    sni: HostName | None = None
    verify: bool | None = None
    ca: tuple[FilePath, ...] | None = None
    client_cert: Identity | None = None
    http_version: Version | None = None

    examples: ClassVar = (
        Example(
            "match: host under 'corp.test'\nupstream: http://proxy.test:3128", "GET http://a.corp.test/x",
            "GET http://a.corp.test/x",
        ),
        Example(
            "match: host == 'api.test'\nupstream:\n  address: 10.0.0.5:8443\n  verify: false", "GET https://api.test/",
            "GET https://api.test/\nhost: api.test",
        ),
        Example("match: host == 'grpc.test'\nupstream:\n  http-version: 2", "POST https://grpc.test/", "POST https://grpc.test/"),
    )  # fmt: skip

    def check(self, node: Node, reader: Reader) -> None:
        if self.route == Route():
            reader.note("RP103", node, "`upstream` says nothing", "name a proxy, or a key such as `address: …`")
        if not isinstance(node, nodes.Mapping):
            return
        verify, ca, cert = node.get("verify"), node.get("ca"), node.get("client-cert")
        if self.verify is False and verify is not None:
            title = "the certificates of these servers are not verified"
            help = "`ca: file.pem` trusts one authority, or one self-signed certificate, instead of everybody"
            if ca is not None:
                title, help = f"{title}: `ca` has no effect", "remove `verify: false` to trust these authorities alone"
            reader.note("RP672", verify, title, help, severity="info" if ca is None else "warning")
        if ca is None and cert is None:
            return
        # What reads certificates takes a while to import.
        from rulesproxy.tls.context import ContextError, check_files

        try:
            if ca is not None and self.ca is not None:
                where: Node = ca
                check_files([file.path for file in self.ca])
            if cert is not None and self.client_cert is not None:
                where = cert
                check_files((), self.client_cert.files)
        except ContextError as exc:
            words = str(exc)
            for file in self._files():
                words = words.replace(str(file.path), f"`{file.shown}`")
            title, _, help = words.partition(": ")
            reader.note("RP671", where, title, help)

    def _files(self) -> list[FilePath]:
        own = () if self.client_cert is None else (self.client_cert.cert, self.client_cert.key)
        return [file for file in (*(self.ca or ()), *own) if file is not None]

    @property
    def route(self) -> Route:
        return Route(
            None if self.proxy is None else self.proxy.via,
            None if self.address is None else self.address.address,
            None if self.sni is None else self.sni.name,
            self.verify,
            None if self.ca is None else tuple([file.path for file in self.ca]),
            None if self.client_cert is None else self.client_cert.files,
            None if self.http_version is None else self.http_version.version,
        )

    def bind(self) -> Handler:
        route = self.route

        def choose(flow: HTTPFlow, captures: Captures) -> None:
            plan = flow.plan
            plan.upstream = route.over(plan.upstream)

        return choose
