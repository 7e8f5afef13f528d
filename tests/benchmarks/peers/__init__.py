"""The proxies that can be measured. A new one is a file here and a line in `KINDS`."""

from .base import Bench, Proxy
from .direct import Direct
from .mitmproxy import Mitmproxy
from .nginx import Nginx
from .proxypy import ProxyPy
from .rulesproxy import RulesProxy
from .squid import Squid

KINDS: dict[str, type[Proxy]] = {kind.name: kind for kind in (RulesProxy, Mitmproxy, ProxyPy, Squid, Nginx, Direct)}

__all__ = ["KINDS", "Bench", "Direct", "Proxy", "select"]


def select(names: str) -> list[Proxy]:
    """Reads a comma-separated list of names or `all`; ValueError if one is unknown.

    `rulesproxy@FOLDER` is another checkout of this project.
    """
    chosen = list(KINDS) if names == "all" else [name.strip() for name in names.split(",") if name.strip()]
    proxies = []
    for name in chosen:
        kind, _, folder = name.partition("@")
        if kind not in KINDS or (folder and kind != RulesProxy.name):
            raise ValueError(f"unknown proxy {name!r}; there are: {', '.join(KINDS)}, and rulesproxy@FOLDER")
        proxies.append(RulesProxy(folder) if folder else KINDS[kind]())
    if not proxies:
        raise ValueError(f"no proxy named; there are: {', '.join(KINDS)}")
    return proxies
