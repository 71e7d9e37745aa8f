"""An even scaling of the whole scene about the ego origin; speeds scale with it."""

from __future__ import annotations

import numpy as np

from drive.samples.sample import AppliedTransform


def scale(rng: np.random.Generator, low: float, high: float, probability: float) -> list[AppliedTransform]:
    """Draw a factor, uniform in [low, high], with the given probability."""
    chance, factor = rng.random(), rng.uniform(low, high)
    if chance >= probability or low == high == 1.0:
        return []
    return [AppliedTransform("scale", np.diag([factor, factor, factor, 1.0]))]
