"""From a log and its stored detections to a tracker's frames, and the file that holds what trackers found."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from drive.boxes.detections import DetectionSet
from drive.boxes.table_file import matrix_of, rows_of, write_table
from drive.errors import UserError
from drive.geometry.box import transform_boxes
from drive.geometry.rigid import yaw_of_matrix
from drive.logs.store import Log
from drive.tracks.track import FrameDetections, TrackedFrame, Tracker

_SCHEMA_VERSION = 1
# Columns of TrackedFrame beside its timestamp: Arrow type and width (0: a number a row).
_COLUMNS: dict[str, tuple[pa.DataType, int]] = {
    "ids": (pa.int64(), 0),
    "boxes": (pa.float64(), 9),
    "scores": (pa.float64(), 0),
    "labels": (pa.int64(), 0),
    "velocity_valid": (pa.bool_(), 0),
    "acceleration": (pa.float64(), 2),
    "acceleration_valid": (pa.bool_(), 0),
    "sigma": (pa.float64(), 4),
    "sigma_valid": (pa.bool_(), 0),
    "detection": (pa.int64(), 0),
    "matched": (pa.bool_(), 0),
}


def frame_rows(log: Log, found: DetectionSet) -> list[tuple[int, int]]:
    """(index of the frame in the log, row in ``found.frame_ids``) of every frame of this log in ``found``, in order.

    Raises:
        UserError: the detections hold no frame of this log, one that it has not, or one twice.
    """
    rows = sorted((found.frame_indices[f], f) for f, name in enumerate(found.logs) if name == log.name)
    if not rows:
        mend = "run the detector on this log, or name the detections that belong to it"
        raise UserError(log.path, "the detections hold no frame of this log", mend)
    if not 0 <= rows[0][0] <= rows[-1][0] < log.num_frames:
        wrong = next(index for index, _ in rows if not 0 <= index < log.num_frames)
        what = f"the detections name frame {wrong}, the log has {log.num_frames}"
        raise UserError(log.path, what, "run the detector on this log again")
    for (one, _), (other, _) in pairwise(rows):
        if one == other:
            raise UserError(log.path, f"the detections hold frame {one} twice", "run the detector on this log again")
    return rows


def log_detections(
    log: Log, found: DetectionSet, class_names: tuple[str, ...], min_score: float | None = None
) -> Iterator[FrameDetections]:
    """What a tracker is given for a log: its frames in order, boxes in the fixed frame.

    The frames are those that ``found`` lists for this log, which are all that the detector looked at, empty ones
    included. (Detections of nuScenes' key frames on a log at 10 Hz list every fifth frame, and the tracker steps from
    key frame to key frame.) Ego -> fixed frame by the pose of the frame; a log without poses has identity there.

    Args:
        class_names: the tracker's; labels are indices into it, detections of other classes are left out. A name's case
            does not matter: KITTI writes Car, a detector trained on it says car.
        min_score: detections below it are left out.

    Raises:
        UserError: at once, as :func:`frame_rows` does, and where no class of the detections is the tracker's.
    """
    names = {name.lower(): k for k, name in enumerate(class_names)}
    label = np.array([names.get(name.lower(), -1) for name in found.class_names], dtype=np.int64)
    if found.class_names and (label < 0).all():
        what = f"detections of {', '.join(found.class_names)}; the tracker knows {', '.join(class_names)}"
        raise UserError(log.path, what, "use a recipe with the classes of the detections")
    return _frames(log, found, frame_rows(log, found), label, min_score)


def _frames(
    log: Log, found: DetectionSet, rows: Sequence[tuple[int, int]], label: np.ndarray, min_score: float | None
) -> Iterator[FrameDetections]:
    for index, f in rows:
        mine = slice(found.offsets[f], found.offsets[f + 1])
        frame = log.frame(index)
        yield placed_detections(
            frame.timestamp_ns,
            frame.global_from_ego,
            found.boxes[mine],
            found.velocity_valid[mine],
            found.scores[mine].astype(np.float64),
            label[found.labels[mine]],
            found.features[mine],
            min_score,
        )


def placed_detections(
    timestamp_ns: int,
    fixed_from_ego: np.ndarray,
    boxes: np.ndarray,
    velocity_valid: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    features: np.ndarray,
    min_score: float | None,
) -> FrameDetections:
    """One frame of a tracker: a frame's detections moved from the ego frame to the fixed one.

    Args:
        fixed_from_ego: float64 [4, 4].
        boxes: [N, 9], ego frame; the other columns are those of ``FrameDetections``.
        labels: int64 [N], the tracker's; those below 0 are left out, as are scores below ``min_score``.
    """
    kept = labels >= 0
    if min_score is not None:
        kept &= scores >= min_score
    valid = velocity_valid[kept]
    moved = transform_boxes(fixed_from_ego, boxes[kept])
    moved[~valid, 7:9] = 0.0
    ego = np.append(fixed_from_ego[:3, 3], yaw_of_matrix(fixed_from_ego))
    return FrameDetections(timestamp_ns, moved, valid, scores[kept], labels[kept], features[kept], ego)


def run_tracker(tracker: Tracker[Any], frames: Iterable[FrameDetections]) -> list[TrackedFrame]:
    """A tracker over the frames of one sequence, from its start."""
    state, out = tracker.start(), []
    for frame in frames:
        state, tracked = tracker.step(state, frame)
        out.append(tracked)
    return out


@dataclass(frozen=True)
class TrackSet:
    """Tracked objects of many frames, flat; boxes in the fixed frame of their log (``drive.tracks.track``).

    class_names: name of each label. frame_ids, logs, frame_indices: one entry a frame, timestamps_ns int64 [F]; frames
        of a log in order. A frame in which nothing is tracked is among them all the same.
    offsets: int64 [F + 1]; frame f owns the rows offsets[f]:offsets[f + 1] of the columns of ``TrackedFrame``.
    ids: an id names one object of its log; another log uses it again.
    """

    class_names: tuple[str, ...]
    frame_ids: list[str]
    logs: list[str]
    frame_indices: list[int]
    timestamps_ns: np.ndarray
    offsets: np.ndarray
    ids: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    velocity_valid: np.ndarray
    acceleration: np.ndarray
    acceleration_valid: np.ndarray
    sigma: np.ndarray
    sigma_valid: np.ndarray
    detection: np.ndarray
    matched: np.ndarray

    @staticmethod
    def join(
        class_names: tuple[str, ...],
        frame_ids: list[str],
        logs: list[str],
        frame_indices: list[int],
        frames: Sequence[TrackedFrame],
    ) -> TrackSet:
        """One set of one TrackedFrame a frame."""
        columns: Any = {}
        for name, (kind, width) in _COLUMNS.items():
            none = np.zeros((0, width) if width else 0, kind.to_pandas_dtype())
            columns[name] = np.concatenate([none, *(getattr(f, name) for f in frames)]).astype(none.dtype)
        offsets = np.concatenate([[0], np.cumsum([len(f) for f in frames])]).astype(np.int64)
        stamps = np.array([f.timestamp_ns for f in frames], dtype=np.int64)
        if not len(frame_ids) == len(logs) == len(frame_indices) == len(frames):
            raise ValueError(f"{len(frames)} frames, but {len(frame_ids)} ids, {len(logs)} logs")
        return TrackSet(class_names, frame_ids, logs, frame_indices, stamps, offsets, **columns)

    def frame(self, f: int) -> TrackedFrame:
        """Frame f of the set."""
        mine = slice(self.offsets[f], self.offsets[f + 1])
        return TrackedFrame(int(self.timestamps_ns[f]), **{name: getattr(self, name)[mine] for name in _COLUMNS})

    def frames_of(self, log: str) -> list[int]:
        """Numbers of the set's frames that belong to a log, in their order."""
        return [f for f, name in enumerate(self.logs) if name == log]

    def select(self, frames: Sequence[int]) -> TrackSet:
        """The set of some frames."""
        return TrackSet.join(
            self.class_names,
            [self.frame_ids[f] for f in frames],
            [self.logs[f] for f in frames],
            [self.frame_indices[f] for f in frames],
            [self.frame(f) for f in frames],
        )


