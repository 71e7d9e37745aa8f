"""View-of-Delft frames to logs, one run of consecutive frames a log. Conventions: ``data_tools.view_of_delft``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from data_tools.av2.velocity import track_velocities
from data_tools.kitti.frames import boxes_of_labels, rectified_from_velodyne
from data_tools.kitti.read import (
    MAX_FRAMES,
    Labels,
    jpeg_size,
    read_bytes,
    read_calibration,
    read_labels,
    read_scan,
    read_text,
)
from data_tools.kitti.shared import LIDAR, add_camera, add_lidar, calibration_table, dont_care_table, label_columns
from data_tools.view_of_delft.read import RADAR_COLUMNS, read_annotations, read_pose, read_radar
from drive.errors import UserError
from drive.geometry.rigid import matrix_to_quaternion, quaternion_from_yaw
from drive.logs.schema import NAME_PATTERN
from drive.logs.writer import LogWriter

DATASET = "view_of_delft"
LICENCE = "View-of-Delft research use licence (non-commercial)"
RADAR, CAMERA = "radar", "image_2"
PARTS = ("training", "testing")
SPLITS = ("train", "val", "test")
PERIOD_NS = 100_000_000
MAX_STEP_M = 5.0  # between consecutive frames of one drive


@dataclass(frozen=True)
class Options:
    """What to convert of a View-of-Delft folder."""

    part: Literal["all", "training", "testing"] = "all"
    """which of training/ and testing/"""
    radar: str = "radar"
    """the folder of radar scans: radar (one scan), radar_3_scans, radar_5_scans ...; left out where it is absent"""
    images: bool = True
    """copy the camera images"""

    content: ClassVar[tuple[str, ...]] = ("radar", "images")
    listing: ClassVar[tuple[str, ...]] = ("*/pose/*.json", "*/ImageSets/*")


@dataclass(frozen=True)
class DelftRun:
    """Consecutive frames: ids (digits) in folder ``part`` (training or testing) of ``raw/lidar``."""

    raw: Path
    part: str
    split: str
    ids: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the log."""
        return f"vod_{self.ids[0]}"

    def path(self, frame_id: str, kind: str, suffix: str = "txt", sensor: str = "lidar") -> Path:
        """Raw file of one kind (velodyne, calib, label_2 ...) of a sensor's folder."""
        return self.raw / sensor / self.part / kind / f"{frame_id}.{suffix}"


def list_logs(raw: Path, options: Options) -> list[DelftRun]:
    """Every run of frames with a scan, by number. ``raw`` holds lidar/."""
    raw = Path(raw)
    if not NAME_PATTERN.fullmatch(options.radar):
        raise UserError("--radar", f"{options.radar!r} is not a folder's name", "give a folder beside lidar/")
    split_of: dict[str, str] = {}
    for split in SPLITS:
        path = raw / "lidar" / "ImageSets" / f"{split}.txt"
        if path.exists():
            split_of.update(dict.fromkeys(read_text(path, "frame list").split(), split))
    runs: list[DelftRun] = []
    for part in PARTS:
        if options.part in ("all", part):
            runs += _runs_of(raw, part, split_of)
    if not runs:
        raise UserError(raw, "no scan in lidar/training/velodyne or lidar/testing/velodyne", "unpack the data set here")
    return sorted(runs, key=lambda run: run.name)


def _runs_of(raw: Path, part: str, split_of: dict[str, str]) -> list[DelftRun]:
    runs: list[list[str]] = []
    last: tuple[int, str, np.ndarray] | None = None
    for path in sorted((raw / "lidar" / part / "velodyne").glob("*.bin")):
        frame_id = path.stem
        if not (frame_id.isascii() and frame_id.isdigit() and int(frame_id) < MAX_FRAMES):
            raise UserError(path, "the file's name is not a frame number", "remove the file")
        pose = raw / "lidar" / part / "pose" / f"{frame_id}.json"
        try:
            place = read_pose(pose)[:3, 3]
        except UserError:
            place = np.full(3, np.nan)  # a run of its own, whose conversion fails with this error; the others are kept
        split = split_of.get(frame_id, part)
        joined = (
            last is not None
            and int(frame_id) == last[0] + 1
            and split == last[1]
            and float(np.linalg.norm(place - last[2])) < MAX_STEP_M
        )
        if joined:
            runs[-1].append(frame_id)
        else:
            runs.append([frame_id])
        last = int(frame_id), split, place
    return [DelftRun(raw, part, split_of.get(ids[0], part), tuple(ids)) for ids in runs]


