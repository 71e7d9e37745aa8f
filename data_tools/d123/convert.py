"""123D logs to logs. Conventions: ``data_tools.d123``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from data_tools.d123.arrow import Modality, numbers, poses, read_modality
from data_tools.d123.labels import LIGHTS, category_of, names_of
from data_tools.d123.maps import read_map
from data_tools.d123.sensors import References, add_camera, add_lidar
from data_tools.source_files import check_folders
from drive.errors import UserError
from drive.geometry.angles import wrap_angle
from drive.geometry.rigid import interpolate_poses, invert, matrix_to_quaternion, rotate_vectors, yaw_of_matrix
from drive.logs.schema import NAME_PATTERN, VECTOR3
from drive.logs.writer import LogWriter

MAX_POSE_GAP_US = 100_000  # a sweep may begin before the first ego state or end after the last one by this much
_MEND = "convert the log with py123d again"


@dataclass(frozen=True)
class Options:
    """What to convert of 123D logs."""

    maps: str = ""
    """folder of the maps (<dataset>/<dataset>_<location>.arrow); maps inside a log are read in any case"""
    licence: str = "unknown: that of the data set it was made from"
    """licence of the data, as it shall stand in the logs"""
    payload: bool = True
    """point clouds and images that are stored in the log"""
    image_root: str = ""
    """folder that the paths of images in the logs start from (of the original data set); without it they are listed"""

    content: ClassVar[tuple[str, ...]] = ("maps", "licence", "payload", "image_root")


@dataclass(frozen=True)
class D123Log:
    """One log folder to convert."""

    folder: Path

    @property
    def name(self) -> str:
        """Name of the log: that of its folder."""
        return self.folder.name


def list_logs(raw: Path, options: Options) -> list[D123Log]:
    """Every folder with a ``sync.arrow`` at ``raw`` or below, sorted by name."""
    check_folders({"--maps": options.maps, "--image-root": options.image_root})
    found: dict[str, Path] = {}
    for path in sorted(Path(raw).rglob("sync.arrow")):
        folder = path.parent.resolve()
        if not NAME_PATTERN.fullmatch(folder.name):
            raise UserError(folder, "odd folder name", "rename it: letters, digits and . _ + - = only")
        if folder.name in found:
            raise UserError(folder, f"the log is also at {found[folder.name]}", "convert one of them at a time")
        found[folder.name] = folder
    if not found:
        raise UserError(raw, "holds no sync.arrow", "give the folder logs/ that py123d wrote")
    return [D123Log(found[name]) for name in sorted(found)]


@dataclass(frozen=True)
class EgoStates:
    """Poses global from IMU at times [T]: matrices [T, 4, 4]."""

    path: Path
    stamps_us: np.ndarray
    translations: np.ndarray
    quaternions: np.ndarray

    def at(self, stamps_us: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Translations [Q, 3] and quaternions [Q, 4] at times, interpolated; at the ends the nearest within 0.1 s."""
        inside = np.clip(stamps_us, self.stamps_us[0], self.stamps_us[-1])
        if np.abs(inside - stamps_us).max(initial=0) > MAX_POSE_GAP_US:
            raise UserError(self.path, "ego states do not reach the sensors' times", _MEND)
        return interpolate_poses(self.stamps_us, inside, self.translations, self.quaternions)


def log_files(raw: Path, source: D123Log) -> list[Path]:
    """The folder that only this log needs."""
    return [source.folder]


