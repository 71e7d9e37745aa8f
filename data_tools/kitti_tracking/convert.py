"""KITTI tracking sequences to logs, one sequence a log. Conventions: ``data_tools.kitti_tracking``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from data_tools.av2.velocity import track_velocities
from data_tools.kitti.frames import GROUND_Z_M, boxes_of_labels, camera_rotations
from data_tools.kitti.read import (
    MAX_FRAMES,
    Labels,
    png_size,
    read_bytes,
    read_calibration,
    read_scan,
    read_tracking_labels,
)
from data_tools.kitti.shared import (
    LIDAR,
    NO_TURN,
    ORIGIN,
    add_camera,
    add_lidar,
    calibration_table,
    dont_care_table,
    label_columns,
)
from data_tools.kitti_tracking.oxts import ego_table, oxts_table, poses_of_oxts, read_oxts
from drive.errors import UserError
from drive.geometry.rigid import from_translation_rotation, matrix_to_quaternion
from drive.logs.schema import NAME_PATTERN
from drive.logs.writer import LogWriter

DATASET = "kitti_tracking"
LICENCE = "CC BY-NC-SA 3.0"
CAMERAS = {"image_02": "P2", "image_03": "P3"}  # left and right colour camera and their projection matrices
PARTS = ("training", "testing")
PERIOD_NS = 100_000_000


@dataclass(frozen=True)
class Options:
    """What to convert of a KITTI tracking folder."""

    part: Literal["all", "training", "testing"] = "all"
    """which of training/ and testing/"""
    images: bool = True
    """copy the camera images"""

    content: ClassVar[tuple[str, ...]] = ("images",)


@dataclass(frozen=True)
class KittiSequence:
    """One sequence to convert: the folder ``part`` (training or testing) of ``raw`` and the sequence's digits."""

    raw: Path
    part: str
    sequence: str

    @property
    def name(self) -> str:
        """Name of the log."""
        part = "" if self.part == "training" else f"{self.part}_"
        return f"kitti_tracking_{part}{self.sequence}"

    def path(self, kind: str) -> Path:
        """Text file of one kind (label_02, calib, oxts)."""
        return self.raw / self.part / kind / f"{self.sequence}.txt"

    def payloads(self, kind: str, suffix: str) -> dict[int, Path]:
        """Files of a sensor by frame number; {} where the sensor is not there."""
        files = {}
        for path in sorted((self.raw / self.part / kind / self.sequence).glob(f"*.{suffix}")):
            if not path.stem.isascii() or not path.stem.isdigit() or int(path.stem) > MAX_FRAMES:
                raise UserError(path, "the file's name is not a frame number", "remove the file")
            files[int(path.stem)] = path
        return files


def list_logs(raw: Path, options: Options) -> list[KittiSequence]:
    """Every sequence with a calibration. ``raw`` holds training/ or testing/, or is one of them."""
    raw = Path(raw)
    parts = [part for part in PARTS if options.part in ("all", part)]
    if raw.name in PARTS and (raw / "calib").is_dir():
        raw, parts = raw.parent, [raw.name]
    sequences = []
    for part in parts:
        for path in sorted((raw / part / "calib").glob("*.txt")):
            if not NAME_PATTERN.fullmatch(path.stem):
                raise UserError(path, "odd sequence name", "rename it: letters, digits and . _ + - = only")
            sequences.append(KittiSequence(raw, part, path.stem))
    if not sequences:
        where = " or ".join(f"{part}/calib" for part in parts)
        raise UserError(raw, f"no sequence in {where}", "give the folder of the KITTI tracking set")
    return sequences


def log_files(raw: Path, sequence: KittiSequence) -> list[Path]:
    """Raw files and folders that only this log needs."""
    part = sequence.raw / sequence.part
    return [*sorted(part.glob(f"*/{sequence.sequence}")), *sorted(part.glob(f"*/{sequence.sequence}.txt"))]


def convert_log(raw: Path, sequence: KittiSequence, out_root: Path, options: Options) -> None:
    """Write one sequence as a log. ``raw`` is not used: the sequence knows its folder.

    Raises:
        UserError: a file is missing, truncated or holds a wrong number; nothing is left behind then.
    """
    calibration = read_calibration(sequence.path("calib"))
    labelled = sequence.part == "training"
    labels, ids = (
        read_tracking_labels(sequence.path("label_02"))
        if labelled
        else (Labels([], np.zeros((0, 14)), []), np.zeros((0, 2), np.int64))
    )
    scans = sequence.payloads("velodyne", "bin")
    images = {c: sequence.payloads(c, "png") for c in CAMERAS} if options.images else {}
    oxts = read_oxts(sequence.path("oxts")) if sequence.path("oxts").exists() else None
    count = 1 + max([-1, *ids[:, 0].tolist(), *scans, *(k for files in images.values() for k in files)])
    if oxts is not None and len(oxts) < count:
        raise UserError(sequence.path("oxts"), f"{len(oxts)} lines for {count} frames", "copy the file again")
    count = max(count, 0 if oxts is None else len(oxts))
    if not count:
        raise UserError(
            sequence.path("calib"), "no label, scan, image or oxts line of this sequence", "unpack them too"
        )
    poses = _poses(oxts, calibration, count, sequence)
    writer = LogWriter(
        out_root, sequence.name, dataset=DATASET, source_version="tracking 2012", licence=LICENCE, split=sequence.part
    )
    with writer as log:
        rows = _add_scans(log, sequence, scans, poses)
        for camera, files in images.items():
            if files:
                rows[camera] = _add_images(log, sequence, camera, files, calibration, poses)
        for k in range(count):
            log.add_frame(
                k * PERIOD_NS, rows={name: own[k] for name, own in rows.items() if k in own},
                pose_translation=poses[0][k], pose_rotation=poses[1][k], source_timestamp=k,
                source_token=f"{sequence.sequence}:{k:06d}",
            )  # fmt: skip
        log.add_table("calibration", calibration_table(calibration))
        log.add_table("frame_attributes", _frame_attributes(count, rows, labelled, oxts is not None))
        log.add_file("calib.txt", read_bytes(sequence.path("calib"), "calibration"))
        if oxts is not None:
            stamps = np.arange(count) * PERIOD_NS
            log.add_table("oxts", oxts_table(oxts, stamps))
            log.add_table("ego", ego_table(oxts, stamps))
        if labelled:
            _add_labels(log, labels, ids, calibration, poses if oxts is not None else None)
            log.add_file("label_02.txt", read_bytes(sequence.path("label_02"), "label file"))


