"""NAVSIM / OpenScene pickles to logs: a log in its raw shape, bad input, damaged files."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.navsim import Options, convert_log, list_logs
from data_tools.navsim.read import read_log
from data_tools.verify import verify_log
from drive.errors import UserError
from drive.logs.store import Log
from tests.data_tools.fuzzing import check_reader
from tests.data_tools.nuplan.worlds import EAST, NORTH, START_US, write_map, write_sensors
from tests.data_tools.reference_images import check_references

NAME = "2021.06.07.19.43.00_veh-35_01527_01587"
HALF = np.sqrt(0.5)
# A camera that looks ahead: its x is the lidar's -y, its y the lidar's -z, its z the lidar's x.
LOOKS_AHEAD = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])


def record(k: int) -> dict[str, Any]:
    """Frame k: the ego drives north at 10 m/s; the lidar is turned left by a right angle and 1 m up."""
    return {
        "token": f"{k:016x}", "frame_idx": k, "timestamp": START_US + 500_000 * k, "log_name": NAME,
        "scene_token": "aa",
        "map_location": "us-nv-las-vegas-strip", "roadblock_ids": ["100", "101"],
        "traffic_lights": [(77, k == 0), (78, False)],
        "ego2global_translation": np.array([EAST, NORTH + 5.0 * k, 600.0]),
        "ego2global_rotation": [HALF, 0.0, 0.0, HALF],
        "lidar2ego_translation": np.array([0.0, 0.0, 1.0]), "lidar2ego_rotation": [HALF, 0.0, 0.0, HALF],
        "ego_dynamic_state": [10.0, 0.0, 0.5, 0.25], "driving_command": np.eye(4, dtype=int)[1],
        "lidar_path": f"log/MergedPointCloud/{k}.pcd",
        "cams": {
            "CAM_F0": {
                "data_path": f"log/CAM_F0/{k}.jpg", "sensor2lidar_rotation": LOOKS_AHEAD,
                "sensor2lidar_translation": np.array([1.0, 0.0, 0.5]), "cam_intrinsic": np.diag([1545.0, 1545, 1]),
                "distortion": np.array([-0.3, 0.1, 0.0, 0.0, 0.0]),
            }
        },
        "anns": {
            "gt_boxes": np.array([[20.0, 3, 1, 4.5, 2, 1.6, -np.pi / 2 - 2 * np.pi], [5, 5, 0.4, 0.4, 0.4, 0.8, 0]]),
            "gt_names": np.array(["vehicle", "traffic_cone"]),
            "gt_velocity_3d": np.array([[0.0, -4.0, 0.0], [0, 0, 0]]),
            "instance_tokens": [f"i{k}", f"j{k}"], "track_tokens": ["car", "cone"],
        },
    }  # fmt: skip


def write(root: Path, records: object) -> Path:
    path = root / "mini" / f"{NAME}.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(records, protocol=pickle.HIGHEST_PROTOCOL))
    return path


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Folder with one log of three frames below mini/."""
    write(tmp_path / "raw", [record(k) for k in range(3)])
    return tmp_path / "raw"


def convert(raw: Path, out: Path, options: Options | None = None) -> Log:
    (spec,) = list_logs(raw, options or Options())
    convert_log(raw, spec, out, options or Options())
    return Log.open(out / spec.name)


def test_by_hand(raw: Path, tmp_path: Path) -> None:
    log = convert(raw, tmp_path / "out")
    assert (log.name, log.split, log.location, log.num_frames) == (NAME, "mini", "us-nv-las-vegas-strip", 3)
    assert log.frame(1).timestamp_ns - log.frame(0).timestamp_ns == 500_000_000
    np.testing.assert_allclose(log.frame(2).global_from_ego[:3, 3], [EAST, NORTH + 10, 600], atol=1e-9)
    boxes = log.boxes(0)
    # The lidar's -y is the ego's x: the car drives ahead at 4 m/s.
    expected = [[20, 3, 1, 4.5, 2, 1.6, -np.pi / 2, 4, 0], [5, 5, 0.4, 0.4, 0.4, 0.8, 0, 0, 0]]
    np.testing.assert_allclose(boxes.boxes, expected, atol=1e-12)
    assert (boxes.category, boxes.track_token) == (["vehicle", "traffic_cone"], ["car", "cone"])
    assert boxes.source_token == ["i0", "j0"]
    lights = [(row["frame"], row["feature_id"], row["state"]) for row in log.table("lights").to_pylist()]
    assert lights[:3] == [(0, "77", "red"), (0, "78", "unknown"), (1, "77", "unknown")]
    assert log.table("navsim_frames").to_pylist()[0] == {
        "frame": 0, "scene_token": "aa", "roadblock_ids": ["100", "101"], "driving_command": "straight",
    }  # fmt: skip
    ego = log.table("ego").to_pylist()[0]
    assert (ego["vx_mps"], ego["ax_mps2"], ego["ay_mps2"], ego["yaw_rate_rps"]) == (10.0, 0.5, 0.25, None)
    assert verify_log(log.path).problems == []


