"""3D boxes in an image: their edges in front of the camera, and the rectangle around them."""

from __future__ import annotations

import numpy as np

# Corners 0..3 are the bottom, 4..7 the top above them (drive.geometry.box.corners).
BOX_EDGES = np.array(
    [[0, 1], [1, 2], [2, 3], [3, 0], [4, 5], [5, 6], [6, 7], [7, 4], [0, 4], [1, 5], [2, 6], [3, 7]], dtype=np.int64
)


def edges_in_front(corners: np.ndarray, near_m: float) -> tuple[np.ndarray, np.ndarray]:
    """The parts of the edges of boxes that lie beyond the plane z = ``near_m`` of a camera's optical frame.

    corners f64 [N, 8, 3] in that frame (z forward). Returns segments f64 [S, 2, 3] and int64 [S]: 12 n + e for edge e
    of box n. An edge that crosses the plane is cut there; only so is a box beside the camera drawn where it is, instead
    of mirrored through the focal point.
    """
    segments = corners[:, BOX_EDGES].reshape(-1, 2, 3).astype(np.float64)
    depth = segments[:, :, 2]
    index = np.flatnonzero((depth > near_m).any(axis=1))
    segments, depth = segments[index].copy(), depth[index]
    for end in (0, 1):
        rows = np.flatnonzero(depth[:, end] < near_m)
        inner, outer = segments[rows, 1 - end], segments[rows, end]
        share = (near_m - inner[:, 2]) / (outer[:, 2] - inner[:, 2])
        segments[rows, end] = inner + share[:, None] * (outer - inner)
    return segments, index


def image_rectangles(corners: np.ndarray, projection: np.ndarray, near_m: float = 0.1) -> np.ndarray:
    """Rectangle f64 [N, 4] (left top right bottom, pixels, not cut at the image's border) around each box.

    corners f64 [N, 8, 3] in the rectified camera frame, projection f64 [3, 4] (KITTI's P2). NaN for a box behind it.
    """
    segments, index = edges_in_front(corners, near_m)
    image = segments @ projection[:, :3].T + projection[:, 3]
    pixels = image[..., :2] / image[..., 2:]
    out = np.full((len(corners), 4), np.nan)
    box = index // len(BOX_EDGES)
    low, high = np.full((len(corners), 2), np.inf), np.full((len(corners), 2), -np.inf)
    np.minimum.at(low, box, pixels.min(axis=1))
    np.maximum.at(high, box, pixels.max(axis=1))
    seen = np.unique(box)
    out[seen] = np.concatenate([low[seen], high[seen]], axis=1)
    return out
