"""``python -m data_tools.stats LOGS [--json FILE]``: what the labels of logs look like.

Per category: boxes, tracks, boxes a labelled frame, points a box (quartiles, share of empty boxes), range histogram,
median size, share with velocity and median speed. Points a box are the data set's own counts where it has them, else
counted here where a frame has a sweep; the report says which. A table on the screen, everything in the JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich import box
from rich.console import Console
from rich.table import Table

from data_tools.frame_doctor import frame_of_log
from data_tools.frame_fit import count_points
from drive.errors import UserError
from drive.geometry.box import HEIGHT, LENGTH, VX, VY, WIDTH, X, Y
from drive.logs import schema
from drive.logs.store import Log, list_logs

RANGE_EDGES_M = (0, 10, 20, 30, 40, 50, 75, 100, 150)


@dataclass(frozen=True)
class Options:
    """Counts per class, points per box, range histograms of logs."""

    logs: Annotated[Path, tyro.conf.Positional]
    """folder of logs that drive convert wrote, or one log"""
    json: Path | None = None
    """file for the full report"""


@dataclass
class _Columns:
    """Arrays over all boxes of all logs, appended frame by frame."""

    category: list[str]
    track: list[str]
    boxes: list[np.ndarray]
    points: list[np.ndarray]  # -1 = unknown; only inside this module, the report says how many are known
    velocity_valid: list[np.ndarray]


def collect(paths: Sequence[Path]) -> dict[str, Any]:
    """The report over log folders, as plain numbers and strings."""
    columns = _Columns([], [], [], [], [])
    totals = {"logs": len(paths), "frames": 0, "frames_with_sweep": 0, "empty_frames": 0, "points_counted_here": 0}
    datasets: dict[str, int] = {}
    points_a_sweep: list[int] = []
    for path in paths:
        log = Log.open(path)
        datasets[log.dataset] = datasets.get(log.dataset, 0) + 1
        lidars = {name for name, sensor in log.sensors.items() if sensor.modality == "lidar"}
        for index in range(log.num_frames):
            labels = log.boxes(index)
            has_sweep = bool(lidars & log.frame(index).rows.keys())
            counts = np.where(labels.num_lidar_points_valid, labels.num_lidar_points, -1)
            if has_sweep:
                points, boxes = frame_of_log(log, index)
                points_a_sweep.append(len(points))
                if (counts < 0).any():
                    counts = np.where(counts < 0, count_points(points, boxes), counts)
                    totals["points_counted_here"] += int((~labels.num_lidar_points_valid).sum())
            totals["frames"] += 1
            totals["frames_with_sweep"] += has_sweep
            totals["empty_frames"] += len(labels.boxes) == 0
            columns.category += labels.category
            columns.track += [f"{log.name}/{token}" for token in labels.track_token]
            columns.boxes.append(labels.boxes)
            columns.points.append(counts)
            columns.velocity_valid.append(labels.velocity_valid)
    categories = _by_category(columns, totals["frames"])
    return {
        **totals,
        "datasets": datasets,
        "boxes": len(columns.category),
        "points_a_frame": _quartiles(np.array(points_a_sweep)),
        "range_edges_m": list(RANGE_EDGES_M),
        "categories": categories,
    }


def _by_category(columns: _Columns, frames: int) -> dict[str, dict[str, Any]]:
    if not columns.category:
        return {}
    boxes, points = np.concatenate(columns.boxes), np.concatenate(columns.points)
    moving = np.concatenate(columns.velocity_valid)
    names, index = np.unique(np.array(columns.category), return_inverse=True)
    tracks = np.array(columns.track)
    report = {}
    for i in np.argsort(-np.bincount(index), kind="stable"):
        rows = index == i
        own, known = boxes[rows], points[rows][points[rows] >= 0]
        speed = np.hypot(own[:, VX], own[:, VY])[moving[rows]]
        edges = np.array([*RANGE_EDGES_M, np.inf])
        report[str(names[i])] = {
            "boxes": int(rows.sum()),
            "tracks": len(np.unique(tracks[rows])),
            "boxes_a_frame": float(rows.sum() / frames),
            "points_known": len(known),
            "points_a_box": _quartiles(known),
            "share_without_points": float((known == 0).mean()) if len(known) else None,
            "range_histogram": np.histogram(np.hypot(own[:, X], own[:, Y]), edges)[0].tolist(),
            "median_size_m": np.median(own[:, [LENGTH, WIDTH, HEIGHT]], axis=0).tolist(),
            "share_with_velocity": float(moving[rows].mean()),
            "median_speed_mps": float(np.median(speed)) if len(speed) else None,
        }
    return report


def _quartiles(values: np.ndarray) -> list[float] | None:
    """Minimum, quartiles and maximum."""
    return None if not len(values) else np.percentile(values, [0, 25, 50, 75, 100]).tolist()


def print_report(report: dict[str, Any], console: Console) -> None:
    """The report as a table, a row a category."""
    sets = ", ".join(f"{name} ({count})" for name, count in sorted(report["datasets"].items()))
    console.print(
        f"{report['logs']} logs of {sets}: {report['frames']} frames, {report['frames_with_sweep']} with a sweep, "
        f"{report['empty_frames']} without boxes"
    )
    boxes = _table("boxes", "tracks", "points 25|50|75 %", "l w h (m)", "m/s")
    ranges = _table(*[f"{low}-" for low in RANGE_EDGES_M])
    for name, row in report["categories"].items():
        points = "-" if row["points_a_box"] is None else "|".join(f"{v:.0f}" for v in row["points_a_box"][1:4])
        size = " ".join(f"{v:.1f}" for v in row["median_size_m"])
        speed = "-" if row["median_speed_mps"] is None else f"{row['median_speed_mps']:.1f}"
        boxes.add_row(name, f"{row['boxes']:,}", f"{row['tracks']:,}", points, size, speed)
        ranges.add_row(name, *[str(count) if count else "" for count in row["range_histogram"]])
    console.print(boxes)
    console.print("boxes by distance, from so many metres on:")
    console.print(ranges)


def _table(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("category", overflow="fold", min_width=12)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Exit code 0; 2 where there is nothing to count."""
    options = tyro.cli(Options, args=None if argv is None else list(argv), prog="python -m data_tools.stats")
    root = options.logs
    try:
        paths = [root] if (root / schema.MANIFEST).is_file() else list_logs(root)
        if not paths:
            raise UserError(root, "holds no finished log", "give the folder that drive convert wrote")
        report = collect(paths)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print_report(report, Console())
    if options.json is not None:
        partial = options.json.with_name(f".{options.json.name}.partial-{os.getpid()}")
        partial.write_text(json.dumps(report, indent=1) + "\n")
        os.replace(partial, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
