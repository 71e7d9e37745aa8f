"""Which track takes which detection, from the network's association: one compiled step."""

from __future__ import annotations

import numpy as np
from numba import njit

_FREE, _NONE = -1, -2  # of a track: not decided; goes without a detection
_SHUT = -2  # of a column: the shortest path to it is known
_BIDS = 8  # a track, before paths are looked for: tiny raises can make the bidding long


def matched_choice(
    logits: np.ndarray, look_at: np.ndarray, detections: int, least: float, no_match: float = 1.0
) -> np.ndarray:
    """Each track's place in ``logits`` [N, 1 + K]: int64 [N], 0 = none; no detection twice.

    The most likely joint choice: a track's cost is -log of its share, for a detection as for "no match", which every
    track has to itself and whose share counts ``no_match`` times. Pairs with a share under ``least`` are not matched.

    Args:
        look_at: int64 [N, K] below ``detections``, -1 = there is none.

    Raises:
        ValueError: a logit, or ``no_match``, makes a cost that is not finite.
    """
    choice, finite = _chosen(logits, look_at, detections, -np.log(least), -np.log(no_match) if no_match > 0 else np.inf)
    if not finite:
        raise ValueError("the association of a track with its detections is not finite")
    return choice


@njit(cache=True, nogil=True, error_model="numpy")
def _chosen(logits, look_at, detections, most, none_cost):  # type: ignore[no-untyped-def]
    """(choice [N], True where all costs are finite)."""
    n, k = look_at.shape
    offsets, none = np.zeros(n + 1, np.int64), np.empty(n)
    column, cost, place = np.empty(n * k, np.int64), np.empty(n * k), np.empty(n * k, np.int64)
    used, finite = 0, True
    for i in range(n):
        top, total = np.float64(logits[i, 0]), 0.0
        for p in range(k):
            if look_at[i, p] >= 0:
                top = max(top, np.float64(logits[i, 1 + p]))
        for p in range(1 + k):
            if p == 0 or look_at[i, p - 1] >= 0:
                total += np.exp(np.float64(logits[i, p]) - top)
        total = top + np.log(total)
        none[i] = total - np.float64(logits[i, 0]) + none_cost
        finite &= np.isfinite(none[i])
        for p in range(k):
            paid = total - np.float64(logits[i, 1 + p])
            if look_at[i, p] < 0 or paid > most or paid > none[i]:  # "no match" is always free, and then better
                continue
            finite &= np.isfinite(paid)
            column[used], cost[used], place[used] = look_at[i, p], paid, 1 + p
            used += 1
        offsets[i + 1] = used
    choice = np.zeros(n, np.int64)
    if n == 0 or not finite:
        return choice, finite
    taken = least_cost(offsets, column[:used], cost[:used], none, detections)
    for i in range(n):
        for e in range(offsets[i], offsets[i + 1]):
            if column[e] == taken[i]:
                choice[i] = place[e]
    return choice, finite


@njit(cache=True, nogil=True, error_model="numpy")
def least_cost(offsets, column, cost, none, columns):  # type: ignore[no-untyped-def]
    """Column of each row int64 [N], -2 where it goes without: the least sum of costs, with ``none`` [N] for those.

    Rows bid first (the "augmenting row reduction" of Jonker and Volgenant, 1987): a row takes the column that is
    cheapest with its price, and raises the price by as much as the next best choice is worse, so that nobody pays more
    than its choice is worth; who is outbid bids again. Few rows are left without a choice when the bids are used up, or
    where two choices are equal: these look for the shortest path to a free column or to a row that may go without.
    Prices [M] and u [N], the least of cost + price, keep cost + price - u at or above 0, and at 0 where matched.
    """
    n = len(none)
    price, u = np.zeros(columns), np.empty(n)
    column_of, row_of = np.full(n, _FREE, np.int64), np.full(columns, _FREE, np.int64)
    left, waits = np.empty(n, np.int64), 0
    bids = _BIDS * n
    for first in range(n):
        i = first
        while i != _FREE:
            best, second, choice = np.inf, np.inf, _NONE
            for e in range(offsets[i], offsets[i + 1]):
                paid = cost[e] + price[column[e]]
                if paid < best:
                    best, second, choice = paid, best, column[e]
                elif paid < second:
                    second = paid
            if none[i] < best:  # prices only rise: it stays so
                u[i], column_of[i] = none[i], _NONE
                break
            second = min(second, none[i])
            outbid = row_of[choice]
            bids -= 1
            if outbid != _FREE and (second <= best or bids < 0):
                u[i] = best
                left[waits] = i
                waits += 1
                break
            u[i] = second
            price[choice] += second - best
            row_of[choice], column_of[i] = i, choice
            if outbid != _FREE:
                column_of[outbid] = _FREE
            i = outbid
    _paths(left[:waits], offsets, column, cost, none, price, u, row_of, column_of)
    return column_of


@njit(cache=True, nogil=True, fastmath={"nnan", "reassoc", "nsz"})
def _least(values):  # type: ignore[no-untyped-def]
    """The least of numbers without NaN, or inf: in vector registers."""
    least = np.inf
    for value in values:
        least = value if value < least else least
    return least


@njit(cache=True, nogil=True, error_model="numpy")
def _paths(rows, offsets, column, cost, none, price, u, row_of, column_of):  # type: ignore[no-untyped-def]
    """Matches ``rows``, one after the other, each by a shortest augmenting path (Dijkstra)."""
    count = len(price)
    place, via = np.full(count, _FREE, np.int64), np.empty(count, np.int64)
    waiting, length = np.empty(count, np.int64), np.empty(count)  # columns that paths reach, and of what length
    closed, closed_at = np.empty(count, np.int64), np.empty(count)
    for free in rows:
        row, at, waits, done = free, 0.0, 0, 0
        own, own_row, sink = np.inf, free, _FREE
        while True:
            less = at - u[row]
            if less + none[row] < own:
                own, own_row = less + none[row], row
            for e in range(offsets[row], offsets[row + 1]):
                j = column[e]
                k, reach = place[j], less + (cost[e] + price[j])
                if k == _FREE:
                    place[j], via[j], waiting[waits], length[waits] = waits, row, j, reach
                    waits += 1
                elif k >= 0 and reach < length[k]:
                    via[j], length[k] = row, reach
            best = _least(length[:waits])
            if own <= best:
                at = own
                break
            k = 0
            while length[k] != best:
                k += 1
            at, j = best, waiting[k]
            if row_of[j] == _FREE:
                sink = j
                break
            waits -= 1
            waiting[k], length[k] = waiting[waits], length[waits]
            place[waiting[k]], place[j] = k, _SHUT
            closed[done], closed_at[done] = j, at
            done += 1
            row = row_of[j]
        for k in range(waits):
            place[waiting[k]] = _FREE
        u[free] += at
        for k in range(done):
            j = closed[k]
            u[row_of[j]] += at - closed_at[k]
            price[j] += at - closed_at[k]
            place[j] = _FREE
        if sink == _FREE:  # own_row goes without; its column moves one step back along the path
            sink = column_of[own_row]
            column_of[own_row] = _NONE
            if own_row == free:
                continue
        while True:
            i = via[sink]
            row_of[sink] = i
            column_of[i], sink = sink, column_of[i]
            if i == free:
                break
