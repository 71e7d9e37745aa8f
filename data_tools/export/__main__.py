"""``python -m data_tools.export {nuscenes,mmdet3d} LOGS OUT [--version v1.0-custom]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data_tools.export import export_mmdet3d, export_nuscenes
from drive.errors import UserError
from drive.logs.store import list_logs


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0 done, 2 a UserError."""
    parser = argparse.ArgumentParser(prog="python -m data_tools.export", description=__doc__)
    parser.add_argument("shape", choices=("nuscenes", "mmdet3d"))
    parser.add_argument("logs", type=Path, help="folder of logs, or one log")
    parser.add_argument("out", type=Path, help="folder (nuscenes) or .pkl file (mmdet3d) to write")
    parser.add_argument("--version", default="v1.0-custom", help="name of the tables' folder")
    args = parser.parse_args(argv)
    try:
        paths = list_logs(args.logs)
        if args.shape == "nuscenes":
            counts = export_nuscenes(paths, args.out, args.version)
            print(f"{args.out / args.version}: " + ", ".join(f"{n} {name}" for name, n in counts.items()))
        else:
            print(f"{args.out}: {export_mmdet3d(paths, args.out, args.version)} frames")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
