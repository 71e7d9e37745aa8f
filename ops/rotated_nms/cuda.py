"""Host side of kernel.cu: overlaps of all pairs on the device, then the greedy pass without a copy to the host."""

from pathlib import Path

import torch
from torch import Tensor

from ops import nvrtc
from ops.rotated_iou.cuda import iou_matrix

SOURCE = Path(__file__).with_name("kernel.cu")


def rotated_nms(boxes: Tensor, scores: Tensor, groups: Tensor, thresholds: Tensor) -> Tensor:
    """Kept indices, best score first. boxes float64 [N, 7], groups in 0..G-1, thresholds float64 [G]."""
    order = torch.argsort(scores, descending=True, stable=True)
    boxes, groups = boxes[order], groups[order]
    meets = iou_matrix(boxes, boxes, False) > thresholds[groups][:, None]
    meets = (meets & (groups[:, None] == groups[None, :])).to(torch.uint8)
    alive = torch.ones_like(groups, dtype=torch.uint8)
    nvrtc.launch(SOURCE, "suppress", boxes.shape[0], meets, boxes.shape[0], alive, blocks=1)
    return order[alive.bool()]
