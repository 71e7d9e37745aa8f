"""The CUDA sources of the box operators as plain C++, against their references."""

from __future__ import annotations

import pytest
import torch

from ops import assignment, box_collision, kalman, nvrtc, polygon_queries, rotated_iou, rotated_nms
from ops.assignment.bench import example as tracks_and_detections
from ops.assignment.bench import totals
from ops.box_collision.bench import example as proposals_and_agents
from ops.kalman.bench import example as boxes_in_time
from ops.polygon_queries.bench import example as town
from ops.rotated_iou.bench import example
from ops.rotated_nms.bench import example as crowded
from tests.ops import test_cuda as plain

emulated, same = plain.emulated, plain.same  # one emulation for all operators


@pytest.fixture(autouse=True)
def _launch(emulated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "launch", emulated)


def test_rotated_iou() -> None:
    a, b = example(40, 0), example(50, 1)
    a[3, 0], a[4, 3], b[5, 6] = torch.nan, 0.0, torch.inf
    b[10:20] = a[10:20]
    for three_d in (False, True):
        wanted = rotated_iou.reference.iou_matrix(a, b, three_d)
        same([rotated_iou._iou_matrix_cuda(a, b, three_d)], [wanted], 1e-12)
    same([rotated_iou._convex_giou_cuda(a, b[:40])], [rotated_iou.reference.convex_giou(a, b[:40])], 1e-9)


def test_rotated_nms() -> None:
    boxes, scores = crowded(200)
    groups = torch.arange(200) % 2
    limits = [0.2, 0.6]
    kept = rotated_nms._rotated_nms_cuda(boxes, scores, groups, limits, False)
    wanted = rotated_nms.reference.rotated_nms(boxes, scores, groups, torch.tensor(limits, dtype=torch.float64))
    assert torch.equal(kept, wanted)
    assert 50 < len(kept) < 190


def test_assignment() -> None:
    tracks, detections = tracks_and_detections(90, 0, 2.5)
    bounds = torch.tensor([0, 30, 30, 90])
    root = torch.randn(90, 2, 2, dtype=torch.float64)
    spread = root @ root.mT + torch.eye(2, dtype=torch.float64)
    gates = torch.full((90,), 5.0, dtype=torch.float64)
    for covariance in (spread, spread[:0]):
        given = tracks, detections, gates, covariance, 1, bounds, bounds
        among = assignment._candidates_cuda(*given)
        same(among, assignment.reference.candidates(*given), 1e-9)
    listed = assignment.Candidates(*among)
    found = assignment.Matching(*assignment._assign_cuda(bounds, *among, 90, None))
    wanted = assignment.Matching(*assignment.reference.assign(bounds, *among, 90, None))
    for x, y in zip(totals(listed, found), totals(listed, wanted), strict=True):
        assert float(x) == pytest.approx(float(y), rel=1e-12)
    for order in (bounds[:0], torch.cat([torch.randperm(30), 30 + torch.randperm(60)])):
        taken = assignment._assign_cuda(bounds, *among, 90, order)
        same(taken, assignment.reference.assign(bounds, *among, 90, order))


def test_kalman() -> None:
    tracks, dt, Q, measured, R = boxes_in_time(30)
    for model in (kalman.AB3DMOT, kalman.Model(10, 7, (4, 5, 6, -1, 7, 8, 9, -1, -1, -1))):
        rates = list(model.derivative)
        ahead = kalman._predict_cuda(*tracks, dt, Q[None], rates)
        same(ahead, kalman.reference.predict(*tracks, dt, Q[None], rates), 1e-10)
        rows = torch.tensor([4, 3, 29, 0])
        step = *ahead, rows, measured[rows], R[None], model.heading
        same(kalman._update_cuda(*step), kalman.reference.update(*step)[:2], 1e-9)
        both = *tracks, dt, Q[None], rates, *step[2:]
        same(kalman._predict_update_cuda(*both), kalman.reference.predict_update(*both)[:2], 1e-9)


def test_box_collision() -> None:
    ego, others = proposals_and_agents(6, 5, 40)
    others[0, 3, 0], others[1, 2, 2], others[2, 1, 4] = torch.nan, -1.0, torch.inf
    valid = torch.rand(5, 40) < 0.7
    wanted = box_collision.reference.touch(ego[:, :, None], others[None])
    same([box_collision._over_time_cuda(ego, others, valid)], [wanted & valid])
    a, b = others[0], others[1] * 0.3
    same([box_collision._pairs_cuda(a, b)], [box_collision.reference.touch(a, b)])
    assert wanted.any()


def test_polygon_queries() -> None:
    points, vertices, rings, polygons, lines = town(12, 200)
    groups = points.reshape(-1, 4, 2)
    groups[3, 2, 0] = torch.nan
    given = groups, vertices, rings, polygons
    same(polygon_queries._corners_inside_cuda(*given), polygon_queries.reference.corners_inside(*given))
    at = groups[:, 0].contiguous(), vertices, lines
    same(polygon_queries._nearest_cuda(*at), polygon_queries.reference.nearest(*at), 1e-12)
