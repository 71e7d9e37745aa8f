"""The recorded lidar sweeps of a key frame, each with its way into the key frame's ego frame."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from drive.errors import UserError
from drive.logs.store import Frame, Log
from drive.samples.corrupt.config import CorruptConfig
from drive.samples.corrupt.moments import shown_sweeps
from drive.samples.corrupt.sweeps import corrupt_sweeps
from drive.samples.sweeps import RawSweep


def read_sweeps(
    log: Log, frame: Frame, lidars: Sequence[str], count: int, corrupt: CorruptConfig | None = None
) -> list[RawSweep]:
    """Sweeps of some lidars of a frame, of each the key frame's first.

    Args:
        log: Where they are.
        frame: The key frame; lidars that it has no sweep of are left out.
        lidars: Names.
        count: Sweeps of each lidar; fewer at the log's beginning.
        corrupt: How the lidars fail; None lets them work.

    Raises:
        UserError: A lidar with intensities whose range the log does not say.
    """
    ego_from_global = np.linalg.inv(frame.global_from_ego)
    out: list[RawSweep] = []
    for name in lidars:
        if name not in frame.rows:
            continue
        sensor, times = log.sensors[name], log.sweep_timestamps_ns(name)
        intensity, elongation = _columns(sensor.columns)
        intensity_max = _intensity_max(log, name, intensity)
        key = frame.rows[name]
        rows = np.arange(key, max(key - count, -1), -1)
        matrices = ego_from_global @ log.poses(name, rows) @ sensor.ego_from_sensor
        shown = rows if corrupt is None else shown_sweeps(corrupt, log, frame, name, rows)
        sweeps = [
            RawSweep(
                points=log.points(name, other),
                intensity_column=intensity,
                elongation_column=elongation,
                intensity_max=intensity_max,
                key_ego_from_sensor=matrix,
                dt_s=float(times[key] - times[row]) * 1e-9,
            )
            for row, other, matrix in zip(rows.tolist(), shown.tolist(), matrices, strict=True)
        ]
        out += sweeps if corrupt is None else corrupt_sweeps(corrupt, log, frame, name, rows, sweeps)
    return out


@lru_cache(maxsize=64)
def _columns(columns: tuple[str, ...]) -> tuple[int, int]:
    """Positions of intensity (KITTI calls it reflectance) and elongation, -1 where a sensor has none."""
    intensity = next((columns.index(name) for name in ("intensity", "reflectance") if name in columns), -1)
    return intensity, columns.index("elongation") if "elongation" in columns else -1


def _intensity_max(log: Log, name: str, column: int) -> float:
    value = log.sensors[name].intensity_max
    if column >= 0 and value is None:
        what = f"sensor {name} has intensities, but no intensity_max"
        raise UserError(log.path, what, "give it to LogWriter.add_sensor and convert again")
    return float(value or 1.0)
