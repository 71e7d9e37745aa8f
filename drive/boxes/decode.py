"""From heat and regression to boxes: peaks, the best of them, non-maximum suppression, IoU rescoring (spec 1.11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from drive.boxes.box_features import FEATURES, box_features
from drive.boxes.coder import IOU, decode_boxes
from drive.boxes.detections import Detections
from drive.boxes.head import HeadGroup
from drive.voxels.grid import GridSpec
from drive.voxels.scatter import gather_bev, scatter_bev
from ops.rotated_nms import rotated_nms


@dataclass(frozen=True)
class DecodeConfig:
    """score_threshold: 0.1, or 0.05 where average precision is measured (code: all baselines) [inferred].

    peak_kernel: a voxel must be the maximum of this square neighbourhood of active voxels: 3 [recall].
    max_detections: a frame, before suppression (code: DSVT).
    """

    score_threshold: float = 0.05
    peak_kernel: int = 3
    max_detections: int = 500


@dataclass(frozen=True)
class GroupOutput:
    """One head's answer at T active voxels of a grid, in key order.

    coords: int64 [T, 4]; heat_logits: float32 [T, K]; regression: float32 [T, REGRESSION_CHANNELS].
    anchors: float32 [T, 3] the place (metres) that the regressed offset starts from.
    labels: the label of each of the K classes. features: float [T, C], the tokens that the head read.
    """

    group: HeadGroup
    labels: tuple[int, ...]
    grid: GridSpec
    coords: Tensor
    heat_logits: Tensor
    regression: Tensor
    anchors: Tensor
    features: Tensor | None = None


def find_peaks(score: Tensor, coords: Tensor, grid: GridSpec, batch_size: int, kernel: int = 3) -> Tensor:
    """bool [T, K]: is score [T, K] the maximum of the active voxels in the kernel x kernel cells around? Ties pass."""
    dense = scatter_bev(score, coords, grid, batch_size).contiguous()
    best = F.max_pool2d(dense, kernel, stride=1, padding=kernel // 2)
    return score >= gather_bev(best, coords)


def _candidates(output: GroupOutput, batch_size: int, config: DecodeConfig) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(frame [M], boxes [M, 9], scores [M], labels [M]) of one head's peaks."""
    score = torch.sigmoid(output.heat_logits.float())
    peak = find_peaks(score, output.coords, output.grid, batch_size, config.peak_kernel)
    row, column = torch.nonzero(peak & (score > config.score_threshold), as_tuple=True)
    regression = output.regression[row].float()
    scores = score[row, column]
    if output.group.iou_power > 0:
        iou = ((regression[:, IOU] + 1) / 2).clamp(1e-4, 1)
        scores = scores ** (1 - output.group.iou_power) * iou**output.group.iou_power
    boxes = decode_boxes(regression, output.anchors[row])
    labels = torch.tensor(output.labels, device=row.device)[column]
    return output.coords[row, 0], boxes, scores, labels


@torch.no_grad()
def decode_groups(
    outputs: Sequence[GroupOutput], batch_size: int, config: DecodeConfig, features: bool = False
) -> list[Detections]:
    """One Detections a frame, highest score first; with ``features`` also what was seen at each (``box_features``)."""
    parts = [_candidates(output, batch_size, config) for output in outputs]
    frame, boxes, scores, labels = (torch.cat(column) for column in zip(*parts, strict=True))
    # By frame, then by falling score: two stable sorts.
    order = torch.argsort(scores, descending=True, stable=True)
    order = order[torch.argsort(frame[order], stable=True)]
    starts = torch.searchsorted(frame[order], torch.arange(batch_size, device=frame.device))
    rank = torch.arange(len(order), device=frame.device) - starts[frame[order]]
    order = order[rank < config.max_detections]
    frame, boxes, scores, labels = frame[order], boxes[order], scores[order], labels[order]

    num_labels = sum(len(output.labels) for output in outputs)
    thresholds = [0.0] * num_labels
    for output in outputs:
        for label in output.labels:
            thresholds[label] = output.group.nms_iou
    kept = rotated_nms(boxes, scores, frame * num_labels + labels, thresholds * batch_size)
    frame, boxes, scores, labels = frame[kept], boxes[kept], scores[kept], labels[kept]
    seen = _features(outputs, boxes, frame, labels) if features else None
    return [
        Detections(boxes[mine], scores[mine], labels[mine], None if seen is None else seen[mine])
        for mine in (frame == b for b in range(batch_size))
    ]


def _features(outputs: Sequence[GroupOutput], boxes: Tensor, frame: Tensor, labels: Tensor) -> Tensor:
    """float32 [N, FEATURES], each box's from the head that found it."""
    seen = boxes.new_zeros(len(boxes), FEATURES)
    for output in outputs:
        mine = torch.isin(labels, torch.tensor(output.labels, device=labels.device))
        seen[mine] = box_features(output, boxes[mine], frame[mine])
    return seen
