"""Both states of the optional package RE2, and every engine used for texts of any length."""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest

from rulesproxy.filters import engine

STATES = [
    pytest.param(
        "re2", marks=pytest.mark.skipif(importlib.util.find_spec("re2") is None, reason="google-re2 is not installed")
    ),
    "no re2",
]


@contextmanager
def state(name: str, short: int = 0) -> Iterator[None]:
    """RE2 as it is installed, or not to be imported; texts longer than `short` go to the engine for long ones."""
    # Only this module: whatever else is imported meanwhile must stay, or it would be there twice later.
    missing = object()
    before: object = sys.modules.get("re2", missing)
    if name != "re2":
        sys.modules["re2"] = None  # type: ignore[assignment]
    engine._re2_module.cache_clear()
    try:
        with mock.patch.multiple(engine, REGEX_SHORT=short, LONG=short):
            assert engine.has_re2() is (name == "re2")
            yield
    finally:
        if before is missing:
            sys.modules.pop("re2", None)
        else:
            sys.modules["re2"] = before  # type: ignore[assignment]
        engine._re2_module.cache_clear()
