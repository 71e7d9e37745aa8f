"""Tracking submissions: written, read back by us and by the devkit's loader, and every fault named."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drive.errors import UserError
from drive.scores.eval_boxes import EvalBoxes
from drive.scores.nuscenes_tracking_boxes import TRACKING_NAMES, TrackedBoxes
from drive.scores.submission import META_FIELDS
from drive.scores.submission_tracking import read_tracking_submission, write_tracking_submission

META = dict.fromkeys(META_FIELDS, False) | {"use_lidar": True}
LOGS = np.array([0, 0, 1])
FRAMES = ("a", "b", "c")


def box(**changes: Any) -> dict[str, Any]:
    return {
        "sample_token": "a",
        "translation": [1.0, 2.0, 3.0],
        "size": [2.0, 4.0, 1.5],
        "rotation": [1.0, 0.0, 0.0, 0.0],
        "velocity": [0.5, -0.5],
        "tracking_id": "7",
        "tracking_name": "car",
        "tracking_score": 0.5,
    } | changes


def read(tmp_path: Path, **frames: list[Any]) -> tuple[TrackedBoxes, list[str]]:
    path = tmp_path / "tracks.json"
    path.write_text(json.dumps({"meta": META, "results": {name: frames.get(name, []) for name in FRAMES}}))
    return read_tracking_submission(path, FRAMES, LOGS, TRACKING_NAMES)


def some_tracks() -> TrackedBoxes:
    rng = np.random.default_rng(0)
    frame, track = np.array([0, 0, 1, 2]), np.array([0, 1, 0, 2])
    boxes = rng.uniform(0.5, 3.0, (4, 9))
    none = np.full(4, -1, np.int64)
    eval_boxes = EvalBoxes(frame, boxes, np.ones(4, bool), np.array([2, 4, 2, 0]), rng.random(4), none, none)
    return TrackedBoxes(eval_boxes, track)


def test_round_trip(tmp_path: Path) -> None:
    written = some_tracks()
    path = tmp_path / "tracks.json"
    write_tracking_submission(path, written, FRAMES, TRACKING_NAMES, META, ["x", "y", "x"])
    found, names = read_tracking_submission(path, FRAMES, LOGS, TRACKING_NAMES)
    np.testing.assert_allclose(found.boxes.boxes, written.boxes.boxes, atol=1e-12)
    np.testing.assert_array_equal(found.boxes.score, written.boxes.score)
    np.testing.assert_array_equal(found.boxes.label, written.boxes.label)
    assert [names[t] for t in found.track] == ["x", "y", "x", "x"]
    assert found.track[0] == found.track[2] != found.track[3]  # the same name in another log is another track


def test_the_devkit_reads_it(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("nuscenes.eval.common.loaders", reason="nuscenes-devkit is not installed")
        from nuscenes.eval.common.config import config_factory
        from nuscenes.eval.common.loaders import load_prediction
        from nuscenes.eval.tracking.data_classes import TrackingBox

        config_factory("tracking_nips_2019")
        path = tmp_path / "tracks.json"
        written = some_tracks()
        write_tracking_submission(path, written, FRAMES, TRACKING_NAMES, META)
        boxes, meta = load_prediction(str(path), 500, TrackingBox)
    assert meta == META
    assert boxes.sample_tokens == list(FRAMES)
    first = boxes["a"][0]
    assert first.translation == tuple(written.boxes.boxes[0, :3])
    assert first.tracking_name == "car"
    assert first.tracking_id == "0"
    assert first.tracking_score == written.boxes.score[0]
    assert [len(boxes[name]) for name in FRAMES] == [2, 1, 1]


def test_numbers_as_identifiers(tmp_path: Path) -> None:
    found, names = read(tmp_path, a=[box(tracking_id=94)], b=[box(tracking_id=94)])
    assert names == ["94"]
    assert found.track.tolist() == [0, 0]


def test_empty(tmp_path: Path) -> None:
    found, names = read(tmp_path)
    assert len(found) == 0
    assert names == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tracking_id": None}, "a: `tracking_id` is None"),
        ({"tracking_id": True}, "a: `tracking_id` is True"),
        ({"tracking_id": ""}, "`tracking_id` is ''"),
        ({"tracking_name": "barrier"}, "unknown class 'barrier'"),
        ({"tracking_score": "high"}, "`tracking_score` is not a number"),
        ({"tracking_score": float("nan")}, "not finite"),
        ({"translation": [0.0, 0.0]}, "`translation` is not a list of 3 numbers"),
    ],
)
def test_faults(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        read(tmp_path, a=[box(**changes)])


def test_a_track_twice_in_a_frame(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="b: two boxes of track '7'"):
        read(tmp_path, a=[box()], b=[box(), box()])


def test_writing_a_track_twice(tmp_path: Path) -> None:
    tracks = some_tracks()
    with pytest.raises(UserError, match="two boxes of track '0'"):
        write_tracking_submission(
            tmp_path / "x.json", TrackedBoxes(tracks.boxes, np.zeros(4, np.int64)), FRAMES, TRACKING_NAMES, META
        )
