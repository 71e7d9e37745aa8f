"""How sure a mean over scenes and seeds is, and whether one planner's is above another's.

Values are [K, N]: K seeds of one planner, N scenes; all planners drive in the same scenes. Scenes cut from one log are
no independent draws: with `unit` they are drawn log by log.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SignificanceConfig:
    """draws: of the bootstrap and of the permutations, from `seed`. level: of the intervals."""

    draws: int = 10_000
    seed: int = 0
    level: float = 0.95

    def __post_init__(self) -> None:
        if self.draws < 1 or not 0 < self.level < 1:
            raise ValueError(f"at least one draw and a level between 0 and 1: {self}")


@dataclass(frozen=True)
class Interval:
    """A mean with its bootstrap interval (percentiles)."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """Difference of two planners over the same scenes.

    Attributes:
        difference: mean of the first less mean of the second, with the paired bootstrap's interval.
        better, worse, equal: scenes (or units) in which the first is so; means over seeds.
        p_permutation: two-sided, signs of the units' differences drawn at random. p_wilcoxon: signed-rank test.
            Both of scenes: they take the seeds as they are.
    """

    difference: Interval
    better: int
    worse: int
    equal: int
    p_permutation: float
    p_wilcoxon: float


def units_of(names: Sequence[str]) -> Ints:
    """int64 [N]: a number for each different name."""
    return np.unique(np.asarray(names, dtype=str), return_inverse=True)[1].astype(np.int64).reshape(-1)


def interval(values: Floats, unit: Ints | None = None, config: SignificanceConfig | None = None) -> Interval:
    """Mean of values [K, N] and its interval: scenes (or their units [N]) and seeds are drawn with replacement.

    One seed says nothing of seeds: the interval is then that over scenes. ValueError: no values, shapes.
    """
    config = config or SignificanceConfig()
    values, unit = _checked(values, unit)
    means = _draws(values, unit, np.random.default_rng(config.seed), config.draws)[0]
    return _interval(float(values.mean()), means, config)


def paired(a: Floats, b: Floats, unit: Ints | None = None, config: SignificanceConfig | None = None) -> Paired:
    """a [K, N] less b [L, N]; a draw of scenes is the same for both, seeds are drawn each for themselves.

    ValueError: no values, shapes.
    """
    config = config or SignificanceConfig()
    a, unit = _checked(a, unit)
    b, _ = _checked(b, unit)
    rng = np.random.default_rng(config.seed)
    means, weights = _draws(a, unit, rng, config.draws)
    others = _draws(b, unit, rng, config.draws, weights)[0]
    gaps = a.mean(axis=0) - b.mean(axis=0)
    of_unit = np.bincount(unit, gaps).astype(np.float64)
    signs = np.sign(np.where(np.abs(of_unit) < 1e-12, 0.0, of_unit))
    return Paired(
        difference=_interval(float(gaps.mean()), means - others, config),
        better=int((signs > 0).sum()),
        worse=int((signs < 0).sum()),
        equal=int((signs == 0).sum()),
        p_permutation=_permutation(of_unit, rng, config.draws),
        p_wilcoxon=wilcoxon(of_unit[signs != 0]),
    )


def _checked(values: Floats, unit: Ints | None) -> tuple[Floats, Ints]:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape or not np.isfinite(values).all():
        raise ValueError(f"values must be [K >= 1, N >= 1] and finite, got {values.shape}")
    unit = np.arange(values.shape[1]) if unit is None else np.asarray(unit, dtype=np.int64)
    if unit.shape != values.shape[1:]:
        raise ValueError(f"{values.shape[1]} scenes, {unit.shape} units")
    return values, unit


def _draws(
    values: Floats, unit: Ints, rng: np.random.Generator, draws: int, weights: Ints | None = None
) -> tuple[Floats, Ints]:
    """(means [draws] of drawn scenes and seeds; how often each unit was drawn, [draws, U])."""
    U, K = int(unit.max()) + 1, len(values)
    sums, counts = np.stack([np.bincount(unit, row, U) for row in values]), np.bincount(unit, minlength=U)
    if weights is None:
        weights = rng.multinomial(U, np.full(U, 1 / U), size=draws)
    seeds = rng.multinomial(K, np.full(K, 1 / K), size=draws) / K
    return np.einsum("dk,dk->d", weights @ sums.T, seeds) / (weights @ counts), weights


def _interval(mean: float, draws: Floats, config: SignificanceConfig) -> Interval:
    tail = (1 - config.level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(mean, float(low), float(high))


def _permutation(of_unit: Floats, rng: np.random.Generator, draws: int) -> float:
    """Share of random signs that make a sum as large as the found one, which counts itself."""
    flips = rng.integers(0, 2, size=(draws, len(of_unit))) * 2 - 1
    found = abs(of_unit.sum())
    return float((1 + (np.abs(flips @ of_unit) >= found * (1 - 1e-9)).sum()) / (draws + 1))


MOST_EXACT = 50


def wilcoxon(gaps: Floats) -> float:
    """Two-sided p of Wilcoxon's signed-rank test of paired differences [N] without zeros; equal sizes share a rank.

    Exact up to 50 of them, with the normal distribution (less the variance that shared ranks take) beyond.
    """
    size, ties = np.unique(np.abs(gaps), return_inverse=True, return_counts=True)[1:]
    last = np.cumsum(ties)
    doubled = (2 * last - ties + 1)[size]  # twice the mean of the ranks that equal sizes cover
    total, above = int(doubled.sum()), int(doubled[gaps > 0].sum())
    if not len(gaps):
        return 1.0
    if len(gaps) <= MOST_EXACT:
        # In how many ways of 2^N signs the positive ones have each sum.
        ways = np.zeros(total + 1)
        ways[0] = 1.0
        for rank in doubled.tolist():
            ways[rank:] += ways[:-rank].copy()
        least = min(above, total - above)
        return min(1.0, 2 * float(ways[: least + 1].sum() / ways.sum()))
    variance = float((doubled**2).sum()) / 4
    return math.erfc(abs(above - total / 2) / math.sqrt(2 * variance))
