"""The records of one scene, read and checked: columns as numpy arrays and lists."""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.nuscenes import tables
from data_tools.nuscenes.scenes import Scene
from drive.errors import UserError


@dataclass(frozen=True)
class Sweeps:
    """The S records of sample_data of one scene, sorted by channel and time, each with its ego_pose.

    `sample` int64 [S] is the row of the sample in Samples. Poses are global from ego: translation [S, 3], rotation
    [S, 4] (w x y z). Timestamps are microseconds.
    """

    token: list[str]
    filename: list[str]
    channel: list[str]
    sample: np.ndarray
    timestamp: np.ndarray
    is_key_frame: np.ndarray
    width: np.ndarray
    height: np.ndarray
    pose_token: list[str]
    pose_timestamp: np.ndarray
    pose_translation: np.ndarray
    pose_rotation: np.ndarray
    calibration: dict[str, dict[str, Any]]

    def source(self, i: int) -> dict[str, Any]:
        """Keyword arguments that LogWriter.add_sweep and add_image share."""
        return {
            "is_key_frame": bool(self.is_key_frame[i]),
            "source_timestamp": int(self.timestamp[i]),
            "source_name": self.filename[i],
            "source_token": self.token[i],
            "source_pose_token": self.pose_token[i],
            "source_pose_timestamp": int(self.pose_timestamp[i]),
        }


@dataclass(frozen=True)
class Samples:
    """Key frames of a scene by time: tokens and timestamps int64 [K] in microseconds."""

    token: list[str]
    timestamp: np.ndarray


@dataclass(frozen=True)
class AnnotationTable:
    """The N annotations of a scene sorted by sample (in the table's order within one); columns as recorded."""

    token: list[str]
    instance: list[str]
    category: list[str]
    attributes: list[str]
    visibility: list[str]
    prev: list[str]
    next: list[str]
    sample: np.ndarray
    translation: np.ndarray
    rotation: np.ndarray
    size: np.ndarray
    num_lidar_points: np.ndarray
    num_radar_points: np.ndarray


@functools.lru_cache(maxsize=1)
def calibrations(folder: Path) -> dict[str, dict[str, Any]]:
    """Table calibrated_sensor by token, with its sensor's channel and modality. Cached: small, same for all scenes."""
    sensors = tables.by_token(folder, "sensor", "channel", "modality")
    path = folder / "calibrated_sensor.json"
    found = {}
    for token, record in tables.by_token(
        folder, "calibrated_sensor", "sensor_token", "translation", "rotation", "camera_intrinsic"
    ).items():
        if record["sensor_token"] not in sensors:
            raise UserError(path, f"refers to sensor {record['sensor_token']!r}, which is not there", tables.NO_FIT)
        sensor = sensors[record["sensor_token"]]
        found[token] = {**record, "channel": sensor["channel"], "modality": sensor["modality"]}
    return found


@functools.lru_cache(maxsize=4)
def names(folder: Path, table: str) -> dict[str, str]:
    """token -> name of table category or attribute."""
    return {token: str(record["name"]) for token, record in tables.by_token(folder, table, "name").items()}


def load_samples(folder: Path, scene: Scene) -> Samples:
    """Samples of a scene, sorted by time."""
    records = scene.samples.read(folder)
    path = folder / "sample.json"
    timestamp = tables.numbers(records, "timestamp", 1, path, whole=True)
    order = np.argsort(timestamp, kind="stable")
    token = tables.texts(records, "token", path)
    return Samples([token[i] for i in order], timestamp[order])


