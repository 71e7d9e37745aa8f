"""What every tracker does with a frame before it looks for tracks: is it later, and which detections can be used."""

from __future__ import annotations

import numpy as np
from numba import njit

from drive.errors import UserError
from drive.geometry.box import HEIGHT, LENGTH, VX, YAW
from drive.tracks.track import FrameDetections

LARGEST = 1e9  # metres, radians, metres a second: what is larger is no measurement (ops.assignment's and rotated_iou's)


def seconds_since(last_ns: int, detections: FrameDetections) -> float:
    """Seconds from the last frame to this one. Raises UserError where it is not later."""
    if detections.timestamp_ns <= last_ns:
        when = (
            "repeats the last frame's time" if detections.timestamp_ns == last_ns else "is earlier than the last frame"
        )
        what = f"{when} ({last_ns} ns): a tracker goes forward in time only"
        raise UserError(f"frame at {detections.timestamp_ns} ns", what, "sort the frames and remove the double ones")
    return (detections.timestamp_ns - last_ns) * 1e-9


def usable(detections: FrameDetections, classes: int) -> np.ndarray:
    """bool [N]: the box (without its velocity) and the score are finite and below LARGEST, and all sides are positive.

    The others start no track and are matched with none. ValueError: a label outside 0..classes - 1.
    """
    labels, boxes = detections.labels, detections.boxes
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(f"labels must lie in 0..{classes - 1}, got {labels.min()}..{labels.max()}")
    return _usable(boxes, detections.scores)


@njit(cache=True, nogil=True)
def _usable(boxes, scores):  # type: ignore[no-untyped-def]
    good = np.empty(len(scores), np.bool_)
    for n in range(len(scores)):
        fine = abs(scores[n]) <= LARGEST
        for d in range(YAW + 1):
            fine &= abs(boxes[n, d]) <= LARGEST
        for d in range(LENGTH, HEIGHT + 1):
            fine &= boxes[n, d] > 0
        good[n] = fine
    return good


def measured_velocity(detections: FrameDetections) -> np.ndarray:
    """bool [N]: the detector measured a velocity, and it is finite and below LARGEST."""
    return detections.velocity_valid & (np.abs(detections.boxes[:, VX:]) <= LARGEST).all(axis=1)
