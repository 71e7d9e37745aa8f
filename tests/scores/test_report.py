"""Score files from logs and detections, with numbers worked out by hand."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from drive.boxes.detections import DetectionSet, write_detections
from drive.errors import UserError
from drive.samples.classes import NUSCENES_CLASSES
from drive.scores.ground_truth import load_ground_truth
from drive.scores.report import place_detections, score_detections, score_file, score_run
from drive.scores.submission import META_FIELDS, read_submission, write_submission

META = dict.fromkeys(META_FIELDS, False) | {"use_lidar": True}


def perfect(frames: int = 3) -> DetectionSet:
    """The car, the pedestrian and the bicycle of every frame, in the ego frame; the log drives 10 m/s straight on."""
    boxes = np.array(
        [[10, 0, 1, 4, 2, 1.5, 0, 10, 0], [5, 5, 1, 0.6, 0.7, 1.8, 0, 10, 0], [0, 20, 0.5, 1.8, 0.6, 1.2, 0, 10, 0]]
    )
    return DetectionSet(
        class_names=("car", "pedestrian", "bicycle"),
        frame_ids=[f"scene-0001/token{i}" for i in range(frames)],
        logs=["scene-0001"] * frames,
        frame_indices=list(range(frames)),
        offsets=np.arange(frames + 1) * 3,
        boxes=np.tile(boxes, (frames, 1)).astype(np.float32),
        scores=np.linspace(0.9, 0.5, 3 * frames).astype(np.float32),
        labels=np.tile([0, 1, 2], frames),
    )


def test_perfect_detections(town_log: Path, tmp_path: Path) -> None:
    write_detections(tmp_path / "detections.arrow", perfect())
    scores = score_file(tmp_path / "detections.arrow", [town_log]).to_dict()
    for name in ("car", "pedestrian", "bicycle"):
        assert scores[f"ap.{name}"] == pytest.approx(1.0)
        assert scores[f"trans_err.{name}"] == pytest.approx(0, abs=1e-5)
        assert scores[f"vel_err.{name}"] == pytest.approx(0, abs=1e-5)
    assert scores["mAP_present"] == pytest.approx(1.0)
    assert scores["mAP"] == pytest.approx(0.3)  # seven of the ten classes do not occur
    assert scores["attr_err.car"] == 0.0  # moves at 10 m/s, labelled vehicle.moving
    assert scores["attr_err.pedestrian"] == 1.0  # labelled standing
    assert scores["orient_err.traffic_cone"] is None
    assert scores["ap.car.0.5m"] == pytest.approx(1.0)
    assert scores["range_ap.car.0-15m"] == pytest.approx(1.0)
    assert scores["range_ap.car.30-50m"] is None
    # The car without points, the racked bicycle, the rack and the animal do not count.
    assert scores["counts.truth"] == 9
    assert scores["counts.truth_before_filters"] == 11
    assert scores["counts.frames"] == 3
    assert scores["missing_frames"] == []
    json.dumps(scores, allow_nan=False)


def test_ground_truth_velocity_is_the_devkits(town_log: Path) -> None:
    truth = load_ground_truth([town_log], NUSCENES_CLASSES)
    cars = truth.boxes.take(truth.boxes.label == 0)
    np.testing.assert_allclose(np.hypot(cars.boxes[:3, 7], cars.boxes[:3, 8]), 10.0, rtol=1e-6)
    assert cars.velocity_valid.tolist() == [True, True, True, False]  # the last was seen once


def test_missing_and_extra_frames_are_listed(town_log: Path, tmp_path: Path) -> None:
    detections = perfect(2)
    detections = dataclasses.replace(detections, logs=["scene-0001", "elsewhere"])
    write_detections(tmp_path / "detections.arrow", detections)
    report = score_file(tmp_path / "detections.arrow", [town_log])
    assert report.missing_frames == ["token1", "token2"]
    assert report.extra_frames == 1
    assert report.metrics.class_ap[0] < 0.4
    stream = io.StringIO()
    report.print(Console(file=stream, width=140))
    assert "2 frames without predictions" in stream.getvalue()
    assert "mAP over the 3 classes present" in stream.getvalue()


def test_no_detections(town_log: Path) -> None:
    none = dataclasses.replace(
        perfect(1),
        offsets=np.array([0, 0]),
        boxes=np.zeros((0, 9), np.float32),
        scores=np.zeros(0, np.float32),
        labels=np.zeros(0, np.int64),
        velocity_valid=None,
        features=None,
    )
    scores = score_detections(none, load_ground_truth([town_log], NUSCENES_CLASSES)).to_dict()
    assert scores["mAP"] == 0
    assert scores["NDS"] == 0
    assert scores["trans_err.car"] == 1.0


def test_worst_frames(town_log: Path) -> None:
    detections = perfect()
    boxes = detections.boxes.copy()
    boxes[3, :2] = [30.0, -20.0]  # frame 1: the car is 28 m off: one missed, one false
    report = score_detections(
        dataclasses.replace(detections, boxes=boxes), load_ground_truth([town_log], NUSCENES_CLASSES)
    )
    assert report.metrics.missed.tolist() == [0, 1, 0]
    assert report.metrics.false.tolist() == [0, 1, 0]


def test_submission_and_detections_score_the_same(town_log: Path, tmp_path: Path) -> None:
    truth = load_ground_truth([town_log], NUSCENES_CLASSES)
    rng = np.random.default_rng(0)
    detections = perfect()
    noisy = dataclasses.replace(detections, boxes=detections.boxes + rng.normal(0, 0.2, (9, 9)).astype(np.float32))
    boxes, _, _ = place_detections(noisy, truth)
    write_submission(tmp_path / "result.json", boxes, truth.frames.ids, truth.class_names, META)
    again = read_submission(tmp_path / "result.json", truth.frames.ids, truth.class_names)
    assert again.meta == META
    np.testing.assert_allclose(again.boxes.boxes, boxes.boxes, atol=1e-12)
    assert again.boxes.attribute.tolist() == boxes.attribute.tolist()
    a, b = score_detections(noisy, truth).flat(), score_file(tmp_path / "result.json", [town_log]).flat()
    assert a.keys() == b.keys()
    for key, value in a.items():
        assert b[key] == pytest.approx(value, abs=1e-12), key


def test_run_writes_scores_with_provenance(town_log: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    write_detections(run / "detections.arrow", perfect())
    (run / "config.json").write_text('{"seed": 7}\n')
    score_run(run, [town_log])
    scores = json.loads((run / "scores.json").read_text())
    assert scores["seeds"] == [7]
    assert len(scores["config_hash"]) == 12
    assert scores["logs"] == ["scene-0001"]
    assert {"drivewright", "numpy", "python"} <= scores["versions"].keys()
    assert [row["class"] for row in scores["table"]][:1] == ["car"]
    assert [p.name for p in run.iterdir() if "partial" in p.name] == []


def test_foreign_detections_are_refused(town_log: Path) -> None:
    truth = load_ground_truth([town_log], NUSCENES_CLASSES)
    with pytest.raises(UserError, match="none of its frames"):
        score_detections(dataclasses.replace(perfect(), logs=["other"] * 3), truth)
    with pytest.raises(UserError, match="class 'tram'"):
        score_detections(dataclasses.replace(perfect(), class_names=("car", "tram", "bicycle")), truth)
    broken = perfect().boxes.copy()
    broken[4, 2] = np.nan
    with pytest.raises(UserError, match="frame token1 is not finite"):
        score_detections(dataclasses.replace(perfect(), boxes=broken), truth)


def test_run_without_config(town_log: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="config.json"):
        score_run(tmp_path / "nowhere", [town_log])
