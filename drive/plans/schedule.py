"""The noise of a diffusion planner: levels, and the denoising steps as an explicit list.

DDIM (Song, Meng, Ermon, arXiv 2010.02502, eta = 0) over 1000 levels whose beta is linear in its root, from 1e-4 to
0.02, for a network that answers with the clean sample. Numbers are those of diffusers' DDIMScheduler (0.42), whose one
oddity is kept: the noise that a step goes on with belongs to the network's own answer, the sample to the clipped one.

    level:      0        8        10       20       49      999
    noise:      0.0100   0.0316   0.0354   0.0520   0.0943  1.0000    sqrt(1 - alpha_bar)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

LEVELS, FIRST_BETA, LAST_BETA = 1000, 1e-4, 0.02


@cache
def alphas_bar() -> Tensor:
    """float32 [LEVELS]: share of the clean sample's variance that is left at each level (computed in float32 as
    diffusers does, so that both agree to the last digits)."""
    root = torch.linspace(FIRST_BETA**0.5, LAST_BETA**0.5, LEVELS, dtype=torch.float32)
    return torch.cumprod(1.0 - root**2, dim=0)


@dataclass(frozen=True)
class Step:
    """One pass of the denoiser.

    level: the noise level that the network is told.
    to: the level that the sample is brought to; None is a clean sample.
    """

    level: int
    to: int | None

    def __post_init__(self) -> None:
        if not 0 <= self.level < LEVELS or (self.to is not None and not 0 <= self.to < self.level):
            raise ValueError(f"a step goes down from a level below {LEVELS}, not from {self.level} to {self.to}")

    def coefficients(self) -> tuple[float, float]:
        """(a, b) of next = a * answer + b * sample, for an answer within +-1. From 10 to 9: 0.05254, 0.94749."""
        now = float(alphas_bar()[self.level])
        after = 1.0 if self.to is None else float(alphas_bar()[self.to])
        b = ((1.0 - after) / (1.0 - now)) ** 0.5
        return after**0.5 - b * now**0.5, b

    def next(self, answer: Tensor, sample: Tensor) -> Tensor:
        """The sample of the next pass. answer: the network's clean sample, any values; sample: what it was shown."""
        after = 1.0 if self.to is None else float(alphas_bar()[self.to])
        a, b = self.coefficients()
        # Equal to a * answer + b * sample, with the clean part clipped and the noise part not.
        return a * answer + b * sample + after**0.5 * (answer.clamp(-1, 1) - answer)


@dataclass(frozen=True)
class Schedule:
    """How a trajectory is denoised.

    start: the level of the noise on the anchors; None starts from white noise alone.
    steps: passes in order. The answer of the last one is the trajectory, so its own update is not needed.
    """

    start: int | None
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        if not self.steps:
            raise ValueError("a schedule needs at least one step")
        if self.start is not None and not 0 <= self.start < LEVELS:
            raise ValueError(f"the start's level is {self.start}, not one of {LEVELS}")


def as_published(passes: int = 2, span: int = 20, start: int = 8) -> Schedule:
    """What DiffusionDrive's code does: noise of level 8; passes told 10 and 0, each moving the sample one level only.

    Its scheduler is set to 1000 inference steps, so the update after the pass at 10 goes to 9 and keeps 0.947 of the
    noisy anchors: the second pass sees nearly what the first one saw (spec section 1.5). span: 20 in the NAVSIM code,
    40 in the nuScenes code (passes told 20 and 0).
    """
    levels = [round(k * span / passes) for k in reversed(range(passes))]
    return Schedule(start, tuple(Step(level, level - 1 if level else None) for level in levels))


def true_ddim(passes: int = 2, start: int = 10) -> Schedule:
    """DDIM proper: noise of level `start`, evenly spaced passes down to level 0, each update reaching the next pass.

    With two passes: 10 -> 0 -> clean; the second pass sees 0.283 of the noise and 0.717 of the first one's answer.
    """
    levels = [round(start * (1 - k / max(passes - 1, 1))) for k in range(passes)] if passes > 1 else [start]
    return Schedule(start, tuple(map(Step, levels, [*levels[1:], None])))


def from_white_noise(passes: int = 20) -> Schedule:
    """A plain diffusion policy: white noise, `passes` evenly spaced levels (diffusers' "leading" spacing)."""
    if not 1 <= passes <= LEVELS:
        raise ValueError(f"1 to {LEVELS} passes, not {passes}")
    levels = [k * (LEVELS // passes) for k in reversed(range(passes))]
    return Schedule(None, tuple(map(Step, levels, [*levels[1:], None])))


def add_noise(clean: Tensor, noise: Tensor, level: Tensor | int) -> Tensor:
    """clean and noise [B, ...] mixed at a level: one for all or int64 [B]."""
    level = torch.as_tensor(level, device=clean.device)
    kept = alphas_bar().to(clean.device)[level]
    kept = kept.reshape(kept.shape + (1,) * (clean.dim() - kept.dim()))
    return kept.sqrt() * clean + (1 - kept).sqrt() * noise
