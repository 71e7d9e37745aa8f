"""Mirror images across the two vertical planes of the ego frame."""

from __future__ import annotations

import numpy as np

from drive.samples.sample import AppliedTransform


def flip(rng: np.random.Generator, probability_x: float, probability_y: float) -> list[AppliedTransform]:
    """Draw mirror images: across the x axis (y -> -y) and across the y axis (x -> -x), each on its own."""
    draw = rng.random(2)
    drawn = []
    if draw[0] < probability_x:
        drawn.append(AppliedTransform("flip_x", np.diag([1.0, -1.0, 1.0, 1.0])))
    if draw[1] < probability_y:
        drawn.append(AppliedTransform("flip_y", np.diag([-1.0, 1.0, 1.0, 1.0])))
    return drawn
