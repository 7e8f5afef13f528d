"""`Mode`: how a listener treats its clients, and how a mode is written. It knows no sockets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import NamedTuple

from rulesproxy.diagnostics import suggest
from rulesproxy.flow.connection import Address
from rulesproxy.flow.route import Via
from rulesproxy.flow.url import split_authority, split_url

MODES = ("regular", "reverse", "upstream", "socks5", "transparent", "tcp")

DEFAULT_PORT = 8080
DEFAULT_PORTS = {"socks5": 1080}

_WAYS = (
    "there are regular, reverse:https://host:port, upstream:http://proxy:port, socks5, transparent and tcp:host:port, "
    "each with @host:port behind it where it has an address of its own"
)


class ModeError(ValueError):
    """A mode that does not exist, or whose target is bad."""


class Mode(NamedTuple):
    """How a listener treats its clients.

    Attributes:
        name: one of `MODES`.
        target: the server of `reverse` and `tcp`; the original destination of one connection in `transparent`.
        tls: whether that server speaks TLS.
        raw: whether bytes are carried, whatever they are, and not HTTP.
        via: the proxy of `upstream`.
        listen: the address that stands behind its `@`.
    """

    name: str
    target: Address | None = None
    tls: bool = False
    raw: bool = False
    via: Via | None = None
    listen: Address | None = None

    @property
    def scheme(self) -> str:
        """What clients speak to it, as it stands in a URL."""
        if self.raw:
            return "tcp"
        return "socks5" if self.name == "socks5" else "http"

    @property
    def open(self) -> bool:
        """Whether its clients choose where they go: who can reach it reaches all that this machine can reach."""
        return self.target is None

    @property
    def asks(self) -> bool:
        """Whether it can ask its clients for a password."""
        return self.name in ("regular", "upstream", "socks5")


def parse_mode(text: str) -> Mode:
    """A mode as it is written: `NAME`, `NAME:TARGET`, each with `@host:port` behind it or not.

    Raises:
        ModeError: no such mode, or no such target.
    """
    try:
        spec, listen = _split_listen(text)
        mode = _parse(spec)
    except ModeError:
        raise
    except ValueError as exc:
        raise ModeError(f"mode {_shown(text)!r}: {exc}") from None
    return mode._replace(listen=listen)


def parse_listen(text: str) -> Address:
    """An address to listen on: `host:port`, `[ipv6]:port`, `:port`, or a port alone.

    Raises:
        ValueError: it is none of these.
    """
    wanted = text
    if text.isdecimal():
        text = f"127.0.0.1:{text}"
    elif text.startswith(":"):
        text = "0.0.0.0" + text
    host, _, port = text.rpartition(":")
    try:
        if port == "0" and host:
            return split_authority(host, 1)[0], 0
        address = split_authority(text, 0)
    except ValueError as exc:
        raise ValueError(f"cannot listen on {wanted!r}: {exc}") from None
    if not address[1]:
        raise ValueError(f"cannot listen on {wanted!r}: it has no port; write host:port, such as 127.0.0.1:8080")
    return address


def plan_listeners(modes: Sequence[str], listens: Sequence[str]) -> list[tuple[Mode, Address]]:
    """Which mode listens where.

    A mode with an `@` has its own address. The others share out `listens`: one mode for all of them, or one for each.
    Without any they take 127.0.0.1 and the usual port of their mode.

    Raises:
        ModeError: a mode is bad, or modes and addresses are not as many.
        ValueError: an address is bad.
    """
    parsed = [parse_mode(mode) for mode in modes]
    addresses = [parse_listen(listen) for listen in listens]
    free = [mode for mode in parsed if mode.listen is None]
    if not addresses:
        addresses = [("127.0.0.1", DEFAULT_PORTS.get(mode.name, DEFAULT_PORT)) for mode in free]
    elif len(parsed) == len(free) == 1:
        parsed *= len(addresses)
    elif len(free) != len(addresses):
        raise ModeError(
            f"{_count(len(free), 'mode')} without an address and {_count(len(addresses), 'address')}: "
            "give one --listen for each --mode, or write the address behind the mode, such as socks5@127.0.0.1:1080"
        )
    rest = iter(addresses)
    return [(mode, next(rest) if mode.listen is None else mode.listen) for mode in parsed]


def _parse(spec: str) -> Mode:
    written, colon, target = spec.partition(":")
    name = written.strip().lower()
    if name in ("regular", "socks5", "transparent"):
        if colon:
            raise ModeError(f"mode {_shown(spec)!r}: `{name}` has no target; write `{name}` or `{name}@host:port`")
        return Mode(name)
    if name == "reverse":
        return _reverse(target)
    if name == "upstream":
        return Mode(name, via=Via.parse(target))
    if name == "tcp":
        return Mode(name, _server(target), raw=True)
    meant = suggest(name, MODES)
    raise ModeError(f"{_shown(spec)!r} is not a mode: " + (f"did you mean `{meant}`?" if meant else _WAYS))


def _reverse(target: str) -> Mode:
    scheme, found, rest = target.partition("://")
    if not found:
        # As in mitmproxy, where most servers speak TLS.
        scheme, rest = "https", target
    scheme = scheme.lower()
    if scheme in ("tcp", "tls"):
        return Mode("reverse", _server(rest), scheme == "tls", raw=True)
    scheme, host, port, path = split_url(f"{scheme}://{rest}")
    if path != "/":
        raise ValueError(f"the target is a server; {path!r} is a path, which rules can add")
    return Mode("reverse", (host, port), scheme == "https")


def _server(authority: str) -> Address:
    host, port = split_authority(authority, 0)
    if not port:
        raise ValueError(f"{authority!r} has no port: write host:port")
    return host, port


def _split_listen(text: str) -> tuple[str, Address | None]:
    """A mode, and the address behind its last `@`, which may also be the end of a user and password."""
    spec, at, address = text.rpartition("@")
    if not at:
        return text, None
    before = spec.partition("://")[2]
    if spec.lower().startswith("upstream:") and "@" not in before:
        # Is this `proxy:3128@8081` or `user:password@proxy:3128`? The first names a port, and then an address of ours.
        port = before.rpartition(":")[2]
        named = _is_address(address) and (not before.count(":") or port.isdecimal() or before.endswith("]"))
        if not named:
            return text, None
    return spec, parse_listen(address)


def _is_address(text: str) -> bool:
    """Whether it can be an address of this machine, and is no name of a server."""
    host = text.rpartition(":")[0].strip("[]")
    try:
        ip_address(host)
    except ValueError:
        return host in ("", "localhost") and text.rpartition(":")[2].isdecimal()
    return True


def _shown(text: str) -> str:
    """A mode without the password that may be in it."""
    return re.sub(r"(://[^:@/]*):[^@/]*@", r"\1:…@", text)


def _count(number: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"1 {noun}" if number == 1 else f"{number or 'no'} {plural}"
