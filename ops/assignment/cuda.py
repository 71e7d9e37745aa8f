"""Host side of kernel.cu."""

from pathlib import Path

import torch
from torch import Tensor

from ops import nvrtc

SOURCE = Path(__file__).with_name("kernel.cu")
MOST_AXES = 16


def candidates(
    rows: Tensor,
    columns: Tensor,
    gate: Tensor,
    covariance: Tensor,
    angle: int,
    row_offsets: Tensor,
    column_offsets: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """(offsets, column, cost); see ops.assignment.candidates."""
    N, D = rows.shape
    if D > MOST_AXES:
        raise ValueError(f"assignment.candidates: at most {MOST_AXES} columns on a GPU, got {D}")
    lower, bad = torch.linalg.cholesky_ex(covariance.double())
    if bool((bad != 0).any() | ~lower.isfinite().all()):
        wrong = int(((bad != 0) | ~lower.isfinite().all(2).all(1)).nonzero()[0])
        raise ValueError(f"assignment: the covariance of row {wrong} is not positive definite")
    place = torch.arange(N, device=rows.device)
    problem = torch.searchsorted(row_offsets.contiguous(), place, right=True) - 1
    given = [t.double().contiguous() for t in (rows, columns, gate, lower)]
    table = *given, int(lower.shape[0] > 0), angle, N, D, problem, column_offsets.contiguous()
    counts, nothing = torch.zeros_like(place), place.new_empty(0)
    nvrtc.launch(SOURCE, "candidates", N, *table, 0, nothing, counts, nothing, gate.new_empty(0))
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    column = offsets.new_empty(int(offsets[-1]))
    cost = gate.new_empty(column.shape[0], dtype=torch.float64)
    nvrtc.launch(SOURCE, "candidates", N, *table, 1, offsets, counts, column, cost)
    return offsets, column, cost


def assign(
    problems: Tensor, offsets: Tensor, column: Tensor, cost: Tensor, columns: int, order: Tensor | None
) -> tuple[Tensor, Tensor]:
    """(column of each row, row of each column); see ops.assignment.assign and assign_greedy."""
    N, B = offsets.numel() - 1, problems.numel() - 1
    column_of, row_of = offsets.new_full((N,), -1), offsets.new_full((columns,), -1)
    given = problems, B, offsets, column
    if order is None:
        marks = [offsets.new_full((columns,), -1) for _ in range(5)]
        prices = cost.new_zeros(N), cost.new_zeros(columns), cost.new_zeros(columns)
        via, *rest = marks
        nvrtc.launch(SOURCE, "optimal", B, *given, cost, row_of, column_of, *prices, via, *rest)
    elif order.numel():
        nvrtc.launch(SOURCE, "by_rows", B, *given, cost, order, row_of, column_of)
    else:
        row = torch.repeat_interleave(torch.arange(N, device=offsets.device), offsets.diff())
        problem = torch.searchsorted(problems, row, right=True)
        ranked = torch.argsort(cost, stable=True)
        ranked = ranked[torch.argsort(problem[ranked], stable=True)]
        nvrtc.launch(SOURCE, "by_cost", B, *given, row, ranked, row_of, column_of)
    return column_of, row_of