def convert_log(raw: Path, source: D123Log, out_root: Path, options: Options) -> None:
    """Write one log. ``raw`` is not used: the log knows its folder.

    Raises:
        UserError: a file is missing, damaged or contradicts another one; nothing is left behind then.
    """
    sync = read_modality(source.folder / "sync.arrow")
    said = {name: str(sync.metadata.get(name) or "") for name in ("dataset", "split", "location", "version")}
    stamps = sync.stamps_us()
    if not len(stamps) or (np.diff(stamps) <= 0).any():
        raise UserError(sync.path, "has no frames, or two of the same time", _MEND)
    ego_file = read_modality(source.folder / "ego_state_se3.arrow")
    ego = _ego_states(ego_file)
    writer = LogWriter(
        out_root, source.name, dataset=said["dataset"] or "d123", source_version=f"123D {said['version']}",
        licence=options.licence, split=said["split"], location=said["location"],
    )  # fmt: skip
    with writer as log:
        references, root = References(), Path(options.image_root) if options.image_root else None
        rows: dict[str, dict[int, int]] = {}
        others = sorted(path for path in source.folder.glob("*.arrow"))
        for path in others:
            kind = path.stem.split(".")[0]
            if kind in ("sync", "map", "ego_state_se3", "box_detections_se3", "traffic_light_detections"):
                continue
            if kind not in ("camera", "lidar") or not options.payload:
                references.add(path.stem, None, None, "")
                continue
            if kind == "camera":
                name, own = add_camera(log, read_modality(path), ego.at, references, root)
            else:
                name, own = add_lidar(log, read_modality(path), ego.at, references)
            rows[name] = _frame_rows(sync, path.stem, own)
        translations, quaternions = ego.at(stamps)
        for k, stamp in enumerate(stamps.tolist()):
            log.add_frame(
                stamp * 1000, rows={name: own[k] for name, own in rows.items() if k in own},
                pose_translation=translations[k], pose_rotation=quaternions[k], source_timestamp=stamp,
                source_token=_uuid(sync, k),
            )  # fmt: skip
        if (path := source.folder / "box_detections_se3.arrow").exists():
            _add_boxes(log, sync, read_modality(path), poses(np.hstack([translations, quaternions]), str(sync.path)))
        if (path := source.folder / "traffic_light_detections.arrow").exists():
            log.add_table("lights", _lights(sync, read_modality(path)))
        log.add_table("ego", _ego_table(ego_file, ego))
        log.add_table("d123_references", references.table())
        _add_map(log, source, said, options)


def _ego_states(modality: Modality) -> EgoStates:
    values, valid = modality.vectors("imu_se3", 7)
    stamps = modality.stamps_us()
    if not valid.any():
        raise UserError(modality.path, "has no ego state", _MEND)
    matrices = poses(values[valid], str(modality.path))
    stamps, first = np.unique(stamps[valid], return_index=True)
    return EgoStates(modality.path, stamps, matrices[first, :3, 3], matrix_to_quaternion(matrices[first, :3, :3]))


def _ego_table(modality: Modality, ego: EgoStates) -> pa.Table:
    """Standard table ``ego``: rows with a dynamic state."""
    state, valid = modality.vectors("dynamic_state_se3", 9)
    names = {"vx_mps": 0, "vy_mps": 1, "ax_mps2": 3, "ay_mps2": 4, "yaw_rate_rps": 8}
    columns = {name: np.ascontiguousarray(state[valid, i]) for name, i in names.items()}
    steering = pa.nulls(int(valid.sum()), pa.float64())
    return pa.table({"timestamp_ns": modality.stamps_us()[valid] * 1000} | columns | {"steering_rad": steering})


def _index(sync: Modality, key: str, count: int) -> dict[int, int]:
    """{frame: row} of a modality by its column in sync.arrow (which has the bare key as name)."""
    if key not in sync.table.column_names:
        return {}
    cells = sync.table[key].to_pylist()
    found = {k: cell for k, cell in enumerate(cells) if cell is not None}
    if any(not isinstance(cell, int) or not 0 <= cell < count for cell in found.values()):
        raise UserError(sync.path, f"column {key} points beyond the file's {count} rows", _MEND)
    return found


def _frame_rows(sync: Modality, key: str, own: dict[int, int]) -> dict[int, int]:
    """{frame: payload row}, for the file's rows that have a payload."""
    named = _index(sync, key, 1 << 40)
    return {k: own[row] for k, row in named.items() if row in own}


def _uuid(sync: Modality, k: int) -> str:
    if "sync.uuid" not in sync.table.column_names:
        return ""
    value: Any = sync.table["sync.uuid"][k].as_py()
    return value.hex() if isinstance(value, bytes) else str(value)


