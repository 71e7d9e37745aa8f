"""nuPlan's open-loop score of plans beside what was driven.

Source: nuplan-devkit ``planning/metrics`` and its open-loop configuration. Plans are compared once a second, at
horizons of 3, 5 and 8 s; errors are means over a scenario's plans and horizons, each scored 1 - error / threshold (not
below 0); a scenario whose plans miss the recording too often at any horizon has 0. The horizons are a field: planners
here plan 4 s, which only the first fits; a score over fewer than all three is no nuPlan number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NuplanOpenLoopConfig:
    """Horizons with their miss thresholds, error thresholds, weights.

    Attributes:
        horizons_s: whole seconds. miss_m: at each horizon, the largest distance up to it that is no miss.
        most_missed: share of a scenario's plans that may miss at each horizon.
        distance_m, heading_rad: errors that score 0 (mean and final alike).
        weights: of mean distance, final distance, mean heading, final heading.
    """

    horizons_s: tuple[int, ...] = (3, 5, 8)
    miss_m: tuple[float, ...] = (6.0, 8.0, 16.0)
    most_missed: float = 0.3
    distance_m: float = 8.0
    heading_rad: float = 0.8
    weights: tuple[float, float, float, float] = (1.0, 1.0, 2.0, 2.0)

    def __post_init__(self) -> None:
        if not self.horizons_s or min(self.horizons_s) < 1 or len(self.miss_m) != len(self.horizons_s):
            raise ValueError(f"horizons of whole seconds, a miss threshold each: {self}")

    def up_to(self, seconds: float) -> NuplanOpenLoopConfig:
        """The same with the horizons that plans of so many seconds fill. ValueError: none."""
        kept = [(h, m) for h, m in zip(self.horizons_s, self.miss_m, strict=True) if h <= seconds + 1e-9]
        if not kept:
            raise ValueError(f"plans of {seconds:g} s fill none of the horizons {self.horizons_s} s")
        return NuplanOpenLoopConfig(
            tuple(h for h, _ in kept), tuple(m for _, m in kept), self.most_missed, self.distance_m, self.heading_rad,
            self.weights,
        )  # fmt: skip


@dataclass(frozen=True)
class NuplanOpenLoopScore:
    """Of N scenarios; score [N] in 0..1, errors [N] in m and rad (means over plans and horizons), missed [N, H] shares.

    horizons_s: those compared.
    """

    score: Floats
    ade_m: Floats
    fde_m: Floats
    ahe_rad: Floats
    fhe_rad: Floats
    missed: Floats
    horizons_s: tuple[int, ...]


def nuplan_open_loop(
    plans: Floats, truth: Floats, scenario: npt.NDArray[np.int64], config: NuplanOpenLoopConfig | None = None
) -> NuplanOpenLoopScore:
    """plans, truth float64 [B, T, 3]: x, y, heading after 1, 2, ... T s in one frame a plan; scenario int64 [B] from 0.

    The official one compares the vehicle's middle. ValueError: shapes, fewer seconds than the longest horizon, a
    scenario without plans.
    """
    config = config or NuplanOpenLoopConfig()
    plans, truth = np.asarray(plans, np.float64), np.asarray(truth, np.float64)
    if plans.ndim != 3 or plans.shape[2:] != (3,) or plans.shape != truth.shape or len(scenario) != len(plans):
        raise ValueError(f"plans {plans.shape} and truth {truth.shape} must be [B, T, 3], scenarios {len(scenario)}")
    if plans.shape[1] < max(config.horizons_s):
        raise ValueError(f"plans of {plans.shape[1]} s, horizons of {config.horizons_s} s")
    counts = np.bincount(scenario) if len(scenario) else np.zeros(0)
    if (counts == 0).any():
        raise ValueError("scenarios without plans")
    distance = np.hypot(*np.moveaxis(plans[..., :2] - truth[..., :2], -1, 0))
    heading = np.abs((plans[..., 2] - truth[..., 2] + np.pi) % (2 * np.pi) - np.pi)
    at = np.array(config.horizons_s) - 1
    steps = at + 1

    def of_scenarios(values: Floats) -> Floats:
        return np.asarray(np.bincount(scenario, values, len(counts)) / counts)

    errors = (
        of_scenarios((np.cumsum(distance, axis=1)[:, at] / steps).mean(axis=1)),
        of_scenarios(distance[:, at].mean(axis=1)),
        of_scenarios((np.cumsum(heading, axis=1)[:, at] / steps).mean(axis=1)),
        of_scenarios(heading[:, at].mean(axis=1)),
    )
    furthest = np.maximum.accumulate(distance, axis=1)[:, at]
    missed = np.stack([of_scenarios((far > m).astype(float)) for far, m in zip(furthest.T, config.miss_m, strict=True)])
    limits = (config.distance_m, config.distance_m, config.heading_rad, config.heading_rad)
    terms = [w * np.maximum(1 - e / limit, 0.0) for w, e, limit in zip(config.weights, errors, limits, strict=True)]
    score = np.sum(terms, axis=0) / sum(config.weights) * (missed <= config.most_missed).all(axis=0)
    return NuplanOpenLoopScore(score, *errors, missed.T, config.horizons_s)
