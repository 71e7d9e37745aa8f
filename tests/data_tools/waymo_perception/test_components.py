"""Perception v2: the frames of v1 written as parquet components must give the same log."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzzing import check_reader
from waymo_frames import make_frames

from data_tools.waymo_perception import Options, convert_log, list_logs, restore
from data_tools.waymo_perception.messages import CAMERAS, LASERS
from data_tools.waymo_perception.range_image import read_matrix
from drive.errors import UserError
from drive.logs.store import Log

SEGMENT = "made"


def component(root: Path, tag: str, kind: str, rows: list[dict[str, Any]], *, row_group: int = 100) -> Path:
    """Write rows as ``<tag>/made.parquet``; keys keep their names, the others get ``[kind].``."""
    path = root / tag / f"{SEGMENT}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {
        (name if name.startswith("key.") else f"[{kind}].{name}"): [plain(row.get(name)) for row in rows]
        for name in names
    }
    pq.write_table(pa.table(columns), path, row_group_size=row_group)
    return path


def plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def box(message: dict[str, float], head: str) -> dict[str, Any]:
    sides = {"x": "length", "y": "width", "z": "height"}
    out = {f"{head}.center.{a}": message.get(f"center_{a}") for a in "xyz"}
    out |= {f"{head}.size.{a}": message.get(name) for a, name in sides.items()}
    return out | {f"{head}.heading": message.get("heading")}


def write_v2(root: Path, *, words: bool) -> Path:
    """All components of the hand-made frames; sensors named by words or by numbers."""
    rows: dict[str, list[dict[str, Any]]] = {}
    frames = make_frames()

    def laser(number: int) -> Any:
        return LASERS[number] if words else number

    def camera(number: int) -> Any:
        return CAMERAS[number] if words else number

    key = {"key.segment_context_name": SEGMENT}
    for calibration in frames[0]["context"]["laser_calibrations"]:
        rows.setdefault("lidar_calibration", []).append(
            key
            | {
                "key.laser_name": laser(calibration["name"]),
                "extrinsic.transform": calibration["extrinsic"]["transform"],
                "beam_inclination.min": calibration["beam_inclination_min"],
                "beam_inclination.max": calibration["beam_inclination_max"],
                "beam_inclination.values": calibration.get("beam_inclinations"),
            }
        )
    for calibration in frames[0]["context"]["camera_calibrations"]:
        names = ("f_u", "f_v", "c_u", "c_v", "k1", "k2", "p1", "p2", "k3")
        rows.setdefault("camera_calibration", []).append(
            key
            | {"key.camera_name": camera(calibration["name"])}
            | {f"intrinsic.{n}": float(v) for n, v in zip(names, calibration["intrinsic"], strict=True)}
            | {"extrinsic.transform": calibration["extrinsic"]["transform"], "width": 8, "height": 6}
            | {"rolling_shutter_direction": calibration["rolling_shutter_direction"]}
        )
    for frame in frames:
        at = key | {"key.frame_timestamp_micros": frame["timestamp_micros"]}
        rows.setdefault("vehicle_pose", []).append(at | {"world_from_vehicle.transform": frame["pose"]["transform"]})
        counted = frame["context"]["stats"]["laser_object_counts"]
        rows.setdefault("stats", []).append(
            at
            | {name: frame["context"]["stats"][name] for name in ("time_of_day", "location", "weather")}
            | {"lidar_object_counts.types": counted["type"], "lidar_object_counts.counts": counted["count"]}
        )
        for message in frame["lasers"]:
            here = at | {"key.laser_name": laser(message["name"])}
            found: dict[str, dict[str, Any]] = {}
            for kind in (1, 2):
                for field, tag in (
                    ("range_image", "lidar"),
                    ("pose", "lidar_pose"),
                    ("camera_projection", "lidar_camera_projection"),
                    ("segmentation", "lidar_segmentation"),
                ):
                    if field in message.get(f"return{kind}", {}):
                        values = read_matrix(
                            message[f"return{kind}"][field], "", integers=field not in ("range_image", "pose")
                        )
                        found.setdefault(tag, {})[f"range_image_return{kind}.values"] = values.reshape(-1)
                        found[tag][f"range_image_return{kind}.shape"] = np.array(values.shape)
            for tag, columns in found.items():
                rows.setdefault(tag, []).append(here | columns)
        for message in frame["images"]:
            here = at | {"key.camera_name": camera(message["name"])}
            velocity = message["velocity"]
            rows.setdefault("camera_image", []).append(
                here
                | {"image": message["image"], "pose.transform": message["pose"]["transform"]}
                | {f"velocity.linear_velocity.{a}": velocity[f"v_{a}"] for a in "xyz"}
                | {f"velocity.angular_velocity.{a}": velocity[f"w_{a}"] for a in "xyz"}
                | {"pose_timestamp": message["pose_timestamp"]}
                | {
                    f"rolling_shutter_params.{name}": message[name]
                    for name in ("shutter", "camera_trigger_time", "camera_readout_done_time")
                }
            )
            label = message["segmentation"]
            head = "instance_id_to_global_id_mapping"
            rows.setdefault("camera_segmentation", []).append(
                here
                | {name: label[name] for name in ("panoptic_label_divisor", "panoptic_label", "sequence_id")}
                | {f"{head}.local_instance_ids": label["instances"]["local"]}
                | {f"{head}.global_instance_ids": label["instances"]["global"]}
                | {f"{head}.is_tracked": label["instances"]["is_tracked"]}
            )
        for label in frame["laser_labels"]:
            here = at | {"key.laser_object_id": label["id"]}
            metadata = label.get("metadata", {})
            rows.setdefault("lidar_box", []).append(
                here
                | box(label["box"], "box")
                | {"type": label["type"], "num_lidar_points_in_box": label["num_lidar_points"]}
                | {"num_top_lidar_points_in_box": label.get("num_top_lidar_points")}
                | {f"speed.{a}": metadata.get(f"speed_{a}") for a in "xyz"}
                | {f"acceleration.{a}": metadata.get(f"accel_{a}") for a in "xyz"}
                | {"difficulty_level.detection": label.get("detection_difficulty")}
                | {"difficulty_level.tracking": label.get("tracking_difficulty")}
            )
            if "camera_synced_box" in label:
                rows.setdefault("lidar_camera_synced_box", []).append(
                    here | {"most_visible_camera_name": 1} | box(label["camera_synced_box"], "camera_synced_box")
                )
        for group, tag, name in (
            ("camera_labels", "camera_box", "camera_object_id"),
            ("projected_lidar_labels", "projected_lidar_box", "laser_object_id"),
        ):
            for message in frame[group]:
                for label in message["labels"]:
                    here = at | {"key.camera_name": camera(message["name"]), f"key.{name}": label["id"]}
                    rows.setdefault(tag, []).append(here | box(label["box"], "box") | {"type": label["type"]})
                    if "association" in label:
                        rows.setdefault("camera_to_lidar_box_association", []).append(
                            here | {"key.laser_object_id": label["association"]["laser_object_id"]}
                        )
    for tag, found_rows in rows.items():
        component(root, tag, "Component", found_rows, row_group=2)
    return root


def convert(raw: Path, out: Path, options: Options = Options(projections=True)) -> Log:  # noqa: B008
    (segment,) = list_logs(raw, options)
    out.mkdir(parents=True, exist_ok=True)
    convert_log(raw, segment, out, options)
    return Log.open(out / segment.name)


@pytest.mark.parametrize("words", [False, True])
def test_same_log_as_v1(segment: Path, tmp_path: Path, words: bool) -> None:
    v1 = convert(segment, tmp_path / "v1")
    v2 = convert(write_v2(tmp_path / "training", words=words), tmp_path / "v2")
    assert (v2.manifest["source_version"], v2.split) == ("v2", "train")
    assert v1.manifest["counts"] | {"map_features": 0} == v2.manifest["counts"]  # v2 has no maps
    assert list(v1.sensors) == list(v2.sensors)
    for index in range(2):
        one, two = v1.frame(index), v2.frame(index)
        assert (one.timestamp_ns, one.token, one.rows) == (two.timestamp_ns, two.token, two.rows)
        np.testing.assert_array_equal(one.global_from_ego, two.global_from_ego)
        for name in ("LIDAR_TOP", "LIDAR_FRONT"):
            a, b = v1.sweep(name, index), v2.sweep(name, index)
            np.testing.assert_array_equal(a.points, b.points)
            assert {k: v.tolist() for k, v in a.extra.items()} == {k: v.tolist() for k, v in b.extra.items()}
            for kind in (1, 2):
                x, y = restore(v1, name, index, kind), restore(v2, name, index, kind)
                assert (x is None) == (y is None)
                assert x is None or np.array_equal(x.view(np.uint32), y.view(np.uint32))  # type: ignore[union-attr]
        assert v1.image("CAM_FRONT", index).data == v2.image("CAM_FRONT", index).data
        a_boxes, b_boxes = v1.boxes(index), v2.boxes(index)
        np.testing.assert_array_equal(a_boxes.boxes, b_boxes.boxes)
        assert (a_boxes.extra, a_boxes.category) == (b_boxes.extra, b_boxes.category)
        assert a_boxes.num_lidar_points.tolist() == b_boxes.num_lidar_points.tolist()
    for table in (
        "lidar_calibration", "camera_calibration", "images", "camera_labels", "projected_lidar_labels", "point_labels",
        "range_images", "camera_segmentation",
    ):  # fmt: skip
        assert v1.table(table).to_pylist() == v2.table(table).to_pylist(), table


def test_any_subset(tmp_path: Path) -> None:
    raw = write_v2(tmp_path / "raw", words=False)
    for tag in ("camera_image", "camera_segmentation", "lidar_camera_projection", "lidar_segmentation", "lidar_box"):
        shutil.rmtree(raw / tag)
    log = convert(raw, tmp_path / "some")
    assert log.frame(0).rows == {"LIDAR_TOP": 0, "LIDAR_FRONT": 0}
    assert len(log.boxes(0).boxes) == 0
    shutil.rmtree(raw / "lidar_pose")
    with pytest.raises(UserError, match="LIDAR_TOP: has no pixel poses.*lidar_pose"):
        convert(raw, tmp_path / "nopose")
    shutil.rmtree(raw / "lidar")
    assert convert(raw, tmp_path / "bare").frame(0).rows == {}
    shutil.rmtree(raw / "vehicle_pose")
    with pytest.raises(UserError, match="vehicle_pose"):
        convert(raw, tmp_path / "none")


@pytest.mark.parametrize(
    ("tag", "column", "row", "value", "message"),
    [
        ("vehicle_pose", "key.frame_timestamp_micros", 1, None, "row 1: frame_timestamp_micros is None"),
        ("vehicle_pose", "[Component].world_from_vehicle.transform", 1, None, "the pose is not a matrix"),
        ("lidar", "key.laser_name", 1, 9, "row 1: laser_name 9 is not one of"),
        ("lidar", "key.segment_context_name", 0, "other", "row 0: belongs to segment 'other'"),
        ("lidar", "key.frame_timestamp_micros", 3, 77, "row 3: frame 77 has no vehicle pose"),
        ("lidar", "[Component].range_image_return1.shape", 0, [2, 2, 2], "cannot have the shape"),
        ("lidar_box", "[Component].box.center.x", 2, None, "laser label 0 is not finite"),
        ("camera_box", "key.frame_timestamp_micros", 0, 5, "frame 5 has no vehicle pose"),
        ("camera_calibration", "[Component].intrinsic.k1", 0, None, "the intrinsic of CAM_FRONT is not finite"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, tag: str, column: str, row: int, value: Any, message: str) -> None:
    raw = write_v2(tmp_path / "raw", words=False)
    path = raw / tag / f"{SEGMENT}.parquet"
    table = pq.read_table(path)
    values = table[column].to_pylist()
    values[row] = value
    index = table.column_names.index(column)
    pq.write_table(table.set_column(index, column, pa.array(values, table.schema.field(column).type)), path)
    with pytest.raises(UserError, match=message):
        convert(raw, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_fuzz(tmp_path: Path) -> None:
    raw = write_v2(tmp_path / "raw", words=True)

    def read(root: Path) -> None:
        out = root.parent / "out"
        try:
            (segment,) = list_logs(root, Options())
            convert_log(root, segment, out, Options())
        finally:
            shutil.rmtree(out, ignore_errors=True)

    assert check_reader(read, sorted(raw.rglob("*.parquet")), root=raw) > 50


def test_real_components(real_data: Path, tmp_path: Path) -> None:
    """199 poses and 15,844 rows of keypoints; float32 poses, sensors by word, as they really are."""
    log = convert(real_data / "waymo/perception_v2", tmp_path)
    assert (log.name, log.num_frames) == ("10023947602400723454_1120_000_1140_000", 199)
    assert log.table("camera_hkp").num_rows == 15_844
    steps = np.diff([log.frame(i).pose_translation for i in range(199)], axis=0)
    assert np.linalg.norm(steps, axis=1).max() < 3.0  # 30 m/s
    assert log.frame_timestamps_ns[0] == 1_552_440_195_362_591_000
