"""Host side of the CPU kernels: the C one where it can be compiled, numba's elsewhere."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from ops import native
from ops import threads as threading
from ops.arrays import array, arrays
from ops.kalman import cpu

NATIVE = Path(__file__).with_name("kernel.c")

AB3DMOT_SIZES = (("D", "10"), ("M", "7"))
GRAIN = 128


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
    N, D = mean.shape
    seen, bad = np.empty(N, np.int64), np.zeros(rows.shape[0], np.uint8)
    out_mean, out_covariance = mean.new_empty((N, D)), mean.new_empty((N, D, D))
    wrong = int(cpu.find(array(rows), seen))
    if wrong != -1 or N == 0:
        return out_mean, out_covariance, wrong
    mean, covariance, dt, process, measured, noise = (
        tensor.contiguous() for tensor in (mean, covariance, dt, process, measured, noise)
    )
    rates = np.array(derivative, np.int64)
    parts = threading.even_parts(N, threads, GRAIN)
    # Prediction alone is no faster in C.
    sizes = ("D", str(D)), ("M", str(measured.shape[1]))
    compiled = native.kernel(NATIVE, "step", sizes) if len(bad) else None
    if compiled is not None:
        threading.run(
            compiled, parts, threads,
            mean.data_ptr(), covariance.data_ptr(), dt.data_ptr() if len(dt) else 0, process.data_ptr(),
            process.shape[0], rates, seen, measured.data_ptr(), noise.data_ptr(), noise.shape[0], heading,
            out_mean.data_ptr(), out_covariance.data_ptr(), bad,
        )  # fmt: skip
    else:
        ahead, seeing = arrays(mean, covariance, dt, process), arrays(rows, measured, noise)
        out = arrays(out_mean, out_covariance)
        threading.run(cpu.tracks_step, parts, threads, *ahead, rates, seen, *seeing, heading, *out, bad)
    return out_mean, out_covariance, int(bad.argmax()) if bad.any() else -1


def in_use() -> tuple[str, str]:
    """(kernel, reason) of the step on this machine, for the table of kernels."""
    return native.kernel_in_use(NATIVE, AB3DMOT_SIZES)
