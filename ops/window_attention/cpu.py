"""Ragged window attention for the CPU.

One window and head at a time: keys and values transposed to [D, n], so that every inner loop runs along the window's
tokens in vector registers; eight channels a pass keep the sums in registers. No score outlives its row.
"""

import numpy as np
from numba import njit

from ops import threads as threading
from ops.intrinsics import exp32

# Sums may be reordered (that is what lets them use vector registers); no flag here may drop an infinity by accident.
FAST = {"reassoc", "contract", "nsz", "arcp"}
GRAIN = 20_000.0  # query-key pairs worth a thread


@njit(cache=True, nogil=True, fastmath=FAST)
def _dots(row, matrix, n, out):  # type: ignore[no-untyped-def]
    """out[j] = sum over c of row[c] * matrix[c, j]; channels padded to a multiple of 8."""
    for c in range(0, row.size, 8):
        r0, r1, r2, r3 = row[c], row[c + 1], row[c + 2], row[c + 3]
        r4, r5, r6, r7 = row[c + 4], row[c + 5], row[c + 6], row[c + 7]
        m0, m1, m2, m3 = matrix[c], matrix[c + 1], matrix[c + 2], matrix[c + 3]
        m4, m5, m6, m7 = matrix[c + 4], matrix[c + 5], matrix[c + 6], matrix[c + 7]
        if c == 0:
            for j in range(n):
                low = r0 * m0[j] + r1 * m1[j] + r2 * m2[j] + r3 * m3[j]
                out[j] = low + r4 * m4[j] + r5 * m5[j] + r6 * m6[j] + r7 * m7[j]
        else:
            for j in range(n):
                low = r0 * m0[j] + r1 * m1[j] + r2 * m2[j] + r3 * m3[j]
                out[j] += low + r4 * m4[j] + r5 * m5[j] + r6 * m6[j] + r7 * m7[j]


@njit(cache=True, nogil=True, fastmath=FAST)
def _weighted(weight, matrix, n, out):  # type: ignore[no-untyped-def]
    """out[c] = sum over j of weight[j] * matrix[c, j]; channels padded to a multiple of 8."""
    for c in range(0, out.size, 8):
        m0, m1, m2, m3 = matrix[c], matrix[c + 1], matrix[c + 2], matrix[c + 3]
        m4, m5, m6, m7 = matrix[c + 4], matrix[c + 5], matrix[c + 6], matrix[c + 7]
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = np.float32(0)
        for j in range(n):
            p = weight[j]
            s0 += p * m0[j]
            s1 += p * m1[j]
            s2 += p * m2[j]
            s3 += p * m3[j]
            s4 += p * m4[j]
            s5 += p * m5[j]
            s6 += p * m6[j]
            s7 += p * m7[j]
        out[c], out[c + 1], out[c + 2], out[c + 3] = s0, s1, s2, s3
        out[c + 4], out[c + 5], out[c + 6], out[c + 7] = s4, s5, s6, s7


@njit(cache=True, nogil=True, fastmath=FAST)
def _softmax(score, n):  # type: ignore[no-untyped-def]
    """exp(score - max) in place; returns the maximum and the sum."""
    top = score[0]
    for j in range(n):
        top = max(top, score[j])
    total = np.float32(0)
    for j in range(n):
        e = exp32(score[j] - top)
        score[j] = e
        total += e
    return top, total


@njit(cache=True, nogil=True)
def _longest(start, stop, offsets):  # type: ignore[no-untyped-def]
    longest = 0
    for w in range(start, stop):
        longest = max(longest, offsets[w + 1] - offsets[w])
    return longest


