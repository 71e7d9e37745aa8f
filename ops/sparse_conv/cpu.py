"""Sparse convolution for the CPU: register tiles over pair lists, one tile of output rows at a time.

Work: 2 * pairs * C * D operations; floor: that over the machine's multiply-add rate (from 32 channels up, bytes do not
matter: a row is read once a pair, from a cache, and its sum stays in registers). Every output row belongs to one
thread, so no sum depends on the number of threads.
"""

import numpy as np
from numba import njit

from ops import threads as threading
from ops.sparse_conv.tiles import WIDE, outer_tile, product_tile

GRAIN = 2e5  # products worth a thread

_p4, _p4_2, _p4_1 = product_tile(6, 4, False), product_tile(2, 4, False), product_tile(1, 4, False)
_p2, _p2_4, _p2_1 = product_tile(12, 2, False), product_tile(4, 2, False), product_tile(1, 2, False)
_p1, _p1_1 = product_tile(6, 1, False), product_tile(1, 1, False)
_h4, _h4_2, _h4_1 = product_tile(6, 4, True), product_tile(2, 4, True), product_tile(1, 4, True)
_h2, _h2_4, _h2_1 = product_tile(12, 2, True), product_tile(4, 2, True), product_tile(1, 2, True)
_h1, _h1_1 = product_tile(6, 1, True), product_tile(1, 1, True)
_o4, _o1 = outer_tile(4, 4, False), outer_tile(4, 1, False)
_oh4, _oh1 = outer_tile(4, 4, True), outer_tile(4, 1, True)


@njit(cache=True, nogil=True)
def _products(x, w, y, inputs, outputs, p, stop, k, base):  # type: ignore[no-untyped-def]
    C, D = w.shape[1], w.shape[2]
    j = 0
    if WIDE:
        while j + 64 <= D:
            q = p
            while q + 6 <= stop:
                _p4(x, w, y, inputs, outputs, q, k, C, D, j, base)
                q += 6
            while q + 2 <= stop:
                _p4_2(x, w, y, inputs, outputs, q, k, C, D, j, base)
                q += 2
            if q < stop:
                _p4_1(x, w, y, inputs, outputs, q, k, C, D, j, base)
            j += 64
        while j + 32 <= D:
            q = p
            while q + 12 <= stop:
                _p2(x, w, y, inputs, outputs, q, k, C, D, j, base)
                q += 12
            while q + 4 <= stop:
                _p2_4(x, w, y, inputs, outputs, q, k, C, D, j, base)
                q += 4
            while q < stop:
                _p2_1(x, w, y, inputs, outputs, q, k, C, D, j, base)
                q += 1
            j += 32
    while j < D:
        q = p
        while q + 6 <= stop:
            _p1(x, w, y, inputs, outputs, q, k, C, D, j, base)
            q += 6
        while q < stop:
            _p1_1(x, w, y, inputs, outputs, q, k, C, D, j, base)
            q += 1
        j += 16


@njit(cache=True, nogil=True)
def _half_products(x, w, y, inputs, outputs, p, stop, k, base):  # type: ignore[no-untyped-def]
    C, D = w.shape[1], w.shape[2]
    j = 0
    while j + 64 <= D:
        q = p
        while q + 6 <= stop:
            _h4(x, w, y, inputs, outputs, q, k, C, D, j, base)
            q += 6
        while q + 2 <= stop:
            _h4_2(x, w, y, inputs, outputs, q, k, C, D, j, base)
            q += 2
        if q < stop:
            _h4_1(x, w, y, inputs, outputs, q, k, C, D, j, base)
        j += 64
    while j + 32 <= D:
        q = p
        while q + 12 <= stop:
            _h2(x, w, y, inputs, outputs, q, k, C, D, j, base)
            q += 12
        while q + 4 <= stop:
            _h2_4(x, w, y, inputs, outputs, q, k, C, D, j, base)
            q += 4
        while q < stop:
            _h2_1(x, w, y, inputs, outputs, q, k, C, D, j, base)
            q += 1
        j += 32
    while j < D:
        q = p
        while q + 6 <= stop:
            _h1(x, w, y, inputs, outputs, q, k, C, D, j, base)
            q += 6
        while q < stop:
            _h1_1(x, w, y, inputs, outputs, q, k, C, D, j, base)
            q += 1
        j += 16


@njit(cache=True, nogil=True)
def _forward(start, stop, x, w, inputs, outputs, starts, tile, y):  # type: ignore[no-untyped-def]
    K = w.shape[0]
    for t in range(start, stop):
        y[t * tile : (t + 1) * tile] = 0
        for k in range(K):
            first, last = starts[t * K + k], starts[t * K + k + 1]
            if first < last:
                _products(x, w, y, inputs, outputs, first, last, k, 0)


