"""URLs and authorities (RFC 3986, RFC 9110 section 4): taken apart and put together."""

from __future__ import annotations

import re

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
# A name in UTF-8 is taken as a browser takes it. Controls are not, nor the surrogates that stand for undecodable bytes.
# (Written as what no host has: a set of all that it may have would take 2 ms to compile, at every start.)
_HOST = re.compile(r"[^\x00- \"#/:<>?@\[\\\]^`{|}\x7f-\xa0\ud800-\udfff]+").fullmatch
_IPV6 = re.compile(r"[0-9A-Fa-f:.]+(?:%[0-9A-Za-z._~\-]+)?").fullmatch


def default_port(scheme: str) -> int:
    """The port of a scheme; 0 for an unknown one."""
    return _PORTS.get(scheme, 0)


def split_authority(authority: str, default: int) -> tuple[str, int]:
    """Host and port of `host[:port]`; brackets around an IPv6 address are removed.

    Raises:
        ValueError: no host, userinfo, a character that no host has, or a port outside 1 to 65535.
    """
    if "@" in authority:
        raise ValueError(f"{authority!r} names a user before the `@`: only a host and a port may stand here")
    if authority.startswith("["):
        host, closed, rest = authority[1:].partition("]")
        if not closed or not _IPV6(host) or host.count(":") < 2 or (rest and not rest.startswith(":")):
            raise ValueError(f"{authority!r} is not an IPv6 address in brackets with an optional port")
        port = rest[1:]
    else:
        host, _, port = authority.partition(":")
        if not _HOST(host):
            raise ValueError(f"{authority!r} is not a host with an optional port")
    if not port:
        return host, default
    if not (port.isascii() and port.isdigit()) or len(port) > 5 or not 0 < int(port) < 65536:
        raise ValueError(f"{port!r} is not a port: 1 to 65535")
    return host, int(port)


def format_authority(host: str, port: int, scheme: str) -> str:
    """`host[:port]`, with brackets where they are needed and without the scheme's own port."""
    if ":" in host:
        host = f"[{host}]"
    return host if port == _PORTS.get(scheme) else f"{host}:{port}"


def split_url(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path-with-query of an absolute URL; a fragment is dropped.

    Raises:
        ValueError: not an absolute http, https, ws or wss URL, or its authority is bad.
    """
    scheme, found, rest = url.partition("://")
    scheme = scheme.lower()
    if not found or scheme not in _PORTS:
        raise ValueError(f"{url!r} is not an absolute URL: it must start with http:// or https://")
    if scheme in ("ws", "wss"):
        scheme = "http" if scheme == "ws" else "https"
    end = len(rest)
    for mark in "/?#":
        at = rest.find(mark)
        if 0 <= at < end:
            end = at
    host, port = split_authority(rest[:end], _PORTS[scheme])
    path = rest[end:].partition("#")[0]
    if not path.startswith("/"):
        path = "/" + path
    return scheme, host, port, path
