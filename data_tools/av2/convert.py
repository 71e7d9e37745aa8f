"""Argoverse 2 sensor logs to logs. Conventions: ``data_tools.av2``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from data_tools.av2.maps import add_map
from data_tools.av2.read import (
    ROTATION,
    TRANSLATION,
    Annotations,
    Poses,
    finite_columns,
    read_annotations,
    read_feather,
    read_map,
    read_poses,
    read_quaternions,
    read_sweep,
)
from data_tools.av2.velocity import track_velocities
from drive.errors import UserError
from drive.geometry.angles import wrap_angle
from drive.geometry.rigid import yaw_of_quaternion
from drive.logs.writer import LogWriter

DATASET = "av2_sensor"
LICENCE = "CC BY-NC-SA 4.0"
LIDAR = "lidar"
POSES = "city_SE3_egovehicle.feather"
ANNOTATIONS = ("annotations.feather", "annotations_with_ego.feather")
IMAGE_TOLERANCE_NS = 50_000_000  # half a turn of the lidar
SPLITS = ("train", "val", "test")

_CITY = re.compile(r"____([A-Z]{3})[_.]")


@dataclass(frozen=True)
class Options:
    """What to convert of an Argoverse 2 folder."""

    split: Literal["all", "train", "val", "test"] = "all"
    """logs of one split only, as the folder above them says"""
    images: bool = True
    """copy the camera images"""

    content: ClassVar[tuple[str, ...]] = ("images",)


@dataclass(frozen=True)
class Av2Log:
    """One log to convert: its raw folder."""

    folder: Path

    @property
    def name(self) -> str:
        """Name of the log: the uuid that names its folder."""
        return self.folder.name

    @property
    def split(self) -> str:
        """train, val or test where the folder above says so."""
        return self.folder.parent.name if self.folder.parent.name in SPLITS else ""


def list_logs(raw: Path, options: Options) -> list[Av2Log]:
    """Log folders at ``raw`` or up to three levels below it, sorted by name."""
    raw = Path(raw)
    if not raw.is_dir():
        raise UserError(raw, "no such folder", "give the folder that holds the Argoverse 2 logs")
    logs = sorted(_walk(raw, 3), key=lambda log: log.name)
    if not logs:
        raise UserError(raw, f"no Argoverse 2 log ({POSES} in none of its folders)", "give the folder of the logs")
    logs = [log for log in logs if options.split in ("all", log.split)]
    if not logs:
        raise UserError(raw, f"no log of the split {options.split}", "give another --split")
    for first, second in pairwise(logs):
        if first.name == second.name:
            raise UserError(second.folder, f"the log is also in {first.folder.parent}", "convert one of them at a time")
    return logs


def _walk(folder: Path, levels: int) -> Iterator[Av2Log]:
    if any((folder / name).is_file() for name in (POSES, *ANNOTATIONS)):
        yield Av2Log(folder)
    elif levels:
        for child in sorted(folder.iterdir()):
            if child.is_dir() and not child.name.startswith("."):
                yield from _walk(child, levels - 1)


def log_files(raw: Path, source: Av2Log) -> list[Path]:
    """The folder that only this log needs."""
    return [source.folder]


def convert_log(raw: Path, source: Av2Log, out_root: Path, options: Options) -> None:
    """Write one log as ``out_root/<uuid>``. ``raw`` is not used: the log knows its folder.

    Raises:
        UserError: a file is missing, broken or holds a wrong number; nothing is left behind then.
    """
    folder = source.folder
    poses = read_poses(folder / POSES)
    labels = next((folder / name for name in ANNOTATIONS if (folder / name).is_file()), None)
    annotations = None if labels is None else read_annotations(labels)
    map_files = sorted((folder / "map").glob("*")) if (folder / "map").is_dir() else []
    cities = {match[1] for path in map_files if (match := _CITY.search(path.name))}
    writer = LogWriter(
        out_root, source.name, dataset=DATASET, source_version="v1", licence=LICENCE, split=source.split,
        location=cities.pop() if len(cities) == 1 else "",
    )  # fmt: skip
    with writer as log:
        interpolated: list[tuple[str, int, int]] = []
        cameras = _add_sensors(log, folder)
        stamps = None if annotations is None else np.unique(annotations.stamps_ns)
        begins = [stamp for stamp, _ in _stamped(folder / "sensors" / "lidar", ".feather")[:1]]
        begins += [] if stamps is None else stamps[:1].tolist()
        if begins:
            log.begin(min(begins))
        sweeps = _add_sweeps(log, folder, poses, stamps, interpolated)
        frame_stamps = np.array(sorted(sweeps), dtype=np.int64) if stamps is None else stamps
        shown = cameras if options.images else {}
        images = {c: _add_images(log, folder, c, *size, poses, frame_stamps, interpolated) for c, size in shown.items()}
        _add_frames(log, frame_stamps, sweeps, images, poses, annotations is not None, interpolated)
        if annotations is not None:
            _add_boxes(log, annotations, frame_stamps, poses)
        log.add_table(
            "interpolated_poses",
            pa.table(
                {
                    "sensor": pa.array([row[0] for row in interpolated], pa.string()),
                    "row": pa.array([row[1] for row in interpolated], pa.int32()),
                    "timestamp_ns": pa.array([row[2] for row in interpolated], pa.int64()),
                }
            ),
        )
        log.add_table("city_SE3_egovehicle", read_feather(folder / POSES, ()).replace_schema_metadata(None))
        for path in map_files:
            if path.name.startswith("log_map_archive"):
                add_map(log, read_map(path), path)
            if path.is_file():
                log.add_file(path.name, path.read_bytes())


def _add_sensors(log: LogWriter, folder: Path) -> dict[str, tuple[int, int]]:
    """Declare the lidar and the cameras; keep the calibration tables. Returns width and height of the cameras."""
    log.add_sensor(
        LIDAR, "lidar", (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), columns=("x", "y", "z", "intensity"), intensity_max=255.0
    )
    mounts, lenses = (folder / "calibration" / f"{n}.feather" for n in ("egovehicle_SE3_sensor", "intrinsics"))
    has_images = any((folder / "sensors" / "cameras").glob("*/*.jpg"))
    if not has_images and not (mounts.is_file() and lenses.is_file()):
        return {}  # labels and map only, as in scenario mining: there is nothing to calibrate
    mount = read_feather(mounts, ("sensor_name", *ROTATION, *TRANSLATION))
    lens = read_feather(lenses, ("sensor_name", "fx_px", "fy_px", "cx_px", "cy_px", "height_px", "width_px"))
    log.add_table("calibration", mount.replace_schema_metadata(None))
    log.add_table("intrinsics", lens.replace_schema_metadata(None))
    rotations = read_quaternions(mount, mounts)
    translations = finite_columns(mount, TRANSLATION, mounts)
    places = {name: i for i, name in enumerate(mount["sensor_name"].to_pylist())}
    values = finite_columns(lens, ("fx_px", "fy_px", "cx_px", "cy_px", "width_px", "height_px"), lenses)
    cameras = {}
    for name, (fx, fy, cx, cy, width, height) in zip(lens["sensor_name"].to_pylist(), values, strict=True):
        if name not in places:
            raise UserError(mounts, f"no mounting of {name}", "copy the calibration again")
        log.add_sensor(
            name, "camera", translations[places[name]], rotations[places[name]], width=int(width), height=int(height),
            intrinsics=np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]),
        )  # fmt: skip
        cameras[name] = (int(width), int(height))
    for child in sorted((folder / "sensors" / "cameras").glob("*/")):
        if child.name not in cameras:
            raise UserError(lenses, f"no intrinsics of {child.name}", "copy the calibration again or remove its images")
    return cameras


def _stamped(folder: Path, suffix: str) -> list[tuple[int, Path]]:
    """Files named by a stamp in nanoseconds, in order of time."""
    files = []
    for path in folder.glob(f"*{suffix}"):
        if not path.stem.isdigit():
            raise UserError(path, "the file's name is not a timestamp in nanoseconds", "remove the file")
        files.append((int(path.stem), path))
    return sorted(files)


def _add_sweeps(
    log: LogWriter, folder: Path, poses: Poses, stamps: np.ndarray | None, interpolated: list[tuple[str, int, int]]
) -> dict[int, int]:
    """Add all sweeps; returns {stamp: row}."""
    rows = {}
    for stamp, path in _stamped(folder / "sensors" / "lidar", ".feather"):
        points, extra = read_sweep(path)
        translation, quaternion, exact = poses.at(stamp, "sweep")
        rows[stamp] = row = log.add_sweep(
            LIDAR, stamp, points, translation, quaternion, extra=extra,
            is_key_frame=stamps is None or bool(np.isin(stamp, stamps)), source_timestamp=stamp,
            source_name=path.relative_to(folder).as_posix(), source_pose_timestamp=stamp if exact else None,
        )  # fmt: skip
        if not exact:
            interpolated.append((LIDAR, row, stamp))
    return rows


def _add_images(
    log: LogWriter, folder: Path, camera: str, width: int, height: int, poses: Poses, frame_stamps: np.ndarray,
    interpolated: list[tuple[str, int, int]],
) -> list[int]:  # fmt: skip
    """Add a camera's images; returns their stamps, by row."""
    stamps = []
    key = frame_stamps if len(frame_stamps) else np.array([np.iinfo(np.int64).min])
    for stamp, path in _stamped(folder / "sensors" / "cameras" / camera, ".jpg"):
        data = path.read_bytes()
        if not (data.startswith(b"\xff\xd8") and data.rstrip(b"\0").endswith(b"\xff\xd9")):
            raise UserError(path, f"JPEG of {len(data)} bytes is broken or truncated", "copy the file again")
        translation, quaternion, exact = poses.at(stamp, "image")
        row = log.add_image(
            camera, stamp, data, width, height, translation, quaternion, source_timestamp=stamp,
            is_key_frame=int(np.abs(key - stamp).min()) <= IMAGE_TOLERANCE_NS,
            source_name=path.relative_to(folder).as_posix(), source_pose_timestamp=stamp if exact else None,
            file=path,
        )  # fmt: skip
        if not exact:
            interpolated.append((camera, row, stamp))
        stamps.append(stamp)
    return stamps


