"""``drive convert ab3dmot_detections FOLDER OUT --logs LOGS``: stored detections as the file that trackers read.

Folder: ``<detector>_<Class>_<part>/<sequence>.txt``, as in AB3DMOT's ``data/KITTI/detection`` and
``data/nuScenes/detection``; form of the lines and their frames: :mod:`data_tools.kitti_tracking.detections`.

Which line belongs to which frame of a log:

- KITTI tracking (``kitti_tracking``): sequence and frame number are in the frame's token (``0012:000034``). Every
  frame of the log was looked at. The calibration is the log's own.
- nuScenes: the scene is the ``scene-NNNN`` in the log's name. Detections exist on key frames only, numbered from 0. In
  a log of key frames (``nuscenes``, 2 Hz) key frame k is frame k. In one at 10 Hz (``scenarionet``, labels between)
  it is about frame 5 k: :mod:`data_tools.kitti_tracking.key_frames`. All other frames were not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from data_tools.kitti.frames import rectified_from_velodyne
from data_tools.kitti.shared import matrices_of_table
from data_tools.kitti_tracking.convert import DATASET
from data_tools.kitti_tracking.detections import (
    KITTI_TYPES,
    NUSCENES_EGO_FROM_CAMERA,
    NUSCENES_TYPES,
    read_ab3dmot_detections,
)
from data_tools.kitti_tracking.key_frames import key_frame_indices
from drive.boxes.detections import DetectionSet, write_detections
from drive.errors import UserError
from drive.logs.schema import MANIFEST
from drive.logs.store import Log, list_logs

_FOLDER = re.compile(r"(?P<detector>.+?)_(?P<kind>[A-Z].*)_(?P<part>train|val|test)")
_KEY_FRAME_NS = 500_000_000


@dataclass(frozen=True)
class _Place:
    """Where the detections of a log are and how they come into its frames.

    frames: (number in the detections' file, index in the log) of every frame that was looked at.
    per_key_frame: frames of the log between two key frames; 1 where the log holds nothing else.
    """

    sequence: str
    frames: list[tuple[int, int]]
    types: dict[int, str]
    ego_from_camera: np.ndarray
    per_key_frame: int = 1


def detection_set(folder: Path, logs: Sequence[Log], detector: str = "") -> tuple[DetectionSet, list[str]]:
    """Stored detections of some logs, and the names of the logs that have none in the folder.

    Args:
        folder: as the module says. detector: its name, where the folder holds more than one.

    Raises:
        UserError: no or several detectors, a log of another data set, a damaged line, no detections for any log, and a
            sequence that some classes' folders have and others of the same part have not.
    """
    kinds = _kinds(folder, detector)
    parts: list[tuple[Log, _Place, list[Path]]] = []
    without = []
    for log in logs:
        place = _place(log)
        files = [group / f"{place.sequence}.txt" for group in kinds]
        there = [file for file in files if file.is_file()]
        # A sequence lies in one part (train, val or test) and has a file in each of that part's folders.
        ends = {file.parent.name.rpartition("_")[2] for file in there}
        lost = [file for file in files if file not in there and file.parent.name.rpartition("_")[2] in ends]
        if lost:
            raise UserError(lost[0], "the file is missing; other classes have this sequence", "copy the folder again")
        if there:
            parts.append((log, place, there))
        else:
            without.append(log.name)
    if not parts:
        raise UserError(folder, "no file of it belongs to one of these logs", "name the logs of these detections")
    if len({tuple(place.types.values()) for _, place, _ in parts}) > 1:
        raise UserError("--logs", "logs of KITTI and of nuScenes in one set", "make one file for each")
    return _joined(parts), without


def _kinds(folder: Path, detector: str) -> list[Path]:
    """The folders of one detector's classes."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_dir() and (match := _FOLDER.fullmatch(path.name)):
            found.setdefault(match["detector"], []).append(path)
    if not found:
        what = "no folder <detector>_<Class>_<train, val or test> in it"
        raise UserError(folder, what, "give the folder of AB3DMOT's detections")
    if not detector and len(found) > 1:
        raise UserError(folder, f"detections of {' and '.join(found)}", f"add --detector {next(iter(found))}")
    if detector and detector not in found:
        raise UserError(folder, f"no detections of {detector!r}", f"there are those of {' and '.join(found)}")
    return found[detector or next(iter(found))]


def _place(log: Log) -> _Place:
    if log.dataset == DATASET:
        matrix = rectified_from_velodyne(matrices_of_table(log.table("calibration")))
        tokens = [token.split(":") for token in log.frame_tokens]
        frames = [(int(number), index) for index, (_, number) in enumerate(tokens)]
        return _Place(tokens[0][0], frames, KITTI_TYPES, np.linalg.inv(matrix))
    scene = re.search(r"scene-\d{4}", log.name)
    if scene is None:
        mend = "these are detections for KITTI tracking or nuScenes"
        raise UserError(log.path, f"a log of {log.dataset} without scene-NNNN in its name", mend)
    period = float(np.median(np.diff(log.frame_timestamps_ns))) if log.num_frames > 1 else float(_KEY_FRAME_NS)
    step = round(_KEY_FRAME_NS / period)
    if step < 1 or abs(step * period - _KEY_FRAME_NS) > 0.1 * _KEY_FRAME_NS:
        what = f"frames {period * 1e-9:.3f} s apart; key frames are 0.5 s apart"
        raise UserError(log.path, what, "convert the scene with all its frames, or with its key frames only")
    frames = [(k, index) for k, index in enumerate(range(0, log.num_frames, step))]
    return _Place(scene[0], frames, NUSCENES_TYPES, NUSCENES_EGO_FROM_CAMERA, step)


def _joined(parts: Sequence[tuple[Log, _Place, list[Path]]]) -> DetectionSet:
    types = parts[0][1].types
    label_of = np.full(max(types) + 1, -1)
    label_of[list(types)] = np.arange(len(types))
    ids: list[str] = []
    names: list[str] = []
    indices: list[int] = []
    boxes, scores, labels, counts = [np.zeros((0, 9))], [np.zeros(0)], [np.zeros(0, np.int64)], [0]
    for log, place, files in parts:
        found = [read_ab3dmot_detections(file, place.ego_from_camera) for file in files]
        for file, one in zip(files, found, strict=True):
            strange = ~np.isin(one.types, list(types))
            if strange.any():
                raise UserError(file, f"type {one.types[strange][0]} is unknown", f"the types are {types}")
            beyond = one.frames > place.frames[-1][0]
            if beyond.any():
                what = f"frame {one.frames[beyond][0]}, the log's last one is {place.frames[-1][0]}"
                raise UserError(file, what, "convert the whole sequence, or take the detections that belong to it")
        frame = np.concatenate([one.frames for one in found])
        log_boxes = np.concatenate([one.boxes for one in found])
        log_scores = np.concatenate([one.scores for one in found])
        log_labels = label_of[np.concatenate([one.types for one in found])]
        frames = place.frames
        if place.per_key_frame > 1:
            parted = [(log_boxes[frame == k], log_labels[frame == k], log_scores[frame == k]) for k, _ in frames]
            moved = key_frame_indices(log, parted, tuple(types.values()), place.per_key_frame)
            frames = [(k, index) for (k, _), index in zip(frames, moved, strict=True)]
        for number, index in frames:
            mine = frame == number
            boxes.append(log_boxes[mine])
            scores.append(log_scores[mine])
            labels.append(log_labels[mine])
            counts.append(int(mine.sum()))
            ids.append(f"{log.name}/{log.frame_tokens[index] or index}")
            names.append(log.name)
            indices.append(index)
    n = sum(counts)
    return DetectionSet(
        tuple(types.values()),
        ids,
        names,
        indices,
        np.cumsum(counts).astype(np.int64),
        np.concatenate(boxes),
        np.concatenate(scores),
        np.concatenate(labels),
        np.zeros(n, dtype=bool),  # the files hold no velocity
    )


def _log_folders(path: Path) -> list[Path]:
    return [path] if (path / MANIFEST).is_file() else list_logs(path)


@dataclass(frozen=True)
class Arguments:
    """Stored detections in AB3DMOT's text form to detections.arrow, for `drive track` and `drive score`."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder with <detector>_<Class>_<train, val or test>/<sequence>.txt."""
    out: Annotated[Path, tyro.conf.Positional]
    """The file to write (a folder gets detections.arrow)."""
    logs: tuple[Path, ...] = ()
    """Converted logs of the sequences: folders of logs, or logs."""
    detector: str = ""
    """Whose detections, where the folder holds several detectors'."""


def command(argv: Sequence[str]) -> int:
    """``drive convert ab3dmot_detections``. Logs that the folder has nothing for are named on the way."""
    arguments = tyro.cli(Arguments, args=list(argv), prog="drive convert ab3dmot_detections")
    if not arguments.logs:
        raise UserError("--logs", "the logs of these detections are not named", "give --logs FOLDER")
    logs = [Log.open(path) for named in arguments.logs for path in _log_folders(named)]
    found, without = detection_set(arguments.folder, logs, arguments.detector)
    out = arguments.out if arguments.out.suffix == ".arrow" else arguments.out / "detections.arrow"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_detections(out, found)
    for name in without:
        print(f"{name}: no detections in {arguments.folder}")
    count, frames, logs_done = len(found.scores), len(found.frame_ids), len(set(found.logs))
    print(f"{out}: {count} detections in {frames} frames of {logs_done} logs")
    return 0
