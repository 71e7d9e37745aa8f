"""Tracks of a file and labelled objects of logs, side by side in the global frame, for every tracking metric.

Which frames count: every labelled frame of the logs. Frames that the tracks lack count as empty and are named. The one
exception is ScenarioNet's nuScenes scenes, whose labels are resampled to 10 Hz while detections exist on key frames
only: there the frames of the tracks count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from drive.errors import UserError
from drive.logs.store import Log
from drive.samples.classes import NUSCENES_CLASSES, ClassMap
from drive.scores.clear_mot_boxes import MotBoxes
from drive.scores.clear_mot_kitti import KITTI_TRACKING
from drive.scores.eval_boxes import NO_ATTRIBUTE, UNKNOWN_POINTS, EvalBoxes, EvalFrames
from drive.scores.nuscenes_tracking_boxes import TrackedBoxes, TrackFrames, load_tracking_truth
from drive.tracks.history_truth import motion
from drive.tracks.sequence import TrackSet

RESAMPLED = ("scenarionet",)  # data sets whose labels stand on more frames than were ever looked at
WINDOW_S = 0.55  # of the parabola that gives a labelled object its acceleration; STT is trained with the same
_KITTI_NAMES = ("Car", "Pedestrian", "Cyclist")


@dataclass(frozen=True)
class State:
    """Velocity and acceleration f64 [N, 2] of boxes (global frame, m/s and m/s^2), and where they are known, bool [N].

    Of tracks: where the tracker gives an estimate.
    """

    velocity: np.ndarray
    velocity_valid: np.ndarray
    acceleration: np.ndarray
    acceleration_valid: np.ndarray

    def take(self, rows: np.ndarray) -> State:
        return State(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Sides:
    """Truth and tracks of F frames.

    frames: those that count; truth, tracks: grouped by frame, global frame, labels are indices into ``class_names``.
    truth_state, track_state: of each box. dataset: of the logs, "" where they differ. global_from_ego f64 [F, 4, 4].
    missing: labelled frames without tracks, counted as empty. extra_frames: tracked frames that the logs lack.
    poses_known: the logs have ego poses; without them velocities are relative to a moving frame and are not scored.
    """

    class_names: tuple[str, ...]
    frames: TrackFrames
    truth: TrackedBoxes
    tracks: TrackedBoxes
    truth_state: State
    track_state: State
    dataset: str
    global_from_ego: np.ndarray
    missing: list[str]
    extra_frames: int
    poses_known: bool

    def of_class(self, name: str) -> tuple[MotBoxes, MotBoxes]:
        """(truth, tracks) of one class, nothing ignored."""
        label, count = self.class_names.index(name), len(self.frames.frames)
        return _mot(self.truth, label, count), _mot(self.tracks, label, count)

    def rows(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows of one class in ``truth`` and in ``tracks``, in the order of ``of_class``."""
        label = self.class_names.index(name)
        return np.flatnonzero(self.truth.boxes.label == label), np.flatnonzero(self.tracks.boxes.label == label)


def _mot(side: TrackedBoxes, label: int, count: int) -> MotBoxes:
    rows = side.boxes.label == label
    b = side.boxes
    return MotBoxes.of(b.frame[rows], count, b.boxes[rows], side.track[rows], b.score[rows])


def usual_classes(names: Sequence[str]) -> ClassMap:
    """What labels are called for tracks of these classes: KITTI's three, or classes of nuScenes'.

    Raises UserError for others: they need the class map of their recipe.
    """
    if set(names) <= set(_KITTI_NAMES):
        return ClassMap(tuple(names), {name: name for name in names})
    unknown = [name for name in names if name not in NUSCENES_CLASSES.names]
    if unknown:
        known = ", ".join((*_KITTI_NAMES, *NUSCENES_CLASSES.names))
        mend = f"score the run's folder, which knows its own classes; known without it: {known}"
        raise UserError("tracks", f"which labels are of class {unknown[0]!r} is not known", mend)
    return NUSCENES_CLASSES.only(tuple(names))


