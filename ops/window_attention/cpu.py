"""Ragged window attention for the CPU: C where it can be compiled (kernel.c), numba elsewhere.

Floor: 4 D multiply-adds a head and query-key pair at the processor's rate, and one exponential. Numba: one window and
head at a time, keys and values transposed to [D, n], so that every inner loop runs along the window's tokens in vector
registers, and two queries share what they load. No score outlives its row.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numba import njit

from ops import native
from ops import threads as threading
from ops.intrinsics import exp32

SOURCE = Path(__file__).with_name("kernel.c")
MOST_CHANNELS = 64  # a head: the C kernel keeps a block's channels on the stack

# Sums may be reordered (that is what lets them use vector registers); no flag here may drop an infinity by accident.
FAST = {"reassoc", "contract", "nsz", "arcp"}
GRAIN = 20_000.0  # query-key pairs worth a thread


@njit(cache=True, nogil=True, fastmath=FAST)
def _dots(x, y, matrix, n, x_out, y_out):  # type: ignore[no-untyped-def]
    """x_out[j] = sum over c of x[c] * matrix[c, j], y_out likewise; channels padded to a multiple of 4."""
    for c in range(0, x.size, 4):
        x0, x1, x2, x3 = x[c], x[c + 1], x[c + 2], x[c + 3]
        y0, y1, y2, y3 = y[c], y[c + 1], y[c + 2], y[c + 3]
        if c == 0:
            for j in range(n):
                m0, m1, m2, m3 = matrix[c, j], matrix[c + 1, j], matrix[c + 2, j], matrix[c + 3, j]
                x_out[j] = x0 * m0 + x1 * m1 + x2 * m2 + x3 * m3
                y_out[j] = y0 * m0 + y1 * m1 + y2 * m2 + y3 * m3
        else:
            for j in range(n):
                m0, m1, m2, m3 = matrix[c, j], matrix[c + 1, j], matrix[c + 2, j], matrix[c + 3, j]
                x_out[j] += x0 * m0 + x1 * m1 + x2 * m2 + x3 * m3
                y_out[j] += y0 * m0 + y1 * m1 + y2 * m2 + y3 * m3


@njit(cache=True, nogil=True, fastmath=FAST)
def _weighted(x, y, matrix, n, x_out, y_out):  # type: ignore[no-untyped-def]
    """x_out[c] = sum over j of x[j] * matrix[c, j], y_out likewise; channels padded to a multiple of 4."""
    for c in range(0, x_out.size, 4):
        x0 = x1 = x2 = x3 = y0 = y1 = y2 = y3 = np.float32(0)
        for j in range(n):
            m0, m1, m2, m3 = matrix[c, j], matrix[c + 1, j], matrix[c + 2, j], matrix[c + 3, j]
            x0 += x[j] * m0
            x1 += x[j] * m1
            x2 += x[j] * m2
            x3 += x[j] * m3
            y0 += y[j] * m0
            y1 += y[j] * m1
            y2 += y[j] * m2
            y3 += y[j] * m3
        x_out[c], x_out[c + 1], x_out[c + 2], x_out[c + 3] = x0, x1, x2, x3
        y_out[c], y_out[c + 1], y_out[c + 2], y_out[c + 3] = y0, y1, y2, y3


@njit(cache=True, nogil=True, fastmath=FAST)
def _softmax(x, y, n):  # type: ignore[no-untyped-def]
    """exp(x - max x) in place, y likewise; returns both maxima and sums."""
    x_top, y_top = x[0], y[0]
    for j in range(n):
        x_top, y_top = max(x_top, x[j]), max(y_top, y[j])
    x_total = y_total = np.float32(0)
    for j in range(n):
        x[j] = exp32(x[j] - x_top)
        y[j] = exp32(y[j] - y_top)
        x_total += x[j]
        y_total += y[j]
    return x_top, y_top, x_total, y_total


@njit(cache=True, nogil=True)
def _longest(start, stop, offsets):  # type: ignore[no-untyped-def]
    longest = 1
    for w in range(start, stop):
        longest = max(longest, offsets[w + 1] - offsets[w])
    return longest


@njit(cache=True, nogil=True, fastmath=FAST)
def _forward(start, stop, q, k, v, offsets, scale, out, logsumexp):  # type: ignore[no-untyped-def]
    _, H, D = q.shape
    longest, channels = _longest(start, stop, offsets), (D + 3) // 4 * 4
    kt = np.zeros((channels, longest), np.float32)
    vt = np.zeros((channels, longest), np.float32)
    x, y = np.empty(longest, np.float32), np.empty(longest, np.float32)
    qx, qy = np.zeros(channels, np.float32), np.zeros(channels, np.float32)
    ox, oy = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for w in range(start, stop):
        first, last = offsets[w], offsets[w + 1]
        n = last - first
        for h in range(H):
            for j in range(n):
                for d in range(D):
                    kt[d, j] = k[first + j, h, d] * scale
                    vt[d, j] = v[first + j, h, d]
            for i in range(first, last, 2):
                i2 = min(i + 1, last - 1)  # the last token of an odd window is done twice
                for d in range(D):
                    qx[d], qy[d] = q[i, h, d], q[i2, h, d]
                _dots(qx, qy, kt, n, x, y)
                x_top, y_top, x_total, y_total = _softmax(x, y, n)
                _weighted(x, y, vt, n, ox, oy)
                for d in range(D):
                    out[i, h, d] = ox[d] / x_total
                    out[i2, h, d] = oy[d] / y_total
                logsumexp[i, h] = x_top + np.log(x_total)
                logsumexp[i2, h] = y_top + np.log(y_total)


@njit(cache=True, nogil=True, fastmath=FAST)
def _score_gradient(weight, product, n, shift, delta):  # type: ignore[no-untyped-def]
    """Scores become softmax weights; products (gradient of the weights) become gradients of the scores."""
    for j in range(n):
        p = exp32(weight[j] - shift)
        weight[j] = p
        product[j] = p * (product[j] - delta)


@njit(cache=True, nogil=True, fastmath=FAST)
def _add_outer(x, y, x_weight, y_weight, n, matrix):  # type: ignore[no-untyped-def]
    """matrix[c, j] += x_weight[c] * x[j] + y_weight[c] * y[j]."""
    for c in range(matrix.shape[0]):
        a, b = x_weight[c], y_weight[c]
        for j in range(n):
            matrix[c, j] += a * x[j] + b * y[j]


@njit(cache=True, nogil=True, fastmath=FAST)
def _backward(start, stop, grad, q, k, v, offsets, out, logsumexp, scale, grad_q, grad_k, grad_v):  # type: ignore[no-untyped-def]
    _, H, D = q.shape
    longest, channels = _longest(start, stop, offsets), (D + 3) // 4 * 4
    kt = np.zeros((channels, longest), np.float32)
    vt = np.zeros((channels, longest), np.float32)
    grad_kt, grad_vt = np.empty((D, longest), np.float32), np.empty((D, longest), np.float32)
    px, py = np.empty(longest, np.float32), np.empty(longest, np.float32)
    sx, sy = np.empty(longest, np.float32), np.empty(longest, np.float32)
    qx, qy = np.zeros(channels, np.float32), np.zeros(channels, np.float32)
    gx, gy = np.zeros(channels, np.float32), np.zeros(channels, np.float32)
    dx, dy = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for w in range(start, stop):
        first, last = offsets[w], offsets[w + 1]
        n = last - first
        for h in range(H):
            for j in range(n):
                for d in range(D):
                    kt[d, j] = k[first + j, h, d]
                    vt[d, j] = v[first + j, h, d]
                    grad_kt[d, j] = grad_vt[d, j] = 0
            for i in range(first, last, 2):
                i2 = min(i + 1, last - 1)
                delta_x = delta_y = np.float32(0)
                for d in range(D):
                    qx[d], qy[d] = q[i, h, d] * scale, q[i2, h, d] * scale
                    gx[d], gy[d] = grad[i, h, d], grad[i2, h, d]
                    delta_x += grad[i, h, d] * out[i, h, d]
                    delta_y += grad[i2, h, d] * out[i2, h, d]
                _dots(qx, qy, kt, n, px, py)
                _dots(gx, gy, vt, n, sx, sy)
                _score_gradient(px, sx, n, logsumexp[i, h], delta_x)
                _score_gradient(py, sy, n, logsumexp[i2, h], delta_y)
                _weighted(sx, sy, kt, n, dx, dy)
                for d in range(D):
                    grad_q[i, h, d] = dx[d] * scale
                    grad_q[i2, h, d] = dy[d] * scale
                    if i2 == i:  # the last token of an odd window must not count twice
                        qy[d] = gy[d] = 0
                _add_outer(sx, sy, qx, qy, n, grad_kt)
                _add_outer(px, py, gx, gy, n, grad_vt)
            for j in range(n):
                for d in range(D):
                    grad_k[first + j, h, d] = grad_kt[d, j]
                    grad_v[first + j, h, d] = grad_vt[d, j]


def _parts(offsets: np.ndarray, threads: int) -> np.ndarray:
    counts = np.diff(offsets).astype(np.float64)
    return threading.balanced_parts(np.concatenate([[0.0], np.cumsum(counts * (counts + 8.0))]), threads, GRAIN)


def compiled(name: str, channels: int) -> Callable[..., None] | None:
    """The C kernel for this many channels a head, or None: then numba does it."""
    return native.kernel(SOURCE, name, (("DIM", str(channels)),)) if 1 <= channels <= MOST_CHANNELS else None


def in_use() -> tuple[str, str]:
    """What runs for 16 channels a head, and why."""
    return native.kernel_in_use(SOURCE, (("DIM", "16"),))


def _with_strides(*several: np.ndarray) -> list[np.ndarray | int]:
    """Each array and its row distance in floats. Rows [H, D] must be whole, their distance may be any: q, k and v lie
    side by side where one matrix made them.
    """
    found: list[np.ndarray | int] = []
    for x in several:
        whole = x if x.strides[1:] == (4 * x.shape[2], 4) else np.ascontiguousarray(x)
        found += [whole, whole.strides[0] // 4]
    return found


def forward(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, offsets: np.ndarray, *, scale: float, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """q, k, v float32 [T, H, D] -> (attended [T, H, D], log-sum-exp [T, H])."""
    out, logsumexp = np.empty(q.shape, np.float32), np.empty(q.shape[:2], np.float32)
    parts, heads = _parts(offsets, threads), q.shape[1]
    kernel = compiled("attention_forward", q.shape[2])
    if kernel is None:
        given = *(np.ascontiguousarray(x) for x in (q, k, v)), offsets, np.float32(scale)
        threading.run(_forward, parts, threads, *given, out, logsumexp)
    else:
        rows = _with_strides(q, k, v)
        threading.run(kernel, parts, threads, *rows, offsets, heads, np.float32(scale), out, logsumexp)
    return out, logsumexp


def backward(
    grad: np.ndarray,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    offsets: np.ndarray,
    out: np.ndarray,
    logsumexp: np.ndarray,
    *,
    scale: float,
    threads: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of q, k, v, float32 [T, H, D]."""
    grads = np.empty(q.shape, np.float32), np.empty(q.shape, np.float32), np.empty(q.shape, np.float32)
    parts, heads = _parts(offsets, threads), q.shape[1]
    kernel = compiled("attention_backward", q.shape[2])
    if kernel is None:
        given = grad, *(np.ascontiguousarray(x) for x in (q, k, v)), offsets, out, logsumexp, np.float32(scale)
        threading.run(_backward, parts, threads, *given, *grads)
    else:
        rows = _with_strides(q, k, v)
        scaled = offsets, heads, np.float32(scale), out, logsumexp
        threading.run(kernel, parts, threads, grad, *rows, *scaled, *grads)
    return grads
