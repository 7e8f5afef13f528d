"""What the machine gives: clocks that go, identifiers and seeds that nobody has had before."""

from __future__ import annotations

import uuid

from rulesproxy.engine import machine


def test_identifiers_are_random_uuids() -> None:
    made = [machine.uuid() for _ in range(100)]
    assert len(set(made)) == 100
    for text in made:
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant, str(parsed)) == (4, uuid.RFC_4122, text)


def test_clocks_and_seeds() -> None:
    assert machine.wall() > 1_700_000_000
    assert machine.now() <= machine.now()
    assert machine.seed() != machine.seed()
