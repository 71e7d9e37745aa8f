"""From detections of labelled logs to training histories: chains of detections, and every (track, frame) to learn from.

Detections of one labelled object form a chain. Those that show no object form chains too, frame to frame by distance,
as a tracker would chain them: only so does the network see what false tracks look like.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from drive.tracks.history import HistoryConfig, observe, sound
from drive.tracks.history_truth import Truth, TruthConfig, objects_shown
from drive.tracks.track import FrameDetections
from ops.assignment import assign, candidates


@dataclass(frozen=True)
class Histories:
    """Detections of F frames with their truth, D in all, and S tracks to learn from: a row is a track at a frame.

    Attributes:
        stamps_ns: int64 [F]; sequence: int64 [F], number of the log; offsets: int64 [F + 1], detections by frame.
        values: float64 [D, 17]; labels: int64 [D]; features: float32 [D, C]; frames: int64 [D].
        blind: bool [D]: it lies where the log has no labels (``history_unlabelled``).
        shown: int64 [D], row of ``truth``, -1 = none. previous: int64 [D], the detection before it in its chain, or -1.
        newest: int64 [S], the track's last detection before its frame; frame: int64 [S], rising; target: int64 [S], the
            track's detection in the frame, -1 = none; object: int64 [S], its object's row in the frame, -1 = none.
        truth: Its offsets are those of the same frames.
    """

    stamps_ns: np.ndarray
    sequence: np.ndarray
    offsets: np.ndarray
    values: np.ndarray
    labels: np.ndarray
    features: np.ndarray
    frames: np.ndarray
    blind: np.ndarray
    shown: np.ndarray
    previous: np.ndarray
    newest: np.ndarray
    frame: np.ndarray
    target: np.ndarray
    object: np.ndarray
    truth: Truth


def build_histories(
    frames: Sequence[FrameDetections],
    truth: Truth,
    classes: int,
    history: HistoryConfig,
    config: TruthConfig,
    alive_s: tuple[float, float],
    blind: np.ndarray,
) -> Histories:
    """The histories of one log.

    Args:
        frames: In order. truth: Of the same frames.
        alive_s: How long a track without a detection is still asked about: a true one, and a false one.
        blind: bool, one a detection of ``frames``: it lies where there are no labels.
    """
    usable = [np.flatnonzero(sound(frame, classes, history)) for frame in frames]
    used = [frame.take(rows) for frame, rows in zip(frames, usable, strict=True)]
    before = np.cumsum([0, *(len(frame) for frame in frames)])
    blind = blind[np.concatenate([np.zeros(0, np.int64), *(b + r for b, r in zip(before[:-1], usable, strict=True))])]
    counts = np.array([len(frame) for frame in used], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    values = observe(used, history)
    labels = np.concatenate([np.zeros(0, np.int64), *(frame.labels for frame in used)])
    none = np.zeros((0, history.appearance), np.float32)
    features = np.concatenate([none, *(frame.features[:, : history.appearance] for frame in used)]).astype(np.float32)
    stamps = np.array([frame.timestamp_ns for frame in frames], dtype=np.int64)
    frame_of = np.repeat(np.arange(len(frames)), counts)
    shown = objects_shown(values[:, :9], labels, offsets, truth, config)
    previous = _links(values, labels, frame_of, offsets, shown, truth, config)
    # A chain that pauses for longer than a track lives is two.
    late = (previous >= 0) & (stamps[frame_of] - stamps[frame_of[previous]] > alive_s[0] * 1e9)
    previous = np.where(late, -1, previous)
    rows = _rows(stamps, frame_of, previous, shown, alive_s)
    return Histories(
        stamps, np.zeros(len(frames), np.int64), offsets, values, labels, features, frame_of, blind, shown,
        previous,
        *rows, _object_at(rows[0], rows[1], shown, truth), truth,
    )  # fmt: skip


def join_histories(parts: Sequence[Histories]) -> Histories:
    """Those of several logs as one."""
    frames = np.cumsum([0, *(len(p.stamps_ns) for p in parts)])
    detections = np.cumsum([0, *(len(p.values) for p in parts)])
    objects = np.cumsum([0, *(len(p.truth.boxes) for p in parts)])

    def shifted(name: str, by: np.ndarray) -> np.ndarray:
        arrays = [getattr(p, name) for p in parts]
        return np.concatenate([np.where(a >= 0, a + s, -1) for a, s in zip(arrays, by[:-1], strict=True)])

    def plain(name: str) -> np.ndarray:
        return np.concatenate([getattr(p, name) for p in parts])

    def joined(offsets: list[np.ndarray], by: np.ndarray) -> np.ndarray:
        return np.concatenate([[0], *(o[1:] + s for o, s in zip(offsets, by[:-1], strict=True))]).astype(np.int64)

    truth = Truth(
        joined([p.truth.offsets for p in parts], objects),
        *(np.concatenate([getattr(p.truth, name) for p in parts]) for name in [f.name for f in fields(Truth)][1:]),
    )
    return Histories(
        plain("stamps_ns"),
        np.repeat(np.arange(len(parts)), [len(p.stamps_ns) for p in parts]),
        joined([p.offsets for p in parts], detections),
        plain("values"),
        plain("labels"),
        plain("features"),
        shifted("frames", frames),
        plain("blind"),
        shifted("shown", objects),
        shifted("previous", detections),
        shifted("newest", detections),
        shifted("frame", frames),
        shifted("target", detections),
        shifted("object", objects),
        truth,
    )


def _links(
    values: np.ndarray,
    labels: np.ndarray,
    frame_of: np.ndarray,
    offsets: np.ndarray,
    shown: np.ndarray,
    truth: Truth,
    config: TruthConfig,
) -> np.ndarray:
    """The detection before each one in its chain, int64 [D], -1 = it is the first."""
    previous = np.full(len(values), -1, dtype=np.int64)
    real = np.flatnonzero(shown >= 0)
    key = truth.tracks[shown[real]] * (labels.max(initial=0) + 1) + labels[real]
    order = real[np.lexsort((frame_of[real], key))]
    keys = np.sort(key)
    same = keys[1:] == keys[:-1]
    previous[order[1:][same]] = order[:-1][same]

    false = np.flatnonzero(shown < 0)
    bounds = np.searchsorted(false, offsets)  # of the false ones by frame
    xy = torch.from_numpy(np.ascontiguousarray(values[false, :2]))
    gate = torch.from_numpy(np.asarray(config.near_m, dtype=np.float64)[labels[false]])
    if len(offsets) > 2 and len(false):
        # Problem f: the false detections of frame f with those of frame f + 1.
        first, second = slice(0, bounds[-2]), slice(bounds[1], None)
        rows, columns = torch.from_numpy(bounds[:-1] - bounds[0]), torch.from_numpy(bounds[1:] - bounds[1])
        pairs = candidates(xy[first], xy[second], gate[first], row_offsets=rows, column_offsets=columns)
        one, other = false[first][pairs.rows().numpy()], false[second][pairs.column.numpy()]
        among = pairs.keep(torch.from_numpy(labels[one] == labels[other]))
        matched = assign(among, len(false) - int(bounds[1]), row_offsets=rows).column.numpy()
        found = matched >= 0
        previous[false[second][matched[found]]] = false[first][found]
    return previous


def _rows(
    stamps: np.ndarray, frame_of: np.ndarray, previous: np.ndarray, shown: np.ndarray, alive_s: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(newest, frame, target) of every track at every frame at which it is asked about, sorted by frame."""
    following = np.full(len(previous), -1, dtype=np.int64)
    linked = np.flatnonzero(previous >= 0)
    following[previous[linked]] = linked
    until_s = np.where(shown >= 0, alive_s[0], alive_s[1])
    # Frames after its own up to the next detection of the chain, or while the track lives.
    last = np.searchsorted(stamps, stamps[frame_of] + (until_s * 1e9).astype(np.int64), side="right") - 1
    last = np.where(following >= 0, frame_of[following], last)
    count = last - frame_of
    newest = np.repeat(np.arange(len(previous)), count)
    step = np.arange(len(newest)) - np.repeat(np.cumsum(count) - count, count) + 1
    frame = frame_of[newest] + step
    target = np.where(frame == frame_of[following[newest]], following[newest], -1)
    target = np.where(following[newest] >= 0, target, -1)
    order = np.argsort(frame, kind="stable")
    return newest[order], frame[order], target[order]


def _object_at(newest: np.ndarray, frame: np.ndarray, shown: np.ndarray, truth: Truth) -> np.ndarray:
    """The row of the truth, in each track's frame, of the object that the track follows; -1 = none, or it is gone."""
    frame_of = np.repeat(np.arange(len(truth.offsets) - 1), np.diff(truth.offsets))
    width = int(truth.tracks.max(initial=0)) + 1
    keys = frame_of * width + truth.tracks
    order = np.argsort(keys, kind="stable")
    real = shown[newest] >= 0
    wanted = frame * width + truth.tracks[np.where(real, shown[newest], 0)] if len(truth.tracks) else frame * 0
    place = np.searchsorted(keys[order], wanted)
    safe = np.minimum(place, max(len(order) - 1, 0))
    hit = real & (place < len(order)) & (keys[order][safe] == wanted) if len(order) else np.zeros(len(newest), bool)
    return np.where(hit, order[safe] if len(order) else 0, -1).astype(np.int64)
