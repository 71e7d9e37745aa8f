"""Shapes in Waymo's motion metrics: what kind of path an agent drove, and whether a predicted one hits somebody."""

from __future__ import annotations

import numpy as np
from numba import njit

from ops.rotated_iou.cpu import new_scratch, overlap

# In the order in which one of several agents names the group; a U-turn to the right counts as a right turn.
STATIONARY, STRAIGHT, STRAIGHT_RIGHT, STRAIGHT_LEFT, RIGHT_TURN, LEFT_TURN, LEFT_U_TURN, RIGHT_U_TURN = range(8)
NUM_BUCKETS = 7
NO_OVERLAP = 1 << 30
_STILL_MPS, _STILL_M, _STRAIGHT_M = np.float32(2.0), 3.0, 2.5
_STRAIGHT_RAD = np.float32(np.pi / 6)
_AREA = 0.5e-10  # the official polygon code takes smaller areas for none


def bucket_of(truth: np.ndarray, valid: np.ndarray, present: np.ndarray, current: int) -> np.ndarray:
    """Shape of the path after the current step (motion_metrics_utils.cc ``ClassifyTrack``), int64 [Q], -1 for none.

    truth float32 [Q, A, H, 7] (x, y, length, width, heading, vx, vy), valid bool [Q, A, H], present bool [Q, A].
    """
    after = valid[:, :, current + 1 :]
    last = after.shape[2] - 1 - after[:, :, ::-1].argmax(axis=2) + current + 1
    known = present & valid[:, :, current] & after.any(axis=2)
    start = truth[:, :, current]
    end = np.take_along_axis(truth, last[:, :, None, None], axis=2)[:, :, 0]
    x, y = ((end[..., i].astype(np.float64) - start[..., i]) for i in range(2))
    heading = -start[..., 4].astype(np.float64)
    along, across = x * np.cos(heading) - y * np.sin(heading), x * np.sin(heading) + y * np.cos(heading)
    turn = _wrap(end[..., 4] - start[..., 4])
    speed = np.maximum(np.hypot(start[..., 5], start[..., 6]), np.hypot(end[..., 5], end[..., 6]))
    still = (speed < _STILL_MPS) & (np.hypot(x, y) < _STILL_M)
    bent = np.abs(turn) >= _STRAIGHT_RAD
    shape = np.select(
        [still, ~bent & (np.abs(across) < _STRAIGHT_M), ~bent & (across < 0), ~bent, across < 0, along < 0],
        [
            STATIONARY,
            STRAIGHT,
            STRAIGHT_RIGHT,
            STRAIGHT_LEFT,
            np.where(along < 0, RIGHT_U_TURN, RIGHT_TURN),
            LEFT_U_TURN,
        ],
        LEFT_TURN,
    )
    shape = np.where(known, shape, -1).max(axis=1, initial=-1)
    return np.where(shape == RIGHT_U_TURN, RIGHT_TURN, shape)


def _wrap(angle: np.ndarray) -> np.ndarray:
    """float32 angles into [-pi, pi)."""
    period = np.float32(2 * np.pi)
    return np.mod(angle + np.float32(np.pi), period) - np.float32(np.pi)


def first_overlap(
    scenario: np.ndarray,
    agent: np.ndarray,
    present: np.ndarray,
    path: np.ndarray,
    truth: np.ndarray,
    valid: np.ndarray,
    current: int,
    steps: np.ndarray,
) -> np.ndarray:
    """First predicted step at which a group's future overlaps another agent's true box, int64 [Q], else NO_OVERLAP.

    scenario int64 [Q], agent int64 [Q, A], present bool [Q, A]: whose futures path f64 [Q, A, T, 2] are. truth f64
    [B, N, H, 7], valid bool [B, N, H]; agents that are not valid at the current step count for nothing. A predicted box
    has the true size of its step and points along the path.
    """
    out = np.full(len(scenario), NO_OVERLAP, dtype=np.int64)
    _first_overlap(
        scenario.astype(np.int64),
        agent.astype(np.int64),
        present,
        path,
        truth,
        valid,
        current,
        steps.astype(np.int64),
        out,
    )
    return out


@njit(cache=True, nogil=True)
def _first_overlap(scenario, agent, present, path, truth, valid, current, steps, out):  # type: ignore[no-untyped-def]
    scratch = new_scratch()
    for q in range(scenario.size):
        b = scenario[q]
        for t in range(steps.size):
            s = steps[t]
            for a in range(agent.shape[1]):
                if (
                    present[q, a]
                    and out[q] > t
                    and _hits(b, agent[q, a], path[q, a], t, s, truth, valid, current, scratch)
                ):
                    out[q] = t
            if out[q] <= t:
                break


@njit(cache=True, nogil=True)
def _hits(b, own, path, t, s, truth, valid, current, scratch):  # type: ignore[no-untyped-def]
    x, y = path[t, 0], path[t, 1]
    length, width = truth[b, own, s, 2], truth[b, own, s, 3]
    yaw = _direction(path, t)
    for n in range(truth.shape[1]):
        if n == own or not valid[b, n, current] or not valid[b, n, s]:
            continue
        box = truth[b, n, s]
        dx, dy = x - box[0], y - box[1]
        reach = (np.sqrt(length * length + width * width) + np.sqrt(box[2] * box[2] + box[3] * box[3])) / 2
        if dx * dx + dy * dy > reach * reach:
            continue
        area, _ = overlap(x, y, length, width, yaw, box[0], box[1], box[2], box[3], box[4], scratch)
        if area > _AREA:
            return True
    return False


@njit(cache=True, nogil=True)
def _direction(path, t):  # type: ignore[no-untyped-def]
    """Direction of a path [T, 2] at a step: inside it, the mean of the ways there and on."""
    last = path.shape[0] - 1
    there = np.arctan2(path[t, 1] - path[t - 1, 1], path[t, 0] - path[t - 1, 0]) if t > 0 else 0.0
    on = np.arctan2(path[t + 1, 1] - path[t, 1], path[t + 1, 0] - path[t, 0]) if t < last else 0.0
    if t == 0:
        return on
    if t == last:
        return there
    return np.arctan2(np.sin(on) + np.sin(there), np.cos(on) + np.cos(there))
