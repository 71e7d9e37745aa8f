"""Velocities of tracks by differencing positions, because Argoverse 2 labels none."""

from __future__ import annotations

import numpy as np

MAX_GAP_NS = 250_000_000  # labels come at 10 Hz: at most one may be missing on a side


def track_velocities(
    track: np.ndarray, stamps_ns: np.ndarray, city_positions: np.ndarray, max_gap_ns: int = MAX_GAP_NS
) -> tuple[np.ndarray, np.ndarray]:
    """Velocity of every label in the city frame, from its neighbours in the same track.

    With a label within ``max_gap_ns`` on both sides: (next - previous) / (t_next - t_previous); with one on a side
    only: the difference to that one; with none: masked. This is the rule of nuScenes' ``box_velocity`` with a gap
    that fits 10 Hz. Differencing in the city frame keeps the ego vehicle's own turning out of it.

    Args:
        track: integer ids [N]; stamps_ns: int64 [N]; city_positions: float64 [N, 3]. Any order.

    Returns:
        velocities float64 [N, 3] in m/s (0 where masked) and validity bool [N].
    """
    count = len(track)
    velocity, valid = np.zeros((count, 3)), np.zeros(count, dtype=bool)
    if not count:
        return velocity, valid
    order = np.lexsort((stamps_ns, track))
    ids, times, positions = track[order], stamps_ns[order], city_positions[order]
    rows = np.arange(count)
    joined = (ids[1:] == ids[:-1]) & (np.diff(times) <= max_gap_ns) & (np.diff(times) > 0)
    before = rows - np.concatenate([[False], joined])
    after = rows + np.concatenate([joined, [False]])
    span = times[after] - times[before]
    usable = span > 0
    seconds = np.where(usable, span, 1) / 1e9
    velocity[order] = np.where(usable[:, None], (positions[after] - positions[before]) / seconds[:, None], 0.0)
    valid[order] = usable
    return velocity, valid
