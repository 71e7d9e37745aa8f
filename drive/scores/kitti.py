"""KITTI average precision: 3D, bird's-eye view and image, 40 or 11 recall points, the benchmark's difficulties.

Follows the semantics of the official ``evaluate_object.cpp`` (object development kit, 2017 and its change of 2019 to 40
recall points), written anew: objects that a difficulty leaves out are ignored (neither wanted nor punished), so are the
neighbouring classes Van (of Car) and Person_sitting (of Pedestrian), and detections lower than the minimum height.
Score thresholds come from a first pass in which each object takes its best-scored detection, precision from a second in
which it takes the one that overlaps most.

The official program spaces its thresholds by counting hits, one sampled recall a hit at most: with fewer than 40
objects even a perfect detector ends at (objects - 1) / 40. ``sampling="exact"`` is AP|R40 by its definition (Simonelli
et al., ICCV 2019): the mean over recalls 1/40 .. 1 of the best precision at that recall or beyond, for small sets.

DontCare regions exist in the image only. As in the official program they pardon false boxes in the image metric and
have no effect in 3D and bird's-eye view, where such a region has no volume.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit

from ops.rotated_iou import rotated_iou_3d_paired, rotated_iou_bev_paired

METRICS = ("3d", "bev", "image")
RECALL_STEPS = 40  # 41 sampled recalls 0, 1/40 .. 1; "R40" leaves out the first, "R11" takes every fourth
_OTHER, _IGNORED, _COUNTS = -1, 1, 0  # the official program's marks


@dataclass(frozen=True)
class Difficulty:
    """Which objects are wanted. ``min_height_px`` None: no image boxes are needed or looked at.

    An object is ignored if it is as low as ``min_height_px`` or lower, more occluded, more truncated, or holds fewer
    lidar points than ``min_points`` (an addition of ours, 0 in the official three).
    """

    name: str
    min_height_px: float | None
    max_occlusion: int
    max_truncation: float
    min_points: int = 0


EASY = Difficulty("easy", 40.0, 0, 0.15)
MODERATE = Difficulty("moderate", 25.0, 1, 0.30)
HARD = Difficulty("hard", 25.0, 2, 0.50)
OFFICIAL = (EASY, MODERATE, HARD)
PLAIN = Difficulty("points5", None, 3, 1.0, min_points=5)  # everything that the scanner sees with five points or more

# Official overlap a class must exceed, the same for all three metrics.
MIN_OVERLAP = {"car": 0.7, "pedestrian": 0.5, "cyclist": 0.5}


@dataclass(frozen=True)
class KittiBoxes:
    """N boxes of F frames, grouped by frame. Truth and detections of a frame are in one common upright frame.

    frame int64 [N] non-decreasing; boxes f64 [N, >=7] BOX_COLUMNS; label int64 [N]: class, or -1 for other objects;
    neighbour int64 [N]: the class that this object is a neighbour of, or -1. image_box f64 [N, 4] left top right
    bottom, pixels. Detections have a score f64 [N]; truth has truncation f64 [N], occlusion and num_points int64 [N].
    """

    frame: np.ndarray
    boxes: np.ndarray
    label: np.ndarray
    neighbour: np.ndarray
    image_box: np.ndarray
    score: np.ndarray
    truncation: np.ndarray
    occlusion: np.ndarray
    num_points: np.ndarray

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, rows: np.ndarray) -> KittiBoxes:
        """The boxes at ``rows``, mask or increasing indices."""
        return KittiBoxes(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class KittiAP:
    """ap in 0..1; precision f64 [41] (each the best at its recall or beyond) and the score thresholds, best first."""

    ap: float
    precision: np.ndarray
    thresholds: np.ndarray
    num_truth: int
    num_detections: int


def average_precision(
    truth: KittiBoxes,
    detections: KittiBoxes,
    num_frames: int,
    label: int,
    difficulty: Difficulty,
    *,
    metric: str = "3d",
    min_overlap: float,
    recall_points: int = 40,
    sampling: str = "official",
    dont_care_frame: np.ndarray | None = None,
    dont_care: np.ndarray | None = None,
) -> KittiAP:
    """AP of one class. dont_care f64 [R, 4] image boxes in frames dont_care_frame int64 [R]: for the image metric only.

    Raises ValueError for an unknown metric, sampling or number of recall points.
    """
    if metric not in METRICS or recall_points not in (40, 11) or sampling not in ("official", "exact"):
        raise ValueError(f"unknown metric {metric!r}, sampling {sampling!r} or number of recall points {recall_points}")
    truth = truth.take((truth.label == label) | (truth.neighbour == label))
    truth_mark = _truth_marks(truth, label, difficulty)
    det_mark = _detection_marks(detections, label, difficulty)
    # Officially a low box is "ignored" before its class is looked at, so one of another class can absorb an object.
    kept = det_mark != _OTHER
    detections, det_mark = detections.take(kept), det_mark[kept]

    pair_truth, pair_det, pair_start = _pairs(truth.frame, detections.frame, num_frames)
    overlap = _overlaps(truth, detections, pair_truth, pair_det, metric)
    pardoned = np.zeros(len(detections), dtype=bool)
    if metric == "image" and dont_care is not None and dont_care_frame is not None:
        pardoned = _pardoned(detections, dont_care_frame, dont_care, min_overlap)
    starts = [np.searchsorted(boxes.frame, np.arange(num_frames + 1)) for boxes in (truth, detections)]
    arrays = (starts[0], starts[1], pair_start, overlap, truth_mark, det_mark, detections.score)

    num_truth = int((truth_mark == _COUNTS).sum())
    hits = np.sort(_true_scores(*arrays, min_overlap))[::-1]
    thresholds = _thresholds(hits, num_truth) if sampling == "official" else np.unique(hits)[::-1]
    counts = _counts(*arrays, pardoned, min_overlap, thresholds)
    found = counts.sum(axis=1)
    reached = np.divide(counts[:, 0], found, out=np.zeros(len(found)), where=found > 0)
    precision = np.zeros(RECALL_STEPS + 1)
    if sampling == "official":
        precision[: len(thresholds)] = reached
    else:
        for i in range(RECALL_STEPS + 1):
            # In whole objects, so that no rounding of i / 40 loses a recall that is reached exactly.
            precision[i] = reached[counts[:, 0] * RECALL_STEPS >= i * num_truth].max(initial=0.0) if num_truth else 0.0
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    sampled = precision[1:] if recall_points == 40 else precision[::4]
    return KittiAP(float(sampled.mean()), precision, thresholds, num_truth, int((det_mark == _COUNTS).sum()))


def _truth_marks(truth: KittiBoxes, label: int, difficulty: Difficulty) -> np.ndarray:
    ignored = (truth.occlusion > difficulty.max_occlusion) | (truth.truncation > difficulty.max_truncation)
    ignored |= truth.num_points < difficulty.min_points
    if difficulty.min_height_px is not None:
        ignored |= truth.image_box[:, 3] - truth.image_box[:, 1] <= difficulty.min_height_px
    return np.where((truth.label == label) & ~ignored, _COUNTS, _IGNORED).astype(np.int64)


def _detection_marks(detections: KittiBoxes, label: int, difficulty: Difficulty) -> np.ndarray:
    mark = np.where(detections.label == label, _COUNTS, _OTHER).astype(np.int64)
    if difficulty.min_height_px is not None:
        # A height equal to the least is enough here, and not enough for the truth: so it is officially.
        height = np.abs(detections.image_box[:, 1] - detections.image_box[:, 3])
        mark[height < difficulty.min_height_px] = _IGNORED
    return mark


def _pairs(
    truth_frame: np.ndarray, det_frame: np.ndarray, num_frames: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows (truth, detection) of all pairs of a frame, truth the slower; start of each frame's pairs, int64 [F + 1]."""
    num_truth = np.bincount(truth_frame, minlength=num_frames)
    num_det = np.bincount(det_frame, minlength=num_frames)
    start = np.concatenate([[0], np.cumsum(num_truth * num_det)])
    pair_truth = np.repeat(np.arange(len(truth_frame)), num_det[truth_frame])
    first_det = np.concatenate([[0], np.cumsum(num_det)])[truth_frame]
    first_pair = np.concatenate([[0], np.cumsum(num_det[truth_frame])])[:-1]
    pair_det = np.arange(len(pair_truth)) - np.repeat(first_pair - first_det, num_det[truth_frame])
    return pair_truth, pair_det, start


