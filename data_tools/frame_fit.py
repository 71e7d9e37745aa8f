"""How well boxes fit lidar points, and votes for edits of the boxes: the evidence of the frame doctor."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit

from data_tools.frame_hypotheses import Edit

MIN_POINTS = 5  # a box votes if it holds this many under one of the two


@dataclass(frozen=True)
class Diagnosis:
    """One fault: a short code, a sentence with its evidence, and how to mend it."""

    code: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.what}; {self.mend}"


@njit(cache=True, nogil=True)
def _count_sorted(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Points [P, 3], sorted by x, inside each of the boxes [N, >=7] (faces count): int64 [N]."""
    counts = np.zeros(len(boxes), np.int64)
    for n in range(len(boxes)):
        x, y, z = boxes[n, 0], boxes[n, 1], boxes[n, 2]
        length, width, height = boxes[n, 3] / 2, boxes[n, 4] / 2, boxes[n, 5] / 2
        cos, sin = np.cos(boxes[n, 6]), np.sin(boxes[n, 6])
        reach = length * abs(cos) + width * abs(sin)
        low, high = 0, len(points)
        while low < high:
            middle = (low + high) // 2
            if points[middle, 0] < x - reach:
                low = middle + 1
            else:
                high = middle
        for p in range(low, len(points)):
            dx = points[p, 0] - x
            if dx > reach:
                break
            dy = points[p, 1] - y
            if abs(points[p, 2] - z) > height:
                continue
            if abs(cos * dx + sin * dy) <= length and abs(cos * dy - sin * dx) <= width:
                counts[n] += 1
    return counts


def count_points(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Points [P, >=3] inside each of the boxes [N, >=7], same frame, any order: int64 [N]."""
    xyz = np.ascontiguousarray(points[:, :3], dtype=np.float64)
    return _count_sorted(xyz[np.argsort(xyz[:, 0], kind="stable")], np.ascontiguousarray(boxes, dtype=np.float64))


@dataclass
class Case:
    """Frames under examination: points sorted by x, boxes as they are so far, what was found."""

    points: list[np.ndarray]
    boxes: list[np.ndarray]
    found: list[Diagnosis] = field(default_factory=list)

    def counts(self, edit: Edit | None = None) -> np.ndarray:
        """Points in every box of all frames, after an edit of the boxes."""
        parts = [
            _count_sorted(points, np.ascontiguousarray(boxes if edit is None else edit(boxes)))
            for points, boxes in zip(self.points, self.boxes, strict=True)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def all_boxes(self) -> np.ndarray:
        return np.concatenate(self.boxes) if self.boxes else np.zeros((0, 9))

    def apply(self, edit: Edit) -> None:
        self.boxes = [edit(boxes) for boxes in self.boxes]


def votes(as_is: np.ndarray, edited: np.ndarray) -> tuple[int, int, int]:
    """Boxes for and against an edit, and those that could vote. "Clearly more" = a tenth more and a point."""
    voters = np.maximum(as_is, edited) >= MIN_POINTS
    wins = voters & (edited > 1.1 * as_is + 1)
    losses = voters & (as_is > 1.1 * edited + 1)
    return int(wins.sum()), int(losses.sum()), int(voters.sum())


def convincing(wins: int, losses: int, voters: int) -> bool:
    return wins >= 5 and wins >= 3 * losses + 3 and wins >= 0.1 * voters