@njit(cache=True, nogil=True)
def _forward_half(start, stop, x, w, inputs, outputs, starts, tile, y):  # type: ignore[no-untyped-def]
    """y int16 [num_out, D] takes the float32 sums of a tile, rounded to the nearest bfloat16 (ties to even)."""
    K, D = w.shape[0], w.shape[2]
    sums = np.empty((tile, D), np.float32)
    bits = sums.view(np.uint32)
    for t in range(start, stop):
        sums[:] = 0
        for k in range(K):
            first, last = starts[t * K + k], starts[t * K + k + 1]
            if first < last:
                _half_products(x, w, sums, inputs, outputs, first, last, k, t * tile)
        for row in range(t * tile, min((t + 1) * tile, y.shape[0])):
            source = bits[row - t * tile]
            for d in range(D):
                b = source[d]
                rounded = (b + np.uint32(0x7FFF) + ((b >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
                nan = (b & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
                y[row, d] = np.uint16((b >> np.uint32(16)) | np.uint32(0x40)) if nan else np.uint16(rounded)


@njit(cache=True, nogil=True)
def _weight_gradient(start, stop, x, g, inputs, outputs, starts, w):  # type: ignore[no-untyped-def]
    K, C, D = w.shape
    w[start:stop] = 0
    for k in range(start, stop):
        for t in range((starts.size - 1) // K):
            first, last = starts[t * K + k], starts[t * K + k + 1]
            if first == last:
                continue
            j = 0
            if WIDE:
                while j + 64 <= D:
                    for c in range(0, C, 4):
                        _o4(x, g, w, inputs, outputs, first, last, k, C, D, c, j)
                    j += 64
            while j < D:
                for c in range(0, C, 4):
                    _o1(x, g, w, inputs, outputs, first, last, k, C, D, c, j)
                j += 16


@njit(cache=True, nogil=True)
def _weight_gradient_half(start, stop, x, g, inputs, outputs, starts, w):  # type: ignore[no-untyped-def]
    K, C, D = w.shape
    w[start:stop] = 0
    for k in range(start, stop):
        for t in range((starts.size - 1) // K):
            first, last = starts[t * K + k], starts[t * K + k + 1]
            if first == last:
                continue
            j = 0
            while j + 64 <= D:
                for c in range(0, C, 4):
                    _oh4(x, g, w, inputs, outputs, first, last, k, C, D, c, j)
                j += 64
            while j < D:
                for c in range(0, C, 4):
                    _oh1(x, g, w, inputs, outputs, first, last, k, C, D, c, j)
                j += 16


def convolve(
    x: np.ndarray,
    w: np.ndarray,
    inputs: np.ndarray,
    outputs: np.ndarray,
    starts: np.ndarray,
    *,
    num_out: int,
    tile: int,
    threads: int,
) -> np.ndarray:
    """x [V, C], w [K, C, D] with D a multiple of 16 -> [num_out, D], float32.

    Where x is int32 (bfloat16 channels 2c and 2c + 1, as in w) the answer is uint16, bfloat16's bits. The lists are
    those of a Rulebook, and are trusted.
    """
    K, C, D = w.shape
    half = x.dtype == np.int32
    y = np.empty((num_out, D), np.uint16 if half else np.float32)
    cost = starts[::K].astype(np.float64) * (C * D)
    parts = threading.balanced_parts(cost + np.arange(cost.size), threads, GRAIN)
    kernel = _forward_half if half else _forward
    threading.run(kernel, parts, threads, x, w, inputs, outputs, starts, tile, y)
    return y


def weight_gradient(
    x: np.ndarray,
    g: np.ndarray,
    inputs: np.ndarray,
    outputs: np.ndarray,
    starts: np.ndarray,
    *,
    kernel: int,
    threads: int,
) -> np.ndarray:
    """x [V, C], g [num_out, D], float32 or both int16 (bfloat16's bits), C a multiple of 4, D of 16 -> [K, C, D]."""
    w = np.empty((kernel, x.shape[1], g.shape[1]), np.float32)
    pairs = np.diff(starts).reshape(-1, kernel).sum(0)
    cost = np.concatenate([[0.0], np.cumsum(pairs * float(x.shape[1] * g.shape[1]) + 1)])
    run = _weight_gradient_half if x.dtype == np.int16 else _weight_gradient
    threading.run(run, threading.balanced_parts(cost, threads, GRAIN), threads, x, g, inputs, outputs, starts, w)
    return w
