"""A plan: poses of the ego at coming times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drive.geometry.angles import wrap_angle


@dataclass(frozen=True)
class Modes:
    """M trajectories that a planner chose among: for pictures and studies, nothing drives by them.

    Attributes:
        poses: float64 [M, K, 3] x, y, heading of the rear axle, in the frame of the plan.
        scores: float64 [M], higher is better, in the planner's own unit.
    """

    poses: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        poses, scores = np.asarray(self.poses, np.float64), np.asarray(self.scores, np.float64)
        object.__setattr__(self, "poses", poses)
        object.__setattr__(self, "scores", scores)
        if poses.ndim != 3 or poses.shape[2] != 3 or scores.shape != poses.shape[:1]:
            raise ValueError(f"modes need poses [M, K, 3] and scores [M]; got {poses.shape} and {scores.shape}")
        if not np.isfinite(poses).all() or not np.isfinite(scores).all():
            raise ValueError("modes with a number that is not finite")


@dataclass(frozen=True)
class Plan:
    """N poses that the ego is to have.

    Attributes:
        poses: float64 [N, 3] x, y, heading of the rear axle in the ego frame at decision time (x ahead, y left).
        times_s: float64 [N] seconds after the decision, rising, above 0.
        modes: what the plan was chosen among, where the planner tells; in the same frame.
    """

    poses: np.ndarray
    times_s: np.ndarray
    modes: Modes | None = None

    def __post_init__(self) -> None:
        poses, times = np.asarray(self.poses, np.float64), np.asarray(self.times_s, np.float64)
        object.__setattr__(self, "poses", poses)
        object.__setattr__(self, "times_s", times)
        if poses.ndim != 2 or poses.shape[1] != 3 or times.shape != poses.shape[:1] or not len(times):
            raise ValueError(f"a plan needs poses [N, 3] at times [N], N >= 1; got {poses.shape} and {times.shape}")
        if not np.isfinite(poses).all() or not np.isfinite(times).all():
            raise ValueError("a plan with a number that is not finite")
        if times[0] <= 0 or (np.diff(times) <= 0).any():
            raise ValueError(f"a plan's times must be above 0 and rise, got {times.tolist()}")


def to_scene(poses: np.ndarray, ego_xyh: np.ndarray) -> np.ndarray:
    """Poses [..., 3] of the frame of the ego at ``ego_xyh`` [3] (x, y, heading in the scene) in the scene's frame."""
    cos, sin = np.cos(ego_xyh[2]), np.sin(ego_xyh[2])
    x, y = poses[..., 0], poses[..., 1]
    moved = [ego_xyh[0] + cos * x - sin * y, ego_xyh[1] + sin * x + cos * y, wrap_angle(ego_xyh[2] + poses[..., 2])]
    return np.stack(moved, axis=-1)


def to_ego(poses: np.ndarray, ego_xyh: np.ndarray) -> np.ndarray:
    """Poses [..., 3] of the scene in the frame of the ego at ``ego_xyh`` [3]; undoes `to_scene`."""
    cos, sin = np.cos(ego_xyh[2]), np.sin(ego_xyh[2])
    x, y = poses[..., 0] - ego_xyh[0], poses[..., 1] - ego_xyh[1]
    return np.stack([cos * x + sin * y, cos * y - sin * x, wrap_angle(poses[..., 2] - ego_xyh[2])], axis=-1)


def resample(plan: Plan, times_s: np.ndarray) -> np.ndarray:
    """Poses float64 [Q, 3] (ego frame) at ``times_s`` [Q] seconds after the decision (spec section 2.3).

    The pose at 0 s is the ego's own (0, 0, 0); x, y and the unwrapped heading are linear between poses; after the last
    pose its own stays.
    """
    at = np.concatenate([[0.0], plan.times_s])
    x, y, heading = np.concatenate([np.zeros((1, 3)), plan.poses]).T
    columns = (np.interp(times_s, at, values) for values in (x, y, np.unwrap(heading)))
    return np.stack(list(columns), axis=-1)
