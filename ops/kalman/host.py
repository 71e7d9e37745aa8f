"""Host side of the CPU kernels: the C one where it can be compiled, numba's elsewhere."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ops import native
from ops import threads as threading
from ops.arrays import array, arrays
from ops.kalman import cpu

NATIVE = Path(__file__).with_name("kernel.c")

AB3DMOT_SIZES = (("D", "10"), ("M", "7"))
GRAIN = 128
NOTHING = 2**62  # above every number that the C kernel reports


def step(
    mean: Tensor,
    covariance: Tensor,
    dt: Tensor,
    process: Tensor,
    derivative: Sequence[int],
    rows: Tensor,
    measured: Tensor,
    noise: Tensor,
    heading: int,
    *,
    threads: int,
) -> tuple[Tensor, Tensor, int]:
    """(mean, covariance, -1) after dt [N], or at the same time where dt is empty, and after `measured` [K, m].

    process [1, D, D] or [N, D, D], noise [1, m, m] or [K, m, m]. In place of -1: the first measurement that cannot be
    used, OUTSIDE where a row is out of range, TWICE where one is named twice.

    Tensors and not arrays: a step takes as long as a dozen conversions, and the C kernel needs addresses only.
    """
    (N, D), (K, m) = mean.shape, measured.shape
    out_mean, out_covariance = mean.new_empty((N, D)), mean.new_empty((N, D, D))
    rates = _rates(tuple(derivative))
    # Prediction alone is no faster in C; rows of no tracks are refused by the other way.
    compiled = native.kernel(NATIVE, "step", (("D", str(D)), ("M", str(m)))) if K and N else None
    if compiled is None:
        return (
            out_mean,
            out_covariance,
            _numba_step(
                mean, covariance, dt, process, rates, rows, measured, noise, heading, out_mean, out_covariance, threads
            ),
        )
    given = [tensor.contiguous() for tensor in (mean, covariance, dt, process, rows, measured, noise)]
    x, P, time, Q, which, z, R = [tensor.data_ptr() for tensor in given]
    room = np.empty(N + 1, np.int64)
    room[N] = NOTHING
    seen = room.ctypes.data
    call = (
        N, x, P, time if dt.shape[0] else 0, Q, process.shape[0], rates.data_ptr(), which, K, z, R, noise.shape[0],
        heading, out_mean.data_ptr(), out_covariance.data_ptr(), seen, seen + 8 * N,
    )  # fmt: skip
    threading.run(compiled, threading.even_parts(N, threads, GRAIN), threads, *call)
    wrong = int(room[N])
    return out_mean, out_covariance, -1 if wrong == NOTHING else wrong


@cache
def _rates(derivative: tuple[int, ...]) -> Tensor:
    return torch.tensor(derivative, dtype=torch.int64)


def _numba_step(
    mean: Tensor,
    covariance: Tensor,
    dt: Tensor,
    process: Tensor,
    rates: Tensor,
    rows: Tensor,
    measured: Tensor,
    noise: Tensor,
    heading: int,
    out_mean: Tensor,
    out_covariance: Tensor,
    threads: int,
) -> int:
    """Fills the outputs; returns what is wrong, or -1."""
    N = mean.shape[0]
    seen, bad = np.empty(N, np.int64), np.zeros(rows.shape[0], np.uint8)
    wrong = int(cpu.find(array(rows), seen))
    if wrong != -1 or N == 0:
        return wrong
    ahead, seeing = arrays(mean, covariance, dt, process), arrays(rows, measured, noise)
    out, parts = arrays(out_mean, out_covariance), threading.even_parts(N, threads, GRAIN)
    threading.run(cpu.tracks_step, parts, threads, *ahead, rates.numpy(), seen, *seeing, heading, *out, bad)
    return int(bad.argmax()) if bad.any() else -1


def in_use() -> tuple[str, str]:
    """(kernel, reason) of the step on this machine, for the table of kernels."""
    return native.kernel_in_use(NATIVE, AB3DMOT_SIZES)
