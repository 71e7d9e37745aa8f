"""Gated one-to-one matching of rows (tracks) with columns (detections), many problems in one call.

Ragged: the rows of problem b (a frame, a class, or both) are row_offsets[b]:row_offsets[b + 1], its columns likewise,
and nothing is matched across problems. Two steps, so that any cost can be used: `candidates` lists the pairs within a
gate by centre or Mahalanobis distance; `assign` matches listed pairs. Between them, costs may be replaced (IoU, a
network's scores) and pairs dropped: `Candidates.keep`.

Which matching: as many matches as the candidates allow, and among those the least total cost, as
scipy.optimize.linear_sum_assignment finds it where every other pair costs more than all candidates together. Costs are
float64; two matchings whose totals differ by less than rows x (largest - least cost) x 1e-15 count as equal, and of
equal ones the answer is the same in every run.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ops import checks, kernels
from ops.arrays import arrays, tensors
from ops.assignment import cpu, cuda, reference
from ops.operator import operator


class Candidates(NamedTuple):
    """E pairs that may be matched, by row and then column."""

    offsets: Tensor
    """int64 [N + 1]: the candidates of row i are offsets[i]:offsets[i + 1]."""
    column: Tensor
    """int64 [E]."""
    cost: Tensor
    """float64 [E]: metres, or squared Mahalanobis distance, or what the caller puts there."""

    def rows(self) -> Tensor:
        """int64 [E]: the row of each candidate."""
        counts = self.offsets.diff()
        return torch.repeat_interleave(torch.arange(counts.numel(), device=counts.device), counts)

    def keep(self, wanted: Tensor, cost: Tensor | None = None) -> "Candidates":
        """The candidates where `wanted` bool [E], with their costs or those of `cost` [E]."""
        kept = torch.zeros_like(self.offsets)
        kept[1:] = wanted.cumsum(0)[self.offsets[1:] - 1] if wanted.numel() else 0
        kept[1:][self.offsets[1:] == 0] = 0
        return Candidates(kept, self.column[wanted], (self.cost if cost is None else cost.double())[wanted])


class Matching(NamedTuple):
    """Who is matched with whom."""

    column: Tensor
    """int64 [N]: the column of each row, -1 where none."""
    row: Tensor
    """int64 [M]: the row of each column, -1 where none."""


def candidates(
    rows: Tensor,
    columns: Tensor,
    gate: float | Tensor,
    *,
    covariance: Tensor | None = None,
    angle: int = -1,
    row_offsets: Tensor | None = None,
    column_offsets: Tensor | None = None,
) -> Candidates:
    """Pairs whose cost is at most the row's gate.

    rows [N, D] and columns [M, D], D >= 2, one float dtype; the first two are x and y in metres, by which a grid finds
    neighbours. Cost: Euclidean distance over all D, or with `covariance` [N, D, D] (positive definite) the squared
    Mahalanobis distance of each row; `angle` names a column that wraps at 2 pi (-1: none). gate: one number or [N], in
    the cost's unit; below 0 or NaN: the row has no candidates. A row or a column with a NaN, an infinity or a number
    beyond 1e9 has none either. Offsets int64 [B + 1]; without them all is one problem. ValueError: shapes, dtypes,
    offsets, a covariance that is not positive definite. No gradient.
    """
    op = "assignment.candidates"
    checks.check_float(op, "rows", rows, 2, full_only=True)
    checks.check_float(op, "columns", columns, 2, full_only=True)
    N, D = rows.shape
    if columns.dtype != rows.dtype or columns.shape[1] != D or D < 2:
        raise ValueError(
            f"{op}: rows {rows.dtype} {tuple(rows.shape)} and columns {columns.dtype} {tuple(columns.shape)} need one "
            f"dtype and the same number of columns, two or more"
        )
    if not -1 <= angle < D:
        raise ValueError(f"{op}: angle must be -1 or a column below {D}, got {angle}")
    if not isinstance(gate, Tensor):
        gate = torch.full((N,), float(gate), dtype=torch.float64, device=rows.device)
    checks.check_float(op, "gate", gate, 1, full_only=True)
    checks.check_rows(op, "gate", gate, N)
    if covariance is None:
        covariance = rows.new_zeros(0, D, D)
    elif covariance.shape != (N, D, D) or covariance.dtype != rows.dtype:
        raise ValueError(f"{op}: covariance must be {rows.dtype} [{N}, {D}, {D}], got {tuple(covariance.shape)}")
    row_offsets, column_offsets = _whole(row_offsets, rows), _whole(column_offsets, columns)
    checks.check_index(op, "row_offsets", row_offsets)
    checks.check_index(op, "column_offsets", column_offsets)
    if row_offsets.shape != column_offsets.shape:
        raise ValueError(f"{op}: {len(row_offsets)} row_offsets, but {len(column_offsets)} column_offsets")
    checks.check_same_device(op, rows, columns, gate, covariance, row_offsets, column_offsets)
    given = rows.detach(), columns.detach(), gate.detach().double(), covariance.detach(), angle
    return Candidates(*_candidates(*given, row_offsets, column_offsets))


def assign(among: Candidates, columns: int, *, row_offsets: Tensor | None = None) -> Matching:
    """The best matching among `among` (see the module): most matches, then least cost.

    `columns`: how many columns there are. `row_offsets` int64 [B + 1] only lets problems run side by side.
    """
    return Matching(*_assign(*_checked("assignment.assign", among, columns, row_offsets), None))


def assign_greedy(
    among: Candidates, columns: int, *, order: Tensor | None = None, row_offsets: Tensor | None = None
) -> Matching:
    """Greedy matching: the cheapest candidate whose two sides are free, until none is left (AB3DMOT).

    With `order` int64 [N] (a permutation of the rows, problem by problem) each row in turn takes its cheapest free
    candidate (CenterPoint, rows = detections by falling score). Equal costs: lower row, then lower column.
    """
    given = _checked("assignment.assign_greedy", among, columns, row_offsets)
    N = among.offsets.numel() - 1
    if order is None:
        order = among.offsets.new_empty(0)
    else:
        checks.check_index("assignment.assign_greedy", "order", order)
        checks.check_rows("assignment.assign_greedy", "order", order, N)
        checks.check_same_device("assignment.assign_greedy", order, among.offsets)
    return Matching(*_assign(*given, order))


def _whole(offsets: Tensor | None, values: Tensor) -> Tensor:
    return torch.tensor([0, values.shape[0]], device=values.device) if offsets is None else offsets


def _checked(
    op: str, among: Candidates, columns: int, row_offsets: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    checks.check_index(op, "offsets", among.offsets)
    checks.check_index(op, "column", among.column)
    checks.check_float(op, "cost", among.cost, 1, full_only=True)
    checks.check_rows(op, "cost", among.cost, among.column.shape[0])
    if columns < 0:
        raise ValueError(f"{op}: columns must not be negative, got {columns}")
    if row_offsets is None:
        row_offsets = torch.tensor([0, among.offsets.numel() - 1], device=among.offsets.device)
    checks.check_index(op, "row_offsets", row_offsets)
    checks.check_same_device(op, among.offsets, among.column, among.cost, row_offsets)
    return row_offsets, among.offsets, among.column, among.cost.detach().double(), columns


def _check_values(
    row_offsets: Tensor, offsets: Tensor, column: Tensor, cost: Tensor, columns: int, order: Tensor | None
) -> None:
    checks.check_offsets("assignment", offsets, column.shape[0])
    N = offsets.numel() - 1
    checks.check_offsets("assignment", row_offsets, N)
    if column.numel() and (int(column.min()) < 0 or int(column.max()) >= columns):
        raise ValueError(f"assignment: candidates name a column outside 0..{columns - 1}")
    if not bool(cost.isfinite().all()):
        raise ValueError("assignment: a candidate's cost is not finite")
    if order is not None and order.numel() and not torch.equal(order.sort().values, torch.arange(N).to(order.device)):
        raise ValueError(f"assignment: order must name every row of 0..{N - 1} once")


@operator("drive_ops::assignment_candidates")
def _candidates(
    rows: Tensor,
    columns: Tensor,
    gate: Tensor,
    covariance: Tensor,
    angle: int,
    row_offsets: Tensor,
    column_offsets: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    checks.check_offsets("assignment.candidates", row_offsets, rows.shape[0])
    checks.check_offsets("assignment.candidates", column_offsets, columns.shape[0])
    return reference.candidates(rows, columns, gate, covariance, angle, row_offsets, column_offsets)


@_candidates.register_kernel("cpu")
def _(
    rows: Tensor,
    columns: Tensor,
    gate: Tensor,
    covariance: Tensor,
    angle: int,
    row_offsets: Tensor,
    column_offsets: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    checks.check_offsets("assignment.candidates", row_offsets, rows.shape[0])
    checks.check_offsets("assignment.candidates", column_offsets, columns.shape[0])
    given = *arrays(rows, columns, gate, covariance.double()), angle, *arrays(row_offsets, column_offsets)
    return tensors(cpu.candidates(*given, threads=torch.get_num_threads()))


@_candidates.register_fake
def _(
    rows: Tensor,
    columns: Tensor,
    gate: Tensor,
    covariance: Tensor,
    angle: int,
    row_offsets: Tensor,
    column_offsets: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    E = torch.library.get_ctx().new_dynamic_size()
    offsets = row_offsets.new_empty(rows.shape[0] + 1)
    return offsets, row_offsets.new_empty(E), rows.new_empty(E, dtype=torch.float64)


@operator("drive_ops::assignment_assign")
def _assign(
    row_offsets: Tensor, offsets: Tensor, column: Tensor, cost: Tensor, columns: int, order: Tensor | None
) -> tuple[Tensor, Tensor]:
    _check_values(row_offsets, offsets, column, cost, columns, order)
    return reference.assign(row_offsets, offsets, column, cost, columns, order)


@_assign.register_kernel("cpu")
def _(
    row_offsets: Tensor, offsets: Tensor, column: Tensor, cost: Tensor, columns: int, order: Tensor | None
) -> tuple[Tensor, Tensor]:
    problems, bounds, names, values = arrays(row_offsets, offsets, column, cost)
    if cpu.sound(problems, bounds, names, values, columns) or (order is not None and order.numel()):
        _check_values(row_offsets, offsets, column, cost, columns, order)  # names what is wrong
    ranks = None if order is None else arrays(order)[0]
    threads = torch.get_num_threads()
    return tensors(cpu.assign(problems, bounds, names, values, columns, ranks, threads=threads))


@_assign.register_fake
def _(
    row_offsets: Tensor, offsets: Tensor, column: Tensor, cost: Tensor, columns: int, order: Tensor | None
) -> tuple[Tensor, Tensor]:
    return offsets.new_empty(offsets.shape[0] - 1), offsets.new_empty(columns)


def _assign_cuda(
    row_offsets: Tensor, offsets: Tensor, column: Tensor, cost: Tensor, columns: int, order: Tensor | None
) -> tuple[Tensor, Tensor]:
    _check_values(row_offsets, offsets, column, cost, columns, order)
    problems, bounds = row_offsets.contiguous(), offsets.contiguous()
    order = None if order is None else order.contiguous()
    return cuda.assign(problems, bounds, column.contiguous(), cost.contiguous(), columns, order)


def _candidates_cuda(
    rows: Tensor,
    columns: Tensor,
    gate: Tensor,
    covariance: Tensor,
    angle: int,
    row_offsets: Tensor,
    column_offsets: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    checks.check_offsets("assignment.candidates", row_offsets, rows.shape[0])
    checks.check_offsets("assignment.candidates", column_offsets, columns.shape[0])
    return cuda.candidates(rows, columns, gate, covariance, angle, row_offsets, column_offsets)


def _register_cuda() -> None:
    _candidates.register_kernel("cuda")(_candidates_cuda)
    _assign.register_kernel("cuda")(_assign_cuda)


kernels.declare("assignment", "cpu", "numba", "grid of candidates, shortest augmenting paths, float64")
kernels.declare_unproven_cuda("assignment", _register_cuda)
