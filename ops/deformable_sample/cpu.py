"""Multi-scale deformable sampling for the CPU.

Floor of 6 x 900 queries, 8 heads of 32 channels, 4 levels, 8 points: 1.38M samples gather 708 MB from maps of 47 MB:
4 ms at a cache's 179 GB/s (2 threads). All rows and shares of a query come first, so that rows can be asked
for before they are needed.
"""

from functools import cache

import numpy as np
from numba import njit

from ops import threads as threading
from ops.camera_sample.cpu import taps
from ops.intrinsics import prefetch

SAMPLES = 2000.0  # samples worth a thread
AHEAD, LINE = 24, 16  # rows asked for in advance; floats of a cache line


@njit(cache=True, nogil=True)
def _query(b, q, cells, levels, starts, locations, weights, rows, shares, ends):  # type: ignore[no-untyped-def]
    """Rows and shares of the cells that one query reads, head after head; those of head m end at ends[m]."""
    _, _, M, L, K, _ = locations.shape
    n = 0
    for m in range(M):
        for level in range(L):
            height, width = levels[level, 0], levels[level, 1]
            first = (b * cells + starts[level]) * M + m
            for k in range(K):
                x, y = np.float64(locations[b, q, m, level, k, 0]), np.float64(locations[b, q, m, level, k, 1])
                usable, r0, r1, r2, r3, rx, sx, ry, sy = taps(x, y, height, width)
                weight = np.float64(weights[b, q, m, level, k])
                rows[n], rows[n + 1] = first + r0 * M, first + r1 * M
                rows[n + 2], rows[n + 3] = first + r2 * M, first + r3 * M
                shares[n], shares[n + 1] = rx * ry * weight, sx * ry * weight
                shares[n + 2], shares[n + 3] = rx * sy * weight, sx * sy * weight
                n += 4 * usable
        ends[m] = n


@njit(cache=True, nogil=True, fastmath={"contract"})
def _forward(start, stop, value, cells, levels, starts, locations, weights, out):  # type: ignore[no-untyped-def]
    """Queries start..stop of all frames: value [B * S * M, D], locations [B, Q, M, L, K, 2], out [B, Q, M, D]."""
    _, Q, M, L, K, _ = locations.shape
    D = value.shape[1]
    taken = 4 * M * L * K
    rows, shares = np.zeros(taken + AHEAD, np.int64), np.empty(taken, np.float32)
    ends, total = np.empty(M, np.int64), np.empty(D, np.float32)
    for i in range(start, stop):
        b, q = i // Q, i % Q
        _query(b, q, cells, levels, starts, locations, weights, rows, shares, ends)
        n = 0
        for m in range(M):
            for c in range(D):
                total[c] = 0
            while n < ends[m]:
                # Rows lie anywhere: without asking for them early, every one would wait for the cache.
                for t in range(n + AHEAD, n + AHEAD + 4):
                    for c in range(0, D, LINE):
                        prefetch(value, rows[t] * D + c)
                r0, r1, r2, r3 = rows[n], rows[n + 1], rows[n + 2], rows[n + 3]
                s0, s1, s2, s3 = shares[n], shares[n + 1], shares[n + 2], shares[n + 3]
                for c in range(D):
                    total[c] += s0 * value[r0, c] + s1 * value[r1, c] + s2 * value[r2, c] + s3 * value[r3, c]
                n += 4
            for c in range(D):
                out[b, q, m, c] = total[c]


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _backward(start, stop, grad, value, cells, levels, starts, locations, weights, grad_value, grad_at, grad_weights):  # type: ignore[no-untyped-def]
    """Frames and heads start..stop (b * M + m): each owns its rows of the value, so nothing is added twice at once."""
    _, Q, M, L, K, _ = locations.shape
    D = value.shape[1]
    for i in range(start, stop):
        b, m = i // M, i % M
        for q in range(Q):
            g = grad[b, q, m]
            for level in range(L):
                height, width = levels[level, 0], levels[level, 1]
                first = (b * cells + starts[level]) * M + m
                for k in range(K):
                    x, y = np.float64(locations[b, q, m, level, k, 0]), np.float64(locations[b, q, m, level, k, 1])
                    usable, r0, r1, r2, r3, rx, sx, ry, sy = taps(x, y, height, width)
                    if not usable:
                        continue
                    r0, r1, r2, r3 = first + r0 * M, first + r1 * M, first + r2 * M, first + r3 * M
                    weight = np.float64(weights[b, q, m, level, k])
                    s0, s1 = np.float32(rx * ry * weight), np.float32(sx * ry * weight)
                    s2, s3 = np.float32(rx * sy * weight), np.float32(sx * sy * weight)
                    d0 = d1 = d2 = d3 = np.float32(0)
                    for c in range(D):
                        d0 += g[c] * value[r0, c]
                        d1 += g[c] * value[r1, c]
                        d2 += g[c] * value[r2, c]
                        d3 += g[c] * value[r3, c]
                    grad_weights[b, q, m, level, k] = rx * (ry * d0 + sy * d2) + sx * (ry * d1 + sy * d3)
                    # The columns' shares change by 1 a cell where the cell exists, by 0 where it does not.
                    left, right, top, bottom = exists(x, width, y, height)
                    along_x = ry * (right * d1 - left * d0) + sy * (right * d3 - left * d2)
                    along_y = rx * (bottom * d2 - top * d0) + sx * (bottom * d3 - top * d1)
                    grad_at[b, q, m, level, k, 0] = weight * width * along_x
                    grad_at[b, q, m, level, k, 1] = weight * height * along_y
                    for c in range(D):
                        grad_value[r0, c] += s0 * g[c]
                    for c in range(D):
                        grad_value[r1, c] += s1 * g[c]
                    for c in range(D):
                        grad_value[r2, c] += s2 * g[c]
                    for c in range(D):
                        grad_value[r3, c] += s3 * g[c]


