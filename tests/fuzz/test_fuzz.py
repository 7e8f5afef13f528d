"""The corpus is replayed, and every reader gets a few hundred inputs that are the same each time."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.targets import TARGETS, Target

CORPUS = [(target, file) for target in TARGETS.values() for file in target.corpus()]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("target", "file"), CORPUS, ids=[f"{target.name}-{file.name}" for target, file in CORPUS])
def test_the_corpus_finds_nothing(target: Target, file: Path) -> None:
    target.run(file.read_bytes())


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
def test_a_short_round_finds_nothing(target: Target) -> None:
    @settings(max_examples=200, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(target.texts)
    def run(data: bytes) -> None:
        target.run(data)

    run()


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
def test_every_target_has_a_corpus(target: Target) -> None:
    assert target.corpus()
