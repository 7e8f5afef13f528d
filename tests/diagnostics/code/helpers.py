"""Functions for the rules beside this folder, good and bad ones."""

from __future__ import annotations

from collections.abc import Iterator


def sign(flow: object) -> None:
    """A good one."""


def two(flow: object, more: object) -> None:
    """One that wants more than a flow."""


def drops(flow: object) -> Iterator[int]:
    """One that does nothing when it is called."""
    yield 1


number = 1
