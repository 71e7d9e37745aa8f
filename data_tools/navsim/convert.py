"""NAVSIM / OpenScene log pickles to logs. Conventions: ``data_tools.navsim``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa

from data_tools.kitti.read import jpeg_size
from data_tools.navsim.read import NavsimFrame, read_log
from data_tools.nuplan.maps import add_map
from data_tools.nuplan.pcd import COLUMNS, read_pcd
from data_tools.nuplan.sensors import sensor_file
from data_tools.source_files import check_folders, files_by_name
from drive.errors import UserError
from drive.geometry.angles import wrap_angle
from drive.geometry.cameras import PLUMB_BOB
from drive.geometry.rigid import matrix_to_quaternion, quaternion_from_yaw, rotate_vectors
from drive.logs.schema import NAME_PATTERN, VECTOR3
from drive.logs.writer import LogWriter

DATASET = "navsim"
LICENCE = "CC BY-NC-SA 4.0"
LIDAR = "MergedPointCloud"
SPLITS = ("trainval", "test", "mini", "navtrain", "navtest")
_COMMANDS = ("left", "straight", "right", "unknown")


@dataclass(frozen=True)
class Options:
    """What to convert of NAVSIM / OpenScene logs."""

    maps: str = ""
    """folder of nuPlan's maps (nuplan-maps-v1.0); without it logs have no map"""
    sensor_blobs: str = ""
    """folder of the sensor data (sensor_blobs/<split>); without it logs have boxes and poses only"""
    images: bool = True
    """with --sensor-blobs: copy the camera images too"""

    content: ClassVar[tuple[str, ...]] = ("maps", "sensor_blobs", "images")


@dataclass(frozen=True)
class NavsimLog:
    """One log pickle to convert."""

    path: Path

    @property
    def name(self) -> str:
        """Name of the log: that of its file."""
        return self.path.stem


def list_logs(raw: Path, options: Options) -> list[NavsimLog]:
    """Every ``.pkl`` file below ``raw``, sorted by name."""
    check_folders({"--maps": options.maps, "--sensor-blobs": options.sensor_blobs})
    return [NavsimLog(path) for path in files_by_name(raw, ".pkl", "give the folder navsim_logs or one of its splits")]


def log_files(raw: Path, source: NavsimLog) -> list[Path]:
    """The raw file that only this log needs."""
    return [source.path]


def convert_log(raw: Path, source: NavsimLog, out_root: Path, options: Options) -> None:
    """Write one log. ``raw`` is not used: the log knows its file.

    Raises:
        UserError: the pickle, the map or a sensor file is damaged; nothing is left behind then.
    """
    record = read_log(source.path)
    frames = record.frames
    split = source.path.parent.name
    writer = LogWriter(
        out_root, source.name, dataset=DATASET, source_version="v1.1", licence=LICENCE,
        split=split if split in SPLITS else "", location=record.map_name,
    )  # fmt: skip
    with writer as log:
        rows: dict[str, dict[int, int]] = {}
        if options.sensor_blobs:
            rows = _add_clouds(log, source.path, frames, Path(options.sensor_blobs))
            if options.images:
                rows |= _add_images(log, source.path, frames, Path(options.sensor_blobs))
        for k, frame in enumerate(frames):
            log.add_frame(
                frame.stamp_us * 1000, rows={name: own[k] for name, own in rows.items() if k in own},
                pose_translation=frame.translation, pose_rotation=frame.rotation, source_timestamp=frame.stamp_us,
                source_token=frame.token,
            )  # fmt: skip
            if len(frame.boxes):
                _add_boxes(log, k, frame)
        log.add_table("ego", _ego(frames))
        log.add_table("lights", _lights(frames))
        log.add_table("navsim_frames", _frame_table(frames))
        if options.maps:
            add_map(log, Path(options.maps), record.map_name, np.stack([frame.translation for frame in frames]))


def _add_boxes(log: LogWriter, k: int, frame: NavsimFrame) -> None:
    boxes = np.zeros((len(frame.boxes), 9))
    boxes[:, :7] = frame.boxes
    boxes[:, 6] = wrap_angle(boxes[:, 6])
    boxes[:, 7:9] = rotate_vectors(frame.ego_from_lidar, frame.velocity)[:, :2]
    log.add_boxes(
        k, boxes, frame.names, frame.tracks, velocity_valid=np.ones(len(boxes), dtype=bool),
        source_translation=frame.boxes[:, :3], source_rotation=quaternion_from_yaw(frame.boxes[:, 6]),
        source_size=frame.boxes[:, 3:6], source_token=frame.tokens,
    )  # fmt: skip


