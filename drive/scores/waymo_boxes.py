"""Boxes of many frames as Waymo's metrics take them: the ego frame, object types 1..4, difficulty levels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from drive.scores.waymo_config import LEVEL_1, LEVEL_2, TYPE_NAMES

HARD_POINTS = 5  # a label without an annotated level is level 2 with at most this many lidar points


@dataclass(frozen=True)
class WaymoBoxes:
    """N labels or predictions. Their order inside a frame is the source's: it breaks ties.

    frame: int64 [N], any numbers (the official frame_id). boxes: float32 [N, 7], x y z length width height heading in
    the frame's ego frame, metres and radians (2D boxes: z and height 0; axis-aligned ones: heading 0 too).
    kind: int64 [N], object types 1..4. Of predictions: score float32 [N], in_no_label_zone bool [N]. Of labels:
    difficulty int64 [N] (0 unset, 1, 2), speed float32 [N, 2] (vx, vy, global, m/s). ValueError for wrong shapes, a
    value that is not finite, an unknown type.
    """

    frame: np.ndarray
    boxes: np.ndarray
    kind: np.ndarray
    score: np.ndarray
    in_no_label_zone: np.ndarray
    difficulty: np.ndarray
    speed: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.frame)
        for name in ("boxes", "kind", "score", "in_no_label_zone", "difficulty", "speed"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"{name} has {len(getattr(self, name))} rows, frame has {n}")
        if self.boxes.shape != (n, 7) or self.speed.shape != (n, 2):
            raise ValueError(f"boxes must be [N, 7] and speed [N, 2], not {self.boxes.shape} and {self.speed.shape}")
        if not (np.isfinite(self.boxes).all() and np.isfinite(self.score).all() and np.isfinite(self.speed).all()):
            raise ValueError("a box, a score or a speed is not finite")
        if n and not (self.kind.min() >= 1 and self.kind.max() <= len(TYPE_NAMES)):
            raise ValueError(f"object types must lie in 1..{len(TYPE_NAMES)}")
        if n and self.boxes[:, 3:6].min() < 0:
            raise ValueError("a box has a negative length, width or height")

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, rows: np.ndarray | slice) -> WaymoBoxes:
        """The boxes at ``rows`` (mask, indices or a slice)."""
        return WaymoBoxes(
            self.frame[rows],
            self.boxes[rows],
            self.kind[rows],
            self.score[rows],
            self.in_no_label_zone[rows],
            self.difficulty[rows],
            self.speed[rows],
        )

    @staticmethod
    def predictions(
        frame: np.ndarray,
        boxes: np.ndarray,
        kind: np.ndarray,
        score: np.ndarray,
        in_no_label_zone: np.ndarray | None = None,
    ) -> WaymoBoxes:
        """Predictions; boxes [N, 7], [N, 5] (x y length width heading) or [N, 4] (x y length width)."""
        n = len(frame)
        zone = np.zeros(n, bool) if in_no_label_zone is None else np.asarray(in_no_label_zone, dtype=bool)
        return WaymoBoxes(
            np.asarray(frame, dtype=np.int64),
            full_boxes(boxes),
            np.asarray(kind, dtype=np.int64),
            np.asarray(score, dtype=np.float32),
            zone,
            np.zeros(n, np.int64),
            np.zeros((n, 2), np.float32),
        )

    @staticmethod
    def labels(
        frame: np.ndarray,
        boxes: np.ndarray,
        kind: np.ndarray,
        difficulty: np.ndarray,
        speed: np.ndarray | None = None,
    ) -> WaymoBoxes:
        """Labels; boxes as of ``predictions``. Their difficulty must be settled (``difficulty_levels``)."""
        n = len(frame)
        moving = np.zeros((n, 2), np.float32) if speed is None else np.asarray(speed, dtype=np.float32)
        return WaymoBoxes(
            np.asarray(frame, dtype=np.int64),
            full_boxes(boxes),
            np.asarray(kind, dtype=np.int64),
            np.zeros(n, np.float32),
            np.zeros(n, bool),
            np.asarray(difficulty, dtype=np.int64),
            moving,
        )


def full_boxes(boxes: np.ndarray) -> np.ndarray:
    """float32 [N, 7] of official boxes with 7, 5 or 4 columns."""
    boxes = np.asarray(boxes, dtype=np.float32)
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 5, 7):
        raise ValueError(f"boxes must be [N, 7], [N, 5] or [N, 4], not {boxes.shape}")
    if boxes.shape[1] == 7:
        return boxes
    out = np.zeros((len(boxes), 7), dtype=np.float32)
    out[:, [0, 1, 3, 4]] = boxes[:, :4]
    if boxes.shape[1] == 5:
        out[:, 6] = boxes[:, 4]
    return out


def difficulty_levels(annotated: np.ndarray, num_points: np.ndarray) -> np.ndarray:
    """Level of each label, int64 [N]: the annotated one, or where it is unset (0) by its count of lidar points.

    A label without points is not evaluated at all (drop it first); at most five make level 2, more make level 1. The
    operator takes levels as given: this rule is compute_detection_metrics_main.cc's.
    """
    by_points = np.where(np.asarray(num_points) <= HARD_POINTS, LEVEL_2, LEVEL_1)
    annotated = np.asarray(annotated, dtype=np.int64)
    return np.where(annotated > 0, annotated, by_points)


@dataclass(frozen=True)
class BothSides:
    """Predictions and labels in the order of one list of frames: those that occur on either side, F of them.

    start_*: int64 [F + 1], the rows of each frame. order_*: int64, the rows' places in what was given. ids: int64 [F].
    """

    predictions: WaymoBoxes
    labels: WaymoBoxes
    start_p: np.ndarray
    start_l: np.ndarray
    order_p: np.ndarray
    order_l: np.ndarray
    ids: np.ndarray

    @staticmethod
    def of(labels: WaymoBoxes, predictions: WaymoBoxes) -> BothSides:
        """Sorted by frame number; inside a frame the order stays."""
        ids = np.union1d(predictions.frame, labels.frame)
        starts, orders = [], []
        for boxes in (predictions, labels):
            row = np.searchsorted(ids, boxes.frame)
            orders.append(np.argsort(row, kind="stable"))
            starts.append(np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(ids)))]).astype(np.int64))
        return BothSides(
            predictions.take(orders[0]), labels.take(orders[1]), starts[0], starts[1], orders[0], orders[1], ids
        )

    def parts(self, at_once: int) -> Iterator[BothSides]:
        """Runs of whole frames with about ``at_once`` boxes each, as views: so that memory stays flat in the frames."""
        total = self.start_p + self.start_l
        cuts = np.searchsorted(total, np.arange(0, total[-1], at_once)[1:])
        for low, high in zip([0, *cuts.tolist()], [*cuts.tolist(), len(self.ids)], strict=True):
            if low < high:
                p = slice(self.start_p[low], self.start_p[high])
                g = slice(self.start_l[low], self.start_l[high])
                yield BothSides(
                    self.predictions.take(p),
                    self.labels.take(g),
                    self.start_p[low : high + 1] - self.start_p[low],
                    self.start_l[low : high + 1] - self.start_l[low],
                    self.order_p[p],
                    self.order_l[g],
                    self.ids[low:high],
                )
