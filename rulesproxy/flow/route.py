"""`Via` and `Route`: how a server is reached, where it is not simply dialled. Plain data; the layers carry it out."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, cast
from urllib.parse import unquote

from rulesproxy.flow.connection import Address
from rulesproxy.flow.url import format_authority, split_authority

Scheme: TypeAlias = Literal["http", "https", "socks5"]
HTTPVersion: TypeAlias = Literal["1.1", "2", "auto"]

_PORTS = {"http": 80, "https": 443, "socks5": 1080}
# `socks5h` says that the proxy resolves names, which is what we always let it do.
_ALIASES = {"socks5h": "socks5"}


@dataclass(frozen=True, slots=True)
class Via:
    """A proxy between us and a server. Its text never shows the password.

    Attributes:
        scheme: `http`, `https` (TLS to the proxy), or `socks5`.
        host: its name or address.
        port: its port.
        user: who we are to it; None where it does not ask.
        password: what proves it.
    """

    scheme: Scheme
    host: str
    port: int
    user: str | None = field(default=None, repr=False)
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str) -> Via:
        """A proxy from its URL, such as `http://user:password@proxy.example:3128`.

        Raises:
            ValueError: it is none. The message does not repeat the password.
        """
        scheme, found, rest = url.partition("://")
        scheme = _ALIASES.get(scheme.lower(), scheme.lower())
        if not found or scheme not in _PORTS:
            raise ValueError("the URL of a proxy starts with http://, https:// or socks5://")
        rest = rest.removesuffix("/")
        userinfo, at, authority = rest.rpartition("@")
        if "/" in authority or "?" in authority:
            raise ValueError(f"{scheme}://{authority} has a path: a proxy is scheme, host and port alone")
        host, port = split_authority(authority, _PORTS[scheme])
        if not at:
            return cls(cast(Scheme, scheme), host, port)
        user, _, password = userinfo.partition(":")
        user, password = unquote(user), unquote(password)
        if scheme == "socks5" and not (0 < len(user.encode()) < 256 and 0 < len(password.encode()) < 256):
            raise ValueError("user and password of a SOCKS5 proxy have 1 to 255 bytes each (RFC 1929)")
        if ":" in user or not (user + password).isprintable():
            raise ValueError("the user of a proxy has no colon, and neither user nor password a control character")
        return cls(cast(Scheme, scheme), host, port, user, password)

    @property
    def address(self) -> Address:
        """Where it listens."""
        return self.host, self.port

    def __str__(self) -> str:
        return f"{self.scheme}://{format_authority(self.host, self.port, '')}"


class ClientCert(NamedTuple):
    """What proves to a server who we are: PEM files.

    Attributes:
        cert: the certificate with its chain; the key too, where `key` is None.
        key: the private key.
    """

    cert: Path
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """How a server is reached. What is None stays as the mode and the options have it.

    Attributes:
        via: the proxy to go through; `direct` for none.
        address: where to connect, whatever the URL says; Host and SNI stay.
        sni: the server name that is asked for in TLS, and that the certificate has to be for.
        verify: whether the server's certificate is verified.
        ca: files with further authorities that may vouch for it.
        client_cert: our own certificate.
        http_version: `2` for HTTP/2 and nothing else, with ALPN where TLS is spoken and without asking where it is not
            (RFC 9113 section 3.3); `auto` for what the server chooses in TLS; `1.1`, which is the default.
    """

    via: Via | Literal["direct"] | None = None
    address: Address | None = None
    sni: str | None = None
    verify: bool | None = None
    ca: tuple[Path, ...] | None = None
    client_cert: ClientCert | None = None
    http_version: HTTPVersion | None = None

    def over(self, other: Route | None) -> Route:
        """This route, and what it leaves open as `other` has it."""
        if other is None:
            return self
        missing = {one.name: getattr(other, one.name) for one in fields(self) if getattr(self, one.name) is None}
        return replace(self, **missing)

    @property
    def blind(self) -> bool:
        """Whether it can be followed without seeing inside TLS."""
        inside = (self.sni, self.verify, self.ca, self.client_cert, self.http_version)
        return all(one is None for one in inside)