def log_files(raw: Path, run: DelftRun) -> list[Path]:
    """Raw files that only this log needs."""
    return [path for frame_id in run.ids for path in sorted(run.raw.glob(f"*/{run.part}/*/{frame_id}.*"))]


def convert_log(raw: Path, run: DelftRun, out_root: Path, options: Options) -> None:
    """Write one run as a log. ``raw`` is not used: the run knows its folder.

    Raises:
        UserError: a file is missing, truncated or holds a wrong number; nothing is left behind then.
    """
    first = run.ids[0]
    calibration = read_calibration(run.path(first, "calib"))
    writer = LogWriter(
        out_root, run.name, dataset=DATASET, source_version="2022", licence=LICENCE, split=run.split, location="delft"
    )
    with writer as log:
        add_lidar(log, intensity_max=255.0)
        has_radar = run.path(first, "velodyne", "bin", options.radar).exists()
        if has_radar:
            _add_radar(log, run, calibration, options.radar)
        images = [run.path(i, CAMERA, "jpg") for i in run.ids if run.path(i, CAMERA, "jpg").exists()]
        images = images if options.images else []
        if images:
            size = jpeg_size(read_bytes(images[0], "image"), images[0])
            add_camera(log, CAMERA, calibration, "P2", size, str(run.path(first, "calib")))
        poses = np.stack([_global_from_ego(run, frame_id, calibration) for frame_id in run.ids])
        rotations = matrix_to_quaternion(poses[:, :3, :3])
        labels = []
        for index, frame_id in enumerate(run.ids):
            same = read_calibration(run.path(frame_id, "calib"))
            if any(not np.array_equal(same[name], calibration[name]) for name in ("P2", "R0_rect", "Tr_velo_to_cam")):
                raise UserError(run.path(frame_id, "calib"), f"differs from that of {first}", "copy it again")
            pose = poses[index, :3, 3], rotations[index]
            rows = _add_payloads(log, run, frame_id, pose, options.radar if has_radar else None, bool(images))
            log.add_frame(
                int(frame_id) * PERIOD_NS, rows=rows, pose_translation=pose[0], pose_rotation=pose[1],
                source_timestamp=int(frame_id), source_token=frame_id,
            )  # fmt: skip
            if run.part == "training":
                labels.append(read_labels(run.path(frame_id, "label_2"), (15, 16)))
                log.add_file(f"label_2_{frame_id}.txt", read_bytes(run.path(frame_id, "label_2"), "label file"))
        log.add_table("calibration", calibration_table(calibration))
        log.add_table("frame_attributes", _frame_attributes(run))
        log.add_file("calib.txt", read_bytes(run.path(first, "calib"), "calibration"))
        if labels:
            _add_labels(log, run, labels, calibration, poses)


Pose = tuple[np.ndarray, np.ndarray]  # global from ego: translation [3], quaternion [4]


def _global_from_ego(run: DelftRun, frame_id: str, calibration: dict[str, np.ndarray]) -> np.ndarray:
    map_from_camera = read_pose(run.path(frame_id, "pose", "json"))
    return np.asarray(map_from_camera @ rectified_from_velodyne(calibration))


def _add_radar(log: LogWriter, run: DelftRun, calibration: dict[str, np.ndarray], folder: str) -> None:
    """Declare the radar: its calibration, like the lidar's, leads to the camera."""
    path = run.path(run.ids[0], "calib", sensor=folder)
    camera_from_radar = rectified_from_velodyne(read_calibration(path))
    ego_from_radar = np.linalg.inv(rectified_from_velodyne(calibration)) @ camera_from_radar
    log.add_sensor(
        RADAR, "radar", ego_from_radar[:3, 3], matrix_to_quaternion(ego_from_radar[:3, :3]), columns=RADAR_COLUMNS,
        ego_from_sensor=ego_from_radar,
    )  # fmt: skip
    log.add_file("calib_radar.txt", read_bytes(path, "calibration"))


