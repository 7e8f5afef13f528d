"""`index_key` and `host_decision`: what of a filter can be known from the host or the path alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rulesproxy.filters.check import Checked


@dataclass(frozen=True, slots=True)
class Key:
    """A necessary condition of a filter: it can only be true for a flow whose host and path both pass.

    The host passes where one of `view.hosts` (the request's host, and the Host header's where that differs) is in
    `hosts` or is, or is a subdomain of, one of `suffixes`. The path (`view.path`) passes where it is in `paths` or
    starts with one of `prefixes`. Both sets of a pair are None where nothing is known; both empty: never true.
    """

    hosts: frozenset[str] | None
    suffixes: frozenset[str] | None
    paths: frozenset[str] | None
    prefixes: frozenset[str] | None


def index_key(checked: Checked) -> Key:
    """What a flow must have for this filter to be true, as far as host and path go."""
    raise NotImplementedError


def host_decision(checked: Checked) -> Callable[[str], bool]:
    """A function of a host: may the filter be true for some flow to it?

    A flow to a host is one whose request, and whose Host header where it has one, names that host.
    """
    raise NotImplementedError
