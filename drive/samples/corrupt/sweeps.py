"""A frame's recorded lidar sweeps, corrupted before they are merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from drive.logs.store import Frame, Log
from drive.samples.corrupt.config import CorruptConfig
from drive.samples.corrupt.moments import generator
from drive.samples.corrupt.scan import Scan
from drive.samples.sweeps import RawSweep

RING_COLUMNS = ("ring", "laser_number")
"""What logs call a return's beam, among a sweep's columns or its extra ones."""


def corrupt_sweeps(
    config: CorruptConfig, log: Log, frame: Frame, lidar: str, rows: np.ndarray, sweeps: Sequence[RawSweep]
) -> list[RawSweep]:
    """Sweeps of one lidar, the key frame's first, as a failing sensor would have recorded them.

    Args:
        config: What fails, and how badly.
        log: Where the sweeps come from.
        frame: The key frame.
        lidar: Name of the sensor.
        rows: Its row of each sweep; with it everything is drawn that is not drawn once a frame.
        sweeps: As recorded; never changed.
    """
    corruption = config.corruption
    if corruption.lidar is None:
        return list(sweeps)
    out = []
    for row, sweep in zip(rows.tolist(), sweeps, strict=True):
        rng = generator(config, log, lidar, frame.index if corruption.by_frame else row)
        ring = recorded_rings(log, lidar, row, sweep.points) if corruption.beams else np.zeros(len(sweep.points))
        scan = Scan.of(sweep.points[:, :3], _intensity(sweep), ring)
        out.append(_as_recorded(sweep, corruption.lidar(scan, config.severity, rng)))
    return out


def recorded_rings(log: Log, lidar: str, row: int, points: np.ndarray) -> npt.NDArray[np.int64] | None:
    """Beam of each return int64 [P] where the log says it; None where the elevation angle has to tell it."""
    columns = log.sensors[lidar].columns
    for name in RING_COLUMNS:
        if name in columns:
            return points[:, columns.index(name)].astype(np.int64)
    extra = log.sweep(lidar, row).extra
    return next((extra[name].astype(np.int64) for name in RING_COLUMNS if name in extra), None)


def _intensity(sweep: RawSweep) -> npt.NDArray[np.float32]:
    """Intensities 0..1 [P], computed as `merge_sweeps` does; zeros where a sensor has none."""
    if sweep.intensity_column < 0:
        return np.zeros(len(sweep.points), np.float32)
    recorded = sweep.points[:, sweep.intensity_column]
    if sweep.intensity_max == np.inf:
        return np.tanh(recorded)
    return recorded * np.float32(1.0 / sweep.intensity_max)


def _as_recorded(sweep: RawSweep, scan: Scan) -> RawSweep:
    points = sweep.points[scan.source]  # a copy
    points[:, :3] = scan.xyz
    if sweep.intensity_column < 0:
        return replace(sweep, points=points)
    points[:, sweep.intensity_column] = scan.intensity
    return replace(sweep, points=points, intensity_max=1.0)
