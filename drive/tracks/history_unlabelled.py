"""Where a log has no labels, so that what is detected there and shows no object is neither right nor wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from drive.geometry.box import corners
from drive.geometry.rigid import transform_points
from drive.logs.store import Log
from drive.tracks.track import FrameDetections

KITTI_TRACKING = "kitti_tracking"
MIN_HEIGHT_PX, MAX_COVERED = 25.0, 0.5
_NEAR_M = 0.1


def unlabelled(log: Log, frames: Sequence[int], detections: Sequence[FrameDetections]) -> np.ndarray:
    """bool [D]: detections of some frames of a log that lie where it has no labels.

    KITTI tracking labels no object whose image is at most 25 pixels high, and none in its DontCare regions (KITTI's
    development kit, which pardons tracks there). Other data sets are labelled everywhere, as far as we know.
    """
    count = sum(len(frame) for frame in detections)
    if log.dataset != KITTI_TRACKING or not count or not log.has_table("dont_care"):
        return np.zeros(count, dtype=bool)
    matrices = {
        row["name"]: np.array(row["values"]).reshape(row["rows"], -1) for row in log.table("calibration").to_pylist()
    }
    camera_from_ego, rectify = np.eye(4), np.eye(4)
    camera_from_ego[:3], rectify[:3, :3] = matrices["Tr_velo_to_cam"], matrices["R0_rect"]
    regions = log.table("dont_care").to_pydict()
    sides = np.array([regions[f"bbox_{side}"] for side in ("left", "top", "right", "bottom")], dtype=np.float64).T
    owner = np.array(regions["frame"], dtype=np.int64)
    out = []
    for index, frame in zip(frames, detections, strict=True):
        fixed_to_camera = rectify @ camera_from_ego @ np.linalg.inv(log.frame(index).global_from_ego)
        image = image_boxes(frame.boxes, matrices["P2"] @ fixed_to_camera)
        low = image[:, 3] - image[:, 1] <= MIN_HEIGHT_PX
        out.append(low | (covered(image, sides[owner == index]) > MAX_COVERED))
    return np.concatenate(out)


def image_boxes(boxes: np.ndarray, projection: np.ndarray) -> np.ndarray:
    """Left, top, right, bottom [N, 4] in pixels of boxes [N, 9], by projection [3, 4]; corners behind the camera are
    taken 10 cm before it."""
    points = corners(boxes).reshape(-1, 3)
    seen = transform_points(np.concatenate([projection, [[0.0, 0, 0, 1]]]), points)
    pixels = (seen[:, :2] / np.maximum(seen[:, 2:], _NEAR_M)).reshape(-1, 8, 2)
    return np.concatenate([pixels.min(axis=1), pixels.max(axis=1)], axis=1)


def covered(boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Largest share [N] of each box [N, 4] that lies in one of the regions [R, 4]."""
    low = np.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    common = (high - low).clip(0).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).clip(1e-9).prod(axis=1)
    return (common / area[:, None]).max(axis=1, initial=0.0)