def _add_frames(
    log: LogWriter, frame_stamps: np.ndarray, sweeps: dict[int, int], images: dict[str, list[int]], poses: Poses,
    labelled: bool, interpolated: list[tuple[str, int, int]],
) -> None:  # fmt: skip
    for index, stamp in enumerate(frame_stamps.tolist()):
        rows = {LIDAR: sweeps[stamp]} if stamp in sweeps else {}
        for camera, stamps in images.items():
            gaps = np.abs(np.array(stamps, dtype=np.int64) - stamp)
            if len(gaps) and gaps.min() <= IMAGE_TOLERANCE_NS:
                rows[camera] = int(gaps.argmin())
        translation, quaternion, exact = poses.at(stamp, "labels")
        log.add_frame(
            stamp, rows=rows, pose_translation=translation, pose_rotation=quaternion, source_timestamp=stamp,
            source_token=str(stamp),
        )  # fmt: skip
        if not exact:
            interpolated.append(("frame", index, stamp))
    log.add_table(
        "frame_attributes",
        pa.table(
            {
                "frame": pa.array(range(len(frame_stamps)), pa.int32()),
                "has_sweep": pa.array([stamp in sweeps for stamp in frame_stamps.tolist()], pa.bool_()),
                "labelled": pa.array([labelled] * len(frame_stamps), pa.bool_()),
            }
        ),
    )


