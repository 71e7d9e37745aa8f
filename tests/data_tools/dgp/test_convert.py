"""DGP scenes to logs: a hand-made scene, bad input, damaged files, and the real one."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_tools.dgp import Options, convert_log, list_logs
from data_tools.dgp.read import read_annotations, read_calibration, read_ontology, read_points, read_stamp_us
from data_tools.verify import verify_log
from drive.errors import UserError
from drive.geometry.box import points_in_box_mask
from drive.logs.store import Log
from tests.data_tools.fuzzing import check_reader
from tests.data_tools.reference_images import check_references

HALF = float(np.sqrt(0.5))


def pose(x: float, y: float, z: float, yaw_quarter: bool = False) -> dict[str, Any]:
    w, q = (HALF, HALF) if yaw_quarter else (1.0, 0.0)
    return {"translation": {"x": x, "y": y, "z": z}, "rotation": {"qw": w, "qx": 0.0, "qy": 0.0, "qz": q}}


def box(x: float) -> dict[str, Any]:
    return {
        "box": {"height": 1.5, "length": 4.0, "width": 2.0, "occlusion": 0, "pose": pose(x, 1.0, 0.5)}, "class_id": 2,
        "instance_id": 77, "num_points": 3,
    }  # fmt: skip


def make(root: Path) -> Path:
    """Two samples 0.1 s apart; the ego drives 1 m to the east; a car parked 10 m before the lidar at first.

    The lidar is mounted 2 m above the vehicle's origin and turned left by a quarter: its x is the vehicle's y.
    """
    scene = root / "scene_07"
    for name in (
        "calibration",
        "ontology",
        "point_cloud/LIDAR",
        "rgb/CAM",
        "bounding_box_3d/LIDAR",
        "bounding_box_2d/CAM",
    ):
        (scene / name).mkdir(parents=True, exist_ok=True)
    flat = {"fx": 0.0, "fy": 0.0, "cx": 0.0, "cy": 0.0, "skew": 0.0}
    calibration = {
        "names": ["LIDAR", "CAM"], "extrinsics": [pose(0, 0, 2, yaw_quarter=True), pose(1, 0, 1)],
        "intrinsics": [flat, flat | {"fx": 700.0, "fy": 710.0, "cx": 4.0, "cy": 2.0}],
    }  # fmt: skip
    (scene / "calibration/c.json").write_text(json.dumps(calibration))
    (scene / "ontology/o.json").write_text(json.dumps({"items": [{"id": 2, "name": "Car"}]}))
    picture = io.BytesIO()
    Image.new("RGB", (8, 4)).save(picture, "JPEG")
    data, samples = [], []
    for k in range(2):
        np.savez_compressed(scene / f"point_cloud/LIDAR/{k}.npz", data=np.arange(8.0).reshape(2, 4) / 10)
        (scene / f"rgb/CAM/{k}.jpg").write_bytes(picture.getvalue())
        (scene / f"bounding_box_3d/LIDAR/{k}.json").write_text(json.dumps({"annotations": [box(10.0)]}))
        flat_box = {"box": {"x": 1, "y": 2, "w": 3, "h": 4}, "class_id": 2, "instance_id": 77}
        (scene / f"bounding_box_2d/CAM/{k}.json").write_text(json.dumps({"annotations": [flat_box]}))
        stamp = f"2019-05-03T12:00:00.{k}00000Z"
        cloud = {
            "filename": f"point_cloud/LIDAR/{k}.npz", "point_format": ["X", "Y", "Z", "INTENSITY"],
            "annotations": {"1": f"bounding_box_3d/LIDAR/{k}.json"}, "pose": pose(100.0 + k, 50, 2, yaw_quarter=True),
        }  # fmt: skip
        image = {
            "filename": f"rgb/CAM/{k}.jpg", "annotations": {"0": f"bounding_box_2d/CAM/{k}.json"},
            "pose": pose(101.0 + k, 50, 1),
        }  # fmt: skip
        for name, kind, record in (("LIDAR", "point_cloud", cloud), ("CAM", "image", image)):
            data.append({"id": {"name": name, "timestamp": stamp}, "key": f"{name}{k}", "datum": {kind: record}})
        keys = [f"LIDAR{k}", f"CAM{k}"]
        samples.append({"id": {"timestamp": stamp}, "calibration_key": "c", "datum_keys": keys})
    record = {"log": "here", "samples": samples, "data": data, "ontologies": {"0": "o", "1": "o"}}
    (scene / "scene_1.json").write_text(json.dumps(record))
    return scene


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Folder with the scene of make()."""
    return make(tmp_path / "raw").parent


