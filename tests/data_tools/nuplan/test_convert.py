"""nuPlan databases to logs: a log and a map in their raw shape, bad input, damaged files."""

from __future__ import annotations

import pickle
import sqlite3
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from data_tools.nuplan import NuplanLog, Options, convert_log, list_logs
from data_tools.nuplan.geopackage import read_geopackage
from data_tools.nuplan.pcd import read_pcd
from data_tools.nuplan.sqlite import open_database
from data_tools.nuplan.tables import read_boxes, read_lidar_pcs, read_mounts, read_poses
from data_tools.verify import verify_log
from drive.errors import UserError
from drive.logs.maps import contains
from drive.logs.store import Log
from tests.data_tools.fuzzing import check_reader
from tests.data_tools.nuplan.worlds import EAST, NORTH, START_US, key, pcd, write_log, write_map, write_sensors
from tests.data_tools.reference_images import check_references

NAME = "2021.05.12.22.00.38_veh-35_01008_01518"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Folder with one database below mini/."""
    write_log(tmp_path / "raw/mini" / f"{NAME}.db")
    return tmp_path / "raw"


@pytest.fixture
def whole(raw: Path, tmp_path: Path) -> Options:
    """Options with the map and the sensor data."""
    write_map(tmp_path / "maps")
    write_sensors(tmp_path / "sensors")
    return Options(maps=str(tmp_path / "maps"), sensor_blobs=str(tmp_path / "sensors"))


def convert(raw: Path, out: Path, options: Options | None = None) -> Log:
    (spec,) = list_logs(raw, options or Options())
    convert_log(raw, spec, out, options or Options())
    return Log.open(out / spec.name)


def test_boxes_and_poses_by_hand(raw: Path, tmp_path: Path) -> None:
    log = convert(raw, tmp_path / "out")
    assert (log.name, log.split, log.location, log.num_frames) == (NAME, "mini", "us-nv-las-vegas-strip", 4)
    frame = log.frame(2)
    assert (frame.timestamp_ns, frame.token) == ((START_US + 100_000) * 1000, key(7, 2).hex())
    np.testing.assert_allclose(frame.global_from_ego[:3, 3], [EAST, NORTH + 1.0, 600.0], atol=1e-9)
    boxes = log.boxes(2)
    assert (boxes.category, boxes.track_token) == (["vehicle", "traffic_cone"], [key(3, 0).hex(), key(3, 1).hex()])
    # The ego looks north: north is x, west is y. The car is 3 m west, 19.4 m ahead, drives ahead at 4 m/s.
    expected = [[19.4, 3, 1, 4.5, 2, 1.6, 0, 4, 0], [-1, -5, 0.4, 0.4, 0.4, 0.8, -np.pi / 2, 0, 0]]
    np.testing.assert_allclose(boxes.boxes, expected, atol=1e-6)
    assert boxes.extra["confidence"] == [0.9, 1.0]
    assert boxes.source_translation[0].tolist() == [EAST - 3.0, NORTH + 20.4, 601.0]
    assert boxes.source_size[0].tolist() == [2.0, 4.5, 1.6]
    assert log.boxes(1).velocity_valid.tolist() == [False, True]
    assert verify_log(log.path).problems == []


def test_tables(raw: Path, tmp_path: Path) -> None:
    log = convert(raw, tmp_path / "out")
    ego = log.table("ego").to_pylist()[0]
    assert ego == {
        "timestamp_ns": (START_US - 1000) * 1000, "vx_mps": 10.0, "vy_mps": 0.0, "ax_mps2": 0.25, "ay_mps2": 0.5,
        "yaw_rate_rps": 0.1, "steering_rad": None,
    }  # fmt: skip
    lights = [
        (row["frame"], row["feature_id"], row["state"], row["source_state"]) for row in log.table("lights").to_pylist()
    ]
    assert lights == [(0, "77", "red", "red"), (1, "77", "unknown", "violet")]
    assert log.table("scenario_tags").to_pylist() == [
        {"frame": 1, "type": "following_lane_with_lead", "track": key(3, 0).hex()},
        {"frame": 1, "type": "medium_magnitude_speed", "track": None},
    ]
    assert log.table("scenes").to_pylist() == [
        {"scene_token": key(2, 0).hex(), "name": "scene-000", "roadblock_ids": ["100", "101", "102"]}
    ]
    assert log.table("frame_attributes")["scene_token"].to_pylist() == [key(2, 0).hex()] * 4


def test_every_second_frame(raw: Path, tmp_path: Path) -> None:
    log = convert(raw, tmp_path / "out", Options(every=2))
    assert [log.frame(k).token for k in range(log.num_frames)] == [key(7, 0).hex(), key(7, 2).hex()]
    assert [len(log.boxes(k).boxes) for k in range(2)] == [2, 2]
    assert log.table("scenario_tags").num_rows == 0


def test_map(raw: Path, whole: Options, tmp_path: Path) -> None:
    log = convert(raw, tmp_path / "out", replace(whole, sensor_blobs=""))
    features = {(f.kind, f.feature_id): f for f in log.map_features()}
    assert sorted(features) == sorted(
        [
            ("lane", "10"), ("lane", "11"), ("lane_connector", "77"), ("centerline", "10"), ("centerline", "77"),
            ("road_block", "100"), ("road_block", "102"), ("road_block_connector", "101"), ("road_segment", "5"),
            ("ped_crossing", "6"), ("stop_line", "7"), ("lane_divider", "8"),
        ]
    )  # fmt: skip
    assert features["lane", "10"].successors == ("77",)
    assert features["lane", "11"].predecessors == ("77",)
    connector = features["lane_connector", "77"]
    assert (connector.predecessors, connector.successors) == (("10",), ("11",))
    assert connector.attributes["speed_limit_mps"] == 8.0
    assert features["road_block_connector", "101"].successors == ("102",)
    assert features["stop_line", "7"].attributes["stop_line_type"] == "TRAFFIC_LIGHT"
    assert features["road_segment", "5"].attributes["is_intersection"] is True
    # The square of lane 10 begins at the start's longitude and latitude, whose UTM place pyproj 3.7 gave.
    lane = features["lane", "10"]
    np.testing.assert_allclose(lane.geometry[0], [EAST, NORTH, 0], atol=1e-4)
    assert len(lane.geometry) == 4
    assert contains(lane, np.array([[EAST + 2.0, NORTH + 2.0], [EAST + 2.0, NORTH + 6.0]])).tolist() == [True, False]
    assert verify_log(log.path).problems == []


def test_sensors(raw: Path, whole: Options, tmp_path: Path) -> None:
    log = convert(raw, tmp_path / "out", whole)
    assert list(log.sensors) == ["MergedPointCloud", "CAM_F0"]
    assert [log.frame(k).rows.get("CAM_F0") for k in range(4)] == [0, 1, None, None]
    sweep = log.sweep("MergedPointCloud", 1)
    assert (sweep.points[:, 0].tolist(), sweep.extra["ring"].tolist()) == ([0, 1, 2], [3, 3, 3])
    camera = log.sensors["CAM_F0"]
    assert (camera.distortion, camera.width) == (("plumb_bob", (-0.3, 0.1, 0.0, 0.0, 0.0)), 1920)
    np.testing.assert_allclose(camera.ego_from_sensor[:3, 2], [1, 0, 0], atol=1e-12)  # it looks ahead
    image = log.image("CAM_F0", 1)
    assert (image.timestamp_ns, image.source_name) == ((START_US + 60_000) * 1000, "log/CAM_F0/1.jpg")
    assert verify_log(log.path).problems == []
    without = convert(raw, tmp_path / "without", replace(whole, images=False))
    assert list(without.sensors) == ["MergedPointCloud"]


class Evil:
    """Pickles as a call of print."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run",)


