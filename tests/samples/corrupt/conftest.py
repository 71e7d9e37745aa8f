"""The log that tells its rows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def failing_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from failing_log import write_failing_log

    return write_failing_log(tmp_path_factory.mktemp("failing-logs"))
