"""Readers of the tables of a nuPlan log database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from data_tools.nuplan.sqlite import Database, number, token, whole
from data_tools.unpickle import loads_pickle
from drive.errors import UserError
from drive.logs.schema import NAME_PATTERN

_MEND = "copy the file again"
_POSE = (
    "timestamp", "x", "y", "z", "qw", "qx", "qy", "qz", "vx", "vy", "vz", "acceleration_x", "acceleration_y",
    "angular_rate_z",
)  # fmt: skip
_BOX = ("x", "y", "z", "length", "width", "height", "yaw", "vx", "vy")


@dataclass(frozen=True)
class EgoPoses:
    """All ego poses by time: ``index`` row of a token; stamps_us int64 [T]; translations, rotations, motion [T, ...].

    motion: vx vy ax ay (ego frame), yaw rate.
    """

    index: dict[str, int]
    stamps_us: np.ndarray
    translations: np.ndarray
    rotations: np.ndarray
    motion: np.ndarray

    def table(self) -> pa.Table:
        """Standard table ``ego``."""
        names = ("vx_mps", "vy_mps", "ax_mps2", "ay_mps2", "yaw_rate_rps")
        columns = {name: np.ascontiguousarray(self.motion[:, i]) for i, name in enumerate(names)}
        steering = pa.nulls(len(self.stamps_us), pa.float64())
        return pa.table({"timestamp_ns": self.stamps_us * 1000} | columns | {"steering_rad": steering})


def read_poses(database: Database) -> EgoPoses:
    """The table ego_pose in order of time."""
    index: dict[str, int] = {}
    rows: list[list[float]] = []
    stamps: list[int] = []
    for row in database.rows(f"SELECT token, {', '.join(_POSE)} FROM ego_pose ORDER BY timestamp"):
        place = f"{database.path}: ego_pose row {len(rows)}"
        index[token(row[0], place, "token")] = len(rows)
        stamps.append(whole(row[1], place, "timestamp"))
        rows.append([number(v, place, name) for v, name in zip(row[2:], _POSE[1:], strict=True)])
        if not 0.9 < np.linalg.norm(rows[-1][3:7]) < 1.1:
            raise UserError(place, "the quaternion is not of length 1", _MEND)
    values = np.array(rows, dtype=np.float64).reshape(-1, len(_POSE) - 1)
    motion = values[:, [7, 8, 10, 11, 12]]
    return EgoPoses(index, np.array(stamps, dtype=np.int64), values[:, :3], values[:, 3:7], motion)


@dataclass(frozen=True)
class LidarPc:
    """A labelled instant: stamp_us and the row of its pose; scene may be ""."""

    token: str
    stamp_us: int
    pose: int
    scene: str
    filename: str


def read_lidar_pcs(database: Database, poses: EgoPoses) -> list[LidarPc]:
    """The table lidar_pc in order of time."""
    found: list[LidarPc] = []
    query = "SELECT token, timestamp, ego_pose_token, scene_token, filename FROM lidar_pc ORDER BY timestamp"
    for row in database.rows(query):
        place = f"{database.path}: lidar_pc row {len(found)}"
        pose = poses.index.get(token(row[2], place, "ego_pose_token"))
        if pose is None:
            raise UserError(place, "its ego_pose_token names no ego_pose", _MEND)
        scene = "" if row[3] is None else token(row[3], place, "scene_token")
        name = row[4] if isinstance(row[4], str) else ""
        found.append(LidarPc(token(row[0], place, "token"), whole(row[1], place, "timestamp"), pose, scene, name))
    for first, second in pairwise(found):
        if second.stamp_us <= first.stamp_us:
            raise UserError(database.path, f"two lidar_pc at {second.stamp_us} microseconds", _MEND)
    return found


@dataclass(frozen=True)
class GlobalBoxes:
    """Boxes of one lidar_pc: values float64 [N, 9] (box columns, global frame; vx vy 0 where not valid)."""

    lidar_pc: str
    values: np.ndarray
    velocity_valid: np.ndarray
    categories: list[str]
    tracks: list[str]
    tokens: list[str]
    confidence: np.ndarray


def read_boxes(database: Database) -> Iterator[GlobalBoxes]:
    """The boxes of one lidar_pc after the other, in no order; nothing but one of them is held."""
    categories = _categories(database)
    query = (
        f"SELECT lidar_pc_token, token, track_token, confidence, {', '.join(_BOX)} FROM lidar_box "
        "ORDER BY lidar_pc_token, token"
    )
    for owner, rows in groupby(database.rows(query), key=lambda row: row[0]):
        group = list(rows)
        place = f"{database.path}: lidar_box of {token(owner, str(database.path), 'lidar_pc_token')}"
        valid = np.array([row[11] is not None and row[12] is not None for row in group], dtype=bool)
        cells = [row[4:] if ok else (*row[4:11], 0.0, 0.0) for row, ok in zip(group, valid.tolist(), strict=True)]
        values = _numbers(cells, place)
        if not (values[:, 3:6] > 0).all():
            raise UserError(place, "a box has a side that is not positive", "mend or remove the row")
        tracks = [token(row[2], place, "track_token") for row in group]
        unknown = [track for track in tracks if track not in categories]
        if unknown:
            raise UserError(place, f"track {unknown[0]} is not in the table track", _MEND)
        yield GlobalBoxes(
            token(owner, place, "lidar_pc_token"), values, valid, [categories[track] for track in tracks], tracks,
            [token(row[1], place, "token") for row in group],
            np.array([1.0 if row[3] is None else number(row[3], place, "confidence") for row in group]),
        )  # fmt: skip


def _numbers(cells: list[tuple[Any, ...]], place: str) -> np.ndarray:
    """Rows of box cells as float64 [N, 9]; all at once where all are sound, else cell by cell to name the bad one."""
    try:
        values = np.array(cells, dtype=np.float64)
        if (np.abs(values) < 1e15).all():
            return values
    except (ValueError, TypeError, OverflowError):
        pass
    return np.array([[number(v, place, name) for v, name in zip(row, _BOX, strict=True)] for row in cells])


def _categories(database: Database) -> dict[str, str]:
    """Category name of every track."""
    query = "SELECT t.token, c.name FROM track AS t LEFT JOIN category AS c ON c.token = t.category_token"
    found = {}
    for row in database.rows(query):
        place = f"{database.path}: track"
        if not isinstance(row[1], str) or not row[1]:
            raise UserError(place, "a track has no category", _MEND)
        found[token(row[0], place, "token")] = row[1]
    return found


@dataclass(frozen=True)
class Mount:
    """A lidar or camera: place in the ego frame, and a camera's lens."""

    channel: str
    translation: np.ndarray
    rotation: np.ndarray
    intrinsics: np.ndarray | None = None
    distortion: tuple[float, ...] = ()
    width: int = 0
    height: int = 0