@pytest.mark.parametrize(
    ("statement", "values", "message"),
    [
        ("DROP TABLE ego_pose", (), "no such table: ego_pose"),
        ("DELETE FROM lidar_pc", (), "holds no lidar_pc"),
        ("DELETE FROM log", (), "0 usable rows"),
        ("UPDATE ego_pose SET x = 'far'", (), "x is 'far', not a number"),
        ("UPDATE ego_pose SET x = 9e999", (), "x is 'inf', not a number"),
        ("UPDATE ego_pose SET qw = 0, qz = 0", (), "quaternion is not of length 1"),
        ("UPDATE lidar_pc SET ego_pose_token = x'00'", (), "names no ego_pose"),
        ("UPDATE lidar_pc SET timestamp = 5", (), "two lidar_pc at 5"),
        ("UPDATE lidar_box SET length = 0", (), "a side that is not positive"),
        ("UPDATE lidar_box SET yaw = NULL", (), "yaw is 'None'"),
        ("UPDATE lidar_box SET track_token = x'0102'", (), "track 0102 is not in the table track"),
        ("DELETE FROM category", (), "no category"),
        ("UPDATE camera SET intrinsic = ?", (pickle.dumps([1, 2]),), "shape (2,), expected (3, 3)"),
        ("UPDATE camera SET intrinsic = ?", (pickle.dumps(Evil()),), "builtins.print"),
        ("UPDATE camera SET width = 0", (), "size 0 x 1080"),
        ("UPDATE image SET filename_jpg = '../../passwd'", (), "leads out of the sensor folder"),
        ("UPDATE lidar_pc SET filename = '/etc/passwd'", (), "leads out of the sensor folder"),
        ("UPDATE traffic_light_status SET lane_connector_id = 'x'", (), "not a whole number"),
        ("UPDATE log SET map_version = 'nowhere'", (), "holds no nowhere/<version>/map.gpkg"),
        ("UPDATE log SET map_version = '../x'", (), "holds no ../x/"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    raw: Path, whole: Options, tmp_path: Path, statement: str, values: tuple[bytes, ...], message: str
) -> None:
    base = sqlite3.connect(raw / "mini" / f"{NAME}.db")
    base.execute(statement, values)
    base.commit()
    base.close()
    with pytest.raises(UserError) as caught:
        convert(raw, tmp_path / "out", whole)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE meta SET value = 'EPSG:25832'", "not a UTM zone"),
        ("DELETE FROM meta", "'nothing', not a UTM zone"),
        ("UPDATE gpkg_geometry_columns SET srs_id = 3857", "in system 3857"),
        ("UPDATE crosswalks SET geom = x'475000'", "no GeoPackage geometry"),
        ("UPDATE crosswalks SET geom = substr(geom, 1, 60)", "damaged geometry"),
        ("UPDATE meta SET value = 'EPSG:32648'", "outside the reach of EPSG:32648"),
    ],
)
def test_bad_map(tmp_path: Path, statement: str, message: str) -> None:
    path = write_map(tmp_path)
    base = sqlite3.connect(path)
    base.execute(statement)
    base.commit()
    base.close()
    with pytest.raises(UserError, match=message) as caught:
        read_geopackage(path)
    assert "map.gpkg" in str(caught.value)


