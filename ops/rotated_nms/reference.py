"""Greedy suppression of overlapping boxes in plain torch: the specification."""

import torch
from torch import Tensor

from ops.rotated_iou import reference as rotated_iou


def rotated_nms(boxes: Tensor, scores: Tensor, groups: Tensor, thresholds: Tensor) -> Tensor:
    """See ops.rotated_nms.rotated_nms; `thresholds` float64 [G]."""
    order = torch.argsort(scores, descending=True, stable=True)
    boxes, groups = boxes[order].double(), groups[order]
    overlaps = rotated_iou.iou_matrix(boxes, boxes, False) > thresholds[groups][:, None]
    overlaps &= groups[:, None] == groups[None, :]
    suppresses = overlaps.cpu()
    alive = torch.ones(boxes.shape[0], dtype=torch.bool)
    for i in range(boxes.shape[0]):
        if alive[i]:
            alive[i + 1 :] &= ~suppresses[i, i + 1 :]
    return order[alive.to(order.device)]
