"""Batched Kalman filters in plain torch, float64: the specification."""

import torch
from torch import Tensor


def transition(dt: Tensor, derivative: list[int]) -> Tensor:
    """F [N, D, D]: entry i moves by dt^k / k! times its k-th derivative."""
    D = len(derivative)
    out = torch.eye(D, dtype=dt.dtype, device=dt.device).repeat(dt.shape[0], 1, 1)
    for entry in range(D):
        factor, rate, order = torch.ones_like(dt), derivative[entry], 1
        while rate != -1:
            factor = factor * dt / order
            out[:, entry, rate] = factor
            rate, order = derivative[rate], order + 1
    return out


def predict(
    mean: Tensor, covariance: Tensor, dt: Tensor, noise: Tensor, derivative: list[int]
) -> tuple[Tensor, Tensor]:
    """(F mean, F P F^T + Q)."""
    F = transition(dt, derivative)
    return (F @ mean[:, :, None])[:, :, 0], F @ covariance @ F.mT + noise


def update(
    mean: Tensor, covariance: Tensor, rows: Tensor, measured: Tensor, noise: Tensor, heading: int
) -> tuple[Tensor, Tensor, Tensor]:
    """(mean, covariance, the first measurement that cannot be used or -1)."""
    D, m = mean.shape[1], measured.shape[1]
    x, P = mean[rows], covariance[rows]
    offset = measured - x[:, :m]
    if heading >= 0:
        # To the nearest of the two headings that differ by half a turn: in (-pi / 2, pi / 2].
        turn = offset[:, heading] / torch.pi
        offset[:, heading] = (turn - (turn - 0.5).ceil()) * torch.pi
        x[:, heading] = measured[:, heading] - offset[:, heading]
    factor, bad = torch.linalg.cholesky_ex(P[:, :m, :m] + noise)
    unusable = (bad != 0) | ~offset.isfinite().all(1) | ~factor.isfinite().all(2).all(1)
    wrong = unusable.nonzero()[:1, 0]
    K = torch.cholesky_solve(P[:, :m, :], factor).mT
    x = x + (K @ offset[:, :, None])[:, :, 0]
    if heading >= 0:
        x[:, heading] -= (x[:, heading] / (2 * torch.pi) + 0.5).floor() * (2 * torch.pi)
    left = torch.eye(D, dtype=P.dtype, device=P.device) - torch.cat([K, K.new_zeros(len(rows), D, D - m)], 2)
    P = left @ P @ left.mT + K @ noise @ K.mT
    out_mean, out_covariance = mean.clone(), covariance.clone()
    out_mean[rows], out_covariance[rows] = x, P
    return out_mean, out_covariance, wrong[0] if len(wrong) else torch.tensor(-1)


def predict_update(
    mean: Tensor,
    covariance: Tensor,
    dt: Tensor,
    process: Tensor,
    derivative: list[int],
    rows: Tensor,
    measured: Tensor,
    noise: Tensor,
    heading: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """`update` of what `predict` gives."""
    return update(*predict(mean, covariance, dt, process, derivative), rows, measured, noise, heading)
