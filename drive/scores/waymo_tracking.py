"""Waymo's tracking metric: MOTA, MOTP, misses, mismatches and false positives at the best score cutoff.

Equal to the operator ``tracking_metrics`` of waymo_open_dataset 1.6.7 (metrics/{tracking_metrics,mot}.cc; the mapping
procedure of Bernardin and Stiefelhagen 2008). Two things to know of the official program: a figure whose MOTA is not
above 0 at any cutoff is left at zeros, and its Python operator passes no tracking difficulty, so that its level 1
equals its level 2 (the C++ tool and this code tell them apart; labels of difficulty 0 give the operator's numbers).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drive.scores.waymo_assign import NO_MATCH
from drive.scores.waymo_boxes import BothSides, WaymoBoxes
from drive.scores.waymo_breakdowns import nearest_speeds, own_shard
from drive.scores.waymo_config import GENERATORS, WaymoConfig, shard_count
from drive.scores.waymo_follow import COST, DIFFICULTIES, FALSE, MATCHED, MISMATCH, MISSED, OBJECTS, follow
from drive.scores.waymo_pairs import Pairs, find_pairs


@dataclass(frozen=True)
class WaymoTracks:
    """Boxes with the sequence they lie in (any sortable ids [N]) and their object's number (int64 [N])."""

    boxes: WaymoBoxes
    sequence: np.ndarray
    track: np.ndarray

    def __post_init__(self) -> None:
        if not len(self.boxes) == len(self.sequence) == len(self.track):
            raise ValueError(
                f"{len(self.boxes)} boxes, {len(self.sequence)} sequence ids, {len(self.track)} object numbers"
            )


@dataclass(frozen=True)
class WaymoTrackingMetrics:
    """B figures in the order of ``config.rows()``.

    mota, motp, miss, mismatch, false, cutoff: float32 [B] (ratios to the labels; motp the mean 1 - IoU; cutoff the
    score at which MOTA is best). objects: int64 [B] labels counted at that cutoff. breakdown: int64 [B, 3].
    """

    config: WaymoConfig
    mota: np.ndarray
    motp: np.ndarray
    miss: np.ndarray
    mismatch: np.ndarray
    false: np.ndarray
    cutoff: np.ndarray
    objects: np.ndarray
    breakdown: np.ndarray
    names: tuple[str, ...]


def evaluate_tracks(
    labels: WaymoTracks, predictions: WaymoTracks, config: WaymoConfig | None = None
) -> WaymoTrackingMetrics:
    """All figures of the breakdowns. ValueError where an object is labelled twice in a frame; of predictions the first
    that passes the cutoff counts, as officially."""
    config = config or WaymoConfig()
    cutoffs = config.cutoffs(predictions.boxes.score)
    sides, sequence_of_frame = _by_sequence(labels, predictions)
    pairs = find_pairs(sides.predictions, sides.labels, sides.start_p, sides.start_l, config)
    pairs = pairs.take(pairs.weight >= 0)
    tracks = predictions.track[sides.order_p], labels.track[sides.order_l]
    counts = []
    for name, _ in config.breakdowns:
        speed = _first_frame_speeds(sides, sequence_of_frame) if name == "VELOCITY" else None
        shards = own_shard(name, sides.predictions, speed), own_shard(name, sides.labels)
        counts.append(_count(sides, sequence_of_frame, pairs, tracks, shards, cutoffs, shard_count(name)))
    return _figures(config, cutoffs, counts)


@dataclass(frozen=True)
class WaymoMatches:
    """What the mapping does at every cutoff, C of them, by object type.

    cutoffs: float32 [C]. label: int64 [C, P], the label (a row as it was given) of every prediction, -1 for none.
    miss, false, mismatch, objects: int64 [4, C], type 1 first; misses and objects of all difficulties.
    """

    cutoffs: np.ndarray
    label: np.ndarray
    miss: np.ndarray
    false: np.ndarray
    mismatch: np.ndarray
    objects: np.ndarray


def match_tracks(labels: WaymoTracks, predictions: WaymoTracks, config: WaymoConfig | None = None) -> WaymoMatches:
    """The pairs behind the figures. ValueError as ``evaluate_tracks``."""
    config = config or WaymoConfig()
    cutoffs = config.cutoffs(predictions.boxes.score)
    sides, sequence_of_frame = _by_sequence(labels, predictions)
    pairs = find_pairs(sides.predictions, sides.labels, sides.start_p, sides.start_l, config)
    pairs = pairs.take(pairs.weight >= 0)
    tracks = predictions.track[sides.order_p], labels.track[sides.order_l]
    shards = own_shard("OBJECT_TYPE", sides.predictions), own_shard("OBJECT_TYPE", sides.labels)
    matched = np.full((len(cutoffs), len(predictions.boxes)), NO_MATCH, np.int64)
    count = shard_count("OBJECT_TYPE")
    out = _count(sides, sequence_of_frame, pairs, tracks, shards, cutoffs, count, matched)
    label = np.full_like(matched, -1)
    label[:, sides.order_p] = np.where(matched >= 0, np.append(sides.order_l, -1)[matched], -1)
    sums = out.astype(np.int64)
    return WaymoMatches(
        cutoffs, label, sums[..., MISSED:].sum(axis=-1), sums[..., FALSE], sums[..., MISMATCH], sums[..., OBJECTS]
    )  # fmt: skip


