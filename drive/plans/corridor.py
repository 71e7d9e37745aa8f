"""Who is in the way along a path, and how an IDM driver answers: the parts that planners and simulated traffic share.

Compiled one at a time; the simulation calls them for all actors of all drives.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from drive.dynamics.idm import IdmParameters

PIECE_M = 0.5
"""A path is looked at in boxes this long: nothing between two of them is missed."""


class Idm(NamedTuple):
    """`IdmParameters` as the numbers that kernels take."""

    headway: float
    standstill_gap: float
    acceleration: float
    comfortable_braking: float
    exponent: float
    hardest_braking: float


def idm_numbers(parameters: IdmParameters) -> Idm:
    return Idm(
        parameters.headway_s,
        parameters.standstill_gap_m,
        parameters.acceleration_mps2,
        parameters.comfortable_braking_mps2,
        parameters.exponent,
        parameters.hardest_braking_mps2,
    )


@njit(cache=True, nogil=True)
def idm_one(speed, desired, gap, leader_speed, p):  # type: ignore[no-untyped-def]
    """``drive.dynamics.idm.idm_acceleration`` of one vehicle; `p` an `Idm`."""
    gap, desired = max(gap, 1e-3), max(desired, 1e-3)
    approach = speed - leader_speed
    way = speed * p.headway + speed * approach / (2.0 * np.sqrt(p.acceleration * p.comfortable_braking))
    wanted = p.standstill_gap + max(0.0, way)
    answer = p.acceleration * (1.0 - (speed / desired) ** p.exponent - (wanted / gap) ** 2)
    return min(max(answer, -p.hardest_braking), p.acceleration)


@njit(cache=True, nogil=True)
def advance_along(speed, acceleration, step):  # type: ignore[no-untyped-def]
    """(distance, speed) after a step; ``drive.dynamics.idm.advance`` of one vehicle."""
    after = speed + acceleration * step
    if after < 0.0:
        return speed * speed / (2.0 * max(-acceleration, 1e-9)), 0.0
    return 0.5 * (speed + after) * step, after


@njit(cache=True, nogil=True)
def boxes_touch(ax, ay, al, aw, ah, bx, by, bl, bw, bh):  # type: ignore[no-untyped-def]
    """Whether two boxes (centre, length, width, heading) share a point: separating axes of both."""
    dx, dy = bx - ax, by - ay
    reach = np.sqrt(al * al + aw * aw) + np.sqrt(bl * bl + bw * bw)
    if 4.0 * (dx * dx + dy * dy) > reach * reach:
        return False
    ac, asn, bc, bs = np.cos(ah), np.sin(ah), np.cos(bh), np.sin(bh)
    cos, sin = abs(ac * bc + asn * bs), abs(ac * bs - asn * bc)
    if 2.0 * abs(dx * ac + dy * asn) > al + bl * cos + bw * sin:
        return False
    if 2.0 * abs(dy * ac - dx * asn) > aw + bl * sin + bw * cos:
        return False
    if 2.0 * abs(dx * bc + dy * bs) > bl + al * cos + aw * sin:
        return False
    return 2.0 * abs(dy * bc - dx * bs) <= bw + al * sin + aw * cos


@njit(cache=True, nogil=True)
def place_on(path, along, s):  # type: ignore[no-untyped-def]
    """(x, y, heading) at arc length s of a path [N, 2] with arc lengths along [N]; straight on beyond its ends."""
    k = min(max(np.searchsorted(along, s) - 1, 0), path.shape[0] - 2)
    dx, dy = path[k + 1, 0] - path[k, 0], path[k + 1, 1] - path[k, 1]
    length = max(along[k + 1] - along[k], 1e-9)
    share = (s - along[k]) / length
    return path[k, 0] + share * dx, path[k, 1] + share * dy, np.arctan2(dy, dx)


@njit(cache=True, nogil=True)
def nearest_ahead(path, along, front, width, reach, boxes, there, own):  # type: ignore[no-untyped-def]
    """(gap, index, heading) of the first box in the way of a vehicle ``width`` wide whose front bumper is at arc
    length ``front``: looked for up to ``reach`` metres further; (inf, -1, 0) where the way is free.

    boxes [A, 5] (x, y, length, width, heading), there bool [A]; ``own`` is left out. A box behind the bumper that still
    touches the first piece counts with a gap of 0.
    """
    pieces = int(np.ceil(reach / PIECE_M))
    gap, found, way = np.inf, -1, 0.0
    first = _segment_of(along, front, 0)
    # Around all of the stretch that is looked at: most boxes of a large scene are nowhere near it.
    x0, y0, _ = place_on(path, along, front)
    x1, y1, _ = place_on(path, along, front + reach)
    low_x, high_x, low_y, high_y = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
    k = first + 1
    while k < path.shape[0] and along[k] < front + reach:
        low_x, high_x = min(low_x, path[k, 0]), max(high_x, path[k, 0])
        low_y, high_y = min(low_y, path[k, 1]), max(high_y, path[k, 1])
        k += 1
    for a in range(boxes.shape[0]):
        if not there[a] or a == own:
            continue
        x, y, length, wide, heading = boxes[a, 0], boxes[a, 1], boxes[a, 2], boxes[a, 3], boxes[a, 4]
        radius = 0.5 * np.sqrt(length * length + wide * wide) + 0.5 * width + PIECE_M
        if x < low_x - radius or x > high_x + radius or y < low_y - radius or y > high_y + radius:
            continue
        k, at_segment = 0, first
        while k < pieces and k * PIECE_M < gap:
            s = front + (k + 0.5) * PIECE_M
            at_segment = _segment_of(along, s, at_segment)
            dx, dy = path[at_segment + 1, 0] - path[at_segment, 0], path[at_segment + 1, 1] - path[at_segment, 1]
            share = (s - along[at_segment]) / max(along[at_segment + 1] - along[at_segment], 1e-9)
            px, py = path[at_segment, 0] + share * dx, path[at_segment, 1] + share * dy
            away = np.sqrt((x - px) ** 2 + (y - py) ** 2)
            if away > radius:
                # A path cannot come nearer faster than it is long.
                k += max(1, int((away - radius) / PIECE_M))
                continue
            ph = np.arctan2(dy, dx)
            if boxes_touch(px, py, PIECE_M, width, ph, x, y, length, wide, heading):
                c, s = np.cos(ph), np.sin(ph)
                turn = heading - ph
                half = 0.5 * (length * abs(np.cos(turn)) + wide * abs(np.sin(turn)))
                # How far into the piece its nearest corner lies: exact where that corner is in the corridor.
                into = (x - px) * c + (y - py) * s - half + 0.5 * PIECE_M
                at = k * PIECE_M + min(max(into, 0.0), PIECE_M)
                if at < gap:
                    gap, found, way = at, a, ph
                break
            k += 1
    return gap, found, way


@njit(cache=True, nogil=True)
def _segment_of(along, s, k):  # type: ignore[no-untyped-def]
    """Segment of a path that arc length s lies on (`place_on`'s), looked for from segment k on: s only grows."""
    if k == 0:
        return min(max(np.searchsorted(along, s) - 1, 0), along.size - 2)
    while k < along.size - 2 and along[k + 1] < s:
        k += 1
    return k


@njit(cache=True, nogil=True)
def project(path, along, x, y):  # type: ignore[no-untyped-def]
    """(arc length, offset to the left) of a place on a path [N, 2]."""
    best, at, offset = np.inf, 0.0, 0.0
    for k in range(path.shape[0] - 1):
        dx, dy = path[k + 1, 0] - path[k, 0], path[k + 1, 1] - path[k, 1]
        ox, oy = x - path[k, 0], y - path[k, 1]
        square = max(dx * dx + dy * dy, 1e-18)
        share = min(max((ox * dx + oy * dy) / square, 0.0), 1.0)
        gx, gy = ox - share * dx, oy - share * dy
        gap = gx * gx + gy * gy
        if gap < best:
            best, at = gap, along[k] + share * np.sqrt(square)
            offset = np.sqrt(gap) if dx * oy - dy * ox >= 0 else -np.sqrt(gap)
    return at, offset
