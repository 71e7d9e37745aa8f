"""Open-loop planning on a recording: L2 to what was driven, and collisions with what was there.

Source: UniAD ``planning_metrics``, VAD ``metric_stp3``. Two conventions that are not comparable are both given: UniAD's
reports the value at a time, ST-P3's (VAD, SparseDrive, DiffusionDrive) its mean over all steps up to that time. Boxes
are compared exactly, not on the published grid of 0.5 m. These figures do not rank drivers: a plan made of nothing but
the ego's own speed does well in them. Give them beside such a plan's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ops.box_collision.cpu import over_time

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

CONVENTIONS = ("at", "mean_up_to")
"""UniAD's: the value at a time. ST-P3's: the mean over the steps up to it."""


@dataclass(frozen=True)
class OpenLoopConfig:
    """The published nuScenes set-up.

    `times_s` are steps of `step_s`. The footprint's middle lies `centre_ahead_m` ahead of the plan's point. Published
    code exists with and without turning it by the plan's heading (`turn_footprint`).
    """

    times_s: tuple[float, ...] = (1.0, 2.0, 3.0)
    step_s: float = 0.5
    length_m: float = 4.084
    width_m: float = 1.85
    centre_ahead_m: float = 0.5
    turn_footprint: bool = True

    def indices(self) -> list[int]:
        """Step of each of `times_s`, the first step being 0. ValueError: a time that is no step."""
        found = [round(t / self.step_s) - 1 for t in self.times_s]
        if any(k < 0 or abs((k + 1) * self.step_s - t) > 1e-9 for k, t in zip(found, self.times_s, strict=True)):
            raise ValueError(f"{self.times_s} s are no multiples of {self.step_s} s")
        return found


@dataclass(frozen=True)
class OpenLoopScore:
    """Figures by convention and time, as ``l2_m["at"][1.0]``.

    Attributes:
        l2_m: metres. collision: share of samples.
        samples: that were counted; skipped: whose future is not whole.
        judged: of each step how many samples count for collisions (those whose recording itself collides do not).
    """

    l2_m: dict[str, dict[float, float]]
    collision: dict[str, dict[float, float]]
    samples: int
    skipped: int
    judged: tuple[int, ...]


def open_loop(
    plans: Floats,
    truth: Floats,
    truth_valid: Bools,
    boxes: Floats,
    boxes_valid: Bools,
    config: OpenLoopConfig | None = None,
    footprint: Floats | None = None,
) -> OpenLoopScore:
    """B samples of T steps: plans and truth [B, T, 3] x, y, heading in one frame a sample, truth_valid [B, T]; boxes of
    the others [B, T, A, 5] x y length width heading in the same frame, boxes_valid [B, T, A]. footprint [B, 3]: length,
    width, middle ahead of the plan's point, of vehicles that are not the published one.

    ValueError: shapes; fewer steps than the times need; no sample with a whole future.
    """
    config = config or OpenLoopConfig()
    last = config.indices()
    T = max(last) + 1
    if plans.ndim != 3 or plans.shape != truth.shape or plans.shape[2] != 3 or plans.shape[1] < T:
        raise ValueError(f"plans {plans.shape} and truth {truth.shape} must be [B, T >= {T}, 3]")
    if boxes.shape[:2] != plans.shape[:2] or boxes_valid.shape != boxes.shape[:3] or boxes.shape[3:] != (5,):
        raise ValueError(f"boxes {boxes.shape}, valid {boxes_valid.shape} do not fit plans {plans.shape}")
    whole = np.asarray(truth_valid[:, :T].all(axis=1))
    if not whole.any():
        raise ValueError(f"none of {len(plans)} samples has a whole future of {T * config.step_s} s")
    plans, truth = plans[whole, :T], truth[whole, :T]
    boxes, boxes_valid = boxes[whole, :T], boxes_valid[whole, :T]
    distance = np.hypot(*np.moveaxis(plans[..., :2] - truth[..., :2], -1, 0))
    published = np.array([config.length_m, config.width_m, config.centre_ahead_m])
    measures = np.tile(published, (len(plans), 1)) if footprint is None else np.asarray(footprint, float)[whole]
    clean = ~_touches(truth, boxes, boxes_valid, measures, config.turn_footprint)
    hit = _touches(plans, boxes, boxes_valid, measures, config.turn_footprint) & clean
    judged = clean.sum(axis=0)
    rate = hit.sum(axis=0) / np.maximum(judged, 1)
    figures = {"l2": distance.mean(axis=0), "collision": rate}
    tables = {
        name: {
            "at": {t: float(values[k]) for t, k in zip(config.times_s, last, strict=True)},
            "mean_up_to": {t: float(values[: k + 1].mean()) for t, k in zip(config.times_s, last, strict=True)},
        }
        for name, values in figures.items()
    }
    skipped = int(len(whole) - whole.sum())
    counts = tuple(int(n) for n in judged)
    return OpenLoopScore(tables["l2"], tables["collision"], int(whole.sum()), skipped, counts)


def _touches(poses: Floats, boxes: Floats, valid: Bools, footprint: Floats, turn: bool) -> Bools:
    """Whether the footprint [B, 3] at poses [B, T, 3] touches a box: bool [B, T]."""
    B, T, A = valid.shape
    heading = poses[..., 2] if turn else np.zeros(poses.shape[:2])
    length, width, ahead = (column[:, None] for column in footprint.T)
    ego = np.empty((B, T, 5))
    ego[..., 0] = poses[..., 0] + ahead * np.cos(heading)
    ego[..., 1] = poses[..., 1] + ahead * np.sin(heading)
    ego[..., 2], ego[..., 3], ego[..., 4] = length, width, heading
    # Each sample's steps one after the other are the "times" of one proposal.
    flat = over_time(ego.reshape(1, B * T, 5), boxes.reshape(B * T, A, 5), valid.reshape(B * T, A), threads=1)
    return np.asarray(flat.any(axis=2).reshape(B, T))