@njit(cache=True, nogil=True, inline="always")
def exists(x, width, y, height):  # type: ignore[no-untyped-def]
    """1.0 for each of left column, right column, top row, bottom row of a usable place that lies in the map."""
    x0, y0 = np.floor(x * width - 0.5), np.floor(y * height - 0.5)
    return (
        1.0 if x0 >= 0 else 0.0,
        1.0 if x0 + 1 < width else 0.0,
        1.0 if y0 >= 0 else 0.0,
        1.0 if y0 + 1 < height else 0.0,
    )


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _planes(start, stop, planes, levels, starts, locations, weights, out):  # type: ignore[no-untyped-def]
    """Channels start..stop of one-headed maps plane by plane: planes [B, D, S].

    Cells and shares of all queries first, then a channel at a time: few samples of a large map cost less than a copy.
    """
    B, Q, _, L, K, _ = locations.shape
    taken = 4 * L * K
    rows, shares = np.zeros((Q, taken), np.int64), np.empty((Q, taken), np.float32)
    ends = np.empty((Q, 1), np.int64)
    for b in range(B):
        for q in range(Q):
            _query(b, q, 0, levels, starts, locations, weights, rows[q], shares[q], ends[q])
        for d in range(start, stop):
            for q in range(Q):
                total = np.float32(0)
                for n in range(ends[q, 0]):
                    total += shares[q, n] * planes[b, d, rows[q, n]]
                out[b, q, 0, d] = total


@cache
def _shapes(shapes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(heights and widths [L, 2], first cell of every level [L])."""
    levels = np.array(shapes, np.int64).reshape(-1, 2)
    sizes = levels[:, 0] * levels[:, 1]
    return levels, np.cumsum(sizes) - sizes


def forward(
    value: np.ndarray, shapes: list[int], locations: np.ndarray, weights: np.ndarray, *, threads: int
) -> np.ndarray:
    """[B, Q, M, D] of value [B, S, M, D] (any strides), locations [B, Q, M, L, K, 2], weights [B, Q, M, L, K]."""
    B, S, M, D = value.shape
    _, Q, _, L, K, _ = locations.shape
    levels, starts = _shapes(tuple(shapes))
    out = np.empty((B, Q, M, D), np.float32)
    if M == 1 and 4 * Q * L * K < S and (planes := value[:, :, 0].transpose(0, 2, 1)).flags.c_contiguous and D > 1:
        # Threads would each find the cells anew: only many channels are worth it.
        parts = threading.even_parts(D, threads, max(1, 200_000 // max(1, 4 * B * Q * L * K)))
        threading.run(_planes, parts, threads, planes, levels, starts, locations, weights, out)
        return out
    rows = np.ascontiguousarray(value).reshape(B * S * M, D)
    if threads == 1 or B * Q * M * L * K < 2 * SAMPLES:
        # A planner asks for 160 samples: finding parts would take as long as the samples.
        _forward(0, B * Q, rows, S, levels, starts, locations, weights, out)
        return out
    parts = threading.even_parts(B * Q, threads, int(SAMPLES) // (M * L * K) + 1)
    threading.run(_forward, parts, threads, rows, S, levels, starts, locations, weights, out)
    return out


def backward(
    grad: np.ndarray, value: np.ndarray, shapes: list[int], locations: np.ndarray, weights: np.ndarray, *, threads: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of value, locations and weights, float32."""
    B, S, M, D = value.shape
    _, Q, _, L, K, _ = locations.shape
    levels, starts = _shapes(tuple(shapes))
    grad_value = np.zeros((B * S * M, D), np.float32)
    grad_at, grad_weights = np.zeros_like(locations), np.zeros_like(weights)
    parts = threading.balanced_parts(np.arange(B * M + 1) * float(Q * L * K), threads, SAMPLES)
    given = grad, value.reshape(B * S * M, D), S, levels, starts, locations, weights
    threading.run(_backward, parts, threads, *given, grad_value, grad_at, grad_weights)
    return grad_value.reshape(value.shape), grad_at, grad_weights
