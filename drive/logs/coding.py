"""Points in fewer bytes: x, y, z as whole steps, everything else exact.

A quantised sweep stores x, y, z column by column as int32 multiples of `STEP_M`, in two halves: ``low`` (uint16) and
``high`` (int16, for a sensor's usual range almost always 0 or -1, so that LZ4 makes nothing of it). The step is a power
of two: the decoded float32 is exactly the multiple, and the error of a coordinate is at most half a step. Both numbers
stand in the metadata of the file's Arrow schema (``step_m``, ``error_bound_m``).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

STEP_M = 2.0**-9
"""1.95 mm: less than the range noise of the lidars in use (2 to 5 cm, Velodyne and Hesai data sheets)."""

ERROR_BOUND_M = STEP_M / 2

# float32 holds every multiple of the step exactly up to 2**24 steps = 32.8 km.
LIMIT_M = 2.0**24 * STEP_M


def quantised_payload(extra: dict[str, pa.DataType]) -> pa.Schema:
    """Schema of a quantised payload file: halves of x y z, the other point columns, extra columns."""
    metadata = {"step_m": repr(STEP_M), "error_bound_m": repr(ERROR_BOUND_M)}
    head = [("low", pa.list_(pa.uint16())), ("high", pa.list_(pa.int16())), ("rest", pa.list_(pa.float32()))]
    return pa.schema([*head, *((name, pa.list_(kind)) for name, kind in extra.items())], metadata=metadata)


def encode(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(low uint16 [3 P], high int16 [3 P], rest float32 [P (C - 3)]) of points float32 [P, C].

    Raises:
        ValueError: a coordinate is not finite or further than `LIMIT_M`; the text says which point.
    """
    xyz = points[:, :3].T
    bad = ~(np.abs(xyz) < LIMIT_M).all(axis=0)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(f"point {row} is at {', '.join(f'{v:g}' for v in points[row, :3])}")
    steps = np.rint(xyz.astype(np.float64) / STEP_M).astype(np.int32)
    low, high = (steps & 0xFFFF).astype(np.uint16), (steps >> 16).astype(np.int16)
    return low.reshape(-1), high.reshape(-1), np.ascontiguousarray(points[:, 3:]).reshape(-1)


def decode(low: np.ndarray, high: np.ndarray, rest: np.ndarray, columns: int, step_m: float) -> np.ndarray:
    """Points float32 [P, columns] of `encode`'s arrays; ValueError where their lengths do not fit each other."""
    count = len(low) // 3
    if len(low) != 3 * count or len(high) != len(low) or len(rest) != count * (columns - 3):
        raise ValueError(f"{len(low)}, {len(high)} and {len(rest)} numbers are no points of {columns} columns")
    from drive.logs.decode import decode_steps  # numba takes a second to load, and writers do without

    out = np.empty((count, columns), np.float32)
    decode_steps(low, high, rest, step_m, out)
    return out
