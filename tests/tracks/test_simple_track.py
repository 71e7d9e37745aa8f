"""SimpleTrack on hand-made sequences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from drive.tracks.simple_track import SimpleTrack, SimpleTrackConfig
from drive.tracks.suppress import kept_by_iou_3d
from ops.rotated_iou import rotated_iou_3d
from tests.tracks.track_world import run, seen


def vehicles(**changes: object) -> SimpleTrack:
    return replace(SimpleTrackConfig.waymo(("vehicle",)), **changes).build()  # type: ignore[arg-type]


def nuscenes(**changes: object) -> SimpleTrack:
    return replace(SimpleTrackConfig.nuscenes(("car",)), period_s=0.1, **changes).build()  # type: ignore[arg-type]


def test_speed_comes_from_the_stamps() -> None:
    frames = [seen(f, [(1.0 * f, 0.0)]) for f in (0, 1, 2, 3.5, 4, 5.2, 6)]
    _, out = run(vehicles(), frames)
    assert {i for t in out for i in t.ids.tolist()} == {1}
    assert abs(out[-1].boxes[0, 7] - 10.0) < 0.2


def test_overlapping_boxes_of_a_class_are_taken_away() -> None:
    _, out = run(vehicles(), [seen(0, [(0.0, 0.0), (1.0, 0.0), (20.0, 0.0)], scores=[0.8, 0.9, 0.8])])
    assert sorted(out[0].detection.tolist()) == [1, 2]
    two = replace(SimpleTrackConfig.waymo(("vehicle", "cyclist"))).build()
    _, out = run(two, [seen(0, [(0.0, 0.0), (1.0, 0.0)], [0, 1])])
    assert sorted(out[0].detection.tolist()) == [0, 1]


def test_a_poor_detection_keeps_a_track_and_starts_none() -> None:
    scores = [0.9, 0.9, 0.3, 0.3, 0.3, 0.9]
    frames = [seen(f, [(1.0 * f, 0.0), (50.0, 0.0)], scores=[s, 0.3]) for f, s in enumerate(scores)]
    state, out = run(vehicles(), frames)
    assert [t.ids.tolist() for t in out] == [[1], [1], [], [], [], [1]]
    assert state.next_id == 2
    # Without a second stage (nuScenes) a score of 0.005 is worth nothing: the track is gone after max_age.
    scores = [0.9, 0.9, 0.005, 0.005, 0.005, 0.9]
    frames = [seen(f, [(1.0 * f, 0.0)], scores=[s]) for f, s in enumerate(scores)]
    state, _ = run(nuscenes(), frames)
    assert state.ids.tolist() == [2]


def test_a_kept_track_goes_its_own_way_and_not_the_poor_box_s() -> None:
    frames = [seen(f, [(1.0 * f, 0.0)]) for f in range(8)]
    poor = [seen(f, [(1.0 * f, 1.5)], scores=[0.3]) for f in (8, 9)]
    before, _ = run(vehicles(), frames)
    state, _ = run(vehicles(), [*frames, *poor])
    assert state.ids.tolist() == [1]
    assert abs(state.mean[0, 1]) < 1e-9
    np.testing.assert_allclose(state.mean[0, 0], before.mean[0, 0] + 0.2 * before.mean[0, 7], atol=1e-9)
    assert state.covariance[0, 0, 0] < before.covariance[0, 0, 0] + 0.5  # updated: more certain than predicted


def test_coasted_boxes_have_a_hundredth_of_the_score() -> None:
    frames = [seen(f, [(1.0 * f, 0.0)]) for f in range(6)]
    _, out = run(nuscenes(), [*frames, seen(6, [])])
    assert out[-1].matched.tolist() == [False]
    assert out[-1].scores.tolist() == pytest.approx([0.009])
    assert abs(out[-1].boxes[0, 0] - 6.0) < 0.2
    _, out = run(nuscenes(report_coasted=False), [*frames, seen(6, [])])
    assert len(out[-1]) == 0


def test_suppression_agrees_with_the_matrix_of_ious() -> None:
    rng = np.random.default_rng(0)
    boxes = np.column_stack(
        [rng.uniform(0, 6, (80, 2)), rng.uniform(0, 1, 80), rng.uniform(1, 4, (80, 3)), rng.uniform(-3, 3, 80)]
    )
    scores, labels = rng.uniform(size=80).round(1), rng.integers(0, 3, 80)
    limits = np.array([0.1, 0.25, 0.5])
    iou = rotated_iou_3d(torch.from_numpy(boxes), torch.from_numpy(boxes)).numpy()
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if all(labels[j] != labels[i] or iou[i, j] <= limits[labels[i]] for j in kept):
            kept.append(int(i))
    assert kept_by_iou_3d(boxes, scores, labels, limits).tolist() == kept
    assert 10 < len(kept) < 60
    empty = kept_by_iou_3d(np.zeros((0, 7)), np.zeros(0), np.zeros(0, np.int64), limits)
    assert empty.tolist() == []
