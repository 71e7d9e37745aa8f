"""Two stages of EPDMS: a real scene, and scenes that start near where a plan for it ends.

Source: NAVSIM v2.2 ``scene_aggregator.py`` and ``run_pdm_score.py``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

VARIANCE_M2 = 0.1
"""sigma^2, not sigma, of the kernel that weighs starts by their distance from the end."""


def stage_two_weights(end_xy: Floats, start_xy: Floats, variance_m2: float = VARIANCE_M2) -> Floats:
    """Weights [J], sum 1, of follow-up scenes that start at start_xy [J, 2], for a first plan that ended at end_xy [2].

    Equal weights where all are too far away to tell (their sum is 0 within 1e-8). Empty for no scenes.
    """
    start_xy = np.asarray(start_xy, dtype=np.float64).reshape(-1, 2)
    if not len(start_xy):
        return np.zeros(0)
    distance2 = np.sum((start_xy - np.asarray(end_xy, dtype=np.float64)) ** 2, axis=1)
    weights = np.exp(-distance2 / (2 * variance_m2))
    total = weights.sum()
    if not total > 1e-8:
        return np.full(len(start_xy), 1.0 / len(start_xy))
    return np.asarray(weights / total)


def two_stage_score(stage_one: float, end_xy: Floats, stage_two: Floats, start_xy: Floats) -> float:
    """Score of one group: the first scene's times the weighted mean of the scenes [J] after it. ValueError: none."""
    stage_two = np.asarray(stage_two, dtype=np.float64)
    weights = stage_two_weights(end_xy, start_xy)
    if not len(weights) or weights.shape != stage_two.shape:
        raise ValueError(f"{stage_two.shape} scores of second scenes, {len(weights)} starts")
    return float(stage_one * (weights @ stage_two))


def pair_score(now: float, earlier: float) -> float:
    """Score of a mapping: the mean of the groups of now and of half a second earlier."""
    return 0.5 * (now + earlier)
