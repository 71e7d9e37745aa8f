"""One entry point to every tracking metric: a file of tracks and the logs with the labels in, a flat report out.

Which score threshold: AB3DMOT's, nuScenes' and Waymo's metrics choose the threshold of their single figures themselves,
where MOTA is best ON THE LABELS THAT ARE SCORED; every such figure has its ``threshold`` beside it. CLEAR MOT and HOTA
know no scores: they take the tracks whose mean score reaches the threshold that AB3DMOT's metric chose for the class
at the lowest overlap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from drive.errors import UserError
from drive.logs.store import Log
from drive.samples.classes import ClassMap
from drive.scores.clear_mot import evaluate_clear, without_ignored
from drive.scores.clear_mot_boxes import MotBoxes, centre_pairs, overlap_pairs
from drive.scores.clear_mot_kitti import KITTI_MOT_CLASSES, KITTI_TRACKING, kitti_sides, load_kitti_mot, place_in_camera
from drive.scores.clear_mot_recall import MotRecall, evaluate_recall
from drive.scores.hota import evaluate_hota, similarity_of
from drive.scores.nuscenes_tracking import METRICS as NUSCENES_METRICS
from drive.scores.nuscenes_tracking import (
    NUSCENES_TRACKING_RANGE_M,
    SUMMED,
    TrackingConfig,
    evaluate_tracking,
    filter_tracked,
)
from drive.scores.nuscenes_tracking_boxes import TrackedBoxes
from drive.scores.report import Provenance, versions
from drive.scores.stt_state import StateConfig, evaluate_state
from drive.scores.tracking_truth import Sides, check_tracks, load_sides, usual_classes
from drive.scores.tracking_waymo import score_waymo_tracks
from drive.tracks.sequence import TrackSet

METRICS = ("ab3dmot", "clear", "hota", "nuscenes", "waymo", "state")
OVERLAPS = (0.25, 0.5, 0.7)
NEAR_M = 2.0  # of a pair by distance: nuScenes' limit, in CLEAR MOT and as where similarity ends in HOTA
_TINY = 1e-9  # an overlap above nothing
_WAYMO = "waymo_perception"


@dataclass(frozen=True)
class TrackingReport:
    """A tracking score.

    figures: {dotted key: number or None where it is not defined}: ``ab3dmot.car.iou025.samota``,
    ``clear.car.iou05.mota``, ``hota.car.iou3d.hota``, ``nuscenes.car.amota``, ``nuscenes.mean.amota``,
    ``waymo.OBJECT_TYPE_TYPE_VEHICLE_LEVEL_2.mota``, ``state.car.iou05.smota.v1_a2``. counts: frames and logs.
    missing_frames: labelled frames without tracks, counted as empty.
    """

    dataset: str
    metrics: tuple[str, ...]
    class_names: tuple[str, ...]
    figures: dict[str, float | int | None]
    counts: dict[str, int]
    missing_frames: list[str]
    logs: list[str]
    provenance: Provenance
    versions: dict[str, str] = field(default_factory=versions)

    def flat(self) -> dict[str, Any]:
        """Every figure and count under a dotted key."""
        return self.figures | {f"counts.{name}": value for name, value in self.counts.items()}

    def to_dict(self) -> dict[str, Any]:
        """``flat()`` with what a score must carry beside its numbers."""
        return self.flat() | {
            "metric": "tracking",
            "metrics": list(self.metrics),
            "dataset": self.dataset or None,
            "missing_frames": self.missing_frames,
            "logs": self.logs,
            "seeds": list(self.provenance.seeds),
            "config_hash": self.provenance.config_hash or None,
            "source": self.provenance.source or None,
            "versions": self.versions,
        }

    def rows(self, metric: str) -> dict[str, dict[str, float | int | None]]:
        """{what is scored: {figure: number}} of a metric, in the order of the report."""
        out: dict[str, dict[str, float | int | None]] = {}
        for key, value in self.figures.items():
            if key.startswith(f"{metric}."):
                depth = {"nuscenes": 2, "waymo": 2}.get(metric, 3)
                parts = key.split(".", depth)
                out.setdefault(" ".join(parts[1:depth]), {})[parts[depth]] = value
        return out

    def under(self, prefix: str) -> dict[str, float | int | None]:
        """A study's table: ``<prefix>.<class>.<overlap>.<figure>``, AB3DMOT's figures under their own names, HOTA's at
        ``iou3d``, CLEAR MOT's as ``clear_mota``, ``clear_ids``, ``idf1``."""
        out: dict[str, float | int | None] = {}
        for key, value in self.figures.items():
            metric, _, rest = key.partition(".")
            place, _, figure = rest.rpartition(".")
            if metric == "clear":
                figure = {"mota": "clear_mota", "ids": "clear_ids", "idf1": "idf1"}.get(figure, "")
            if figure and metric in ("ab3dmot", "clear", "hota"):
                out[f"{prefix}.{place}.{figure}"] = value
        return out

    def print(self, console: Console | None = None) -> None:
        """A table a metric."""
        console = console or Console()
        for metric in self.metrics:
            rows = self.rows(metric)
            if not rows:
                continue
            table = Table(title=_TITLES[metric], box=SIMPLE_HEAD)
            table.add_column("class")
            for head in _SHOWN[metric]:
                table.add_column(head, justify="right", no_wrap=True)
            for name, figures in rows.items():
                if figures.get(_DEFINED_BY[metric]) is not None:
                    table.add_row(name, *(_text(figures.get(head)) for head in _SHOWN[metric]))
            console.print(table)


