"""The rulebook of a submanifold for the CPU: half of the pairs are looked for, the others are the same turned round.

Where voxel i sees an earlier voxel j at offset k, j sees i at offset K - 1 - k. For one offset both rise together, so
either list comes out sorted without a sort.
"""

import numpy as np
from numba import njit

from ops import threads as threading
from ops.sparse_conv.cpu_rules import GRAIN, index_rows


@njit(cache=True, nogil=True)
def _before(start, stop, coords, column, row_start, shape, kernel, tile, near, count):  # type: ignore[no-untyped-def]
    """Pairs of the tiles start .. stop whose input comes earlier in the order than their output, count[t, k] of them:
    input near[0, k, t * tile + n] and output near[1, k, t * tile + n], both rising with n."""
    nz, ny = shape
    kz, ky, kx = kernel
    earlier, later = near[0], near[1]
    for t in range(start, stop):
        found = count[t]
        i, stop_row, base = t * tile, min((t + 1) * tile, coords.shape[0]), t * tile
        while i < stop_row:
            b, z0, y0 = coords[i, 0], coords[i, 1], coords[i, 2]
            end = i + 1
            while end < stop_row and coords[end, 2] == y0 and coords[end, 1] == z0 and coords[end, 0] == b:
                end += 1
            for m in range(kz * ky // 2):
                z, y = z0 + m // ky - kz // 2, y0 + m % ky - ky // 2
                if z < 0 or y < 0 or y >= ny:
                    continue
                r = (b * nz + z) * ny + y
                q, last = row_start[r], row_start[r + 1]
                if q == last:
                    continue
                for o in range(i, end):
                    want = column[o] - kx // 2
                    while q < last and column[q] < want:
                        q += 1
                    if q == last:
                        break
                    n = q
                    while n < last and column[n] < want + kx:
                        k = m * kx + column[n] - want
                        place = base + found[k]
                        earlier[k, place] = n
                        later[k, place] = o
                        found[k] += 1
                        n += 1
            row, middle = row_start[(b * nz + z0) * ny + y0], kz * ky * kx // 2
            for o in range(i, end):
                n = o - 1
                while n >= row and column[n] >= column[o] - kx // 2:
                    k = middle + column[n] - column[o]
                    place = base + found[k]
                    earlier[k, place] = n
                    later[k, place] = o
                    found[k] += 1
                    n -= 1
            i = end


@njit(cache=True, nogil=True)
def _count_later(start, stop, near, tile, count):  # type: ignore[no-untyped-def]
    """count[., K - 1 - k] of the offsets start <= k < stop."""
    tiles, K = count.shape
    for k in range(start, stop):
        u = 0
        for t in range(tiles):
            for n in range(t * tile, t * tile + count[t, k]):
                while near[0, k, n] >= (u + 1) * tile:
                    u += 1
                count[u, K - 1 - k] += 1


@njit(cache=True, nogil=True)
def _write(start, stop, near, tile, count, starts, inputs, outputs):  # type: ignore[no-untyped-def]
    """The lists of the offsets k and K - 1 - k, start <= k < stop; the middle one pairs each voxel with itself."""
    tiles, K = count.shape
    for k in range(start, stop):
        if k == K // 2:
            for t in range(tiles):
                first = starts[t * K + k]
                for n in range(count[t, k]):
                    inputs[first + n] = outputs[first + n] = t * tile + n
            continue
        u, mirrored = 0, starts[K - 1 - k]
        for t in range(tiles):
            place = starts[t * K + k]
            for n in range(t * tile, t * tile + count[t, k]):
                i, o = near[0, k, n], near[1, k, n]
                inputs[place], outputs[place] = i, o
                place += 1
                if i >= (u + 1) * tile:
                    u = i // tile
                    mirrored = starts[u * K + K - 1 - k]
                inputs[mirrored], outputs[mirrored] = o, i
                mirrored += 1


def mutual_rules(
    coords: np.ndarray,
    *,
    shape: tuple[int, int, int],
    kernel: tuple[int, int, int],
    batch: int,
    tile: int,
    threads: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`rules` of a submanifold: half of the offsets are looked for, the others are the same pairs turned round."""
    column, row_start = index_rows(coords, shape, batch)
    V, K = coords.shape[0], kernel[0] * kernel[1] * kernel[2]
    tiles, half = -(-V // tile), K // 2
    if not tiles:
        return np.empty(0, np.int32), np.empty(0, np.int32), np.zeros(1, np.int64)
    near, count = np.empty((2, half, tiles * tile), np.int32), np.zeros((tiles, K), np.int64)
    count[:, half] = np.minimum(V - np.arange(tiles) * tile, tile)
    by_tile = threading.even_parts(tiles, threads, max(1, GRAIN // tile))
    threading.run(_before, by_tile, threads, coords, column, row_start, shape[:2], kernel, tile, near, count)
    by_offset = threading.even_parts(half + 1, threads if V > GRAIN else 1, 1)
    threading.run(_count_later, np.minimum(by_offset, half), threads, near, tile, count)
    starts = np.zeros(tiles * K + 1, np.int64)
    np.cumsum(count.ravel(), out=starts[1:])
    inputs, outputs = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.int32)
    threading.run(_write, by_offset, threads, near, tile, count, starts, inputs, outputs)
    return inputs, outputs, starts
