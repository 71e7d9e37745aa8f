"""Lens distortion, once: plain arithmetic that numpy, torch and numba all run.

Coefficients k1 k2 p1 p2 k3 as in OpenCV's ``projectPoints``; coordinates are those of the image plane (x/z, y/z).
"""

from typing import Any

import numpy as np


def bend(x: Any, y: Any, k1: Any, k2: Any, p1: Any, p2: Any, k3: Any) -> tuple[Any, Any]:
    """Where the lens puts what stands at (x, y) of the image plane."""
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    v = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return u, v


def straighten(u: Any, v: Any, k1: Any, k2: Any, p1: Any, p2: Any, k3: Any, steps: int = 30) -> tuple[Any, Any]:
    """The inverse of ``bend`` by fixed-point steps (OpenCV's ``undistortPoints``): exact inside the lens's circle
    where the distortion is moderate; call ``bend`` on the answer to see how close it came."""
    x, y = u, v
    for _ in range(steps):
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        x, y = (
            (u - 2 * p1 * x * y - p2 * (r2 + 2 * x * x)) / radial,
            (v - p1 * (r2 + 2 * y * y) - 2 * p2 * x * y) / radial,
        )
    return x, y


def farthest(k1: float, k2: float, k3: float) -> float:
    """Squared distance from the axis up to which the radial polynomial rises; infinite where it always does.

    Beyond it the polynomial folds back, and what the camera cannot see would land in the picture.
    """
    roots = np.roots([7.0 * k3, 5.0 * k2, 3.0 * k1, 1.0])
    turns = roots.real[(np.abs(roots.imag) < 1e-12) & (roots.real > 0)]
    return float(turns.min()) if turns.size else float("inf")
