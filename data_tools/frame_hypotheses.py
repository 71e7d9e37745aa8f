"""Wrong conventions of boxes, each as the edit that would set it right: what the frame doctor tries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from drive.geometry.box import HEIGHT, YAW, X, Y, Z

Edit = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Hypothesis:
    """An edit of the boxes that would set a fault right."""

    code: str
    edit: Edit
    fault: str
    mend: str


def edit_columns(**columns: Edit) -> Edit:
    """An edit of boxes [N, 9] from functions of the boxes, one for each of x, y, z, yaw that changes."""
    index = {"x": X, "y": Y, "z": Z, "yaw": YAW}

    def apply(boxes: np.ndarray) -> np.ndarray:
        out = boxes.copy()
        for name, function in columns.items():
            out[:, index[name]] = function(boxes)
        return out

    return apply


def scale_columns(columns: slice, factor: float) -> Edit:
    """An edit that multiplies neighbouring columns."""

    def apply(boxes: np.ndarray) -> np.ndarray:
        out = boxes.copy()
        out[:, columns] *= factor
        return out

    return apply


_AXES = "mend the axes in the converter"
HYPOTHESES = (
    Hypothesis(
        "yaw_quarter_turn", edit_columns(yaw=lambda b: b[:, YAW] + np.pi / 2), "yaw is off by a quarter turn",
        "add 90 degrees to yaw (yaw 0 looks along +x and is the direction of the length)",
    ),
    Hypothesis("yaw_clockwise", edit_columns(yaw=lambda b: -b[:, YAW]), "yaw counts clockwise", "negate yaw"),
    Hypothesis(
        "yaw_converted_twice", edit_columns(yaw=lambda b: np.rad2deg(b[:, YAW])), "yaw was turned from degrees twice",
        "yaw is in radians already: leave out the conversion",
    ),
    Hypothesis(
        "bottom_centre", edit_columns(z=lambda b: b[:, Z] + b[:, HEIGHT] / 2),
        "z is the bottom of the boxes, not their centre", "add half the height to z",
    ),
    Hypothesis(
        "top_centre", edit_columns(z=lambda b: b[:, Z] - b[:, HEIGHT] / 2),
        "z is the top of the boxes, not their centre", "subtract half the height from z",
    ),
    Hypothesis(
        "mirrored_y", edit_columns(y=lambda b: -b[:, Y], yaw=lambda b: -b[:, YAW]),
        "left-handed axes: the boxes' y points right", f"negate y and yaw: {_AXES}",
    ),
    Hypothesis(
        "mirrored_x", edit_columns(x=lambda b: -b[:, X], yaw=lambda b: np.pi - b[:, YAW]),
        "left-handed axes: the boxes' x points back", f"negate x, yaw becomes 180 degrees - yaw: {_AXES}",
    ),
    Hypothesis(
        "swapped_xy", edit_columns(x=lambda b: b[:, Y], y=lambda b: b[:, X], yaw=lambda b: np.pi / 2 - b[:, YAW]),
        "left-handed axes: the boxes' x and y are swapped", f"swap x and y, yaw becomes 90 degrees - yaw: {_AXES}",
    ),
    Hypothesis(
        "swapped_xy_negative",
        edit_columns(x=lambda b: -b[:, Y], y=lambda b: -b[:, X], yaw=lambda b: -np.pi / 2 - b[:, YAW]),
        "left-handed axes: the boxes' x and y are swapped and negated", f"x = -y, y = -x: {_AXES}",
    ),
    Hypothesis(
        "mirrored_z", edit_columns(z=lambda b: -b[:, Z]),
        "left-handed axes: the boxes' z points down", f"negate z: {_AXES}",
    ),
    Hypothesis(
        "turned_left", edit_columns(x=lambda b: b[:, Y], y=lambda b: -b[:, X], yaw=lambda b: b[:, YAW] - np.pi / 2),
        "the boxes lie a quarter turn left of the points", f"turn them by -90 degrees about z: {_AXES}",
    ),
    Hypothesis(
        "turned_right", edit_columns(x=lambda b: -b[:, Y], y=lambda b: b[:, X], yaw=lambda b: b[:, YAW] + np.pi / 2),
        "the boxes lie a quarter turn right of the points", f"turn them by 90 degrees about z: {_AXES}",
    ),
    Hypothesis(
        "turned_back", edit_columns(x=lambda b: -b[:, X], y=lambda b: -b[:, Y], yaw=lambda b: b[:, YAW] + np.pi),
        "the boxes lie half a turn from the points", f"turn them by 180 degrees about z: {_AXES}",
    ),
)  # fmt: skip
