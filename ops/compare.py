"""How a kernel is compared with its reference: what `ops/<name>/check.py` is written with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

Comparison = tuple[str, float, float]
"""(what, largest error, allowed error)."""


def gap(ours: Any, exact: Any) -> float:
    """Largest absolute difference; inf where the shapes differ."""
    ours, exact = ours.detach().double().cpu(), exact.detach().double().cpu()
    if ours.shape != exact.shape:
        return float("inf")
    return float((ours - exact).abs().max()) if ours.numel() else 0.0


def gaps(ours: Any, exact: Any) -> float:
    """Largest absolute difference of several outputs."""
    return max(gap(a, b) for a, b in zip(ours, exact, strict=True))


def both(
    what: str, call: Callable[..., Tensor], values: tuple[Tensor, ...], rest: tuple[Any, ...], allowed: float
) -> Iterator[Comparison]:
    """Output and gradients of `call`: float32 on its device, against float64 on the CPU (which takes the reference)."""
    ours = [v.detach().clone().requires_grad_() for v in values]
    exact = [v.detach().double().cpu().requires_grad_() for v in values]
    out = call(*ours, *rest)
    wanted = call(*exact, *(r.cpu() if isinstance(r, Tensor) else r for r in rest))
    yield what, gap(out, wanted), allowed
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    out.backward(weight.to(out.device))
    wanted.backward(weight.double())
    yield f"{what}, gradient", max(gap(a.grad, b.grad) for a, b in zip(ours, exact, strict=True)), allowed
