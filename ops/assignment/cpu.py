"""Gated matching for the CPU: candidates from a grid, then shortest augmenting paths over those candidates only.

A path never leaves its connected component, so cost grows with tracks, not with their square, while gates hold a few
candidates. Floor of 1000 x 1000 with 2 candidates a track: 0.1 ms (a grid query of 60 ns, 20 ns a candidate).
"""

import numpy as np
from numba import njit

from ops import threads as threading
from ops.rotated_iou import near

LARGEST = 1e9  # metres: a row or a column further away, or not finite, has no candidates
FREE = -1


@njit(cache=True, nogil=True)
def _cholesky(matrix, lower):  # type: ignore[no-untyped-def]
    """Lower factor of `matrix` [D, D]; False where it is not positive definite."""
    D = matrix.shape[0]
    for i in range(D):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= lower[i, k] * lower[j, k]
            if i == j:
                if not (total > 0 and total < np.inf):
                    return False
                lower[i, i] = np.sqrt(total)
            else:
                lower[i, j] = total / lower[j, j]
    return True


@njit(cache=True, nogil=True)
def _cost(row, column, angle, spread, lower, offset):  # type: ignore[no-untyped-def]
    """Distance, or where `spread` the squared Mahalanobis distance by the Cholesky factor `lower`."""
    D = row.size
    for d in range(D):
        offset[d] = np.float64(column[d]) - np.float64(row[d])
    if angle >= 0:
        offset[angle] -= 2 * np.pi * np.floor(offset[angle] / (2 * np.pi) + 0.5)
    total = 0.0
    for d in range(D):
        value = offset[d]
        if spread:
            for k in range(d):
                value -= lower[d, k] * offset[k]
            value /= lower[d, d]
            offset[d] = value
        total += value * value
    return total if spread else np.sqrt(total)


@njit(cache=True, nogil=True)
def _reach(gate, covariance, i):  # type: ignore[no-untyped-def]
    """How far from above a candidate within `gate` can be: the gate, or that of the covariance's largest spread."""
    if covariance.size:
        a, b, c = covariance[i, 0, 0], covariance[i, 0, 1], covariance[i, 1, 1]
        largest = (a + c) / 2 + np.sqrt((a - c) * (a - c) / 4 + b * b)
        gate = np.sqrt(max(gate, 0.0) * largest)
    return min(gate * (1 + 1e-9) + 1e-9, 1e12) if gate >= 0 else 0.0


@njit(cache=True, nogil=True)
def _in_problem(rows, columns, gate, covariance, angle, r0, r1, c0, c1, counts, state):  # type: ignore[no-untyped-def]
    """Append one problem's candidates to state (column, cost, used); returns (state, the row that is bad or -1)."""
    out_column, out_cost, used = state
    D, M = rows.shape[1], c1 - c0
    lower, offset, spread = np.empty((D, D)), np.empty(D), covariance.size > 0
    reach = np.empty(r1 - r0)
    middle = 0.0
    for i in range(r0, r1):
        if spread and not _cholesky(covariance[i], lower):
            return (out_column, out_cost, used), i
        reach[i - r0] = _reach(gate[i], covariance, i)
        middle += np.log(max(reach[i - r0], 1e-3)) / (r1 - r0)
    middle = np.exp(middle)  # the geometric mean: one row without a gate must not make all cells huge
    half, x, y = np.empty(M), np.empty(M), np.empty(M)
    for j in range(M):
        x[j], y[j] = columns[c0 + j, 0], columns[c0 + j, 1]
        good = True
        for d in range(D):
            good &= abs(columns[c0 + j, d]) <= LARGEST
        half[j] = middle / 2 if good else -1.0
    grid = near.build(x, y, half)
    found = np.empty(M + 1, np.int64)
    for i in range(r0, r1):
        good = gate[i] >= 0
        for d in range(D):
            good &= abs(rows[i, d]) <= LARGEST
        if not good:
            continue
        if spread:
            _cholesky(covariance[i], lower)
        count = near.query(grid, np.float64(rows[i, 0]), np.float64(rows[i, 1]), reach[i - r0] - middle / 2, found)
        found[:count].sort()
        if used + count > out_column.size:
            size = 2 * (used + count)
            more_column, more_cost = np.empty(size, np.int64), np.empty(size)
            more_column[:used], more_cost[:used] = out_column[:used], out_cost[:used]
            out_column, out_cost = more_column, more_cost
        for k in range(count):
            j = c0 + found[k]
            cost = _cost(rows[i], columns[j], angle, spread, lower, offset)
            if cost <= gate[i]:
                out_column[used], out_cost[used] = j, cost
                used += 1
                counts[i] += 1
    return (out_column, out_cost, used), -1