@njit(cache=True, nogil=True, fastmath=FAST)
def _forward(start, stop, q, k, v, offsets, scale, out, logsumexp):  # type: ignore[no-untyped-def]
    _, H, D = q.shape
    longest, channels = _longest(start, stop, offsets), (D + 7) // 8 * 8
    kt = np.zeros((channels, longest), np.float32)
    vt = np.zeros((channels, longest), np.float32)
    score = np.empty(longest, np.float32)
    q_row, out_row = np.zeros(channels, np.float32), np.zeros(channels, np.float32)
    for w in range(start, stop):
        first, n = offsets[w], offsets[w + 1] - offsets[w]
        for h in range(H):
            for j in range(n):
                for d in range(D):
                    kt[d, j] = k[first + j, h, d] * scale
                    vt[d, j] = v[first + j, h, d]
            for i in range(first, first + n):
                for d in range(D):
                    q_row[d] = q[i, h, d]
                _dots(q_row, kt, n, score)
                top, total = _softmax(score, n)
                _weighted(score, vt, n, out_row)
                for d in range(D):
                    out[i, h, d] = out_row[d] / total
                logsumexp[i, h] = top + np.log(total)


@njit(cache=True, nogil=True, fastmath=FAST)
def _backward(start, stop, grad, q, k, v, offsets, out, logsumexp, scale, grad_q, grad_k, grad_v):  # type: ignore[no-untyped-def]
    _, H, D = q.shape
    longest, channels = _longest(start, stop, offsets), (D + 7) // 8 * 8
    kt = np.zeros((channels, longest), np.float32)
    vt = np.zeros((channels, longest), np.float32)
    grad_kt, grad_vt = np.empty((D, longest), np.float32), np.empty((D, longest), np.float32)
    weight, product = np.empty(longest, np.float32), np.empty(longest, np.float32)
    q_row, g_row, dq_row = (
        np.zeros(channels, np.float32),
        np.zeros(channels, np.float32),
        np.zeros(channels, np.float32),
    )
    for w in range(start, stop):
        first, n = offsets[w], offsets[w + 1] - offsets[w]
        for h in range(H):
            for j in range(n):
                for d in range(D):
                    kt[d, j] = k[first + j, h, d] * scale
                    vt[d, j] = v[first + j, h, d]
                    grad_kt[d, j] = grad_vt[d, j] = 0
            for i in range(first, first + n):
                delta = np.float32(0)
                for d in range(D):
                    q_row[d], g_row[d] = q[i, h, d], grad[i, h, d]
                    delta += grad[i, h, d] * out[i, h, d]
                _dots(q_row, kt, n, weight)
                _dots(g_row, vt, n, product)
                shift = logsumexp[i, h]
                for j in range(n):
                    p = exp32(weight[j] - shift)
                    weight[j] = p
                    product[j] = p * (product[j] - delta)
                _weighted(product, kt, n, dq_row)
                for d in range(D):
                    grad_q[i, h, d] = dq_row[d]
                    q_d, g_d, to_k, to_v = q_row[d] * scale, g_row[d], grad_kt[d], grad_vt[d]
                    for j in range(n):
                        to_k[j] += product[j] * q_d
                        to_v[j] += weight[j] * g_d
            for j in range(n):
                for d in range(D):
                    grad_k[first + j, h, d] = grad_kt[d, j]
                    grad_v[first + j, h, d] = grad_vt[d, j]


def _parts(offsets: np.ndarray, threads: int) -> np.ndarray:
    counts = np.diff(offsets).astype(np.float64)
    return threading.balanced_parts(np.concatenate([[0.0], np.cumsum(counts * (counts + 8.0))]), threads, GRAIN)


def forward(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, offsets: np.ndarray, *, scale: float, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """q, k, v float32 [T, H, D] -> (attended [T, H, D], log-sum-exp [T, H])."""
    out, logsumexp = np.empty_like(q), np.empty(q.shape[:2], np.float32)
    threading.run(_forward, _parts(offsets, threads), threads, q, k, v, offsets, np.float32(scale), out, logsumexp)
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
    grads = np.empty_like(q), np.empty_like(k), np.empty_like(v)
    arguments = (grad, q, k, v, offsets, out, logsumexp, np.float32(scale), *grads)
    threading.run(_backward, _parts(offsets, threads), threads, *arguments)
    return grads
