"""One comparison of an operator with a peer: what `ops/<name>/bench.py` yields and `python -m ops bench` times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pair:
    """An operator against a peer on the same input.

    Attributes:
        name: What is computed, with its size: "voxelize 177,000 points, 0.32 m".
        peer: The other side: "spconv Point2VoxelCPU3d".
        ours: Call that returns its outputs as a list of tensors.
        theirs: The peer's call, outputs in the same order and form; None where the peer is not installed.
        allowed: Largest absolute difference of any output; inf where outputs of another form are compared by `same`.
        same: Compares the two outputs where `allowed` cannot; raises AssertionError.
        goal: Ratio that is asked for, 0 where none is.
    """

    name: str
    peer: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any] | None
    allowed: float = 0.0
    same: Callable[[Any, Any], None] | None = None
    goal: float = 0.0

    def check(self) -> None:
        """AssertionError, naming the comparison, where the two sides differ."""
        if self.theirs is None:
            return
        found, expected = self.ours(), self.theirs()
        if self.same is not None:
            self.same(found, expected)
            return
        for x, y in zip(found, expected, strict=True):
            assert x.shape == y.shape, f"{self.name}: {tuple(x.shape)} against {tuple(y.shape)}"
            difference = float((x.double() - y.double()).abs().max()) if x.numel() else 0.0
            assert difference <= self.allowed, f"{self.name}: differs by {difference} from {self.peer}"


def with_gradient(call: Callable[..., Tensor], *values: Tensor) -> Callable[[], list[Tensor]]:
    """A call that computes `call(*values)` and the gradients of its sum."""
    leaves = [v.clone().requires_grad_() for v in values]

    def run() -> list[Tensor]:
        out = call(*leaves)
        return [out.detach(), *torch.autograd.grad(out.sum(), leaves)]

    return run
