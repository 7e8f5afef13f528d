"""Do the names that a client gives for one server agree? CONNECT, SNI and Host are three, and may differ."""

from __future__ import annotations

from collections.abc import Iterable

from rulesproxy.tls.leaf import normalise


def mismatch(names: Iterable[str], host: str) -> str | None:
    """The first of `names` that is another host than `host`; None where they agree.

    An address says nothing that a name could contradict: clients that resolve names themselves ask for addresses.
    """
    wanted = _normal(host)
    if not isinstance(wanted, str):
        return None
    for name in names:
        other = _normal(name)
        if isinstance(other, str) and other != wanted:
            return name
    return None


def _normal(name: str) -> object:
    try:
        return normalise(name)
    except ValueError:
        return name.lower()
