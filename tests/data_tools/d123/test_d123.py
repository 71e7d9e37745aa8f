"""123D logs both ways: the town's log written and read back, hand-made cases, bad input, damaged files."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools import nuscenes
from data_tools.convert import Choice, convert
from data_tools.d123 import D123Log, Options, convert_log, list_logs, write_d123
from data_tools.d123.__main__ import main
from data_tools.d123.labels import DEFAULT_CLASS, LABELS, category_of, class_for, label_of, names_of
from data_tools.d123.maps import map_table
from data_tools.d123.msgpack import MsgpackError, pack, unpack
from data_tools.verify import verify_log
from drive.errors import UserError
from drive.logs.maps import MapFeature
from drive.logs.store import Log
from drive.logs.writer import LogWriter
from tests.data_tools.fuzzing import check_reader
from tests.data_tools.reference_images import check_references

STILL = {"pose_translation": np.zeros(3), "pose_rotation": np.array([1.0, 0, 0, 0])}


@pytest.fixture(scope="module")
def town_log(tiny_town: Path, tmp_path_factory: pytest.TempPathFactory) -> Log:
    """The first scene of the tiny town."""
    out = tmp_path_factory.mktemp("town_logs")
    (spec,) = [spec for spec in nuscenes.list_logs(tiny_town, nuscenes.Options()) if spec.name == "scene-9001"]
    nuscenes.convert_log(tiny_town, spec, out, nuscenes.Options())
    return Log.open(out / "scene-9001")


@pytest.fixture(scope="module")
def written(town_log: Log, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That scene in 123D's form. Read only."""
    out = tmp_path_factory.mktemp("d123")
    return write_d123(town_log, out)


