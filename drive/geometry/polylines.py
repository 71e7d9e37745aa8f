"""Polylines [N, 2] or [N, 3]: arc length, resampling, projection, parallels. Metres."""

from __future__ import annotations

import numpy as np


def arc_length(line: np.ndarray) -> np.ndarray:
    """Distance along the line from its start to each vertex: [N], first 0."""
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    return np.concatenate([[0.0], np.cumsum(steps)])


def point_at(line: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Points [Q, D] at arc lengths ``distance`` [Q]; beyond the ends the end points."""
    along = arc_length(line)
    return np.stack([np.interp(distance, along, line[:, d]) for d in range(line.shape[1])], axis=-1)


def heading_at(line: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Direction of travel (radians) of the segment at arc lengths ``distance`` [Q]."""
    along = arc_length(line)
    segment = np.clip(np.searchsorted(along, distance, side="right") - 1, 0, len(line) - 2)
    step = line[segment + 1] - line[segment]
    return np.arctan2(step[:, 1], step[:, 0])


def resample(line: np.ndarray, spacing: float) -> np.ndarray:
    """The line with vertices every ``spacing`` metres (evenly, both ends kept)."""
    length = arc_length(line)[-1]
    count = max(int(np.ceil(length / spacing)), 1) + 1
    return point_at(line, np.linspace(0.0, length, count))


def project_to_polyline(line: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frenet coordinates of points [P, 2] on a line [N, 2]: arc length [P] and signed offset [P] (left positive)."""
    start, step = line[:-1, :2], np.diff(line[:, :2], axis=0)
    length2 = np.maximum(np.sum(step**2, axis=1), 1e-18)
    offset = points[:, None, :2] - start[None]
    share = np.clip(np.sum(offset * step, axis=-1) / length2, 0.0, 1.0)
    foot = start + share[..., None] * step
    distance = np.linalg.norm(points[:, None, :2] - foot, axis=-1)
    best = np.argmin(distance, axis=1)
    rows = np.arange(len(points))
    along = arc_length(line[:, :2])[best] + share[rows, best] * np.sqrt(length2[best])
    cross = step[best, 0] * offset[rows, best, 1] - step[best, 1] * offset[rows, best, 0]
    return along, np.where(cross >= 0, 1.0, -1.0) * distance[rows, best]


def offset_polyline(line: np.ndarray, left: float) -> np.ndarray:
    """A parallel [N, 2], ``left`` metres to the left (negative: right), mitred at the vertices."""
    step = np.diff(line[:, :2], axis=0)
    normal = np.stack([-step[:, 1], step[:, 0]], axis=-1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    first, last = normal[:1], normal[-1:]
    mean = np.concatenate([first, (normal[:-1] + normal[1:]) / 2, last])
    # Dividing by |mean|^2 keeps the distance to both neighbours; a hairpin is cut at four times the offset.
    scale = np.maximum(np.sum(mean**2, axis=1, keepdims=True), 1 / 16)
    return line[:, :2] + left * mean / scale
