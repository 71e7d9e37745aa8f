"""Pairs of a prediction and a label that could match: IoU and matching weight, in Waymo's rounding.

Semantics of waymo_open_dataset metrics/{iou,matcher}.cc: IoU in double, kept as float32; the matching maximises the
sum of round(IoU x 10^6). Boxes with a side of at most 1 cm or at least 1000 km overlap nothing. Only pairs of one type
in one frame count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from drive.scores.waymo_boxes import WaymoBoxes
from drive.scores.waymo_config import (
    ALIGN_BETWEEN,
    ALIGN_CENTER,
    ALIGN_CLOSER_ANY,
    ALIGN_FURTHER,
    ALIGN_NOT,
    BOX_3D,
    LongitudinalTolerance,
    WaymoConfig,
)
from ops.rotated_iou.cpu import new_scratch, overlap

OVERLAP_IOU = 0.01  # a false positive that overlaps another shard's label this much is not counted
_TINY, _HUGE, _EPSILON = 1e-2, 1e6, 1e-6


@dataclass(frozen=True)
class Pairs:
    """E pairs in the order of their predictions, then labels. prediction, label: int64 [E] rows. iou, affinity: float32
    [E] (affinity 1 without a longitudinal tolerance). weight: int64 [E], of the matching, -1 where the two may not
    match. heading: float32 [E], heading accuracy 0..1."""

    prediction: np.ndarray
    label: np.ndarray
    iou: np.ndarray
    affinity: np.ndarray
    weight: np.ndarray
    heading: np.ndarray

    def take(self, rows: np.ndarray) -> Pairs:
        """The pairs at ``rows``."""
        return Pairs(
            self.prediction[rows],
            self.label[rows],
            self.iou[rows],
            self.affinity[rows],
            self.weight[rows],
            self.heading[rows],
        )


def find_pairs(
    predictions: WaymoBoxes, labels: WaymoBoxes, start_p: np.ndarray, start_l: np.ndarray, config: WaymoConfig
) -> Pairs:
    """All pairs with an IoU of at least 0.01 or that may match. Boxes are sorted by frame; starts int64 [F + 1]."""
    thresholds = np.array(config.iou_thresholds, dtype=np.float32)
    t = config.tolerance or LongitudinalTolerance(align=ALIGN_NOT)
    found = _find_pairs(
        predictions.boxes.astype(np.float64),
        predictions.kind,
        start_p,
        labels.boxes.astype(np.float64),
        labels.kind,
        start_l,
        np.minimum(thresholds, np.float32(OVERLAP_IOU)),
        config.box_type == BOX_3D,
        config.tolerance is not None,
        np.array([*t.sensor_m, np.float32(t.share), np.float32(t.least_m)], dtype=np.float64),
        t.align,
    )
    prediction, label, iou, affinity = found
    may = (iou >= thresholds[predictions.kind[prediction]]) & (affinity > 0)
    weight = np.floor((iou * affinity) * np.float32(1e6) + np.float64(0.5)).astype(np.int64)
    heading = heading_accuracy(predictions.boxes[prediction, 6], labels.boxes[label, 6])
    return Pairs(prediction, label, iou, affinity, np.where(may, weight, -1), heading)


def heading_accuracy(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """1 - |a - b| / pi of headings in radians, the difference taken the short way round: float32 [N]."""
    wrapped = [_wrap(x.astype(np.float64)).astype(np.float32) for x in (a, b)]
    difference = np.abs(wrapped[0] - wrapped[1])
    turned = (2.0 * np.pi - difference.astype(np.float64)).astype(np.float32)
    difference = np.where(difference.astype(np.float64) > np.pi, turned, difference).astype(np.float64)
    return np.clip(1.0 - difference / np.pi, 0.0, 1.0).astype(np.float32)


def _wrap(angle: np.ndarray) -> np.ndarray:
    """Into [-pi, pi), in the official order of operations."""
    period = 2 * np.pi
    shifted = angle + np.pi
    rest = shifted - np.trunc(shifted * (1 / period)) * period
    again = np.where(period + rest >= period, 0.0, period + rest)
    return np.where(rest >= 0, rest, again) - np.pi


@njit(cache=True, nogil=True)
def _pair_iou(ax, ay, az, a, bx, by, bz, b, three_d, scratch):  # type: ignore[no-untyped-def]
    """IoU of box a [7] at (ax, ay, az) and box b [7] at (bx, by, bz)."""
    for d in range(3, 6):
        if a[d] >= _HUGE or b[d] >= _HUGE or ((d < 5 or three_d) and (a[d] <= _TINY or b[d] <= _TINY)):
            return 0.0
    high = 1.0
    size_a, size_b = a[3] * a[4], b[3] * b[4]
    if three_d:
        high = min(az + a[5] * 0.5, bz + b[5] * 0.5) - max(az - a[5] * 0.5, bz - b[5] * 0.5)
        if high < 0:
            return 0.0
        size_a *= a[5]
        size_b *= b[5]
    part, _ = overlap(ax, ay, a[3], a[4], a[6], bx, by, b[3], b[4], b[6], scratch)
    part *= high
    union = size_a + size_b - part
    return min(max(part / union, 0.0), 1.0) if union > _EPSILON else 0.0


@njit(cache=True, nogil=True)
def _affinity(a, b, tolerance):  # type: ignore[no-untyped-def]
    """Longitudinal affinity of prediction a [7] and label b [7], 0..1. tolerance: sensor x y z, share, least."""
    dot = far_a = far_b = 0.0
    for d in range(3):
        p, g = a[d] - tolerance[d], b[d] - tolerance[d]
        dot += p * g
        far_a += p * p
        far_b += g * g
    far_a, far_b = max(np.sqrt(far_a), _EPSILON), max(np.sqrt(far_b), _EPSILON)
    allowed = float(np.float32(max(tolerance[3] * far_b, tolerance[4])))
    return min(max(1.0 - abs((far_a * (dot / far_b / far_a) - far_b) / allowed), 0.0), 1.0)


@njit(cache=True, nogil=True)
def _slide(a, b, tolerance, align):  # type: ignore[no-untyped-def]
    """Centre of prediction a [7], seen from the sensor, after it slid along its line of sight towards label b [7]."""
    px, py, pz = a[0] - tolerance[0], a[1] - tolerance[1], a[2] - tolerance[2]
    gx, gy, gz = b[0] - tolerance[0], b[1] - tolerance[1], b[2] - tolerance[2]
    if align == ALIGN_NOT:
        return px, py, pz
    if align == ALIGN_CENTER:
        return gx, gy, pz
    factor = (px * gx + py * gy + pz * gz) / max(px * px + py * py + pz * pz, _EPSILON)
    nearer = 0.0 <= factor < 1.0
    if (align == ALIGN_FURTHER and not nearer) or (align == ALIGN_CLOSER_ANY and nearer):
        factor = 1.0
    elif align == ALIGN_BETWEEN:
        factor = max(factor, 1.0)
    return px * factor, py * factor, pz * factor


@njit(cache=True, nogil=True)
def _find_pairs(boxes_p, kind_p, start_p, boxes_l, kind_l, start_l, least, three_d, tolerant, tolerance, align):  # type: ignore[no-untyped-def]
    room, count = 1024, 0
    prediction, label = np.empty(room, np.int64), np.empty(room, np.int64)
    iou, affinity = np.empty(room, np.float32), np.empty(room, np.float32)
    scratch = new_scratch()
    for f in range(start_p.size - 1):
        for i in range(start_p[f], start_p[f + 1]):
            a = boxes_p[i]
            for j in range(start_l[f], start_l[f + 1]):
                b = boxes_l[j]
                if kind_p[i] != kind_l[j]:
                    continue
                near = np.float32(1.0)
                if tolerant:
                    near = np.float32(_affinity(a, b, tolerance))
                    px, py, pz = _slide(a, b, tolerance, align)
                    gx, gy, gz = b[0] - tolerance[0], b[1] - tolerance[1], b[2] - tolerance[2]
                else:
                    px, py, pz = a[0], a[1], a[2]
                    gx, gy, gz = b[0], b[1], b[2]
                dx, dy = px - gx, py - gy
                reach = (np.sqrt(a[3] * a[3] + a[4] * a[4]) + np.sqrt(b[3] * b[3] + b[4] * b[4])) / 2
                if dx * dx + dy * dy > reach * reach:
                    continue
                value = np.float32(_pair_iou(px, py, pz, a, gx, gy, gz, b, three_d, scratch))
                if value < least[kind_p[i]]:
                    continue
                if count == room:
                    room *= 2
                    prediction, label = _grown(prediction, room), _grown(label, room)
                    iou, affinity = _grown(iou, room), _grown(affinity, room)
                prediction[count], label[count], iou[count], affinity[count] = i, j, value, near
                count += 1
    return prediction[:count].copy(), label[:count].copy(), iou[:count].copy(), affinity[:count].copy()


@njit(cache=True, nogil=True)
def _grown(column, room):  # type: ignore[no-untyped-def]
    out = np.empty(room, column.dtype)
    out[: column.size] = column
    return out
