"""``make soak``: what the tests do briefly, at length: 10,000 damaged files a format, 50 kills of a conversion."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
sys.path.insert(0, str(TESTS / "data_tools"))

import fuzzing  # noqa: E402
import kills  # noqa: E402

if __name__ == "__main__":
    fuzzing.CASES, kills.KILLS = 10_000, 50
    # Every module that uses the two, wherever it lies.
    words = ("import check_reader", "import kills")
    users = sorted(path for path in TESTS.rglob("test_*.py") if any(word in path.read_text() for word in words))
    sys.exit(pytest.main(["-v", "--durations=20", *map(str, users)]))