@njit(cache=True, nogil=True)
def candidates_of(start, stop, rows, columns, gate, covariance, angle, row_offsets, column_offsets, counts):  # type: ignore[no-untyped-def]
    """(column, cost, -1 or the row that is bad) of problems start..stop; counts [N] grows by each row's candidates."""
    size = 4 * (row_offsets[stop] - row_offsets[start]) + 16
    state = (np.empty(size, np.int64), np.empty(size), 0)
    for b in range(start, stop):
        r0, r1, c0, c1 = row_offsets[b], row_offsets[b + 1], column_offsets[b], column_offsets[b + 1]
        if r1 > r0 and c1 > c0:
            state, bad = _in_problem(rows, columns, gate, covariance, angle, r0, r1, c0, c1, counts, state)
            if bad >= 0:
                return state[0][:0], state[1][:0], bad
    return state[0][: state[2]], state[1][: state[2]], -1


@njit(cache=True, nogil=True)
def sound(row_offsets, offsets, column, cost, columns):  # type: ignore[no-untyped-def]
    """0, or what is wrong: 1 offsets, 2 row_offsets, 3 a column out of range, 4 a cost that is not finite."""
    for bounds, total, wrong in ((offsets, column.size, 1), (row_offsets, offsets.size - 1, 2)):
        if bounds.size == 0 or bounds[0] != 0 or bounds[-1] != total:
            return wrong
        for k in range(bounds.size - 1):
            if bounds[k + 1] < bounds[k]:
                return wrong
    for e in range(column.size):
        if not 0 <= column[e] < columns:
            return 3
        if not np.isfinite(cost[e]):
            return 4
    return 0