def _add_payloads(
    log: LogWriter, run: DelftRun, frame_id: str, pose: Pose, radar: str | None, has_images: bool
) -> dict[str, int]:  # fmt: skip
    """Scan, radar scan and image of a frame; returns {sensor: row}."""
    stamp = int(frame_id) * PERIOD_NS

    def source(path: Path) -> str:
        return path.relative_to(run.raw).as_posix()

    path = run.path(frame_id, "velodyne", "bin")
    rows = {
        LIDAR: log.add_sweep(
            LIDAR, stamp, read_scan(path), *pose, is_key_frame=True, source_timestamp=int(frame_id),
            source_name=source(path), source_token=frame_id,
        )
    }  # fmt: skip
    if radar is not None:
        path = run.path(frame_id, "velodyne", "bin", radar)
        rows[RADAR] = log.add_sweep(
            RADAR, stamp, read_radar(path), *pose, is_key_frame=True, source_timestamp=int(frame_id),
            source_name=source(path), source_token=frame_id,
        )  # fmt: skip
    path = run.path(frame_id, CAMERA, "jpg")
    if has_images and path.exists():
        data = read_bytes(path, "image")
        size = jpeg_size(data, path)
        rows[CAMERA] = log.add_image(
            CAMERA, stamp, data, *size, *pose, is_key_frame=True, source_timestamp=int(frame_id),
            source_name=source(path), source_token=frame_id, file=path,
        )  # fmt: skip
    return rows


def _frame_attributes(run: DelftRun) -> pa.Table:
    count = len(run.ids)
    return pa.table(
        {
            "frame": pa.array(range(count), pa.int32()),
            "labelled_view": pa.array([CAMERA if run.part == "training" else None] * count, pa.string()),
            "pose_known": pa.array([True] * count, pa.bool_()),
            "timestamp_known": pa.array([False] * count, pa.bool_()),
        }
    )


def _add_labels(
    log: LogWriter, run: DelftRun, labels: list[Labels], calibration: dict[str, np.ndarray], poses: np.ndarray
) -> None:
    """Boxes of all frames, with velocities of the tracks that the annotations name."""
    is_box = [np.array([kind != "DontCare" for kind in own.types], dtype=bool) for own in labels]
    kept = [own.select(keep) for own, keep in zip(labels, is_box, strict=True)]
    boxes = [boxes_of_labels(own, calibration) for own in kept]
    tokens, attributes = [], []
    for frame_id, own in zip(run.ids, kept, strict=True):
        path = run.path(frame_id, "label_2", "json", sensor="radar")
        known = read_annotations(path) if path.exists() else {}
        matched = [known.get((size[0], size[1], size[2])) for size in own.numbers[:, 7:10].tolist()]
        tokens.append([f"{frame_id}:{i}" if m is None else m.track for i, m in zip(own.lines, matched, strict=True)])
        attributes.append(["" if m is None else m.attributes for m in matched])
    index: dict[str, int] = {}
    track = np.array([index.setdefault(t, len(index)) for own in tokens for t in own], dtype=np.int64)
    frame = np.repeat(np.arange(len(boxes)), [len(own) for own in boxes])
    every, pose = np.concatenate(boxes), poses[frame]
    place = np.einsum("nij,nj->ni", pose[:, :3, :3], every[:, :3]) + pose[:, :3, 3]
    stamps = np.array([int(frame_id) * PERIOD_NS for frame_id in run.ids], dtype=np.int64)
    velocity, valid = track_velocities(track, stamps[frame], place)
    every[:, 7:9] = np.einsum("nji,nj->ni", pose[:, :3, :3], velocity)[:, :2]
    for k, own in enumerate(kept):
        log.add_boxes(
            k, every[frame == k], own.types, tokens[k], velocity_valid=valid[frame == k],
            source_translation=own.numbers[:, 10:13], source_rotation=quaternion_from_yaw(-own.numbers[:, 13]),
            source_size=own.numbers[:, 7:10], attributes=attributes[k], extra=label_columns(own),
        )  # fmt: skip
    ignored = [own.select(~keep) for own, keep in zip(labels, is_box, strict=True)]
    numbers = np.concatenate([own.numbers for own in ignored])
    types, lines = [t for own in ignored for t in own.types], [i for own in ignored for i in own.lines]
    frames = np.repeat(np.arange(len(ignored)), [len(own.types) for own in ignored])
    log.add_table("dont_care", dont_care_table(Labels(types, numbers, lines), frames))