def _overlaps(
    truth: KittiBoxes, detections: KittiBoxes, pair_truth: np.ndarray, pair_det: np.ndarray, metric: str
) -> np.ndarray:
    """Intersection over union of each pair, f64."""
    if metric == "image":
        shared = _image_intersection(truth.image_box[pair_truth], detections.image_box[pair_det])
        union = _image_area(truth.image_box)[pair_truth] + _image_area(detections.image_box)[pair_det] - shared
        return np.divide(shared, union, out=np.zeros(len(shared)), where=union > 0)
    a, b = truth.boxes[pair_truth, :7], detections.boxes[pair_det, :7]
    overlap = np.zeros(len(a))
    near = np.hypot(*(a[:, :2] - b[:, :2]).T) < (np.hypot(a[:, 3], a[:, 4]) + np.hypot(b[:, 3], b[:, 4])) / 2
    if near.any():
        iou = rotated_iou_3d_paired if metric == "3d" else rotated_iou_bev_paired
        first, second = (torch.from_numpy(np.ascontiguousarray(boxes[near], dtype=np.float64)) for boxes in (a, b))
        overlap[near] = iou(first, second).numpy()
    return overlap


def _image_area(box: np.ndarray) -> np.ndarray:
    return (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])


def _image_intersection(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    size = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    return np.where((size > 0).all(axis=1), size.prod(axis=1), 0.0)


def _pardoned(detections: KittiBoxes, region_frame: np.ndarray, regions: np.ndarray, min_overlap: float) -> np.ndarray:
    """Which detections lie in a DontCare region by more than ``min_overlap`` of their own area, bool [N]."""
    out = np.zeros(len(detections), dtype=bool)
    area = _image_area(detections.image_box)
    for frame, region in zip(region_frame.tolist(), regions, strict=True):
        rows = np.flatnonzero((detections.frame == frame) & (area > 0))
        shared = _image_intersection(detections.image_box[rows], np.broadcast_to(region, (len(rows), 4)))
        out[rows[shared > min_overlap * area[rows]]] = True
    return out


def _thresholds(scores: np.ndarray, num_truth: int) -> np.ndarray:
    """Scores at which the recall comes closest to 0, 1/40, 2/40 ...; ``scores`` of true boxes, falling."""
    out, wanted = [], 0.0
    for i, score in enumerate(scores):
        last = i == len(scores) - 1
        here, beyond = (i + 1) / num_truth, (i + (1 if last else 2)) / num_truth
        if beyond - wanted < wanted - here and not last:
            continue
        out.append(score)
        wanted += 1.0 / RECALL_STEPS
    return np.array(out, dtype=np.float64)


@njit(cache=True, nogil=True)
def _true_scores(
    truth_start: np.ndarray,
    det_start: np.ndarray,
    pair_start: np.ndarray,
    overlap: np.ndarray,
    truth_mark: np.ndarray,
    det_mark: np.ndarray,
    score: np.ndarray,
    min_overlap: float,
) -> np.ndarray:
    """Scores of the wanted objects' detections when each object takes the best-scored one that overlaps enough."""
    taken = np.zeros(len(score), dtype=np.bool_)
    out = np.empty(len(truth_mark), dtype=np.float64)
    count = 0
    for f in range(len(truth_start) - 1):
        first, num_det = det_start[f], det_start[f + 1] - det_start[f]
        for g in range(truth_start[f], truth_start[f + 1]):
            pair, best = pair_start[f] + (g - truth_start[f]) * num_det, -1
            for j in range(num_det):
                d = first + j
                if not taken[d] and overlap[pair + j] > min_overlap and (best < 0 or score[d] > score[best]):
                    best = d
            if best >= 0:
                taken[best] = True
                if truth_mark[g] == 0 and det_mark[best] == 0:
                    out[count] = score[best]
                    count += 1
    return out[:count]


@njit(cache=True, nogil=True)
def _counts(
    truth_start: np.ndarray,
    det_start: np.ndarray,
    pair_start: np.ndarray,
    overlap: np.ndarray,
    truth_mark: np.ndarray,
    det_mark: np.ndarray,
    score: np.ndarray,
    pardoned: np.ndarray,
    min_overlap: float,
    thresholds: np.ndarray,
) -> np.ndarray:
    """True and false positives at each score threshold, f64 [T, 2]; each object takes the detection that overlaps most,
    one that is ignored (too low) only where there is no other."""
    out = np.zeros((len(thresholds), 2), dtype=np.float64)
    for t in range(len(thresholds)):
        taken = np.zeros(len(score), dtype=np.bool_)
        for f in range(len(truth_start) - 1):
            first, num_det = det_start[f], det_start[f + 1] - det_start[f]
            for g in range(truth_start[f], truth_start[f + 1]):
                pair, best, best_overlap = pair_start[f] + (g - truth_start[f]) * num_det, -1, 0.0
                for j in range(num_det):
                    d = first + j
                    if taken[d] or score[d] < thresholds[t] or not overlap[pair + j] > min_overlap:
                        continue
                    if det_mark[d] == 0 and overlap[pair + j] > best_overlap:  # still 0 behind an ignored one
                        best, best_overlap = d, overlap[pair + j]
                    elif best < 0 and det_mark[d] == 1:
                        best = d
                if best >= 0:
                    taken[best] = True
                    if truth_mark[g] == 0 and det_mark[best] == 0:
                        out[t, 0] += 1
        for d in range(len(score)):
            if det_mark[d] == 0 and not taken[d] and not pardoned[d] and score[d] >= thresholds[t]:
                out[t, 1] += 1
    return out