def convert(raw: Path, out: Path, options: Options | None = None) -> Log:
    (spec,) = list_logs(raw, options or Options())
    convert_log(raw, spec, out, options or Options())
    return Log.open(out / spec.name)


def test_by_hand(raw: Path, tmp_path: Path) -> None:
    log = convert(raw, tmp_path / "out")
    assert (log.name, log.num_frames, log.location) == ("scene_07", 2, "here")
    assert log.frame(1).timestamp_ns - log.frame(0).timestamp_ns == 100_000_000
    np.testing.assert_allclose(log.frame(1).global_from_ego[:3, 3], [101, 50, 0], atol=1e-9)
    np.testing.assert_allclose(log.frame(1).global_from_ego[:3, :3], np.eye(3), atol=1e-9)
    boxes = log.boxes(0)
    # 10 m along the lidar's x = the vehicle's y; 1 m to the lidar's left = behind; it moves with the ego.
    np.testing.assert_allclose(boxes.boxes, [[-1, 10, 2.5, 4, 2, 1.5, np.pi / 2, 10, 0]], atol=1e-8)
    assert (boxes.category, boxes.track_token, boxes.num_lidar_points.tolist()) == (["Car"], ["77"], [3])
    assert boxes.velocity_valid.all()
    assert log.frame(0).rows == {"CAM": 0, "LIDAR": 0}
    np.testing.assert_array_equal(log.sweep("LIDAR", 0).points, (np.arange(8.0).reshape(2, 4) / 10).astype(np.float32))
    camera = log.sensors["CAM"]
    assert camera.intrinsics is not None
    assert (camera.intrinsics[0, 0], camera.intrinsics[1, 1], camera.width) == (700.0, 710.0, 8)
    labels = log.table("camera_labels").to_pylist()
    assert labels[1] == {
        "frame": 1, "sensor": "CAM", "category": "Car", "track": "77", "x_min": 1.0, "y_min": 2.0, "x_max": 4.0,
        "y_max": 6.0,
    }  # fmt: skip
    assert verify_log(log.path).problems == []
    assert list(convert(raw, tmp_path / "flat", Options(images=False)).sensors) == ["LIDAR"]


def test_times() -> None:
    def stamp(value: str) -> int:
        return read_stamp_us({"id": {"timestamp": value}}, "here")

    assert stamp("1970-01-01T00:00:01.5Z") == 1_500_000
    assert stamp("1970-01-01T00:00:01.5") == 1_500_000
    assert stamp("2463-05-15T00:38:58.203752Z") == 1_556_919_593_820_375
    for value, message in (("yesterday", "is not a time"), ("1960-01-01T00:00:00Z", "before 1970")):
        with pytest.raises(UserError, match=message):
            stamp(value)


