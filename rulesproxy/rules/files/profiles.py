"""Profiles: which ones a set of rule files knows, which are switched on, and whether a name is one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rulesproxy.diagnostics import Diagnostic, Span, suggest
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.nodes import Mapping, Scalar
from rulesproxy.rules.schema import Bad

if TYPE_CHECKING:
    from rulesproxy.rules.schema import Reader

PROFILE_KEYS = ("vars", "lists", "filters")
"""What a profile may give other values."""


class Profiles:
    """The profiles of all files together.

    Attributes:
        on: those that are switched on, in the order in which they were given: a later one wins.
    """

    def __init__(self, on: Sequence[str]) -> None:
        self.on = tuple(dict.fromkeys(on))
        self._declared: set[str] = set()
        self._asked: list[tuple[Scalar, Reader]] = []
        self._wanted: list[tuple[str, Span | None]] = [(name, None) for name in self.on]

    def declare(self, name: str) -> None:
        """A file has values for a profile."""
        self._declared.add(name)

    def want(self, name: str, span: Span) -> None:
        """A test switches a profile on."""
        self._wanted.append((name, span))

    def allow(self, node: Mapping, reader: Reader) -> bool:
        """Whether an entry of `rules` is there: it has no `profile`, or one of those that it names is on."""
        child = node.get("profile")
        if child is None:
            return True
        names = []
        items = reader.items(child)
        if not items:
            reader.note("RP103", child, "`profile` names nothing", "name a profile, or remove the key")
        for item in items:
            try:
                names.append(reader.scalar(item, "profile", "the name of a profile"))
            except Bad:
                continue
        self._asked += [(name, reader) for name in names]
        return any(name.text in self.on for name in names)

    def check(self) -> Iterator[Diagnostic]:
        """What is wrong with names, once all files were read: slips in rules are recorded, the others given.

        A rule makes a profile by naming it. So a name in a rule is a slip only where it nearly is one that a file has
        values for.
        """
        slips = set()
        for name, reader in self._asked:
            meant = suggest(name.text, self._declared) if name.text not in self._declared else None
            if meant is not None:
                slips.add(name.text)
                help = f"did you mean `{meant}`? Else write `{name.text}:` under `profiles:`"
                reader.note("RP810", name, f"there is no profile `{name.text}`", help)
        known = sorted(self._declared.union(name.text for name, _ in self._asked) - slips)
        for wanted, span in self._wanted:
            if wanted not in known:
                meant = suggest(wanted, known)
                help = f"the profiles are {', '.join(known)}" if known else "these files have no profiles"
                help = f"did you mean `{meant}`?" if meant else help
                yield Diagnostic("RP810", "error", f"there is no profile `{wanted}`", span, help)


def layers(top: Mapping, reader: Reader, profiles: Profiles) -> dict[str, Mapping]:
    """The profiles of one file, by name; those without values too."""
    node = top.get("profiles")
    if node is None or (isinstance(node, Scalar) and node.null):
        return {}
    found: dict[str, Mapping] = {}
    try:
        mapping = reader.mapping(node, "profiles", "`profiles: {staging: {vars: {…}}}`")
    except Bad:
        return {}
    for key, child in mapping.entries:
        profiles.declare(key.text)
        if isinstance(child, Scalar) and child.null:
            continue
        try:
            layer = reader.mapping(child, key.text, f"`{key.text}: {{vars: {{…}}}}`")
        except Bad:
            continue
        for inner, _ in layer.entries:
            if inner.text not in PROFILE_KEYS:
                help = {"rules": f"write `profile: {key.text}` in each rule that belongs to it"}.get(inner.text)
                if help is not None:
                    reader.note("RP101", inner, f"a profile has no `{inner.text}`", help)
                else:
                    reader.unknown(inner, PROFILE_KEYS, "in a profile", {"variables": "vars", "list": "lists"})
        found[key.text] = layer
    return found


def section(mapping: Mapping, name: str, reader: Reader) -> list[tuple[Scalar, nodes.Node]]:
    """The entries of `vars`, `lists` or `filters` in a mapping; none where there are none."""
    node = mapping.get(name)
    if node is None or (isinstance(node, Scalar) and node.null):
        return []
    try:
        return reader.mapping(node, name, f"`{name}: {{name: …}}`").entries
    except Bad:
        return []