Poses = tuple[np.ndarray, np.ndarray]  # global from ego: translations [T, 3], quaternions [T, 4]


def _poses(oxts: np.ndarray | None, calibration: dict[str, np.ndarray], count: int, sequence: KittiSequence) -> Poses:
    if oxts is None:
        return np.tile(ORIGIN, (count, 1)), np.tile(NO_TURN, (count, 1))
    if "Tr_imu_to_velo" not in calibration:
        raise UserError(
            sequence.path("calib"), "no Tr_imu_velo, which oxts needs", "take the data set's own calib file"
        )
    velodyne_from_imu = np.eye(4)
    velodyne_from_imu[:3] = calibration["Tr_imu_to_velo"]
    global_from_ego = poses_of_oxts(oxts) @ np.linalg.inv(velodyne_from_imu)
    return global_from_ego[:, :3, 3], matrix_to_quaternion(global_from_ego[:, :3, :3])


def _add_scans(
    log: LogWriter, sequence: KittiSequence, scans: dict[int, Path], poses: Poses
) -> dict[str, dict[int, int]]:
    """Declare the scanner where it has scans; returns {sensor: {frame: row}}."""
    if not scans:
        return {}
    add_lidar(log, intensity_max=1.0)
    rows = {
        k: log.add_sweep(
            LIDAR, k * PERIOD_NS, read_scan(path), poses[0][k], poses[1][k], is_key_frame=True, source_timestamp=k,
            source_name=path.relative_to(sequence.raw).as_posix(),
        )
        for k, path in scans.items()
    }  # fmt: skip
    return {LIDAR: rows}


def _add_images(
    log: LogWriter, sequence: KittiSequence, camera: str, files: dict[int, Path], calibration: dict[str, np.ndarray],
    poses: Poses,
) -> dict[int, int]:  # fmt: skip
    rows = {}
    for number, (k, path) in enumerate(files.items()):
        data = read_bytes(path, "image")
        size = png_size(data, path)
        if not number:
            add_camera(log, camera, calibration, CAMERAS[camera], size, str(sequence.path("calib")))
        rows[k] = log.add_image(
            camera, k * PERIOD_NS, data, *size, poses[0][k], poses[1][k], is_key_frame=True, source_timestamp=k,
            source_name=path.relative_to(sequence.raw).as_posix(), file=path,
        )  # fmt: skip
    return rows


def _frame_attributes(count: int, rows: dict[str, dict[int, int]], labelled: bool, pose_known: bool) -> pa.Table:
    return pa.table(
        {
            "frame": pa.array(range(count), pa.int32()),
            "labelled_view": pa.array(["image_02" if labelled else None] * count, pa.string()),
            "has_scan": pa.array([k in rows.get(LIDAR, {}) for k in range(count)], pa.bool_()),
            "pose_known": pa.array([pose_known] * count, pa.bool_()),
            "timestamp_known": pa.array([False] * count, pa.bool_()),
            "ground_z_m": pa.array([GROUND_Z_M] * count, pa.float64()),
        }
    )


def _add_labels(
    log: LogWriter, labels: Labels, ids: np.ndarray, calibration: dict[str, np.ndarray], poses: Poses | None
) -> None:
    """Boxes frame by frame; velocities where the poses are known."""
    is_box = np.array([kind != "DontCare" for kind in labels.types], dtype=bool)
    own, (frames, tracks) = labels.select(is_box), ids[is_box].T
    boxes = boxes_of_labels(own, calibration)
    valid = np.zeros(len(boxes), dtype=bool)
    if poses is not None:
        global_from_ego = from_translation_rotation(*poses)[frames]
        place = np.einsum("nij,nj->ni", global_from_ego[:, :3, :3], boxes[:, :3]) + global_from_ego[:, :3, 3]
        velocity, valid = track_velocities(tracks, frames * PERIOD_NS, place)
        boxes[:, 7:9] = np.einsum("nji,nj->ni", global_from_ego[:, :3, :3], velocity)[:, :2]
    for k in np.unique(frames):
        at = frames == k
        part = own.select(at)
        log.add_boxes(
            int(k), boxes[at], part.types, [str(t) for t in tracks[at]], velocity_valid=valid[at],
            source_translation=part.numbers[:, 10:13], source_rotation=camera_rotations(part),
            source_size=part.numbers[:, 7:10], extra=label_columns(part),
        )  # fmt: skip
    log.add_table("dont_care", dont_care_table(labels.select(~is_box), ids[~is_box, 0]))
