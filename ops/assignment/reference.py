"""Gated matching in plain torch and Python: the specification."""

import math
from itertools import pairwise

import torch
from torch import Tensor

LARGEST = 1e9


def candidates(
    rows: Tensor,
    columns: Tensor,
    gate: Tensor,
    covariance: Tensor,
    angle: int,
    row_offsets: Tensor,
    column_offsets: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """All pairs of each problem, their costs, and those within the gate; see ops.assignment.candidates."""
    counts = torch.zeros(rows.shape[0] + 1, dtype=torch.int64, device=rows.device)
    found, costs = [column_offsets.new_empty(0)], [gate.new_empty(0)]
    for b in range(row_offsets.numel() - 1):
        r0, r1, c0, c1 = (int(t) for t in (*row_offsets[b : b + 2], *column_offsets[b : b + 2]))
        if r0 == r1 or c0 == c1:
            continue
        A, C = rows[r0:r1].double(), columns[c0:c1].double()
        offset = C[None] - A[:, None]
        if angle >= 0:
            wrapped = offset[..., angle] / (2 * torch.pi)
            offset[..., angle] = (wrapped - (wrapped + 0.5).floor()) * (2 * torch.pi)
        if covariance.shape[0]:
            lower, bad = torch.linalg.cholesky_ex(covariance[r0:r1].double())
            if bool((bad != 0).any() | ~lower.isfinite().all()):
                wrong = int(((bad != 0) | ~lower.isfinite().all(2).all(1)).nonzero()[0]) + r0
                raise ValueError(f"assignment: the covariance of row {wrong} is not positive definite")
            cost = torch.linalg.solve_triangular(lower, offset.mT, upper=False).square().sum(1)
        else:
            cost = offset.norm(dim=2)
        near = (A.abs() <= LARGEST).all(1)[:, None] & (C.abs() <= LARGEST).all(1)[None]
        near &= (cost <= gate[r0:r1, None]) & (gate[r0:r1, None] >= 0)
        i, j = near.nonzero(as_tuple=True)
        counts[r0 + 1 : r1 + 1] = near.sum(1)
        found.append(j + c0)
        costs.append(cost[i, j])
    return counts.cumsum(0), torch.cat(found), torch.cat(costs)


def assign(
    row_offsets: Tensor, offsets: Tensor, column: Tensor, cost: Tensor, columns: int, order: Tensor | None
) -> tuple[Tensor, Tensor]:
    """See ops.assignment.assign (order None) and assign_greedy."""
    bounds, N = offsets.tolist(), offsets.numel() - 1
    edges = [{j: c for j, c in zip(column[a:b].tolist(), cost[a:b].tolist(), strict=True)} for a, b in pairwise(bounds)]
    if order is None:
        taken = _optimal(edges, N)
    elif order.numel():
        taken = _by_rows(edges, order.tolist())
    else:
        taken = _by_cost(edges)
    column_of, row_of = [-1] * N, [-1] * columns
    for i, j in taken.items():
        column_of[i], row_of[j] = j, i
    device = offsets.device
    return torch.tensor(column_of, dtype=torch.int64, device=device), torch.tensor(
        row_of, dtype=torch.int64, device=device
    )


def _by_rows(edges: list[dict[int, float]], order: list[int]) -> dict[int, int]:
    taken: dict[int, int] = {}
    used: set[int] = set()
    for i in order:
        free = [(c, j) for j, c in edges[i].items() if j not in used]
        if free:
            taken[i] = min(free)[1]
            used.add(taken[i])
    return taken


def _by_cost(edges: list[dict[int, float]]) -> dict[int, int]:
    taken: dict[int, int] = {}
    used: set[int] = set()
    for _, i, j in sorted((c, i, j) for i, some in enumerate(edges) for j, c in some.items()):
        if i not in taken and j not in used:
            taken[i] = j
            used.add(j)
    return taken


def _optimal(edges: list[dict[int, float]], N: int) -> dict[int, int]:
    """One row after the other joins by the best alternating path (Bellman and Ford); gain: (more matches, cheaper)."""
    taken: dict[int, int] = {}
    owner: dict[int, int] = {}
    for new in range(N):
        # reached[i]: least cost of freeing row i, from `new` not being matched; via[i]: the column that it lost.
        reached, via = {new: 0.0}, {new: (-1, -1)}
        changed = True
        while changed:
            changed = False
            for i in list(reached):
                for j, c in edges[i].items():
                    k = owner.get(j)
                    if k is None or k == i:
                        continue
                    total = reached[i] + c - edges[k][j]
                    if total < reached.get(k, math.inf) - 1e-12:
                        reached[k], via[k], changed = total, (i, j), True
        ends = [(0, reached[i] + c, i, j) for i in reached for j, c in edges[i].items() if j not in owner]
        ends += [(1, reached[i], i, -1) for i in reached]
        _, _, i, j = min(ends)
        while i != -1:
            before, lost = via[i]
            if j >= 0:
                taken[i], owner[j] = j, i
            else:
                taken.pop(i, None)
            i, j = before, lost
    return taken
