"""The gates of a rule: on which of the flows that its filter matches it acts. `sample`, then `nth`, `every`, `times`.

They know numbers and values, and nothing of what a rule does. What they count is in the rule's `Memory`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, TypeAlias

from rulesproxy.filters import typed
from rulesproxy.filters.phases import Phase
from rulesproxy.filters.problem import FilterError
from rulesproxy.filters.reference import values_of
from rulesproxy.filters.view import FlowView
from rulesproxy.rules.memory import Memory
from rulesproxy.rules.outside import Outside, fraction
from rulesproxy.rules.schema import Range

if TYPE_CHECKING:
    from rulesproxy.diagnostics import Span
    from rulesproxy.rules.files.nodes import Node, Scalar
    from rulesproxy.rules.schema import Reader

Count: TypeAlias = Annotated[int, Range(1, 1_000_000_000)]
"""How a number of flows is written."""

_PARTS = re.compile(r"\s*(?P<share>[^\s]+)(?:\s+by\s+(?P<by>.+?))?(?:\s+seed\s+(?P<seed>\S+))?\s*").fullmatch
_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,9})?)\s*%").fullmatch


@dataclass(frozen=True, slots=True)
class Sample:
    """A share of the flows: `30%`, `30% by request.cookie["uid"]`, `30% by client.ip seed 42`.

    Attributes:
        text: as it is written.
        share: from 0.0 to 1.0.
        by: what flows are told apart by, so that those with the same value are decided alike; None for each by itself.
        seed: what chance depends on; empty where none is given.
    """

    PATTERN: ClassVar = r"^\s*\d{1,3}(\.\d{1,9})?%(\s+by\s+\S.*?)?(\s+seed\s+\S+)?\s*$"

    text: str
    share: float
    by: typed.Read | None
    seed: str

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        """What the key accepts, for editors."""
        return {"type": "string", "pattern": cls.PATTERN, "description": "30%, 30% by client.ip, 30% seed 42"}

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Sample:
        """The sample in a scalar.

        Raises:
            Bad: it is none; its diagnostic has been recorded.
        """
        scalar = reader.scalar(node, name, "a percentage")
        parts = _PARTS(scalar.text)
        share = _SHARE(parts["share"]) if parts is not None else None
        if parts is None or share is None:
            help = 'write it like `30%`, `30% by request.cookie["uid"]` or `30% by client.ip seed 42`'
            bare = scalar.text.strip()
            if re.fullmatch(r"\d+(?:\.\d+)?", bare):
                help = f"write `{bare}%`" if float(bare) > 1 else f"write `{float(bare) * 100:g}%`"
            reader.fail("RP620", scalar, f"`{name}` wants a percentage, got `{scalar.text}`", help)
        percent = float(share[1])
        if percent > 100:
            reader.fail("RP620", scalar, f"`{name}` is a share of all flows, and {share[0]} is more than all of them")
        by = None if parts["by"] is None else _read_by(parts["by"], scalar, parts.start("by"), reader)
        return cls(scalar.text, percent / 100, by, parts["seed"] or "")

    def takes(self, view: FlowView, rule: str, memory: Memory, outside: Outside) -> bool:
        """Whether a flow is one of the share. Without `by` and seed this is chance."""
        values = values_of(self.by, view) if self.by is not None else ()
        if self.by is not None and not values:
            # Which flows without the value belong together nobody can say: none is sampled, in a dry run either.
            return False
        if outside.sampled is not None:
            return outside.sampled
        if values:
            # The same for every run and machine: who was in the share stays in it.
            return fraction(self.seed, rule, values[0]) < self.share
        number = memory.next("sample")
        drawn = fraction(self.seed, rule, number) if self.seed else outside.chance(rule, number)
        return drawn < self.share


@dataclass(frozen=True, slots=True)
class Gates:
    """All gates of one rule.

    Attributes:
        sample: a share of the flows.
        nth: the numbers of the flows, counted from 1; empty for all.
        every: each flow whose number can be divided by it.
        times: so many flows at most; 0 for any number.
        places: where each of them is written, by its key.
    """

    sample: Sample | None = None
    nth: frozenset[int] = frozenset()
    every: int = 1
    times: int = 0
    places: tuple[tuple[str, Span], ...] = field(default=(), compare=False, repr=False)

    @property
    def named(self) -> str:
        """Those that are there by their keys, in words."""
        there = (("sample", self.sample), ("nth", self.nth), ("every", self.every > 1), ("times", self.times))
        return " and ".join([f"`{name}`" for name, is_there in there if is_there])

    @property
    def open(self) -> bool:
        """Whether every flow gets through."""
        return self == _OPEN


_OPEN = Gates()


class Gate:
    """The gates of a rule, asked about one flow after the other that its filter matches.

    It must be asked once per flow, for it counts.
    """

    __slots__ = ("_gates", "_memory", "_outside", "_rule")

    def __init__(self, gates: Gates, rule: str, memory: Memory, outside: Outside) -> None:
        self._gates = gates
        self._rule = rule
        self._memory = memory
        self._outside = outside

    def opens(self, view: FlowView, counts: Memory | None = None) -> bool:
        """Whether the rule acts on this flow; or on this message, of which `counts` counts those of its conversation.

        A sample is drawn from all messages alike, so that the first ones of two conversations may differ.
        """
        gates, memory = self._gates, self._memory
        if gates.sample is not None and not gates.sample.takes(view, self._rule, memory, self._outside):
            return False
        memory = counts or memory
        if gates.nth or gates.every > 1:
            number = memory.next("gate")
            if number % gates.every or (gates.nth and number not in gates.nth):
                return False
        # One that is used up does not count on, so that its number stays small.
        return not gates.times or (memory.count("times") < gates.times and memory.next("times") <= gates.times)


def _read_by(text: str, scalar: Scalar, start: int, reader: Reader) -> typed.Read:
    """The field that a sample goes by."""
    from rulesproxy.filters.check import check
    from rulesproxy.filters.parse import parse

    place = scalar.part(start, start + len(text))
    try:
        checked = check(parse(f"has({text})"))
    except FilterError as error:
        first = error.problems[0]
        reader.fail("RP620", place, f"`sample` goes by a field: {first.title}", first.help)
    node = checked.node
    # A field of a body comes with a test whether the body is there.
    if not isinstance(node, typed.Test) or not node.read.field.phases & Phase.Q or node.read.field.body:
        reader.fail(
            "RP621", place, f"`{text}` is not there when a flow is sampled",
            "go by something that the request head has, such as `client.ip` or `request.cookie[\"uid\"]`",
        )  # fmt: skip
    return node.read
