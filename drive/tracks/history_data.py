"""Training samples of tracks: from logs and stored detections to batches of ``TrackBatch``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from drive.boxes.detections import read_detections
from drive.errors import UserError
from drive.geometry.angles import wrap_angle
from drive.geometry.box import HEIGHT, LENGTH, VX, VY, YAW
from drive.logs.store import Log
from drive.samples.classes import ClassMap
from drive.tracks.history import HistoryConfig, describe, describe_alone, extrapolate, nearby
from drive.tracks.history_augment import (
    NO_HISTORY_AUGMENT,
    HistoryAugment,
    mirrored_boxes,
    mirrored_observations,
    noisy,
    worsen,
)
from drive.tracks.history_samples import Histories, build_histories, join_histories
from drive.tracks.history_steps import COLUMNS, traits
from drive.tracks.history_truth import TruthConfig, is_right, read_truth
from drive.tracks.history_unlabelled import unlabelled
from drive.tracks.sequence import frame_rows, log_detections
from drive.tracks.stt_batch import TrackBatch

Sample = dict[str, np.ndarray]
"""A block of frames: arrays by the names of TrackBatch's fields ("nearby" as wide as the block needs), and "frames"."""


@dataclass(frozen=True)
class TrackDataConfig:
    """What a tracker is trained on: labelled logs and the detections that a detector made on them.

    Attributes:
        train_logs, val_logs, allow_overlap, train_split, val_split: As in ``DataConfig``.
        train_detections: Files (``detections.arrow``), each of some of the logs. They should come from a detector that
            was not trained on these logs: on its own training data its boxes are surer than they will be.
        truth: Which detection shows which object.
        alive_s: How long a track without a detection is still asked about: a true one, and a false one.
        frames_per_sample: Consecutive frames that make a sample.
        batch_size: Samples a batch. workers, prefetch: As in ``DataConfig``.
        augment: How histories are made worse.
    """

    truth: TruthConfig
    train_logs: tuple[str, ...] = ()
    train_detections: tuple[str, ...] = ()
    val_logs: tuple[str, ...] = ()
    allow_overlap: bool = False
    train_split: str = ""
    val_split: str = ""
    alive_s: tuple[float, float] = (1.0, 0.3)
    frames_per_sample: int = 16
    batch_size: int = 4
    workers: int = 0
    prefetch: int = 2
    augment: HistoryAugment = field(default_factory=HistoryAugment)

    @property
    def class_map(self) -> ClassMap:
        """Source categories to classes."""
        return self.truth.class_map

    @property
    def balance(self) -> bool:
        """Frames are drawn as they come."""
        return False

    @property
    def paste_until(self) -> float:
        """Nothing is pasted."""
        return 1.0


def log_histories(config: TrackDataConfig, logs: Sequence[Path], history: HistoryConfig) -> list[Histories]:
    """The histories of each log, from the stored detections that the configuration names.

    Raises:
        UserError: no detections are named, or those of a log are missing or do not fit.
    """
    if not config.train_detections:
        raise UserError("data.train_detections", "names no file", "give the detections.arrow of the training logs")
    files = [read_detections(Path(name)) for name in config.train_detections]
    names, parts = config.class_map.names, []
    for path in logs:
        log = Log.open(path)
        found = next((f for f in files if log.name in f.logs), files[0])  # frame_rows says if it is in none
        frames = list(log_detections(log, found, names))
        if found.features.shape[1] < history.appearance:
            what = f"its detections carry {found.features.shape[1]} features, the recipe asks for {history.appearance}"
            raise UserError(log.path, what, "set model.history.appearance to what the detector gives, or 0")
        indices = [index for index, _ in frame_rows(log, found)]
        truth, blind = read_truth(log, indices, config.truth), unlabelled(log, indices, frames)
        parts.append(build_histories(frames, truth, len(names), history, config.truth, config.alive_s, blind))
    return parts


