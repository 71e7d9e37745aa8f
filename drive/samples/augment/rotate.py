"""A turn of the whole scene about the ego's z axis."""

from __future__ import annotations

import numpy as np

from drive.samples.sample import AppliedTransform


def rotate(rng: np.random.Generator, limit_rad: float, probability: float) -> list[AppliedTransform]:
    """Draw a turn, uniform in +- `limit_rad`, with the given probability."""
    chance, angle = rng.random(), rng.uniform(-limit_rad, limit_rad)
    if chance >= probability or limit_rad == 0:
        return []
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return [AppliedTransform("rotate", matrix)]
