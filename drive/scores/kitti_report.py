"""KITTI scores of detections against KITTI logs: image boxes by projection, points counted in the scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from drive.boxes.detections import DetectionSet
from drive.errors import UserError
from drive.geometry.box import corners, points_in_box_mask
from drive.geometry.rigid import transform_points
from drive.logs.store import Log
from drive.samples.classes import KITTI_CLASSES
from drive.scores.image_boxes import image_rectangles
from drive.scores.kitti import MIN_OVERLAP, OFFICIAL, PLAIN, KittiAP, KittiBoxes, average_precision
from drive.scores.report import Provenance, versions

KITTI = "kitti_object"  # Log.dataset of what was converted from the KITTI object set
NEIGHBOURS = {"Van": "car", "Person_sitting": "pedestrian"}
USUAL_IMAGE = (1242, 375)  # width and height, pixels; where a frame has labels and a scan but no image
PLAIN_OVERLAP = 0.5


@dataclass(frozen=True)
class KittiTruth:
    """The labelled frames of KITTI logs. frame_of: {(log name, frame index): row}. camera_from_ego f64 [F, 4, 4]
    (rectified frame), projection f64 [F, 3, 4], image_size int64 [F, 2] (width, height)."""

    frame_ids: list[str]
    frame_of: dict[tuple[str, int], int]
    boxes: KittiBoxes
    dont_care_frame: np.ndarray
    dont_care: np.ndarray
    camera_from_ego: np.ndarray
    projection: np.ndarray
    image_size: np.ndarray
    frames_without_image: list[str]


def load_kitti_truth(log_paths: Sequence[Path]) -> KittiTruth:
    """Labels of KITTI logs. UserError for logs of another data set and for logs without labels."""
    parts: list[KittiBoxes] = []
    frame_ids: list[str] = []
    frame_of: dict[tuple[str, int], int] = {}
    poses, projections, sizes, without_image = [], [], [], []
    dont_care: list[tuple[int, list[float]]] = []
    for path in log_paths:
        log = Log.open(path)
        if log.dataset != KITTI:
            raise UserError(
                path, f"a log of {log.dataset!r}; KITTI scores need KITTI logs", "convert the KITTI object set"
            )
        if not log.has_table("dont_care"):
            raise UserError(path, "has no labels", "give logs of the training part")
        camera_from_ego, projection = _calibration(log)
        ignored = log.table("dont_care").to_pylist()
        for index in range(log.num_frames):
            row = len(frame_ids)
            frame_ids.append(f"{log.name}/{log.frame(index).token or index}")
            frame_of[log.name, index] = row
            poses.append(camera_from_ego)
            projections.append(projection)
            camera = log.sensors.get("image_2")
            if camera is None:
                without_image.append(frame_ids[-1])
            sizes.append(USUAL_IMAGE if camera is None else (camera.width, camera.height))
            parts.append(_labels(log, index, row))
            dont_care += [(row, _rectangle(r)) for r in ignored if r["frame"] == index]
    if not parts:
        raise UserError("logs", "no labelled frame to score against", "give logs of the training part")
    fields = KittiBoxes.__dataclass_fields__
    return KittiTruth(
        frame_ids=frame_ids,
        frame_of=frame_of,
        boxes=KittiBoxes(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields)),
        dont_care_frame=np.array([row for row, _ in dont_care], dtype=np.int64),
        dont_care=np.array([box for _, box in dont_care], dtype=np.float64).reshape(-1, 4),
        camera_from_ego=np.stack(poses),
        projection=np.stack(projections),
        image_size=np.array(sizes, dtype=np.int64),
        frames_without_image=without_image,
    )


def _calibration(log: Log) -> tuple[np.ndarray, np.ndarray]:
    """Rectified camera frame from ego [4, 4] and P2 [3, 4]."""
    matrices = {r["name"]: np.array(r["values"]).reshape(r["rows"], -1) for r in log.table("calibration").to_pylist()}
    rectify, camera_from_scanner = np.eye(4), np.eye(4)
    rectify[:3, :3] = matrices["R0_rect"]
    camera_from_scanner[:3] = matrices["Tr_velo_to_cam"]
    return rectify @ camera_from_scanner, matrices["P2"]


def _rectangle(row: dict[str, Any]) -> list[float]:
    return [row["bbox_left"], row["bbox_top"], row["bbox_right"], row["bbox_bottom"]]


def _labels(log: Log, index: int, row: int) -> KittiBoxes:
    content = log.boxes(index)
    n = len(content.category)
    extra = content.extra
    names = KITTI_CLASSES.names
    columns = [extra[name] for name in ("bbox_left", "bbox_top", "bbox_right", "bbox_bottom")]
    return KittiBoxes(
        frame=np.full(n, row, dtype=np.int64),
        boxes=np.asarray(content.boxes, dtype=np.float64),
        label=KITTI_CLASSES.labels(content.category),
        neighbour=np.array([names.index(NEIGHBOURS[c]) if c in NEIGHBOURS else -1 for c in content.category], np.int64),
        image_box=np.array(columns, dtype=np.float64).reshape(4, n).T,
        score=np.zeros(n),
        truncation=np.array(extra["truncated"], dtype=np.float64).reshape(n),
        occlusion=np.array(extra["occluded"], dtype=np.float64).reshape(n).astype(np.int64),
        num_points=_points_inside(log, index, content.boxes),
    )


def _points_inside(log: Log, index: int, boxes: np.ndarray) -> np.ndarray:
    """Lidar points in each box, int64 [N]; KITTI does not record them."""
    name, payload = next((n, r) for n, r in log.frame(index).rows.items() if log.sensors[n].modality == "lidar")
    points = transform_points(log.sensors[name].ego_from_sensor, log.sweep(name, payload).points[:, :3])
    return points_in_box_mask(points, boxes).sum(axis=1).astype(np.int64)


def place_in_image(
    detections: DetectionSet, truth: KittiTruth, place: str = "detections"
) -> tuple[KittiBoxes, list[str]]:
    """Detections with their image boxes, those outside the image left out (nothing is labelled there); names of the
    frames for which there are none."""
    unknown = [name for name in detections.class_names if name not in KITTI_CLASSES.names]
    if unknown:
        known = ", ".join(KITTI_CLASSES.names)
        raise UserError(place, f"class {unknown[0]!r} is not one of KITTI's", f"score detections of {known}")
    label_of = np.array([KITTI_CLASSES.names.index(name) for name in detections.class_names], dtype=np.int64)
    frame_row = [truth.frame_of.get(key, -1) for key in zip(detections.logs, detections.frame_indices, strict=True)]
    if max(frame_row, default=-1) < 0:
        raise UserError(place, "none of its frames belongs to these logs", "score against the logs it was made from")
    frame = np.repeat(np.array(frame_row, dtype=np.int64), np.diff(detections.offsets))
    order = np.argsort(frame, kind="stable")
    order = order[frame[order] >= 0]
    frame, boxes = frame[order], detections.boxes[order].astype(np.float64)
    if not (np.isfinite(boxes).all() and np.isfinite(detections.scores[order]).all()):
        raise UserError(place, "a box is not finite", "look for a diverged model")
    rectangle = np.full((len(frame), 4), np.nan)
    for row in np.unique(frame):
        rows = frame == row
        flat = transform_points(truth.camera_from_ego[row], corners(boxes[rows]).reshape(-1, 3))
        rectangle[rows] = image_rectangles(flat.reshape(-1, 8, 3), truth.projection[row])
    limit = truth.image_size[frame].astype(np.float64) - 1
    inside = (rectangle[:, 2] > 0) & (rectangle[:, 3] > 0) & (rectangle[:, :2] < limit).all(axis=1)
    rectangle = np.clip(rectangle, 0, np.concatenate([limit, limit], axis=1))
    n = len(frame)
    zero = np.zeros(n, dtype=np.int64)
    every = KittiBoxes(
        frame=frame, boxes=boxes, label=label_of[detections.labels[order]], neighbour=np.full(n, -1, np.int64),
        image_box=rectangle, score=detections.scores[order].astype(np.float64), truncation=np.zeros(n), occlusion=zero,
        num_points=zero,
    )  # fmt: skip
    present = set(frame_row)
    return every.take(inside), [name for row, name in enumerate(truth.frame_ids) if row not in present]


@dataclass(frozen=True)
class KittiReport:
    """results: {dotted key: KittiAP}; keys such as ``car.3d.moderate`` (official rules), ``car.3d.points5_iou05``."""

    results: dict[str, KittiAP]
    num_frames: int
    missing_frames: list[str]
    frames_without_image: list[str]
    provenance: Provenance
    versions: dict[str, str] = field(default_factory=versions)

    def flat(self) -> dict[str, Any]:
        """AP in 0..1 under each key, null where nothing is to be found, and the counts."""
        out: dict[str, Any] = {key: r.ap if r.num_truth else None for key, r in self.results.items()}
        out |= {f"counts.truth.{key}": r.num_truth for key, r in self.results.items()}
        out |= {f"counts.predictions.{key}": r.num_detections for key, r in self.results.items()}
        return out | {"counts.frames": self.num_frames, "counts.missing_frames": len(self.missing_frames)}

    def to_dict(self) -> dict[str, Any]:
        """``flat()`` with missing frames, seeds, hashes and versions."""
        return self.flat() | {
            "metric": "kitti_r40",
            "missing_frames": self.missing_frames,
            "frames_without_image": self.frames_without_image,
            "seeds": list(self.provenance.seeds),
            "config_hash": self.provenance.config_hash or None,
            "source": self.provenance.source or None,
            "versions": self.versions,
        }

    def print(self, console: Console | None = None) -> None:
        """A row a class and metric."""
        table = Table(title=f"KITTI AP R40, {self.num_frames} frames")
        for head in ("figure", "AP", "objects", "detections"):
            table.add_column(head, justify="left" if head == "figure" else "right")
        for key, result in self.results.items():
            if result.num_truth:
                table.add_row(key, f"{result.ap:.4f}", str(result.num_truth), str(result.num_detections))
        (console or Console()).print(table)


def score_kitti(
    detections: DetectionSet, truth: KittiTruth, provenance: Provenance | None = None, place: str = "detections"
) -> KittiReport:
    """3D, bird's-eye and image AP R40 of each class and official difficulty, and the project's own plain figure:
    objects of five points or more at an overlap of 0.5, exact recall sampling.

    Overlaps are taken in the scanner's frame, where the boxes stand upright (the official ones in the rectified camera
    frame, tilted from it by less than a degree; both boxes of a pair turn alike).
    """
    boxes, missing = place_in_image(detections, truth, place)
    count, results = len(truth.frame_ids), {}
    for label, name in enumerate(KITTI_CLASSES.names):
        for metric in ("3d", "bev", "image"):
            for difficulty in OFFICIAL:
                results[f"{name}.{metric}.{difficulty.name}"] = average_precision(
                    truth.boxes, boxes, count, label, difficulty, metric=metric, min_overlap=MIN_OVERLAP[name],
                    dont_care_frame=truth.dont_care_frame, dont_care=truth.dont_care,
                )  # fmt: skip
            if metric != "image":
                results[f"{name}.{metric}.points5_iou05"] = average_precision(
                    truth.boxes, boxes, count, label, PLAIN, metric=metric, min_overlap=PLAIN_OVERLAP, sampling="exact"
                )
    return KittiReport(results, count, missing, truth.frames_without_image, provenance or Provenance())
