"""nuPlan log databases to logs. Conventions: ``data_tools.nuplan``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from data_tools.nuplan.maps import add_map
from data_tools.nuplan.sensors import add_sensors
from data_tools.nuplan.sqlite import Database, open_database, token, whole
from data_tools.nuplan.tables import (
    EgoPoses,
    LidarPc,
    read_boxes,
    read_lidar_pcs,
    read_poses,
)
from data_tools.source_files import check_folders, files_by_name
from drive.errors import UserError
from drive.geometry.box import transform_boxes
from drive.geometry.rigid import from_translation_rotation, invert, quaternion_from_yaw
from drive.logs.schema import VECTOR3
from drive.logs.standard import LIGHT_STATES
from drive.logs.writer import LogWriter

DATASET = "nuplan"
LICENCE = "CC BY-NC-SA 4.0"
SPLITS = ("train", "val", "test", "trainval", "mini")


@dataclass(frozen=True)
class Options:
    """What to convert of nuPlan log databases."""

    maps: str = ""
    """folder of the maps (nuplan-maps-v1.0); without it logs have no map"""
    sensor_blobs: str = ""
    """folder of the sensor data (sensor_blobs); without it logs have boxes and poses only"""
    every: int = 1
    """every n-th lidar_pc of 20 Hz becomes a frame (2 = 10 Hz)"""
    images: bool = True
    """with --sensor-blobs: copy the camera images too"""

    content: ClassVar[tuple[str, ...]] = ("maps", "sensor_blobs", "every", "images")


@dataclass(frozen=True)
class NuplanLog:
    """One database to convert."""

    path: Path

    @property
    def name(self) -> str:
        """Name of the log: that of its file."""
        return self.path.stem


def list_logs(raw: Path, options: Options) -> list[NuplanLog]:
    """Every ``.db`` file below ``raw``, sorted by name."""
    if options.every < 1:
        raise UserError("--every", f"{options.every} is not a positive number", "give 1 for all, 2 for 10 Hz ...")
    check_folders({"--maps": options.maps, "--sensor-blobs": options.sensor_blobs})
    return [NuplanLog(path) for path in files_by_name(raw, ".db", "give the folder of the nuPlan log databases")]


def log_files(raw: Path, source: NuplanLog) -> list[Path]:
    """The raw file that only this log needs."""
    return [source.path]


def convert_log(raw: Path, source: NuplanLog, out_root: Path, options: Options) -> None:
    """Write one log. ``raw`` is not used: the log knows its file.

    Raises:
        UserError: the database, its map or a sensor file is damaged; nothing is left behind then.
    """
    with open_database(source.path, "log database") as database:
        map_name = _map_name(database)
        poses = read_poses(database)
        instants = read_lidar_pcs(database, poses)[:: options.every]
        if not instants:
            raise UserError(source.path, "holds no lidar_pc", "copy the file again")
        split = source.path.parent.name
        writer = LogWriter(
            out_root, source.name, dataset=DATASET, source_version="v1.1", licence=LICENCE,
            split=split if split in SPLITS else "", location=map_name,
        )  # fmt: skip
        with writer as log:
            rows: dict[str, dict[int, int]] = {}
            if options.sensor_blobs:
                rows = add_sensors(log, database, poses, instants, Path(options.sensor_blobs), options.images)
            for k, instant in enumerate(instants):
                log.add_frame(
                    instant.stamp_us * 1000, rows={name: own[k] for name, own in rows.items() if k in own},
                    pose_translation=poses.translations[instant.pose], pose_rotation=poses.rotations[instant.pose],
                    source_timestamp=instant.stamp_us, source_token=instant.token,
                )  # fmt: skip
            frames = {instant.token: k for k, instant in enumerate(instants)}
            _add_boxes(log, database, poses, instants, frames)
            log.add_table("ego", poses.table())
            log.add_table("lights", _lights(database, frames))
            log.add_table("scenario_tags", _scenario_tags(database, frames))
            scenes = _scenes(database, {instant.scene for instant in instants})
            log.add_table("scenes", scenes)
            log.add_table("frame_attributes", _frame_attributes(instants))
            if options.maps:
                add_map(log, Path(options.maps), map_name, poses.translations)


def _map_name(database: Database) -> str:
    rows = list(database.rows("SELECT map_version FROM log"))
    if len(rows) != 1 or not isinstance(rows[0][0], str):
        raise UserError(database.path, f"the table log has {len(rows)} usable rows, not 1", "copy the file again")
    return rows[0][0].removesuffix(".gpkg")


def _add_boxes(
    log: LogWriter, database: Database, poses: EgoPoses, instants: list[LidarPc], frames: dict[str, int]
) -> None:
    for group in read_boxes(database):
        k = frames.get(group.lidar_pc)
        if k is None:
            continue
        pose = instants[k].pose
        global_from_ego = from_translation_rotation(poses.translations[pose], poses.rotations[pose])
        log.add_boxes(
            k, transform_boxes(invert(global_from_ego), group.values), group.categories, group.tracks,
            velocity_valid=group.velocity_valid, source_translation=group.values[:, :3],
            source_rotation=quaternion_from_yaw(group.values[:, 6]), source_size=group.values[:, [4, 3, 5]],
            source_token=group.tokens, extra={"confidence": group.confidence},
        )  # fmt: skip


def _lights(database: Database, frames: dict[str, int]) -> pa.Table:
    """Standard table ``lights``, sorted by frame."""
    rows = []
    query = "SELECT lidar_pc_token, lane_connector_id, status FROM traffic_light_status"
    for owner, connector, status in database.rows(query):
        place = f"{database.path}: traffic_light_status"
        frame = frames.get(token(owner, place, "lidar_pc_token"))
        if frame is not None:
            rows.append((frame, str(whole(connector, place, "lane_connector_id")), str(status)))
    rows.sort()
    states = [state if state in LIGHT_STATES else "unknown" for _, _, state in rows]
    return pa.table(
        {
            "frame": pa.array([row[0] for row in rows], pa.int32()),
            "feature_id": pa.array([row[1] for row in rows], pa.string()),
            "state": pa.array(states, pa.string()),
            "stop_point": pa.nulls(len(rows), VECTOR3),
            "source_state": pa.array([row[2] for row in rows], pa.string()),
        }
    )


def _scenario_tags(database: Database, frames: dict[str, int]) -> pa.Table:
    rows = []
    for owner, kind, agent in database.rows("SELECT lidar_pc_token, type, agent_track_token FROM scenario_tag"):
        place = f"{database.path}: scenario_tag"
        frame = frames.get(token(owner, place, "lidar_pc_token"))
        if frame is not None:
            rows.append((frame, str(kind), "" if agent is None else token(agent, place, "agent_track_token")))
    rows.sort()
    return pa.table(
        {
            "frame": pa.array([row[0] for row in rows], pa.int32()),
            "type": pa.array([row[1] for row in rows], pa.string()),
            "track": pa.array([row[2] or None for row in rows], pa.string()),
        }
    )


def _scenes(database: Database, used: set[str]) -> pa.Table:
    """A row a scene of the log: its name and the road blocks of its route in order."""
    rows = []
    for key, name, route in database.rows("SELECT token, name, roadblock_ids FROM scene"):
        own = token(key, f"{database.path}: scene", "token")
        if own in used:
            rows.append((own, str(name), route.split() if isinstance(route, str) else []))
    rows.sort()
    return pa.table(
        {
            "scene_token": pa.array([row[0] for row in rows], pa.string()),
            "name": pa.array([row[1] for row in rows], pa.string()),
            "roadblock_ids": pa.array([row[2] for row in rows], pa.list_(pa.string())),
        }
    )


def _frame_attributes(instants: list[LidarPc]) -> pa.Table:
    """The scene of every frame."""
    return pa.table(
        {
            "frame": pa.array(range(len(instants)), pa.int32()),
            "scene_token": pa.array([instant.scene or None for instant in instants], pa.string()),
        }
    )
