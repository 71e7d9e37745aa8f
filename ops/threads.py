"""Run a compiled kernel over parts of its work on several threads.

Kernels are plain `njit(nogil=True)` functions `kernel(start, stop, *arrays)` that write disjoint rows. Numba's own
`parallel=True` compiles several times slower, and its threading layers break in forked processes or with two callers.

The threads wait between calls and are woken by a queue. Parts are taken, not handed out: where a thread wakes late (the
processor has other work) the caller takes its part too, so that a call is never slower than alone by more than the
waking, some 10 us of the caller's time.
"""

import os
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

import numpy as np

_calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
_threads = 0
_starting = Lock()


def _forget() -> None:
    """A forked child has no threads: it must not wait for its parent's."""
    global _calls, _threads, _starting
    _calls, _threads, _starting = SimpleQueue(), 0, Lock()


os.register_at_fork(after_in_child=_forget)


def run(kernel: Callable[..., Any], bounds: np.ndarray, threads: int, *args: Any) -> None:
    """Call kernel(bounds[i], bounds[i + 1], *args) for every non-empty part, on at most `threads` threads.

    An exception of a part is raised here, after all parts have ended.
    """
    parts = [(int(a), int(b)) for a, b in pairwise(bounds) if b > a]
    if threads <= 1 or len(parts) <= 1:
        for start, stop in parts:
            kernel(start, stop, *args)
        return
    left, ended = deque(parts), SimpleQueue[BaseException | None]()

    def work() -> None:
        while left:
            try:
                start, stop = left.popleft()
            except IndexError:  # another thread took the last one
                return
            error = None
            try:
                kernel(start, stop, *args)
            except BaseException as caught:
                error = caught
            ended.put(error)

    helpers = min(threads, len(parts)) - 1
    _start(helpers)
    for _ in range(helpers):
        _calls.put(work)
    work()
    errors = [error for error in (ended.get() for _ in parts) if error is not None]
    if errors:
        raise errors[0]


def _start(count: int) -> None:
    """At least `count` threads wait for calls."""
    global _threads
    if _threads >= count:
        return
    with _starting:
        for number in range(_threads, count):
            Thread(target=_serve, args=(_calls,), name=f"ops-{number}", daemon=True).start()
        _threads = max(_threads, count)


def _serve(calls: SimpleQueue[Callable[[], None]]) -> None:
    while True:
        work = calls.get()
        work()
        del work  # and with it the call's arrays, before the next one is waited for


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