def _add_clouds(log: LogWriter, path: Path, frames: list[NavsimFrame], root: Path) -> dict[str, dict[int, int]]:
    """Declare the lidar and add the clouds that are there; returns {sensor: {frame: row}}."""
    clouds = {k: sensor_file(root, f.cloud, f"{path}: frame {k}") for k, f in enumerate(frames) if f.cloud}
    clouds = {k: cloud for k, cloud in clouds.items() if cloud.is_file()}
    if not clouds:
        return {}
    ego_from_lidar = frames[min(clouds)].ego_from_lidar
    log.add_sensor(
        LIDAR, "lidar", ego_from_lidar[:3, 3], matrix_to_quaternion(ego_from_lidar[:3, :3]), columns=COLUMNS,
        intensity_max=255.0,
    )  # fmt: skip
    rows = {}
    for k, cloud in clouds.items():
        frame = frames[k]
        points, extra = read_pcd(cloud)
        rows[k] = log.add_sweep(
            LIDAR, frame.stamp_us * 1000, points, frame.translation, frame.rotation, extra=extra, is_key_frame=True,
            source_timestamp=frame.stamp_us, source_name=frame.cloud, source_token=frame.token,
        )  # fmt: skip
    return {LIDAR: rows}


def _add_images(log: LogWriter, path: Path, frames: list[NavsimFrame], root: Path) -> dict[str, dict[int, int]]:
    """Declare the cameras and add the images that are there; returns {sensor: {frame: row}}."""
    rows: dict[str, dict[int, int]] = {}
    for name in sorted({name for frame in frames for name in frame.cameras}):
        if not NAME_PATTERN.fullmatch(name):
            raise UserError(path, f"odd camera name {name[:40]!r}", "copy the file again")
        first = None
        for k, frame in enumerate(frames):
            camera = frame.cameras.get(name)
            if camera is None or not (file := sensor_file(root, camera.path, f"{path}: frame {k}")).is_file():
                continue
            data = file.read_bytes()
            size = jpeg_size(data, file)
            pose = frame.ego_from_lidar @ camera.lidar_from_camera
            if first is None:
                first, rows[name] = pose, {}
                log.add_sensor(
                    name, "camera", pose[:3, 3], matrix_to_quaternion(pose[:3, :3]), intrinsics=camera.intrinsics,
                    distortion=(PLUMB_BOB, camera.distortion.tolist()), width=size[0], height=size[1],
                    ego_from_sensor=pose,
                )  # fmt: skip
            elif np.abs(pose - first).max() > 1e-3:
                raise UserError(
                    f"{path}: frame {k}: {name}", "the camera's place changes in the log", "leave images out"
                )
            rows[name][k] = log.add_image(
                name, frame.stamp_us * 1000, data, *size, frame.translation, frame.rotation, is_key_frame=True,
                source_timestamp=frame.stamp_us, source_name=camera.path, source_token=frame.token, file=file,
            )  # fmt: skip
    return rows


def _ego(frames: list[NavsimFrame]) -> pa.Table:
    """Standard table ``ego``."""
    state = np.stack([frame.state for frame in frames])
    columns = {n: np.ascontiguousarray(state[:, i]) for i, n in enumerate(("vx_mps", "vy_mps", "ax_mps2", "ay_mps2"))}
    missing = pa.nulls(len(frames), pa.float64())
    stamps = pa.array([frame.stamp_us * 1000 for frame in frames], pa.int64())
    return pa.table({"timestamp_ns": stamps} | columns | {"yaw_rate_rps": missing, "steering_rad": missing})


def _lights(frames: list[NavsimFrame]) -> pa.Table:
    """Standard table ``lights``."""
    rows = [(k, connector, red) for k, frame in enumerate(frames) for connector, red in frame.lights]
    return pa.table(
        {
            "frame": pa.array([row[0] for row in rows], pa.int32()),
            "feature_id": pa.array([row[1] for row in rows], pa.string()),
            "state": pa.array(["red" if row[2] else "unknown" for row in rows], pa.string()),
            "stop_point": pa.nulls(len(rows), VECTOR3),
            "source_state": pa.array(["red" if row[2] else "not red" for row in rows], pa.string()),
        }
    )


def _frame_table(frames: list[NavsimFrame]) -> pa.Table:
    """Scene, route and driving command of every frame; the command is null where it is not one-hot of four."""
    commands = [
        _COMMANDS[frame.command.index(1)] if sorted(frame.command) == [0, 0, 0, 1] else None for frame in frames
    ]
    return pa.table(
        {
            "frame": pa.array(range(len(frames)), pa.int32()),
            "scene_token": pa.array([frame.scene for frame in frames], pa.string()),
            "roadblock_ids": pa.array([frame.roadblocks for frame in frames], pa.list_(pa.string())),
            "driving_command": pa.array(commands, pa.string()),
        }
    )
