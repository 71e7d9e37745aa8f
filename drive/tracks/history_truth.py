"""What is true of detections: which labelled object each one shows, and how the objects of a log move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from drive.geometry.box import VX, transform_boxes
from drive.logs.store import Log
from drive.samples.classes import ClassMap
from ops.assignment import Candidates, assign, candidates
from ops.rotated_iou import rotated_iou_3d_paired


@dataclass(frozen=True)
class TruthConfig:
    """Which detection shows which object.

    Attributes:
        class_map: Source categories to the tracker's classes. Objects of other categories lie in no class: what is
            detected on them is neither right nor wrong.
        near_m: By class: a detection further than this from an object does not show it (it may be a poor one of it).
        right_by, right_at: When it counts as right: "iou3d" of at least, or "distance" of at most, in metres.
        window_s: Velocities and accelerations are those of a parabola through an object's positions within this time
            to both sides; at 2 Hz that is the centred difference and the second difference of three positions.
    """

    class_map: ClassMap
    near_m: tuple[float, ...]
    right_by: Literal["iou3d", "distance"] = "distance"
    right_at: float = 2.0
    window_s: float = 0.55


@dataclass(frozen=True)
class Truth:
    """Labelled objects of a log's frames, sorted by frame; G in all.

    Attributes:
        offsets: int64 [F + 1]. boxes: float64 [G, 9], fixed frame. labels: int64 [G], -1 = in no class.
        tracks: int64 [G]. velocity, acceleration: float64 [G, 2]; velocity_valid, acceleration_valid: bool [G].
    """

    offsets: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    tracks: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray
    velocity_valid: np.ndarray
    acceleration_valid: np.ndarray


def read_truth(log: Log, frames: Sequence[int], config: TruthConfig) -> Truth:
    """The labels of some frames of a log."""
    boxes, labels, tracks, counts, stamps = [np.zeros((0, 9))], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [], []
    measured = [np.zeros(0, dtype=bool)]
    for index in frames:
        frame, found = log.frame(index), log.boxes(index)
        boxes.append(transform_boxes(frame.global_from_ego, found.boxes))
        labels.append(config.class_map.labels(found.category))
        tracks.append(np.asarray(found.track, dtype=np.int64))
        measured.append(found.velocity_valid)
        counts.append(len(found.boxes))
        stamps.append(frame.timestamp_ns)
    placed, owner = np.concatenate(boxes), np.concatenate(tracks)
    seconds = np.repeat((np.array(stamps, dtype=np.int64) - (stamps[0] if stamps else 0)) * 1e-9, counts)
    velocity, acceleration, valid = motion(placed[:, :2], seconds, owner, config.window_s)
    known = np.concatenate(measured)
    velocity[known] = placed[known, VX:]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Truth(offsets, placed, np.concatenate(labels), owner, velocity, acceleration, valid | known, valid)


def motion(
    places: np.ndarray, seconds: np.ndarray, tracks: np.ndarray, window_s: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Velocity and acceleration [G, 2] of objects from their places [G, 2], and where they are known, bool [G].

    Least squares of a parabola in time over the object's places within the window; known where there is one on both
    sides, and three in all.
    """
    order = np.lexsort((seconds, tracks))
    place, time, owner = places[order], seconds[order], tracks[order]
    n = len(order)
    moments, right = np.zeros((n, 5)), np.zeros((n, 3, 2))
    before, later = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    for shift in _shifts(time, owner, window_s):
        to = np.arange(n) + shift
        inside = (to >= 0) & (to < n)
        to = np.where(inside, to, 0)
        age = time[to] - time
        used = inside & (owner[to] == owner) & (np.abs(age) <= window_s)
        powers = np.where(used[:, None], age[:, None] ** np.arange(5), 0.0)
        moments += powers
        right += powers[:, :3, None] * (place[to] - place)[:, None]
        before |= used & (age < 0)
        later |= used & (age > 0)
    known = before & later & (moments[:, 0] >= 3)
    normal = moments[:, np.arange(3)[:, None] + np.arange(3)]
    normal[~known] = np.eye(3)
    solved = np.linalg.solve(normal, right)
    velocity, acceleration, valid = np.zeros((n, 2)), np.zeros((n, 2)), np.zeros(n, dtype=bool)
    velocity[order], acceleration[order], valid[order] = solved[:, 1], 2 * solved[:, 2], known
    velocity[~valid], acceleration[~valid] = 0.0, 0.0
    return velocity, acceleration, valid


def _shifts(time: np.ndarray, owner: np.ndarray, window_s: float) -> range:
    """How many rows away an object's place within the window can be."""
    widest = 0
    while widest < len(time):
        step = widest + 1
        close = (owner[step:] == owner[:-step]) & (time[step:] - time[:-step] <= window_s)
        if not close.any():
            break
        widest = step
    return range(-widest, widest + 1)


def objects_shown(
    boxes: np.ndarray, labels: np.ndarray, offsets: np.ndarray, truth: Truth, config: TruthConfig
) -> np.ndarray:
    """The object (row of ``truth``) that each detection shows, int64 [D], -1 = none.

    One to one in every frame: as many as lie within ``near_m``, the right ones first and among equals the nearest. An
    object that lies in no class may be shown by a detection of any.

    Args:
        boxes: [D, 9], labels: [D]; frame f owns the rows offsets[f]:offsets[f + 1], as in ``truth``.
    """
    gate = torch.from_numpy(np.asarray(config.near_m, dtype=np.float64)[labels])
    mine, theirs = (torch.from_numpy(np.ascontiguousarray(b[:, :2])) for b in (boxes, truth.boxes))
    bounds, their_bounds = torch.from_numpy(offsets), torch.from_numpy(truth.offsets)
    pairs = candidates(mine, theirs, gate, row_offsets=bounds, column_offsets=their_bounds)
    row, column = pairs.rows().numpy(), pairs.column.numpy()
    of_class = truth.labels[column]
    same = of_class == labels[row]
    good = is_right(boxes[row], truth.boxes[column], config)
    # A detection on an object of no class is only taken for it where no object of its class is near.
    usable = torch.from_numpy(same | (of_class < 0))
    cost = pairs.cost.numpy() + np.where(good, 0.0, 100.0) + np.where(same, 0.0, 10.0)
    among = pairs.keep(usable, torch.from_numpy(cost))
    matching = assign(Candidates(*among), len(truth.boxes), row_offsets=bounds)
    return matching.column.numpy().copy()


def is_right(boxes: np.ndarray, true_boxes: np.ndarray, config: TruthConfig) -> np.ndarray:
    """bool [N]: whether box n is right about object n."""
    if config.right_by == "distance":
        return np.hypot(*(boxes[:, :2] - true_boxes[:, :2]).T) <= config.right_at
    a, b = (torch.from_numpy(np.ascontiguousarray(x[:, :7])) for x in (boxes, true_boxes))
    return rotated_iou_3d_paired(a, b).numpy() >= config.right_at