def join_sets(sets: Sequence[TrackSet], class_names: tuple[str, ...] = ()) -> TrackSet:
    """Sets of different logs as one; of no set at all, one of ``class_names`` without frames.

    Raises:
        ValueError: different class names, or the same log in two sets.
    """
    if not sets:
        return TrackSet.join(class_names, [], [], [], [])
    if len({s.class_names for s in sets}) > 1:
        raise ValueError("join_sets: different class names")
    logs = [name for s in sets for name in set(s.logs)]
    if len(set(logs)) < len(logs):
        raise ValueError("join_sets: two sets hold the same log")
    lists: Any = {name: [x for s in sets for x in getattr(s, name)] for name in ("frame_ids", "logs", "frame_indices")}
    offsets = np.cumsum([0, *(n for s in sets for n in np.diff(s.offsets))]).astype(np.int64)
    columns: Any = {name: np.concatenate([getattr(s, name) for s in sets]) for name in (*_COLUMNS, "timestamps_ns")}
    return TrackSet(sets[0].class_names, **lists, offsets=offsets, **columns)


def track_log(
    tracker: Tracker[Any], log: Log, found: DetectionSet, min_score: float | None = None
) -> TrackSet:  # fmt: skip
    """A tracker over the stored detections of one log.

    Raises:
        UserError: as :func:`log_detections`, or a frame that the tracker cannot use.
    """
    frames = run_tracker(tracker, log_detections(log, found, tracker.class_names, min_score))
    rows = frame_rows(log, found)
    ids = [found.frame_ids[f] for _, f in rows]
    return TrackSet.join(tracker.class_names, ids, [log.name] * len(rows), [index for index, _ in rows], frames)


