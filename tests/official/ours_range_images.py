"""Our side of the range image comparison: ``python ours_range_images.py OUT_DIR [RAW_DIR]`` in the project's own
environment. Without RAW_DIR a small town is made in ``OUT_DIR/raw``; ``--tiny`` makes one frame of few columns.

Writes ``OUT_DIR/ours.npz``: ``<file>/<record>/<laser>/<return>`` float32 [P, 6] range intensity elongation x y z, and
the same with ``/projection`` int32 [P, 6], as the official ``convert_range_image_to_point_cloud`` gives them.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
from rich.console import Console

from data_tools.town import TownConfig, build
from data_tools.waymo_perception import Options, convert_log, list_logs
from data_tools.waymo_perception.messages import LASERS
from drive.logs.store import Log

NUMBERS = {f"LIDAR_{name}": number for number, name in LASERS.items()}


def make_town(raw: Path, *, tiny: bool) -> None:
    """One scene of five frames."""
    config = TownConfig(
        raw, format="waymo", scenes=1, val_scenes=0, seconds=0.5, image_width=160, columns=360, workers=1
    )
    if tiny:
        config = dataclasses.replace(config, columns=12, cameras=False)
    build(config, Console(quiet=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("raw", type=Path, nargs="?")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    raw = args.raw or args.out / "raw"
    if args.raw is None:
        make_town(raw, tiny=args.tiny)
    found = {}
    options = Options(projections=True)
    for segment in list_logs(raw, options):
        convert_log(raw, segment, args.out / "logs", options)
        log = Log.open(args.out / "logs" / segment.name)
        for index in range(log.num_frames):
            for sensor, row in log.frame(index).rows.items():
                if sensor not in NUMBERS:
                    continue
                sweep = log.sweep(sensor, row)
                columns = ("camera_1", "u_1", "v_1", "camera_2", "u_2", "v_2")
                projected = np.stack([sweep.extra[name].astype(np.int32) for name in columns], axis=1)
                points = np.column_stack([sweep.extra["range"], sweep.points[:, 3:5], sweep.points[:, :3]])
                for kind in (1, 2):
                    mine = sweep.extra["return"] == kind
                    key = f"{segment.files[0][1].name}/{index}/{NUMBERS[sensor]}/{kind}"
                    found[key], found[f"{key}/projection"] = points[mine], projected[mine]
    np.savez(args.out / "ours.npz", **found)


if __name__ == "__main__":
    main()
