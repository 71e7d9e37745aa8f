"""Exponential moving average of the weights; what is evaluated and shipped."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class Ema:
    """A shadow of a module: parameters averaged, buffers (batch statistics) copied.

    Attributes:
        module: The shadow, in eval mode, without gradients.
        decay: Largest decay; step t uses min(decay, (1 + t) / (10 + t)) (TensorFlow's ExponentialMovingAverage).
        updates: Updates so far.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take the module's weights after an optimiser step into the average."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averaged: list[Tensor] = list(self.module.parameters())
        current = [p.detach() for p in module.parameters()]
        if averaged:
            torch._foreach_lerp_(averaged, current, 1.0 - decay)
        for mine, theirs in zip(self.module.buffers(), module.buffers(), strict=True):
            mine.copy_(theirs)
        self.updates += 1

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged weights, names as in the module."""
        return self.module.state_dict()