def _add_boxes(log: LogWriter, annotations: Annotations, frame_stamps: np.ndarray, poses: Poses) -> None:
    count = annotations.num_boxes
    frame = np.searchsorted(frame_stamps, annotations.stamps_ns)
    city_from_ego = poses.matrices(frame_stamps, "labels")[frame]
    tokens: dict[str, int] = {}
    track = np.array([tokens.setdefault(token, len(tokens)) for token in annotations.track], dtype=np.int64)
    positions = np.einsum("nij,nj->ni", city_from_ego[:, :3, :3], annotations.translation) + city_from_ego[:, :3, 3]
    city_velocity, valid = track_velocities(track, annotations.stamps_ns, positions)
    ego_velocity = np.einsum("nji,nj->ni", city_from_ego[:, :3, :3], city_velocity)
    boxes = np.zeros((count, 9))
    boxes[:, :3], boxes[:, 3:6] = annotations.translation, annotations.size
    boxes[:, 6] = wrap_angle(yaw_of_quaternion(annotations.rotation))
    boxes[:, 7:9] = ego_velocity[:, :2]
    order = np.argsort(frame, kind="stable")
    bounds = np.searchsorted(frame[order], np.arange(len(frame_stamps) + 1))
    for index in range(len(frame_stamps)):
        rows = order[bounds[index] : bounds[index + 1]]
        log.add_boxes(
            index,
            boxes[rows],
            [annotations.category[i] for i in rows],
            [annotations.track[i] for i in rows],
            velocity_valid=valid[rows],
            num_lidar_points=None if annotations.num_points is None else annotations.num_points[rows],
            source_translation=annotations.translation[rows],
            source_rotation=annotations.rotation[rows],
            source_size=annotations.size[rows],
            extra={"source_row": rows.astype(np.int64)},
        )
