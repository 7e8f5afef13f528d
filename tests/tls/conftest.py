"""One CA for all tests of TLS: making it is not what they are about."""

from __future__ import annotations

from pathlib import Path

import pytest

from rulesproxy.tls.authority import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.load_or_create(Path(tmp_path_factory.mktemp("ca")))