def test_other_folders_are_refused(tmp_path: Path, raw: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no .db file"):
        list_logs(tmp_path / "empty", Options())
    with pytest.raises(UserError, match="not a positive number"):
        list_logs(raw, Options(every=0))
    with pytest.raises(UserError, match="is no folder"):
        list_logs(raw, Options(maps=str(tmp_path / "nowhere")))
    write_log(raw / "trainval" / f"{NAME}.db")
    with pytest.raises(UserError, match="the log is also at"):
        list_logs(raw, Options())


def test_damaged_databases(raw: Path, tmp_path: Path, whole: Options) -> None:
    outs = (tmp_path / f"out{i}" for i in count())

    def read(path: Path) -> None:
        convert_log(path.parent, NuplanLog(path), next(outs), whole)

    read(raw / "mini" / f"{NAME}.db")  # the first conversion loads and compiles what the cases shall not wait for
    assert check_reader(read, raw / "mini" / f"{NAME}.db", cases=40) > 10


def test_damaged_tables(raw: Path) -> None:
    def read(path: Path) -> None:
        with open_database(path, "log database") as database:
            read_lidar_pcs(database, read_poses(database))
            list(read_boxes(database))
            read_mounts(database, "camera")
            read_mounts(database, "lidar")

    assert check_reader(read, raw / "mini" / f"{NAME}.db") > 20


def test_damaged_maps_and_clouds(tmp_path: Path) -> None:
    path = write_map(tmp_path)
    assert check_reader(read_geopackage.__wrapped__, path) > 20
    (tmp_path / "0.pcd").write_bytes(pcd(50))
    assert check_reader(read_pcd, tmp_path / "0.pcd") > 20


def test_images_by_reference(raw: Path, whole: Options, tmp_path: Path) -> None:
    assert check_references("nuplan", raw, tmp_path / "logs", whole) == 2