def load_sweeps(
    folder: Path, scene: Scene, samples: Samples, only: Collection[str] = (), *, key_frames_only: bool = False
) -> Sweeps:
    """Sweeps and images of a scene (of the channels `only`, if any), sorted by channel and time.

    Raises:
        UserError: a record is broken, or does not fit its sample, pose or calibration.
    """
    path, known = folder / "sample_data.json", calibrations(folder)
    sample_row = {token: row for row, token in enumerate(samples.token)}
    chosen = []
    for record, pose in zip(scene.sweeps.read(folder), scene.poses.read(folder), strict=True):
        for field, there in (("calibrated_sensor_token", known), ("sample_token", sample_row)):
            if record.get(field) not in there:
                what = f"record {record.get('token')!r} refers to {field} {record.get(field)!r}, which is not there"
                raise UserError(path, what, tables.NO_FIT)
        if record.get("ego_pose_token") != pose.get("token"):  # none, or two with one key
            what = f"record {record.get('token')!r} refers to ego_pose_token {record.get('ego_pose_token')!r}"
            raise UserError(path, f"{what}, which is not there", tables.NO_FIT)
        if not isinstance(record.get("is_key_frame"), bool):
            raise UserError(path, f"record {record.get('token')!r} has no is_key_frame", tables.WRONG_SHAPE)
        channel = known[record["calibrated_sensor_token"]]["channel"]
        if (not only or channel in only) and (record["is_key_frame"] or not key_frames_only):
            chosen.append((channel, record, pose))
    timestamp = tables.numbers([record for _, record, _ in chosen], "timestamp", 1, path, whole=True)
    order = sorted(range(len(chosen)), key=lambda i: (chosen[i][0], timestamp[i]))
    records, poses = [chosen[i][1] for i in order], [chosen[i][2] for i in order]
    pose_path = folder / "ego_pose.json"
    return Sweeps(
        token=tables.texts(records, "token", path),
        filename=tables.texts(records, "filename", path),
        channel=[chosen[i][0] for i in order],
        sample=np.array([sample_row[r["sample_token"]] for r in records], np.int64),
        timestamp=timestamp[order],
        is_key_frame=np.array([r["is_key_frame"] for r in records], bool),
        width=np.array([r.get("width") or 0 for r in records], np.int64),
        height=np.array([r.get("height") or 0 for r in records], np.int64),
        pose_token=tables.texts(poses, "token", pose_path),
        pose_timestamp=tables.numbers(poses, "timestamp", 1, pose_path, whole=True),
        pose_translation=tables.numbers(poses, "translation", 3, pose_path),
        pose_rotation=tables.numbers(poses, "rotation", 4, pose_path),
        calibration=_one_a_channel(records, known, scene.name, folder),
    )


def _one_a_channel(
    records: list[dict[str, Any]], known: dict[str, dict[str, Any]], scene: str, folder: Path
) -> dict[str, dict[str, Any]]:
    path = folder / "calibrated_sensor.json"
    found: dict[str, dict[str, Any]] = {}
    for token in sorted({record["calibrated_sensor_token"] for record in records}):
        calibration = known[token]
        if calibration["channel"] in found:
            what = f"{scene} has two calibrations of {calibration['channel']}"
            raise UserError(path, what, "divide the scene: a log has one calibration")
        tables.numbers([calibration], "translation", 3, path)
        tables.numbers([calibration], "rotation", 4, path)
        found[calibration["channel"]] = calibration
    return dict(sorted(found.items()))


def load_annotations(folder: Path, scene: Scene, samples: Samples) -> AnnotationTable:
    """Annotations of a scene with the names of their categories and attributes.

    Raises:
        UserError: a record is broken or holds NaN, or does not fit its sample, instance, category or attribute.
    """
    path = folder / "sample_annotation.json"
    sample_row = {token: row for row, token in enumerate(samples.token)}
    category_names, attribute_names = names(folder, "category"), names(folder, "attribute")
    pairs = list(zip(scene.annotations.read(folder), scene.instances.read(folder), strict=True))
    for record, instance in pairs:
        links: list[tuple[str, Any, Collection[str]]] = [
            ("sample_token", record.get("sample_token"), sample_row),
            ("instance_token", record.get("instance_token"), (instance.get("token", ""),)),
            ("category_token", instance.get("category_token"), category_names),
        ]
        links += [("attribute_tokens", token, attribute_names) for token in record.get("attribute_tokens", ())]
        for field, token, there in links:
            if token not in there:
                what = f"record {record.get('token')!r} refers by {field} to {token!r}, which is not there"
                raise UserError(path, what, tables.NO_FIT)
    pairs.sort(key=lambda pair: sample_row[pair[0]["sample_token"]])
    records = [record for record, _ in pairs]
    found = {
        name: tables.numbers(records, name, width, path)
        for name, width in (("translation", 3), ("rotation", 4), ("size", 3))
    }
    for name, values in found.items():
        if (bad := ~np.isfinite(values).all(axis=1)).any():
            row = int(np.flatnonzero(bad)[0])
            what = f"annotation {records[row]['token']!r} has {name} {values[row].tolist()}"
            raise UserError(path, what, "mend or remove this annotation")
    return AnnotationTable(
        token=tables.texts(records, "token", path),
        instance=tables.texts(records, "instance_token", path),
        category=[category_names[instance["category_token"]] for _, instance in pairs],
        attributes=[";".join(attribute_names[t] for t in r.get("attribute_tokens", ())) for r in records],
        visibility=tables.texts(records, "visibility_token", path),
        prev=tables.texts(records, "prev", path),
        next=tables.texts(records, "next", path),
        sample=np.array([sample_row[r["sample_token"]] for r in records], np.int64),
        num_lidar_points=tables.numbers(records, "num_lidar_pts", 1, path, whole=True),
        num_radar_points=tables.numbers(records, "num_radar_pts", 1, path, whole=True),
        **found,
    )
