"""Lyft Level 5 prediction scenes to logs. Conventions: ``data_tools.lyft``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa

from data_tools.lyft.zarr_arrays import ZarrArray
from drive.errors import UserError
from drive.geometry.box import transform_boxes
from drive.geometry.rigid import invert, matrix_to_quaternion, quaternion_from_yaw
from drive.logs.schema import NAME_PATTERN, VECTOR3
from drive.logs.writer import LogWriter

DATASET = "lyft_l5_prediction"
LICENCE = "CC BY-NC-SA 4.0"
_MEND = "copy the file from the data set again"
_SCENES = {"frame_index_interval": ("<i8", (2,)), "host": ("<U16", ())}
_FRAMES = {
    "timestamp": ("<i8", ()), "agent_index_interval": ("<i8", (2,)),
    "traffic_light_faces_index_interval": ("<i8", (2,)), "ego_translation": ("<f8", (3,)),
    "ego_rotation": ("<f8", (3, 3)),
}  # fmt: skip
_AGENTS = {
    "centroid": ("<f8", (2,)), "extent": ("<f4", (3,)), "yaw": ("<f4", ()), "velocity": ("<f4", (2,)),
    "track_id": ("<u8", ()), "label_probabilities": ("<f4", (17,)),
}  # fmt: skip
_FACES = {
    "face_id": ("<U16", ()), "traffic_light_id": ("<U16", ()), "traffic_light_face_status": ("<f4", (3,)),
}  # fmt: skip
_STATUS = ("active", "inactive", "unknown")


@dataclass(frozen=True)
class Options:
    """What to convert of the Lyft Level 5 prediction set."""

    content: ClassVar[tuple[str, ...]] = ()
    listing: ClassVar[tuple[str, ...]] = ("*/.z*",)


@dataclass(frozen=True)
class LyftScene:
    """One scene to convert: its zarr folder and number."""

    folder: Path
    scene: int

    @property
    def name(self) -> str:
        """Name of the log."""
        return f"lyft_{self.folder.stem}_{self.scene:05d}"


def list_logs(raw: Path, options: Options) -> list[LyftScene]:
    """Every scene of every ``*.zarr`` at ``raw`` or below."""
    raw = Path(raw)
    folders = [raw] if raw.suffix == ".zarr" else sorted(raw.rglob("*.zarr"))
    folders = [folder for folder in folders if (folder / "scenes" / ".zarray").is_file()]
    if not folders:
        raise UserError(raw, "holds no *.zarr with scenes", "give the folder of the Lyft Level 5 prediction set")
    logs = []
    for folder in folders:
        if not NAME_PATTERN.fullmatch(folder.stem):
            raise UserError(folder, "odd folder name", "rename it: letters, digits and . _ + - = only")
        logs += [LyftScene(folder, i) for i in range(ZarrArray(folder / "scenes", _SCENES).length)]
    for first, second in pairwise(logs):
        if first.name == second.name:
            raise UserError(second.folder, f"is called as {first.folder}", "convert one of them at a time")
    return logs


def log_files(raw: Path, scene: LyftScene) -> list[Path]:
    """The folder that the logs of its scenes share."""
    return [scene.folder]


def convert_log(raw: Path, scene: LyftScene, out_root: Path, options: Options) -> None:
    """Write one scene. ``raw`` is not used: the scene knows its folder.

    Raises:
        UserError: an array is missing or damaged; nothing is left behind then.
    """
    folder = scene.folder
    labels = _labels(folder / ".zattrs")
    (record,) = ZarrArray(folder / "scenes", _SCENES).rows(scene.scene, scene.scene + 1)
    start, end = record["frame_index_interval"].tolist()
    frames = ZarrArray(folder / "frames", _FRAMES).rows(start, end)
    if not len(frames):
        raise UserError(folder / "scenes", f"scene {scene.scene} has no frames", _MEND)
    agents, faces = ZarrArray(folder / "agents", _AGENTS), ZarrArray(folder / "traffic_light_faces", _FACES)
    stamps = frames["timestamp"].astype(np.int64)
    if stamps[0] < 0 or (np.diff(stamps) <= 0).any():
        raise UserError(folder / "frames", f"scene {scene.scene}: time does not increase", _MEND)
    poses = _poses(frames, folder / "frames")
    rotations = matrix_to_quaternion(poses[:, :3, :3])
    split = folder.stem if folder.stem in ("train", "validate", "test", "sample") else ""
    writer = LogWriter(
        out_root, scene.name, dataset=DATASET, source_version="2020", licence=LICENCE, split=split, location="palo_alto"
    )
    with writer as log:
        lights = []
        for k, frame in enumerate(frames):
            log.add_frame(
                int(stamps[k]), rows={}, pose_translation=poses[k, :3, 3], pose_rotation=rotations[k],
                source_timestamp=int(stamps[k]), source_token=f"{start + k}",
            )  # fmt: skip
            own = agents.rows(*frame["agent_index_interval"].tolist())
            if len(own):
                _add_boxes(log, k, own, poses[k], labels, f"{folder / 'agents'}: frame {start + k}")
            for face in faces.rows(*frame["traffic_light_faces_index_interval"].tolist()):
                status = np.nan_to_num(face["traffic_light_face_status"], nan=-1.0)
                lights.append((k, str(face["face_id"]), _STATUS[int(status.argmax())], str(face["traffic_light_id"])))
        log.add_table("lights", _lights(lights))
        log.add_table("frame_attributes", pa.table({
            "frame": pa.array(range(len(frames)), pa.int32()),
            "box_z_known": pa.array([False] * len(frames), pa.bool_()),
        }))  # fmt: skip


def _labels(path: Path) -> list[str]:
    try:
        labels = json.loads(path.read_bytes())["labels"]
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", _MEND) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(path, "holds no labels", _MEND) from None
    if not isinstance(labels, list) or len(labels) != 17 or not all(isinstance(v, str) and v for v in labels):
        raise UserError(path, "labels are not 17 names", _MEND)
    return labels


def _poses(frames: np.ndarray, place: Path) -> np.ndarray:
    """World from ego [T, 4, 4]."""
    poses = np.tile(np.eye(4), (len(frames), 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = frames["ego_rotation"], frames["ego_translation"]
    with np.errstate(over="ignore", invalid="ignore"):
        turned = np.abs(poses[:, :3, :3] @ np.swapaxes(poses[:, :3, :3], 1, 2) - np.eye(3)).max(axis=(1, 2))
    bad = np.flatnonzero(~((turned < 1e-3) & (np.abs(poses[:, :3, 3]).max(axis=1) < 1e9)))
    if len(bad):
        raise UserError(place, f"pose of frame {bad[0]} of the scene is not a rigid motion", _MEND)
    return poses


def _add_boxes(
    log: LogWriter, k: int, agents: np.ndarray, world_from_ego: np.ndarray, labels: list[str], place: str
) -> None:
    numbers = np.concatenate([
        agents["centroid"], agents["extent"], agents["yaw"][:, None], agents["velocity"], agents["label_probabilities"]
    ], axis=1).astype(np.float64)  # fmt: skip
    if not np.isfinite(numbers).all() or np.abs(numbers).max() > 1e9 or (agents["extent"] <= 0).any():
        raise UserError(place, "an agent holds a number that is not finite or a size that is not positive", _MEND)
    boxes = np.zeros((len(agents), 9))
    boxes[:, :2], boxes[:, 2] = agents["centroid"], world_from_ego[2, 3]
    boxes[:, 3:6], boxes[:, 6], boxes[:, 7:9] = agents["extent"], agents["yaw"], agents["velocity"]
    in_ego = transform_boxes(invert(world_from_ego), boxes)
    in_ego[:, 2] = 0.0
    best = agents["label_probabilities"].argmax(axis=1)
    log.add_boxes(
        k, in_ego, [labels[i] for i in best], [str(t) for t in agents["track_id"].tolist()],
        velocity_valid=np.ones(len(agents), bool), source_translation=boxes[:, :3],
        source_rotation=quaternion_from_yaw(boxes[:, 6]), source_size=boxes[:, 3:6],
        extra={"label_probability": agents["label_probabilities"].max(axis=1).astype(np.float64)},
    )  # fmt: skip


def _lights(rows: list[tuple[int, str, str, str]]) -> pa.Table:
    """Standard table ``lights``, with the id of the whole signal beside it."""
    return pa.table(
        {
            "frame": pa.array([row[0] for row in rows], pa.int32()),
            "feature_id": pa.array([row[1] for row in rows], pa.string()),
            "state": pa.array(["unknown"] * len(rows), pa.string()),
            "stop_point": pa.nulls(len(rows), VECTOR3),
            "source_state": pa.array([row[2] for row in rows], pa.string()),
            "traffic_light_id": pa.array([row[3] for row in rows], pa.string()),
        }
    )