@pytest.fixture(scope="module")
def back(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Log:
    """And read back."""
    out = tmp_path_factory.mktemp("back")
    (spec,) = list_logs(written.parents[2], Options(licence="none"))
    convert_log(written.parents[2], spec, out, Options(licence="none"))
    return Log.open(out / spec.name)


def test_both_ways_frames_and_boxes(town_log: Log, back: Log) -> None:
    assert verify_log(back.path).problems == []
    assert (back.name, back.dataset, back.location) == ("scene-9001", "nuscenes", town_log.location)
    assert back.num_frames == town_log.num_frames
    for k in range(back.num_frames):
        ours, theirs = town_log.frame(k), back.frame(k)
        assert theirs.timestamp_ns == ours.timestamp_ns // 1000 * 1000
        np.testing.assert_allclose(theirs.global_from_ego, ours.global_from_ego, atol=1e-9)
        a, b = town_log.boxes(k), back.boxes(k)
        assert (b.category, b.track_token) == (a.category, a.track_token)
        np.testing.assert_allclose(b.boxes, a.boxes, atol=1e-9)
        np.testing.assert_array_equal(b.velocity_valid, a.velocity_valid)
        np.testing.assert_array_equal(b.num_lidar_points, a.num_lidar_points)


def test_both_ways_sensors(town_log: Log, back: Log) -> None:
    cameras = [name for name, sensor in town_log.sensors.items() if sensor.modality == "camera"]
    assert set(back.sensors) == {"LIDAR_TOP", *cameras}
    for name in back.sensors:
        ours, theirs = town_log.sensors[name], back.sensors[name]
        np.testing.assert_allclose(theirs.ego_from_sensor, ours.ego_from_sensor, atol=1e-9)
        np.testing.assert_allclose(back.sweep_poses(name), town_log.sweep_poses(name), atol=1e-9)
        assert [back.frame(k).rows[name] for k in range(4)] == [town_log.frame(k).rows[name] for k in range(4)]
        if ours.modality == "camera":
            np.testing.assert_allclose(theirs.intrinsics, ours.intrinsics, rtol=1e-12)
            assert all(back.image(name, k).data == town_log.image(name, k).data for k in range(4))
    assert back.num_sweeps("LIDAR_TOP") == town_log.num_sweeps("LIDAR_TOP") == 40
    for row in (0, 39):
        a, b = town_log.sweep("LIDAR_TOP", row), back.sweep("LIDAR_TOP", row)
        assert a.columns == ("x", "y", "z", "intensity", "ring")
        np.testing.assert_allclose(b.points[:, :3], a.points[:, :3], atol=2e-5)
        np.testing.assert_array_equal(b.points[:, 3], a.points[:, 3])
        np.testing.assert_array_equal(b.extra["ring"], a.points[:, 4])
    ego = back.table("ego")
    assert ego.num_rows > 0
    assert np.isfinite(ego["vx_mps"].to_numpy()).all()


def test_both_ways_map(town_log: Log, back: Log) -> None:
    def areas(log: Log, kind: str) -> list[int]:
        return sorted(len(f.geometry) for f in log.map_features((kind,)))

    for kind in ("ped_crossing", "walkway", "carpark_area", "drivable_area", "stop_line"):
        assert areas(back, kind) == areas(town_log, kind)
    lanes, connectors = town_log.map_features(("lane",)), town_log.map_features(("lane_connector",))
    centred = {f.feature_id for f in town_log.map_features(("centerline",))}
    with_centre = [f for f in (*lanes, *connectors) if f.feature_id in centred]
    assert len(back.map_features(("lane",))) == len(back.map_features(("centerline",))) == len(with_centre)
    links = sum(len(set(f.successors) & {g.feature_id for g in with_centre}) for f in with_centre)
    assert links == sum(len(f.successors) for f in back.map_features(("lane",))) > 0


def small_log(root: Path) -> Log:
    """One frame of a data set that 123D has no enum for, with a light over a lane, a line and an unknown velocity."""
    with LogWriter(root, "small", dataset="made_up", source_version="1", licence="none", split="val") as log:
        log.add_frame(1_000_500, rows={}, **STILL, source_timestamp=0)
        boxes = np.array([[5.0, 1, 0.5, 4, 2, 1.5, 0.25, 1, 2], [9, 0, 0.5, 1, 1, 1, 0, 0, 0]])
        log.add_boxes(
            0, boxes, ["Car", "hay bale"], ["a", "b"], velocity_valid=np.array([True, False]),
            source_translation=boxes[:, :3], source_rotation=np.tile([1.0, 0, 0, 0], (2, 1)),
            source_size=boxes[:, 3:6],
        )  # fmt: skip
        ring = np.array([[0.0, -2, 0], [10, -2, 0], [10, 2, 0], [0, 2, 0]])
        log.add_map_feature("7", "lane", ring, is_polygon=True, attributes={"speed_limit_mps": 13.5})
        log.add_map_feature("7", "centerline", np.array([[0.0, 0, 0], [10, 0, 0]]), is_polygon=False)
        log.add_map_feature("8", "lane", ring + 50, is_polygon=True)  # no centre line: left out
        log.add_map_feature("9", "road_line", ring[:2], is_polygon=False)
        log.add_table(
            "lights",
            pa.table(
                {
                    "frame": pa.array([0, 0], pa.int32()), "feature_id": ["7", "8"], "state": ["arrow_red", "green"],
                    "stop_point": pa.nulls(2, pa.list_(pa.field("item", pa.float64(), nullable=False), 3)),
                    "source_state": ["x", "y"],
                }
            ),
        )  # fmt: skip
    return Log.open(root / "small")


def test_small_log_by_hand(tmp_path: Path) -> None:
    folder = write_d123(small_log(tmp_path / "logs"), tmp_path / "d123")
    assert folder == tmp_path / "d123/logs/made_up_val/small"
    table = pa.ipc.open_file(folder / "box_detections_se3.arrow").read_all()
    row = {name.split(".", 1)[1]: column[0].as_py() for name, column in zip(table.column_names, table, strict=True)}
    assert (row["timestamp_us"], row["label"], row["velocity_3d"]) == (1000, [1, 11], [[1, 2, 0], None])
    np.testing.assert_allclose(
        row["bounding_box_se3"][0], [5, 1, 0.5, np.cos(0.125), 0, 0, np.sin(0.125), 4, 2, 1.5], atol=1e-12
    )
    features = pa.ipc.open_file(folder / "map.arrow").read_all().to_pylist()
    assert [(f["object_id"], f["map_layer"]) for f in features] == [(0, 0), (0, 9)]
    lane = unpack(features[0]["features"])
    assert (lane["left_boundary"].tolist(), lane["speed_limit_mps"]) == ([[0, 2, 0], [10, 2, 0]], 13.5)
    assert lane["right_boundary"].tolist() == [[0, -2, 0], [10, -2, 0]]
    (spec,) = list_logs(tmp_path / "d123", Options())
    convert_log(tmp_path, spec, tmp_path / "back", Options())
    back = Log.open(tmp_path / "back/small")
    assert back.boxes(0).category == ["vehicle", "other"]
    (light,) = back.table("lights").to_pylist()
    assert (light["feature_id"], light["state"]) == ("0", "red")
    assert verify_log(back.path).problems == []
    with pytest.raises(UserError, match="is there already"):
        write_d123(small_log(tmp_path / "again"), tmp_path / "d123")


def test_empty_log(tmp_path: Path) -> None:
    with LogWriter(tmp_path, "empty", dataset="made_up", source_version="1", licence="none"):
        pass
    folder = write_d123(Log.open(tmp_path / "empty"), tmp_path / "d123")
    with pytest.raises(UserError, match="has no frames"):
        convert_log(tmp_path, D123Log(folder), tmp_path / "back", Options())


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = small_log(tmp_path / "logs")
    assert main([str(log.path), str(tmp_path / "out")]) == 0
    assert main([str(log.path), str(tmp_path / "out")]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main([]) == 2


def rewrite(path: Path, **columns: pa.Array) -> None:
    """Replace columns of a file (dots of their names written as two underscores)."""
    table = pa.ipc.open_file(pa.OSFile(str(path), "rb")).read_all()
    for name, values in columns.items():
        full = name.replace("__", ".")
        table = table.set_column(table.column_names.index(full), full, values)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize(
    ("file", "columns", "message"),
    [
        ("sync", {"sync__timestamp_us": pa.array([-1])}, "out of range"),
        ("sync", {"box_detections_se3": pa.array([5])}, "points beyond the file's 1 rows"),
        ("ego_state_se3", {"ego_state_se3__imu_se3": pa.array([None], pa.list_(pa.float64()))}, "has no ego state"),
        ("ego_state_se3", {"ego_state_se3__imu_se3": pa.array([[0.0] * 7])}, "quaternion is not of length 1"),
        ("ego_state_se3", {"ego_state_se3__timestamp_us": pa.array([10**9])}, "do not reach the sensors' times"),
        ("box_detections_se3", {"box_detections_se3__label": pa.array([[1]])}, "different numbers of boxes"),
        (
            "box_detections_se3",
            {"box_detections_se3__bounding_box_se3": pa.array([[[1.0], [2.0]]])},
            "is not 10 finite numbers",
        ),
        ("map", {"wkb": pa.array([b"\x01", b"\x01"])}, "damaged map feature"),
        ("map", {"features": pa.array([b"\xc1", b"\x80"])}, "damaged map feature"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, file: str, columns: dict[str, pa.Array], message: str
) -> None:
    folder = write_d123(small_log(tmp_path / "logs"), tmp_path / "d123")
    rewrite(folder / f"{file}.arrow", **columns)
    with pytest.raises(UserError) as caught:
        convert_log(tmp_path, D123Log(folder), tmp_path / "out", Options())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").glob("*"))


def test_what_is_not_in_the_log_is_named(tmp_path: Path, written: Path, back: Log) -> None:
    """A camera stored by path, and a modality that we do not read."""
    folder = tmp_path / "logs/x/scene"
    folder.mkdir(parents=True)
    for path in written.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    rewrite(folder / "camera.pcam_f0.arrow", camera__pcam_f0__data=pa.array([f"f/{k}.jpg" for k in range(4)]))
    (folder / "radar.radar_top.arrow").write_bytes(b"")
    convert_log(tmp_path, D123Log(folder), tmp_path / "out", Options())
    log = Log.open(tmp_path / "out/scene")
    rows = log.table("d123_references").to_pylist()
    assert [row["path"] for row in rows] == [*(f"f/{k}.jpg" for k in range(4)), None]
    assert rows[4]["modality"] == "radar.radar_top"
    assert "CAM_FRONT" not in log.frame(0).rows
    assert back.table("d123_references").num_rows == 0


def by_path(written: Path, folder: Path, camera: str, root: Path) -> Path:
    """A copy of a log whose images of one camera are stored by path; the images themselves below `root`."""
    folder.mkdir(parents=True)
    for path in written.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    file = folder / f"{camera}.arrow"
    images = pa.ipc.open_file(file).read_all()[f"{camera}.data"].to_pylist()
    names = [f"samples/front/{k}.jpg" for k in range(len(images))]
    (root / "samples/front").mkdir(parents=True)
    for name, data in zip(names, images, strict=True):
        (root / name).write_bytes(data)
    rewrite(file, **{f"{camera}.data".replace(".", "__"): pa.array(names)})
    for other in folder.glob("camera.*.arrow"):
        if other != file:
            other.unlink()
    return folder


def test_images_stored_by_path(town_log: Log, written: Path, tmp_path: Path) -> None:
    folder, root = tmp_path / "logs/x/scene", tmp_path / "root"
    by_path(written, folder, "camera.pcam_f0", root)
    assert check_references("d123", tmp_path / "logs", tmp_path / "out", Options(image_root=str(root))) == 4
    log = Log.open(tmp_path / "out/referenced/scene")
    assert log.image("CAM_FRONT", 3).data == town_log.image("CAM_FRONT", 3).data
    assert log.image("CAM_FRONT", 3).source_name == "samples/front/3.jpg"
    assert log.table("d123_references").num_rows == 0
    # One that is not there is listed; one that is no image, or leads out of the folder, is an error.
    (root / "samples/front/0.jpg").unlink()
    convert_log(tmp_path, D123Log(folder), tmp_path / "three", Options(image_root=str(root)))
    assert Log.open(tmp_path / "three/scene").num_sweeps("CAM_FRONT") == 3
    assert Log.open(tmp_path / "three/scene").table("d123_references")["path"].to_pylist() == ["samples/front/0.jpg"]
    (root / "samples/front/1.jpg").write_bytes(b"GIF89a")
    with pytest.raises(UserError, match=r"front/1\.jpg: is neither a JPEG nor a PNG image"):
        convert_log(tmp_path, D123Log(folder), tmp_path / "none", Options(image_root=str(root)))
    rewrite(folder / "camera.pcam_f0.arrow", camera__pcam_f0__data=pa.array(["../../etc/passwd"] * 4))
    with pytest.raises(UserError, match="leads out of the sensor folder"):
        convert_log(tmp_path, D123Log(folder), tmp_path / "none", Options(image_root=str(root)))


def test_images_in_the_log_cannot_be_referred_to(written: Path, tmp_path: Path) -> None:
    report = convert("d123", written.parents[2], tmp_path / "out", choice=Choice(reference_images=True))
    assert [name for name, _ in report.failed] == ["scene-9001"]
    assert "its images lie inside records: there is no file to refer to" in report.failed[0][1]


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no sync\.arrow"):
        list_logs(tmp_path, Options())
    with pytest.raises(UserError, match="is no folder"):
        list_logs(tmp_path, Options(maps=str(tmp_path / "nowhere")))


def test_damaged_files(tmp_path: Path) -> None:
    folder = write_d123(small_log(tmp_path / "logs"), tmp_path / "d123")
    outs = (tmp_path / f"out{i}" for i in count())
    files = sorted(folder.iterdir())
    assert len(files) == 5
    convert_log(folder, D123Log(folder), next(outs), Options())  # loads and compiles what the cases shall not wait for
    assert check_reader(lambda root: convert_log(root, D123Log(root), next(outs), Options()), files, root=folder) > 20


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=20),
    max_leaves=30,
)


@given(VALUES)
def test_msgpack_both_ways(value: object) -> None:
    assert unpack(pack(value)) == value


def test_msgpack_by_hand() -> None:
    """The example of msgpack.org, sizes on either side of the prefixes, and 123D's arrays."""
    assert pack({"compact": True, "schema": 0}) == b"\x82\xa7compact\xc3\xa6schema\x00"
    for length in (15, 16, 31, 32, 255, 256, 65535, 65536):
        assert unpack(pack("a" * length)) == "a" * length
        assert unpack(pack([1] * length)) == [1] * length
    array = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(unpack(pack({"line": array}))["line"], array)
    assert unpack(pack(np.zeros((0, 3)))).shape == (0, 3)
    for data, message in (
        (b"", "truncated"), (b"\xc1", "not used"), (b"\x01\x02", "follow the value"),
        (b"\xdd\xff\xff\xff\xff", "elements"),
        (b"\x91" * 40 + b"\x00", "too deeply"), (b"\xa1\xff", "not UTF-8"), (b"\x81\xc0\x00", "a key of type"),
        (pack({b"__ndarray__": True, b"dtype": "O", b"shape": [1], b"data": b""}), "dtype"),
        (pack({b"__ndarray__": True, b"dtype": "<f8", b"shape": [2**62, 2], b"data": b""}), "shape"),
    ):  # fmt: skip
        with pytest.raises(MsgpackError, match=message):
            unpack(data)


def test_labels() -> None:
    assert class_for({"vehicle.car", "animal"}).endswith("NuScenesBoxDetectionLabel")
    assert class_for({"Car"}) == DEFAULT_CLASS
    for path, names in LABELS.items():
        assert names_of(path) == names_of(path.rsplit(".", 1)[1]) == names
        assert [category_of(names, label_of(path, name)) for name in names] == list(names)
    assert category_of(names_of("Unknown"), 4) == "label_4"
    assert label_of(DEFAULT_CLASS, "Person_sitting") == 4


def test_features_without_a_layer_are_left_out() -> None:
    line = np.array([[0.0, 0, 0], [1, 0, 0]])
    features = [MapFeature("1", "traffic_light", line, False), MapFeature("2", "ped_crossing", line, True)]
    table, lanes = map_table(features, {})
    assert (table.num_rows, lanes) == (0, {})