def test_sensors_and_map(raw: Path, tmp_path: Path) -> None:
    write_map(tmp_path / "maps")
    write_sensors(tmp_path / "sensors", 3)
    log = convert(raw, tmp_path / "out", Options(maps=str(tmp_path / "maps"), sensor_blobs=str(tmp_path / "sensors")))
    assert [log.frame(k).rows for k in range(3)] == [
        {"MergedPointCloud": 0, "CAM_F0": 0}, {"MergedPointCloud": 1, "CAM_F0": 1}, {"MergedPointCloud": 2},
    ]  # fmt: skip
    np.testing.assert_allclose(log.sensors["MergedPointCloud"].ego_from_sensor[:3, 3], [0, 0, 1], atol=1e-12)
    camera = log.sensors["CAM_F0"]
    np.testing.assert_allclose(camera.ego_from_sensor[:3, 3], [0, 1, 1.5], atol=1e-12)  # the lidar's x is our left
    np.testing.assert_allclose(camera.ego_from_sensor[:3, 2], [0, 1, 0], atol=1e-12)
    assert {feature.kind for feature in log.map_features()} >= {"lane", "lane_connector", "road_block"}
    assert verify_log(log.path).problems == []


def test_frames_without_labels_and_out_of_order(tmp_path: Path) -> None:
    records = [record(1), record(0)]
    del records[0]["anns"]
    records[1]["anns"] = {
        "gt_boxes": np.zeros((0, 7)), "gt_names": np.array([]), "gt_velocity_3d": [], "instance_tokens": [],
        "track_tokens": [],
    }  # fmt: skip
    write(tmp_path / "raw", records)
    log = convert(tmp_path / "raw", tmp_path / "out")
    assert [log.frame(k).token for k in range(2)] == [f"{k:016x}" for k in range(2)]
    assert [len(log.boxes(k).boxes) for k in range(2)] == [0, 0]


def change(key: str, value: object) -> Callable[[list[dict[str, Any]]], object]:
    def apply(records: list[dict[str, Any]]) -> object:
        part: dict[str, Any] = records[1]
        *folders, last = key.split("/")
        for folder in folders:
            part = part[folder]
        part[last] = value
        return records

    return apply


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda records: {"frames": records}, "is not a NAVSIM log"),
        (lambda records: [], "is not a NAVSIM log"),
        (lambda records: [*records, Fraction(1, 2)], "fractions.Fraction"),
        (change("timestamp", START_US), "two frames at"),
        (change("timestamp", "now"), "not microseconds"),
        (change("token", None), "token is missing"),
        (change("ego2global_translation", [1.0, 2.0]), "shape (2,), expected (3,)"),
        (change("ego2global_rotation", [0.0] * 4), "quaternion is not of length 1"),
        (change("ego_dynamic_state", [np.nan] * 4), "not finite"),
        (change("traffic_lights", [1, 2]), "is not a list of (lane connector"),
        (change("anns/gt_boxes", np.zeros((2, 7))), "a side that is not positive"),
        (change("anns/gt_boxes", np.ones((1, 6))), "shape (1, 6)"),
        (change("anns/gt_names", ["vehicle"]), "1 entries for 2 boxes"),
        (change("anns/gt_velocity_3d", np.ones((3, 3))), "shape (3, 3)"),
        (change("cams/CAM_F0/sensor2lidar_rotation", np.ones((3, 3))), "is not a rotation"),
        (change("cams/CAM_F0/sensor2lidar_translation", np.ones(3)), "place changes in the log"),
        (change("cams/CAM_F0/distortion", [1.0]), "has 1 numbers, not 5"),
        (change("cams/CAM_F0/data_path", "../../passwd"), "leads out of the sensor folder"),
        (change("lidar_path", "/etc/passwd"), "leads out of the sensor folder"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, edit: Callable[[list[dict[str, Any]]], object], message: str
) -> None:
    write(tmp_path / "raw", edit([record(k) for k in range(2)]))
    write_sensors(tmp_path / "sensors", 2)
    with pytest.raises(UserError) as caught:
        convert(tmp_path / "raw", tmp_path / "out", Options(sensor_blobs=str(tmp_path / "sensors")))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").glob("*"))


def test_other_folders_are_refused(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no .pkl file"):
        list_logs(tmp_path / "empty", Options())
    with pytest.raises(UserError, match="is no folder"):
        list_logs(raw, Options(sensor_blobs=str(tmp_path / "nowhere")))


def test_damaged_files(raw: Path) -> None:
    assert check_reader(read_log, raw / "mini" / f"{NAME}.pkl") > 20


def test_images_by_reference(raw: Path, tmp_path: Path) -> None:
    options = Options(sensor_blobs=str(write_sensors(tmp_path / "sensors", 3)))
    assert check_references("navsim", raw, tmp_path / "logs", options) == 2
