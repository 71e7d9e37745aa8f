"""Waymo's metric from logs: which labels count at which level, no-label zones, what drive score writes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from configs.waymo_swformer import experiment
from drive.boxes.detections import DetectionSet, write_detections
from drive.errors import UserError
from drive.geometry.rigid import quaternion_from_yaw
from drive.logs.writer import LogWriter
from drive.runs import ScoreArguments, score_command
from drive.runs import score as drive_score
from drive.samples.classes import NUSCENES_CLASSES, WAYMO_CLASSES, ClassMap
from drive.scores.report import Report
from drive.scores.waymo_report import WaymoReport, load_waymo_truth, score_waymo
from drive.scores.waymo_zones import touches_zone

CARS = np.array(
    [[10.0, 0, 1, 4, 2, 1.5, 0], [20, 5, 1, 4, 2, 1.5, 0.3], [30, -6, 1, 4, 2, 1.5, 0], [40, 0, 1, 4, 2, 1.5, 0]]
)
VEHICLE = "OBJECT_TYPE_TYPE_VEHICLE_LEVEL_"
EGO_YAW = 0.5


@pytest.fixture
def waymo_log(tmp_path: Path) -> Path:
    """Two frames of an ego turned by 0.5 rad at (100, 0). Frame 0: cars with 100, 5, 0 points, one with 100 points that
    is annotated as level 2, a sign; a no-label zone at x 50..60 before the ego. Frame 1: a cyclist."""
    still, turned = np.array([1.0, 0, 0, 0]), quaternion_from_yaw(EGO_YAW)
    with LogWriter(tmp_path, "segment", dataset="waymo_perception", source_version="t", licence="none") as log:
        log.add_sensor("LIDAR_TOP", "lidar", np.zeros(3), still, columns=("x", "y", "z", "intensity"))
        for frame in range(2):
            row = log.add_sweep(
                "LIDAR_TOP", frame, np.zeros((1, 4), np.float32), [100.0, 0, 0], turned, is_key_frame=True,
                source_timestamp=frame, source_name="s",
            )  # fmt: skip
            log.add_frame(
                frame, rows={"LIDAR_TOP": row}, pose_translation=[100.0, 0, 0], pose_rotation=turned,
                source_timestamp=frame,
            )  # fmt: skip
        sign, rider = [5.0, 5, 2, 0.2, 0.8, 0.8, 0], [8.0, 2, 1, 1.8, 0.8, 1.7, 0]
        for frame, raw, kinds, points, levels in (
            (0, np.vstack([CARS, sign]), ["TYPE_VEHICLE"] * 4 + ["TYPE_SIGN"], [100, 5, 0, 100, 50], [0, 0, 0, 2, 0]),
            (1, np.array([rider]), ["TYPE_CYCLIST"], [9], [0]),
        ):
            n = len(raw)
            log.add_boxes(
                frame, np.pad(raw, ((0, 0), (0, 2))), kinds, [f"{frame}.{i}" for i in range(n)],
                velocity_valid=np.ones(n, bool), num_lidar_points=np.array(points), source_translation=raw[:, :3],
                source_rotation=quaternion_from_yaw(raw[:, 6]), source_size=raw[:, 3:6],
                extra={"detection_difficulty": np.ma.MaskedArray(np.array(levels, np.int8), np.array(levels) == 0)},
            )  # fmt: skip
        zone = np.array([[50.0, -5], [60, -5], [60, 5], [50, 5]])
        cos, sin = np.cos(EGO_YAW), np.sin(EGO_YAW)
        x, y = 100 + zone[:, 0] * cos - zone[:, 1] * sin, zone[:, 0] * sin + zone[:, 1] * cos
        schema = pa.schema(
            [("frame", pa.int32()), ("id", pa.string()), ("x", pa.list_(pa.float64())), ("y", pa.list_(pa.float64()))]
        )
        log.add_table("no_label_zones", pa.table([[0], ["z"], [x.tolist()], [y.tolist()]], schema=schema))
    return tmp_path / "segment"


def detections(boxes: np.ndarray, labels: list[int], frames: int = 2) -> DetectionSet:
    """All in frame 0; frame 1 was looked at and found empty (or not looked at)."""
    n = len(boxes)
    return DetectionSet(
        WAYMO_CLASSES.names, ["a", "b"][:frames], ["segment"] * frames, [0, 1][:frames],
        np.array([0, n, n][: frames + 1]), np.pad(boxes, ((0, 0), (0, 2))).astype(np.float32),
        np.linspace(0.9, 0.5, n).astype(np.float32), np.array(labels, np.int64),
    )  # fmt: skip


def test_levels_come_from_the_annotation_and_the_points(waymo_log: Path) -> None:
    truth = load_waymo_truth([waymo_log], WAYMO_CLASSES)
    assert truth.labels.difficulty.tolist() == [1, 2, 2, 1, 1]  # the car without a point is no label
    assert truth.labels.kind.tolist() == [1, 1, 1, 3, 4]
    assert truth.labels.frame.tolist() == [0, 0, 0, 0, 1]


def test_figures(waymo_log: Path) -> None:
    """Found: the two easy-looking cars, nothing else. Level 1 has one label and both are right there; level 2 has 3."""
    found = detections(CARS[[0, 3]], [0, 0])
    flat = score_waymo(found, load_waymo_truth([waymo_log], WAYMO_CLASSES)).flat()
    assert flat[f"AP.{VEHICLE}1"] == pytest.approx(1.0)
    assert flat[f"AP.{VEHICLE}2"] == pytest.approx(2 / 3, abs=1e-6)
    assert (flat[f"counts.truth.{VEHICLE}1"], flat[f"counts.truth.{VEHICLE}2"]) == (1, 3)
    assert flat["AP.OBJECT_TYPE_TYPE_PEDESTRIAN_LEVEL_2"] is None
    assert flat["AP.OBJECT_TYPE_TYPE_CYCLIST_LEVEL_2"] == 0.0
    assert flat["mAP.LEVEL_2"] == pytest.approx(2 / 9, abs=1e-6)
    assert (flat["counts.frames"], flat["counts.predictions"], flat["counts.missing_frames"]) == (2, 2, 0)


def test_what_touches_a_no_label_zone_is_not_false(waymo_log: Path) -> None:
    """A false box in the zone, which lies in global coordinates, and one beside it, both scored below the cars."""
    truth = load_waymo_truth([waymo_log], WAYMO_CLASSES)
    for x, false in ((55.0, 0), (48.5, 0), (47.0, 1), (63.0, 1)):
        boxes = np.vstack([CARS[[0, 1, 3]], [x, 0, 1, 4, 2, 1.5, 0]])
        m = score_waymo(detections(boxes, [0] * 4), truth).metrics
        assert m.precision_recall[m.names.index(f"{VEHICLE}2"), 0, 3] == false, x


def test_frames_that_were_not_looked_at_are_named(waymo_log: Path) -> None:
    report = score_waymo(detections(CARS[:1], [0], frames=1), load_waymo_truth([waymo_log], WAYMO_CLASSES))
    assert report.missing_frames == ["segment/1"]


def test_other_classes_have_types_or_are_refused(waymo_log: Path) -> None:
    truth = load_waymo_truth([waymo_log], NUSCENES_CLASSES)
    found = detections(CARS[[0, 1, 3]], [0, 0, 0])
    cones = dataclasses.replace(found, class_names=("traffic_cone", "car", "bus"), labels=np.array([1, 2, 0]))
    m = score_waymo(cones, truth).metrics
    assert m.precision_recall[m.names.index(f"{VEHICLE}2"), 0, 2:].tolist() == [2, 0, 1]
    with pytest.raises(UserError, match="tram"):
        score_waymo(dataclasses.replace(found, class_names=("tram", "car", "bus")), truth)
    with pytest.raises(UserError, match="tram"):
        load_waymo_truth([waymo_log], ClassMap(("tram",), {"x": "tram"}))
    with pytest.raises(UserError, match="none of its frames"):
        score_waymo(dataclasses.replace(found, logs=["a", "b"]), truth)
    with pytest.raises(UserError, match="not finite"):
        score_waymo(dataclasses.replace(found, boxes=np.full((3, 9), np.nan, np.float32)), truth)
    with pytest.raises(UserError, match="negative size"):
        score_waymo(dataclasses.replace(found, boxes=-found.boxes), truth)
    with pytest.raises(UserError, match="no labelled frame"):
        load_waymo_truth([], WAYMO_CLASSES)


def test_drive_score(waymo_log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_detections(tmp_path / "detections.arrow", detections(CARS[[0, 3]], [0, 0]))
    out = tmp_path / "scores.json"
    words = [str(tmp_path / "detections.arrow"), "--logs", str(waymo_log), "--metric", "waymo", "--out", str(out)]
    assert score_command(words) == 0
    shown = capsys.readouterr().out
    assert "vehicle" in shown
    assert "mAPH L2" in shown
    written = json.loads(out.read_text())
    assert written["metric"] == "waymo_detection"
    assert written[f"AP.{VEHICLE}2"] == pytest.approx(2 / 3, abs=1e-6)
    report = drive_score(ScoreArguments(tmp_path / "detections.arrow", logs=(waymo_log,), metric="waymo"))
    assert isinstance(report, WaymoReport)


def test_a_run_on_waymo_logs_gets_waymos_metric(waymo_log: Path, tmp_path: Path) -> None:
    """Without --metric; with --metric nuscenes the run's own classes by centre distance."""
    recipe = experiment()
    recipe = dataclasses.replace(
        recipe, data=dataclasses.replace(recipe.data, val_logs=(str(waymo_log),), val_split="")
    )
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(recipe.to_json())
    write_detections(run / "detections.arrow", detections(CARS[[0, 3]], [0, 0]))
    report = drive_score(ScoreArguments(run, again=False))
    assert isinstance(report, WaymoReport)
    written = json.loads((run / "scores.json").read_text())
    assert (written["metric"], written["config_hash"]) == ("waymo_detection", recipe.hash())
    assert written[f"AP.{VEHICLE}2"] == pytest.approx(2 / 3, abs=1e-6)
    assert isinstance(drive_score(ScoreArguments(run, again=False, metric="nuscenes")), Report)


def test_zones_of_any_shape() -> None:
    """An L: inside, in its notch, across a side with no corner in it, around a corner of it, far away."""
    polygon = np.array([[0.0, 0], [10, 0], [10, 2], [2, 2], [2, 10], [0, 10]])
    boxes = np.zeros((5, 7))
    boxes[:, :2] = [[1, 5], [6, 6], [5, 1], [10, 2], [30, 30]]
    boxes[:, 3:5] = [[0.5, 0.5], [2, 2], [1, 8], [3, 3], [1, 1]]
    boxes[:, 6] = [0.3, 0, 0, 0.7, 0]
    assert touches_zone(boxes, polygon).tolist() == [True, False, True, True, False]
    assert touches_zone(boxes[:0], polygon).shape == (0,)
