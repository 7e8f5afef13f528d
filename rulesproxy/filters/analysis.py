"""What can be said about a typed tree without a flow: moments, bodies, captures; and trees made from trees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from rulesproxy.filters.fields import FIELDS
from rulesproxy.filters.phases import ALL, BODIES, NONE, Phase
from rulesproxy.filters.regex import Regex
from rulesproxy.filters.typed import And, Const, Each, Node, Not, Or, Read, Test


class Facts:
    """Attributes as in `check.Checked`."""

    def __init__(self, node: Node) -> None:
        fields = [read.field for read in reads(node)]
        phases = ALL
        for field in fields:
            phases &= field.phases
        self.phases = phases & may_be_true(node, True)
        self.needs_body = NONE
        for field in fields:
            self.needs_body |= field.body & BODIES
        self.uses_response = any(not field.phases & (Phase.Q | Phase.B) for field in fields if field.side == "response")
        self.either_side = any(field.flexible for field in fields)


def reads(node: Node) -> Iterator[Read]:
    """Every read of a tree."""
    if isinstance(node, Test):
        yield node.read
    elif isinstance(node, (And, Or)):
        for item in node.items:
            yield from reads(item)
    elif isinstance(node, Not):
        yield from reads(node.item)
    elif isinstance(node, Each):
        yield node.read
        yield from reads(node.item)


def tests(node: Node) -> Iterator[Test]:
    """Every test of a tree."""
    if isinstance(node, Test):
        yield node
    for child in children(node):
        yield from tests(child)


def captures(node: Node) -> tuple[frozenset[str], frozenset[str]]:
    """The named groups that are set wherever the tree is true, and those that need not be."""
    if isinstance(node, Test):
        groups = node.operand.groups if isinstance(node.operand, Regex) else frozenset[str]()
        return groups, frozenset()
    parts = [captures(item) for item in children(node)]
    inside = frozenset[str]().union(*[part[0] for part in parts])
    outside = frozenset[str]().union(*[part[1] for part in parts])
    if isinstance(node, And):
        return inside, outside
    return frozenset(), inside | outside


def conjuncts(node: Node) -> Iterator[Node]:
    """The trees that must all be true for this one to be."""
    if isinstance(node, And):
        for item in node.items:
            yield from conjuncts(item)
    else:
        yield node


def children(node: Node) -> tuple[Node, ...]:
    """The trees right below."""
    if isinstance(node, (And, Or)):
        return node.items
    return (node.item,) if isinstance(node, (Not, Each)) else ()


def head_only(node: Node) -> Node:
    """The tree with everything that reads a body taken for true, or under `not` for false."""
    return _without(node, True, lambda read: bool(read.field.body))


def request_only(node: Node) -> Node:
    """The tree with everything that comes after the request head taken for true, or under `not` for false."""
    later = ("response", "message", "flow")
    return _without(node, True, lambda read: bool(read.field.body) or read.field.side in later)


def needing(node: Node, bodies: Phase) -> Node:
    """The tree that is false where one of these bodies is missing, even under `not`."""
    if not bodies:
        return node
    names = [name for phase, name in ((Phase.B, "~kept.request"), (Phase.S, "~kept.response")) if bodies & phase]
    guards = [Test(Read(FIELDS[name]), "true", None, node.start, node.end) for name in names]
    return And((*guards, node), node.start, node.end)


def _without(node: Node, positive: bool, unknown: Callable[[Read], bool]) -> Node:
    if isinstance(node, Test):
        return Const(positive, node.start, node.end) if unknown(node.read) else node
    if isinstance(node, Each):
        touched = unknown(node.read) or any(unknown(read) for read in reads(node.item))
        return Const(positive, node.start, node.end) if touched else node
    if isinstance(node, Not):
        return Not(_without(node.item, not positive, unknown), node.start, node.end)
    if isinstance(node, (And, Or)):
        return replace(node, items=tuple([_without(item, positive, unknown) for item in node.items]))
    return node


def multi_reads(node: Node) -> set[Read]:
    """What the tests of several values go through; those of quantifiers inside are left out."""
    if isinstance(node, Test):
        return {node.read.base} if node.read.multi else set()
    if isinstance(node, Each):
        return set()
    return set().union(*[multi_reads(item) for item in children(node)])


def bind(node: Node, read: Read) -> Node:
    """The tree with every `read` reading the value that an `Each` binds."""
    if isinstance(node, Test):
        if not node.read.multi or node.read.base != read:
            return node
        rest = node.read.functions[len(read.functions) :]
        return replace(node, read=replace(node.read, functions=rest, element=True))
    return _mapped(node, lambda item: bind(item, read)) if not isinstance(node, Each) else node


def moved(node: Node, start: int, end: int) -> Node:
    """The tree with all its places at one place."""
    return replace(_mapped(node, lambda item: moved(item, start, end)), start=start, end=end)


def _mapped(node: Node, change: Callable[[Node], Node]) -> Node:
    if isinstance(node, (And, Or)):
        return replace(node, items=tuple([change(item) for item in node.items]))
    if isinstance(node, (Not, Each)):
        return replace(node, item=change(node.item))
    return node


def may_be_true(node: Node, positive: bool = True) -> Phase:
    """The moments at which a tree, or with `positive` false its opposite, can be true: what has a response is none
    of `~q`, and only a flow that failed has an error."""
    if isinstance(node, Test):
        field = node.read.field
        if field.decided is not None and node.op == "==":
            word, moments = field.decided
            if node.operand == word:
                return moments if positive else ALL & ~moments
            return ALL & ~moments if positive else ALL
        return field.holds if positive else field.fails
    if isinstance(node, Not):
        return may_be_true(node.item, not positive)
    if isinstance(node, (And, Or)):
        parts = [may_be_true(item, positive) for item in node.items]
        # A negated `and` is an `or` of negations, and the other way round.
        every = isinstance(node, And) == positive
        phases = ALL if every else NONE
        for part in parts:
            phases = phases & part if every else phases | part
        return phases
    return ALL
