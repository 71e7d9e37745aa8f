"""Waymo's detection metric of detections against logs: what ``drive score`` prints and writes for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from drive.boxes.detections import DetectionSet
from drive.errors import UserError
from drive.geometry.box import transform_boxes
from drive.logs.store import FrameBoxes, Log
from drive.samples.classes import ClassMap
from drive.scores.report import Provenance, versions
from drive.scores.waymo_boxes import WaymoBoxes, difficulty_levels
from drive.scores.waymo_config import CYCLIST, LEVEL_1, PEDESTRIAN, SIGN, TYPE_NAMES, VEHICLE, WaymoConfig
from drive.scores.waymo_detection import WaymoDetectionMetrics, evaluate, leaderboard
from drive.scores.waymo_zones import touches_zone

WAYMO = "waymo_perception"  # Log.dataset of what was converted from Waymo's perception data

NOT_SCORED = 0  # Waymo does not label them

# Class names of detectors to Waymo's types. A motorcycle is a vehicle there, a cyclist is the rider with the bicycle.
TYPE_OF_CLASS: Mapping[str, int] = {
    "vehicle": VEHICLE,
    "car": VEHICLE,
    "truck": VEHICLE,
    "bus": VEHICLE,
    "trailer": VEHICLE,
    "construction_vehicle": VEHICLE,
    "motorcycle": VEHICLE,
    "pedestrian": PEDESTRIAN,
    "sign": SIGN,
    "cyclist": CYCLIST,
    "bicycle": CYCLIST,
    "traffic_cone": NOT_SCORED,
    "barrier": NOT_SCORED,
}
_TYPE_OF_CATEGORY = {f"TYPE_{name}": kind for kind, name in TYPE_NAMES.items()}


@dataclass(frozen=True)
class WaymoTruth:
    """The labelled frames of some logs. frame_of: {(log name, frame index): row}. labels: their frame is the row.
    zones: {row: polygons f64 [V, 2] in global coordinates}. global_from_ego: f64 [F, 4, 4].
    """

    frame_ids: list[str]
    frame_of: dict[tuple[str, int], int]
    labels: WaymoBoxes
    zones: dict[int, list[np.ndarray]]
    global_from_ego: np.ndarray


def load_waymo_truth(log_paths: Sequence[Path], class_map: ClassMap) -> WaymoTruth:
    """Labels with at least one lidar point. Their level is the annotated one, else level 2 up to five points, level 1
    above that and where a data set counts no points.

    Waymo's own categories keep their types whatever the class map says; others get the type of their class. UserError
    for a class without a type and for logs without labels.
    """
    without = [name for name in class_map.names if name not in TYPE_OF_CLASS]
    if without:
        known = ", ".join(TYPE_OF_CLASS)
        raise UserError("--metric waymo", f"class {without[0]!r} has no Waymo type", f"score detections of {known}")
    frame_ids: list[str] = []
    frame_of: dict[tuple[str, int], int] = {}
    parts, poses = [], []
    zones: dict[int, list[np.ndarray]] = {}
    for path in log_paths:
        log = Log.open(path)
        polygons = log.table("no_label_zones").to_pylist() if log.has_table("no_label_zones") else []
        for index in np.flatnonzero(~np.asarray(log.frame_interpolated, dtype=bool)).tolist():
            row = len(frame_ids)
            frame_ids.append(f"{log.name}/{index}")
            frame_of[log.name, index] = row
            poses.append(log.frame(index).global_from_ego)
            parts.append(_labels(log.boxes(index), class_map, row))
            here = [np.column_stack([z["x"], z["y"]]) for z in polygons if z["frame"] == index and len(z["x"]) > 2]
            if here:
                zones[row] = here
    if not frame_ids:
        place = log_paths[0] if log_paths else "logs"
        raise UserError(place, "no labelled frame to score against", "give logs that carry labels")
    return WaymoTruth(frame_ids, frame_of, _joined(parts), zones, np.stack(poses))


def waymo_kinds(categories: Sequence[str], class_map: ClassMap) -> np.ndarray:
    """Waymo's type of each label, int64 [N], NOT_SCORED where it has none: its own categories keep theirs, others get
    the type of their class."""
    by_class = np.array([*(TYPE_OF_CLASS[name] for name in class_map.names), NOT_SCORED], dtype=np.int64)
    kinds = by_class[class_map.labels(categories)]  # label -1 takes the last
    return np.array([_TYPE_OF_CATEGORY.get(c, k) for c, k in zip(categories, kinds, strict=True)], np.int64)


def _labels(content: FrameBoxes, class_map: ClassMap, row: int) -> WaymoBoxes:
    kinds = waymo_kinds(content.category, class_map)
    counted, points = content.num_lidar_points_valid, content.num_lidar_points
    annotated = np.array([d or 0 for d in content.extra.get("detection_difficulty", [0] * len(kinds))], dtype=np.int64)
    levels = np.where(counted | (annotated > 0), difficulty_levels(annotated, points), LEVEL_1)
    labels = WaymoBoxes.labels(
        np.full(len(kinds), row),
        content.boxes[:, :7],
        np.where(kinds > 0, kinds, VEHICLE),
        levels,
        np.where(content.velocity_valid[:, None], content.boxes[:, 7:9], 0.0),
    )
    return labels.take((kinds > 0) & ~(counted & (points == 0)))


def _joined(parts: Sequence[WaymoBoxes]) -> WaymoBoxes:
    names = WaymoBoxes.__dataclass_fields__
    return WaymoBoxes(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True)
class WaymoReport:
    """A score by Waymo's metric, the frames it covers, what is missing, where it comes from."""

    metrics: WaymoDetectionMetrics
    num_frames: int
    missing_frames: list[str]
    num_predictions: int
    provenance: Provenance
    versions: dict[str, str] = field(default_factory=versions)

    def flat(self) -> dict[str, Any]:
        """AP and APH in 0..1 under the official names, null where there is nothing to find, means and counts."""
        m = self.metrics
        out: dict[str, Any] = {}
        for level in (1, 2):
            out[f"mAP.LEVEL_{level}"], out[f"mAPH.LEVEL_{level}"] = leaderboard(m, level)
        for row, name in enumerate(m.names):
            known = bool(m.truth_count[row])
            out[f"AP.{name}"] = float(m.ap[row]) if known else None
            out[f"APH.{name}"] = float(m.aph[row]) if known else None
            out[f"counts.truth.{name}"] = int(m.truth_count[row])
        return out | {
            "counts.frames": self.num_frames,
            "counts.missing_frames": len(self.missing_frames),
            "counts.predictions": self.num_predictions,
        }

    def to_dict(self) -> dict[str, Any]:
        """``flat()`` with missing frames, seeds, hashes and versions."""
        return self.flat() | {
            "metric": "waymo_detection",
            "missing_frames": self.missing_frames,
            "seeds": list(self.provenance.seeds),
            "config_hash": self.provenance.config_hash or None,
            "source": self.provenance.source or None,
            "versions": self.versions,
        }

    def print(self, console: Console | None = None) -> None:
        """A row a type and range."""
        console, m = console or Console(), self.metrics
        table = Table(title=f"Waymo detection, {self.num_frames} frames", box=SIMPLE_HEAD)
        for i, head in enumerate(("figure", "labels", "AP L1", "APH L1", "AP L2", "APH L2")):
            table.add_column(head, justify="right" if i else "left", no_wrap=True)
        for name in [name for name in m.names if name.endswith("_LEVEL_1")]:
            easy, hard = m.names.index(name), m.names.index(name.replace("_LEVEL_1", "_LEVEL_2"))
            if m.truth_count[hard]:
                label = name.removesuffix("_LEVEL_1").removeprefix("OBJECT_TYPE_").removeprefix("RANGE_")
                values = [m.ap[easy], m.aph[easy], m.ap[hard], m.aph[hard]]
                figures = [f"{value:.4f}" for value in values]
                table.add_row(label.removeprefix("TYPE_").lower(), str(m.truth_count[hard]), *figures)
        console.print(table)
        parts = [f"mAP L{k} {leaderboard(m, k)[0]:.4f}   mAPH L{k} {leaderboard(m, k)[1]:.4f}" for k in (1, 2)]
        console.print("   ".join(parts), highlight=False)


