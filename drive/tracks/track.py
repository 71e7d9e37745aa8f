"""What a tracker takes and gives: one frame of detections in, one frame of tracked objects out, its state beside them.

All positions are in one fixed frame (``log_detections`` moves boxes there by the poses of the log): the global frame
where the log has poses; where it has none (KITTI tracking without its GPS files) the ego frame, as if the ego stood
still, so that velocities there are relative ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np


@dataclass(frozen=True)
class FrameDetections:
    """N detections of one instant.

    Attributes:
        timestamp_ns: Of the frame.
        boxes: float64 [N, 9], BOX_COLUMNS (centre, length, width, height, yaw, vx, vy), fixed frame.
        velocity_valid: bool [N]: vx and vy were measured by the detector.
        scores: float64 [N], the detector's own (a probability or a logit: the tracker's configuration must fit).
        labels: int64 [N], index into the tracker's class names.
        features: float32 [N, C], the detector's features at each box; C = 0 where there are none.
        ego: float64 [4], x y z yaw of the ego frame in the fixed frame: where the boxes were seen from. Zeros where
            the fixed frame is the ego frame.
    """

    timestamp_ns: int
    boxes: np.ndarray
    velocity_valid: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    features: np.ndarray
    ego: np.ndarray = field(default_factory=lambda: np.zeros(4))

    def __post_init__(self) -> None:
        n = len(self.scores)
        if self.boxes.shape != (n, 9) or self.features.ndim != 2:
            raise ValueError(f"{n} scores, but boxes {self.boxes.shape} and features {self.features.shape}")
        for name in ("velocity_valid", "labels", "features"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"{n} scores, but {len(getattr(self, name))} {name}")

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, rows: np.ndarray) -> FrameDetections:
        """The detections at ``rows`` (mask or indices)."""
        return FrameDetections(
            self.timestamp_ns,
            self.boxes[rows],
            self.velocity_valid[rows],
            self.scores[rows],
            self.labels[rows],
            self.features[rows],
            self.ego,
        )

    @staticmethod
    def empty(timestamp_ns: int, features: int = 0) -> FrameDetections:
        """A frame in which nothing was found."""
        none = np.zeros(0)
        return FrameDetections(
            timestamp_ns,
            np.zeros((0, 9)),
            none.astype(bool),
            none,
            none.astype(np.int64),
            np.zeros((0, features), np.float32),
        )


@dataclass(frozen=True)
class TrackedFrame:
    """M tracked objects that a tracker reports for one instant; an id at most once.

    Attributes:
        timestamp_ns: Of the frame.
        ids: int64 [M], never used again for another object of the same sequence.
        boxes: float64 [M, 9], BOX_COLUMNS, fixed frame; vx and vy are the tracker's estimate.
        scores: float64 [M].
        labels: int64 [M].
        velocity_valid: bool [M]; False where the tracker has no estimate yet.
        acceleration: float64 [M, 2], m/s^2, fixed frame; 0 where not valid.
        acceleration_valid: bool [M].
        sigma: float64 [M, 4], standard deviations of vx, vy (m/s), ax, ay (m/s^2); 0 where not valid.
        sigma_valid: bool [M]: the tracker estimates its uncertainty.
        detection: int64 [M], row of the detection that the object was matched with in this frame.
        matched: bool [M]; False where the object is predicted only (then ``detection`` means nothing).
    """

    timestamp_ns: int
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

    def __post_init__(self) -> None:
        m = len(self.ids)
        for name, value in vars(self).items():
            if name != "timestamp_ns" and len(value) != m:
                raise ValueError(f"{m} ids, but {len(value)} {name}")

    def __len__(self) -> int:
        return len(self.ids)


State = TypeVar("State")


class Tracker(Protocol[State]):
    """A tracker holds parameters only: what it remembers is the state, handed in and given back.

    A state is a frozen dataclass of numpy arrays and numbers; ``step`` leaves the one that it was given as it is, so
    that a process can keep it, write it (drive.tracks.state_file) and go on later with the same result to the bit.
    """

    class_names: tuple[str, ...]

    def start(self) -> State:
        """The state before the first frame of a sequence."""
        ...

    def step(self, state: State, detections: FrameDetections) -> tuple[State, TrackedFrame]:
        """One frame on.

        Raises:
            UserError: the frame is not later than the last one.
        """
        ...
