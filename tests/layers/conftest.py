"""What holds for every test of layers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.layers.rig import started


@pytest.fixture(autouse=True)
async def engines_end() -> AsyncIterator[None]:
    """No engine outlives its test: others ask which one is running."""
    yield
    for engine in started:
        await engine.shutdown()
    started.clear()
