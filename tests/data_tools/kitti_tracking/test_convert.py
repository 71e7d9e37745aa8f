"""KITTI tracking sequences to logs: a hand-made sequence, bad input, and the real label files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data_tools.kitti.read import read_calibration, read_scan, read_tracking_labels
from data_tools.kitti_tracking import Options, convert_log, list_logs
from data_tools.kitti_tracking.detections import (
    NUSCENES_EGO_FROM_CAMERA,
    kitti_ego_from_camera,
    read_ab3dmot_detections,
)
from data_tools.kitti_tracking.oxts import poses_of_oxts, read_oxts
from data_tools.verify import verify_log
from drive.errors import UserError
from drive.logs.store import Log
from tests.data_tools.fuzzing import check_reader
from tests.data_tools.kitti.conftest import png
from tests.data_tools.reference_images import check_references

# An ideal mounting in the spelling of the tracking set; the inertial unit is 0.5 m behind the scanner.
CALIBRATION = """P0: 700 0 600 0 0 700 180 0 0 0 1 0
P1: 700 0 600 -350 0 700 180 0 0 0 1 0
P2: 700 0 600 70 0 700 180 7 0 0 1 0.5
P3: 700 0 600 -280 0 700 180 0 0 0 1 0
R_rect 1 0 0 0 1 0 0 0 1
Tr_velo_cam 0 -1 0 0 0 0 -1 0 1 0 0 0
Tr_imu_velo 1 0 0 -0.5 0 1 0 0 0 0 1 0
"""
# A parked car 10 m ahead of the first frame; the ego drives 1 m a frame, so it comes nearer. DontCare and a pedestrian.
LABELS = """0 7 Car 0 0 0 1 2 3 4 1.5 1.75 4.5 2 1.5 10 -1.5707963267948966
0 -1 DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1000 -1000 -1000 -10 -1 -1 -1
1 7 Car 0 0 0 1 2 3 4 1.5 1.75 4.5 2 1.5 9 -1.5707963267948966
2 7 Car 0 0 0 1 2 3 4 1.5 1.75 4.5 2 1.5 8 -1.5707963267948966
2 9 Pedestrian 0 0 0 1 2 3 4 2 0.5 0.75 -3 1.5 20 0
"""


def oxts_line(metres_east: float) -> str:
    """A line of a car that drives east (yaw 0) along the equator at 10 m/s and turns left at 0.1 rad/s."""
    values = np.zeros(30)
    values[1], values[2], values[8], values[22] = np.rad2deg(metres_east / 6_378_137.0), 5.0, 10.0, 0.1
    return " ".join(repr(float(v)) for v in values) + "\n"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """training/ with sequence 0001: labels and calibration only."""
    root = tmp_path / "tracking"
    for kind, text in (("label_02", LABELS), ("calib", CALIBRATION)):
        (root / "training" / kind).mkdir(parents=True)
        (root / "training" / kind / "0001.txt").write_text(text)
    return root


def add_sensors(raw: Path) -> None:
    """Scans and images of frames 0 and 2, oxts of all three."""
    training = raw / "training"
    for kind in ("velodyne", "image_02"):
        (training / kind / "0001").mkdir(parents=True)
    (training / "oxts").mkdir()
    for k in (0, 2):
        scan = np.full((2 + k, 4), k / 4, np.float32)
        (training / f"velodyne/0001/{k:06d}.bin").write_bytes(scan.tobytes())
        (training / f"image_02/0001/{k:06d}.png").write_bytes(png(6, 4))
    (training / "oxts/0001.txt").write_text("".join(oxts_line(k) for k in range(3)))


def convert(raw: Path, out: Path) -> Log:
    (spec,) = list_logs(raw, Options())
    convert_log(raw, spec, out, Options())
    return Log.open(out / spec.name)


def test_labels_alone(raw: Path, tmp_path: Path) -> None:
    log = convert(raw, tmp_path / "out")
    assert (log.name, log.num_frames, list(log.sensors)) == ("kitti_tracking_0001", 3, [])
    assert [log.frame(k).timestamp_ns for k in range(3)] == [0, 100_000_000, 200_000_000]
    boxes = log.boxes(2)
    assert (boxes.category, boxes.track_token) == (["Car", "Pedestrian"], ["7", "9"])
    half = np.pi / 2
    expected = [[8, -2, -1.5 + 0.75, 4.5, 1.75, 1.5, 0, 0, 0], [20, 3, -1.5 + 1, 0.75, 0.5, 2, -half, 0, 0]]
    np.testing.assert_allclose(boxes.boxes, expected, atol=1e-12)
    assert not boxes.velocity_valid.any()
    assert boxes.extra["label_line"] == [4, 5]
    ignored = log.table("dont_care").to_pylist()
    assert [(row["frame"], row["bbox_left"], row["label_line"]) for row in ignored] == [(0, 503.89, 2)]
    attributes = log.table("frame_attributes")
    assert attributes["pose_known"].to_pylist() == [False] * 3
    assert attributes["timestamp_known"].to_pylist() == [False] * 3
    assert not log.has_table("ego")
    assert log.file_path("label_02.txt").read_text() == LABELS
    assert verify_log(log.path).problems == []


def test_with_scans_images_and_oxts(raw: Path, tmp_path: Path) -> None:
    add_sensors(raw)
    log = convert(raw, tmp_path / "out")
    assert [log.frame(k).rows for k in range(3)] == [
        {"velodyne": 0, "image_02": 0}, {}, {"velodyne": 1, "image_02": 1},
    ]  # fmt: skip
    assert log.sweep("velodyne", 1).points.shape == (4, 4)
    assert log.table("frame_attributes")["has_scan"].to_pylist() == [True, False, True]
    # The scanner is half a metre before the unit, which starts at the origin and drives along x = east.
    places = np.array([log.frame(k).global_from_ego[:3, 3] for k in range(3)])
    np.testing.assert_allclose(places, [[0.5, 0, 0], [1.5, 0, 0], [2.5, 0, 0]], atol=1e-6)
    # The car is parked: its velocity in the global frame, and so in the ego frame, is 0 and known.
    for k in range(3):
        boxes = log.boxes(k)
        assert boxes.velocity_valid.tolist() == [True, False][: len(boxes.boxes)]
        np.testing.assert_allclose(boxes.boxes[0, 7:], 0, atol=1e-5)
    ego = log.table("ego").to_pylist()
    assert [(row["vx_mps"], row["yaw_rate_rps"], row["steering_rad"]) for row in ego] == [(10.0, 0.1, None)] * 3
    assert log.table("oxts")["lon"].to_pylist()[2] == float(oxts_line(2).split()[1])
    assert verify_log(log.path).problems == []


def test_oxts_turn_order() -> None:
    """Rz(yaw) Ry(pitch) Rx(roll): forward of a car that heads north and looks up by 0.1 rad."""
    values = np.zeros((1, 30))
    values[0, 4], values[0, 5] = -0.1, np.pi / 2  # the unit's pitch is positive nose down
    np.testing.assert_allclose(poses_of_oxts(values)[0, :3, 0], [0, np.cos(0.1), np.sin(0.1)], atol=1e-12)
    assert poses_of_oxts(np.zeros((0, 30))).shape == (0, 4, 4)


def test_testing_part_has_no_labels(raw: Path, tmp_path: Path) -> None:
    add_sensors(raw)
    (raw / "training").rename(raw / "testing")
    log = convert(raw, tmp_path / "out")
    assert (log.name, log.split, log.num_frames) == ("kitti_tracking_testing_0001", "testing", 3)
    assert len(log.boxes(0).boxes) == 0
    assert not log.has_table("dont_care")


CAR = "0 7 Car 0 0 0 1 2 3 4 1.5 1.75 4.5 2 1.5 10 0"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("label_02", None, "missing"),
        ("label_02", "", "no label, scan, image or oxts"),
        ("label_02", CAR.removeprefix("0 "), "16 columns, not 17"),
        ("label_02", CAR.replace("0 7", "0.5 7"), "0001.txt:1: frame or track is not a whole number"),
        ("label_02", CAR.replace("0 7", "1e18 7"), "not a whole number in range"),
        ("label_02", CAR.replace("0 7", "-1 7"), "not a whole number in range"),
        ("label_02", CAR.replace("1.75", "0"), "not positive"),
        ("label_02", CAR.replace("1.75", "inf"), "not finite"),
        ("calib", "P2: 1 2 3\n", "3 numbers, not 12"),
        ("oxts", oxts_line(0), "1 lines for 3 frames"),
        ("oxts", "1 2 3\n", "oxts has 3 numbers, not 30"),
        ("oxts", oxts_line(0).replace("0.0", "99.0", 1), "latitude"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    raw: Path, tmp_path: Path, file: str, content: str | None, message: str
) -> None:
    path = raw / "training" / file / "0001.txt"
    if content is None:
        path.unlink()
    else:
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    with pytest.raises(UserError) as caught:
        convert(raw, tmp_path / "out")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").glob("*"))


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no sequence in training/calib or testing/calib"):
        list_logs(tmp_path, Options())


def test_a_scan_with_an_odd_name_is_refused(raw: Path, tmp_path: Path) -> None:
    add_sensors(raw)
    (raw / "training/velodyne/0001/x.bin").write_bytes(b"")
    with pytest.raises(UserError, match="not a frame number"):
        convert(raw, tmp_path / "out")


def test_detections_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "0001.txt"
    path.write_text(
        "3,2,1,2,3,4,8.5,1.5,1.75,4.5,2,1.5,10,-1.5707963267948966,-2\n\n4,1,-1,-1,-1,-1,0,2,1,1,0,0,5,0,0\n"
    )
    (tmp_path / "calib.txt").write_text(CALIBRATION)
    found = read_ab3dmot_detections(path, kitti_ego_from_camera(tmp_path / "calib.txt"))
    assert (found.frames.tolist(), found.types.tolist(), found.scores.tolist()) == ([3, 4], [2, 1], [8.5, 0.0])
    np.testing.assert_allclose(found.boxes[0], [10, -2, -0.75, 4.5, 1.75, 1.5, 0, 0, 0], atol=1e-12)
    assert found.image_boxes.tolist() == [[1, 2, 3, 4], [-1] * 4]
    path.write_text("")
    assert read_ab3dmot_detections(path, np.eye(4)).boxes.shape == (0, 9)
    for line, message in (
        ("1,2,3", "3 numbers, not 15"),
        ("0.5" + ",1" * 14, "whole number"),
        ("0" * 1 + ",1" * 6 + ",0" * 8, "not positive"),
    ):
        path.write_text(line)
        with pytest.raises(UserError, match=message):
            read_ab3dmot_detections(path, np.eye(4))


def test_damaged_files(raw: Path, tmp_path: Path) -> None:
    add_sensors(raw)
    detections = tmp_path / "0001.txt"
    detections.write_text("3,2,1,2,3,4,8.5,1.5,1.75,4.5,2,1.5,10,-1.5707963267948966,-2\n" * 3)
    readers = {
        raw / "training/label_02/0001.txt": read_tracking_labels,
        raw / "training/calib/0001.txt": read_calibration,
        raw / "training/oxts/0001.txt": read_oxts,
        raw / "training/velodyne/0001/000002.bin": read_scan,
        detections: lambda path: read_ab3dmot_detections(path, np.eye(4)),
    }
    for path, reader in readers.items():
        assert check_reader(reader, path) > 20


# shared/data/README.md; frames are those of the benchmark's own sequence list.
REAL_BOXES = {
    "Car": 23_902, "Pedestrian": 8_484, "Van": 2_992, "Cyclist": 1_415, "Truck": 1_063, "Misc": 716, "Person": 509,
    "Tram": 468,
}  # fmt: skip
REAL_DETECTIONS = {"Car": 41_588, "Pedestrian": 18_466, "Cyclist": 6_382}
REAL_RECALL = {"0001": 93, "0008": 86, "0012": 90, "0014": 93, "0019": 95}


def test_real_sequences(real_data: Path, tmp_path: Path) -> None:
    raw = real_data / "kitti/tracking"
    boxes: Counter[str] = Counter()
    tracks: set[tuple[str, str, str]] = set()
    frames = lines = 0
    for spec in list_logs(raw, Options()):
        convert_log(raw, spec, tmp_path, Options())
        log = Log.open(tmp_path / spec.name)
        frames += log.num_frames
        lines += log.table("dont_care").num_rows
        for k in range(log.num_frames):
            labels = log.boxes(k)
            boxes.update(labels.category)
            tracks.update((log.name, t, c) for t, c in zip(labels.track_token, labels.category, strict=True))
    assert frames == 6_556
    assert boxes == REAL_BOXES
    assert lines + sum(boxes.values()) == sum(
        len(path.read_text().splitlines()) for path in (raw / "training/label_02").glob("*.txt")
    )
    kinds = Counter(category for _, _, category in tracks)
    assert (kinds["Car"], kinds["Pedestrian"], kinds["Van"], kinds["Cyclist"]) == (531, 104, 48, 23)


def test_real_detections(real_data: Path, tmp_path: Path) -> None:
    raw = real_data / "kitti/tracking"
    sequences = [path.stem for path in sorted((raw / "training/calib").glob("*.txt"))]
    counts = {
        kind: sum(
            len(read_ab3dmot_detections(raw / f"detection/pointrcnn_{kind}_val/{s}.txt", np.eye(4)).frames)
            for s in sequences
        )
        for kind in REAL_DETECTIONS
    }
    assert counts == REAL_DETECTIONS
    for spec in list_logs(raw, Options()):
        if spec.sequence not in ("0012", "0014"):
            continue
        convert_log(raw, spec, tmp_path, Options())
        log = Log.open(tmp_path / spec.name)
        found = read_ab3dmot_detections(
            raw / f"detection/pointrcnn_Car_val/{spec.sequence}.txt", kitti_ego_from_camera(spec.path("calib"))
        )
        hits = total = 0
        for k in range(log.num_frames):
            labels, own = log.boxes(k), found.boxes[found.frames == k]
            for box in labels.boxes[[c == "Car" for c in labels.category]]:
                total += 1
                hits += len(own) > 0 and np.linalg.norm(own[:, :3] - box[:3], axis=1).min() < 1.0
        assert round(100 * hits / total) == REAL_RECALL[spec.sequence]


def test_real_nuscenes_detections(real_data: Path) -> None:
    path = real_data / "nuscenes/detection_ab3dmot/centerpoint_Car_val/scene-0103.txt"
    found = read_ab3dmot_detections(path, NUSCENES_EGO_FROM_CAMERA)
    assert (found.scores > 0.5).sum() == 609
    assert set(found.types) == {2}
    ground = found.boxes[:, 2] - found.boxes[:, 5] / 2  # nuScenes' ego frame stands on the ground
    assert abs(np.median(ground[found.scores > 0.5])) < 0.5


def test_images_by_reference(raw: Path, tmp_path: Path) -> None:
    add_sensors(raw)
    assert check_references("kitti_tracking", raw, tmp_path / "logs") == 2
