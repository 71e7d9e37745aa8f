"""Learning rate and momentum as functions of the training's progress, and the clock that says what the progress is."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from torch.optim import Optimizer

from drive.train.config import TrainConfig


def learning_rate(config: TrainConfig, progress: float) -> float:
    """Rate at `progress` 0..1.

    "one_cycle": half a cosine from peak / start_divisor up to the peak in the first `warmup`, half a cosine down to
    peak / final_divisor (Smith and Topin, arXiv 1708.07120; cosine form of fastai and OpenPCDet).
    "cosine": linear from 0, then half a cosine down (Loshchilov and Hutter, arXiv 1608.03983, one period).
    """
    peak, low = config.learning_rate, config.learning_rate / config.final_divisor
    if progress < config.warmup:
        share = progress / config.warmup
        if config.schedule == "cosine":
            return peak * share
        return _cosine(peak / config.start_divisor, peak, share)
    return _cosine(peak, low, _share_after(config.warmup, progress))


def momentum(config: TrainConfig, progress: float) -> float:
    """Adam's first beta: against the rate's direction in one-cycle, constant otherwise."""
    if config.schedule != "one_cycle":
        return config.betas[0]
    high, low = config.momentum
    if progress < config.warmup:
        return _cosine(high, low, progress / config.warmup)
    return _cosine(low, high, _share_after(config.warmup, progress))


def set_schedule(optimizer: Optimizer, config: TrainConfig, progress: float) -> float:
    """Put rate and momentum into every parameter group; gives the rate."""
    rate, beta = learning_rate(config, progress), momentum(config, progress)
    for group in optimizer.param_groups:
        group["lr"] = rate
        group["betas"] = (beta, group["betas"][1])
    return rate


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * min(share, 1.0)))


def _share_after(warmup: float, progress: float) -> float:
    return (progress - warmup) / (1.0 - warmup) if warmup < 1.0 else 1.0


@dataclass
class Clock:
    """How far a training is: steps done of all, and seconds used of all, resumed parts included.

    Attributes:
        steps: Steps of the whole training.
        max_seconds: Time limit, 0 for none.
        step: Steps done.
        before_s: Seconds used by earlier parts of this run.
    """

    steps: int
    max_seconds: float
    step: int = 0
    before_s: float = 0.0
    _start: float = field(default_factory=lambda: time.monotonic())

    @property
    def elapsed_s(self) -> float:
        return self.before_s + time.monotonic() - self._start

    def progress(self, elapsed_s: float) -> float:
        """0..1; of the step that comes next. One step before the last it is just below 1."""
        by_steps = self.step / self.steps
        return min(max(by_steps, elapsed_s / self.max_seconds), 1.0) if self.max_seconds else by_steps

    def done(self, elapsed_s: float) -> bool:
        return self.step >= self.steps or (self.max_seconds > 0 and elapsed_s >= self.max_seconds)
