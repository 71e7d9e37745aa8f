"""How simulated vehicles follow their route: against the traffic, along the centre line, in the lane's middle."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from drive.dynamics.bicycle import HEADING, X, Y
from drive.scores.pdm_areas import IN_INTERSECTION, OFF_ROUTE
from drive.scores.pdm_contacts import NEVER

Floats = npt.NDArray[np.float64]


class CentreLine(NamedTuple):
    """A route's middle, C points; cells list the segments that pass within a given distance of them.

    Attributes:
        points: float64 [C, 2]. along: float64 [C] metres from its start.
        x, y, inverse, nx, ny: grid as `pdm_grid.Grid`. starts: int64 [cells + 1]. segments: int64.
    """

    points: Floats
    along: Floats
    x: float
    y: float
    inverse: float
    nx: int
    ny: int
    starts: npt.NDArray[np.int64]
    segments: npt.NDArray[np.int64]


def make_centre_line(points: Floats, reach_m: float, cell_m: float = 4.0) -> CentreLine:
    """points float64 [C, 2], C >= 2; questions about distances up to `reach_m` are cheap. ValueError: no line."""
    points = np.ascontiguousarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2 or not np.all(np.isfinite(points)):
        raise ValueError(f"a centre line needs at least 2 finite points [C, 2], got {points.shape}")
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    low, high = points.min(axis=0) - reach_m, points.max(axis=0) + reach_m
    cell = max(cell_m, float(np.sqrt(np.prod(high - low) / (1 << 18))))
    nx, ny = (np.floor((high - low) / cell).astype(np.int64) + 1).tolist()
    starts, segments = _cells(points, reach_m + 1e-9, low, cell, nx, ny)
    return CentreLine(points, along, float(low[0]), float(low[1]), 1 / cell, nx, ny, starts, segments)


@njit(cache=True, nogil=True)
def _cells(points, reach, low, cell, nx, ny):  # type: ignore[no-untyped-def]
    starts = np.zeros(nx * ny + 1, np.int64)
    segments = np.empty(0, np.int64)
    at = np.zeros(nx * ny, np.int64)
    for fill in range(2):
        if fill:
            starts[:] = np.cumsum(starts)
            at[:] = starts[:-1]
            segments = np.empty(starts[-1], np.int64)
        for s in range(points.shape[0] - 1):
            x0, x1 = min(points[s, 0], points[s + 1, 0]) - reach, max(points[s, 0], points[s + 1, 0]) + reach
            y0, y1 = min(points[s, 1], points[s + 1, 1]) - reach, max(points[s, 1], points[s + 1, 1]) + reach
            for j in range(max(int((y0 - low[1]) / cell), 0), min(int((y1 - low[1]) / cell), ny - 1) + 1):
                for i in range(max(int((x0 - low[0]) / cell), 0), min(int((x1 - low[0]) / cell), nx - 1) + 1):
                    if fill:
                        segments[at[j * nx + i]] = s
                        at[j * nx + i] += 1
                    else:
                        starts[j * nx + i + 1] += 1
    return starts, segments


@njit(cache=True, nogil=True)
def _foot(x, y, points, s):  # type: ignore[no-untyped-def]
    """(squared distance to segment s, share along it)."""
    dx, dy = points[s + 1, 0] - points[s, 0], points[s + 1, 1] - points[s, 1]
    ox, oy = x - points[s, 0], y - points[s, 1]
    length = dx * dx + dy * dy
    share = min(max((ox * dx + oy * dy) / length, 0.0), 1.0) if length > 0 else 0.0
    ox, oy = ox - share * dx, oy - share * dy
    return ox * ox + oy * oy, share


@njit(cache=True, nogil=True)
def along_line(x, y, points, along):  # type: ignore[no-untyped-def]
    """Arc length of the nearest point of the line; of equally near ones the first."""
    best, place = np.inf, 0.0
    for s in range(points.shape[0] - 1):
        distance, share = _foot(x, y, points, s)
        if distance < best:
            best, place = distance, along[s] + share * (along[s + 1] - along[s])
    return place


@njit(cache=True, nogil=True)
def line_within(x, y, reach, line):  # type: ignore[no-untyped-def]
    """Whether the line passes within `reach` (no more than it was made for) of the point."""
    i, j = (x - line.x) * line.inverse, (y - line.y) * line.inverse
    if not ((i >= 0) & (i < line.nx) & (j >= 0) & (j < line.ny)):
        return False
    cell = int(j) * line.nx + int(i)
    for k in range(line.starts[cell], line.starts[cell + 1]):
        if _foot(x, y, line.points, line.segments[k])[0] <= reach * reach:
            return True
    return False


@njit(cache=True, nogil=True)
def progress(states, centre, line, out):  # type: ignore[no-untyped-def]
    """out [P]: metres along the line from the first to the last state's middle, at least 0; states [P, T, 11]."""
    for p in range(states.shape[0]):
        places = np.empty(2)
        for k in range(2):
            t = k * (states.shape[1] - 1)
            heading = states[p, t, HEADING]
            x, y = states[p, t, X] + centre * np.cos(heading), states[p, t, Y] + centre * np.sin(heading)
            places[k] = along_line(x, y, line.points, line.along)
        out[p] = max(places[1] - places[0], 0.0)


@njit(cache=True, nogil=True)
def lane_keeping(states, flags, centre, line, limit, steps, step):  # type: ignore[no-untyped-def]
    """step [P]: when the middle has been beyond `limit` of the line for `steps` judged instants in a row, or NEVER.

    Instants in an intersection are not judged, and do not start the count anew.
    """
    for p in range(states.shape[0]):
        step[p], count = NEVER, 0
        for t in range(states.shape[1]):
            if flags[p, t] & IN_INTERSECTION:
                continue
            heading = states[p, t, HEADING]
            x, y = states[p, t, X] + centre * np.cos(heading), states[p, t, Y] + centre * np.sin(heading)
            count = 0 if line_within(x, y, limit, line) else count + 1
            if count >= steps:
                step[p] = t
                break


@njit(cache=True, nogil=True)
def wrong_way(states, flags, centre, window, spare_intersections, half, furthest, step):  # type: ignore[no-untyped-def]
    """furthest [P]: the most metres driven off the route within `window` steps and the one before; step [P]: when that
    first reaches `half`, or NEVER. With `spare_intersections` metres inside intersections do not count.
    """
    T = states.shape[1]
    moved = np.zeros(T)
    for p in range(states.shape[0]):
        furthest[p], step[p] = 0.0, NEVER
        last_x, last_y = 0.0, 0.0
        for t in range(T):
            heading = states[p, t, HEADING]
            x, y = states[p, t, X] + centre * np.cos(heading), states[p, t, Y] + centre * np.sin(heading)
            counts = (flags[p, t] & OFF_ROUTE) != 0 and not (spare_intersections and flags[p, t] & IN_INTERSECTION)
            moved[t] = np.sqrt((x - last_x) ** 2 + (y - last_y) ** 2) if counts and t > 0 else 0.0
            last_x, last_y = x, y
            total = 0.0
            for k in range(max(t - window, 0), t + 1):
                total += moved[k]
            furthest[p] = max(furthest[p], total)
            if step[p] == NEVER and total >= half:
                step[p] = t
