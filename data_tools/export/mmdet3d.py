"""Logs as mmdet3d 1.4 infos (info version 1.1, tools/dataset_converters): one pickle of dicts, lists, numbers and text.

Boxes: x y z length width height yaw in the frame of the key frame's lidar sweep, geometric centre, velocity there.
Images: every camera of the key frame with its own pose (lidar2cam through the global frame). Sweeps: up to ten earlier
ones of the lidar, nearest first, each with ``lidar2sensor`` = that sweep's sensor from the key frame's. Classes are
nuScenes' ten; an object of another category has label -1. ``cam_instances`` (boxes as cameras see them):
:mod:`data_tools.export.mmdet3d_cameras`; a camera without intrinsics has none.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.export.mmdet3d_cameras import Placed, camera_instances
from data_tools.export.names import file_name, microseconds, token_of
from data_tools.export.nuscenes_files import write_file
from drive.errors import UserError
from drive.geometry.angles import wrap_angle
from drive.geometry.rigid import (
    from_translation_rotation,
    invert,
    quaternion_from_yaw,
    rotate_vectors,
    yaw_of_matrix,
)
from drive.logs.store import Log
from drive.samples.classes import NUSCENES_CLASSES, ClassMap

# The order of mmdet3d's own nuScenes infos.
CLASSES = (
    "car", "truck", "trailer", "bus", "construction_vehicle", "bicycle", "motorcycle", "pedestrian", "traffic_cone",
    "barrier",
)  # fmt: skip
MAX_SWEEPS = 10
_PROTOCOL = 4


def export_mmdet3d(
    logs: Sequence[Path], out: Path, version: str = "v1.0-custom", class_map: ClassMap | None = None
) -> int:
    """Write the infos of all labelled frames to file `out`; returns their number.

    Args:
        class_map: source categories to classes; default nuScenes' ten in mmdet3d's order.

    Raises:
        UserError: no logs, a frame without a lidar sweep, a file that cannot be written.
    """
    classes = class_map or NUSCENES_CLASSES.only(CLASSES)
    if not logs:
        raise UserError(out, "no logs to export", "give a folder of logs")
    infos: list[dict[str, Any]] = []
    dataset = ""
    for path in logs:
        log = Log.open(path)
        dataset = dataset or log.dataset
        for index in range(log.num_frames):
            if not log.frame_interpolated[index]:
                infos.append(_info(log, index, len(infos), classes))
    meta = {
        "categories": {name: label for label, name in enumerate(classes.names)},
        "dataset": dataset,
        "version": version,
        "info_version": "1.1",
    }
    data = pickle.dumps({"metainfo": meta, "data_list": infos}, protocol=_PROTOCOL)
    write_file(Path(out).parent, Path(out).name, data)
    return len(infos)


def _info(log: Log, index: int, number: int, classes: ClassMap) -> dict[str, Any]:
    frame = log.frame(index)
    name = "LIDAR_TOP" if "LIDAR_TOP" in frame.rows else next(
        (name for name in frame.rows if log.sensors[name].modality == "lidar"), ""
    )  # fmt: skip
    if not name:
        raise UserError(f"{log.path}: frame {index}", "has no lidar sweep", "export logs with lidar")
    sensor, row = log.sensors[name], frame.rows[name]
    sweep = log.sweep(name, row)
    global_from_lidar = sweep.global_from_ego @ sensor.ego_from_sensor
    placed = _placed(log, index, classes)
    cameras = [camera for camera in frame.rows if log.sensors[camera].modality == "camera"]
    return {
        "sample_idx": number,
        "token": token_of(log, frame.token, "sample", index),
        "timestamp": frame.timestamp_ns / 1e9 if log.dataset != "nuscenes" else frame.source_timestamp / 1e6,
        "ego2global": sweep.global_from_ego.tolist(),
        "images": {camera: _image(log, camera, frame.rows[camera], global_from_lidar) for camera in cameras},
        "lidar_points": {
            "num_pts_feats": 5,
            "lidar_path": Path(file_name(log, name, sweep, row)).name,
            "lidar2ego": sensor.ego_from_sensor.tolist(),
        },
        "lidar_sweeps": [
            _sweep(log, name, r, global_from_lidar) for r in range(row - 1, max(row - 1 - MAX_SWEEPS, -1), -1)
        ],
        "instances": _instances(log, index, global_from_lidar, placed),
        "cam_instances": {camera: _seen(log, camera, frame.rows[camera], placed) for camera in cameras},
    }


def _image(log: Log, name: str, row: int, global_from_lidar: np.ndarray) -> dict[str, Any]:
    sensor, image = log.sensors[name], log.image(name, row)
    global_from_camera = image.global_from_ego @ sensor.ego_from_sensor
    return {
        "img_path": Path(file_name(log, name, image, row, image.data)).name,
        "cam2img": None if sensor.intrinsics is None else sensor.intrinsics.tolist(),
        "cam2ego": sensor.ego_from_sensor.tolist(),
        "sample_data_token": token_of(log, image.source_token, name, row),
        "timestamp": microseconds(image) / 1e6,
        "lidar2cam": (invert(global_from_camera) @ global_from_lidar).tolist(),
    }


def _sweep(log: Log, name: str, row: int, global_from_lidar: np.ndarray) -> dict[str, Any]:
    sensor, sweep = log.sensors[name], log.sweep(name, row)
    global_from_sensor = sweep.global_from_ego @ sensor.ego_from_sensor
    return {
        "timestamp": microseconds(sweep) / 1e6,
        "sample_data_token": token_of(log, sweep.source_token, name, row),
        "ego2global": sweep.global_from_ego.tolist(),
        "lidar_points": {
            "lidar_path": file_name(log, name, sweep, row),
            "lidar2ego": sensor.ego_from_sensor.tolist(),
            "lidar2sensor": (invert(global_from_sensor) @ global_from_lidar).tolist(),
        },
    }


def _seen(log: Log, name: str, row: int, placed: Placed) -> list[dict[str, Any]]:
    sensor = log.sensors[name]
    if sensor.intrinsics is None or not sensor.width or not sensor.height:
        return []
    pose = log.sweep_poses(name)[row] @ sensor.ego_from_sensor
    return camera_instances(placed, pose, sensor.intrinsics, sensor.width, sensor.height)


def _placed(log: Log, index: int, classes: ClassMap) -> Placed:
    boxes, frame = log.boxes(index), log.frame(index)
    if log.dataset == "nuscenes":
        pose = from_translation_rotation(boxes.source_translation, boxes.source_rotation)
    else:
        rotation = quaternion_from_yaw(boxes.boxes[:, 6])
        pose = frame.global_from_ego @ from_translation_rotation(boxes.boxes[:, :3], rotation)
    velocity = rotate_vectors(frame.global_from_ego, np.pad(boxes.boxes[:, 7:9], ((0, 0), (0, 1))))
    velocity[~boxes.velocity_valid] = np.nan  # mmdet3d's "unknown"
    return Placed(
        pose.reshape(-1, 4, 4), boxes.boxes[:, 3:6], velocity, classes.labels(boxes.category), boxes.attributes
    )


def _instances(log: Log, index: int, global_from_lidar: np.ndarray, placed: Placed) -> list[dict[str, Any]]:
    boxes, lidar_from_global = log.boxes(index), invert(global_from_lidar)
    local = lidar_from_global @ placed.global_from_box
    velocity = rotate_vectors(lidar_from_global, placed.velocity)
    yaw = wrap_angle(yaw_of_matrix(local))
    found = []
    for i, label in enumerate(placed.labels.tolist()):
        valid = bool(boxes.num_lidar_points[i] + boxes.num_radar_points[i] > 0 or not boxes.num_lidar_points_valid[i])
        found.append(
            {
                "bbox_label": label,
                "bbox_3d": [*local[i, :3, 3].tolist(), *placed.size[i].tolist(), float(yaw[i])],
                "bbox_3d_isvalid": valid,
                "bbox_label_3d": label,
                "num_lidar_pts": int(boxes.num_lidar_points[i]),
                "num_radar_pts": int(boxes.num_radar_points[i]),
                "velocity": velocity[i, :2].tolist(),
            }
        )
    return found
