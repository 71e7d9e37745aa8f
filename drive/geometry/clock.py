"""Time is an int64 count of nanoseconds; floats are differences in seconds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

NS_PER_S = 1_000_000_000
NS_PER_US = 1_000


def ns_from_us(microseconds: npt.ArrayLike) -> np.ndarray:
    """Integer microseconds (nuScenes, Waymo) to integer nanoseconds. Exact."""
    return np.asarray(microseconds, dtype=np.int64) * NS_PER_US


def seconds_between(later_ns: npt.ArrayLike, earlier_ns: npt.ArrayLike) -> np.ndarray:
    """``later - earlier`` in seconds, float64; subtracts as integers first, so nothing is lost to rounding."""
    return (np.asarray(later_ns, dtype=np.int64) - np.asarray(earlier_ns, dtype=np.int64)) / NS_PER_S
