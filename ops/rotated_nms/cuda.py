"""Host side of kernel.cu: overlaps of all pairs as bits, then the greedy pass, without a copy to the host."""

from pathlib import Path

import torch
from torch import Tensor

from ops import nvrtc
from ops.rotated_iou.cuda import suppression_words

SOURCE = Path(__file__).with_name("kernel.cu")


def rotated_nms(boxes: Tensor, scores: Tensor, groups: Tensor, thresholds: Tensor) -> Tensor:
    """Kept indices, best score first. boxes float64 [N, 7], groups in 0..G-1, thresholds float64 [G]."""
    order = torch.argsort(scores, descending=True, stable=True)
    groups = groups[order]
    words = suppression_words(boxes[order], groups, thresholds[groups])
    N, W = words.shape
    removed = torch.zeros(W, dtype=torch.int64, device=boxes.device)
    nvrtc.launch(SOURCE, "suppress", N, words, N, W, removed, blocks=1)
    bit = torch.arange(N, device=boxes.device)
    return order[(removed[bit // 64] >> (bit % 64) & 1) == 0]
