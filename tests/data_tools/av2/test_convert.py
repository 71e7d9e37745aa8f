"""Argoverse 2 logs: a hand-made one, bad input, and the real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import feather

from data_tools.av2 import Options, convert_log, list_logs
from data_tools.av2.maps import centerline
from data_tools.av2.velocity import track_velocities
from drive.errors import UserError
from drive.geometry.box import points_in_box_mask
from drive.logs.store import Log
from tests.data_tools.reference_images import check_references

START_NS, STEP_NS = 315_966_000_000_000_000, 100_000_000


def convert(raw: Path, out: Path, options: Options | None = None) -> Log:
    options = options or Options()
    (spec,) = list_logs(raw, options)
    convert_log(raw, spec, out, options)
    return Log.open(out / spec.name)


def folder(raw: Path) -> Path:
    return list_logs(raw, Options())[0].folder


def test_points_are_exact(av2_raw: Path, tmp_path: Path) -> None:
    log = convert(av2_raw, tmp_path / "out")
    assert (log.dataset, log.split, log.location) == ("av2_sensor", "val", "PIT")
    for step in (0, 1):
        sweep = log.sweep("lidar", step)
        stamp = START_NS + step * STEP_NS
        table = feather.read_table(folder(av2_raw) / f"sensors/lidar/{stamp}.feather")
        for i, name in enumerate(("x", "y", "z")):
            assert (sweep.points[:, i].astype(np.float16) == table[name].to_numpy()).all()
        assert sweep.points[:, 3].tolist() == table["intensity"].to_pylist()
        for name, kind in (("laser_number", np.uint8), ("offset_ns", np.int32)):
            assert sweep.extra[name].dtype == kind
            assert sweep.extra[name].tolist() == table[name].to_pylist()
        assert (sweep.timestamp_ns, sweep.source_timestamp) == (stamp, stamp)
    assert log.sensors["lidar"].intensity_max == 255
    assert (log.sensors["lidar"].ego_from_sensor == np.eye(4)).all()


def test_poses_are_recorded_or_flagged_as_interpolated(av2_raw: Path, tmp_path: Path) -> None:
    log = convert(av2_raw, tmp_path / "out")
    assert [log.sweep("lidar", row).source_pose_timestamp for row in (0, 1)] == [START_NS, None]
    flagged = {(row["sensor"], row["row"]) for row in log.table("interpolated_poses").to_pylist()}
    assert flagged == {("lidar", 1), ("ring_front_center", 0), ("frame", 1)}
    np.testing.assert_allclose(log.sweep("lidar", 0).pose_translation, [1000, 100, 5])
    np.testing.assert_allclose(log.sweep("lidar", 1).pose_translation, [1001, 100, 5])
    raw = feather.read_table(folder(av2_raw) / "city_SE3_egovehicle.feather")
    assert log.table("city_SE3_egovehicle").to_pylist() == raw.to_pylist()


def test_frames_boxes_and_derived_velocity(av2_raw: Path, tmp_path: Path) -> None:
    log = convert(av2_raw, tmp_path / "out")
    assert [set(log.frame(i).rows) for i in range(3)] == [{"lidar", "ring_front_center"}, {"lidar"}, set()]
    assert log.table("frame_attributes")["has_sweep"].to_pylist() == [True, True, False]
    first = log.boxes(0)
    assert first.track_token == ["moving", "once"]
    assert first.velocity_valid.tolist() == [True, False]
    # 2 m a step along city x at 10 Hz = 20 m/s; the ego looks along city y, so that is its -y.
    for i in range(3):
        np.testing.assert_allclose(log.boxes(i).boxes[0], [10, -i, 0.5, 4, 2, 1.5, np.pi / 2, 0, -20], atol=1e-6)
    assert first.num_lidar_points.tolist() == [7, 7]
    assert first.source_size.tolist() == [[4, 2, 1.5]] * 2
    assert first.extra["source_row"] == [0, 3]
    raw = feather.read_table(folder(av2_raw) / "annotations.feather")
    assert first.source_rotation[0].tolist() == [raw[name][0].as_py() for name in ("qw", "qx", "qy", "qz")]


def test_point_counts_may_be_absent(av2_raw: Path, tmp_path: Path) -> None:
    path = folder(av2_raw) / "annotations.feather"
    feather.write_feather(feather.read_table(path).drop_columns(["num_interior_pts"]), path)
    assert not convert(av2_raw, tmp_path / "out").boxes(0).num_lidar_points_valid.any()


def test_image_calibration_and_option(av2_raw: Path, tmp_path: Path) -> None:
    log = convert(av2_raw, tmp_path / "out")
    sensor = log.sensors["ring_front_center"]
    np.testing.assert_array_equal(sensor.intrinsics, [[1700.5, 0, 780], [0, 1701, 1020], [0, 0, 1]])
    assert (sensor.width, sensor.height, sensor.distortion) == (1550, 2048, None)
    assert log.image("ring_front_center", 0).data == b"\xff\xd8\xff\xe0 picture \xff\xd9"
    assert log.table("calibration")["sensor_name"].to_pylist() == ["ring_front_center", "up_lidar", "down_lidar"]
    assert log.table("intrinsics")["k3"].to_pylist() == [0.3]
    bare = convert(av2_raw, tmp_path / "bare", Options(images=False))
    assert bare.num_sweeps("ring_front_center") == 0


def test_map(av2_raw: Path, tmp_path: Path) -> None:
    log = convert(av2_raw, tmp_path / "out")
    (lane,) = log.map_features(["lane"])
    assert lane.geometry[:, :2].tolist() == [[0, 4], [10, 4], [10, 0], [5, 0], [0, 0]]
    assert lane.attributes["left_boundary_points"] == 2
    assert (lane.predecessors, lane.successors) == (("5",), ("9",))
    (middle,) = log.map_features(["centerline"])
    np.testing.assert_allclose(middle.geometry[[0, 3, 9]], [[0, 2, 1], [10 / 3, 2, 1], [10, 2, 1]])
    assert middle.attributes["derived"]
    (crossing,) = log.map_features(["ped_crossing"])
    assert crossing.geometry[:, :2].tolist() == [[0, 0], [0, 4], [3, 4], [3, 0]]
    assert len(log.map_features(["drivable_area"])) == 1
    for path in (folder(av2_raw) / "map").iterdir():
        assert log.file_path(path.name).read_bytes() == path.read_bytes()


def test_unlabelled_log_has_a_frame_a_sweep(av2_raw: Path, tmp_path: Path) -> None:
    (folder(av2_raw) / "annotations.feather").unlink()
    log = convert(av2_raw, tmp_path / "out")
    assert log.num_frames == 2
    assert log.table("frame_attributes")["labelled"].to_pylist() == [False, False]
    assert len(log.boxes(0).boxes) == 0


def test_log_without_sensors(av2_raw: Path, tmp_path: Path) -> None:
    (folder(av2_raw) / "sensors").rename(tmp_path / "sensors")
    (folder(av2_raw) / "calibration").rename(tmp_path / "calibration")
    (folder(av2_raw) / "annotations.feather").rename(folder(av2_raw) / "annotations_with_ego.feather")
    log = convert(av2_raw, tmp_path / "out")
    assert (log.num_frames, log.num_sweeps("lidar"), list(log.sensors)) == (3, 0, ["lidar"])


def spoil(path: Path, column: str, row: int, value: object) -> None:
    table = feather.read_table(path)
    values = table[column].to_pylist()
    values[row] = value
    index = table.column_names.index(column)
    feather.write_feather(table.set_column(index, column, pa.array(values, table.schema.field(column).type)), path)


@pytest.mark.parametrize(
    ("file", "column", "row", "value", "place", "message"),
    [
        ("annotations.feather", "tx_m", 2, float("nan"), "row 2", "tx_m is not a finite number"),
        ("annotations.feather", "tx_m", 1, None, "row 1", "tx_m is not a finite number"),
        ("annotations.feather", "width_m", 0, 0.0, "row 0", "not positive"),
        ("annotations.feather", "qw", 3, 7.0, "row 3", "quaternion"),
        ("annotations.feather", "timestamp_ns", 0, START_NS + 50 * STEP_NS, "city_SE3", "no pose for labels"),
        ("annotations.feather", "track_uuid", 0, None, "annotations", "nulls"),
        ("city_SE3_egovehicle.feather", "timestamp_ns", 2, START_NS, "row 2", "do not increase"),
        (f"sensors/lidar/{START_NS}.feather", "x", 1, float("inf"), "row 1", "x is not a finite number"),
    ],
)
def test_bad_numbers(
    av2_raw: Path, tmp_path: Path, file: str, column: str, row: int, value: object, place: str, message: str
) -> None:
    spoil(folder(av2_raw) / file, column, row, value)
    with pytest.raises(UserError) as caught:
        convert(av2_raw, tmp_path / "out")
    assert place in caught.value.place
    assert message in caught.value.what
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (f"sensors/lidar/{START_NS}.feather", "not a readable feather file"),
        ("annotations.feather", "not a readable feather file"),
        (f"sensors/cameras/ring_front_center/{START_NS + 20_000_000}.jpg", "truncated"),
        ("map/log_map_archive_0b0b0b0b-0000-4000-8000-000000000001____PIT_city_1.json", "broken JSON"),
    ],
)
def test_truncated_files(av2_raw: Path, tmp_path: Path, file: str, message: str) -> None:
    path = folder(av2_raw) / file
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=message) as caught:
        convert(av2_raw, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").glob("*"))


def test_missing_and_foreign_files(av2_raw: Path, tmp_path: Path) -> None:
    log = folder(av2_raw)
    (log / "sensors/lidar/notes.feather").write_bytes(b"")
    with pytest.raises(UserError, match="not a timestamp"):
        convert(av2_raw, tmp_path / "out")
    (log / "sensors/lidar/notes.feather").unlink()
    (log / "calibration/intrinsics.feather").unlink()
    with pytest.raises(UserError, match="missing"):
        convert(av2_raw, tmp_path / "out")
    (log / "city_SE3_egovehicle.feather").unlink()
    with pytest.raises(UserError, match="city_SE3_egovehicle.feather: the file is missing"):
        convert(av2_raw, tmp_path / "out")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="no Argoverse 2 log"):
        list_logs(empty, Options())
    with pytest.raises(UserError, match="no log of the split train"):
        list_logs(av2_raw, Options(split="train"))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), unique=True, max_size=40),
    st.tuples(*[st.floats(-30, 30)] * 3),
)
def test_velocity_of_straight_motion(labels: list[tuple[int, int]], speed: tuple[float, float, float]) -> None:
    """Constant velocity comes back wherever a neighbour is near enough; elsewhere it is masked and 0."""
    track = np.array([t for t, _ in labels], dtype=np.int64)
    stamps = np.array([s for _, s in labels], dtype=np.int64) * STEP_NS
    positions = stamps[:, None] / 1e9 * np.array(speed) + track[:, None] * 100.0
    velocity, valid = track_velocities(track, stamps, positions)
    for i, (t, s) in enumerate(labels):
        assert valid[i] == any((t, s + d) in labels for d in (-2, -1, 1, 2))
    np.testing.assert_allclose(velocity[valid], np.broadcast_to(speed, (valid.sum(), 3)), atol=1e-6)
    assert (velocity[~valid] == 0).all()


def test_centerline_of_a_bend() -> None:
    left = np.array([[0, 1, 0], [1, 1, 0], [1, 2, 0.0]])
    right = np.array([[0, 0, 0], [2, 0, 0], [2, 2, 0.0]])
    np.testing.assert_allclose(centerline(left, right, 3), [[0, 0.5, 0], [1.5, 0.5, 0], [1.5, 2, 0]])


def test_real_log(real_data: Path, tmp_path: Path) -> None:
    raw = real_data / "av2/sensor"
    log = convert(raw, tmp_path)
    assert (log.num_frames, log.manifest["counts"]["boxes"], log.manifest["counts"]["tracks"]) == (156, 11_364, 114)
    assert log.table("city_SE3_egovehicle").num_rows == 2_706
    kinds = {"lane": 183, "ped_crossing": 11, "drivable_area": 13}
    assert {kind: len(log.map_features([kind])) for kind in kinds} == kinds
    assert sum(sensor.modality == "camera" for sensor in log.sensors.values()) == 9
    assert log.table("calibration").num_rows == 11
    assert log.table("interpolated_poses").num_rows == 0
    found = []
    for i in range(log.num_frames):
        if "lidar" in (rows := log.frame(i).rows):
            points, labels = log.sweep("lidar", rows["lidar"]).points, log.boxes(i)
            inside = points_in_box_mask(points, labels.boxes).sum(axis=1)
            assert inside.tolist() == labels.num_lidar_points.tolist()  # every single box
            found.append((len(points), len(labels.boxes), int(inside.sum())))
    assert found == [(99_229, 81, 9_399), (99_466, 81, 9_289)]


def test_real_velocities_agree_with_the_track(real_data: Path, tmp_path: Path) -> None:
    """A box carried along by its velocity for 0.1 s lies near its next label; parked cars stand still."""
    log = convert(real_data / "av2/sensor", tmp_path)
    errors, speeds = [], []
    for i in range(40, 60):
        now, following = log.boxes(i), log.boxes(i + 1)
        seconds = (log.frame(i + 1).timestamp_ns - log.frame(i).timestamp_ns) / 1e9
        both = {token: j for j, token in enumerate(following.track_token)}
        next_from_now = np.linalg.inv(log.frame(i + 1).global_from_ego) @ log.frame(i).global_from_ego
        for j, token in enumerate(now.track_token):
            if token in both and now.velocity_valid[j]:
                moved = now.boxes[j, :3] + np.array([*now.boxes[j, 7:9], 0]) * seconds
                there = next_from_now[:3, :3] @ moved + next_from_now[:3, 3]
                errors.append(np.linalg.norm((there - following.boxes[both[token], :3])[:2]))
                speeds.append(np.linalg.norm(now.boxes[j, 7:9]))
    assert len(errors) > 500
    assert np.percentile(errors, 99) < 0.15
    assert np.median(speeds) < 0.3


def test_column_of_text(av2_raw: Path, tmp_path: Path) -> None:
    path = folder(av2_raw) / f"sensors/lidar/{START_NS}.feather"
    table = feather.read_table(path)
    feather.write_feather(table.set_column(0, "x", pa.array(["a", "b", "c"])), path)
    with pytest.raises(UserError, match="column x is string, not a number"):
        convert(av2_raw, tmp_path / "out")


def test_images_by_reference(av2_raw: Path, tmp_path: Path) -> None:
    assert check_references("av2", av2_raw, tmp_path / "logs") == 1
