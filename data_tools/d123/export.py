"""Our logs as 123D logs. Conventions: ``data_tools.d123``."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_tools.d123.labels import CAMERA_IDS, CAMERA_NAMES, LIDAR_IDS, LIGHTS, class_for, label_of
from data_tools.d123.maps import map_table
from data_tools.d123.msgpack import pack
from drive.errors import UserError
from drive.geometry.cameras import PLUMB_BOB, RADIAL
from drive.geometry.rigid import (
    from_translation_rotation,
    matrix_to_quaternion,
    quaternion_from_yaw,
    quaternion_to_matrix,
    rotate_vectors,
    transform_points,
)
from drive.logs.records import Sensor
from drive.logs.store import Log
from drive.logs.tables import disk_full

VERSION = "0.7.0"
_NAMESPACE = uuid.UUID("123D123D-123D-123D-123D-123D123D123D")  # of 123D's frame ids
_POSE = pa.list_(pa.float64(), 7)
EGO, BOXES, LIGHT = "ego_state_se3", "box_detections_se3", "traffic_light_detections"


def write_d123(log: Log, out: Path) -> Path:
    """Write a log as ``out/logs/<dataset>_<split>/<log>/``, complete or not at all; returns the folder.

    Raises:
        UserError: the folder is there already, or the disk is full.
    """
    split = f"{log.dataset}_{log.split or 'train'}"
    folder = Path(out) / "logs" / split / log.name
    if folder.exists():
        raise UserError(folder, "is there already", "remove it or give another folder")
    partial = folder.parent / f".{log.name}.partial-{os.getpid()}"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _write(log, split, partial)
        os.replace(partial, folder)
    except OSError as error:
        raise disk_full(folder, error) or UserError(folder, f"cannot be written ({error})", "check it") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _write(log: Log, split: str, folder: Path) -> None:
    frames = [log.frame(k) for k in range(log.num_frames)]
    sync: dict[str, list[int | None]] = {}
    sensors = _sensor_keys(log)
    stamps = {frame.timestamp_ns // 1000: frame.global_from_ego for frame in frames}
    for name, key in sensors.items():
        for stamp, pose in zip(log.sweep_timestamps_ns(name).tolist(), log.sweep_poses(name), strict=True):
            stamps.setdefault(stamp // 1000, pose)
        write = _write_camera if log.sensors[name].modality == "camera" else _write_lidar
        write(log, name, key, folder)
        sync[key] = [frame.rows.get(name) for frame in frames]
    order = sorted(stamps)
    place = {stamp: row for row, stamp in enumerate(order)}
    _write_ego(log, folder, order, np.stack([stamps[stamp] for stamp in order]) if order else np.zeros((0, 4, 4)))
    sync[EGO] = [place[frame.timestamp_ns // 1000] for frame in frames]
    _write_boxes(log, folder)
    sync[BOXES] = list(range(len(frames)))
    head = {"dataset": log.dataset, "split": split, "log_name": log.name, "location": log.location or None}
    about = head | {"map_has_z": True, "map_is_per_log": True, "version": VERSION}
    table, lanes = map_table(log.map_features(), about)
    if table.num_rows:
        _write_table(folder / "map.arrow", table)
    if log.has_table("lights"):
        _write_lights(log, folder, lanes)
        sync[LIGHT] = list(range(len(frames)))
    micros = [frame.timestamp_ns // 1000 for frame in frames]
    ids = [uuid.uuid5(_NAMESPACE, f"{split}:{log.name}:{stamp}").bytes for stamp in micros]
    columns: dict[str, Any] = {
        "sync.uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array(ids, pa.binary(16))),
        "sync.timestamp_us": pa.array(micros, pa.int64()),
    } | {key: pa.array(rows, pa.int64()) for key, rows in sync.items()}
    metadata = head | {"version": VERSION, "map_metadata": about if table.num_rows else None}
    _write_table(folder / "sync.arrow", pa.table(columns).replace_schema_metadata({b"metadata": pack(metadata)}))


def _sensor_keys(log: Log) -> dict[str, str]:
    """{sensor: 123D's key} of cameras and lidars; known names keep their place, others take the free ones."""
    keys: dict[str, str] = {}
    for modality, ids in (("camera", list(CAMERA_IDS)), ("lidar", list(LIDAR_IDS))):
        own = [name for name, sensor in log.sensors.items() if sensor.modality == modality and log.num_sweeps(name)]
        chosen = {name: CAMERA_NAMES[name] for name in own if name in CAMERA_NAMES}
        free = [key for key in ids if key not in chosen.values()]
        rest = [name for name in own if name not in chosen]
        if len(rest) > len(free):
            raise UserError(log.path, f"has {len(own)} {modality}s, 123D knows {len(ids)}", "leave some out")
        chosen |= dict(zip(rest, free, strict=False))
        keys |= {name: f"{modality}.{key}" for name, key in chosen.items()}
    return keys


def _pose(matrix: np.ndarray) -> list[float]:
    return [*matrix[:3, 3].tolist(), *matrix_to_quaternion(matrix[:3, :3]).tolist()]


def _write_table(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _write_rows(path: Path, schema: pa.Schema, metadata: dict[str, Any], rows: Iterator[list[Any]]) -> None:
    """One record batch a row: nothing but the row is held."""
    schema = schema.with_metadata({b"metadata": pack(metadata)})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for row in rows:
            arrays = [pa.array([value], field.type) for value, field in zip(row, schema, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def _write_ego(log: Log, folder: Path, stamps_us: list[int], poses: np.ndarray) -> None:
    """Ego states at every time that a frame or sensor needs; motion where the log recorded it within 50 ms."""
    motion = _motion(log, np.array(stamps_us, dtype=np.int64))
    identity = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    metadata = {
        "vehicle_name": "unknown", "width": 2.0, "length": 4.5, "height": 1.6, "wheel_base": 2.8,
        "center_to_imu_se3": [1.4, 0.0, 0.5, 1.0, 0.0, 0.0, 0.0], "rear_axle_to_imu_se3": identity,
    }  # fmt: skip
    table = pa.table(
        {
            f"{EGO}.timestamp_us": pa.array(stamps_us, pa.int64()),
            f"{EGO}.imu_se3": pa.array([_pose(pose) for pose in poses], _POSE),
            f"{EGO}.dynamic_state_se3": pa.array(motion, pa.list_(pa.float64(), 9)),
        }
    )
    _write_table(folder / f"{EGO}.arrow", table.replace_schema_metadata({b"metadata": pack(metadata)}))


def _motion(log: Log, stamps_us: np.ndarray) -> list[list[float] | None]:
    """Nine numbers (velocity, acceleration, angular rate; ego frame) a time, None where the log says nothing."""
    if not log.has_table("ego") or not log.table("ego").num_rows:
        return [None] * len(stamps_us)
    recorded = log.table("ego")
    times = recorded["timestamp_ns"].to_numpy() // 1000
    names = {0: "vx_mps", 1: "vy_mps", 3: "ax_mps2", 4: "ay_mps2", 8: "yaw_rate_rps"}
    columns = {i: recorded[name].to_pylist() for i, name in names.items()}
    found: list[list[float] | None] = []
    for stamp in stamps_us.tolist():
        row = int(np.abs(times - stamp).argmin())
        near = abs(int(times[row]) - stamp) <= 50_000
        cells = {i: column[row] for i, column in columns.items()}
        known = near and any(cell is not None for cell in cells.values())
        found.append([float(cells.get(i) or 0.0) for i in range(9)] if known else None)
    return found


def _write_boxes(log: Log, folder: Path) -> None:
    path = class_for(set(log.tracks["category"].to_pylist()))
    fields = (
        ("timestamp_us", pa.int64()), ("bounding_box_se3", pa.list_(pa.list_(pa.float64(), 10))),
        ("track_token", pa.list_(pa.string())), ("label", pa.list_(pa.uint16())),
        ("velocity_3d", pa.list_(pa.list_(pa.float64(), 3))), ("num_lidar_points", pa.list_(pa.int32())),
    )  # fmt: skip
    schema = pa.schema([(f"{BOXES}.{name}", kind) for name, kind in fields])

    def rows() -> Iterator[list[Any]]:
        for k in range(log.num_frames):
            frame, boxes = log.frame(k), log.boxes(k)
            pose = frame.global_from_ego
            turned = pose[:3, :3] @ quaternion_to_matrix(quaternion_from_yaw(boxes.boxes[:, 6]))
            values = np.concatenate(
                [transform_points(pose, boxes.boxes), matrix_to_quaternion(turned), boxes.boxes[:, 3:6]], axis=1
            )
            velocity = rotate_vectors(pose, np.pad(boxes.boxes[:, 7:9], ((0, 0), (0, 1))))
            yield [
                frame.timestamp_ns // 1000, values.tolist(), boxes.track_token,
                [label_of(path, category) for category in boxes.category],
                [v if ok else None for v, ok in zip(velocity.tolist(), boxes.velocity_valid, strict=True)],
                [n if ok else None for n, ok in zip(boxes.num_lidar_points.tolist(), boxes.num_lidar_points_valid,
                                                    strict=True)],
            ]  # fmt: skip

    _write_rows(folder / f"{BOXES}.arrow", schema, {"box_detection_label_class": path}, rows())


def _write_lights(log: Log, folder: Path, lanes: dict[str, int]) -> None:
    """Lights whose lane the map has; arrows count as their colour, flashing as unknown."""
    by_frame: dict[int, list[tuple[int, int]]] = {}
    for row in log.table("lights").to_pylist():
        state = row["state"].removeprefix("arrow_")
        if row["feature_id"] in lanes:
            status = LIGHTS.index(state if state in LIGHTS else "unknown")
            by_frame.setdefault(row["frame"], []).append((lanes[row["feature_id"]], status))
    schema = pa.schema([
        (f"{LIGHT}.timestamp_us", pa.int64()), (f"{LIGHT}.lane_id", pa.list_(pa.int32())),
        (f"{LIGHT}.status", pa.list_(pa.uint8())),
    ])  # fmt: skip
    rows = (
        [log.frame(k).timestamp_ns // 1000, [v[0] for v in by_frame.get(k, [])], [v[1] for v in by_frame.get(k, [])]]
        for k in range(log.num_frames)
    )
    _write_rows(folder / f"{LIGHT}.arrow", schema, {}, rows)


def _write_camera(log: Log, name: str, key: str, folder: Path) -> None:
    sensor = log.sensors[name]
    schema = pa.schema([
        (f"{key}.timestamp_us", pa.int64()), (f"{key}.data", pa.binary()), (f"{key}.camera_to_global_se3", _POSE),
        (f"{key}.exposure_factor", pa.float32()),
    ])  # fmt: skip

    def rows() -> Iterator[list[Any]]:
        for row in range(log.num_sweeps(name)):
            image = log.image(name, row)
            pose = image.global_from_ego @ sensor.ego_from_sensor
            yield [image.timestamp_ns // 1000, bytes(image.data), _pose(pose), None]

    _write_rows(folder / f"{key}.arrow", schema, _camera_metadata(sensor, key), rows())


def _camera_metadata(sensor: Sensor, key: str) -> dict[str, Any]:
    K, lens = sensor.intrinsics, None
    if sensor.distortion is not None:
        model, values = sensor.distortion
        lens = list(values) if model == PLUMB_BOB else [values[0], values[1], 0.0, 0.0, values[2]]
        if model not in (PLUMB_BOB, RADIAL):
            raise UserError(sensor.name, f"123D has no lens of the model {model}", "leave the camera out")
    return {
        "camera_model": "pinhole", "camera_name": sensor.name, "camera_id": CAMERA_IDS[key.split(".")[1]],
        "intrinsics": None if K is None else [float(K[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2), (0, 1))],
        "distortion": lens, "width": sensor.width, "height": sensor.height,
        "camera_to_imu_se3": _pose(sensor.ego_from_sensor), "is_undistorted": lens is None,
    }  # fmt: skip


def _write_lidar(log: Log, name: str, key: str, folder: Path) -> None:
    sensor = log.sensors[name]
    schema = pa.schema([
        (f"{key}.timestamp_us", pa.int64()), (f"{key}.end_timestamp_us", pa.int64()), (f"{key}.data", pa.binary()),
    ])  # fmt: skip
    metadata = {
        "lidar_name": name, "lidar_id": LIDAR_IDS[key.split(".")[1]], "lidar_to_imu_se3": _pose(sensor.ego_from_sensor),
        "segmentation_label_class": None,
    }  # fmt: skip

    def rows() -> Iterator[list[Any]]:
        for row in range(log.num_sweeps(name)):
            sweep = log.sweep(name, row)
            stamp = sweep.timestamp_ns // 1000
            yield [stamp, stamp, _cloud(sweep.points, sweep.extra, sensor)]

    _write_rows(folder / f"{key}.arrow", schema, metadata, rows())


def _cloud(points: np.ndarray, extra: dict[str, np.ndarray], sensor: Sensor) -> bytes:
    """Columns x y z (ego frame) and the rest as one Arrow IPC stream, LZ4."""
    pose = from_translation_rotation(
        sensor.ego_from_sensor[:3, 3], matrix_to_quaternion(sensor.ego_from_sensor[:3, :3])
    )
    xyz = transform_points(pose, points[:, :3].astype(np.float64)).astype(np.float32)
    columns: dict[str, np.ndarray] = {axis: np.ascontiguousarray(xyz[:, i]) for i, axis in enumerate("xyz")}
    for i, column in enumerate(sensor.columns[3:], start=3):
        columns[column] = np.ascontiguousarray(points[:, i])
    if "intensity" in columns:
        columns["intensity"] = sensor.intensity_to(255.0, columns["intensity"])
    columns |= extra
    if "ring" in columns:
        columns["channel"] = columns.pop("ring")
    batch = pa.record_batch({name: pa.array(values) for name, values in columns.items()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())
