"""No proxy: the load client asks the origin itself, which shows the largest number that this run can show."""

from pathlib import Path

from tests.benchmarks.scenarios import Scenario, Setup

from .base import Bench, Command, Proxy


class Direct(Proxy):
    name = "direct"

    def prepare(self, bench: Bench) -> str:
        return "the load client's own maximum"

    def unsupported(self, scenario: Scenario) -> str | None:
        return "there is nothing to start" if scenario.unit == "s" else None

    def command(self, bench: Bench, setup: Setup, folder: Path, port: int) -> Command:
        raise AssertionError("there is nothing to start")
