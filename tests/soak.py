"""``make soak``: what the tests do briefly, at length: 10,000 damaged files a format, 50 kills, 8 loader processes.

Usage: python tests/soak.py [--cases 10000] [--kills 50] [--workers 8]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
# Not the folder of this script: pytest would take tests/data_tools for the package data_tools.
sys.path[0] = str(TESTS.parent)
sys.path[:0] = [str(TESTS / "data_tools"), str(TESTS / "samples")]

import epoch  # noqa: E402
import fuzzing  # noqa: E402
import kills  # noqa: E402

sys.modules["tests.data_tools.fuzzing"] = fuzzing  # the other name that test modules import it by

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000, help="damaged files a format")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--workers", type=int, default=8, help="loader processes")
    args = parser.parse_args()
    fuzzing.CASES, kills.KILLS, epoch.WORKERS = args.cases, args.kills, args.workers
    # Every module that uses them, wherever it lies.
    words = ("check_reader", "import kills", "import epoch")
    users = sorted(path for path in TESTS.rglob("test_*.py") if any(word in path.read_text() for word in words))
    sys.exit(pytest.main(["-v", "--durations=20", *map(str, users)]))
