"""What is drawn, and corruptions that show another moment: which recorded row stands in for the one of the frame."""

from __future__ import annotations

import zlib

import numpy as np

from drive.logs.store import Frame, Log
from drive.samples.corrupt.config import CorruptConfig
from drive.samples.corrupt.scan import Severity

TEMPORAL = "temporal_misalignment"
TIME_SHIFT = "time_shift"

STALE = (0.2, 0.4, 0.6)  # chance that a sensor shows the previous key frame
SHIFT_S = (0.1, 0.2, 0.5)  # how much older than it claims each image is
_SLACK = 0.5  # an image within this share of the wanted shift stands for it


def generator(config: CorruptConfig, log: Log, sensor: str, number: int) -> np.random.Generator:
    """The random state of a sensor's row, or of a frame: the same whoever asks, and for every severity."""
    words = [zlib.crc32(word.encode()) for word in (config.name, log.name, sensor)]
    return np.random.default_rng([config.seed, *words, number])


def previous_row(log: Log, frame: Frame, sensor: str) -> int | None:
    """The sensor's row of the labelled frame before; None where there is none."""
    for index in range(frame.index - 1, -1, -1):
        before = log.frame(index)
        if not before.interpolated:
            return before.rows.get(sensor)
    return None


def shown_sweeps(config: CorruptConfig, log: Log, frame: Frame, lidar: str, rows: np.ndarray) -> np.ndarray:
    """The rows whose points stand in for those of `rows` (the key sweep's first); poses and times stay those of `rows`.

    A stale lidar shows the previous key frame's sweep and the ones before that, down to the log's first.
    """
    if config.name != TEMPORAL:
        return rows
    before = previous_row(log, frame, lidar)
    stale = generator(config, log, lidar, frame.index).random() < STALE[config.severity - 1]
    return rows if before is None or not stale else np.maximum(rows - rows[0] + before, 0)


def shown_image(config: CorruptConfig, log: Log, frame: Frame, camera: str) -> int:
    """The row whose picture stands in for the camera's own; calibration and poses stay those of the frame's row."""
    key = frame.rows[camera]
    if config.name == TEMPORAL:
        before = previous_row(log, frame, camera)
        stale = generator(config, log, camera, frame.index).random() < STALE[config.severity - 1]
        return key if before is None or not stale else before
    if config.name == TIME_SHIFT:
        return older_image(log, camera, key, config.severity)
    return key


def older_image(log: Log, camera: str, row: int, severity: Severity) -> int:
    """The image recorded 0.1, 0.2 or 0.5 s earlier, give or take half of that; `row` where there is none."""
    times = log.sweep_timestamps_ns(camera)
    wanted = SHIFT_S[severity - 1] * 1e9
    age = (times[row] - times[: row + 1]).astype(np.float64)
    nearest = int(np.argmin(np.abs(age - wanted)))
    return nearest if abs(age[nearest] - wanted) <= _SLACK * wanted else row


def shift_is_recorded(log: Log, severity: Severity) -> bool:
    """Whether a log's images are dense enough for `time_shift`: half of its images have one that much older."""
    rows = [
        (name, row)
        for name, sensor in log.sensors.items()
        if sensor.modality == "camera"
        for row in range(log.num_sweeps(name))
    ]
    older = sum(older_image(log, name, row, severity) != row for name, row in rows)
    return bool(rows) and 2 * older >= len(rows)
