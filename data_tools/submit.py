"""Waymo's submission files, without the Waymo package: detection, tracking and motion prediction.

Formats: submission.proto, metrics.proto (`Objects`) and motion_submission.proto of the Waymo Open Dataset 1.6. A
detection or tracking file is a `Submission`; its `inference_results` alone, an `Objects` message, is what the offline
tools read (``as_submission=False``). nuScenes' submissions are JSON: drive.scores.submission, submission_tracking.

Boxes are in the vehicle frame of their frame, as Waymo's labels: x y z (geometric centre) length width height heading.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.submit_messages import MOTION, OBJECTS, SUBMISSION
from data_tools.wire import BYTES, MAX_BYTES, Description, WireError, decode, encode
from drive.errors import UserError

VEHICLE, PEDESTRIAN, SIGN, CYCLIST = 1, 2, 3, 4
DETECTION_3D, TRACKING_3D = 2, 4
SENSOR_TYPES = {"lidar": 1, "lidar_top": 2, "camera": 3, "camera_lidar_top": 4, "camera_lidar": 5}
MOTION_POINTS = 16  # 8 s at 2 Hz
MAX_TRAJECTORIES = 6


@dataclass(frozen=True)
class Method:
    """What a leaderboard asks of a submission's author."""

    account_name: str
    unique_method_name: str
    authors: tuple[str, ...] = ()
    affiliation: str = ""
    description: str = ""
    method_link: str = ""

    def fields(self) -> dict[str, Any]:
        """Of any of the submission messages."""
        return {
            "account_name": self.account_name,
            "unique_method_name": self.unique_method_name,
            "authors": list(self.authors),
            "affiliation": self.affiliation,
            "description": self.description,
            "method_link": self.method_link,
        }


@dataclass(frozen=True)
class SubmittedBoxes:
    """N boxes of any frames. context: segment's name [N]; timestamp_us int64 [N]: of the frame, as in its record.

    boxes: f64 [N, 7] vehicle frame. label: int64 [N] VEHICLE, PEDESTRIAN, SIGN, CYCLIST. score: f64 [N] in 0..1.
    track: identifiers [N], for tracking, or None. velocity: f64 [N, 2] m/s or None. overlaps_nlz: bool [N] or None.
    """

    context: list[str]
    timestamp_us: np.ndarray
    boxes: np.ndarray
    label: np.ndarray
    score: np.ndarray
    track: list[str] | None = None
    velocity: np.ndarray | None = None
    overlaps_nlz: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = len(self.context)
        if self.boxes.shape != (n, 7) or any(len(a) != n for a in (self.timestamp_us, self.label, self.score)):
            raise ValueError(f"{n} contexts, boxes {self.boxes.shape}: not of one length")
        optional = (self.track, self.velocity, self.overlaps_nlz)
        if any(a is not None and len(a) != n for a in optional):
            raise ValueError(f"{n} contexts, but track, velocity or overlaps_nlz of another length")

    def __len__(self) -> int:
        return len(self.context)


@dataclass(frozen=True)
class MotionPrediction:
    """What was predicted for one object of a scenario: trajectories f64 [M, 16, 2] (global xy at 0.5 s .. 8 s),
    confidence f64 [M]."""

    scenario_id: str
    object_id: int
    trajectories: np.ndarray
    confidence: np.ndarray


def write_waymo_boxes(
    path: Path,
    boxes: SubmittedBoxes,
    task: int = DETECTION_3D,
    method: Method | None = None,
    *,
    sensors: str = "lidar",
    past_frames: int = 0,
    latency_s: float | None = None,
) -> None:
    """Write a `Submission` of a task, or without `method` the `Objects` alone.

    Raises:
        UserError: numbers that are not finite, a size of 0 or less, a score outside 0..1, an unknown type, boxes
            without tracks for tracking, a track with two boxes in one frame, a file beyond the limit of 128 MiB.
    """
    _check_boxes(path, boxes, task)
    results = encode({"objects": [_object(boxes, i) for i in range(len(boxes))]}, OBJECTS)
    if method is None:
        _write(path, results)
        return
    rest = {
        "task": task,
        "number_past_frames_exclude_current": past_frames,
        "number_future_frames_exclude_current": 0,
        "sensor_type": SENSOR_TYPES[sensors],
        "object_types": sorted({int(label) for label in boxes.label}),
        "latency_second": latency_s,
    }
    # Already encoded: a message and a field of bytes are written alike.
    _write(path, encode(method.fields() | rest, SUBMISSION) + encode({"results": results}, {11: ("results", BYTES)}))


