"""One labelled instant as a model sees it: points and boxes in the key frame's ego frame."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from drive.errors import UserError
from drive.samples.images import CameraImages

POINT_COLUMNS = ("x", "y", "z", "intensity", "elongation", "dt")
"""Columns of `FrameSample.points`: m, intensity 0..1, elongation as recorded (0 without), dt >= 0 s in the past."""

RADAR_POINT_COLUMNS = (*POINT_COLUMNS, "vx", "vy", "rcs", "is_radar")
"""Columns of a sample with radars (`DataConfig.radars`): the velocity over ground in m/s, as a vector of the sample's
frame, of which a radar measures the part along its ray; cross-section in dBsm; 1 for a radar's return. A lidar's rows
hold 0 in all four; a radar's have neither intensity nor elongation, and dt may be slightly negative (radars do not wait
for the lidar)."""

VELOCITY = slice(6, 8)
"""vx, vy of `RADAR_POINT_COLUMNS`."""

BOX_SIZE = slice(3, 6)


@dataclass(frozen=True, eq=False)
class AppliedTransform:
    """One geometric augmentation, kept so that a result can be carried back to the recorded scene.

    Attributes:
        name: The policy's name.
        augmented_from_original: float64 [4, 4]; a similarity or a mirror image (negative determinant).
    """

    name: str
    augmented_from_original: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FrameSample:
    """Points and labels of one key frame, in its ego frame (x forward, y left, z up).

    Attributes:
        points: float32 [P, 6], see `POINT_COLUMNS`; [P, 10] with radars, see `RADAR_POINT_COLUMNS`.
        boxes: float32 [N, 9]: x y z length width height yaw vx vy (geometric centre, metres, radians, m/s).
        labels: int64 [N], index into the class names.
        velocity_valid: bool [N]; where False, vx and vy are 0 and mean nothing.
        num_points: int64 [N], points of this sample inside each box (counted after crop and augmentation by `recount`,
            before that the recording's own count where it has one).
        frame_id: "<log>/<token or index>".
        log_name: Name of the log.
        frame_index: Key frame's index in the log.
        timestamp_ns: Instant of the key frame.
        global_from_ego: float64 [4, 4].
        augmentations: Geometric augmentations in the order they were applied.
        images: What the cameras saw; None where no images are asked for.
        recorded_xyz: float32 [P, 3]: where each point was recorded in the ego frame, never augmented; NaN for points
            that no camera can have seen (pasted objects, noise). None where no images are asked for.
    """

    points: npt.NDArray[np.float32]
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    velocity_valid: npt.NDArray[np.bool_]
    num_points: npt.NDArray[np.int64]
    frame_id: str
    log_name: str = ""
    frame_index: int = 0
    timestamp_ns: int = 0
    global_from_ego: npt.NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    augmentations: tuple[AppliedTransform, ...] = ()
    images: CameraImages | None = None
    recorded_xyz: npt.NDArray[np.float32] | None = None

    def validate(self) -> FrameSample:
        """Check shapes, types and values; gives the sample back.

        Raises:
            UserError: A wrong shape or type, a value that is not finite, a size that is not positive.
        """
        n = len(self.boxes)
        expected: list[tuple[str, np.ndarray, tuple[int, ...], type]] = [
            ("points", self.points, (len(self.points), point_width(self.points)), np.float32),
            ("boxes", self.boxes, (n, 9), np.float32),
            ("labels", self.labels, (n,), np.int64),
            ("velocity_valid", self.velocity_valid, (n,), np.bool_),
            ("num_points", self.num_points, (n,), np.int64),
        ]
        if self.recorded_xyz is not None:  # it may hold NaN
            expected.append(("recorded_xyz", self.recorded_xyz, (len(self.points), 3), np.float32))
        for name, array, shape, dtype in expected:
            if array.shape != shape or array.dtype != dtype:
                raise UserError(
                    f"frame {self.frame_id}",
                    f"{name} is {array.dtype}{list(array.shape)}, expected {np.dtype(dtype)}{list(shape)}",
                    "build samples through FrameDataset or with these types",
                )
        for name, array in (("points", self.points), ("boxes", self.boxes)):
            if not np.isfinite(array).all():
                row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
                raise UserError(
                    f"frame {self.frame_id}",
                    f"{name} row {row} is not finite",
                    "mend the recording, or run `drive verify` on the log",
                )
        if n and not (self.boxes[:, BOX_SIZE] > 0).all():
            row = int(np.flatnonzero(~(self.boxes[:, BOX_SIZE] > 0).all(axis=1))[0])
            raise UserError(
                f"frame {self.frame_id}", f"box {row} has a size that is not positive", "remove the box from the log"
            )
        if self.images is not None:
            self.images.validate(self.frame_id)
        return self


def point_width(points: np.ndarray) -> int:
    """Columns that points [P, C] should have: 10 where there is more than a lidar's 6."""
    with_radar = points.ndim == 2 and points.shape[1] > len(POINT_COLUMNS)
    return len(RADAR_POINT_COLUMNS if with_radar else POINT_COLUMNS)


def take_points(sample: FrameSample, keep: npt.NDArray[np.bool_]) -> FrameSample:
    """The sample with the points of a mask [P] alone, and where they were recorded; boxes and counts stay."""
    recorded = None if sample.recorded_xyz is None else sample.recorded_xyz[keep]
    return replace(sample, points=sample.points[keep], recorded_xyz=recorded)


def add_points(sample: FrameSample, points: npt.NDArray[np.float32]) -> FrameSample:
    """The sample with further points [Q, C] behind its own, which no camera can have seen (pasted objects, noise)."""
    recorded = sample.recorded_xyz
    if recorded is not None:
        recorded = np.concatenate([recorded, np.full((len(points), 3), np.nan, np.float32)])
    return replace(sample, points=np.concatenate([sample.points, points]), recorded_xyz=recorded)


def empty_sample(frame_id: str = "empty") -> FrameSample:
    """A frame without points and without boxes."""
    return FrameSample(
        points=np.zeros((0, len(POINT_COLUMNS)), np.float32),
        boxes=np.zeros((0, 9), np.float32),
        labels=np.zeros(0, np.int64),
        velocity_valid=np.zeros(0, np.bool_),
        num_points=np.zeros(0, np.int64),
        frame_id=frame_id,
    )
