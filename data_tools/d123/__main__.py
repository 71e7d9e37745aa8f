"""``python -m data_tools.d123 LOG... OUT``: write logs in 123D's form below OUT/logs."""

from __future__ import annotations

import sys
from pathlib import Path

from data_tools.d123.export import write_d123
from drive.errors import UserError
from drive.logs.store import Log


def main(argv: list[str]) -> int:
    """Exit code 0 = all written, 2 = wrong usage or a log that cannot be written (one line)."""
    if len(argv) < 2:
        print("usage: python -m data_tools.d123 LOG [LOG ...] OUT", file=sys.stderr)
        return 2
    try:
        for path in argv[:-1]:
            print(write_d123(Log.open(Path(path)), Path(argv[-1])))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
