"""Right sides: a literal is read by the kind of the value beside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Network, ip_network

from rulesproxy.diagnostics import suggest
from rulesproxy.filters import ast, hints
from rulesproxy.filters.fields import FIELDS, NUMBERS, TEXTUAL, Kind, public_names
from rulesproxy.filters.functions import AS_BOOL, AS_NUMBER, AS_TEXT
from rulesproxy.filters.normal import normal_address
from rulesproxy.filters.path_pattern import path_pattern
from rulesproxy.filters.problem import FilterError, Problem, error
from rulesproxy.filters.quantities import INT_RANGE, QUANTITY, UNITS, as_bytes, numbers_in, quantity
from rulesproxy.filters.regex import Regex, regex
from rulesproxy.filters.typed import Function, Members, Network, Read, Scalar

_PARTIAL = frozenset({"contains", "startswith", "endswith", "glob"})


@dataclass(slots=True)
class Operands:
    """Reads the right sides of one filter.

    Attributes:
        names: lists, filters and variables.
        warn: takes what does not stop the filter.
        regexes: how many regexes there were.
    """

    names: Mapping[str, object]
    warn: Callable[[Problem], None]
    regexes: int = 0

    def scalar(self, read: Read, op: str, literal: ast.Operand | ast.Item) -> Scalar:
        """The value that `==` or an order compares with."""
        if isinstance(literal, ast.Named):
            return self.scalar(read, op, self.variable(read, literal))
        if isinstance(literal, ast.Set):
            raise _bad("RP303", f"`{op}` compares with one value", literal, "use `in` for a set")
        if isinstance(literal, (ast.Field, ast.Call)):
            raise _bad("RP303", "the right side is a value, never a field", literal)
        if isinstance(literal, ast.Range):
            raise _bad("RP303", f"`{op}` compares with one value", literal, "use `in {…}` for a range")
        kind = read.kind
        if kind in TEXTUAL:
            return self.text(read, op, literal)
        if kind in NUMBERS:
            return self.number(read, op, literal)
        if kind is Kind.ADDRESS:
            return self.address(read, literal)
        if isinstance(literal, ast.Bool):
            return literal.value
        raise _bad("RP303", f"{_name(read)} is true or false", literal, f"write {_name(read)} alone, or `not`")

    def members(self, read: Read, right: ast.Operand) -> Members:
        """The operand of `in`."""
        listed = self.long_list(read, "in", right)
        if listed is not None:
            return Members(frozenset(listed))
        values: set[Scalar] = set()
        ranges: list[tuple[Scalar, Scalar]] = []
        networks: list[Network] = []
        for item in self.items(read, right):
            if isinstance(item, ast.Range):
                ranges.append(self.range(read, item))
                continue
            if read.kind is Kind.ADDRESS and isinstance(item, (ast.Address, ast.Text)) and "/" in item.value:
                networks.append(_network(item))
                continue
            values.add(self.scalar(read, "==", item))
        return Members(frozenset(values), tuple(ranges), tuple(networks))

    def texts(self, read: Read, op: str, right: ast.Operand) -> tuple[str, ...]:
        """The operand of `contains`, `startswith`, `endswith` and `under`: one text or several."""
        listed = self.long_list(read, op, right)
        if listed is not None:
            return tuple(dict.fromkeys([_top(read, text, right) for text in listed] if op == "under" else listed))
        items = self.items(read, right) if isinstance(right, (ast.Set, ast.Named)) else (right,)
        texts = []
        for item in items:
            if isinstance(item, ast.Range):
                raise _bad("RP303", f"`{op}` wants text", item)
            if isinstance(item, (ast.Field, ast.Call, ast.Set)):
                raise _bad("RP303", "the right side is a value, never a field", item)
            text = self.text(read, op, item)
            texts.append(text if op != "under" else _top(read, text, item))
        return tuple(dict.fromkeys(texts))

    def items(self, read: Read, right: ast.Operand) -> tuple[ast.Item, ...]:
        """The items of a set, with lists in place of their names; of a name alone as well."""
        if isinstance(right, ast.Named):
            return self.listed(read, right)
        if not isinstance(right, ast.Set):
            return (right,) if not isinstance(right, (ast.Field, ast.Call)) else ()
        if not right.items:
            raise _bad("RP209", "this set is empty", right, "it holds values, separated by spaces: `{GET POST}`")
        items: list[ast.Item] = []
        for item in right.items:
            items.extend(self.listed(read, item) if isinstance(item, ast.Named) else (item,))
        return tuple(items)

    def regex(self, read: Read, right: ast.Operand, ignore_case: bool) -> Regex:
        """The operand of `~`."""
        right = self.one_text(read, right)
        self.count(right)
        fold = read.field.fold and not read.functions
        found = regex(right, ignore_case=ignore_case, fold=fold, long=read.field.long)
        hints.about_regex(read, found, right, self.warn)
        return found

    def count(self, node: ast.Text) -> None:
        """One more regex in this filter."""
        self.regexes += 1
        if self.regexes > MAX_REGEXES:
            raise _bad("RP217", f"the filter has more than {MAX_REGEXES} regexes", node, "use `in {…}` or a list")

    def like(self, read: Read, right: ast.Operand) -> Regex:
        """The operand of `like`: a pattern of a whole path, as a regex."""
        return path_pattern(self.one_text(read, right), read)

    def glob(self, read: Read, right: ast.Operand) -> tuple[str, ...]:
        """The operand of `glob`: the pieces between the stars."""
        return tuple(re.split(r"\*+", self.text(read, "glob", self.one_text(read, right))))

    def one_text(self, read: Read, right: ast.Operand) -> ast.Text:
        """An operand that must be one quoted text."""
        item = self.variable(read, right) if isinstance(right, ast.Named) else right
        if not isinstance(item, ast.Text):
            raise _unquoted(item)
        return item

    def text(self, read: Read, op: str, literal: ast.Operand | ast.Item) -> str:
        """A text in the spelling of the values of `read`."""
        if isinstance(literal, ast.Named):
            literal = self.variable(read, literal)
        value = _written(read, literal)
        if read.kind is Kind.BYTES:
            return as_bytes(literal, value)
        hints.about_text(read, op, value, literal, self.warn)
        if read.field.words and not read.functions and op in ("==", "in"):
            _check_word(read, (read.field.normal or str)(value), literal)
        return _spelling(read, op)(value)

    def long_list(self, read: Read, op: str, right: ast.Operand) -> list[str] | None:
        """All texts of a list, which may be long, at once and with one hint at most; None where this is none."""
        if not isinstance(right, ast.Named) or read.kind not in TEXTUAL or read.field.words:
            return None
        texts = self.named(right)
        if not isinstance(texts, tuple):
            return None
        if read.kind is Kind.BYTES:
            return [as_bytes(right, text) for text in texts]
        found: list[Problem] = []
        for text in texts:
            hints.about_text(read, op, text, right, found.append)
            if found:
                self.warn(found[0])
                break
        spell = _spelling(read, op)
        return [spell(text) for text in texts]

    def by_type(
        self, read: Read, op: str, right: ast.Operand
    ) -> Iterator[tuple[Function, ast.Text | ast.Number | ast.Bool | ast.Set]]:
        """The literals of `==` or `in` beside JSON, by the type of value that each is for."""
        texts: list[ast.Text] = []
        numbers: list[ast.Number | ast.Range] = []
        bools: list[ast.Bool] = []
        if op == "==" and isinstance(right, (ast.Set, ast.Field, ast.Call)):
            self.scalar(read, op, right)
        for item in self.items(read, right):
            if isinstance(item, ast.Text):
                texts.append(item)
                if isinstance(right, ast.Named) or item.start == item.inside:
                    # A value of a list or a variable has no quotes that could tell.
                    numbers.extend(numbers_in(item))
            elif isinstance(item, ast.Number) or (isinstance(item, ast.Range) and isinstance(item.low, ast.Number)):
                numbers.append(item)
            elif isinstance(item, ast.Bool):
                bools.append(item)
            else:
                raise _unquoted(item)
        for function, found in ((AS_TEXT, texts), (AS_NUMBER, numbers), (AS_BOOL, bools)):
            if found and op == "==":
                yield function, found[0]  # type: ignore[misc]
            elif found:
                yield function, ast.Set(tuple(found), right.start, right.end)

    def number(self, read: Read, op: str, literal: ast.Operand | ast.Item) -> int | float:
        """A number in the bounds of the field: a plain one, a size in bytes, a duration in seconds."""
        what = read.kind.value
        if isinstance(literal, ast.Text):
            fix = f"remove the quotes: `{literal.value}`" if QUANTITY(literal.value) else ""
            raise _bad("RP303", f"{_name(read)} is {what}, this is text", literal, fix)
        if not isinstance(literal, ast.Number):
            raise _bad("RP303", f"{_name(read)} is {what}", literal)
        if read.kind in UNITS:
            value = quantity(read.kind, literal)
            if value is None:
                example = "250ms" if read.kind is Kind.DURATION else "10KB"
                code = "RP303" if literal.unit else "RP304"
                raise _bad(code, f"{_name(read)} is {what}", literal, f"write it like `{example}`")
            return value
        if literal.unit:
            raise _bad("RP303", f"{_name(read)} is a number without a unit", literal, f"write `{literal.value}`")
        bounds = None if read.functions else read.field.bounds
        if bounds and op == "==" and not bounds[0] <= literal.value <= bounds[1]:
            raise _bad("RP308", f"{_name(read)} is {bounds[0]} to {bounds[1]}", literal)
        return literal.value

    def address(self, read: Read, literal: ast.Operand | ast.Item) -> Scalar:
        """An IP address."""
        if not isinstance(literal, (ast.Address, ast.Text)):
            raise _bad("RP303", f"{_name(read)} is an IP address", literal)
        if "/" in literal.value:
            _network(literal)
            raise _bad("RP307", "a network is not one address", literal, f"use `in {{{literal.value}}}`")
        address = normal_address(literal.value)
        if address is None:
            raise _bad("RP308", f"`{literal.value}` is not an IP address", literal)
        return address

    def range(self, read: Read, item: ast.Range) -> tuple[Scalar, Scalar]:
        """Both ends of a range."""
        if read.kind not in NUMBERS and read.kind is not Kind.ADDRESS:
            raise _bad("RP303", f"{_name(read)} has no ranges", item)
        low, high = self.scalar(read, "==", item.low), self.scalar(read, "==", item.high)
        if type(low) is not type(high) and read.kind is Kind.ADDRESS:
            raise _bad("RP308", "a range has two addresses of one kind", item)
        if low > high:  # type: ignore[operator]
            raise _bad("RP308", "this range is empty", item, "write the smaller end first")
        return low, high

    def variable(self, read: Read, ref: ast.Named) -> ast.Item:
        """The value of a `$name` that must be a variable, as if it were written here."""
        value = self.named(ref)
        if isinstance(value, str):
            return _item(value, read, ref)
        what = "a list" if isinstance(value, tuple) else "a filter"
        help = f"use `in ${ref.name}`" if isinstance(value, tuple) else ""
        raise _bad("RP313", f"`${ref.name}` is {what}; one value is wanted here", ref, help)

    def listed(self, read: Read, ref: ast.Named) -> tuple[ast.Item, ...]:
        """The items of a list, or the one of a variable, as if they were written here."""
        value = self.named(ref)
        if not isinstance(value, (str, tuple)):
            raise _bad("RP313", f"`${ref.name}` is a filter; values are wanted here", ref)
        return tuple([_item(text, read, ref) for text in ((value,) if isinstance(value, str) else value)])

    def named(self, ref: ast.Named) -> object:
        """What `$name` stands for."""
        if ref.name not in self.names:
            near = suggest(ref.name, self.names)
            help = f"did you mean `${near}`?" if near else "names are made in `lists:`, `filters:` and `vars:`"
            raise _bad("RP312", f"unknown name `${ref.name}`", ref, help)
        return self.names[ref.name]


MAX_REGEXES = 32
"""Regexes of one filter. A rule with more wants a list."""


def _bad(code: str, title: str, node: ast.Operand | ast.Item, help: str = "") -> FilterError:
    return FilterError([error(code, title, node.start, node.end, help)])


def _spelling(read: Read, op: str) -> Callable[[str], str]:
    """What makes a literal for `op` be spelled like the values of `read`."""
    normal = read.field.normal
    if normal is None or read.functions:
        return str
    # A part of a host or a type has no form of its own, but its letters have.
    return str.lower if op in _PARTIAL and read.field.fold else normal


def _written(read: Read, literal: ast.Operand | ast.Item) -> str:
    """The text of a literal where text is wanted: methods, words of enums and addresses of hosts need no quotes."""
    if isinstance(literal, ast.Text):
        return literal.value
    if isinstance(literal, ast.Word) and read.kind in (Kind.METHOD, Kind.ENUM):
        return literal.value
    if isinstance(literal, ast.Address) and read.kind is Kind.HOST:
        if "/" in literal.value:
            raise _bad("RP303", f"{_name(read)} is a name, not an address", literal, "use `client.ip in {…}`")
        return literal.value
    if isinstance(literal, ast.Number) and read.field.words and not literal.unit:
        # A version without quotes.
        return str(literal.value)
    if isinstance(literal, ast.Number):
        title = f"{_name(read)} is text, `{_shown(literal)}` is a number"
        raise _bad("RP303", title, literal, f'add quotes: `"{_shown(literal)}"`')
    raise _unquoted(literal)


def _unquoted(node: ast.Operand | ast.Item) -> FilterError:
    if isinstance(node, ast.Bool):
        return _bad("RP303", "text is wanted here", node, f'add quotes: `"{str(node.value).lower()}"`')
    if isinstance(node, ast.Set):
        return _bad("RP303", "one text is wanted here", node, "join several conditions with `or`")
    if isinstance(node, (ast.Field, ast.Call)) or (isinstance(node, ast.Word) and node.value in public_names()):
        return _bad("RP207", "the right side is a value, never a field", node, "text needs quotes")
    value = node.value if isinstance(node, (ast.Word, ast.Address, ast.Text)) else _shown(node)
    return _bad("RP207", "this text needs quotes", node, f'write `"{value}"`')


def _name(read: Read) -> str:
    name = f"orig.{read.field.name}" if read.original else read.field.name
    called = [function.name for function in read.functions if function.name]
    return f"`{called[-1]}(…)`" if called else f"`{name}`"


def _shown(node: object) -> str:
    return f"{node.value}{node.unit}" if isinstance(node, ast.Number) else "…"


def _check_word(read: Read, value: str, literal: ast.Operand | ast.Item) -> None:
    if value not in read.field.words:
        others = [field.name for field in FIELDS.values() if value in field.words]
        near = suggest(value, read.field.words)
        help = f"did you mean `{near}`?" if near else ""
        if others:
            help = f"did you mean `{others[0]} == {value}`?"
        raise _bad("RP303", f"{_name(read)} is one of {', '.join(read.field.words)}", literal, help)


def _network(literal: ast.Address | ast.Text) -> Network:
    try:
        network = ip_network(literal.value, strict=False)
    except ValueError as exc:
        raise _bad("RP308", f"`{literal.value}` is not a network", literal, _plain(exc)) from None
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped and network.prefixlen >= 96:
        return ip_network((network.network_address.ipv4_mapped, network.prefixlen - 96))
    return network


def _plain(exc: ValueError) -> str:
    return "the prefix is at most 32, or 128 for IPv6" if "prefix" in str(exc) or "netmask" in str(exc) else ""


def _item(text: str, read: Read, ref: ast.Named) -> ast.Item:
    """A value from a list or a variable, where nothing is quoted: it is what the field wants."""
    units = UNITS.get(read.kind)
    if units is not None:
        found = QUANTITY(text.strip())
        if found is None or (found.group(2) not in units and float(found.group(1)) != 0):
            raise _bad("RP313", f"`${ref.name}` holds `{text}`, {_name(read)} is {read.kind.value}", ref)
        return ast.Number(float(found.group(1)), found.group(2), ref.start, ref.end)
    if read.kind is Kind.INT:
        found = INT_RANGE(text)
        if found is None:
            raise _bad("RP313", f"`${ref.name}` holds `{text}`, {_name(read)} is a number", ref)
        low, high = (None if end is None else ast.Number(int(end), "", ref.start, ref.end) for end in found.groups())
        assert low is not None
        return low if high is None else ast.Range(low, high, ref.start, ref.end)
    if read.kind is Kind.ADDRESS:
        first, dots, last = text.partition("..")
        for end in (first, last) if dots else (first.partition("/")[0],):
            if normal_address(end) is None:
                raise _bad("RP313", f"`${ref.name}` holds `{text}`, {_name(read)} is an IP address", ref)
        one = ast.Address(first, ref.start, ref.end)
        return ast.Range(one, ast.Address(last, ref.start, ref.end), ref.start, ref.end) if dots else one
    return ast.Text(text, ref.start, ref.end, ref.start, (ref.start,) * len(text))


def _top(read: Read, text: str, node: ast.Operand | ast.Item) -> str:
    """The operand of `under` without the marks that add nothing: `*.` of a host, the last `/` of a path."""
    if read.kind is Kind.PATH:
        return text.rstrip("/")
    top = text.removeprefix("*").removeprefix(".")
    if not top:
        raise _bad("RP303", "`under` wants a host name", node, 'such as `"example.com"`')
    return top
