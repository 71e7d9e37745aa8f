"""Rulebooks for the CPU: rows of cells, a merge of sorted rows, and a bitmap a row for strided outputs.

Voxels are sorted by (batch, z, y, x), so that the cells of one (batch, z, y) stand together: an index of rows (4 bytes
a row, nothing a cell) finds the row at any offset, and walking two sorted rows side by side finds all neighbours.
Nothing is hashed or sorted. Floor: reading V coordinates and writing 8 bytes a pair, about 0.3 ms for 75,000 voxels
with 390,000 pairs at 25 GB/s.
"""

import itertools

import numpy as np
from numba import njit

from ops import threads as threading
from ops.intrinsics import popcount

GRAIN = 4096  # voxels worth a thread


@njit(cache=True, nogil=True)
def _index(coords, shape, batch, column, row_start):  # type: ignore[no-untyped-def]
    """column[i] = x of voxel i; row_start[r] = first voxel of row r = (batch, z, y) or beyond it. -1 where all is well,
    else the first voxel that lies outside the grid or does not follow its predecessor."""
    nz, ny, nx = shape
    row, last = -1, -1
    for i in range(coords.shape[0]):
        b, z, y, x = coords[i, 0], coords[i, 1], coords[i, 2], coords[i, 3]
        inside = (b >= 0) & (b < batch) & (z >= 0) & (z < nz) & (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
        r = (b * nz + z) * ny + y
        if not inside or r < row or (r == row and x <= last):
            return i
        while row < r:
            row += 1
            row_start[row] = i
        last = x
        column[i] = x
    while row < row_start.size - 1:
        row += 1
        row_start[row] = coords.shape[0]
    return -1


def index_rows(coords: np.ndarray, shape: tuple[int, int, int], batch: int) -> tuple[np.ndarray, np.ndarray]:
    """(column int32 [V], row_start int32 [rows + 1]). ValueError where coords are not sorted voxels of the grid."""
    column = np.empty(coords.shape[0], np.int32)
    row_start = np.empty(batch * shape[0] * shape[1] + 1, np.int32)
    wrong = _index(coords, shape, batch, column, row_start)
    if wrong >= 0:
        raise ValueError(
            f"sparse_conv: voxel {wrong} {coords[wrong].tolist()} lies outside {batch} frames of {shape} cells (z, y, "
            "x) or does not follow its predecessor: coordinates must be sorted and no two the same"
        )
    return column, row_start


@njit(cache=True, nogil=True)
def _merge(start, stop, coords, column, row_start, x_in, shape, kernel, stride, padding, tile, part):  # type: ignore[no-untyped-def]
    """Pairs of the output tiles start .. stop, into part = (inputs, outputs, ends): by tile, offset, voxel."""
    inputs, outputs, ends = part
    nz, ny = shape
    kz, ky, kx = kernel
    K = kz * ky * kx
    near, far, count = np.empty((K, tile), np.int32), np.empty((K, tile), np.int32), np.zeros(K, np.int64)
    written = 0
    for t in range(start, stop):
        i, stop_row = t * tile, min((t + 1) * tile, coords.shape[0])
        count[:] = 0
        while i < stop_row:
            b, z0, y0 = coords[i, 0], coords[i, 1] * stride[0] - padding[0], coords[i, 2] * stride[1] - padding[1]
            end = i + 1
            while (
                end < stop_row
                and coords[end, 2] == coords[i, 2]
                and coords[end, 1] == coords[i, 1]
                and (coords[end, 0] == b)
            ):
                end += 1
            for dz in range(kz):
                z = z0 + dz
                if z < 0 or z >= nz:
                    continue
                for dy in range(ky):
                    y = y0 + dy
                    if y < 0 or y >= ny:
                        continue
                    r = (b * nz + z) * ny + y
                    q, last = row_start[r], row_start[r + 1]
                    if q == last:
                        continue
                    k0 = (dz * ky + dy) * kx
                    for o in range(i, end):
                        want = column[o] * stride[2] - padding[2]
                        while q < last and x_in[q] < want:
                            q += 1
                        if q == last:
                            break
                        n = q
                        while n < last and x_in[n] < want + kx:
                            k = k0 + x_in[n] - want
                            near[k, count[k]] = n
                            far[k, count[k]] = o
                            count[k] += 1
                            n += 1
            i = end
        for k in range(K):
            for n in range(count[k]):
                inputs[written + n] = near[k, n]
                outputs[written + n] = far[k, n]
            written += count[k]
            ends[(t - start) * K + k] = written


def rules(
    coords_in: np.ndarray,
    coords_out: np.ndarray,
    *,
    shape_in: tuple[int, int, int],
    shape_out: tuple[int, int, int],
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    padding: tuple[int, int, int],
    batch: int,
    tile: int,
    threads: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See ops.sparse_conv.rulebook; int32 (inputs, outputs) and int64 starts."""
    x_in, row_start = index_rows(coords_in, shape_in, batch)
    x_out = x_in if coords_out is coords_in else index_rows(coords_out, shape_out, batch)[0]
    tiles, K = -(-coords_out.shape[0] // tile), kernel[0] * kernel[1] * kernel[2]
    bounds = threading.even_parts(tiles, threads, max(1, GRAIN // tile))
    parts = []
    for a, b in itertools.pairwise(bounds.tolist()):
        most = (min(b * tile, coords_out.shape[0]) - a * tile) * K
        parts.append((np.empty(most, np.int32), np.empty(most, np.int32), np.zeros((b - a) * K, np.int64)))

    def run(part: int, _: int) -> None:
        given = coords_out, x_out, row_start, x_in, shape_in[:2], kernel, stride, padding, tile, parts[part]
        _merge(int(bounds[part]), int(bounds[part + 1]), *given)

    threading.run(run, np.arange(len(parts) + 1), threads)
    totals = [int(ends[-1]) if ends.size else 0 for _, _, ends in parts]
    first = np.concatenate([[0], np.cumsum(totals)]).astype(np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), *[p[2] + f for p, f in zip(parts, first[:-1], strict=True)]])
    inputs = np.concatenate([p[0][:n] for p, n in zip(parts, totals, strict=True)])
    outputs = np.concatenate([p[1][:n] for p, n in zip(parts, totals, strict=True)])
    return inputs, outputs, starts


@njit(cache=True, nogil=True)
def inside(inputs, outputs, starts, K, tile, num_in, num_out):  # type: ignore[no-untyped-def]
    """Whether all pairs lie in their voxels and tiles."""
    wrong = np.uint32(0)
    for t in range((starts.size - 1) // K):
        i, o = inputs[starts[t * K] : starts[(t + 1) * K]], outputs[starts[t * K] : starts[(t + 1) * K]]
        low, rows = np.int32(t * tile), np.uint32(min(tile, num_out - t * tile))
        for p in range(i.size):  # a number below zero is a large one without its sign
            wrong |= np.uint32(np.uint32(i[p]) >= np.uint32(num_in)) | np.uint32(np.uint32(o[p] - low) >= rows)
    return wrong == 0


@njit(cache=True, nogil=True)
def _reach(column, stride, padding, kernel, nx, low, high):  # type: ignore[no-untyped-def]
    """low[i] .. high[i] - 1: the output columns that voxel i reaches."""
    for i in range(column.size):
        x = column[i] + np.int32(padding)
        low[i] = max(0, -((kernel - 1 - x) // np.int32(stride)))
        high[i] = min(nx, x // np.int32(stride) + 1)


@njit(cache=True, nogil=True)
def _outputs(start, stop, row_start, low, high, shape_in, shape_out, kernel, stride, padding, found, coords, emit):  # type: ignore[no-untyped-def]
    """Output cells of the output rows start .. stop: counted in `found`, or, to `emit`, written from found[row] on."""
    nz, ny = shape_in
    mz, my, mx = shape_out
    bitmap = np.zeros((mx + 63) // 64, np.uint64)
    for row in range(start, stop):
        y_out, z_out, b = row % my, row // my % mz, row // (my * mz)
        any_input = False
        for dz in range(kernel[0]):
            z = z_out * stride[0] - padding[0] + dz
            if z < 0 or z >= nz:
                continue
            for dy in range(kernel[1]):
                y = y_out * stride[1] - padding[1] + dy
                if y < 0 or y >= ny:
                    continue
                r = (b * nz + z) * ny + y
                for i in range(row_start[r], row_start[r + 1]):
                    any_input = True
                    for x in range(low[i], high[i]):
                        bitmap[x >> 6] |= np.uint64(1) << np.uint64(x & 63)
        if not any_input:
            continue
        place = found[row] if emit else 0
        for word in range(bitmap.size):
            bits = bitmap[word]
            if bits == 0:
                continue
            bitmap[word] = 0
            if not emit:
                place += np.int64(popcount(bits))
                continue
            while bits != 0:
                lowest = bits & (~bits + np.uint64(1))
                coords[place, 0], coords[place, 1], coords[place, 2] = b, z_out, y_out
                coords[place, 3] = word * 64 + np.int64(popcount(lowest - np.uint64(1)))
                place += 1
                bits ^= lowest
        if not emit:
            found[row] = place


def outputs(
    coords: np.ndarray,
    *,
    shape_in: tuple[int, int, int],
    shape_out: tuple[int, int, int],
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    padding: tuple[int, int, int],
    batch: int,
    threads: int,
) -> np.ndarray:
    """int64 [U, 4]: the sorted output cells that at least one voxel reaches."""
    column, row_start = index_rows(coords, shape_in, batch)
    low, high = np.empty_like(column), np.empty_like(column)
    _reach(column, stride[2], padding[2], kernel[2], shape_out[2], low, high)
    rows = batch * shape_out[0] * shape_out[1]
    found = np.zeros(rows + 1, np.int64)
    given = row_start, low, high, shape_in[:2], shape_out, kernel, stride, padding
    bounds = threading.even_parts(rows, threads, GRAIN)
    threading.run(_outputs, bounds, threads, *given, found, np.empty((0, 4), np.int64), False)
    first = np.concatenate([[0], np.cumsum(found[:-1])])
    cells = np.empty((first[-1], 4), np.int64)
    threading.run(_outputs, bounds, threads, *given, first, cells, True)
    return cells


@njit(cache=True, nogil=True)
def _reverse(inputs, outputs, starts, K, tile, new_starts, new_inputs, new_outputs):  # type: ignore[no-untyped-def]
    for s in range(starts.size - 1):
        for p in range(starts[s], starts[s + 1]):
            new_starts[inputs[p] // tile * K + s % K + 1] += 1
    for s in range(new_starts.size - 1):
        new_starts[s + 1] += new_starts[s]
    cursor = new_starts[:-1].copy()
    for s in range(starts.size - 1):
        for p in range(starts[s], starts[s + 1]):
            group = inputs[p] // tile * K + s % K
            new_inputs[cursor[group]] = outputs[p]
            new_outputs[cursor[group]] = inputs[p]
            cursor[group] += 1


def reverse(
    inputs: np.ndarray, outputs: np.ndarray, starts: np.ndarray, *, kernel: int, num_in: int, tile: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same pairs, inputs and outputs exchanged, in the order that the new outputs ask for."""
    new_starts = np.zeros(-(-num_in // tile) * kernel + 1, np.int64)
    new_inputs, new_outputs = np.empty_like(inputs), np.empty_like(outputs)
    _reverse(inputs, outputs, starts, kernel, tile, new_starts, new_inputs, new_outputs)
    return new_inputs, new_outputs, new_starts
