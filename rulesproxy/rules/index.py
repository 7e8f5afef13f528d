"""`Index`: from the host and the path of a request to the rules that may match it, at a cost that does not grow.

It knows keys, which are necessary conditions, and numbers. Whoever asks evaluates the filters of the candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from rulesproxy.filters.keys import Key
from rulesproxy.filters.normal import normal_host, normal_path
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.forms import host_of_authority
from rulesproxy.flow.headers import to_str
from rulesproxy.flow.http import HTTPRequest

Numbers: TypeAlias = tuple[int, ...]

NONE: Numbers = ()

_BUCKET = 1
"""A bucket of rules up to this size is handed out whole; looking at the path costs less than a second candidate."""
_LENGTHS = 24
"""Different lengths of prefixes that are looked up; with more, prefixes are cut to the next shorter one."""
_HOSTS = 4096
"""Hosts whose normal form is remembered."""


class Paths:
    """Rules by path: those of one host, or those that name no host."""

    __slots__ = ("_always", "_exact", "_lengths", "_prefixes", "_small")

    def __init__(self, entries: Sequence[tuple[int, Key]]) -> None:
        self._small: Numbers | None = (
            tuple(sorted(number for number, _ in entries)) if len(entries) <= _BUCKET else None
        )
        exact: dict[str, list[int]] = {}
        prefixes: dict[str, list[int]] = {}
        always: list[int] = []
        lengths = _choose_lengths([prefix for _, key in entries for prefix in key.prefixes or ()])
        for number, key in entries:
            if key.paths is None and key.prefixes is None:
                always.append(number)
                continue
            for path in key.paths or ():
                exact.setdefault(path, []).append(number)
            for prefix in key.prefixes or ():
                cut = _cut(prefix, lengths)
                if cut:
                    prefixes.setdefault(cut, []).append(number)
                else:
                    always.append(number)
        self._exact = _frozen(exact)
        self._prefixes = _frozen(prefixes)
        self._lengths = tuple(sorted({len(prefix) for prefix in self._prefixes}))
        self._always = tuple(sorted(set(always)))

    def find(self, path: str, found: list[Numbers]) -> None:
        """Add the rules that this path may concern to `found`."""
        if self._small is not None:
            found.append(self._small)
            return
        if self._always:
            found.append(self._always)
        numbers = self._exact.get(path)
        if numbers is not None:
            found.append(numbers)
        if self._prefixes:
            get, size = self._prefixes.get, len(path)
            for length in self._lengths:
                if length > size:
                    break
                numbers = get(path[:length])
                if numbers is not None:
                    found.append(numbers)

    @property
    def useless(self) -> bool:
        """Whether the path makes no difference."""
        return not self._exact and not self._prefixes

    @property
    def all(self) -> Iterable[int]:
        """Every rule in it."""
        if self._small is not None:
            return self._small
        groups = [self._always, *self._exact.values(), *self._prefixes.values()]
        return {number for group in groups for number in group}


class Index:
    """The rules of a set by host and path."""

    __slots__ = ("_anywhere", "_exact", "_hosts", "_suffixes")

    def __init__(self, keys: Sequence[Key]) -> None:
        exact: dict[str, list[tuple[int, Key]]] = {}
        suffixes: dict[str, list[tuple[int, Key]]] = {}
        anywhere: list[tuple[int, Key]] = []
        for number, key in enumerate(keys):
            if key.hosts is None and key.suffixes is None:
                anywhere.append((number, key))
                continue
            for host in key.hosts or ():
                exact.setdefault(host, []).append((number, key))
            for suffix in key.suffixes or ():
                suffixes.setdefault(suffix, []).append((number, key))
        self._exact = {host: Paths(entries) for host, entries in exact.items()}
        self._suffixes = {suffix: Paths(entries) for suffix, entries in suffixes.items()}
        self._anywhere = Paths(anywhere) if anywhere else None
        self._hosts: dict[str, str] = {}

    @property
    def useless(self) -> bool:
        """Whether no rule names a host or a path, so that every flow has all rules as candidates."""
        return not self._exact and not self._suffixes and (self._anywhere is None or self._anywhere.useless)

    def candidates(self, request: HTTPRequest) -> Numbers:
        """The numbers of the rules whose keys this request passes, in order."""
        raw = request.host
        host = self._hosts.get(raw)
        if host is None:
            host = self._normal(raw)
        found: list[Numbers] = []
        path = normal_path(request.path)
        if self._anywhere is not None:
            self._anywhere.find(path, found)
        self._by_host(host, path, found)
        named = request.headers.first(b"host")
        if named is not None:
            text = to_str(named)
            if text != raw:
                other = normal_host(host_of_authority(text))
                if other and other != host:
                    self._by_host(other, path, found)
        if not found:
            return NONE
        return found[0] if len(found) == 1 else tuple(sorted({number for numbers in found for number in numbers}))

    def by_host(self, host: str) -> Numbers:
        """The numbers of the rules that may concern some request to this host, in order."""
        numbers = set(self._anywhere.all) if self._anywhere is not None else set()
        for paths in self._paths_of(normal_host(host)):
            numbers.update(paths.all)
        return tuple(sorted(numbers))

    def _normal(self, raw: str) -> str:
        if len(self._hosts) >= _HOSTS:
            self._hosts.clear()
        host = self._hosts[raw] = normal_host(raw)
        return host

    def _by_host(self, host: str, path: str, found: list[Numbers]) -> None:
        paths = self._exact.get(host)
        if paths is not None:
            paths.find(path, found)
        if not self._suffixes:
            return
        get = self._suffixes.get
        rest = host
        while rest:
            paths = get(rest)
            if paths is not None:
                paths.find(path, found)
            rest = rest.partition(".")[2]

    def _paths_of(self, host: str) -> list[Paths]:
        found = [self._exact[host]] if host in self._exact else []
        rest = host
        while rest:
            if rest in self._suffixes:
                found.append(self._suffixes[rest])
            rest = rest.partition(".")[2]
        return found


def passes_key(key: Key) -> Callable[[FlowView], bool]:
    """A function that tells whether a flow has what a key asks for."""

    def passes(view: FlowView) -> bool:
        anywhere = key.hosts is None and key.suffixes is None
        if not anywhere and not any(_host_passes(key, host) for host in view.hosts):
            return False
        if key.paths is None and key.prefixes is None:
            return True
        path = view.path
        return path in (key.paths or ()) or path.startswith(tuple(key.prefixes or ()))

    return passes


def _host_passes(key: Key, host: str) -> bool:
    if host in (key.hosts or ()):
        return True
    return any(host == suffix or host.endswith("." + suffix) for suffix in key.suffixes or ())


def _frozen(groups: dict[str, list[int]]) -> dict[str, Numbers]:
    return {text: tuple(sorted(set(numbers))) for text, numbers in groups.items()}


def _choose_lengths(prefixes: list[str]) -> list[int]:
    """The lengths that are looked up: all of them, or as many as are allowed, spread over the rules."""
    lengths = sorted(len(prefix) for prefix in prefixes if prefix)
    distinct = sorted(set(lengths))
    if len(distinct) <= _LENGTHS:
        return distinct
    step = len(lengths) / _LENGTHS
    return sorted({lengths[int(i * step)] for i in range(_LENGTHS)})


def _cut(prefix: str, lengths: list[int]) -> str:
    """The prefix, cut to the longest length that is looked up."""
    fitting = [length for length in lengths if length <= len(prefix)]
    return prefix[: fitting[-1]] if fitting else ""
