"""Logs as a nuScenes v1.0 data set.

What a log does not keep is made: tokens of categories and attributes, prev and next, the key frame that a sweep between
two belongs to (the nearer one). A map raster that was too large for the log becomes a blank one, as the devkit wants a
file. Boxes of other data sets: their box in the ego frame, moved by the frame's pose; where the data set does not count
points they are counted in the frame's lidar sweeps. Interpolated frames are left out.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from data_tools.export.names import NUSCENES, file_name, made_token, microseconds, token_of
from data_tools.export.nuscenes_files import label_files, lidar_bytes, radar_bytes, write_file
from drive.errors import UserError
from drive.geometry.box import points_in_box_mask, transform_boxes
from drive.geometry.clock import NS_PER_US
from drive.geometry.rigid import (
    from_translation_rotation,
    matrix_to_quaternion,
    quaternion_from_yaw,
    transform_points,
)
from drive.logs.records import FrameBoxes, Row, Sensor
from drive.logs.store import Log

TABLES = (
    "category", "attribute", "visibility", "instance", "sensor", "calibrated_sensor", "ego_pose", "log", "scene",
    "sample", "sample_data", "sample_annotation", "map",
)  # fmt: skip
_VISIBILITY = (("1", "v0-40"), ("2", "v40-60"), ("3", "v60-80"), ("4", "v80-100"))


@dataclass
class _Out:
    """Tables that grow log by log; `once`: rows that several logs share, by token."""

    root: Path
    version: str
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {name: [] for name in TABLES})
    seen: set[tuple[str, str]] = field(default_factory=set)

    def add(self, table: str, row: dict[str, Any]) -> str:
        """Append a row once; returns its token."""
        token: str = row["token"]
        if (table, token) not in self.seen:
            self.seen.add((table, token))
            self.tables.setdefault(table, []).append(row)
        return token


def export_nuscenes(logs: Sequence[Path], out: Path, version: str = "v1.0-custom") -> dict[str, int]:
    """Write ``out/version`` and the files; returns the number of rows a table.

    Raises:
        UserError: `out/version` is there already, no logs, a log without lidar, a full disk.
    """
    out = Path(out)
    if not logs:
        raise UserError(out, "no logs to export", "give a folder of logs")
    if (out / version).exists():
        raise UserError(out / version, "is there already", "give another folder or --version")
    made = _Out(out, version)
    for token, level in _VISIBILITY:
        made.add("visibility", {"token": token, "level": level, "description": ""})
    for path in logs:
        _add_log(made, Log.open(path))
    partial = out / f".{version}.partial-{os.getpid()}"
    try:
        for name, rows in made.tables.items():
            write_file(partial, f"{name}.json", json.dumps(rows, indent=0, allow_nan=False).encode("ascii"))
        os.replace(partial, out / version)  # the tables appear when every file that they name is there
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return {name: len(rows) for name, rows in made.tables.items()}


def _add_log(out: _Out, log: Log) -> None:
    if not any(sensor.modality == "lidar" for sensor in log.sensors.values()):
        raise UserError(log.path, "has no lidar", "the devkit opens data sets with LIDAR_TOP only")
    source = log.table("source").to_pylist()[0] if log.dataset == NUSCENES and log.has_table("source") else {}
    frames = [index for index in range(log.num_frames) if not log.frame_interpolated[index]]
    samples = [token_of(log, log.frame(index).token, "sample", index) for index in frames]
    times = [log.frame(index).timestamp_ns // NS_PER_US for index in frames]
    log_token = out.add(
        "log",
        {
            "token": token_of(log, source.get("log_token", ""), "log"),
            "logfile": source.get("log_logfile", log.name),
            "vehicle": source.get("log_vehicle", ""),
            "date_captured": source.get("log_date_captured", ""),
            "location": log.location,
        },
    )
    scene_token = token_of(log, source.get("scene_token", ""), "scene")
    out.add(
        "scene",
        {
            "token": scene_token,
            "log_token": log_token,
            "nbr_samples": len(samples),
            "first_sample_token": samples[0] if samples else "",
            "last_sample_token": samples[-1] if samples else "",
            "name": log.name,
            "description": source.get("scene_description", ""),
        },
    )
    for token, time, before, after in _chain(samples, times):
        out.add(
            "sample", {"token": token, "timestamp": time, "prev": before, "next": after, "scene_token": scene_token}
        )
    for name, sensor in log.sensors.items():
        _add_sensor(out, log, name, sensor, frames, samples, np.array(times, np.int64))
    _add_annotations(out, log, frames, samples)
    _add_point_labels(out, log)
    _add_map(out, log, log_token)
    _add_can_bus(out, log)


def _chain(tokens: list[str], times: list[int]) -> Iterator[tuple[str, int, str, str]]:
    yield from zip(tokens, times, ["", *tokens[:-1]], [*tokens[1:], ""], strict=True)


def _row(log: Log, name: str, row: int) -> tuple[Row, bytes, tuple[int, int]]:
    """A sweep or image, the bytes of its file, its width and height (0 for points)."""
    sensor = log.sensors[name]
    if sensor.modality == "camera":
        image = log.image(name, row)
        return image, image.data, (image.width, image.height)
    sweep = log.sweep(name, row)
    return sweep, lidar_bytes(sensor, sweep) if sensor.modality == "lidar" else radar_bytes(sweep), (0, 0)


def _add_sensor(
    out: _Out, log: Log, name: str, sensor: Sensor, frames: list[int], samples: list[str], times: np.ndarray
) -> None:
    sensor_token = out.add(
        "sensor", {"token": made_token("sensor", name), "channel": name, "modality": sensor.modality}
    )
    translation, rotation = _extrinsics(sensor)
    calibrated = out.add(
        "calibrated_sensor",
        {
            "token": token_of(log, sensor.source_token, name),
            "sensor_token": sensor_token,
            "translation": translation,
            "rotation": rotation,
            "camera_intrinsic": [] if sensor.intrinsics is None else sensor.intrinsics.tolist(),
        },
    )
    key_of = {log.frame(index).rows[name]: k for k, index in enumerate(frames) if name in log.frame(index).rows}
    rows = []
    for index in range(log.num_sweeps(name)):
        row, data, (width, height) = _row(log, name, index)
        if index in key_of:
            sample = key_of[index]
        elif len(times):
            sample = int(np.abs(times - microseconds(row)).argmin())
        else:
            continue
        token = token_of(log, row.source_token, name, index)
        pose_time = row.source_pose_timestamp if log.dataset == NUSCENES else None
        pose = out.add(
            "ego_pose",
            {
                "token": token_of(log, row.source_pose_token, name, index, "pose"),
                "timestamp": microseconds(row) if pose_time is None else pose_time,
                "rotation": row.pose_rotation.tolist(),
                "translation": row.pose_translation.tolist(),
            },
        )
        filename = file_name(log, name, row, index, data)
        write_file(out.root, filename, data)
        rows.append(
            {
                "token": token,
                "sample_token": samples[sample],
                "ego_pose_token": pose,
                "calibrated_sensor_token": calibrated,
                "timestamp": microseconds(row),
                "fileformat": Path(filename).name.split(".")[-1].replace("bin", "pcd"),
                "is_key_frame": index in key_of,
                "height": height,
                "width": width,
                "filename": filename,
            }
        )
    _link(rows)
    for record in rows:
        out.add("sample_data", record)


def _extrinsics(sensor: Sensor) -> tuple[list[float], list[float]]:
    """Translation and quaternion of ego from sensor: as recorded where they say so, else from the matrix."""
    recorded = from_translation_rotation(sensor.source_translation, sensor.source_rotation)
    if np.allclose(recorded, sensor.ego_from_sensor, atol=1e-9):
        return sensor.source_translation.tolist(), sensor.source_rotation.tolist()
    matrix = sensor.ego_from_sensor
    return matrix[:3, 3].tolist(), matrix_to_quaternion(matrix[:3, :3]).tolist()


def _link(rows: list[dict[str, Any]]) -> None:
    tokens = ["", *(row["token"] for row in rows), ""]
    for i, row in enumerate(rows):
        row["prev"], row["next"] = tokens[i], tokens[i + 2]


def _add_annotations(out: _Out, log: Log, frames: list[int], samples: list[str]) -> None:
    tracks: dict[int, list[dict[str, Any]]] = {}
    names: dict[int, str] = {}
    for sample, index in zip(samples, frames, strict=True):
        boxes = log.boxes(index)
        translation, rotation, size = _global(log, index, boxes)
        lidar = _lidar_counts(log, index, boxes)
        for i, category in enumerate(boxes.category):
            track = int(boxes.track[i])
            names.setdefault(track, category)
            attributes = [name for name in boxes.attributes[i].split(";") if name]
            tracks.setdefault(track, []).append(
                {
                    "token": token_of(log, boxes.source_token[i], "annotation", index, i),
                    "sample_token": sample,
                    "instance_token": token_of(log, boxes.track_token[i], "instance", boxes.track_token[i], track),
                    "visibility_token": boxes.visibility[i] if boxes.visibility[i] in dict(_VISIBILITY) else "",
                    "attribute_tokens": [
                        out.add("attribute", {"token": made_token("attribute", a), "name": a, "description": ""})
                        for a in attributes
                    ],
                    "translation": translation[i].tolist(),
                    "size": size[i].tolist(),
                    "rotation": rotation[i].tolist(),
                    "num_lidar_pts": int(lidar[i]),
                    "num_radar_pts": int(boxes.num_radar_points[i]),
                }
            )
    for track, rows in sorted(tracks.items()):
        _link(rows)
        out.add(
            "instance",
            {
                "token": rows[0]["instance_token"],
                "category_token": _category(out, names[track]),
                "nbr_annotations": len(rows),
                "first_annotation_token": rows[0]["token"],
                "last_annotation_token": rows[-1]["token"],
            },
        )
    for rows in tracks.values():
        for row in rows:
            out.add("sample_annotation", row)


def _category(out: _Out, name: str) -> str:
    return out.add("category", {"token": made_token("category", name), "name": name, "description": ""})


def _global(log: Log, index: int, boxes: FrameBoxes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres [N, 3], quaternions [N, 4], sizes [N, 3] (width, length, height) in the global frame."""
    if log.dataset == NUSCENES:
        return boxes.source_translation, boxes.source_rotation, boxes.source_size
    placed = transform_boxes(log.frame(index).global_from_ego, boxes.boxes)
    return placed[:, :3], quaternion_from_yaw(placed[:, 6]).reshape(-1, 4), placed[:, [4, 3, 5]]


