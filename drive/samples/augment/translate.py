"""A shift of the whole scene."""

from __future__ import annotations

import numpy as np

from drive.samples.sample import AppliedTransform


def translate(
    rng: np.random.Generator, std_m: tuple[float, float, float], probability: float
) -> list[AppliedTransform]:
    """Draw a shift, normal with the given standard deviation an axis, with the given probability."""
    chance, shift = rng.random(), rng.normal(size=3) * np.asarray(std_m)
    if chance >= probability or not any(std_m):
        return []
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    return [AppliedTransform("translate", matrix)]
