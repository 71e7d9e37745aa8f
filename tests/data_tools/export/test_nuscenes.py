"""A log written back as nuScenes: equal to what it came from, and opened by the devkit."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import data_tools.nuscenes as converter
from data_tools.export import export_nuscenes
from data_tools.export.__main__ import main
from drive.errors import UserError
from drive.logs.store import Log, list_logs
from drive.logs.writer import LogWriter
from tests.data_tools.nuscenes.conftest import build
from tests.data_tools.nuscenes.test_extras import label

VERSION = "v1.0-mini"
# What a log does not keep: tokens of these tables, and which key frame a sweep between two belongs to.
MADE = {"category_token", "attribute_tokens", "sensor_token"}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = build(tmp_path_factory.mktemp("raw"))
    label(made)
    made.add_file("can_bus/scene-0103_pose.json", b'[{"utime": 1, "vel": [1.0, 2.0, 3.0]}, {"utime": 2}]')
    made.add_file("can_bus/scene-0103_route.json", b"[[1, 2]]")
    return made


@pytest.fixture(scope="module")
def exported(raw: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    logs, out = tmp_path_factory.mktemp("logs"), tmp_path_factory.mktemp("out") / "data"
    options = converter.Options()
    for spec in converter.list_logs(raw.root, options):
        converter.convert_log(raw.root, spec, logs, options)
    assert main(["nuscenes", str(logs), str(out), "--version", VERSION]) == 0
    return out


def by_token(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    return {record["token"]: record for record in json.loads((folder / f"{name}.json").read_text())}


@pytest.mark.parametrize(
    "name",
    ["scene", "log", "sample", "sample_data", "ego_pose", "calibrated_sensor", "instance", "sample_annotation",
     "lidarseg", "panoptic"],
)  # fmt: skip
def test_records_are_those_of_the_source(raw: Any, exported: Path, name: str) -> None:
    expected, found = by_token(raw.root / VERSION, name), by_token(exported / VERSION, name)
    assert set(found) == set(expected)
    for token, record in expected.items():
        for key, value in record.items():
            if key in MADE or (name == "sample_data" and key == "sample_token" and not record["is_key_frame"]):
                continue
            if name in ("lidarseg", "panoptic") and key == "filename":
                assert (exported / found[token][key]).suffix == (raw.root / value).suffix
                continue
            assert found[token][key] == value, (name, token, key)


def test_files_are_those_of_the_source(raw: Any, exported: Path) -> None:
    for record in by_token(raw.root / VERSION, "sample_data").values():
        assert (exported / record["filename"]).read_bytes() == (raw.root / record["filename"]).read_bytes()
    theirs, ours = (by_token(folder / VERSION, "lidarseg") for folder in (raw.root, exported))
    for token, record in theirs.items():
        assert (exported / ours[token]["filename"]).read_bytes() == (raw.root / record["filename"]).read_bytes()
    theirs, ours = (by_token(folder / VERSION, "panoptic") for folder in (raw.root, exported))
    for token, record in theirs.items():
        with np.load(raw.root / record["filename"]) as a, np.load(exported / ours[token]["filename"]) as b:
            np.testing.assert_array_equal(a["data"], b["data"])
    messages = json.loads((exported / "can_bus" / "scene-0103_pose.json").read_text())
    assert messages == [{"utime": 1, "vel": [1.0, 2.0, 3.0]}, {"utime": 2}]
    assert (exported / "can_bus" / "scene-0103_route.json").read_bytes() == b"[[1, 2]]"


def test_converted_again_it_is_the_same_log(exported: Path, raw: Any, tmp_path: Path) -> None:
    options = converter.Options()
    for folder, name in ((raw.root, "first"), (exported, "second")):
        for spec in converter.list_logs(folder, options):
            converter.convert_log(folder, spec, tmp_path / name, options)
    for path in list_logs(tmp_path / "first"):
        first, second = Log.open(path), Log.open(tmp_path / "second" / path.name)
        for name, entry in first.manifest["files"].items():
            if not name.startswith(("extra_source", "extra_map_raster", "extra_point")):
                assert second.manifest["files"][name] == entry, name


@pytest.mark.filterwarnings("ignore")
def test_the_devkit_opens_it(exported: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("nuscenes.nuscenes", reason="nuscenes-devkit is not installed")
        from nuscenes.nuscenes import NuScenes
        from nuscenes.utils.data_classes import LidarPointCloud, RadarPointCloud
        from nuscenes.utils.data_io import load_bin_file

        opened = NuScenes(VERSION, str(exported), verbose=False)
        for sample in opened.sample:
            path, boxes, _ = opened.get_sample_data(sample["data"]["LIDAR_TOP"])
            assert len(boxes) == len(sample["anns"])
            points = LidarPointCloud.from_file(path).points
            if points.shape[1]:  # the devkit's reader of labels refuses an empty file
                name = opened.get("lidarseg", sample["data"]["LIDAR_TOP"])["filename"]
                assert points.shape[1] == len(load_bin_file(str(exported / name)))
            radar = exported / opened.get("sample_data", sample["data"]["RADAR_FRONT"])["filename"]
            if radar.stat().st_size > 600:
                assert RadarPointCloud.from_file(str(radar)).points.shape[0] == 18
            names = {opened.get("sample_annotation", token)["category_name"] for token in sample["anns"]}
            assert names <= {"vehicle.car", "human.pedestrian.adult"}
    assert {record["name"] for record in opened.category} >= {"vehicle.car", "human.pedestrian.adult"}


def foreign_log(folder: Path) -> Path:
    """A log of another data set: unit intensities, a matrix for extrinsics, boxes in the ego frame, no counts."""
    with LogWriter(folder, "drive-1", dataset="kitti", source_version="1", licence="made by a test") as log:
        matrix = np.eye(4)
        matrix[:3, 3] = [1.0, 0.0, 2.0]
        log.add_sensor(
            "velodyne", "lidar", np.zeros(3), np.array([1.0, 0, 0, 0]), columns=("x", "y", "z", "reflectance"),
            intensity_max=1.0, ego_from_sensor=matrix,
        )  # fmt: skip
        quarter = np.array([np.cos(np.pi / 4), 0.0, 0.0, np.sin(np.pi / 4)])
        for i in range(2):
            points = np.array([[4.0, 0.0, -1.0, 1.0], [9.0, 9.0, 0.0, 0.5]], np.float32)
            where = {"pose_translation": np.array([10.0, 20.0 + i, 0.0]), "pose_rotation": quarter}
            row = log.add_sweep(
                "velodyne", i * 10**8, points, where["pose_translation"], where["pose_rotation"], is_key_frame=True,
                source_timestamp=i, source_name=f"{i:06d}.bin",
            )  # fmt: skip
            log.add_frame(i * 10**8, rows={"velodyne": row}, source_timestamp=i, source_token="", **where)
            log.add_boxes(
                i, np.array([[5.0, 0.0, 1.0, 4.0, 2.0, 1.5, 0.0, 1.0, 0.0]]), ["Car"], ["7"],
                velocity_valid=np.array([True]), num_lidar_points=None, num_radar_points=None,
                source_translation=np.zeros((1, 3)), source_rotation=np.array([[1.0, 0, 0, 0]]),
                source_size=np.array([[2.0, 4.0, 1.5]]), attributes=[""], visibility=["largely occluded"],
                source_token=[""],
            )  # fmt: skip
    return folder / "drive-1"


def test_a_log_of_another_data_set(tmp_path: Path) -> None:
    out = tmp_path / "out"
    counts = export_nuscenes([foreign_log(tmp_path)], out)
    assert (counts["sample"], counts["sample_data"], counts["sample_annotation"], counts["instance"]) == (2, 2, 2, 1)
    folder = out / "v1.0-custom"
    first, second = json.loads((folder / "sample_annotation.json").read_text())
    assert first["translation"] == pytest.approx([10.0, 25.0, 1.0])
    assert first["size"] == [2.0, 4.0, 1.5]
    assert first["rotation"] == pytest.approx([np.cos(np.pi / 4), 0, 0, np.sin(np.pi / 4)])
    assert first["num_lidar_pts"] == 1
    assert first["visibility_token"] == ""
    assert (first["next"], second["prev"]) == (second["token"], first["token"])
    calibrated = json.loads((folder / "calibrated_sensor.json").read_text())[0]
    assert calibrated["translation"] == [1.0, 0.0, 2.0]
    record = json.loads((folder / "sample_data.json").read_text())[0]
    points = np.fromfile(out / record["filename"], "<f4").reshape(-1, 5)
    assert points[:, 3].tolist() == [255.0, 127.5]


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no logs"):
        export_nuscenes([], tmp_path)
    log = foreign_log(tmp_path)
    export_nuscenes([log], tmp_path / "out")
    with pytest.raises(UserError, match="is there already"):
        export_nuscenes([log], tmp_path / "out")
    assert main(["nuscenes", str(log), str(tmp_path / "out")]) == 2