class TrackDataset:
    """Samples of tracks, the same for the same (index, epoch, repeat)."""

    def __init__(
        self, histories: Histories, history: HistoryConfig, config: TrackDataConfig, seed: int, logs: Sequence[str]
    ) -> None:
        self.histories, self.history, self.config, self.seed = histories, history, config, seed
        self._logs = tuple(logs)
        count = len(histories.stamps_ns)
        # No sample reaches over the end of a log.
        cut = np.flatnonzero(np.diff(histories.sequence)) + 1
        starts = [np.arange(a, b, config.frames_per_sample) for a, b in zip([0, *cut], [*cut, count], strict=True)]
        self._starts = np.concatenate(starts).astype(np.int64)
        self._ends = np.append(self._starts[1:], count)
        self._near_m = np.asarray(config.truth.near_m)[histories.labels]

    @staticmethod
    def of(config: TrackDataConfig, logs: Sequence[Path], history: HistoryConfig, seed: int) -> TrackDataset:
        """The samples of some logs.

        Raises:
            UserError: detections of a log are missing or do not fit, or nothing is left to learn from.
        """
        joined = join_histories(log_histories(config, logs, history))
        if not len(joined.newest):
            raise UserError("data.train_logs", "no detection has a successor", "give logs with detections")
        return TrackDataset(joined, history, config, seed, [log.name for log in logs])

    def __len__(self) -> int:
        return len(self._starts)

    def presence(self) -> np.ndarray:
        """bool [F, K], which classes each sample shows (detected)."""
        out = np.zeros((len(self), len(self.config.class_map.names)), dtype=bool)
        sample = np.searchsorted(self._starts, self.histories.frames, side="right") - 1
        out[sample, self.histories.labels] = True
        return out

    def item(self, index: int, epoch: int = 0, repeat: int = 0, paste: bool = True) -> Sample:
        """One sample, augmented. ``paste`` means nothing here."""
        rng = np.random.default_rng([self.seed, index, epoch, repeat])
        return self._sample(int(self._starts[index]), int(self._ends[index]), self.config.augment, rng)

    def plain(self, index: int) -> Sample:
        """One sample as it is."""
        start, end = int(self._starts[index]), int(self._ends[index])
        return self._sample(start, end, NO_HISTORY_AUGMENT, np.random.default_rng(0))

    def _sample(self, start: int, end: int, augment: HistoryAugment, rng: np.random.Generator) -> Sample:
        """What the tracks of the frames [start, end) see, and the truth about them."""
        all_, config = self.histories, self.history
        tracks = slice(*np.searchsorted(all_.frame, [start, end]))
        newest, frame, target, true = (a[tracks] for a in (all_.newest, all_.frame, all_.target, all_.object))
        rows, valid = self._memory(newest)
        rows, valid = worsen(rows, valid, all_, self._near_m, augment, rng)
        first, last = int(all_.offsets[start]), int(all_.offsets[end])
        mirror = rng.random() < augment.mirror
        past, seen = noisy(all_.values[rows], augment, rng), noisy(all_.values[first:last], augment, rng)
        if mirror:
            past, seen = mirrored_observations(past), mirrored_observations(seen)
        labels, track_labels = all_.labels[first:last], all_.labels[newest]
        times = np.where(valid, (all_.stamps_ns[all_.frames[rows]] - all_.stamps_ns[frame][:, None]) * 1e-9, 0.0)
        anchors = extrapolate(past, times, valid, config)
        bounds = np.searchsorted(frame, np.arange(start, end + 1))
        given = anchors, track_labels, seen, labels, config
        look_at = nearby(*given, row_offsets=bounds, column_offsets=all_.offsets[start : end + 1] - first)
        hidden = (rng.random(len(newest)) < augment.hide) & (target >= 0)
        there = (look_at >= 0) & ~(hidden[:, None] & (look_at == (target - first)[:, None]))
        hit = there & (look_at == np.where(target >= 0, target - first, -2)[:, None])
        match = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1 if hit.shape[1] else 0, 0)

        looks, counts = all_.features[first:last], valid.sum(axis=1)
        track = anchors, past[:, 0], counts, track_labels
        safe = np.where(look_at >= 0, look_at, 0)
        if len(seen):
            around, around_looks = seen[safe], looks[safe]
        else:
            around, around_looks = np.zeros((*safe.shape, COLUMNS)), np.zeros((*safe.shape, config.appearance))
        sample = {
            "history": describe(past, times, *track, all_.features[rows], config),
            "history_s": times.astype(np.float32),
            "history_valid": valid,
            "nearby": describe(around, np.zeros(safe.shape), *track, around_looks, config),
            "nearby_valid": there,
            "alone": describe_alone(seen, traits(seen), labels, looks, config),
            "match": match.astype(np.int64),
            "frames": np.array([start, end]),
        }
        base = anchors.copy()
        base[match > 0] = seen[(target - first)[match > 0], :9]
        sample |= self._truth(base, anchors, true, all_.shown[newest], track_labels, mirror)
        # A hidden object is there all the same: it teaches where to look, not how much to believe in what is not seen.
        blind = (true < 0) & all_.blind[np.where(match > 0, target, newest)]
        sample["exists_weight"] *= ~(hidden | blind)
        return sample | self._births(first, last, target, match)

    def _memory(self, newest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The last T detections of tracks: rows int64 [S, T], newest first, and which of them there are."""
        rows = np.empty((len(newest), self.history.length), dtype=np.int64)
        rows[:, 0] = newest
        for step in range(1, self.history.length):
            before = rows[:, step - 1]
            rows[:, step] = np.where(before >= 0, self.histories.previous[before], -1)
        return np.where(rows >= 0, rows, newest[:, None]), rows >= 0

    def _truth(
        self,
        base: np.ndarray,
        anchors: np.ndarray,
        true: np.ndarray,
        before: np.ndarray,
        labels: np.ndarray,
        mirror: bool,
    ) -> Sample:
        """States, boxes and existence of tracks whose object is the row ``true`` now and ``before`` at its last
        detection (-1 = none)."""
        truth, count = self.histories.truth, len(true)
        if not len(truth.boxes):
            true_boxes = np.ones((count, 9))
        else:
            true_boxes = truth.boxes[true]
        if mirror:
            true_boxes = mirrored_boxes(true_boxes)
        known = true >= 0
        of_class = np.where(known, truth.labels[true] if len(truth.labels) else 0, -2)
        right = known & (of_class == labels) & is_right(base, true_boxes, self.config.truth)
        near = np.hypot(*(base[:, :2] - true_boxes[:, :2]).T) <= np.asarray(self.config.truth.near_m)[labels]
        cos, sin = np.cos(base[:, YAW]), np.sin(base[:, YAW])
        offset = true_boxes[:, :3] - base[:, :3]
        turn = wrap_angle(true_boxes[:, YAW] - base[:, YAW])
        turn -= np.pi * np.round(turn / np.pi)  # a box that faces backwards is the same box here
        box = np.column_stack(
            [
                cos * offset[:, 0] + sin * offset[:, 1],
                cos * offset[:, 1] - sin * offset[:, 0],
                offset[:, 2],
                np.log(true_boxes[:, LENGTH : HEIGHT + 1].clip(1e-2) / base[:, LENGTH : HEIGHT + 1]),
                turn,
            ]
        ).clip(-5.0, 5.0)
        state, state_valid = self._state(anchors, true, mirror)
        state_before, before_valid = self._state(anchors, before, mirror)
        return {
            "state": state,
            "state_valid": state_valid,
            "state_before": state_before,
            "before_valid": before_valid,
            "box": box.astype(np.float32),
            "box_valid": known & (of_class == labels) & near,
            "exists": right.astype(np.float32),
            "exists_weight": (of_class != -1).astype(np.float32),
        }

    def _state(self, anchors: np.ndarray, true: np.ndarray, mirror: bool) -> tuple[np.ndarray, np.ndarray]:
        truth, known = self.histories.truth, true >= 0
        if not len(truth.boxes):
            return np.zeros((len(true), 4), np.float32), np.zeros((len(true), 2), dtype=bool)
        side = np.array([1.0, -1.0 if mirror else 1.0])
        velocity, acceleration = truth.velocity[true] * side - anchors[:, VX : VY + 1], truth.acceleration[true] * side
        cos, sin = np.cos(anchors[:, YAW])[:, None], np.sin(anchors[:, YAW])[:, None]
        state = np.concatenate(
            [
                np.concatenate([cos * v[:, :1] + sin * v[:, 1:], cos * v[:, 1:] - sin * v[:, :1]], axis=1)
                for v in (velocity, acceleration)
            ],
            axis=1,
        )
        valid = np.stack([truth.velocity_valid[true], truth.acceleration_valid[true]], axis=1) & known[:, None]
        return (state * known[:, None]).astype(np.float32), valid

    def _births(self, first: int, last: int, target: np.ndarray, match: np.ndarray) -> Sample:
        """Which detections are objects. Those that a track takes count little: the others are asked about."""
        all_, truth = self.histories, self.histories.truth
        shown, labels = all_.shown[first:last], all_.labels[first:last]
        born, weight = np.zeros(last - first, dtype=np.float32), np.ones(last - first, dtype=np.float32)
        real = np.flatnonzero(shown >= 0)
        rows = shown[real]
        right = is_right(all_.values[first:last][real], truth.boxes[rows], self.config.truth)
        born[real] = right & (truth.labels[rows] == labels[real])
        taken = np.zeros(last - first, dtype=bool)
        taken[(target - first)[match > 0]] = True
        weight[taken] = 0.2
        weight[real[truth.labels[rows] < 0]] = 0.0
        weight[(shown < 0) & all_.blind[first:last]] = 0.0
        return {"born": born, "born_weight": weight}

    def collate(self, samples: Sequence[Sample]) -> TrackBatch:
        """Samples as one batch on the CPU."""
        most = max((s["nearby"].shape[1] for s in samples), default=0)
        joined = {}
        for name in samples[0].keys() - {"frames"}:
            arrays = [s[name] for s in samples]
            if name.startswith("nearby"):
                arrays = [np.pad(a, [(0, 0), (0, most - a.shape[1])] + [(0, 0)] * (a.ndim - 2)) for a in arrays]
            joined[name] = torch.from_numpy(np.concatenate(arrays))
        return TrackBatch(**joined, frame_ids=[self._name(*s["frames"]) for s in samples])

    def _name(self, start: int, end: int) -> str:
        """What a message calls the frames [start, end)."""
        number = self.histories.sequence[start]
        first = int(np.searchsorted(self.histories.sequence, number))
        return f"{self._logs[number]}/{start - first}-{end - first - 1}"