def read_mounts(database: Database, table: str) -> dict[str, Mount]:
    """Rows of ``camera`` or ``lidar`` by token; their matrices are pickled lists."""
    lens = table == "camera"
    names = "token, channel, translation, rotation" + (", intrinsic, distortion, width, height" if lens else "")
    mounts = {}
    for row in database.rows(f"SELECT {names} FROM {table} ORDER BY channel"):
        channel = row[1] if isinstance(row[1], str) else ""
        place = f"{database.path}: {table} {channel!r}"
        if not NAME_PATTERN.fullmatch(channel):
            raise UserError(place, "the channel cannot name a file", _MEND)
        translation = _pickled(row[2], (3,), f"{place} translation")
        rotation = _pickled(row[3], (4,), f"{place} rotation")
        if not 0.9 < np.linalg.norm(rotation) < 1.1:
            raise UserError(f"{place} rotation", "the quaternion is not of length 1", _MEND)
        key = token(row[0], place, "token")
        if not lens:
            mounts[key] = Mount(channel, translation, rotation)
            continue
        distortion = _pickled(row[5], (5,), f"{place} distortion")
        width, height = whole(row[6], place, "width"), whole(row[7], place, "height")
        if not (0 < width < 100_000 and 0 < height < 100_000):
            raise UserError(place, f"size {width} x {height} is no image's", _MEND)
        mounts[key] = Mount(
            channel, translation, rotation, intrinsics=_pickled(row[4], (3, 3), f"{place} intrinsic"),
            distortion=tuple(distortion.ravel().tolist()), width=width, height=height,
        )  # fmt: skip
    return mounts


def _pickled(data: Any, shape: tuple[int, ...], place: str) -> np.ndarray:
    """Numbers of a pickled list."""
    if not isinstance(data, bytes):
        raise UserError(place, "is not a pickled list", _MEND)
    value = loads_pickle(data, place)
    try:
        array = np.array(value, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        array = np.zeros((0, 0))
    if array.shape != shape or not np.isfinite(array).all():
        raise UserError(place, f"pickled value has shape {array.shape}, expected {shape}", _MEND)
    return array
