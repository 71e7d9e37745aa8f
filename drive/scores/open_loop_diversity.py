"""How different the modes of a planner are (DiffusionDrive, equation 3).

D = 1 - mean over modes of area(mode and union) / area(mode or union), the union being of all modes: 0 where all are
one, near 1 where each covers its own small part. The paper does not say how a mode is drawn; here it is everything
within half of `width_m` of the line through its points from the ego's place, on a grid of `cell_m`: both belong to the
number.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float64]


def mode_diversity(modes: Floats, width_m: float = 2.0, cell_m: float = 0.1) -> Floats:
    """modes float64 [B, M, T, 2] in metres, the ego at the origin -> float64 [B]; 0 for one mode.

    ValueError: no mode, no point, a number that is not finite, a width or a cell that is not positive.
    """
    modes = np.ascontiguousarray(modes, dtype=np.float64)
    if modes.ndim != 4 or modes.shape[3] != 2 or 0 in modes.shape[1:]:
        raise ValueError(f"modes must be [B, M >= 1, T >= 1, 2], got {modes.shape}")
    if not np.isfinite(modes).all() or not (width_m > 0 and cell_m > 0):
        raise ValueError("modes must be finite, width and cell positive")
    out = np.empty(len(modes))
    _diversity(modes, width_m / 2, cell_m, out)
    return out


@njit(cache=True, nogil=True)
def _diversity(modes, reach, cell, out):  # type: ignore[no-untyped-def]
    B, M, T = modes.shape[:3]
    for b in range(B):
        low_x, low_y, high_x, high_y = 0.0, 0.0, 0.0, 0.0
        for m in range(M):
            for t in range(T):
                low_x, high_x = min(low_x, modes[b, m, t, 0]), max(high_x, modes[b, m, t, 0])
                low_y, high_y = min(low_y, modes[b, m, t, 1]), max(high_y, modes[b, m, t, 1])
        low_x, low_y = low_x - reach, low_y - reach
        nx, ny = int((high_x + reach - low_x) / cell) + 1, int((high_y + reach - low_y) / cell) + 1
        drawn_by = np.full((ny, nx), -1, np.int64)
        anywhere = np.zeros((ny, nx), np.bool_)
        areas, union = 0, 0
        for m in range(M):
            last_x, last_y = 0.0, 0.0
            for t in range(T):
                x, y = modes[b, m, t, 0], modes[b, m, t, 1]
                dx, dy = x - last_x, y - last_y
                length = dx * dx + dy * dy
                i0, i1 = int((min(x, last_x) - reach - low_x) / cell), int((max(x, last_x) + reach - low_x) / cell)
                j0, j1 = int((min(y, last_y) - reach - low_y) / cell), int((max(y, last_y) + reach - low_y) / cell)
                for j in range(max(j0, 0), min(j1, ny - 1) + 1):
                    for i in range(max(i0, 0), min(i1, nx - 1) + 1):
                        if drawn_by[j, i] == m:
                            continue
                        ox, oy = low_x + (i + 0.5) * cell - last_x, low_y + (j + 0.5) * cell - last_y
                        share = min(max((ox * dx + oy * dy) / length, 0.0), 1.0) if length > 0 else 0.0
                        ox, oy = ox - share * dx, oy - share * dy
                        if ox * ox + oy * oy <= reach * reach:
                            drawn_by[j, i] = m
                            areas += 1
                            union += not anywhere[j, i]
                            anywhere[j, i] = True
                last_x, last_y = x, y
        out[b] = 1.0 - areas / M / union
