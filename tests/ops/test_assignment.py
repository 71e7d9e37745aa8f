"""Gated matching, against scipy's assignment and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ops import assignment
from ops.assignment import Candidates, assign, assign_greedy, candidates, reference
from ops.assignment.bench import example, totals, with_scipy


def from_dense(cost: np.ndarray, allowed: np.ndarray) -> Candidates:
    i, j = np.nonzero(allowed)
    offsets = np.concatenate([[0], np.cumsum(allowed.sum(1))])
    return Candidates(*(torch.from_numpy(x) for x in (offsets, j, cost[i, j].astype(np.float64))))


def scipy_totals(cost: np.ndarray, allowed: np.ndarray) -> tuple[int, float]:
    low, high = cost.min(initial=0), cost.max(initial=0)
    dear = (high - low + 1) * (len(cost) + 1) + high
    i, j = linear_sum_assignment(np.where(allowed, cost, dear))
    good = allowed[i, j]
    return int(good.sum()), float(cost[i, j][good].sum())


@pytest.mark.parametrize("seed", range(6))
def test_optimum_equals_scipy_on_random_problems(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(60):
        n, m = rng.integers(1, 13, 2)
        cost = rng.normal(size=(n, m)) * 10.0 ** rng.integers(-2, 4)
        if rng.random() < 0.4:
            cost = np.round(cost)  # many equal costs
        allowed = rng.random((n, m)) < rng.choice([0.1, 0.3, 0.7, 1.0])
        among = from_dense(cost, allowed)
        found = assign(among, int(m))
        matches, total = (float(t) for t in totals(among, found))
        wanted = scipy_totals(cost, allowed)
        assert matches == wanted[0]
        assert total == pytest.approx(wanted[1], abs=1e-9 * max(1, np.abs(cost).max()))
        bounds = torch.tensor([0, n])
        exact = reference.assign(bounds, *among, int(m), None)
        assert float(totals(among, assignment.Matching(*exact))[0]) == matches
        for i, j in enumerate(found.column.tolist()):
            assert j == -1 or (allowed[i, j] and found.row[j] == i)
        assert int((found.row >= 0).sum()) == matches


@pytest.mark.parametrize(
    ("count", "spacing", "gate"), [(400, 6.3, 4.0), (300, 2.0, 4.0), (150, 6.0, 1e4), (60, 3, math.inf)]
)
def test_tracks_and_detections_equal_scipy(count: int, spacing: float, gate: float, pure) -> None:
    tracks, detections = example(count, 1, spacing)
    among = pure(lambda t, d: candidates(t, d, gate), tracks, detections)
    found = pure(lambda o, c, w: assign(Candidates(o, c, w), count), *among)
    for mine, theirs in zip(totals(among, found), with_scipy(tracks, detections, min(gate, 1e6)), strict=True):
        assert float(mine) == pytest.approx(float(theirs), rel=1e-9)


def problem(seed: int, angle: bool) -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(seed)
    rows, columns = (torch.rand(n, 3, generator=g, dtype=torch.float64) * 8 for n in (40, 50))
    root = torch.randn(40, 3, 3, generator=g, dtype=torch.float64)
    covariance = root @ root.mT + 0.1 * torch.eye(3, dtype=torch.float64)
    gates = torch.rand(40, generator=g, dtype=torch.float64) * 6
    gates[3], gates[4] = -1.0, torch.nan
    return rows, columns, gates, covariance


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("angle", [-1, 2])
def test_candidates_equal_the_reference(dtype: torch.dtype, angle: int, pure) -> None:
    rows, columns, gates, covariance = (t.to(dtype) for t in problem(0, True))
    rows[5, 0], rows[6, 2], columns[7, 1], columns[8, 2] = torch.nan, torch.inf, torch.inf, torch.nan
    r, c = torch.tensor([0, 15, 15, 40]), torch.tensor([0, 20, 25, 50])
    for some in (covariance, covariance[:0]):
        given = rows, columns, gates.double(), some, angle, r, c
        found = pure(assignment._candidates, *given)
        wanted = reference.candidates(*given)
        assert torch.equal(found[0], wanted[0])
        assert torch.equal(found[1], wanted[1])
        torch.testing.assert_close(found[2], wanted[2], rtol=1e-9, atol=1e-9)
        assert 40 < len(found[1]) < 600
        assert found[0].diff()[3:7].tolist() == [0, 0, 0, 0]


def test_numbers_by_hand() -> None:
    # Row 0 is nearest to column 0, but only if row 1, which has no other choice, does not need it.
    among = candidates(torch.tensor([[0.0, 0.0], [-2.0, 0.0]]), torch.tensor([[-0.5, 0.0], [1.0, 0.0]]), 1.6)
    assert among.offsets.tolist() == [0, 2, 3]
    assert among.column.tolist() == [0, 1, 0]
    assert among.cost.tolist() == [0.5, 1.0, 1.5]
    found = assign(among, 2)
    assert found.column.tolist() == [1, 0]
    assert found.row.tolist() == [1, 0]
    assert assign_greedy(among, 2).column.tolist() == [0, -1]
    assert assign_greedy(among, 2, order=torch.tensor([1, 0])).column.tolist() == [1, 0]
    dropped = among.keep(torch.tensor([True, False, True]))
    assert dropped.offsets.tolist() == [0, 1, 2]
    assert assign(dropped, 2).column.tolist() == [0, -1]
    dear = among.keep(torch.ones(3, dtype=torch.bool), torch.tensor([-5.0, 7.0, -3.0]))
    assert assign(dear, 2).column.tolist() == [1, 0]
    turned = candidates(
        torch.tensor([[0.0, 0.0, 3.1]]),
        torch.tensor([[0.0, 0.0, -3.1]]),
        1.0,
        covariance=torch.eye(3)[None] * 0.01,
        angle=2,
    )
    assert turned.cost.tolist() == pytest.approx([(2 * math.pi - 6.2) ** 2 / 0.01], rel=1e-4)


def test_greedy_equals_the_reference(pure) -> None:
    tracks, detections = example(300, 3, 2.5)
    bounds = torch.tensor([0, 100, 300])
    among = candidates(tracks.float(), detections.float(), 4.0, row_offsets=bounds, column_offsets=bounds)
    by_score = torch.cat([torch.randperm(100), 100 + torch.randperm(200)])
    for order in (torch.empty(0, dtype=torch.int64), by_score):
        found = pure(assignment._assign, bounds, *among, 300, order)
        wanted = reference.assign(bounds, *among, 300, order)
        assert torch.equal(found[0], wanted[0])
        assert torch.equal(found[1], wanted[1])
        assert 150 < int((found[0] >= 0).sum()) < 300


def test_problems_do_not_mix_and_threads_change_nothing() -> None:
    tracks, detections = example(6000, 5)
    bounds = torch.arange(0, 6001, 100)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            among = candidates(tracks, detections, 8.0, row_offsets=bounds, column_offsets=bounds)
            results.append((*among, *assign(among, 6000, row_offsets=bounds), *assign_greedy(among, 6000)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))
    one = candidates(tracks[100:200], detections[100:200], 8.0)
    inside = results[0][3][100:200]
    assert torch.equal(assign(one, 100).column, torch.where(inside < 0, -1, inside - 100))


def test_empty_one_and_operator_rules(opcheck) -> None:
    none, some = torch.zeros(0, 2), torch.rand(3, 2)
    for a, b in ((none, none), (some, none), (none, some)):
        found = assign(candidates(a, b, 2.0), len(b))
        assert found.column.tolist() == [-1] * len(a)
        assert found.row.tolist() == [-1] * len(b)
    assert assign(candidates(some[:1], some[:1], 0.0), 1).column.tolist() == [0]
    strided = torch.rand(2, 6).T
    assert torch.equal(candidates(strided, some, 0.5).cost, candidates(strided.contiguous(), some, 0.5).cost)
    bounds = torch.tensor([0, 3])
    gates, spread = torch.full((3,), 2.0).double(), torch.eye(2).expand(3, 2, 2)
    opcheck(assignment._candidates, some, some, gates, spread.contiguous(), -1, bounds, bounds)
    among = candidates(some, some, 2.0)
    opcheck(assignment._assign, bounds, *among, 3, None)
    opcheck(assignment._assign, bounds, *among, 3, torch.arange(3))


def test_wrong_arguments() -> None:
    a, b = torch.rand(3, 2), torch.rand(4, 2)
    offsets = torch.tensor([0, 4])
    for call in (
        lambda: candidates(a, b.double(), 1.0),
        lambda: candidates(a[:, :1], b[:, :1], 1.0),
        lambda: candidates(a, b, torch.ones(4)),
        lambda: candidates(a, b, 1.0, covariance=torch.eye(2)),
        lambda: candidates(a, b, 1.0, covariance=-torch.eye(2).expand(3, 2, 2)),
        lambda: candidates(a, b, 1.0, covariance=torch.full((3, 2, 2), torch.nan)),
        lambda: candidates(a, b, 1.0, angle=2),
        lambda: candidates(a, b, 1.0, row_offsets=offsets, column_offsets=offsets),
        lambda: candidates(a, b, 1.0, row_offsets=torch.tensor([0, 1, 3])),
    ):
        with pytest.raises(ValueError, match="assignment"):
            call()
    among = candidates(a, b, 9.0)
    for call in (
        lambda: assign(among, 3),
        lambda: assign(among, -1),
        lambda: assign(among._replace(cost=among.cost * torch.nan), 4),
        lambda: assign(among._replace(offsets=among.offsets.flip(0)), 4),
        lambda: assign(among, 4, row_offsets=torch.tensor([0, 2])),
        lambda: assign_greedy(among, 4, order=torch.tensor([0, 0, 1])),
        lambda: assign_greedy(among, 4, order=torch.tensor([0, 1])),
    ):
        with pytest.raises(ValueError, match="assignment"):
            call()
