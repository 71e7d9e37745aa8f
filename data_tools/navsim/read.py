"""The frames of a NAVSIM log pickle as checked values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.unpickle import load_pickle
from drive.errors import UserError
from drive.geometry.rigid import from_translation_rotation

_MEND = "copy the file again"
MAX_BOXES = 10_000


@dataclass(frozen=True)
class CameraImage:
    """An image of a frame: its file below the sensor folder, pose 4x4 in the lidar frame, lens."""

    path: str
    lidar_from_camera: np.ndarray
    intrinsics: np.ndarray
    distortion: np.ndarray


@dataclass(frozen=True)
class NavsimFrame:
    """One frame. boxes float64 [N, 7] in the ego frame; velocity [N, 3] in the lidar's axes.

    state: vx vy ax ay of the ego; lights: (lane connector id, is red); command: one-hot of four, () where absent.
    """

    token: str
    stamp_us: int
    scene: str
    roadblocks: list[str]
    lights: list[tuple[str, bool]]
    translation: np.ndarray
    rotation: np.ndarray
    ego_from_lidar: np.ndarray
    state: np.ndarray
    command: list[int]
    boxes: np.ndarray
    velocity: np.ndarray
    names: list[str]
    tokens: list[str]
    tracks: list[str]
    cloud: str
    cameras: dict[str, CameraImage]


@dataclass(frozen=True)
class NavsimRecord:
    """A whole log: its map and its frames in order of time."""

    map_name: str
    frames: list[NavsimFrame]


def read_log(path: Path) -> NavsimRecord:
    """Read and check a log pickle.

    Raises:
        UserError: no list of frames, a key that is missing, an array of the wrong shape, a number that is not finite.
    """
    records = load_pickle(path)
    if not isinstance(records, list) or not records or not all(isinstance(r, dict) for r in records):
        raise UserError(path, "is not a NAVSIM log (a list with a dict a frame)", "give the folder navsim_logs")
    frames = [_frame(record, f"{path}: frame {i}") for i, record in enumerate(records)]
    frames.sort(key=lambda frame: frame.stamp_us)
    for i in range(1, len(frames)):
        if frames[i].stamp_us == frames[i - 1].stamp_us:
            raise UserError(path, f"two frames at {frames[i].stamp_us} microseconds", _MEND)
    return NavsimRecord(str(records[0].get("map_location", "")), frames)


def _frame(record: dict[Any, Any], place: str) -> NavsimFrame:
    labels = record.get("anns")
    labels = labels if isinstance(labels, dict) else {}
    boxes = _array(labels.get("gt_boxes", np.zeros((0, 7))), (None, 7), f"{place}: gt_boxes")
    count = len(boxes)
    if not (boxes[:, 3:6] > 0).all():
        raise UserError(f"{place}: gt_boxes", "a box has a side that is not positive", _MEND)
    cameras = record.get("cams")
    cameras = cameras if isinstance(cameras, dict) else {}
    identity = ([0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0])
    return NavsimFrame(
        token=_text(record, "token", place),
        stamp_us=_stamp(record, place),
        scene=str(record.get("scene_token", "")),
        roadblocks=[str(v) for v in _list(record.get("roadblock_ids", []), f"{place}: roadblock_ids")],
        lights=_lights(record.get("traffic_lights", []), f"{place}: traffic_lights"),
        translation=_array(record.get("ego2global_translation"), (3,), f"{place}: ego2global_translation"),
        rotation=_rotation(record.get("ego2global_rotation"), f"{place}: ego2global_rotation"),
        ego_from_lidar=from_translation_rotation(
            _array(record.get("lidar2ego_translation", identity[0]), (3,), f"{place}: lidar2ego_translation"),
            _rotation(record.get("lidar2ego_rotation", identity[1]), f"{place}: lidar2ego_rotation"),
        ),
        state=_array(record.get("ego_dynamic_state"), (4,), f"{place}: ego_dynamic_state"),
        command=[int(v) for v in _array(record.get("driving_command", []), (None,), f"{place}: driving_command")],
        boxes=boxes,
        velocity=_array(labels.get("gt_velocity_3d", np.zeros((count, 3))), (count, 3), f"{place}: gt_velocity_3d"),
        names=_names(labels.get("gt_names", []), count, f"{place}: gt_names"),
        tokens=_names(labels.get("instance_tokens", []), count, f"{place}: instance_tokens"),
        tracks=_names(labels.get("track_tokens", []), count, f"{place}: track_tokens"),
        cloud=str(record.get("lidar_path") or ""),
        cameras={str(name): _camera(value, f"{place}: {name}") for name, value in cameras.items()},
    )


def _camera(value: Any, place: str) -> CameraImage:
    if not isinstance(value, dict):
        raise UserError(place, "is not a camera's dict", _MEND)
    pose = np.eye(4)
    pose[:3, :3] = _array(value.get("sensor2lidar_rotation"), (3, 3), f"{place}: sensor2lidar_rotation")
    pose[:3, 3] = _array(value.get("sensor2lidar_translation"), (3,), f"{place}: sensor2lidar_translation")
    if np.abs(pose[:3, :3] @ pose[:3, :3].T - np.eye(3)).max() > 1e-3:
        raise UserError(f"{place}: sensor2lidar_rotation", "is not a rotation", _MEND)
    distortion = np.ravel(_array(value.get("distortion", np.zeros(5)), None, f"{place}: distortion"))
    if distortion.shape != (5,):
        raise UserError(f"{place}: distortion", f"has {len(distortion)} numbers, not 5", _MEND)
    return CameraImage(
        _text(value, "data_path", place), pose, _array(value.get("cam_intrinsic"), (3, 3), f"{place}: cam_intrinsic"),
        distortion,
    )  # fmt: skip


def _array(value: Any, shape: tuple[int | None, ...] | None, place: str) -> np.ndarray:
    """Finite numbers of a shape (None = any length)."""
    try:
        array = np.array(value, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        raise UserError(place, "is missing or not an array of numbers", _MEND) from None
    if shape is not None and array.size == 0 and 0 in (n or 0 for n in shape):
        array = array.reshape([n or 0 for n in shape])  # an empty list has lost its shape
    wrong = shape is not None and (
        array.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True))
    )
    if wrong or array.size > MAX_BOXES * 7:
        raise UserError(place, f"has shape {array.shape}, expected {shape}", _MEND)
    if not np.isfinite(array).all() or np.abs(array).max(initial=0.0) > 1e9:
        raise UserError(place, "holds a number that is not finite or far too large", _MEND)
    return array


def _rotation(value: Any, place: str) -> np.ndarray:
    quaternion = _array(value, (4,), place)
    if not 0.9 < np.linalg.norm(quaternion) < 1.1:
        raise UserError(place, "the quaternion is not of length 1", _MEND)
    return quaternion


def _text(record: dict[Any, Any], key: str, place: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not value:
        raise UserError(place, f"{key} is missing or not text", _MEND)
    return value


def _stamp(record: dict[Any, Any], place: str) -> int:
    value = record.get("timestamp")
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and 0 <= int(value) < 1 << 53:
        return int(value)
    raise UserError(place, f"timestamp is {str(value)[:40]!r}, not microseconds", _MEND)


def _list(value: Any, place: str) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return list(value.tolist())
    raise UserError(place, "is not a list", _MEND)


def _names(value: Any, count: int, place: str) -> list[str]:
    names = [str(v) for v in _list(value, place)]
    if len(names) != count:
        raise UserError(place, f"has {len(names)} entries for {count} boxes", _MEND)
    return names


def _lights(value: Any, place: str) -> list[tuple[str, bool]]:
    pairs = _list(value, place)
    if not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in pairs):
        raise UserError(place, "is not a list of (lane connector, is red)", _MEND)
    return [(str(connector), bool(red)) for connector, red in pairs]
