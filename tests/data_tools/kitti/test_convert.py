"""KITTI object frames to logs: hand-made frames, bad input, and the real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_tools.convert import convert as drive_convert
from data_tools.kitti import Options, convert_log, list_logs
from data_tools.kitti.frames import rectified_from_velodyne
from data_tools.kitti.read import LABEL_NUMBERS, png_size, read_calibration, read_labels, read_plane, read_scan
from data_tools.kitti.shared import matrices_of_table
from drive.errors import UserError
from drive.geometry.box import points_in_box_mask
from drive.geometry.cameras import project
from drive.geometry.rigid import invert, transform_points
from drive.logs.store import Log
from tests.data_tools.fuzzing import check_reader
from tests.data_tools.reference_images import check_references


def convert(raw: Path, out: Path, frame: int = 0) -> Log:
    spec = list_logs(raw, Options())[frame]
    convert_log(raw, spec, out, Options())
    return Log.open(out / spec.name)


def test_lists_frames_of_the_folder_and_of_its_parts(kitti_raw: Path) -> None:
    names = ["kitti_000003", "kitti_000011"]
    assert [spec.name for spec in list_logs(kitti_raw, Options())] == names
    assert [spec.name for spec in list_logs(kitti_raw / "training", Options())] == names
    (kitti_raw / "testing/velodyne").mkdir(parents=True)
    (kitti_raw / "testing/velodyne/000003.bin").write_bytes(bytes(16))
    assert [spec.name for spec in list_logs(kitti_raw, Options(part="testing"))] == ["kitti_testing_000003"]
    assert len(list_logs(kitti_raw, Options())) == 3


def test_boxes_by_hand(kitti_raw: Path, tmp_path: Path) -> None:
    boxes = convert(kitti_raw, tmp_path / "out").boxes(0)
    assert boxes.category == ["Car", "Pedestrian"]
    half = np.pi / 2
    expected = [[10, -2, -1.5 + 0.75, 4.5, 1.75, 1.5, -half, 0, 0], [20, 3, -1.5 + 1, 0.75, 0.5, 2, 0, 0, 0]]
    np.testing.assert_allclose(boxes.boxes, expected, atol=1e-12)
    assert not boxes.velocity_valid.any()
    assert not boxes.num_lidar_points_valid.any()


def test_every_number_comes_back(kitti_raw: Path, tmp_path: Path) -> None:
    log = convert(kitti_raw, tmp_path / "out")
    training = kitti_raw / "training"
    labels = read_labels(training / "label_2/000003.txt")
    boxes, ignored = log.boxes(0), log.table("dont_care")
    for i, name in enumerate(LABEL_NUMBERS):
        assert boxes.extra[name] == labels.numbers[[0, 2], i].tolist()
        assert ignored[name].to_pylist() == labels.numbers[[1], i].tolist()
    assert boxes.extra["label_line"] == [1, 3]
    assert boxes.source_size.tolist() == labels.numbers[[0, 2], 7:10].tolist()
    assert boxes.source_translation.tolist() == labels.numbers[[0, 2], 10:13].tolist()
    sweep = log.sweep("velodyne", 0)
    assert sweep.points.tobytes() == (training / "velodyne/000003.bin").read_bytes()
    assert sweep.source_name == "training/velodyne/000003.bin"
    image = log.image("image_2", 0)
    assert image.data == (training / "image_2/000003.png").read_bytes()
    assert (image.width, image.height) == (6, 4)
    for name, matrix in read_calibration(training / "calib/000003.txt").items():
        assert matrices_of_table(log.table("calibration"))[name].tolist() == matrix.tolist()
    assert log.file_path("label_2.txt").read_bytes() == (training / "label_2/000003.txt").read_bytes()
    assert log.file_path("calib.txt").read_bytes() == (training / "calib/000003.txt").read_bytes()
    assert log.table("ground_plane").to_pylist() == [{"a": -0.01, "b": -1.0, "c": -0.001, "d": 1.65}]
    attributes = log.table("frame_attributes").to_pylist()[0]
    assert (attributes["labelled_view"], attributes["scan"], attributes["pose_known"]) == ("image_2", "velodyne", False)


def test_camera_projects_as_the_3x4_matrix(kitti_raw: Path, tmp_path: Path) -> None:
    sensor = convert(kitti_raw, tmp_path / "out").sensors["image_2"]
    point = np.array([[20.0, 3.0, -1.0]])  # camera frame (-3, 1, 20)
    pixel, depth = project(transform_points(invert(sensor.ego_from_sensor), point), sensor.intrinsics)
    # P2 (-3, 1, 20, 1) = (700 * -3 + 600 * 20 + 70, 700 + 180 * 20 + 7, 20.5)
    np.testing.assert_allclose(pixel, [[9970 / 20.5, 4307 / 20.5]], rtol=1e-9)
    np.testing.assert_allclose(depth, [20.5])


def test_cropped_scan_without_image_or_plane(kitti_raw: Path, tmp_path: Path) -> None:
    log = convert(kitti_raw, tmp_path / "out", frame=1)
    assert set(log.frame(0).rows) == {"velodyne"}
    assert len(log.sweep("velodyne", 0).points) == 3
    assert log.table("frame_attributes")["scan_is_cropped_to_view"].to_pylist() == [True]
    assert not log.has_table("ground_plane")


def test_testing_frames_have_no_labels(kitti_raw: Path, tmp_path: Path) -> None:
    (kitti_raw / "training").rename(kitti_raw / "testing")
    log = convert(kitti_raw, tmp_path / "out")
    assert (log.name, log.split, len(log.boxes(0).boxes)) == ("kitti_testing_000003", "testing", 0)
    assert log.table("frame_attributes")["labelled_view"].to_pylist() == [None]


def test_a_blank_line_is_a_frame_without_objects(kitti_raw: Path, tmp_path: Path) -> None:
    (kitti_raw / "training/label_2/000003.txt").write_text("\n")
    log = convert(kitti_raw, tmp_path / "out")
    assert len(log.boxes(0).boxes) == 0
    assert log.table("dont_care").num_rows == 0


CAR = "Car 0 0 0 1 2 3 4 1.5 1.75 4.5 2 1.5 10 0"


@pytest.mark.parametrize(
    ("file", "content", "place", "message"),
    [
        ("velodyne/000003.bin", bytes(30), "000003.bin", "30 bytes"),
        ("velodyne/000003.bin", b"", "000003.bin", "empty"),
        ("velodyne/000003.bin", np.array([0, 0, 0, 0, 1, np.nan, 1, 1], np.float32).tobytes(), "byte 16", "not finite"),
        ("calib/000003.txt", None, "000003.txt", "missing"),
        ("calib/000003.txt", b"P2: 1 2 3\n", "000003.txt:1", "3 numbers, not 12"),
        ("calib/000003.txt", b"P0: " + b"0 " * 12, "000003.txt", "no P2"),
        ("calib/000003.txt", b"\xff\xfe", "000003.txt", "not plain text"),
        ("label_2/000003.txt", None, "000003.txt", "missing"),
        ("label_2/000003.txt", b"", "000003.txt", "empty"),
        ("label_2/000003.txt", f"{CAR}\n{CAR} 0.9\n".encode(), "000003.txt:2", "16 columns, not 15"),
        ("label_2/000003.txt", CAR.replace("10", "nan").encode(), "000003.txt:1", "not finite"),
        ("label_2/000003.txt", CAR.replace("10", "ten").encode(), "000003.txt:1", "ten"),
        ("label_2/000003.txt", CAR.replace("4.5", "-1").encode(), "000003.txt:1", "not positive"),
        ("image_2/000003.png", b"GIF89a", "000003.png", "not a PNG"),
        ("planes/000003.txt", b"# Matrix\n", "000003.txt", "1 lines"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    kitti_raw: Path, tmp_path: Path, file: str, content: bytes | None, place: str, message: str
) -> None:
    path = kitti_raw / "training" / file
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        convert(kitti_raw, tmp_path / "out")
    assert place in caught.value.place
    assert message in caught.value.what
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").glob("*"))


def test_truncated_image(kitti_raw: Path, tmp_path: Path) -> None:
    path = kitti_raw / "training/image_2/000003.png"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UserError, match="no end mark"):
        convert(kitti_raw, tmp_path / "out")


def test_a_broken_frame_does_not_stop_the_others(kitti_raw: Path, tmp_path: Path) -> None:
    (kitti_raw / "training/velodyne/000003.bin").write_bytes(bytes(7))
    report = drive_convert("kitti", kitti_raw, tmp_path / "out")
    assert report.converted == ("kitti_000011",)
    ((name, line),) = report.failed
    assert name == "kitti_000003"
    assert "7 bytes" in line
    (kitti_raw / "training/velodyne/000003.bin").write_bytes(bytes(16))
    report = drive_convert("kitti", kitti_raw, tmp_path / "out")
    assert (report.converted, report.skipped) == (("kitti_000003",), ("kitti_000011",))


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder training or testing"):
        list_logs(tmp_path, Options())
    (tmp_path / "training").mkdir()
    with pytest.raises(UserError, match="no scan"):
        list_logs(tmp_path, Options())


def test_damaged_files(kitti_raw: Path) -> None:
    training = kitti_raw / "training"
    readers = {
        "label_2/000003.txt": read_labels, "calib/000003.txt": read_calibration, "planes/000003.txt": read_plane,
        "velodyne/000003.bin": read_scan, "image_2/000003.png": lambda path: png_size(path.read_bytes(), path),
    }  # fmt: skip
    for name, reader in readers.items():
        assert check_reader(reader, training / name) > 20


# shared/data/README.md: points a scan, and points inside the boxes counted in the rectified camera frame.
REAL_POINTS = {
    "000000": 20_285, "000001": 120_268, "000002": 20_210, "000003": 18_911, "000004": 115_976, "000005": 19_962,
    "000006": 110_089, "000007": 122_798, "000009": 123_928, "000076": 114_380, "000142": 114_338,
}  # fmt: skip
REAL_INSIDE = {
    "000001": [("Truck", 70), ("Car", 9), ("Cyclist", 18)],
    "000004": [("Car", 77), ("Car", 26)],
    "000006": [("Car", 9), ("Car", 71), ("Car", 331), ("Car", 26)],
    "000007": [("Car", 191), ("Car", 19), ("Car", 5), ("Cyclist", 25)],
    "000009": [("Car", 219), ("Car", 4), ("Car", 1)],
}

REAL_RANGES = {  # category, boxes, fewest and most points
    "000076": [("Pedestrian", 8, 57, 621), ("Cyclist", 1, 360, 360)],
    "000142": [("Car", 9, 37, 3_261), ("Pedestrian", 4, 18, 334), ("Cyclist", 1, 914, 914)],
}


def test_real_frames(real_data: Path, tmp_path: Path) -> None:
    raw = real_data / "kitti/object"
    boxes_in_all = 0
    for spec in list_logs(raw, Options()):
        convert_log(raw, spec, tmp_path, Options())
        log = Log.open(tmp_path / spec.name)
        points, labels = log.sweep("velodyne", 0).points, log.boxes(0)
        assert len(points) == REAL_POINTS[spec.frame_id]
        boxes_in_all += len(labels.boxes)
        # In the camera frame, from the numbers kept: exactly the counts of the README.
        numbers = np.array([labels.extra[name] for name in LABEL_NUMBERS]).T
        camera = transform_points(
            rectified_from_velodyne(matrices_of_table(log.table("calibration"))), points.astype(np.float64)
        )
        upright = np.stack([camera[:, 2], -camera[:, 0], -camera[:, 1]], axis=1)
        height, width, length, x, y, z, turn = numbers[:, 7:14].T
        exact = np.stack([z, -x, -y + height / 2, length, width, height, -turn - np.pi / 2], axis=1)
        inside = points_in_box_mask(upright, exact).sum(axis=1)
        if spec.frame_id in REAL_INSIDE:
            assert list(zip(labels.category, inside.tolist(), strict=True)) == REAL_INSIDE[spec.frame_id]
        for name, count, low, high in REAL_RANGES.get(spec.frame_id, ()):
            own = [n for kind, n in zip(labels.category, inside.tolist(), strict=True) if kind == name]
            assert (len(own), min(own), max(own)) == (count, low, high)
        # Our boxes stand upright in the scanner's frame, which leans below a degree against the camera's.
        ours = points_in_box_mask(points, labels.boxes).sum(axis=1)
        assert (np.abs(ours - inside) <= np.maximum(2, 0.11 * inside)).all()
    assert boxes_in_all == 44


def test_images_by_reference(real_data: Path, tmp_path: Path) -> None:
    assert check_references("kitti", real_data / "kitti/object", tmp_path) == 7
