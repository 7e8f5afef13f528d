"""The supervisor before it has workers: what it refuses by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from rulesproxy import OptionsError, Proxy
from rulesproxy.rules.files.project import Project
from rulesproxy.workers import supervisor
from rulesproxy.workers.supervisor import Supervisor


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    monkeypatch.setenv("RULESPROXY_HOME", str(tmp_path / "home"))
    rules = tmp_path / "rules.yaml"
    rules.write_text("version: 1\nrules:\n  - match: path == '/a'\n    block:\n")
    return Supervisor(Proxy([rules]), 2, ["false"], {}, [rules], (), Project({}, ()))


async def test_rules_that_are_too_much_to_send(made: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "WORKER_RULES", 10)
    with pytest.raises(OptionsError, match="are too much for workers: run one process"):
        await made.start()


async def test_a_system_that_deals_no_clients_out(made: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor.sys, "platform", "darwin")
    with pytest.raises(OptionsError, match="--workers needs Linux"):
        await made.start()
