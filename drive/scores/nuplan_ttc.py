"""Time to collision as nuPlan measures it: everybody goes on as now, how long until the ego touches somebody."""

from __future__ import annotations

import numpy as np
from numba import njit

from drive.dynamics.bicycle import HEADING, VX, VY, X, Y
from drive.scores.pdm_areas import ACROSS_LANES, AXLE_IN_INTERSECTION, OFF_ROAD
from drive.scores.pdm_contacts import _bearing, _place
from ops.box_collision.cpu import prepare, rows_touch


@njit(cache=True, nogil=True)
def least_times(states, flags, boxes, velocity, valid, ignored_from, rules, horizon, step, out):  # type: ignore[no-untyped-def]
    """out [T]: seconds until the first touch at constant velocities, looked for every `step` s up to `horizon`; inf.

    states [T, 11] of one drive, flags [T] of `pdm_areas`; boxes [T, A, 5], velocity [T, A, 2], valid [T, A];
    ignored_from int64 [A]: from this instant on an object has been touched and no longer counts (T: never).
    An object counts that is ahead (30 degrees), or not behind (150) while the ego is across lanes, off the road or in
    an intersection. A standing ego has no time to collision.
    """
    A = valid.shape[1]
    ego = np.empty((1, 7))
    pieces = int(np.floor(horizon / step + 1e-9))
    for t in range(states.shape[0]):
        out[t] = np.inf
        speed = np.hypot(states[t, VX], states[t, VY])
        if not speed >= rules.ttc_stopped:
            continue
        x, y = states[t, X], states[t, Y]
        cos, sin = np.cos(states[t, HEADING]), np.sin(states[t, HEADING])
        loose = (flags[t] & (ACROSS_LANES | OFF_ROAD | AXLE_IN_INTERSECTION)) != 0
        rows = prepare(boxes[t])
        for a in range(A):
            if not valid[t, a] or t >= ignored_from[a]:
                continue
            bearing = _bearing(x, y, cos, sin, rows[a])
            if not (bearing > rules.cos_ahead or (loose and not bearing < rules.cos_behind)):
                continue
            vx, vy = velocity[t, a, 0], velocity[t, a, 1]
            start_x, start_y = rows[a, 0], rows[a, 1]
            for k in range(pieces + 1):
                after = k * step
                if after >= out[t]:
                    break
                far = rules.centre + speed * after
                _place(ego, x + far * cos, y + far * sin, cos, sin, rules.length / 2, rules.width / 2)
                rows[a, 0], rows[a, 1] = start_x + vx * after, start_y + vy * after
                if rows_touch(ego, 0, rows, a):
                    out[t] = after
                    break
