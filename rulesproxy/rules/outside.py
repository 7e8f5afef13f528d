"""`Outside`: what rules know of the world beyond the flow. The time, fresh identifiers and a seed come in through it.

It has no clock of its own: the machine's is handed in, and tests hand in one that stands still.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b

from rulesproxy.engine import machine

_RANGE = float(2**53)


@dataclass(frozen=True, slots=True)
class Outside:
    """The world as one rule set sees it.

    Attributes:
        wall: gives the seconds since the epoch.
        now: gives the seconds on a clock that never goes back, for intervals.
        uuid: gives an identifier that nobody has had before (RFC 9562), as text in small letters.
        seed: what chance depends on. The same seed and the same questions give the same answers.
        sampled: what `sample` says to every flow, so that a dry run can see both branches; None to ask chance.
    """

    wall: Callable[[], float]
    now: Callable[[], float]
    uuid: Callable[[], str]
    seed: str
    sampled: bool | None = None

    def chance(self, *question: object) -> float:
        """A number from 0.0 up to but without 1.0 for a question, such as the name of a rule and how often it asked."""
        return fraction(self.seed, *question)


@cache
def the_machine() -> Outside:
    """The machine that we run on, with a seed that is drawn once per process."""
    return Outside(machine.wall, machine.now, machine.uuid, machine.seed())


def fraction(*parts: object) -> float:
    """A number from 0.0 up to but without 1.0 that depends on nothing but `parts`: the same for every run and machine.

    Different parts give numbers that look independent and are evenly spread.
    """
    digest = blake2b(digest_size=8)
    for part in parts:
        # The length in front keeps ("ab", "c") and ("a", "bc") apart.
        data = str(part).encode("utf-8", "surrogatepass")
        digest.update(b"%d:%b" % (len(data), data))
    return (int.from_bytes(digest.digest(), "big") >> 11) / _RANGE
