"""Do oriented boxes touch, in plain torch: the specification."""

import torch
from torch import Tensor

LARGEST = 1e9


def touch(a: Tensor, b: Tensor) -> Tensor:
    """Rectangles [..., 5] (x y length width yaw), broadcast -> bool [...]: no axis of either separates them."""
    A, B = a.double(), b.double()
    dx, dy, turn = B[..., 0] - A[..., 0], B[..., 1] - A[..., 1], B[..., 4] - A[..., 4]
    cos, sin = turn.cos().abs(), turn.sin().abs()
    apart = torch.zeros_like(dx, dtype=torch.bool)
    for one, other in ((A, B), (B, A)):
        c, s = one[..., 4].cos(), one[..., 4].sin()
        apart |= (c * dx + s * dy).abs() > (one[..., 2] + cos * other[..., 2] + sin * other[..., 3]) / 2
        apart |= (c * dy - s * dx).abs() > (one[..., 3] + sin * other[..., 2] + cos * other[..., 3]) / 2
    usable = [(t.abs() <= LARGEST).all(-1) & (t[..., 2:4] >= 0).all(-1) for t in (A, B)]
    return ~apart & usable[0] & usable[1]
