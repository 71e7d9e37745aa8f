"""How ego and road users of a log moved, on a grid of 10 Hz."""

from __future__ import annotations

import numpy as np

from drive.dynamics.vehicle import Vehicle
from drive.geometry.angles import wrap_angle
from drive.geometry.box import HEIGHT as BOX_HEIGHT
from drive.geometry.box import LENGTH, YAW, Z
from drive.geometry.rigid import yaw_of_matrix
from drive.logs.store import Log
from drive.samples.scene import (
    AX,
    AY,
    HEADING,
    STEERING,
    STEERING_RATE,
    VX,
    VY,
    YAW_ACCELERATION,
    YAW_RATE,
    Actors,
    X,
    Y,
)
from drive.samples.scene_kinds import ego_origin_is_centre
from drive.samples.scene_labels import SLACK_NS, labelled, labels_of

SMOOTHING_S = 1.1
"""Derivatives of the ego's poses are those of parabolas fitted over this time."""


def ego_motion(
    log: Log, grid_ns: np.ndarray, vehicle: Vehicle, origin_xy: np.ndarray, track: str = ""
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """States float64 [T, 11] of the rear axle at ``grid_ns`` [T], valid bool [T], height of the ground below [T].

    Of the recording vehicle, or of the vehicle that the log labels as ``track``.

    Poses of all frames and sweeps, positions linear in between, heading the shorter way. Velocities, accelerations and
    yaw rates come from parabolas fitted to the poses, not from recorded signals (which few logs have); the steering
    angle is that of a bicycle which turns so.
    """
    if track:
        times, boxes = labelled(log, track)
        heading, place, ground = (
            np.unwrap(boxes[:, YAW]),
            boxes[:, :2] - origin_xy,
            boxes[:, Z] - boxes[:, BOX_HEIGHT] / 2,
        )
    else:
        times, matrices = _poses(log)
        heading, place = np.unwrap(yaw_of_matrix(matrices)), matrices[:, :2, 3] - origin_xy
        ground = matrices[:, 2, 3] - (vehicle.height / 2 if ego_origin_is_centre(log) else 0.0)
    if track or ego_origin_is_centre(log):
        place = place - vehicle.centre * np.stack([np.cos(heading), np.sin(heading)], axis=1)
    # The parabolas want neighbours on both sides: the grid is extended, then cut.
    reach = round(SMOOTHING_S / 2 / 0.1)
    wide = _extended(grid_ns, reach)
    inside = (wide >= times[0] - SLACK_NS) & (wide <= times[-1] + SLACK_NS)
    known = inside if track else ego_known(log, wide) & inside
    seconds, at = (times - times[0]) / 1e9, (wide[inside] - times[0]) / 1e9
    columns = np.stack([np.interp(at, seconds, v) for v in (place[:, 0], place[:, 1], heading)], axis=1)
    states = np.zeros((len(wide), 11))
    states[inside] = _states(columns, vehicle)
    states[:, HEADING] = wrap_angle(states[:, HEADING])
    cut = slice(reach, reach + len(grid_ns))
    below = np.interp((wide - times[0]) / 1e9, seconds, ground)
    states[~known] = 0.0
    return states[cut], known[cut], below[cut]


def _extended(grid_ns: np.ndarray, by: int) -> np.ndarray:
    step = int(grid_ns[1] - grid_ns[0]) if len(grid_ns) > 1 else 100_000_000
    return grid_ns[0] + step * np.arange(-by, len(grid_ns) + by, dtype=np.int64)


def _poses(log: Log) -> tuple[np.ndarray, np.ndarray]:
    """Times int64 [P] and global_from_ego [P, 4, 4] of all frames and sweeps, in order of time."""
    times = [log.frame_timestamps_ns]
    matrices = [np.stack([log.frame(i).global_from_ego for i in range(log.num_frames)])]
    for name in log.sensors:
        if log.num_sweeps(name):
            times.append(log.sweep_timestamps_ns(name))
            matrices.append(log.sweep_poses(name))
    time, first = np.unique(np.concatenate(times), return_index=True)
    return time, np.concatenate(matrices)[first]


def ego_known(log: Log, grid_ns: np.ndarray) -> np.ndarray:
    """bool [T]: false where the log itself says that it has no state of the ego (its pose there is a stand-in)."""
    if not log.has_table("scenario_steps"):
        return np.ones(len(grid_ns), bool)
    valid = log.table("scenario_steps")["ego_valid"].to_numpy(zero_copy_only=False)
    times = log.frame_timestamps_ns
    after = np.clip(np.searchsorted(times, grid_ns - SLACK_NS), 0, len(times) - 1)
    before = np.clip(np.searchsorted(times, grid_ns + SLACK_NS, side="right") - 1, 0, len(times) - 1)
    return valid[after] & valid[before]


def _fit(values: np.ndarray, derivative: int, order: int = 2) -> np.ndarray:
    """Derivative of values [T, C] at 10 Hz by parabolas over SMOOTHING_S around each instant; at the ends by the same
    window, moved inwards (Savitzky and Golay 1964)."""
    count = len(values)
    width = min(round(SMOOTHING_S / 0.1) | 1, count)
    order = min(order, width - 1)
    if order < derivative:
        return np.zeros_like(values)
    first = np.clip(np.arange(count) - width // 2, 0, count - width)
    places = first[:, None] + np.arange(width)
    out = np.empty_like(values)
    # The window's weights depend only on where in it the instant lies.
    for within in np.unique(np.arange(count) - first):
        rows = np.flatnonzero(np.arange(count) - first == within)
        powers = ((np.arange(width) - within) * 0.1)[:, None] ** np.arange(order + 1)
        weights = np.linalg.pinv(powers)[derivative] * (1.0, 1.0, 2.0)[derivative]
        out[rows] = np.einsum("w,rwc->rc", weights, values[places[rows]])
    return out


def _states(columns: np.ndarray, vehicle: Vehicle) -> np.ndarray:
    """States [T, 11] of x, y, unwrapped heading [T, 3]; vehicle gives the steering angle."""
    first, second = _fit(columns, 1), _fit(columns, 2)
    states = np.zeros((len(columns), 11))
    states[:, [X, Y, HEADING]] = columns
    cos, sin = np.cos(columns[:, 2]), np.sin(columns[:, 2])
    for ahead, left, vectors in ((VX, VY, first), (AX, AY, second)):
        states[:, ahead] = cos * vectors[:, 0] + sin * vectors[:, 1]
        states[:, left] = cos * vectors[:, 1] - sin * vectors[:, 0]
    states[:, YAW_RATE], states[:, YAW_ACCELERATION] = first[:, 2], second[:, 2]
    # Below half a metre a second the quotient says nothing of the wheels.
    moving = np.abs(states[:, VX]) > 0.5
    speed = np.where(moving, states[:, VX], 1.0)
    steering = np.where(moving, np.arctan(vehicle.wheelbase * states[:, YAW_RATE] / speed), 0.0)
    states[:, STEERING] = np.clip(steering, -np.pi / 3, np.pi / 3)
    states[:, STEERING_RATE] = _fit(states[:, [STEERING]], 1)[:, 0]
    return states


def actor_motion(
    log: Log, grid_ns: np.ndarray, origin_xy: np.ndarray, track: str = ""
) -> tuple[Actors, tuple[str, ...]]:
    """Everybody seen at any of ``grid_ns`` [T] but the ego (the recording vehicle, or ``track``), and the categories
    that were left out because they name no kind.

    Positions and sizes are linear between labels, headings turn the shorter way; nothing before the first or after the
    last label of a track, nor in a gap of more than GAP_SPACINGS frame spacings. Velocities are the log's own where it
    has them at both labels, else those of the positions.
    """
    labels = labels_of(log)
    steps = len(grid_ns)
    count = len(labels.tokens)
    box, velocity = np.zeros((count, steps, 5)), np.zeros((count, steps, 2))
    valid, ground = np.zeros((count, steps), bool), np.zeros((count, steps))
    for a in range(count):
        if labels.tokens[a] == track or (not track and labels.tokens[a] in labels.ego):
            continue
        rows = slice(labels.offsets[a], labels.offsets[a + 1])
        time = labels.time_ns[rows]
        inside = (grid_ns >= time[0] - SLACK_NS) & (grid_ns <= time[-1] + SLACK_NS)
        if not inside.any():
            continue
        boxes, known = labels.boxes[rows], labels.velocity_valid[rows]
        at = np.clip(grid_ns, time[0], time[-1])
        after = np.clip(np.searchsorted(time, at), 1, len(time) - 1) if len(time) > 1 else np.zeros(steps, np.int64)
        before = np.maximum(after - 1, 0)
        span = np.maximum(time[after] - time[before], 1)
        share = np.where(after == before, 0.0, (at - time[before]) / span)
        on_label = (at - time[before] <= SLACK_NS) | (time[after] - at <= SLACK_NS)
        valid[a] = inside & ((span <= labels.longest_gap_ns) | on_label)
        mixed = (1 - share)[:, None] * boxes[before] + share[:, None] * boxes[after]
        turn = wrap_angle(boxes[after, YAW] - boxes[before, YAW])
        box[a] = mixed[:, [0, 1, LENGTH, LENGTH + 1, YAW]]
        box[a, :, :2] -= origin_xy
        box[a, :, 4] = wrap_angle(boxes[before, YAW] + share * turn)
        ground[a] = mixed[:, Z] - mixed[:, BOX_HEIGHT] / 2
        moved = (boxes[after, :2] - boxes[before, :2]) / (span / 1e9)[:, None]
        velocity[a] = np.where((known[before] & known[after])[:, None], mixed[:, 7:9], moved)
    for values in (box, velocity, ground):
        values[~valid] = 0.0
    seen = valid.any(axis=1)
    token = tuple(np.asarray(labels.tokens, object)[seen].tolist())
    actors = Actors(box[seen], velocity[seen], valid[seen], labels.kinds[seen], token, ground[seen])
    return actors, labels.unknown