def write_tracks(path: Path, tracks: TrackSet) -> None:
    """Write an Arrow IPC file, a row a tracked object; frames and class names are in the schema's metadata.

    The file appears whole or not at all. Raises UserError where it cannot be written.
    """
    frame = np.repeat(np.arange(len(tracks.frame_ids)), np.diff(tracks.offsets))
    columns = {
        "frame": pa.array(frame, pa.int64()),
        "frame_id": pa.array([tracks.frame_ids[f] for f in frame], pa.string()),
        "log": pa.array([tracks.logs[f] for f in frame], pa.string()),
        "class_name": pa.array([tracks.class_names[label] for label in tracks.labels], pa.string()),
    }
    for name, (kind, width) in _COLUMNS.items():
        values = getattr(tracks, name)
        columns[name] = rows_of(values, kind) if width else pa.array(values, kind)
    stamps = tracks.timestamps_ns.tolist()
    frames = list(zip(tracks.frame_ids, tracks.logs, tracks.frame_indices, stamps, strict=True))
    head = {"schema_version": _SCHEMA_VERSION, "class_names": tracks.class_names, "frames": frames}
    write_table(path, pa.table(columns).replace_schema_metadata({"tracks": json.dumps(head)}))


def read_tracks(path: Path) -> TrackSet:
    """Read what ``write_tracks`` wrote. Raises UserError for a missing, foreign or broken file."""
    mend = "give the tracks.arrow that `drive track` wrote"
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        head = json.loads(table.schema.metadata[b"tracks"])
        version, frames, names = head["schema_version"], head["frames"], tuple(head["class_names"])
    except FileNotFoundError as error:
        raise UserError(path, "no such file", mend) from error
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise UserError(path, f"not a tracks file ({error})", mend) from error
    if version != _SCHEMA_VERSION:
        raise UserError(path, f"tracks of schema version {version}, this program reads {_SCHEMA_VERSION}", mend)
    try:
        columns: Any = {
            name: matrix_of(table[name], width) if width else table[name].to_numpy()
            for name, (_, width) in _COLUMNS.items()
        }
        offsets = np.searchsorted(table["frame"].to_numpy(), np.arange(len(frames) + 1)).astype(np.int64)
        lists = ([f[0] for f in frames], [f[1] for f in frames], [int(f[2]) for f in frames])
        return TrackSet(names, *lists, np.array([f[3] for f in frames], dtype=np.int64), offsets, **columns)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UserError(path, f"its columns are not those of tracks ({error})", mend) from error
