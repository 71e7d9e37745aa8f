"""The compiled half of drive.logs.coding."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def decode_steps(low, high, rest, step, out):  # type: ignore[no-untyped-def]
    """Fill out float32 [P, C] from low uint16 [3 P], high int16 [3 P] (both column by column), rest [P (C - 3)]."""
    count, columns = out.shape
    for c in range(3):
        for i in range(count):
            at = c * count + i
            out[i, c] = np.float32((np.int32(high[at]) * 65536 + np.int32(low[at])) * step)
    for i in range(count):
        for c in range(3, columns):
            out[i, c] = rest[i * (columns - 3) + c - 3]
