"""KITTI scores from logs: image boxes by projection, points counted in the scan, regions nobody labelled."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

import data_tools.kitti.convert as kitti
from drive.boxes.detections import DetectionSet
from drive.errors import UserError
from drive.geometry.box import corners
from drive.logs.store import Log, list_logs
from drive.logs.writer import LogWriter
from drive.samples.classes import KITTI_CLASSES
from drive.scores.image_boxes import image_rectangles
from drive.scores.kitti_report import load_kitti_truth, place_in_image, score_kitti

# Camera at the scanner, looking along x: optical x right = -y, y down = -z, z forward = x.
CAMERA_FROM_EGO = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0]])
P2 = np.array([[700.0, 0, 620, 0], [0, 700, 180, 0], [0, 0, 1, 0]])
CARS = np.array([[20.0, 0, 0, 4, 2, 1.5, 0, 0, 0], [15, 5, 0, 4, 2, 1.5, 0.3, 0, 0], [30, -6, 0, 4, 2, 1.5, 0, 0, 0]])


@pytest.fixture
def kitti_log(tmp_path: Path) -> Path:
    """One frame: a car with six points, a van, a car with four points, a DontCare region."""
    frame = np.zeros(1, np.int32)
    columns = ("bbox_left", "bbox_top", "bbox_right", "bbox_bottom")
    matrices = {"P2": P2, "R0_rect": np.eye(3), "Tr_velo_to_cam": CAMERA_FROM_EGO}
    with LogWriter(tmp_path, "kitti_000000", dataset="kitti_object", source_version="test", licence="none") as log:
        origin, still = np.zeros(3), np.array([1.0, 0, 0, 0])
        log.add_sensor("velodyne", "lidar", origin, still, columns=("x", "y", "z", "intensity"))
        points = np.concatenate([np.tile(CARS[0, :3], (6, 1)), np.tile(CARS[2, :3], (4, 1))])
        cloud = np.column_stack([points, np.zeros(10)]).astype(np.float32)
        row = log.add_sweep(
            "velodyne", 0, cloud, origin, still, is_key_frame=True, source_timestamp=0, source_name="0.bin"
        )
        log.add_frame(0, rows={"velodyne": row}, pose_translation=origin, pose_rotation=still, source_timestamp=0)
        rectangles = image_rectangles(camera_corners(CARS), P2)
        log.add_boxes(
            0, CARS, ["Car", "Van", "Car"], ["a", "b", "c"], velocity_valid=np.zeros(3, bool),
            source_translation=np.zeros((3, 3)), source_rotation=np.tile(still, (3, 1)), source_size=np.ones((3, 3)),
            extra={"truncated": np.zeros(3), "occluded": np.zeros(3)}
            | {name: rectangles[:, i].copy() for i, name in enumerate(columns)},
        )  # fmt: skip
        region = {name: np.array([value]) for name, value in zip(columns, (900.0, 100.0, 1200.0, 300.0), strict=True)}
        log.add_table("dont_care", pa.table({"frame": frame} | region))
        log.add_table(
            "calibration",
            pa.table(
                {
                    "name": list(matrices),
                    "rows": [len(m) for m in matrices.values()],
                    "values": [m.ravel().tolist() for m in matrices.values()],
                }
            ),
        )
    return tmp_path / "kitti_000000"


def camera_corners(boxes: np.ndarray) -> np.ndarray:
    return corners(boxes) @ CAMERA_FROM_EGO[:, :3].T


def detections(boxes: np.ndarray, scores: list[float], labels: list[int] | None = None) -> DetectionSet:
    n = len(boxes)
    return DetectionSet(
        KITTI_CLASSES.names, ["kitti_000000/0"], ["kitti_000000"], [0], np.array([0, n]), boxes.astype(np.float32),
        np.array(scores, np.float32), np.array(labels or [0] * n, np.int64),
    )  # fmt: skip


def test_plain_figure(kitti_log: Path) -> None:
    """The van and the car with four points neither help nor harm."""
    report = score_kitti(detections(CARS, [0.9, 0.8, 0.7]), load_kitti_truth([kitti_log]))
    flat = report.flat()
    assert flat["car.3d.points5_iou05"] == 1.0
    assert flat["counts.truth.car.3d.points5_iou05"] == 1
    assert flat["counts.truth.car.3d.moderate"] == 2
    assert flat["pedestrian.3d.easy"] is None
    assert report.frames_without_image == ["kitti_000000/0"]
    json.dumps(report.to_dict(), allow_nan=False)
    stream = io.StringIO()
    report.print(Console(file=stream, width=80))
    assert "car.3d.points5_iou05" in stream.getvalue()


def test_false_box_costs(kitti_log: Path) -> None:
    boxes = np.concatenate([CARS, [[10.0, -2, 0, 4, 2, 1.5, 0, 0, 0]]])
    found = score_kitti(detections(boxes, [0.8, 0.7, 0.6, 0.9]), load_kitti_truth([kitti_log])).flat()
    assert found["car.3d.points5_iou05"] == pytest.approx(0.5)


def test_what_the_camera_does_not_see_is_left_out(kitti_log: Path) -> None:
    truth = load_kitti_truth([kitti_log])
    outside = np.array([[-20.0, 0, 0, 4, 2, 1.5, 0, 0, 0], [5, 30, 0, 4, 2, 1.5, 0, 0, 0]])
    boxes, missing = place_in_image(detections(np.concatenate([CARS, outside]), [0.5] * 5), truth)
    assert len(boxes) == 3
    assert missing == []
    assert (boxes.image_box >= 0).all()


def test_box_beside_the_camera_is_cut_at_the_image_plane() -> None:
    """A car from 3 m behind to 1 m ahead at the left: what is ahead appears at the left border and beyond."""
    beside = np.array([[-1.0, 3.0, 0, 4, 2, 1.5, 0, 0, 0]])
    (rectangle,) = image_rectangles(camera_corners(beside), P2, near_m=0.1)
    assert rectangle[0] == pytest.approx(620 - 700 * 4 / 0.1)
    assert rectangle[2] == pytest.approx(620 - 700 * 2 / 1.0)


def test_foreign_input(kitti_log: Path) -> None:
    truth = load_kitti_truth([kitti_log])
    good = detections(CARS, [0.9, 0.8, 0.7])
    with pytest.raises(UserError, match="class 'tram'"):
        score_kitti(dataclasses.replace(good, class_names=("car", "tram", "cyclist")), truth)
    with pytest.raises(UserError, match="none of its frames"):
        score_kitti(dataclasses.replace(good, logs=["other"]), truth)
    with pytest.raises(UserError, match="not finite"):
        score_kitti(dataclasses.replace(good, boxes=np.full((3, 9), np.nan, np.float32)), truth)
    with pytest.raises(UserError, match="no labelled frame"):
        load_kitti_truth([])


def test_log_of_another_data_set(town_log: Path) -> None:
    with pytest.raises(UserError, match="KITTI scores need KITTI logs"):
        load_kitti_truth([town_log])


def test_real_frames_find_their_own_labels(real_data: Path, tmp_path: Path) -> None:
    """The labels themselves as detections: exact AP 1 for the cars with five points or more, on two real frames."""
    options = kitti.Options()
    for frame in kitti.list_logs(real_data / "kitti" / "object", options):
        if frame.frame_id in ("000007", "000142"):
            kitti.convert_log(real_data / "kitti" / "object", frame, tmp_path, options)
    paths = list_logs(tmp_path)
    truth = load_kitti_truth(paths)
    labels = [(Log.open(path), Log.open(path).boxes(0)) for path in paths]
    kept = [KITTI_CLASSES.labels(boxes.category) for _, boxes in labels]
    perfect = DetectionSet(
        KITTI_CLASSES.names, [log.name for log, _ in labels], [log.name for log, _ in labels], [0] * len(labels),
        np.concatenate([[0], np.cumsum([(label >= 0).sum() for label in kept])]),
        np.concatenate([b.boxes[label >= 0] for (_, b), label in zip(labels, kept, strict=True)]).astype(np.float32),
        np.linspace(0.9, 0.1, sum((label >= 0).sum() for label in kept)).astype(np.float32),
        np.concatenate([label[label >= 0] for label in kept]),
    )  # fmt: skip
    report = score_kitti(perfect, truth)
    flat = report.flat()
    assert flat["counts.truth.car.3d.points5_iou05"] == 12  # 191, 19, 5 and nine of 37 to 3261
    for name in ("car", "pedestrian", "cyclist"):
        assert flat[f"{name}.3d.points5_iou05"] == 1.0
    assert report.frames_without_image == []
    # Projected corners agree with the annotated rectangles to a few pixels where nothing is cut off.
    boxes, _ = place_in_image(perfect, truth)
    mine = truth.boxes.take((truth.boxes.label >= 0) & (truth.boxes.truncation == 0))
    gaps = [
        np.abs(boxes.image_box[boxes.frame == f] - box).max(axis=1).min()
        for f, box in zip(mine.frame, mine.image_box, strict=True)
    ]
    assert np.median(gaps) < 6
