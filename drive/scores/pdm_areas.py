"""Where the footprint of a simulated vehicle is: off the road, across lanes, off its route, in an intersection."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from drive.dynamics.bicycle import HEADING, X, Y
from drive.rollouts.ground import off_road
from drive.samples.scene import CONNECTOR, INTERSECTION, LANE, ON_ROAD
from drive.scores.pdm_grid import LARGEST, cell_of, edge_within, entry_holds

OFF_ROAD, ACROSS_LANES, OFF_ROUTE, IN_INTERSECTION, AXLE_IN_INTERSECTION = 1, 2, 4, 8, 16
"""Bits of the flags: a corner is on no road; corners in several lanes and in none all four; the middle is in no lane of
the route; the middle is in an intersection; the rear axle is."""

LANES = LANE | CONNECTOR


@njit(cache=True, nogil=True)
def area_flags(states, length, width, centre, layers, on_route, tolerance, grid, flags):  # type: ignore[no-untyped-def]
    """states [P, T, 11] -> flags uint8 [P, T], of the polygons' layers uint8 [G] and on_route bool [G].

    Within `tolerance` (m) of a road's edge a corner still counts as on it. A state that is not finite is off the road.
    """
    P, T = states.shape[:2]
    held = np.zeros(layers.size, np.uint8)
    touched = np.empty(layers.size, np.int64)
    half_length, half_width = length / 2, width / 2
    for p in range(P):
        for t in range(T):
            x, y, heading = states[p, t, X], states[p, t, Y], states[p, t, HEADING]
            cos, sin = np.cos(heading), np.sin(heading)
            middle_x, middle_y = x + centre * cos, y + centre * sin
            flag, lanes, whole = 0, 0, False
            for corner in range(4):
                ahead = half_length if corner < 2 else -half_length
                left = half_width if corner % 2 else -half_width
                cx, cy = middle_x + ahead * cos - left * sin, middle_y + ahead * sin + left * cos
                cell, on_road = cell_of(cx, cy, grid), 0
                if cell >= 0:
                    for e in range(grid.starts[cell], grid.starts[cell + 1]):
                        g = grid.polygon[e]
                        wanted = layers[g] & (ON_ROAD | LANES)
                        if not wanted or (on_road and not wanted & LANES) or not entry_holds(cx, cy, cell, e, grid):
                            continue
                        on_road |= wanted & ON_ROAD
                        if wanted & LANES:
                            if held[g] == 0:
                                touched[lanes] = g
                                lanes += 1
                            held[g] |= 1 << corner
                            whole |= held[g] == 15
                if not on_road and not (tolerance > 0 and edge_within(cx, cy, tolerance, layers, ON_ROAD, grid)):
                    flag |= OFF_ROAD
            for k in range(lanes):
                held[touched[k]] = 0
            if lanes > 1 and not whole:
                flag |= ACROSS_LANES
            cell, found = cell_of(middle_x, middle_y, grid), False
            if cell >= 0:
                for e in range(grid.starts[cell], grid.starts[cell + 1]):
                    g = grid.polygon[e]
                    use = (on_route[g] and not found) or (layers[g] & INTERSECTION and not flag & IN_INTERSECTION)
                    if use and entry_holds(middle_x, middle_y, cell, e, grid):
                        found |= on_route[g]
                        flag |= IN_INTERSECTION if layers[g] & INTERSECTION else 0
            flag |= 0 if found else OFF_ROUTE
            cell = cell_of(x, y, grid)
            if cell >= 0:
                for e in range(grid.starts[cell], grid.starts[cell + 1]):
                    if layers[grid.polygon[e]] & INTERSECTION and entry_holds(x, y, cell, e, grid):
                        flag |= AXLE_IN_INTERSECTION
                        break
            flags[p, t] = flag


@njit(cache=True, nogil=True)
def edge_flags(states, length, width, centre, ground, z, tolerance, flags):  # type: ignore[no-untyped-def]
    """The OFF_ROAD bit of flags [P, T] anew: a corner is more than `tolerance` beyond the nearest road edge.

    ground: of one scene (`drive.rollouts.ground`); z [P]: global height at which the edges are looked for.
    """
    for p in range(states.shape[0]):
        for t in range(states.shape[1]):
            cos, sin = np.cos(states[p, t, HEADING]), np.sin(states[p, t, HEADING])
            flags[p, t] &= 255 - OFF_ROAD
            for corner in range(4):
                ahead = centre + (length / 2 if corner < 2 else -length / 2)
                left = width / 2 if corner % 2 else -width / 2
                x, y = states[p, t, X] + ahead * cos - left * sin, states[p, t, Y] + ahead * sin + left * cos
                if not (abs(x) <= LARGEST and abs(y) <= LARGEST) or off_road(ground, 0, x, y, z[p]) > tolerance:
                    flags[p, t] |= OFF_ROAD
                    break


def polygon_is_on_route(
    layers: npt.NDArray[np.uint8], lane: npt.NDArray[np.int64], on_route: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """bool [G]: polygons of lanes and connectors whose lane [G] (-1: none) is on the route, bool [L]."""
    is_lane = ((layers & LANES) != 0) & (lane >= 0)
    return is_lane & np.append(on_route, False)[np.where(is_lane, lane, -1)]
