"""Ours gives AB3DMOT's own tracks: ids and boxes, on a street made by hand (tests/golden/ab3dmot_tracks.py)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drive.tracks.ab3dmot import Ab3dmotConfig
from drive.tracks.track import FrameDetections

GOLDEN = Path(__file__).parent.parent / "golden" / "ab3dmot_tracks.json"
CLASSES = ("Car", "Pedestrian", "Cyclist")


@pytest.fixture(scope="module")
def golden() -> Any:
    return json.loads(GOLDEN.read_text())


def frame_of(number: int, parts: list[list[list[float]]]) -> FrameDetections:
    """Detections of several classes; camera axes right, down, forward become ours by an exchange of axes."""
    rows = np.array([row for part in parts for row in part], dtype=np.float64).reshape(-1, 8)
    labels = np.array([k for k, part in enumerate(parts) for _ in part], dtype=np.int64)
    h, w, length, x, y, z, turn, score = rows.T
    zero = np.zeros(len(rows))
    boxes = np.stack([z, -x, -y + h / 2, length, w, h, -turn - np.pi / 2, zero, zero], axis=1)
    no_features = np.zeros((len(rows), 0), np.float32)
    return FrameDetections((number + 1) * 10**8, boxes, zero.astype(bool), score, labels, no_features)


@pytest.mark.parametrize("clock", ["frames", "stamps"])
@pytest.mark.parametrize("name", CLASSES)
def test_one_class(golden: Any, name: str, clock: Any) -> None:
    """Literally the same ids; by the stamps too, where frames are one period apart."""
    tracker = replace(Ab3dmotConfig.kitti((name,)), clock=clock, refuse_late=True).build()
    state, boxes = tracker.start(), 0
    for f, (found, wanted) in enumerate(zip(golden[name]["detections"], golden[name]["tracks"], strict=True)):
        state, tracked = tracker.step(state, frame_of(f, [found]))
        theirs = np.array(wanted, dtype=np.float64).reshape(-1, 9)
        order = np.argsort(tracked.ids)
        assert tracked.ids[order].tolist() == theirs[:, 0].astype(int).tolist(), f"frame {f}"
        ours = tracked.boxes[order]
        np.testing.assert_allclose(ours[:, :6], theirs[:, 1:7], rtol=0, atol=1e-9)
        np.testing.assert_allclose(np.cos(ours[:, 6] - theirs[:, 7]), 1.0, rtol=0, atol=1e-12)
        assert np.array_equal(tracked.scores[order], theirs[:, 8])
        boxes += len(theirs)
    assert boxes > 50
    assert state.next_id > 5


def test_all_classes_in_one_tracker(golden: Any) -> None:
    """The same tracks under other names."""
    tracker = replace(Ab3dmotConfig.kitti(CLASSES), clock="frames", refuse_late=True).build()
    state, renamed = tracker.start(), dict[tuple[int, int], int]()
    for f in range(len(golden["Car"]["detections"])):
        state, tracked = tracker.step(state, frame_of(f, [golden[name]["detections"][f] for name in CLASSES]))
        for k, name in enumerate(CLASSES):
            theirs = np.array(golden[name]["tracks"][f], dtype=np.float64).reshape(-1, 9)
            mine = tracked.boxes[tracked.labels == k]
            assert len(mine) == len(theirs), f"frame {f}, {name}"
            for row in theirs:
                nearest = int(np.abs(mine[:, :6] - row[1:7]).max(axis=1).argmin())
                np.testing.assert_allclose(mine[nearest, :6], row[1:7], rtol=0, atol=1e-9)
                own = int(tracked.ids[tracked.labels == k][nearest])
                assert renamed.setdefault((k, int(row[0])), own) == own
    assert len(set(renamed.values())) == len(renamed) > 20
