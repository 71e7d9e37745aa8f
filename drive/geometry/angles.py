"""Angles in radians, wrapped to (-pi, pi]."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def wrap_angle(angle: npt.ArrayLike) -> np.ndarray:
    """The same direction in (-pi, pi]. Any shape."""
    angle = np.asarray(angle, dtype=np.float64)
    # pi - mod(pi - a, 2 pi) keeps +pi and maps -pi to +pi: the interval is open on the left.
    wrapped = np.pi - np.mod(np.pi - angle, 2.0 * np.pi)
    # Values that already lie inside keep every bit (mod rounds).
    return np.where((angle > -np.pi) & (angle <= np.pi), angle, wrapped)


def angle_difference(a: npt.ArrayLike, b: npt.ArrayLike) -> np.ndarray:
    """``a - b`` as the shortest signed turn, in (-pi, pi]."""
    return wrap_angle(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64))
