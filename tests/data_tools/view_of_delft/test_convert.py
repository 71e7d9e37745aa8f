"""View-of-Delft runs to logs: hand-made frames, bad input, damaged files, and the real frame."""

from __future__ import annotations

import io
import json
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_tools.kitti.read import jpeg_size, read_calibration
from data_tools.verify import verify_log
from data_tools.view_of_delft import Options, convert_log, list_logs
from data_tools.view_of_delft.read import read_annotations, read_pose, read_radar
from drive.errors import UserError
from drive.geometry.box import points_in_box_mask
from drive.logs.store import Log
from drive.samples.classes import VOD_CLASSES
from tests.data_tools.fuzzing import check_reader
from tests.data_tools.reference_images import check_references

CALIBRATION = """P0: 700 0 600 0 0 700 180 0 0 0 1 0
P2: 700 0 600 0 0 700 180 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 {y} 1 0 0 {z}
Tr_imu_to_velo:
"""
# 10 m ahead, 2 m to the right, on the ground; it looks to the right (rotation 0 about the lidar's -z).
LABELS = """Cyclist 1 0 0 1 2 3 4 1.5 0.75 2.0 2 1.5 10 0 1
DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10
"""


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (6, 4)).save(buffer, "JPEG")
    return buffer.getvalue()


def pose(metres: float) -> str:
    """Camera that looks along map x, ``metres`` along the way."""
    matrix = [0, 0, 1, metres, -1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 0, 1.0]
    return "".join(json.dumps({name: matrix}) + "\n" for name in ("odomToCamera", "mapToCamera", "UTMToCamera"))