_TITLES = {
    "ab3dmot": "AB3DMOT's metric (threshold chosen on these labels)",
    "clear": "CLEAR MOT at AB3DMOT's threshold (motp: mean 1 - IoU or metres)",
    "hota": "HOTA at AB3DMOT's threshold",
    "nuscenes": "nuScenes tracking",
    "waymo": "Waymo tracking",
    "state": "S-MOTA and MOTPS (own definition: not comparable with the paper's)",
}
_SHOWN = {
    "ab3dmot": ("samota", "amota", "amotp", "mota", "motp", "ids", "frag", "fp", "fn", "threshold"),
    "clear": ("mota", "motp", "ids", "frag", "fp", "fn", "idf1"),
    "hota": ("hota", "deta", "assa", "loca"),
    "nuscenes": ("amota", "amotp", "recall", "mota", "motp", "ids", "frag", "fp", "fn"),
    "waymo": ("mota", "motp", "miss", "mismatch", "false", "cutoff"),
    "state": ("mota", "smota.v05", "smota.v1", "smota.v2", "smota.v1_a1", "smota.v1_a2", "motps.velocity",
              "motps.acceleration"),
}  # fmt: skip
_DEFINED_BY = {
    "ab3dmot": "mota", "clear": "mota", "hota": "hota", "nuscenes": "amota", "waymo": "mota", "state": "mota",
}  # fmt: skip