def _by_sequence(labels: WaymoTracks, predictions: WaymoTracks) -> tuple[BothSides, np.ndarray]:
    """Both sides with one number a (sequence, frame), in this order; the sequence of each, int64 [F]."""
    both = (predictions, labels)
    inverse = np.unique(np.concatenate([t.sequence for t in both]), return_inverse=True)[1]
    keys = np.stack([inverse, np.concatenate([t.boxes.frame for t in both])], axis=1).astype(np.int64).reshape(-1, 2)
    ids, place = np.unique(keys, axis=0, return_inverse=True)
    place = place.reshape(-1)
    split = len(predictions.boxes)
    sides = BothSides.of(_renumbered(labels.boxes, place[split:]), _renumbered(predictions.boxes, place[:split]))
    return sides, ids[:, 0]


def _renumbered(boxes: WaymoBoxes, frame: np.ndarray) -> WaymoBoxes:
    return WaymoBoxes(
        frame, boxes.boxes, boxes.kind, boxes.score, boxes.in_no_label_zone, boxes.difficulty, boxes.speed
    )


def _first_frame_speeds(sides: BothSides, sequence_of_frame: np.ndarray) -> np.ndarray:
    """Speeds of the predictions by their nearest label; 0 in sequences whose first frame has none (as officially)."""
    speed = nearest_speeds(sides.predictions, sides.labels, sides.start_p, sides.start_l)
    firsts = np.flatnonzero(np.diff(sequence_of_frame, prepend=-1))
    empty = sequence_of_frame[firsts[sides.start_p[firsts] == sides.start_p[firsts + 1]]]
    speed[np.isin(np.repeat(sequence_of_frame, np.diff(sides.start_p)), empty)] = 0
    return speed


def _count(
    sides: BothSides,
    sequence_of_frame: np.ndarray,
    pairs: Pairs,
    tracks: tuple[np.ndarray, np.ndarray],
    shards: tuple[np.ndarray, np.ndarray],
    cutoffs: np.ndarray,
    count: int,
    matched: np.ndarray | None = None,
) -> np.ndarray:
    """Counts of one breakdown, float64 [shards, cutoffs, 9]. matched: int64 [cutoffs, P], gets the label of every
    matched prediction."""
    keys = []
    for start, track, shard in zip((sides.start_p, sides.start_l), tracks, shards, strict=True):
        sequence = np.repeat(sequence_of_frame, np.diff(start))
        rows = np.stack([sequence, shard, track.astype(np.int64)], axis=1)
        keys.append(np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64))
    frame_l = np.repeat(np.arange(len(sequence_of_frame)), np.diff(sides.start_l))
    seen = np.stack([frame_l, keys[1]], axis=1)[shards[1] >= 0]
    if len(np.unique(seen, axis=0)) < len(seen):
        raise ValueError("an object is labelled twice in a frame")
    inside = (shards[0][pairs.prediction] == shards[1][pairs.label]) & (shards[0][pairs.prediction] >= 0)
    pairs = pairs.take(inside)
    out = np.zeros((count, len(cutoffs), MISSED + DIFFICULTIES))
    follow(
        sides.start_p,
        sides.start_l,
        sides.predictions.score,
        sides.predictions.in_no_label_zone,
        shards[0],
        keys[0],
        shards[1],
        keys[1],
        np.clip(sides.labels.difficulty, 0, DIFFICULTIES - 1),
        np.searchsorted(pairs.prediction, np.arange(len(sides.predictions) + 1)).astype(np.int64),
        pairs.label,
        pairs.weight,
        -pairs.prediction * (len(sides.labels) + 1) - pairs.label,
        pairs.iou.astype(np.float64),
        cutoffs,
        out,
        np.zeros((0, 0), np.int64) if matched is None else matched,
    )
    return out


def _figures(config: WaymoConfig, cutoffs: np.ndarray, counts: list[np.ndarray]) -> WaymoTrackingMetrics:
    rows = config.rows()
    best = np.zeros((6, len(rows)), dtype=np.float32)
    objects = np.zeros(len(rows), dtype=np.int64)
    for row, (b, shard, level) in enumerate(rows):
        sums = counts[b][shard]
        missed = sums[:, MISSED : MISSED + level + 1].sum(axis=1)
        truth = sums[:, OBJECTS] - sums[:, MISSED + level + 1 :].sum(axis=1)
        known = truth > 0
        # Ratios and their sum in float32, in the official order: ties between cutoffs go to the first.
        ratios = [
            np.divide(
                part.astype(np.float32), truth.astype(np.float32), where=known, out=np.zeros(len(truth), np.float32)
            )
            for part in (missed, sums[:, FALSE], sums[:, MISMATCH])
        ]
        mota = np.where(known, np.float32(1) - (ratios[0] + ratios[1] + ratios[2]), np.float32(0))
        at = int(mota.argmax())
        objects[row] = int(truth[known][-1]) if known.any() else 0
        if mota[at] <= 0:
            continue
        motp = sums[at, COST] / sums[at, MATCHED] if sums[at, MATCHED] else 0.0
        best[:, row] = mota[at], motp, ratios[0][at], ratios[2][at], ratios[1][at], cutoffs[at]
        objects[row] = int(truth[at])
    breakdown = [(GENERATORS[config.breakdowns[b][0]], shard, level) for b, shard, level in rows]
    return WaymoTrackingMetrics(
        config=config,
        mota=best[0],
        motp=best[1],
        miss=best[2],
        mismatch=best[3],
        false=best[4],
        cutoff=best[5],
        objects=objects,
        breakdown=np.array(breakdown, dtype=np.int64).reshape(-1, 3),
        names=tuple(config.names()),
    )