def _add_boxes(log: LogWriter, sync: Modality, modality: Modality, global_from_ego: np.ndarray) -> None:
    names = names_of(str(modality.metadata.get("box_detection_label_class", "")))
    cells = {
        name: modality.column(name)
        for name in ("bounding_box_se3", "track_token", "label", "velocity_3d", "num_lidar_points")
    }
    for k, row in _index(sync, modality.key, modality.table.num_rows).items():
        place = f"{modality.path}: row {row}"
        found = {name: column[row].as_py() or [] for name, column in cells.items()}
        count = len(found["bounding_box_se3"])
        if any(len(values) != count for values in found.values()):
            raise UserError(place, "its columns hold different numbers of boxes", _MEND)
        if not count:
            continue
        if any(not isinstance(v, int) for v in found["label"]) or any(not v for v in found["track_token"]):
            raise UserError(place, "a box has no label or no track", _MEND)
        values = np.stack([numbers(cell, 10, f"{place}: box {i}") for i, cell in enumerate(found["bounding_box_se3"])])
        if not (values[:, 7:10] > 0).all():
            raise UserError(place, "a box has a side that is not positive", _MEND)
        ego_from_global = invert(global_from_ego[k])
        in_ego = ego_from_global @ poses(values[:, :7], place)
        velocity_valid = np.array([cell is not None for cell in found["velocity_3d"]])
        velocity = np.stack([
            np.zeros(3) if cell is None else numbers(cell, 3, f"{place}: velocity {i}")
            for i, cell in enumerate(found["velocity_3d"])
        ])  # fmt: skip
        boxes = np.zeros((count, 9))
        boxes[:, :3], boxes[:, 3:6] = in_ego[:, :3, 3], values[:, 7:10]
        boxes[:, 6] = wrap_angle(yaw_of_matrix(in_ego))
        boxes[:, 7:9] = rotate_vectors(ego_from_global, velocity)[:, :2]
        counts = found["num_lidar_points"]
        known = all(isinstance(v, int) and 0 <= v < 1 << 31 for v in counts)
        log.add_boxes(
            k, boxes, [category_of(names, v) for v in found["label"]], found["track_token"],
            velocity_valid=velocity_valid, num_lidar_points=np.array(counts) if known else None,
            source_translation=values[:, :3], source_rotation=values[:, 3:7], source_size=values[:, 7:10],
        )  # fmt: skip


def _lights(sync: Modality, modality: Modality) -> pa.Table:
    """Standard table ``lights``; feature_id is the map's lane id."""
    rows = []
    lanes, states = modality.column("lane_id"), modality.column("status")
    for k, row in _index(sync, modality.key, modality.table.num_rows).items():
        for lane, state in zip(lanes[row].as_py() or [], states[row].as_py() or [], strict=False):
            rows.append((k, str(lane), LIGHTS[state] if isinstance(state, int) and state < len(LIGHTS) else "unknown"))
    return pa.table(
        {
            "frame": pa.array([row[0] for row in rows], pa.int32()),
            "feature_id": pa.array([row[1] for row in rows], pa.string()),
            "state": pa.array(["unknown" if row[2] == "off" else row[2] for row in rows], pa.string()),
            "stop_point": pa.nulls(len(rows), VECTOR3),
            "source_state": pa.array([row[2] for row in rows], pa.string()),
        }
    )


def _add_map(log: LogWriter, source: D123Log, said: dict[str, str], options: Options) -> None:
    path = source.folder / "map.arrow"
    if not path.exists() and options.maps:
        name = f"{said['dataset']}_{said['location']}"
        if not NAME_PATTERN.fullmatch(name):
            raise UserError(source.folder, f"names an odd map {name[:80]!r}", _MEND)
        path = Path(options.maps) / said["dataset"] / f"{name}.arrow"
    if not path.exists():
        return
    for feature in read_map(read_modality(path).table, path):
        log.add_map_feature(
            feature.feature_id, feature.kind, feature.geometry, holes=feature.holes, is_polygon=feature.is_polygon,
            attributes=feature.attributes, predecessors=feature.predecessors, successors=feature.successors,
        )  # fmt: skip