def _text(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def usual_metrics(dataset: str, class_names: Sequence[str], poses_known: bool) -> tuple[str, ...]:
    """The metrics that say something of tracks on a data set."""
    own = ("nuscenes",) if set(class_names) & set(NUSCENES_TRACKING_RANGE_M) and dataset != KITTI_TRACKING else ()
    waymo = ("waymo",) if dataset == _WAYMO else ()
    return ("ab3dmot", "clear", "hota", *own, *waymo, *(("state",) if poses_known else ()))


def score_tracks(
    tracks: TrackSet,
    log_paths: Sequence[Path],
    class_map: ClassMap | None = None,
    metrics: Sequence[str] = (),
    provenance: Provenance | None = None,
    place: str = "tracks",
) -> TrackingReport:
    """Score tracks against the labels of logs.

    KITTI tracking logs get KITTI's rules of what is ignored in ``ab3dmot``, ``clear`` and ``hota``; elsewhere nothing
    is ignored there, and CLEAR MOT takes pairs by distance. ``nuscenes`` counts what the benchmark counts (its ranges).

    Args:
        class_map: Label categories to the tracks' classes; ``tracking_truth.usual_classes`` unless given.
        metrics: Of METRICS; ``usual_metrics`` unless given.
        place: What an error calls the tracks.

    Raises:
        UserError: an unknown metric, one that the data cannot have (KITTI without poses and ``state``), and what
            ``load_sides`` raises.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise UserError("metrics", f"no tracking metric {unknown[0]!r}", f"there are {', '.join(METRICS)}")
    check_tracks(tracks, place)
    class_map = class_map or usual_classes(tracks.class_names)
    datasets = {Log.open(path).dataset for path in log_paths}
    kitti = datasets == {KITTI_TRACKING}
    if KITTI_TRACKING in datasets and not kitti:
        raise UserError(place, "KITTI tracking logs beside others", "score the data sets one by one")
    sides = load_sides(tracks, log_paths, class_map, place)
    metrics = tuple(metrics) or usual_metrics(sides.dataset, tracks.class_names, sides.poses_known)
    figures: dict[str, float | int | None] = {}
    if {"ab3dmot", "clear", "hota"} & set(metrics):
        by_class = _kitti(tracks, log_paths, place) if kitti else {n: sides.of_class(n) for n in tracks.class_names}
        for name, (truth, own) in by_class.items():
            figures |= _class_figures(name.lower(), truth, own, metrics, by_distance=not kitti)
    if "nuscenes" in metrics:
        figures |= _nuscenes(sides)
    if "waymo" in metrics:
        figures |= _waymo(tracks, log_paths, class_map, place)
    if "state" in metrics:
        if not sides.poses_known:
            mend = "convert the recording with its poses, or leave the metric out"
            raise UserError(place, "speeds are scored only where the logs have ego poses", mend)
        for name in tracks.class_names:
            found = evaluate_state(sides, name)
            figures |= {f"state.{name.lower()}.{_iou(StateConfig().min_iou)}.{k}": v for k, v in found.flat().items()}
    order = [key for metric in metrics for key in figures if key.startswith(f"{metric}.")]
    return TrackingReport(
        dataset=sides.dataset,
        metrics=tuple(metrics),
        class_names=tracks.class_names,
        figures={key: _number(figures[key]) for key in order},
        counts={
            "frames": len(sides.frames.frames),
            "logs": len(log_paths),
            "truth": len(sides.truth),
            "tracked_boxes": len(sides.tracks),
            "tracks": len(np.unique(sides.tracks.track)),
            "missing_frames": len(sides.missing),
            "extra_frames": sides.extra_frames,
        },
        missing_frames=sides.missing,
        logs=[Log.open(path).name for path in log_paths],
        provenance=provenance or Provenance(),
    )


def _kitti(tracks: TrackSet, log_paths: Sequence[Path], place: str) -> dict[str, tuple[MotBoxes, MotBoxes]]:
    truth = load_kitti_mot(log_paths)
    placed = place_in_camera(tracks, truth, place)[0]
    names = [name for name in KITTI_MOT_CLASSES if name in {own.lower() for own in tracks.class_names}]
    return {name: kitti_sides(truth.labels, placed, name) for name in names}


def _iou(overlap: float) -> str:
    return "iou" + f"{overlap:g}".replace(".", "")


def _class_figures(
    name: str, truth: MotBoxes, tracks: MotBoxes, metrics: Sequence[str], by_distance: bool
) -> dict[str, Any]:
    found: dict[float, MotRecall] = {}
    for overlap in OVERLAPS if "ab3dmot" in metrics else OVERLAPS[:1]:
        found[overlap] = evaluate_recall(truth, tracks, overlap)
    out: dict[str, Any] = {}
    if "ab3dmot" in metrics:
        for overlap, result in found.items():
            out |= {f"ab3dmot.{name}.{_iou(overlap)}.{key}": value for key, value in result.flat().items()}
    threshold = found[OVERLAPS[0]].values["threshold"]
    own = tracks.take(_mean_scores(tracks) >= threshold - 1e-9 * abs(threshold))
    wanted, own = without_ignored(truth, own, overlap_pairs(truth, own, 0.5))
    if "clear" in metrics:
        kinds = {_iou(overlap): overlap_pairs(wanted, own, overlap) for overlap in OVERLAPS[:2]}
        if by_distance:
            kinds |= {f"{NEAR_M:g}m": centre_pairs(wanted, own, NEAR_M)}
        for kind, pairs in kinds.items():
            clear = evaluate_clear(wanted, own, pairs)
            out |= {f"clear.{name}.{kind}.{key}": value for key, value in (clear.values | clear.counts).items()}
    if "hota" in metrics:
        pairs = overlap_pairs(wanted, own, _TINY)
        scores = {"iou3d": evaluate_hota(wanted, own, pairs, similarity_of(pairs))}
        if by_distance:
            near = centre_pairs(wanted, own, NEAR_M)
            scores[f"{NEAR_M:g}m"] = evaluate_hota(wanted, own, near, similarity_of(near, NEAR_M))
        for kind, hota in scores.items():
            out |= {f"hota.{name}.{kind}.{key}": value for key, value in hota.values.items()}
    return out


def _mean_scores(tracks: MotBoxes) -> np.ndarray:
    """float64 [N]: mean score of each box's track."""
    if not len(tracks):
        return tracks.score
    count = np.bincount(tracks.track)
    return (np.bincount(tracks.track, tracks.score) / np.maximum(count, 1))[tracks.track]


def _nuscenes(sides: Sides) -> dict[str, Any]:
    """Of the classes that nuScenes' task has; tracks and labels of others are left out."""
    names = tuple(name for name in sides.class_names if name in NUSCENES_TRACKING_RANGE_M)
    if not names:
        what = f"nuScenes' tracking task has no class {', '.join(sides.class_names)}"
        raise UserError("metrics", what, "leave the metric nuscenes out")
    config = TrackingConfig(class_range_m={name: NUSCENES_TRACKING_RANGE_M[name] for name in names})
    frames = sides.frames
    truth, own = (
        filter_tracked(_only(side, sides, names), frames.frames, config) for side in (sides.truth, sides.tracks)
    )
    found = evaluate_tracking(truth, own, frames, config)
    out: dict[str, Any] = {}
    for m in NUSCENES_METRICS:
        of_class = {name: float(found.values[m][k]) for k, name in enumerate(names)}
        whole = m in SUMMED or m == "gt"
        for name, value in (of_class | {"mean": found.overall(m)}).items():
            out[f"nuscenes.{name}.{m}"] = int(value) if whole and value == value else value
    return {f"nuscenes.{name}.{m}": out[f"nuscenes.{name}.{m}"] for name in (*names, "mean") for m in NUSCENES_METRICS}


def _only(side: TrackedBoxes, sides: Sides, names: tuple[str, ...]) -> TrackedBoxes:
    """The boxes of some classes, their labels counted anew."""
    label = np.array([names.index(name) if name in names else -1 for name in sides.class_names], np.int64)
    own = side.take(label[side.boxes.label] >= 0)
    return TrackedBoxes(replace(own.boxes, label=label[own.boxes.label]), own.track)


def _waymo(tracks: TrackSet, log_paths: Sequence[Path], class_map: ClassMap, place: str) -> dict[str, Any]:
    found = score_waymo_tracks(tracks, log_paths, class_map, place)
    out: dict[str, Any] = {}
    for row, name in enumerate(found.names):
        if found.objects[row]:
            figures = ("mota", "motp", "miss", "mismatch", "false", "cutoff")
            out |= {f"waymo.{name}.{m}": float(getattr(found, m)[row]) for m in figures}
            out[f"waymo.{name}.objects"] = int(found.objects[row])
    return out


def _number(value: Any) -> float | int | None:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return int(value) if isinstance(value, (int, np.integer)) else float(value)
