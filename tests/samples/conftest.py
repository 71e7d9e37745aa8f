"""The hand-made log, and the module that makes it for tests that want another."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def log_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from hand_made_log import write_log

    return write_log(tmp_path_factory.mktemp("logs"), "log-a")