def load_sides(
    tracks: TrackSet, log_paths: Sequence[Path], class_map: ClassMap | None = None, place: str = "tracks"
) -> Sides:
    """Both sides of some logs. class_map: categories to the tracks' classes (``usual_classes`` unless given).

    Raises UserError: no labels, no frame in common, a log given twice, a frame listed twice, an id twice in a frame, a
    box that cannot be one.
    """
    class_map = class_map or usual_classes(tracks.class_names)
    if class_map.names != tracks.class_names:
        what = f"its classes are {', '.join(tracks.class_names)}, those of the labels {', '.join(class_map.names)}"
        raise UserError(place, what, "score it with the class map that it was made with")
    check_tracks(tracks, place)
    logs = [Log.open(path) for path in log_paths]
    names = [log.name for log in logs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(place, f"log {twice} is given twice", "give every log once")
    frames, truth = load_tracking_truth(log_paths, class_map)
    tracked = {key: f for f, key in enumerate(zip(tracks.logs, tracks.frame_indices, strict=True))}
    keys = [
        (log.name, index)
        for log in logs
        for index in np.flatnonzero(~np.asarray(log.frame_interpolated, dtype=bool)).tolist()
    ]
    if not any(key in tracked for key in keys):
        raise UserError(place, "none of its frames belongs to these logs", "score against the logs it was made from")
    resampled = {log.name for log in logs if log.dataset in RESAMPLED}
    chosen = np.flatnonzero([key in tracked or key[0] not in resampled for key in keys])
    frames, truth = _select(frames, truth, chosen)
    keys = [keys[row] for row in chosen.tolist()]
    poses = _poses(logs, keys)
    own, estimates = _place(tracks, [tracked.get(key, -1) for key in keys], names)
    datasets = {log.dataset for log in logs}
    return Sides(
        class_names=class_map.names,
        frames=frames,
        truth=truth,
        tracks=own,
        truth_state=true_state(truth, frames),
        track_state=estimates,
        dataset=datasets.pop() if len(datasets) == 1 else "",
        global_from_ego=poses,
        missing=[frames.frames.ids[row] for row, key in enumerate(keys) if key not in tracked],
        extra_frames=len(tracked) - sum(key in tracked for key in keys),
        poses_known=all(_has_poses(log) for log in logs),
    )


def check_tracks(tracks: TrackSet, place: str) -> None:
    """UserError for a frame listed twice, an id twice in a frame, a box or a score that cannot be one."""
    keys = list(zip(tracks.logs, tracks.frame_indices, strict=True))
    if len(set(keys)) < len(keys):
        log, index = next(key for key in keys if keys.count(key) > 1)
        raise UserError(place, f"frame {index} of {log} is listed twice", "write the tracks again")
    frame = np.repeat(np.arange(len(tracks.frame_ids)), np.diff(tracks.offsets))

    def refuse(bad: npt.NDArray[np.bool_], what: str, mend: str) -> None:
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            where = f"{tracks.logs[frame[row]]}, frame {tracks.frame_indices[frame[row]]}"
            raise UserError(place, f"{where}: {what.format(tracks.ids[row])}", mend)

    order = np.lexsort((tracks.ids, frame))
    twice = np.zeros(len(frame), bool)
    twice[order[1:]] = (np.diff(frame[order]) == 0) & (np.diff(tracks.ids[order]) == 0)
    refuse(twice, "id {} stands twice", "a tracker must report an object once a frame")
    good = np.isfinite(tracks.boxes).all(axis=1) & np.isfinite(tracks.scores)
    refuse(np.logical_not(good), "the box of id {} is not finite", "look for a diverged tracker")
    refuse(
        np.asarray((tracks.boxes[:, 3:6] <= 0).any(axis=1)),
        "a side of id {} is not positive",
        "look for a diverged tracker",
    )


def _has_poses(log: Log) -> bool:
    if log.dataset != KITTI_TRACKING:
        return True
    return all(log.table("frame_attributes")["pose_known"].to_pylist())


def _poses(logs: Sequence[Log], keys: Sequence[tuple[str, int]]) -> np.ndarray:
    by_name = {log.name: log for log in logs}
    return np.array([by_name[name].frame(index).global_from_ego for name, index in keys]).reshape(-1, 4, 4)


def _select(frames: TrackFrames, boxes: TrackedBoxes, rows: np.ndarray) -> tuple[TrackFrames, TrackedBoxes]:
    """Some frames (increasing rows) and what lies in them."""
    old = frames.frames
    if len(rows) == len(old):
        return frames, boxes
    new = np.full(len(old), -1)
    new[rows] = np.arange(len(rows))
    racks = new[old.rack_frame] >= 0
    kept = EvalFrames(
        tuple(old.ids[row] for row in rows.tolist()),
        tuple(old.log_names[row] for row in rows.tolist()),
        old.ego_xy[rows],
        new[old.rack_frame[racks]],
        old.rack_centre[racks],
        old.rack_size[racks],
        old.rack_rotation[racks],
    )
    own = boxes.take(new[boxes.boxes.frame] >= 0)
    b = own.boxes
    moved = EvalBoxes(new[b.frame], b.boxes, b.velocity_valid, b.label, b.score, b.attribute, b.num_points)
    return TrackFrames(kept, frames.timestamp_us[rows], frames.log[rows]), TrackedBoxes(moved, own.track)


def _place(tracks: TrackSet, order: Sequence[int], log_names: Sequence[str]) -> tuple[TrackedBoxes, State]:
    """Rows of the tracks by frame: frame f of the result is frame order[f] of the set (-1: none)."""
    rows = [np.arange(tracks.offsets[f], tracks.offsets[f + 1]) if f >= 0 else np.zeros(0, int) for f in order]
    row = np.concatenate([np.zeros(0, np.int64), *rows])
    frame = np.repeat(np.arange(len(order)), [len(r) for r in rows]).astype(np.int64)
    number: Mapping[str, int] = {name: i for i, name in enumerate(log_names)}
    log = np.array([number.get(name, -1) for name in tracks.logs], np.int64)
    of_row = np.repeat(log, np.diff(tracks.offsets))[row]
    track = np.unique(np.stack([of_row, tracks.ids[row]]), axis=1, return_inverse=True)[1].reshape(-1)
    boxes = EvalBoxes(
        frame=frame,
        boxes=tracks.boxes[row],
        velocity_valid=tracks.velocity_valid[row],
        label=tracks.labels[row],
        score=tracks.scores[row],
        attribute=np.full(len(row), NO_ATTRIBUTE),
        num_points=np.full(len(row), UNKNOWN_POINTS),
    )
    state = State(
        tracks.boxes[row, 7:9], tracks.velocity_valid[row], tracks.acceleration[row], tracks.acceleration_valid[row]
    )
    return TrackedBoxes(boxes, track.astype(np.int64)), state


def true_state(truth: TrackedBoxes, frames: TrackFrames) -> State:
    """Velocity as labelled, else by a parabola through the object's places within WINDOW_S; acceleration by the latter
    (at 2 Hz: the centred difference and the second difference of three places)."""
    b = truth.boxes
    seconds = (frames.timestamp_us[b.frame] - frames.timestamp_us.min(initial=0)) * 1e-6
    velocity, acceleration, known = motion(b.boxes[:, :2], seconds, truth.track, WINDOW_S)
    labelled = b.velocity_valid
    velocity[labelled] = b.boxes[labelled, 7:9]
    return State(velocity, known | labelled, acceleration, known)