def _object(boxes: SubmittedBoxes, i: int) -> dict[str, Any]:
    x, y, z, length, width, height, heading = boxes.boxes[i].tolist()
    label: dict[str, Any] = {
        "box": {
            "center_x": x, "center_y": y, "center_z": z, "width": width, "length": length, "height": height,
            "heading": heading,
        },
        "type": int(boxes.label[i]),
    }  # fmt: skip
    if boxes.track is not None:
        label["id"] = boxes.track[i]
    if boxes.velocity is not None:
        label["metadata"] = {"speed_x": float(boxes.velocity[i, 0]), "speed_y": float(boxes.velocity[i, 1])}
    return {
        "object": label,
        "score": float(boxes.score[i]),
        "overlap_with_nlz": None if boxes.overlaps_nlz is None else bool(boxes.overlaps_nlz[i]),
        "context_name": boxes.context[i],
        "frame_timestamp_micros": int(boxes.timestamp_us[i]),
    }


def _check_boxes(path: Path, boxes: SubmittedBoxes, task: int) -> None:
    def refuse(bad: np.ndarray, what: str, mend: str) -> None:
        if bad.any():
            i = int(np.flatnonzero(bad)[0])
            frame = f"{boxes.context[i]} at {int(boxes.timestamp_us[i])} us"
            raise UserError(path, f"{int(bad.sum())} boxes {what}, the first in {frame}", mend)

    if task not in (DETECTION_3D, TRACKING_3D):
        raise ValueError(f"task {task} is neither DETECTION_3D nor TRACKING_3D")
    speed = np.zeros((len(boxes), 2)) if boxes.velocity is None else boxes.velocity
    refuse(
        ~np.isfinite(np.column_stack([boxes.boxes, speed])).all(axis=1), "are not finite", "look for a diverged model"
    )
    refuse(boxes.boxes[:, 3:6].min(axis=1, initial=np.inf) <= 0, "have a size of 0 or less", "remove them")
    refuse(~((boxes.score >= 0) & (boxes.score <= 1)), "have a score outside 0..1", "give probabilities")
    refuse(~np.isin(boxes.label, (VEHICLE, PEDESTRIAN, SIGN, CYCLIST)), "have no type of Waymo's", "map the classes")
    if task == TRACKING_3D:
        if boxes.track is None:
            raise UserError(path, "boxes without tracks", "tracking needs an identifier for every box")
        seen: set[tuple[str, int, int, str]] = set()
        rows = zip(boxes.context, boxes.timestamp_us.tolist(), boxes.label.tolist(), boxes.track, strict=True)
        twice = np.zeros(len(boxes), bool)
        for i, row in enumerate(rows):
            twice[i] = row in seen
            seen.add(row)
        refuse(twice, "repeat a track of their frame", "a track has one box a frame")


def read_waymo_boxes(path: Path, *, as_submission: bool = True) -> SubmittedBoxes:
    """Boxes of a `Submission`, or of an `Objects` file; UserError for a file that is neither."""
    content = _decode(path, SUBMISSION if as_submission else OBJECTS)
    if as_submission:
        if "task" not in content:
            raise UserError(path, "is no Submission", "read a file of Objects with as_submission=False")
        content = content.get("inference_results", {"objects": []})
    found = content["objects"]
    for i, record in enumerate(found):
        if "context_name" not in record or "box" not in record.get("object", {}):
            raise UserError(path, f"object {i} has no context_name or box", "write the file again")
    columns = ("center_x", "center_y", "center_z", "length", "width", "height", "heading")
    boxes = [[record["object"]["box"].get(name, 0.0) for name in columns] for record in found]
    tracks = [record["object"].get("id", "") for record in found]
    motion = [record["object"].get("metadata") for record in found]
    velocity = [[m.get("speed_x", 0.0), m.get("speed_y", 0.0)] for m in motion if m is not None]
    nlz = [record.get("overlap_with_nlz") for record in found]
    return SubmittedBoxes(
        context=[record["context_name"] for record in found],
        timestamp_us=np.array([record.get("frame_timestamp_micros", 0) for record in found], np.int64),
        boxes=np.array(boxes, np.float64).reshape(-1, 7),
        label=np.array([record["object"].get("type", 0) for record in found], np.int64),
        score=np.array([record.get("score", 0.0) for record in found], np.float64),
        track=tracks if any(tracks) else None,
        velocity=np.array(velocity, np.float64) if found and len(velocity) == len(found) else None,
        overlaps_nlz=np.array(nlz, bool) if found and None not in nlz else None,
    )


