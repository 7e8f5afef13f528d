"""What holds for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.engines import STATES, state
from tests.support.origin import Origin

# Machines are busy: how long an example takes says nothing of the code.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(autouse=True)
def upstream_bytes_are_strict() -> Iterator[None]:
    """Whatever an origin received in a test is strictly valid HTTP/1.1, or the test fails."""
    Origin.opened.clear()
    yield
    for origin in Origin.opened:
        origin.check()
    Origin.opened.clear()


@pytest.fixture(params=STATES)
def every_engine(request: pytest.FixtureRequest) -> Iterator[None]:
    """The test runs with RE2 and without it, and with the engines for long texts on all texts."""
    with state(request.param):
        yield
