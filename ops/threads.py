"""Run a compiled kernel over parts of its work on several threads.

Kernels are plain `njit(nogil=True)` functions `kernel(start, stop, *arrays)` that write disjoint rows. Numba's own
`parallel=True` compiles several times slower, and its threading layers break in forked processes or with two callers.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

_pools: dict[int, ThreadPoolExecutor] = {}
# A forked child has no threads: it must not wait for its parent's.
os.register_at_fork(after_in_child=_pools.clear)


def run(kernel: Callable[..., Any], bounds: np.ndarray, threads: int, *args: Any) -> None:
    """Call kernel(bounds[i], bounds[i + 1], *args) for every non-empty part, on at most `threads` threads."""
    parts = [(int(a), int(b)) for a, b in pairwise(bounds) if b > a]
    if threads <= 1 or len(parts) <= 1:
        for start, stop in parts:
            kernel(start, stop, *args)
        return
    pool = _pools.get(threads)
    if pool is None:
        pool = _pools.setdefault(threads, ThreadPoolExecutor(threads - 1, thread_name_prefix="ops"))
    futures = [pool.submit(kernel, start, stop, *args) for start, stop in parts[1:]]
    kernel(*parts[0], *args)
    for future in futures:
        future.result()


def even_parts(count: int, threads: int, grain: int) -> np.ndarray:
    """Bounds of up to `threads` equal parts of `count` items, each of at least `grain` items."""
    parts = max(1, min(threads, count // max(grain, 1)))
    if parts == 1:
        return np.array([0, count])
    return np.linspace(0, count, parts + 1).astype(np.int64)


def balanced_parts(cost: np.ndarray, threads: int, grain: float) -> np.ndarray:
    """Bounds of up to `threads` parts of nearly equal cost; `cost` [N + 1] is the running total, `grain` the least."""
    total = float(cost[-1]) if cost.size else 0.0
    parts = max(1, min(threads, int(total / grain)))
    bounds = np.searchsorted(cost, np.linspace(0, total, parts + 1)).astype(np.int64)
    bounds[0], bounds[-1] = 0, max(cost.size - 1, 0)
    return bounds
