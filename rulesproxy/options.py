"""The options that the proxy itself reads: declared, and checked where no type can tell what is wrong.

How options are kept and changed is known by `engine.options`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TypeAlias

from rulesproxy.engine.option import OptionsError
from rulesproxy.engine.options import Options
from rulesproxy.flow.connection import Address
from rulesproxy.flow.url import format_authority
from rulesproxy.layers.modes import Mode
from rulesproxy.net.original import SUPPORTED

_log = logging.getLogger("rulesproxy")

Wanted: TypeAlias = Sequence[tuple[Mode, Address]]
"""The addresses to listen on, each with its mode."""


def declare_options(options: Options) -> None:
    """Add the options that the proxy itself reads."""
    add = options.add
    add("intercept", str, "auto", "which TLS connections to decrypt: what a rule or addon may touch, all, or none",
        choices=("auto", "all", "none"))  # fmt: skip
    add("http1_codec", str, "native", "the parser behind HTTP/1.1: ours alone, or h11 beside it as a second opinion",
        choices=("native", "h11"))  # fmt: skip
    add("verify_upstream", bool, True, "verify the certificates of servers")
    add("upstream_ca", Sequence[str], (), "files with further authorities that servers may be vouched for by")
    add("keep_host", bool, False, "reverse mode: send the client's Host header on instead of the target's")
    add("tcp_events_in_tunnels", bool, False, "fire the tcp_* events for TLS that is passed through")
    add("host_mismatch", str, "allow", "requests for another host than CONNECT or TLS have named: allow or block them",
        choices=("allow", "block"))  # fmt: skip
    add("auth", str, "", "user:password that clients of regular, upstream and socks5 modes have to give")
    add("allow_public", bool, False, "listen on addresses that other machines can reach, without authentication")
    add("shutdown_grace", float, 5.0, "seconds that flows have to finish at shutdown")


def check_options(options: Options, wanted: Wanted, changed: set[str]) -> None:
    """Refuse values of options that no type can tell are wrong.

    Args:
        options: the options.
        wanted: the addresses that shall be listened on.
        changed: the names of those that are new.

    Raises:
        OptionsError: a value is refused.
    """
    if not changed.isdisjoint({"allow_public", "auth"}):
        _check_addresses(options, wanted)
    if "auth" in changed:
        _check_auth(options, wanted)
    if "upstream_ca" in changed:
        _check_upstream_ca(options)
    if options.shutdown_grace < 0:
        about = [("shutdown_grace", options.source("shutdown_grace"))]
        raise OptionsError("option `shutdown_grace`: it must be a number of seconds, not negative", about)
    if "verify_upstream" in changed and not options.verify_upstream:
        _log.warning("verify_upstream is off: nobody can tell whether a server is who it claims to be")


def _check_upstream_ca(options: Options) -> None:
    """A bad file is found now, not at the first connection."""
    if not options.upstream_ca:
        return
    # Commands that only declare options do not wait for it to be imported.
    from rulesproxy.tls.context import ContextError, check_files

    try:
        check_files(map(Path, options.upstream_ca))
    except ContextError as exc:
        about = [("upstream_ca", options.source("upstream_ca"))]
        raise OptionsError(f"option `upstream_ca`: {exc}", about) from None


def _check_auth(options: Options, wanted: Wanted) -> None:
    auth: str = options.auth
    if not auth:
        return
    user, colon, password = auth.partition(":")
    if not colon or not user or not password:
        raise OptionsError("option `auth`: write user:password, both of them", [("auth", options.source("auth"))])
    silent = sorted({mode.name for mode, _ in wanted if not mode.asks})
    if silent:
        _log.warning("auth: %s cannot ask anybody for a password: whoever reaches it may use it", ", ".join(silent))


def _check_addresses(options: Options, wanted: Wanted) -> None:
    if not SUPPORTED and any(mode.name == "transparent" for mode, _ in wanted):
        raise OptionsError("transparent mode needs Linux: no other system says where a connection was going")
    if options.allow_public:
        return
    for mode, (host, port) in wanted:
        protected = options.auth and mode.asks
        if mode.open and not protected and not _is_loopback(host):
            way = "say --auth user:password or --allow-public" if mode.asks else "say --allow-public"
            raise OptionsError(
                f"other machines can reach {format_authority(host, port, '')}, and through it all that this one "
                f"can reach: listen on 127.0.0.1, or {way}"
            )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