def candidates(
    rows: np.ndarray,
    columns: np.ndarray,
    gate: np.ndarray,
    covariance: np.ndarray,
    angle: int,
    row_offsets: np.ndarray,
    column_offsets: np.ndarray,
    *,
    threads: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(offsets [N + 1], column [E] rising in each row, cost [E]); covariance float64 [N, D, D], or [0, D, D].

    ValueError naming the row whose covariance is not positive definite.
    """
    counts = np.zeros(rows.shape[0] + 1, np.int64)
    parts = threading.balanced_parts(row_offsets, threads, 2048.0)
    results = {}

    def part(start: int, stop: int) -> None:
        results[start] = candidates_of(
            start, stop, rows, columns, gate, covariance, angle, row_offsets, column_offsets, counts[1:]
        )

    threading.run(part, parts, threads)
    found = [results[start] for start in sorted(results)]
    bad = [row for *_, row in found if row >= 0]
    if bad:
        raise ValueError(f"assignment: the covariance of row {bad[0]} is not positive definite")
    if len(found) == 1:
        return np.cumsum(counts), found[0][0], found[0][1]
    empty = (np.empty(0, np.int64),), (np.empty(0),)
    return (
        np.cumsum(counts),
        np.concatenate(empty[0] + tuple(f[0] for f in found)),
        np.concatenate(empty[1] + tuple(f[1] for f in found)),
    )


@njit(cache=True, nogil=True)
def optimal(start, stop, problems, offsets, column, cost, row_of, column_of):  # type: ignore[no-untyped-def]
    """Problems start..stop: rows problems[b]:problems[b + 1]. Fills column_of [N], row_of [M] (FREE at the start).

    Every row also has a column of its own that costs more than any set of candidates, so that each matched row counts
    for more than all cost. Prices u, v keep reduced costs at or above 0; a row without a column then takes the cheapest
    path (Dijkstra) to a free column or to some row's own one.
    """
    M = row_of.size
    u, v = np.zeros(offsets.size), np.zeros(M)
    length, via, seen = np.empty(M), np.empty(M, np.int64), np.full(M, -1, np.int64)
    shut = np.full(M, -1, np.int64)
    open_columns, closed = np.empty(M, np.int64), np.empty(M, np.int64)
    for b in range(start, stop):
        first, last = problems[b], problems[b + 1]
        if offsets[first] == offsets[last]:
            continue
        low, high = np.inf, -np.inf
        for e in range(offsets[first], offsets[last]):
            low, high = min(low, cost[e]), max(high, cost[e])
        alone = (high - low) * (last - first + 1) + (high - low if high > low else 1.0)
        for i in range(first, last):
            u[i], choice = alone, FREE
            for e in range(offsets[i], offsets[i + 1]):
                if cost[e] - low < u[i]:
                    u[i], choice = cost[e] - low, column[e]
            if choice >= 0 and row_of[choice] == FREE:
                row_of[choice], column_of[i] = i, choice
        for free in range(first, last):
            if column_of[free] != FREE or offsets[free] == offsets[free + 1]:
                continue
            row, at, waiting, done = free, 0.0, 0, 0
            own, own_row, sink = np.inf, FREE, FREE
            while True:
                if at + alone - u[row] < own:
                    own, own_row = at + alone - u[row], row
                for e in range(offsets[row], offsets[row + 1]):
                    j = column[e]
                    reach = at + (cost[e] - low - u[row] - v[j])
                    if seen[j] != free:
                        seen[j] = free
                        length[j], via[j] = reach, row
                        open_columns[waiting] = j
                        waiting += 1
                    elif reach < length[j] and shut[j] != free:  # a rounding must not reopen a closed column
                        length[j], via[j] = reach, row
                best, place = np.inf, -1
                for k in range(waiting):
                    j = open_columns[k]
                    if length[j] < best or (length[j] == best and row_of[j] == FREE):
                        best, place = length[j], k
                if own <= best:
                    at = own
                    break
                at, j = best, open_columns[place]
                if row_of[j] == FREE:
                    sink = j
                    break
                waiting -= 1
                open_columns[place] = open_columns[waiting]
                closed[done], shut[j] = j, free
                done += 1
                row = row_of[j]
            u[free] += at
            for k in range(done):
                j = closed[k]
                u[row_of[j]] += at - length[j]
                v[j] -= at - length[j]
            if sink == FREE:  # own_row goes without; its column moves one step back along the path
                sink = column_of[own_row]
                column_of[own_row] = FREE
                if own_row == free:
                    continue
            while True:
                i = via[sink]
                row_of[sink] = i
                column_of[i], sink = sink, column_of[i]
                if i == free:
                    break


@njit(cache=True, nogil=True)
def greedy(start, stop, problems, offsets, column, cost, order, row_of, column_of):  # type: ignore[no-untyped-def]
    """By rows in `order` (each takes its cheapest free candidate), or by all candidates from the cheapest up."""
    if order.size:
        for k in range(problems[start], problems[stop]):
            i = order[k]
            best, least = FREE, np.inf
            for e in range(offsets[i], offsets[i + 1]):
                if row_of[column[e]] == FREE and (best == FREE or cost[e] < least):
                    best, least = column[e], cost[e]
            if best != FREE:
                row_of[best], column_of[i] = i, best
        return
    first, last = offsets[problems[start]], offsets[problems[stop]]
    row = np.empty(last - first, np.int64)
    for i in range(problems[start], problems[stop]):
        row[offsets[i] - first : offsets[i + 1] - first] = i
    for e in np.argsort(cost[first:last], kind="mergesort"):
        i, j = row[e], column[first + e]
        if column_of[i] == FREE and row_of[j] == FREE:
            row_of[j], column_of[i] = i, j


def assign(
    problems: np.ndarray,
    offsets: np.ndarray,
    column: np.ndarray,
    cost: np.ndarray,
    columns: int,
    order: np.ndarray | None,
    *,
    threads: int,
) -> tuple[np.ndarray, np.ndarray]:
    """(column of each row [N], row of each column [M]), FREE where none. order: None = optimal, [0] = greedy over all
    candidates, [N] = greedy by rows, in this order within each problem."""
    column_of = np.full(offsets.size - 1, FREE, np.int64)
    row_of = np.full(columns, FREE, np.int64)
    parts = threading.balanced_parts(problems, threads, 2048.0)
    given = problems, offsets, column, cost
    if order is None:
        threading.run(optimal, parts, threads, *given, row_of, column_of)
    else:
        threading.run(greedy, parts, threads, *given, order, row_of, column_of)
    return column_of, row_of