def score_waymo(
    detections: DetectionSet, truth: WaymoTruth, provenance: Provenance | None = None, place: str = "detections"
) -> WaymoReport:
    """The challenge's figures. UserError for a class without a Waymo type, a box that is not finite, foreign frames."""
    predictions, missing = place_predictions(detections, truth, place)
    metrics = evaluate(truth.labels, predictions, WaymoConfig())
    return WaymoReport(metrics, len(truth.frame_ids), missing, len(predictions), provenance or Provenance())


def place_predictions(
    detections: DetectionSet, truth: WaymoTruth, place: str = "detections"
) -> tuple[WaymoBoxes, list[str]]:
    """Detections in the frames of ``truth`` with their no-label zones; names of the frames that they lack."""
    unknown = [name for name in detections.class_names if name not in TYPE_OF_CLASS]
    if unknown:
        known = ", ".join(TYPE_OF_CLASS)
        raise UserError(place, f"class {unknown[0]!r} has no Waymo type", f"score detections of {known}")
    kind_of = np.array([TYPE_OF_CLASS[name] for name in detections.class_names], dtype=np.int64)
    rows = [truth.frame_of.get(key, -1) for key in zip(detections.logs, detections.frame_indices, strict=True)]
    if max(rows, default=-1) < 0:
        raise UserError(place, "none of its frames belongs to these logs", "score against the logs it was made from")
    frame = np.repeat(np.array(rows, dtype=np.int64), np.diff(detections.offsets))
    keep = frame >= 0
    frame, boxes, scores = frame[keep], detections.boxes[keep], detections.scores[keep]
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise UserError(place, "a box is not finite", "look for a diverged model")
    if len(boxes) and boxes[:, 3:6].min() < 0:
        raise UserError(place, "a box has a negative size", "write length, width and height in metres")
    hidden = np.zeros(len(frame), dtype=bool)
    for row, polygons in truth.zones.items():
        here = np.flatnonzero(frame == row)
        placed = transform_boxes(truth.global_from_ego[row], boxes[here].astype(np.float64))
        for polygon in polygons:
            hidden[here] |= touches_zone(placed, polygon)
    kinds = kind_of[detections.labels[keep]]
    scored, seen = kinds != NOT_SCORED, set(rows)
    missing = [name for row, name in enumerate(truth.frame_ids) if row not in seen]
    columns = (column[scored] for column in (frame, boxes[:, :7], kinds, scores, hidden))
    return WaymoBoxes.predictions(*columns), missing