def make(root: Path, steps: dict[int, float]) -> Path:
    """Frames by number and place along the way; the cyclist of LABELS in each."""
    for sensor, kinds in (
        ("lidar", ("velodyne", "calib", "label_2", "pose", "image_2")),
        ("radar", ("velodyne", "calib", "label_2")),
    ):
        for kind in kinds:
            (root / sensor / "training" / kind).mkdir(parents=True, exist_ok=True)
    lidar, radar = root / "lidar/training", root / "radar/training"
    for number, metres in steps.items():
        name = f"{number:05d}"
        (lidar / f"velodyne/{name}.bin").write_bytes(np.arange(12, dtype=np.float32).tobytes())
        (radar / f"velodyne/{name}.bin").write_bytes(np.arange(14, dtype=np.float32).tobytes())
        (lidar / f"calib/{name}.txt").write_text(CALIBRATION.format(y=0, z=0))
        (radar / f"calib/{name}.txt").write_text(CALIBRATION.format(y=1, z=2.5))
        (lidar / f"label_2/{name}.txt").write_text(LABELS)
        (lidar / f"pose/{name}.json").write_text(pose(metres))
        (lidar / f"image_2/{name}.jpg").write_bytes(jpeg())
        record = {
            "objectId": "bike", "geometry": {"size": {"height": 1.5, "width": 0.75, "length": 2.0}},
            "attributes": {"activity": "moving", "has_rider": True},
        }  # fmt: skip
        (radar / f"label_2/{name}.json").write_text(json.dumps([record]))
    return root


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two frames of one drive, a metre apart."""
    return make(tmp_path / "vod", {7: 0.0, 8: 1.0})


def convert(raw: Path, out: Path, options: Options | None = None) -> Log:
    options = options or Options()
    specs = list_logs(raw, options)
    for spec in specs:
        convert_log(raw, spec, out, options)
    return Log.open(out / specs[0].name)


def test_by_hand(raw: Path, tmp_path: Path) -> None:
    log = convert(raw, tmp_path / "out")
    assert (log.name, log.num_frames, list(log.sensors)) == ("vod_00007", 2, ["velodyne", "radar", "image_2"])
    boxes = log.boxes(0)
    # Parked in the camera frame of both frames, so it drives 1 m in 0.1 s with the ego.
    np.testing.assert_allclose(boxes.boxes, [[10, -2, -0.75, 2, 0.75, 1.5, -np.pi / 2, 10, 0]], atol=1e-12)
    assert boxes.velocity_valid.all()
    assert (boxes.track_token, boxes.attributes) == (["bike"], ["activity=moving;has_rider=True"])
    assert log.table("dont_care")["frame"].to_pylist() == [0, 1]
    # Camera axes right, down, forward: the radar's y = 1, z = 2.5 are 1 m below and 2.5 m before the lidar.
    np.testing.assert_allclose(log.sensors["radar"].ego_from_sensor[:3, 3], [2.5, 0, -1], atol=1e-12)
    assert log.sweep("radar", 1).points[1].tolist() == [7, 8, 9, 10, 11, 12, 13]
    np.testing.assert_allclose(log.frame(1).global_from_ego[:3, 3], [1, 0, 0], atol=1e-12)
    assert log.frame(1).timestamp_ns - log.frame(0).timestamp_ns == 100_000_000
    assert (log.image("image_2", 0).width, log.image("image_2", 0).height) == (6, 4)
    assert log.file_path("label_2_00008.txt").read_text() == LABELS
    assert verify_log(log.path).problems == []


def test_runs_end_at_gaps_jumps_and_splits(tmp_path: Path) -> None:
    raw = make(tmp_path / "vod", {1: 0, 2: 1, 4: 3, 5: 900, 6: 901, 7: 902})
    (raw / "lidar/ImageSets").mkdir()
    (raw / "lidar/ImageSets/train.txt").write_text("00001\n00002\n00004\n00005\n00006\n")
    (raw / "lidar/ImageSets/val.txt").write_text("00007\n")
    runs = list_logs(raw, Options())
    assert [(run.name, len(run.ids), run.split) for run in runs] == [
        ("vod_00001", 2, "train"), ("vod_00004", 1, "train"), ("vod_00005", 2, "train"), ("vod_00007", 1, "val"),
    ]  # fmt: skip


def test_without_radar_images_and_annotations(raw: Path, tmp_path: Path) -> None:
    for path in (raw / "radar/training/label_2").iterdir():
        path.unlink()
    log = convert(raw, tmp_path / "out", Options(radar="radar_3_scans", images=False))
    assert list(log.sensors) == ["velodyne"]
    assert log.boxes(0).track_token == ["00007:1"]
    assert not log.boxes(0).velocity_valid.any()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("lidar/training/velodyne/00007.bin", b"123", "3 bytes"),
        ("radar/training/velodyne/00007.bin", b"123", "28 bytes a point"),
        ("radar/training/velodyne/00007.bin", np.full(7, np.nan, np.float32).tobytes(), "not finite"),
        ("lidar/training/pose/00008.json", b'{"odomToCamera": []}\n', "no line mapToCamera"),
        ("lidar/training/pose/00008.json", b'{"mapToCamera": [1, 2]}\n', "not 16 numbers"),
        ("lidar/training/pose/00008.json", json.dumps({"mapToCamera": [2] * 16}).encode(), "not a rigid motion"),
        ("lidar/training/pose/00008.json", b'"mapToCamera"', "mapToCamera is not"),
        ("lidar/training/image_2/00008.jpg", b"\xff\xd8\xff\xd9", "states no size"),
        ("lidar/training/calib/00008.txt", CALIBRATION.format(y=3, z=0).encode(), "differs from that of 00007"),
        ("lidar/training/label_2/00008.txt", b"", "empty"),
        ("radar/training/label_2/00008.json", b"[{}]", "lacks its size"),
        ("radar/training/label_2/00008.json", b"[" * 100_000, "not JSON"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    raw: Path, tmp_path: Path, file: str, content: bytes, message: str
) -> None:
    (raw / file).write_bytes(content)
    with pytest.raises(UserError) as caught:
        convert(raw, tmp_path / "out")
    assert message in str(caught.value)
    assert Path(file).name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").glob("*8*"))
    assert not list((tmp_path / "out").glob(".*"))


READERS = {
    "velodyne": read_radar, "pose": read_pose, "label_2": read_annotations, "calib": read_calibration,
    "image_2": lambda path: jpeg_size(path.read_bytes(), path),
}  # fmt: skip


def test_damaged_files(raw: Path) -> None:
    for kind, reader in READERS.items():
        sensor = "lidar" if kind in ("pose", "calib", "image_2") else "radar"
        (path,) = (raw / sensor / "training" / kind).glob("00008*")
        assert check_reader(reader, path) > 20


def test_damaged_folders(raw: Path, tmp_path: Path) -> None:
    outs = (tmp_path / f"out{i}" for i in count())
    files = [path for path in sorted(raw.rglob("*00008*")) if path.is_file()]
    assert len(files) == 8
    convert(raw, next(outs))  # the first conversion loads and compiles what the cases shall not wait for
    assert check_reader(lambda root: convert(root, next(outs)), files, root=raw, cases=40) > 4


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no scan in lidar"):
        list_logs(tmp_path, Options())
    with pytest.raises(UserError, match="not a folder's name"):
        list_logs(tmp_path, Options(radar="../radar"))


def test_real_frame(real_data: Path, tmp_path: Path) -> None:
    raw = real_data / "view_of_delft/example_set"
    log = convert(raw, tmp_path / "out")
    scan, radar, boxes = log.sweep("velodyne", 0), log.sweep("radar", 0), log.boxes(0)
    assert (len(scan.points), len(radar.points), len(boxes.boxes)) == (167_772, 322, 15)
    assert (log.image("image_2", 0).width, log.image("image_2", 0).height) == (1936, 1216)
    counts = {name: boxes.category.count(name) for name in boxes.category}
    assert counts == {
        "bicycle": 3, "Pedestrian": 3, "Cyclist": 3, "rider": 3, "moped_scooter": 2, "bicycle_rack": 1,
    }  # fmt: skip
    assert len(set(boxes.track_token)) == 15
    assert (VOD_CLASSES.labels(boxes.category) >= 0).sum() == 6
    assert (points_in_box_mask(scan.points, boxes.boxes).sum(axis=1) >= 14).all()
    # The annotations give centre and yaw in the radar's place, turned upside down (x forward, y right, z down), to
    # their own last digits of the calibration: the label file's convention is read rightly.
    records = json.loads((raw / "radar/training/label_2/00549.json").read_text())
    by_track = {record["objectId"]: record["geometry"] for record in records}
    flip = np.diag([1.0, -1.0, -1.0])
    ego_from_radar = log.sensors["radar"].ego_from_sensor
    for box, token in zip(boxes.boxes, boxes.track_token, strict=True):
        centre = np.array([by_track[token]["center"][axis] for axis in "xyz"])
        np.testing.assert_allclose(ego_from_radar[:3, :3] @ flip @ centre + ego_from_radar[:3, 3], box[:3], atol=0.02)
        q = by_track[token]["quaternion"]
        yaw = -np.arctan2(2 * (q["w"] * q["z"] + q["x"] * q["y"]), 1 - 2 * (q["y"] ** 2 + q["z"] ** 2))
        assert abs(np.angle(np.exp(1j * (yaw - box[6])))) < np.deg2rad(1.5)
    assert verify_log(log.path).problems == []


def test_images_by_reference(real_data: Path, tmp_path: Path) -> None:
    assert check_references("view_of_delft", real_data / "view_of_delft/example_set", tmp_path) == 1