def _lidar_counts(log: Log, index: int, boxes: FrameBoxes) -> np.ndarray:
    """Points in every box: as recorded, else those of the frame's lidar sweeps."""
    if boxes.num_lidar_points_valid.all():
        return boxes.num_lidar_points
    frame, clouds = log.frame(index), [np.zeros((0, 3))]
    for name, row in frame.rows.items():
        if log.sensors[name].modality == "lidar":
            clouds.append(transform_points(log.sensors[name].ego_from_sensor, log.sweep(name, row).points[:, :3]))
    points = np.concatenate(clouds)
    counted = [int(points_in_box_mask(points, box[None]).sum()) for box in boxes.boxes]
    return np.where(boxes.num_lidar_points_valid, boxes.num_lidar_points, np.array(counted, np.int64))


def _add_point_labels(out: _Out, log: Log) -> None:
    if not log.has_table("point_labels"):
        return
    indices = {}
    if log.has_table("point_classes"):
        indices = {row["name"]: row["index"] for row in log.table("point_classes").to_pylist()}
    for name in indices:
        _category(out, name)
    for row in out.tables["category"]:
        row.setdefault("index", indices.get(row["name"], 0))
    for row in log.table("point_labels").to_pylist():
        sweep = token_of(log, log.sweep(row["sensor"], row["row"]).source_token, row["sensor"], row["row"])
        for table, (name, labels) in label_files(row, out.version, sweep).items():
            buffer = io.BytesIO()
            if table == "panoptic":
                np.savez_compressed(buffer, data=labels)
            else:
                buffer.write(labels.tobytes())
            write_file(out.root, name, buffer.getvalue())
            token = token_of(log, row.get(f"{table}_token") or "", sweep, table)
            out.add(table, {"token": token, "filename": name, "sample_data_token": sweep})


