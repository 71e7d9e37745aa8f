"""KITTI object frames to logs, one frame a log. Conventions: ``data_tools.kitti``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from data_tools.kitti.frames import GROUND_Z_M, boxes_of_labels, camera_rotations
from data_tools.kitti.read import (
    Labels,
    png_size,
    read_bytes,
    read_calibration,
    read_labels,
    read_plane,
    read_scan,
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
from drive.errors import UserError
from drive.logs.schema import NAME_PATTERN
from drive.logs.writer import LogWriter

DATASET = "kitti_object"
LICENCE = "CC BY-NC-SA 3.0"
CAMERAS = {"image_2": "P2", "image_3": "P3"}  # left and right colour camera and their projection matrices
PARTS = ("training", "testing")


@dataclass(frozen=True)
class Options:
    """What to convert of a KITTI object folder."""

    part: Literal["all", "training", "testing"] = "all"
    """which of training/ and testing/"""
    images: bool = True
    """copy the camera images"""

    content: ClassVar[tuple[str, ...]] = ("images",)


@dataclass(frozen=True)
class KittiFrame:
    """One frame to convert: the folder ``part`` (training or testing) of ``raw`` and the frame's digits."""

    raw: Path
    part: str
    frame_id: str

    @property
    def name(self) -> str:
        """Name of the log."""
        return f"kitti_{self.frame_id}" if self.part == "training" else f"kitti_{self.part}_{self.frame_id}"

    def path(self, kind: str, suffix: str = "txt") -> Path:
        """Raw file of one kind (velodyne, calib, label_2 ...)."""
        return self.raw / self.part / kind / f"{self.frame_id}.{suffix}"


def list_logs(raw: Path, options: Options) -> list[KittiFrame]:
    """Every frame with a scan, training first, by number. ``raw`` holds training/ or testing/, or is one of them."""
    raw = Path(raw)
    parts = [part for part in PARTS if options.part in ("all", part)]
    if raw.name in PARTS and (raw / "calib").is_dir():
        root, parts = raw.parent, [raw.name]
    else:
        roots = [root for root in (raw, raw / "object") if any((root / part).is_dir() for part in parts)]
        if not roots:
            raise UserError(raw, f"no folder {' or '.join(parts)}", "give the folder of the KITTI object set")
        root = roots[0]
    frames = [frame for part in parts for frame in _frames_of(root, part)]
    if not frames:
        raise UserError(root, "no scan in velodyne/ or velodyne_reduced/", "unpack data_object_velodyne.zip here")
    return frames


def _frames_of(root: Path, part: str) -> list[KittiFrame]:
    scans = {p.stem for kind in ("velodyne", "velodyne_reduced") for p in (root / part / kind).glob("*.bin")}
    for stem in sorted(scans):
        if not NAME_PATTERN.fullmatch(stem):
            raise UserError(root / part, f"odd scan name {stem!r}", "rename it: letters, digits and . _ + - = only")
    return [KittiFrame(root, part, stem) for stem in sorted(scans)]


def log_files(raw: Path, frame: KittiFrame) -> list[Path]:
    """Raw files that only this log needs."""
    return sorted((frame.raw / frame.part).glob(f"*/{frame.frame_id}.*"))


def convert_log(raw: Path, frame: KittiFrame, out_root: Path, options: Options) -> None:
    """Write one frame as the log ``out_root/kitti_ID``. ``raw`` is not used: the frame knows its folder.

    Raises:
        UserError: a file is missing, truncated or holds a wrong number; nothing is left behind then.
    """
    kind = "velodyne" if frame.path("velodyne", "bin").exists() else "velodyne_reduced"
    points = read_scan(frame.path(kind, "bin"))
    calibration = read_calibration(frame.path("calib"))
    labels = read_labels(frame.path("label_2")) if frame.part == "training" else None
    writer = LogWriter(
        out_root, frame.name, dataset=DATASET, source_version="object 2017", licence=LICENCE, split=frame.part
    )
    with writer as log:
        add_lidar(log, intensity_max=1.0)
        rows = {
            LIDAR: log.add_sweep(
                LIDAR, 0, points, ORIGIN, NO_TURN, is_key_frame=True, source_timestamp=0,
                source_name=f"{frame.part}/{kind}/{frame.frame_id}.bin", source_token=frame.frame_id,
            )
        }  # fmt: skip
        for camera, projection in CAMERAS.items():
            if options.images and frame.path(camera, "png").exists():
                rows[camera] = _add_image(log, frame, camera, calibration, projection)
        index = log.add_frame(
            0,
            rows=rows,
            pose_translation=ORIGIN,
            pose_rotation=NO_TURN,
            source_timestamp=0,
            source_token=frame.frame_id,
        )
        log.add_table("calibration", calibration_table(calibration))
        log.add_table("frame_attributes", _frame_attributes(index, kind, labels is not None))
        log.add_file("calib.txt", read_bytes(frame.path("calib"), "calibration"))
        if labels is not None:
            _add_labels(log, index, frame, labels, calibration)
        if frame.path("planes").exists():
            _add_plane(log, frame)


def _add_image(
    log: LogWriter, frame: KittiFrame, camera: str, calibration: dict[str, np.ndarray], projection: str
) -> int:
    path = frame.path(camera, "png")
    data = read_bytes(path, "image")
    width, height = png_size(data, path)
    add_camera(log, camera, calibration, projection, (width, height), str(frame.path("calib")))
    return log.add_image(
        camera, 0, data, width, height, ORIGIN, NO_TURN, is_key_frame=True, source_timestamp=0,
        source_name=f"{frame.part}/{camera}/{frame.frame_id}.png", source_token=frame.frame_id, file=path,
    )  # fmt: skip


def _add_labels(
    log: LogWriter, index: int, frame: KittiFrame, labels: Labels, calibration: dict[str, np.ndarray]
) -> None:
    is_box = np.array([kind != "DontCare" for kind in labels.types], dtype=bool)
    boxes = labels.select(is_box)
    log.add_boxes(
        index,
        boxes_of_labels(boxes, calibration),
        boxes.types,
        [f"{frame.frame_id}:{line}" for line in boxes.lines],  # the set has no tracks
        velocity_valid=np.zeros(len(boxes.types), dtype=bool),
        source_translation=boxes.numbers[:, 10:13],
        source_rotation=camera_rotations(boxes),
        source_size=boxes.numbers[:, 7:10],
        extra=label_columns(boxes),
    )
    ignored = labels.select(~is_box)
    log.add_table("dont_care", dont_care_table(ignored, np.full(len(ignored.types), index)))
    log.add_file("label_2.txt", read_bytes(frame.path("label_2"), "label file"))


def _frame_attributes(index: int, scan: str, labelled: bool) -> pa.Table:
    return pa.table(
        {
            "frame": pa.array([index], pa.int32()),
            "labelled_view": pa.array(["image_2" if labelled else None], pa.string()),
            "scan": pa.array([scan], pa.string()),
            "scan_is_cropped_to_view": pa.array([scan == "velodyne_reduced"]),
            "pose_known": pa.array([False]),
            "timestamp_known": pa.array([False]),
            "ground_z_m": pa.array([GROUND_Z_M]),
        }
    )


def _add_plane(log: LogWriter, frame: KittiFrame) -> None:
    plane = read_plane(frame.path("planes"))
    log.add_table("ground_plane", pa.table({name: [value] for name, value in zip("abcd", plane, strict=True)}))
    log.add_file("plane.txt", read_bytes(frame.path("planes"), "ground plane"))