def edit(path: Path, change: Callable[[Any], object]) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("scene_1.json", lambda r: r.pop("samples"), "has no samples"),
        ("scene_1.json", lambda r: r["samples"][0].update(calibration_key="d"), "2 calibrations"),
        ("scene_1.json", lambda r: r["samples"][0].update(datum_keys=[]), "names no image"),
        ("scene_1.json", lambda r: r["data"][0]["id"].update(name="SONAR"), "not in the calibration"),
        ("scene_1.json", lambda r: r["data"][0]["datum"]["point_cloud"].pop("pose"), "has no translation"),
        ("scene_1.json", lambda r: r["data"][0]["datum"]["point_cloud"].update(filename="../../x"), "leads out"),
        ("scene_1.json", lambda r: r["data"][0]["datum"]["point_cloud"].update(point_format=["R"]), "not x y z"),
        ("scene_1.json", lambda r: r["data"][2]["id"].update(timestamp="2019-05-03T12:00:00Z"), "of the same time"),
        ("scene_1.json", lambda r: r["ontologies"].pop("1"), "class 2 is not in the ontology"),
        ("calibration/c.json", lambda r: r["names"].pop(), "1 names, 2 extrinsics"),
        ("calibration/c.json", lambda r: r["intrinsics"][1].update(k4=0.1), "a lens with k4"),
        ("calibration/c.json", lambda r: r["extrinsics"][1]["rotation"].update(qw=0), "not of length 1"),
        ("bounding_box_3d/LIDAR/1.json", lambda r: r["annotations"][0].pop("box"), "has no box"),
        (
            "bounding_box_3d/LIDAR/1.json",
            lambda r: r["annotations"][0]["box"].update(length=-1),
            "a side that is not positive",
        ),
        ("bounding_box_2d/CAM/1.json", lambda r: r["annotations"][0]["box"].update(x="1"), "is not a number"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    raw: Path, tmp_path: Path, file: str, change: Callable[[Any], object], message: str
) -> None:
    edit(raw / "scene_07" / file, change)
    with pytest.raises(UserError) as caught:
        convert(raw, tmp_path / "out")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").glob("*"))


def test_bad_clouds(tmp_path: Path) -> None:
    path = tmp_path / "0.npz"
    for data, message in (
        (np.zeros((2, 3)), "expected floats of the columns"), (np.zeros((2, 4), int), "expected floats"),
        (np.full((2, 4), np.inf), "not finite"),
    ):  # fmt: skip
        np.savez(path, data=data)
        with pytest.raises(UserError, match=message):
            read_points(path, ["x", "y", "z", "intensity"])
    np.savez(path, other=np.zeros((2, 4)))
    with pytest.raises(UserError, match="not a readable npz"):
        read_points(path, ["x", "y", "z", "intensity"])


def test_damaged_files(raw: Path, tmp_path: Path) -> None:
    scene = raw / "scene_07"
    readers: dict[str, Callable[[Path], object]] = {
        "point_cloud/LIDAR/0.npz": lambda path: read_points(path, ["x", "y", "z", "intensity"]),
        "calibration/c.json": read_calibration, "ontology/o.json": read_ontology,
        "bounding_box_3d/LIDAR/0.json": read_annotations,
    }  # fmt: skip
    for name, reader in readers.items():
        assert check_reader(reader, scene / name) > 20
    outs = (tmp_path / f"out{i}" for i in count())
    files = sorted(path for path in scene.rglob("*") if path.is_file())
    convert(raw, next(outs))  # the first conversion loads and compiles what the cases shall not wait for
    assert check_reader(lambda root: convert(root, next(outs)), files, root=raw, cases=60) > 4


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no scene_"):
        list_logs(tmp_path, Options())


def test_real_scene(real_data: Path, tmp_path: Path) -> None:
    log = convert(real_data / "tri_dgp", tmp_path / "out")
    assert (log.name, log.num_frames) == ("scene_01", 3)
    frames = [log.frame(k) for k in range(3)]
    np.testing.assert_allclose(np.diff([f.timestamp_ns for f in frames]), 1e8, rtol=1e-3)  # 10 Hz
    points = [log.sweep("LIDAR", f.rows["LIDAR"]).points for f in frames]
    assert [len(p) for p in points] == [40_733, 40_523, 40_239]
    boxes = [log.boxes(k) for k in range(3)]
    assert [len(b.boxes) for b in boxes] == [95, 96, 95]
    held = [int((points_in_box_mask(p, b.boxes).sum(axis=1) > 0).sum()) for p, b in zip(points, boxes, strict=True)]
    assert held == [82, 81, 82]
    assert set(log.sensors) == {"LIDAR", "CAMERA_01", "CAMERA_05", "CAMERA_06"}
    assert (log.image("CAMERA_05", 0).width, log.image("CAMERA_05", 0).height) == (1936, 1216)
    speed = np.hypot(*boxes[1].boxes[boxes[1].velocity_valid, 7:].T)
    assert 15 < speed.max() < 17
    assert np.median(speed) < 0.1
    assert verify_log(log.path).problems == []


def test_images_by_reference(real_data: Path, tmp_path: Path) -> None:
    assert check_references("dgp", real_data / "tri_dgp", tmp_path) == 9
