"""Kalman filters of many tracks at once: state in, state out, float64.

A track's state is a mean [D] and a symmetric covariance [D, D]. A `Model` says which entries are derivatives of which,
so that the transition over a track's own time step dt is exact (dt, dt^2 / 2, ...), and how many leading entries are
measured: z = mean[:m] + noise. The reference updates the covariance in Joseph's form, (I - KH) P (I - KH)^T + K R K^T,
as filterpy does; the kernels subtract the same part of P as a product G G^T with itself (`ops.kalman.cpu`), which is
symmetric, and exact to the rounding of P. Nothing has a gradient.

A tracker's step over a ragged batch: `predict` all tracks, match (ops.assignment, with `innovation_covariance`), then
`update` the matched rows with their measurements; `predict_update` is both in one pass, where what matches what is
known. Tracks of different frames or classes lie side by side in one call.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ops import checks, kernels
from ops.kalman import cpu, cuda, host, reference
from ops.kalman.model import AB3DMOT, CONSTANT_ACCELERATION, CONSTANT_VELOCITY, Model
from ops.operator import operator

__all__ = [
    "AB3DMOT",
    "CONSTANT_ACCELERATION",
    "CONSTANT_VELOCITY",
    "Model",
    "Tracks",
    "innovation_covariance",
    "predict",
    "predict_update",
    "update",
    "white_noise",
]


class Tracks(NamedTuple):
    """Gaussian states."""

    mean: Tensor
    """float64 [N, D]."""
    covariance: Tensor
    """float64 [N, D, D]."""


def predict(model: Model, tracks: Tracks, dt_s: Tensor, noise: Tensor) -> Tracks:
    """The tracks dt_s [N] seconds later: F mean, F P F^T + Q. noise Q: float64 [D, D] for all, or [N, D, D].

    `white_noise` makes a Q that fits each time step. ValueError: shapes, dtypes, devices.
    """
    op = "kalman.predict"
    _check(op, model, tracks)
    noise = _check_ahead(op, tracks, dt_s, noise)
    checks.check_same_device(op, *tracks, dt_s, noise)
    return Tracks(*_predict(*map(_constant, (*tracks, dt_s)), noise, model.derivative))


def update(model: Model, tracks: Tracks, rows: Tensor, measured: Tensor, noise: Tensor) -> Tracks:
    """The tracks after tracks `rows` int64 [K] (each at most once) were measured at `measured` [K, m], float64.

    noise R: float64 [m, m] for all, or [K, m, m]. The other tracks stay as they are. ValueError: shapes, dtypes, a row
    out of range or twice, S = P + R not positive definite (also where a measurement is not finite).
    """
    op = "kalman.update"
    _check(op, model, tracks)
    noise = _check_measured(op, model, rows, measured, noise)
    checks.check_same_device(op, *tracks, rows, measured, noise)
    given = *map(_constant, (*tracks, rows, measured)), noise, model.heading
    return Tracks(*_update(*given))


def predict_update(
    model: Model,
    tracks: Tracks,
    dt_s: Tensor,
    process_noise: Tensor,
    rows: Tensor,
    measured: Tensor,
    measured_noise: Tensor,
) -> Tracks:
    """`predict` of all tracks, then `update` of tracks `rows`, in one pass over the tracks.

    Args:
        model: What moves, and what is measured.
        tracks: N tracks of D states.
        dt_s: float64 [N], seconds from the tracks' time to the measurements'.
        process_noise: Q, float64 [D, D] for all, or [N, D, D].
        rows: int64 [K], the track of every measurement, each at most once. The others are only predicted.
        measured: float64 [K, m].
        measured_noise: R, float64 [m, m] for all, or [K, m, m].

    ValueError: as `predict` and `update`.
    """
    op = "kalman.predict_update"
    _check(op, model, tracks)
    Q = _check_ahead(op, tracks, dt_s, process_noise)
    R = _check_measured(op, model, rows, measured, measured_noise)
    checks.check_same_device(op, *tracks, dt_s, Q, rows, measured, R)
    ahead, seen = map(_constant, (*tracks, dt_s)), map(_constant, (rows, measured))
    return Tracks(*_predict_update(*ahead, Q, model.derivative, *seen, R, model.heading))


def innovation_covariance(model: Model, tracks: Tracks, noise: Tensor) -> Tensor:
    """S = H P H^T + R: [N, m, m], what a Mahalanobis gate needs. noise R: [m, m] or [N, m, m]."""
    _check("kalman.innovation_covariance", model, tracks)
    checks.check_same_device("kalman.innovation_covariance", *tracks, noise)
    return tracks.covariance[:, : model.measured, : model.measured] + noise


def white_noise(model: Model, dt_s: Tensor, density: Tensor) -> Tensor:
    """Q [N, D, D] of continuous white noise on the highest derivatives over dt_s [N] seconds.

    density float64 [D]: spectral density at each entry that has no derivative (m^2 / s^3 at a velocity, m^2 / s^5 at an
    acceleration, 1 / s at a length); 0 elsewhere. Q_ij = q dt^(a + b + 1) / (a! b! (a + b + 1)), where i and j are a
    and b steps above the noisy entry (Bar-Shalom, Li and Kirubarajan 2001, section 6.2).
    """
    D = model.states
    if density.shape != (D,) or dt_s.dim() != 1:
        raise ValueError(f"kalman.white_noise: density must be [{D}] and dt_s [N]")
    out = dt_s.new_zeros(dt_s.shape[0], D, D)
    chains = [[(entry, 0)] for entry in range(D) if model.derivative[entry] == -1]
    for chain in chains:
        for entry in range(chain[0][0] - 1, -1, -1):
            chain.extend((entry, steps + 1) for end, steps in list(chain) if model.derivative[entry] == end)
        for i, a in chain:
            for j, b in chain:
                factorials = torch.tensor([a + 1.0, b + 1.0], dtype=torch.float64).lgamma().exp().prod().item()
                out[:, i, j] += density[chain[0][0]] * dt_s ** (a + b + 1) / (factorials * (a + b + 1))
    return out


def _check(op: str, model: Model, tracks: Tracks) -> None:
    (mean, covariance), D = tracks, model.states
    N = mean.shape[0] if mean.dim() else 0
    if mean.dtype != torch.float64 or mean.shape != (N, D):
        raise ValueError(f"{op}: mean must be float64 [N, {D}], got {mean.dtype} {tuple(mean.shape)}")
    if covariance.dtype != torch.float64 or covariance.shape != (N, D, D):
        raise ValueError(
            f"{op}: covariance must be float64 [{N}, {D}, {D}], got {covariance.dtype} {tuple(covariance.shape)}"
        )


def _check_ahead(op: str, tracks: Tracks, dt: Tensor, noise: Tensor) -> Tensor:
    """The noise as [1, D, D] or [N, D, D]."""
    N, D = tracks.mean.shape
    if dt.dtype != torch.float64 or dt.shape != (N,) or noise.dtype != torch.float64:
        raise ValueError(
            f"{op}: dt_s [{N}] and noise must be float64, got {dt.dtype} {tuple(dt.shape)} and {noise.dtype}"
        )
    if noise.shape not in ((D, D), (N, D, D)):
        raise ValueError(f"{op}: noise must be [{D}, {D}] or [{N}, {D}, {D}], got {tuple(noise.shape)}")
    return _one_or_each(noise)


def _check_measured(op: str, model: Model, rows: Tensor, measured: Tensor, noise: Tensor) -> Tensor:
    """The noise as [1, m, m] or [K, m, m]."""
    m = model.measured
    checks.check_index(op, "rows", rows)
    K = rows.shape[0]
    if measured.dtype != torch.float64 or measured.shape != (K, m):
        raise ValueError(f"{op}: measured must be float64 [{K}, {m}], got {measured.dtype} {tuple(measured.shape)}")
    if noise.dtype != torch.float64 or noise.shape not in ((m, m), (K, m, m)):
        raise ValueError(f"{op}: noise must be float64 [{m}, {m}] or [{K}, {m}, {m}], got {tuple(noise.shape)}")
    return _one_or_each(noise)


def _one_or_each(noise: Tensor) -> Tensor:
    noise = _constant(noise)
    return noise if noise.dim() == 3 else noise[None]


def _constant(tensor: Tensor) -> Tensor:
    return tensor.detach() if tensor.requires_grad else tensor


def _check_rows(op: str, rows: Tensor, N: int) -> None:
    if rows.numel() and (int(rows.min()) < 0 or int(rows.max()) >= N):
        _check_found(op, cpu.OUTSIDE, N)
    if rows.unique().numel() != rows.numel():
        _check_found(op, cpu.TWICE, N)


def _check_found(op: str, wrong: int, N: int) -> None:
    """`wrong`: -1, or what a kernel found wrong (`host.step`)."""
    if wrong == cpu.OUTSIDE:
        raise ValueError(f"{op}: rows must lie in 0..{N - 1}")
    if wrong == cpu.TWICE:
        raise ValueError(f"{op}: a row is named twice")
    if wrong >= 0:
        raise ValueError(f"{op}: measurement {wrong} is not finite, or its covariance P + R is not positive definite")


@operator("drive_ops::kalman_predict")
def _predict(
    mean: Tensor, covariance: Tensor, dt: Tensor, noise: Tensor, derivative: list[int]
) -> tuple[Tensor, Tensor]:
    return reference.predict(mean, covariance, dt, noise, derivative)


@_predict.register_kernel("cpu")
def _(mean: Tensor, covariance: Tensor, dt: Tensor, noise: Tensor, derivative: list[int]) -> tuple[Tensor, Tensor]:
    nothing = torch.empty(0, dtype=torch.int64), mean.new_empty(0, 1), mean.new_empty(1, 1, 1), -1
    return host.step(mean, covariance, dt, noise, derivative, *nothing, threads=torch.get_num_threads())[:2]


@_predict.register_fake
def _(mean: Tensor, covariance: Tensor, dt: Tensor, noise: Tensor, derivative: list[int]) -> tuple[Tensor, Tensor]:
    return mean.new_empty(mean.shape), covariance.new_empty(covariance.shape)


@operator("drive_ops::kalman_update")
def _update(
    mean: Tensor, covariance: Tensor, rows: Tensor, measured: Tensor, noise: Tensor, heading: int
) -> tuple[Tensor, Tensor]:
    N = mean.shape[0]
    _check_rows("kalman.update", rows, N)
    found = reference.update(mean, covariance, rows, measured, noise, heading)
    _check_found("kalman.update", int(found[2]), N)
    return found[0], found[1]


@_update.register_kernel("cpu")
def _(
    mean: Tensor, covariance: Tensor, rows: Tensor, measured: Tensor, noise: Tensor, heading: int
) -> tuple[Tensor, Tensor]:
    now, unmoved = mean.new_empty(0), mean.new_empty(1, 0, 0)
    given = rows, measured, noise, heading
    found = host.step(mean, covariance, now, unmoved, (), *given, threads=torch.get_num_threads())
    _check_found("kalman.update", found[2], mean.shape[0])
    return found[:2]


@_update.register_fake
def _(
    mean: Tensor, covariance: Tensor, rows: Tensor, measured: Tensor, noise: Tensor, heading: int
) -> tuple[Tensor, Tensor]:
    return mean.new_empty(mean.shape), covariance.new_empty(covariance.shape)


@operator("drive_ops::kalman_predict_update")
def _predict_update(
    mean: Tensor,
    covariance: Tensor,
    dt: Tensor,
    process: Tensor,
    derivative: list[int],
    rows: Tensor,
    measured: Tensor,
    noise: Tensor,
    heading: int,
) -> tuple[Tensor, Tensor]:
    N = mean.shape[0]
    _check_rows("kalman.predict_update", rows, N)
    found = reference.predict_update(mean, covariance, dt, process, derivative, rows, measured, noise, heading)
    _check_found("kalman.predict_update", int(found[2]), N)
    return found[0], found[1]


@_predict_update.register_kernel("cpu")
def _(
    mean: Tensor,
    covariance: Tensor,
    dt: Tensor,
    process: Tensor,
    derivative: list[int],
    rows: Tensor,
    measured: Tensor,
    noise: Tensor,
    heading: int,
) -> tuple[Tensor, Tensor]:
    ahead = mean, covariance, dt, process, derivative
    found = host.step(*ahead, rows, measured, noise, heading, threads=torch.get_num_threads())
    _check_found("kalman.predict_update", found[2], mean.shape[0])
    return found[:2]


@_predict_update.register_fake
def _(
    mean: Tensor,
    covariance: Tensor,
    dt: Tensor,
    process: Tensor,
    derivative: list[int],
    rows: Tensor,
    measured: Tensor,
    noise: Tensor,
    heading: int,
) -> tuple[Tensor, Tensor]:
    return mean.new_empty(mean.shape), covariance.new_empty(covariance.shape)


def _predict_cuda(
    mean: Tensor, covariance: Tensor, dt: Tensor, noise: Tensor, derivative: list[int]
) -> tuple[Tensor, Tensor]:
    return cuda.predict(mean.contiguous(), covariance.contiguous(), dt.contiguous(), noise.contiguous(), derivative)


def _update_cuda(
    mean: Tensor, covariance: Tensor, rows: Tensor, measured: Tensor, noise: Tensor, heading: int
) -> tuple[Tensor, Tensor]:
    return _measured_cuda("kalman.update", mean, covariance, rows, measured, noise, heading)


def _measured_cuda(
    op: str, mean: Tensor, covariance: Tensor, rows: Tensor, measured: Tensor, noise: Tensor, heading: int
) -> tuple[Tensor, Tensor]:
    _check_rows(op, rows, mean.shape[0])
    given = rows.contiguous(), measured.contiguous(), noise.contiguous()
    out_mean, out_covariance, bad = cuda.update(mean, covariance, *given, heading)
    _check_found(op, int(bad), mean.shape[0])
    return out_mean, out_covariance


def _predict_update_cuda(
    mean: Tensor,
    covariance: Tensor,
    dt: Tensor,
    process: Tensor,
    derivative: list[int],
    rows: Tensor,
    measured: Tensor,
    noise: Tensor,
    heading: int,
) -> tuple[Tensor, Tensor]:
    ahead = _predict_cuda(mean, covariance, dt, process, derivative)
    return _measured_cuda("kalman.predict_update", *ahead, rows, measured, noise, heading)


def _register_cuda() -> None:
    _predict.register_kernel("cuda")(_predict_cuda)
    _update.register_kernel("cuda")(_update_cuda)
    _predict_update.register_kernel("cuda")(_predict_update_cuda)


kernels.declare_native("kalman", host.in_use)
kernels.declare_unproven_cuda("kalman", _register_cuda)
