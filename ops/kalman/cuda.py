"""Host side of kernel.cu."""

from pathlib import Path

import torch
from torch import Tensor

from ops import nvrtc

SOURCE = Path(__file__).with_name("kernel.cu")


def predict(
    mean: Tensor, covariance: Tensor, dt: Tensor, noise: Tensor, derivative: list[int]
) -> tuple[Tensor, Tensor]:
    """(mean, covariance) after dt [N]."""
    N, D = mean.shape
    out_mean, out_covariance = torch.empty_like(mean), torch.empty_like(covariance)
    rates = torch.tensor(derivative, device=mean.device)
    given = mean, covariance, dt, noise, noise.shape[0], rates, N, D
    nvrtc.launch(SOURCE, "predict", N, *given, out_mean, out_covariance)
    return out_mean, out_covariance


def update(
    mean: Tensor, covariance: Tensor, rows: Tensor, measured: Tensor, noise: Tensor, heading: int
) -> tuple[Tensor, Tensor, Tensor]:
    """(mean, covariance, the first measurement that cannot be used or -1)."""
    K, m = measured.shape
    out_mean = mean.clone(memory_format=torch.contiguous_format)
    out_covariance = covariance.clone(memory_format=torch.contiguous_format)
    bad = torch.zeros(K, dtype=torch.uint8, device=mean.device)
    given = out_mean, out_covariance, rows, measured, noise, noise.shape[0], heading, K, mean.shape[1], m
    nvrtc.launch(SOURCE, "update", K, *given, bad)
    first = torch.cat([bad.nonzero()[:1, 0], torch.tensor([-1], device=mean.device)])[0]
    return out_mean, out_covariance, first
