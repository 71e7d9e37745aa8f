"""Ten-sweep samples a second on one core from a warm cache, beside the nuScenes devkit, in one run.

Usage: python -m benchmarks.reader LOGS [--raw RAW] [--seconds 5] [--out FILE]

LOGS is a folder that drive convert wrote from a nuScenes-shaped RAW with ten sweeps between key frames (`python -m
data_tools.town` makes one). Rows: ``merged`` = the points of `LidarPointCloud.from_file_multisweep` (the devkit's row
is left out without --raw); ``sample`` = the same with labels, cropped to 150 m x 150 m, points counted in every box,
checked: what a loader hands to training without augmentation. The readers take turns, each turn a second of processor
time; the median turn counts. ``lz4`` and ``quantised`` read copies of two logs in those codings. One core, no threads.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np

from drive.logs.choice import Choice, PointCoding, choosing
from drive.logs.store import Log, list_logs
from drive.logs.writer import LogWriter
from drive.samples.classes import NUSCENES_CLASSES
from drive.samples.frame_dataset import FrameDataset

SWEEPS = 10
SENSOR = "LIDAR_TOP"

Reader = Callable[[int], Any]


def recode(log: Log, root: Path, points: PointCoding) -> Path:
    """A copy of a log's lidar and labels in another coding of points."""
    sensor = log.sensors[SENSOR]
    with (
        choosing(Choice(points=points)),
        LogWriter(
            root, log.name, dataset=log.dataset, source_version="", licence=log.manifest.get("licence", "")
        ) as copy,
    ):
        copy.add_sensor(
            SENSOR, "lidar", sensor.source_translation, sensor.source_rotation, columns=sensor.columns,
            intensity_max=sensor.intensity_max,
        )  # fmt: skip
        for row in range(log.num_sweeps(SENSOR)):
            sweep = log.sweep(SENSOR, row)
            copy.add_sweep(
                SENSOR, sweep.timestamp_ns, sweep.points, sweep.pose_translation, sweep.pose_rotation,
                is_key_frame=sweep.is_key_frame, source_timestamp=sweep.source_timestamp, source_name=sweep.source_name,
            )  # fmt: skip
        for index in range(log.num_frames):
            frame, boxes = log.frame(index), log.boxes(index)
            copy.add_frame(
                frame.timestamp_ns, rows={SENSOR: frame.rows[SENSOR]}, pose_translation=frame.pose_translation,
                pose_rotation=frame.pose_rotation, source_timestamp=frame.source_timestamp, source_token=frame.token,
            )  # fmt: skip
            copy.add_boxes(
                index, boxes.boxes, boxes.category, boxes.track_token, velocity_valid=boxes.velocity_valid,
                num_lidar_points=boxes.num_lidar_points, source_translation=boxes.source_translation,
                source_rotation=boxes.source_rotation, source_size=boxes.source_size,
            )  # fmt: skip
    return root / log.name


def devkit(raw: Path, dataset: FrameDataset) -> Reader:
    """`from_file_multisweep` of the frame that is sample i of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nuscenes.nuscenes import NuScenes
        from nuscenes.utils.data_classes import LidarPointCloud
    version = next(path.parent.name for path in raw.glob("v1.0-*/scene.json"))
    tables = NuScenes(version=version, dataroot=str(raw), verbose=False)
    tokens = [dataset.logs[log].frame(frame).token for log, frame in dataset.frames]

    def read(index: int) -> Any:
        sample = tables.get("sample", tokens[index])
        return LidarPointCloud.from_file_multisweep(tables, sample, SENSOR, SENSOR, nsweeps=SWEEPS)[0]

    return read


def measure(readers: dict[str, Reader], count: int, seconds: float) -> dict[str, float]:
    """Samples a second of processor time of each reader: median of turns of a second, all readers in turn."""
    for read in readers.values():
        for index in range(count):  # warm: compiled, mapped, in the cache
            read(index)
    rates: dict[str, list[float]] = {name: [] for name in readers}
    at = dict.fromkeys(readers, 0)
    for _ in range(max(1, round(seconds))):
        for name, read in readers.items():
            done, begin = 0, time.process_time()
            while (spent := time.process_time() - begin) < 1.0:
                read(at[name] % count)
                at[name] += 1
                done += 1
            rates[name].append(done / spent)
    return {name: statistics.median(values) for name, values in rates.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", type=Path)
    parser.add_argument("--raw", type=Path)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    paths = list_logs(args.logs)[:2]
    dataset = FrameDataset(paths, NUSCENES_CLASSES, sweeps=SWEEPS)
    count = min(args.samples, len(dataset))
    with tempfile.TemporaryDirectory(dir=args.out.parent if args.out else None) as scratch:
        packed = {
            coding: FrameDataset(
                [recode(log, Path(scratch) / coding, coding) for log in dataset.logs], NUSCENES_CLASSES, sweeps=SWEEPS
            )
            for coding in ("lz4", "quantised")
        }
        readers: dict[str, Reader] = {
            "merged": lambda i: dataset.recorded(i)[0],
            "sample": dataset.item,
            "merged lz4": lambda i: packed["lz4"].recorded(i)[0],
            "merged quantised": lambda i: packed["quantised"].recorded(i)[0],
        }
        sizes = {
            coding: sum((log.path / f"lidar_{SENSOR}.arrow").stat().st_size for log in data.logs)
            for coding, data in {"raw": dataset, **packed}.items()
        }
        if args.raw is not None:
            readers["devkit from_file_multisweep"] = devkit(args.raw, dataset)
        rates = measure(readers, count, args.seconds)
        result = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
            "samples": count,
            "points_a_sample": float(np.mean([len(dataset.recorded(i)[0].points) for i in range(count)])),
            "samples_a_second_a_core": {name: round(rate, 1) for name, rate in rates.items()},
            "lidar_bytes": sizes,
        }
        if args.raw is not None:
            result["times_the_devkit"] = round(rates["merged"] / rates["devkit from_file_multisweep"], 2)
    text = json.dumps(result, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