def write_waymo_motion(
    path: Path, predictions: Sequence[MotionPrediction], method: Method, *, uses_lidar: bool = False
) -> None:
    """Write a `MotionChallengeSubmission` (motion prediction, objects one by one).

    Raises:
        UserError: trajectories of another shape than [1..6, 16, 2], numbers that are not finite, an object twice.
    """
    scenarios: dict[str, list[dict[str, Any]]] = {}
    seen: set[tuple[str, int]] = set()
    for p in predictions:
        place = f"{path}: object {p.object_id} of scenario {p.scenario_id}"
        shape = np.shape(p.trajectories)
        if len(shape) != 3 or not 1 <= shape[0] <= MAX_TRAJECTORIES or shape[1:] != (MOTION_POINTS, 2):
            raise UserError(
                place, f"trajectories of shape {shape}", f"give 1 to {MAX_TRAJECTORIES} of 16 points at 2 Hz"
            )
        if (
            len(p.confidence) != shape[0]
            or not np.isfinite(p.trajectories).all()
            or not np.isfinite(p.confidence).all()
        ):
            raise UserError(place, "not finite, or another number of confidences", "look for a diverged model")
        if (p.scenario_id, p.object_id) in seen:
            raise UserError(place, "is predicted twice", "give every object once")
        seen.add((p.scenario_id, p.object_id))
        modes = [
            {"trajectory": {"center_x": mode[:, 0], "center_y": mode[:, 1]}, "confidence": float(confidence)}
            for mode, confidence in zip(np.asarray(p.trajectories), p.confidence, strict=True)
        ]
        scenarios.setdefault(p.scenario_id, []).append({"object_id": p.object_id, "trajectories": modes})
    content = {
        "scenario_predictions": [
            {"scenario_id": name, "single_predictions": {"predictions": found}} for name, found in scenarios.items()
        ],
        "submission_type": 1,
        "uses_lidar_data": uses_lidar,
    }
    _write(path, encode(method.fields() | content, MOTION))


def read_waymo_motion(path: Path) -> list[MotionPrediction]:
    """Predictions of a `MotionChallengeSubmission`; UserError for another file."""
    content = _decode(path, MOTION)
    if "submission_type" not in content:
        raise UserError(path, "is no MotionChallengeSubmission", "give the file that write_waymo_motion wrote")
    found = []
    for scenario in content["scenario_predictions"]:
        for single in scenario.get("single_predictions", {}).get("predictions", []):
            modes = [mode.get("trajectory", {"center_x": [], "center_y": []}) for mode in single["trajectories"]]
            if any(len(mode[axis]) != MOTION_POINTS for mode in modes for axis in ("center_x", "center_y")):
                what = f"object {single.get('object_id')} has a trajectory that is not of {MOTION_POINTS} points"
                raise UserError(path, what, "write the file again")
            with np.errstate(invalid="ignore"):  # a NaN of float32 may be one that warns
                points = np.array([np.column_stack([mode["center_x"], mode["center_y"]]) for mode in modes], np.float64)
            confidence = np.array([mode.get("confidence", 0.0) for mode in single["trajectories"]])
            name, number = scenario.get("scenario_id", ""), int(single.get("object_id", 0))
            if not np.isfinite(points).all() or not np.isfinite(confidence).all():
                raise UserError(path, f"object {number} of {name} has numbers that are not finite", "write it again")
            found.append(MotionPrediction(name, number, points.reshape(-1, MOTION_POINTS, 2), confidence))
    return found


def _decode(path: Path, description: Description) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UserError(path, f"{size} bytes, more than {MAX_BYTES}", "divide the submission into several files")
        return decode(path.read_bytes(), description)
    except OSError as error:
        raise UserError(path, error.strerror or str(error), "give the path of a submission") from error
    except WireError as error:
        raise UserError(path, f"not such a message ({error})", "write the file again") from error


def _write(path: Path, data: bytes) -> None:
    """At once: temporary file, sync, rename."""
    if len(data) > MAX_BYTES:
        raise UserError(path, f"{len(data)} bytes, more than {MAX_BYTES}", "divide the boxes by segments into files")
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
