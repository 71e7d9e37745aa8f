"""Host side of kernel.cu: float32 CUDA tensors."""

from pathlib import Path

from torch import Tensor

from ops import nvrtc
from ops.segment.reference import segment_ids

SOURCE = Path(__file__).with_name("kernel.cu")


def forward(scores: Tensor, values: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Scores [P, H], values [P, C] -> (pooled [V, H, C], log-sum-exp [V, H])."""
    V, H, C = offsets.shape[0] - 1, scores.shape[1], values.shape[1]
    pooled, logsumexp = values.new_empty(V, H, C), values.new_empty(V, H)
    nvrtc.launch(SOURCE, "pooling_logsumexp", V * H, scores, offsets, V, H, logsumexp)
    nvrtc.launch(SOURCE, "pooling_sum", V * H * C, scores, values, offsets, V, H, C, logsumexp, pooled)
    return pooled, logsumexp


def backward(
    grad: Tensor, scores: Tensor, values: Tensor, offsets: Tensor, pooled: Tensor, logsumexp: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of scores [P, H] and values [P, C]."""
    (P, H), C = scores.shape, values.shape[1]
    segment = segment_ids(offsets, P)
    grad_scores, grad_values = scores.new_empty(P, H), values.new_empty(P, C)
    to_scores = grad, scores, values, segment, P, H, C, pooled, logsumexp, grad_scores
    nvrtc.launch(SOURCE, "pooling_backward_scores", P * H, *to_scores)
    to_values = grad, scores, segment, P, H, C, logsumexp, grad_values
    nvrtc.launch(SOURCE, "pooling_backward_values", P * C, *to_values)
    return grad_scores, grad_values
