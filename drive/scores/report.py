"""From predictions and logs to a score file and a table: what ``drive score`` prints and writes."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from drive import __version__
from drive.boxes.detections import DetectionSet, read_detections
from drive.boxes.missing_images import MissingImages
from drive.errors import UserError
from drive.samples.classes import NUSCENES_CLASSES, ClassMap
from drive.scores.curves import TP_ERRORS
from drive.scores.eval_boxes import EvalBoxes
from drive.scores.ground_truth import GroundTruth, load_ground_truth
from drive.scores.nuscenes_detection import DetectionMetrics, NuScenesConfig, evaluate, filter_boxes
from drive.scores.submission import global_boxes, read_submission

MEAN_NAMES = {"trans_err": "mATE", "scale_err": "mASE", "orient_err": "mAOE", "vel_err": "mAVE", "attr_err": "mAAE"}


@dataclass(frozen=True)
class Provenance:
    """What a score must carry beside its numbers; empty fields are written as null."""

    seeds: tuple[int, ...] = ()
    config_hash: str = ""
    source: str = ""


@dataclass(frozen=True)
class Report:
    """A score: the metric's own object, the frames it covers, what is missing, where it comes from.

    kept_truth, kept_predictions: the boxes that passed the metric's filters, global frame.
    missing_frames: labelled frames without any prediction; they count as empty. extra_frames: how many predicted frames
    the logs do not have; they do not count. missing_images: what the cameras did not give to the detector.
    """

    metrics: DetectionMetrics
    truth: GroundTruth
    kept_truth: EvalBoxes
    kept_predictions: EvalBoxes
    raw_truth_count: np.ndarray
    raw_prediction_count: np.ndarray
    missing_frames: list[str]
    extra_frames: int
    provenance: Provenance
    versions: dict[str, str] = field(default_factory=lambda: versions())
    missing_images: tuple[MissingImages, ...] = ()

    def flat(self) -> dict[str, Any]:
        """Every figure under a dotted key; null where it is not defined (a class without that error, no such class)."""
        m, names = self.metrics, self.metrics.config.class_names
        out: dict[str, Any] = {"mAP": m.mean_ap, "mAP_present": m.mean_ap_present, "NDS": m.nds}
        for error, value in zip(TP_ERRORS, m.mean_tp_errors.tolist(), strict=True):
            out[MEAN_NAMES[error]] = None if np.isnan(value) else value
        for k, name in enumerate(names):
            out[f"ap.{name}"] = float(m.class_ap[k])
            out |= {f"ap.{name}.{d:g}m": float(m.ap[k, t]) for t, d in enumerate(m.config.thresholds_m)}
            for i, error in enumerate(TP_ERRORS):
                out[f"{error}.{name}"] = float(m.tp_errors[k, i]) if m.tp_defined[k, i] else None
            for d, (low, high) in enumerate(m.config.range_bands_m):
                known = bool(m.band_truth[k, d])
                out[f"range_ap.{name}.{low:g}-{high:g}m"] = float(m.band_ap[k, d]) if known else None
            out[f"counts.truth.{name}"] = int(m.truth_count[k])
            out[f"counts.predictions.{name}"] = int(m.prediction_count[k])
        out |= {
            "counts.frames": len(self.truth.frames),
            "counts.logs": len(set(self.truth.frames.log_names)),
            "counts.truth": int(m.truth_count.sum()),
            "counts.predictions": int(m.prediction_count.sum()),
            "counts.truth_before_filters": int(self.raw_truth_count.sum()),
            "counts.predictions_before_filters": int(self.raw_prediction_count.sum()),
            "counts.missing_frames": len(self.missing_frames),
            "counts.extra_frames": self.extra_frames,
        }
        return out

    def to_dict(self) -> dict[str, Any]:
        """``flat()`` and beside it: ``table`` (a row a class), missing frames, seeds, hashes, versions."""
        m = self.metrics
        table = [
            {
                "class": name,
                "truth": int(m.truth_count[k]),
                "predictions": int(m.prediction_count[k]),
                "AP": float(m.class_ap[k]),
                **{f"AP@{d:g}m": float(m.ap[k, t]) for t, d in enumerate(m.config.thresholds_m)},
                **{
                    error: float(m.tp_errors[k, i]) if m.tp_defined[k, i] else None for i, error in enumerate(TP_ERRORS)
                },
            }
            for k, name in enumerate(m.config.class_names)
        ]
        return self.flat() | {
            "table": table,
            "metric": "nuscenes_detection",
            "metric_config": asdict(m.config),
            "metric_config_hash": _hash(asdict(m.config)),
            "missing_frames": self.missing_frames,
            "missing_images": [missing.to_dict() for missing in self.missing_images],
            "logs": sorted(set(self.truth.frames.log_names)),
            "seeds": list(self.provenance.seeds),
            "config_hash": self.provenance.config_hash or None,
            "source": self.provenance.source or None,
            "versions": self.versions,
        }

    def print(self, console: Console | None = None) -> None:
        """The table a person reads."""
        console = console or Console()
        m = self.metrics
        seen = [k for k in range(len(m.config.class_names)) if m.truth_count[k] or m.prediction_count[k]]
        # Two narrow tables, so that both fit a terminal of 80 columns.
        ap = _rows_table(
            f"nuScenes detection, {len(self.truth.frames)} frames",
            ["class", "labels", "predicted", "AP", *(f"AP {d:g}m" for d in m.config.thresholds_m)],
        )
        errors = _rows_table("true-positive errors at 2 m", ["class", "ATE", "ASE", "AOE", "AVE", "AAE"])
        for k in seen:
            name, counts = m.config.class_names[k], [str(m.truth_count[k]), str(m.prediction_count[k])]
            ap.add_row(name, *counts, f"{m.class_ap[k]:.3f}", *(f"{v:.3f}" for v in m.ap[k]))
            defined = zip(m.tp_errors[k], m.tp_defined[k], strict=True)
            errors.add_row(name, *(f"{value:.3f}" if known else "-" for value, known in defined))
        console.print(ap)
        console.print(errors)
        absent = [name for k, name in enumerate(m.config.class_names) if m.truth_count[k] == 0]
        present = m.mean_ap_present
        line = f"mAP {m.mean_ap:.4f}   NDS {m.nds:.4f}"
        if absent and present is not None:
            line += f"   mAP over the {len(m.config.class_names) - len(absent)} classes present {present:.4f}"
        console.print(line, highlight=False)
        if absent:
            console.print(f"without ground truth (count 0 in mAP and NDS): {', '.join(absent)}", highlight=False)
        if self.missing_frames:
            console.print(
                f"{len(self.missing_frames)} frames without predictions, counted as empty: "
                f"{', '.join(self.missing_frames[:5])}{' ...' if len(self.missing_frames) > 5 else ''}",
                highlight=False,
            )
        for missing in self.missing_images:
            console.print(missing.line(), highlight=False)


def _rows_table(title: str, heads: Sequence[str]) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD)
    for i, head in enumerate(heads):
        table.add_column(head, justify="right" if i else "left", no_wrap=True)
    return table


def versions() -> dict[str, str]:
    """Of what the numbers depend on."""
    return {"drivewright": __version__, "numpy": np.__version__, "python": platform.python_version()}


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def score_file(
    path: Path,
    log_paths: Sequence[Path],
    class_map: ClassMap = NUSCENES_CLASSES,
    provenance: Provenance | None = None,
) -> Report:
    """Score ``detections.arrow`` or a nuScenes submission (``.json``) against the labels of some logs.

    class_map: the classes of the score and what they are called in the logs; the official figures want the ten of
    nuScenes whatever the detector knows. Raises UserError for anything about the file or the logs that cannot be used.
    """
    provenance = provenance or Provenance(source=path.name)
    truth = load_ground_truth(log_paths, class_map)
    if path.suffix == ".json":
        submission = read_submission(path, truth.frames.ids, truth.class_names)
        return score_boxes(truth, submission.boxes, [], submission.extra_frames, provenance)
    return score_detections(read_detections(path), truth, provenance, place=str(path))


def score_detections(
    detections: DetectionSet, truth: GroundTruth, provenance: Provenance | None = None, place: str = "detections"
) -> Report:
    """Score detections in the ego frame. UserError where they and the logs have no frame or class in common."""
    boxes, missing, extra = place_detections(detections, truth, place)
    report = score_boxes(truth, boxes, missing, extra, provenance or Provenance())
    return replace(report, missing_images=detections.missing_images)


def place_detections(
    detections: DetectionSet, truth: GroundTruth, place: str = "detections"
) -> tuple[EvalBoxes, list[str], int]:
    """Detections as global boxes in the frames and classes of ``truth``; names of the frames that they lack; how many
    frames they have beyond those."""
    unknown = [name for name in detections.class_names if name not in truth.class_names]
    if unknown:
        raise UserError(
            place, f"class {unknown[0]!r} is not one of the score's", f"score with {', '.join(truth.class_names)}"
        )
    label_of = np.array([truth.class_names.index(name) for name in detections.class_names], dtype=np.int64)
    row_of = {
        truth.frame_of[key]: f
        for f, key in enumerate(zip(detections.logs, detections.frame_indices, strict=True))
        if key in truth.frame_of
    }
    if not row_of:
        raise UserError(place, "none of its frames belongs to these logs", "score against the logs it was made from")
    parts = []
    for row in sorted(row_of):
        rows = slice(detections.offsets[row_of[row]], detections.offsets[row_of[row] + 1])
        labels = label_of[detections.labels[rows]]
        scores, boxes = detections.scores[rows], detections.boxes[rows]
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            frame = truth.frames.ids[row]
            raise UserError(place, f"a box of frame {frame} is not finite", "look for a diverged model")
        parts.append(global_boxes(row, boxes, scores, labels, truth.class_names, truth.global_from_ego[row]))
    missing = [name for row, name in enumerate(truth.frames.ids) if row not in row_of]
    return EvalBoxes.concatenate(parts), missing, len(detections.frame_ids) - len(row_of)


def score_boxes(
    truth: GroundTruth, predictions: EvalBoxes, missing: list[str], extra_frames: int, provenance: Provenance
) -> Report:
    """Filter, evaluate, count."""
    config = NuScenesConfig.for_classes(truth.class_names)
    kept_truth = filter_boxes(truth.boxes, truth.frames, config)
    kept = filter_boxes(predictions, truth.frames, config)
    count = len(config.class_names)
    return Report(
        metrics=evaluate(kept_truth, kept, truth.frames, config),
        truth=truth,
        kept_truth=kept_truth,
        kept_predictions=kept,
        raw_truth_count=np.bincount(truth.boxes.label, minlength=count),
        raw_prediction_count=np.bincount(predictions.label, minlength=count),
        missing_frames=missing,
        extra_frames=extra_frames,
        provenance=provenance,
    )


def score_run(run: Path, log_paths: Sequence[Path], class_map: ClassMap = NUSCENES_CLASSES) -> Report:
    """Score a run's ``detections.arrow`` with the seed and hash of its ``config.json``, and write ``scores.json``."""
    try:
        text = (run / "config.json").read_bytes()
        seed = json.loads(text)["seed"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            run / "config.json", f"cannot be used ({error})", "give a folder that drive train made"
        ) from error
    provenance = Provenance((int(seed),), hashlib.sha256(text).hexdigest()[:12], "detections.arrow")
    report = score_file(run / "detections.arrow", log_paths, class_map, provenance)
    write_scores(run / "scores.json", report.to_dict())
    return report


def write_scores(path: Path, scores: Mapping[str, Any]) -> None:
    """``scores`` (``Report.to_dict()``) as JSON, at once: temporary file, sync, rename."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    with partial.open("w") as file:
        json.dump(scores, file, indent=2, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
