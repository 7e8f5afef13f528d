"""The lists of a rule file: where their items stand, and whether they are what the filters that use them want.

It knows the format of list files, and which items can never match or add nothing. It does not know who may use a list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, TypeAlias

from rulesproxy.diagnostics import Label, Source, Span
from rulesproxy.filters import ast
from rulesproxy.filters.fields import Kind
from rulesproxy.filters.lookup import find
from rulesproxy.filters.normal import normal_address, normal_host
from rulesproxy.limits import LIST_FILE, LIST_PROBLEMS, MIB
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.nodes import File, Node, Scalar

if TYPE_CHECKING:
    from rulesproxy.rules.files.closure import Closure
    from rulesproxy.rules.schema import Reader

Network: TypeAlias = IPv4Network | IPv6Network
Use: TypeAlias = tuple[Kind, str]
"""How a filter uses a list: the kind of value that is compared with it, and the operator."""

_COMMENT = re.compile(r"(?:^|[ \t])#.*")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]").search
_NO_HOST = re.compile(r"""[/\\\s|^@!?#"'<>`{}(),;=&$%]|(?<!^)\*|^\*(?!\.)|^[^:]*:\d*$""").search
"""Characters that no host has, or a port. `*.a.test` is what others write for `under`."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item: its text, and where it stands: in a node, or from an offset on in a list file."""

    text: str
    place: Scalar | tuple[File, int]

    @property
    def span(self) -> Span:
        if isinstance(self.place, Scalar):
            return self.place.span
        file, at = self.place
        return file.span(at, at + len(self.text))


Items: TypeAlias = tuple[Item, ...]


def read_list(node: Node, name: str, reader: Reader, closure: Closure) -> Items:
    """The items of a list as it is written: `[a, b]` or `{file: …}`.

    Raises:
        Bad: it is neither, or the file cannot be used.
    """
    if isinstance(node, nodes.Mapping):
        return _read_file(node, reader, closure)
    if not isinstance(node, nodes.Sequence):
        reader.fail("RP103", node, f"the list `{name}` wants a list", f"write `{name}: [a, b]`, or `{{file: …}}`")
    return tuple([Item(item.text, item) for item in (reader.scalar(item, name, "text") for item in node.items)])


def uses(trees: Iterable[object]) -> dict[str, set[Use]]:
    """How the filters in `trees` use the lists that they name."""
    found: dict[str, set[Use]] = {}
    for tree in trees:
        for node in _compares(tree):
            field = find(node.left.name) if isinstance(node.left, ast.Field) else None
            if field is None:
                continue
            right = node.right.items if isinstance(node.right, ast.Set) else (node.right,)
            for item in right:
                if isinstance(item, ast.Named):
                    found.setdefault(item.name, set()).add((field.kind, node.op))
    return found


def check_list(name: str, items: Items, used: set[Use], reader: Reader) -> Items:
    """The items that can be used; those that cannot (RP806) and those that add nothing (RP804) are recorded."""
    kinds = {kind for kind, _ in used}
    problems = _Problems(name, reader)
    if Kind.ADDRESS in kinds:
        networks = [(item, _network(item.text)) for item in items]
        # With none of them an address, the use is the mistake, and is said there.
        if any(found is not None for _, found in networks):
            for item, found in networks:
                if found is None:
                    problems.bad(item, "is no address, network or range", "write it like 10.0.0.7, or 10.0.0.0/8")
            items = tuple([item for item, found in networks if found is not None])
    if Kind.HOST in kinds:
        for item in items:
            if _NO_HOST(item.text):
                problems.bad(item, "is no host", _host_help(item.text))
        items = tuple([item for item in items if not _NO_HOST(item.text)])
    items = _without_duplicates(items, kinds, problems)
    if Kind.ADDRESS in kinds:
        _covered_networks(items, problems)
    elif any(kind is Kind.HOST and op == "under" for kind, op in used):
        _covered_hosts(items, problems)
    problems.say_rest()
    return items


class _Problems:
    """What is wrong with one list. The first ones are recorded; of the others the number."""

    def __init__(self, name: str, reader: Reader) -> None:
        self.name = name
        self.reader = reader
        self.shown: dict[str, int] = {}
        self.last: dict[str, Item] = {}

    def bad(self, item: Item, what: str, help: str) -> None:
        if self._count("RP806", item):
            title = f"`{_short(item.text)}` in the list `{self.name}` {what}"
            self.reader.note("RP806", item.span, title, help)

    def needless(self, item: Item, title: str, first: Item, label: str) -> None:
        if self._count("RP804", item):
            labels = [Label(first.span, label)]
            self.reader.note("RP804", item.span, title, "remove it", labels=labels, severity="warning")

    def say_rest(self) -> None:
        for code, number in self.shown.items():
            if number > LIST_PROBLEMS:
                more = number - LIST_PROBLEMS
                title = f"{more:,} more of this kind in the list `{self.name}`"
                severity = "error" if code == "RP806" else "warning"
                self.reader.note(code, self.last[code].span, title, label="the last one", severity=severity)  # type: ignore[arg-type]

    def _count(self, code: str, item: Item) -> bool:
        self.shown[code] = self.shown.get(code, 0) + 1
        self.last[code] = item
        return self.shown[code] <= LIST_PROBLEMS


def _read_file(mapping: nodes.Mapping, reader: Reader, closure: Closure) -> Items:
    node = mapping.get("file")
    for key, _ in mapping.entries:
        if key.text != "file":
            reader.unknown(key, ("file",), "in a list")
    if node is None:
        reader.fail("RP103", mapping, "a list is `[a, b]` or `{file: …}`", "add `file: lists/name.txt`")
    path = reader.folder / reader.text(node, "file")
    try:
        data = closure.read(path, LIST_FILE)
    except (OSError, ValueError) as error:
        words = (getattr(error, "strerror", None) or str(error)).lower()
        help = f"the path is relative to the rule file: this is {path.absolute()}"
        reader.fail("RP601", node, f"cannot read the list `{path}`: {words}", help)
    if len(data) > LIST_FILE:
        reader.fail("RP806", node, f"the list `{path}` is over {LIST_FILE // MIB} MiB", "cut it into several lists")
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        title = f"the list `{path}` is not UTF-8: byte 0x{data[error.start]:02X} in line {line}"
        reader.fail("RP806", node, title, "save it as UTF-8")
    items = tuple(_lines(File(Source(str(path), text)), reader))
    if not items:
        title = f"the list `{path}` has no items"
        reader.note("RP806", node, title, "put one item on each line", severity="warning")
    return items


def _lines(file: File, reader: Reader) -> Iterator[Item]:
    """One item a line. A `#` at the start or behind a blank begins a comment."""
    at = 0
    for line in file.source.text.split("\n"):
        text = _COMMENT.sub("", line).strip() if "#" in line else line.strip()
        if text:
            start = at + line.index(text)
            control = _CONTROL(text)
            if control is not None:
                place = file.span(start + control.start(), start + control.end())
                title = f"U+{ord(control[0]):04X} in a list: this is no text file"
                reader.fail("RP806", place, title, "write one item a line")
            yield Item(text, (file, start))
        at += len(line) + 1


def _compares(node: object) -> Iterator[ast.Compare]:
    if isinstance(node, ast.Compare):
        yield node
    if isinstance(node, tuple):
        for item in node:
            yield from _compares(item)
    elif is_dataclass(node) and isinstance(node, (ast.And, ast.Or, ast.Not, ast.Quantified)):
        for field in fields(node):
            yield from _compares(getattr(node, field.name))


def _without_duplicates(items: Items, kinds: set[Kind], problems: _Problems) -> Items:
    first: dict[str, Item] = {}
    for item in items:
        known = first.setdefault(normal_host(item.text) if kinds == {Kind.HOST} else item.text, item)
        if known is not item:
            title = f"`{_short(item.text)}` is twice in the list `{problems.name}`"
            problems.needless(item, title, known, "first given here")
    return tuple(first.values())


def _covered_hosts(items: Items, problems: _Problems) -> None:
    """Hosts whose domain is in the list, where `under` asks for a domain and all that is below."""
    tops = {normal_host(item.text).removeprefix("*").removeprefix("."): item for item in items}
    for host, item in tops.items():
        labels = host.split(".")
        above = next((found for at in range(1, len(labels)) if (found := tops.get(".".join(labels[at:])))), None)
        if above is not None:
            title = f"`{_short(above.text)}` already covers `{_short(item.text)}`"
            problems.needless(item, title, above, "covers it, where the list is used with `under`")


def _covered_networks(items: Items, problems: _Problems) -> None:
    """Addresses and networks that lie in a larger network of the list."""
    networks = [(found, item) for item in items if isinstance(found := _network(item.text), (IPv4Network, IPv6Network))]
    # Behind a network come those inside it: the last one that covered is the only one to look at.
    networks.sort(key=lambda pair: (pair[0].version, int(pair[0].network_address), pair[0].prefixlen))
    cover: tuple[Network, Item] | None = None
    for network, item in networks:
        if cover is not None and network.version == cover[0].version and network.subnet_of(cover[0]):  # type: ignore[arg-type]
            title = f"`{_short(cover[1].text)}` already covers `{_short(item.text)}`"
            problems.needless(item, title, cover[1], "covers it")
        else:
            cover = network, item


def _network(text: str) -> Network | tuple[str, str] | None:
    """A network, one address being the smallest; both ends of a range; or None."""
    first, dots, last = text.partition("..")
    if dots:
        return (first, last) if normal_address(first) and normal_address(last) else None
    try:
        return ip_network(text if "/" in text else str(normal_address(text)), strict=False)
    except ValueError:
        return None


def _host_help(text: str) -> str:
    if text.startswith("!"):
        return "a comment begins with `#`"
    words = text.split()
    if len(words) == 2 and normal_address(words[0]) is not None:
        return f"keep the name alone: `{words[1]}`"
    host = (text.partition("://")[2] or text).removeprefix("||")
    host = re.split(r"[/\s^]|:\d*$", host, maxsplit=1)[0]
    return f"keep the host alone: `{host}`" if host and not _NO_HOST(host) else "one host a line"


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"


def texts(items: Items) -> tuple[str, ...]:
    """The items as filters take them."""
    return tuple([item.text for item in items])


__all__ = ["Item", "Items", "check_list", "read_list", "texts", "uses"]