def _add_map(out: _Out, log: Log, log_token: str) -> None:
    """The semantic prior that the log carries, or a blank one; one record a file, naming all its logs."""
    carried = [row for row in log.table("map_raster").to_pylist() if row["file"]] if log.has_table("map_raster") else []
    if carried:
        name, data = carried[0]["file"], log.file_path(carried[0]["file"]).read_bytes()
    else:
        buffer = io.BytesIO()
        PIL.Image.new("L", (16, 16)).save(buffer, "PNG")
        name, data = f"blank-{log.location or 'nowhere'}.png".replace("/", "-"), buffer.getvalue()
    for record in out.tables["map"]:
        if record["filename"] == f"maps/{name}":
            if log_token not in record["log_tokens"]:
                record["log_tokens"].append(log_token)
            return
    write_file(out.root, f"maps/{name}", data)
    row = {"token": made_token("map", name), "category": "semantic_prior", "filename": f"maps/{name}"}
    out.add("map", row | {"log_tokens": [log_token]})


def _add_can_bus(out: _Out, log: Log) -> None:
    if not log.has_table("can_bus"):
        return
    for message in log.table("can_bus").to_pylist()[0]["messages"]:
        name = f"can_bus/{log.name}_{message}.json"
        if log.has_table(f"can_{message}"):
            rows = log.table(f"can_{message}").to_pylist()
            records = [{key: value for key, value in row.items() if value is not None} for row in rows]
            write_file(out.root, name, json.dumps(records).encode())
        elif log.has_file(f"can_{message}.json"):
            write_file(out.root, name, log.file_path(f"can_{message}.json").read_bytes())
