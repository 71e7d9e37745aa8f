"""Copy-paste of objects between frames (Yan et al., SECOND, 2018), at the place where they were recorded.

Keeping range and bearing keeps the density of the points physical. An object that overlaps a box on the ground plane
is not pasted; scene points inside a pasted box are removed.
"""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np

from drive.geometry.box import corners_bev
from drive.samples.augment.bank import ObjectBank
from drive.samples.augment.config import PasteConfig
from drive.samples.inside import points_in_boxes
from drive.samples.sample import VELOCITY, FrameSample, add_points, take_points


def paste(
    sample: FrameSample,
    bank: ObjectBank,
    config: PasteConfig,
    rng: np.random.Generator,
    obstacles: np.ndarray | None = None,
) -> FrameSample:
    """Fill a sample up with objects of the bank.

    Args:
        sample: A frame, not yet moved by other augmentations.
        bank: Where the objects come from; its classes are the sample's.
        config: How many of which class.
        rng: Source of chance.
        obstacles: [M, >=7] further boxes that nothing may overlap.

    Returns:
        The sample with more boxes (behind its own) and points; itself where nothing fits.
    """
    if rng.random() >= config.probability:
        return sample
    chosen: list[np.ndarray] = []
    for name, target in config.fill_up_to:
        rows = bank.rows_of(name)
        wanted = target - int((sample.labels == bank.names.index(name)).sum())
        if wanted > 0 and len(rows):
            chosen.append(rng.choice(rows, size=min(wanted, len(rows)), replace=False))
    if not chosen:
        return sample
    candidates = rng.permutation(np.concatenate(chosen))  # no class always comes first where room is scarce
    fixed = sample.boxes if obstacles is None else np.concatenate([sample.boxes[:, :7], obstacles[:, :7]])
    accepted = candidates[_accept(corners_bev(fixed), corners_bev(bank.boxes[candidates]))]
    if not len(accepted):
        return sample
    boxes = bank.boxes[accepted]
    scene = take_points(sample, points_in_boxes(sample.points, boxes)[0] < 0)
    objects = [_placed(bank.points(int(row)), box) for row, box in zip(accepted, boxes, strict=True)]
    return replace(
        add_points(scene, np.concatenate(objects)),
        boxes=np.concatenate([sample.boxes, boxes]),
        labels=np.concatenate([sample.labels, bank.labels[accepted]]),
        velocity_valid=np.concatenate([sample.velocity_valid, bank.velocity_valid[accepted]]),
        num_points=np.concatenate([sample.num_points, np.array([len(o) for o in objects], np.int64)]),
    )


def _placed(points: np.ndarray, box: np.ndarray) -> np.ndarray:
    out = points.copy()
    cos, sin = np.cos(float(box[6])), np.sin(float(box[6]))
    out[:, 0] = cos * points[:, 0] - sin * points[:, 1] + box[0]
    out[:, 1] = sin * points[:, 0] + cos * points[:, 1] + box[1]
    out[:, 2] += box[2]
    if out.shape[1] > VELOCITY.start:
        out[:, VELOCITY] = points[:, VELOCITY] @ np.array([[cos, sin], [-sin, cos]])
    return out


@numba.njit(cache=True, nogil=True)
def _separated(a, b):  # type: ignore[no-untyped-def]
    """Whether some edge normal of rectangle `a` [4, 2] separates it from `b` (touching counts as separated)."""
    for edge in range(2):
        nx, ny = a[edge + 1, 0] - a[edge, 0], a[edge + 1, 1] - a[edge, 1]
        a_low, a_high, b_low, b_high = np.inf, -np.inf, np.inf, -np.inf
        for k in range(4):
            pa, pb = a[k, 0] * nx + a[k, 1] * ny, b[k, 0] * nx + b[k, 1] * ny
            a_low, a_high = min(a_low, pa), max(a_high, pa)
            b_low, b_high = min(b_low, pb), max(b_high, pb)
        if a_high <= b_low or b_high <= a_low:
            return True
    return False


@numba.njit(cache=True, nogil=True)
def _accept(fixed, candidates):  # type: ignore[no-untyped-def]
    """Greedy choice: candidate corners [M, 4, 2] that overlap neither `fixed` [N, 4, 2] nor an earlier choice."""
    keep = np.zeros(candidates.shape[0], np.bool_)
    for i in range(candidates.shape[0]):
        free = True
        for j in range(fixed.shape[0]):
            if not (_separated(candidates[i], fixed[j]) or _separated(fixed[j], candidates[i])):
                free = False
                break
        for j in range(i):
            if free and keep[j]:
                free = _separated(candidates[i], candidates[j]) or _separated(candidates[j], candidates[i])
        keep[i] = free
    return keep
