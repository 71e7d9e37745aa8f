"""Host side of kernel.cu: float32 CUDA tensors, any number of channels a head."""

from pathlib import Path

from torch import Tensor

from ops import nvrtc
from ops.segment.reference import segment_ids

SOURCE = Path(__file__).with_name("kernel.cu")


def forward(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """q, k, v [T, H, D] -> (attended [T, H, D], log-sum-exp [T, H])."""
    T, H, D = q.shape
    out, logsumexp = q.new_empty(T, H, D), q.new_empty(T, H)
    given = q, k, v, offsets, segment_ids(offsets, T), T, H, float(scale)
    nvrtc.launch(SOURCE, "attention_forward", T * H, *given, out, logsumexp, defines=(("DIM", str(D)),))
    return out, logsumexp


def backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, out: Tensor, logsumexp: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v, each [T, H, D]."""
    T, H, D = q.shape
    defines = (("DIM", str(D)),)
    grad_q, grad_k, grad_v, delta = q.new_empty(T, H, D), q.new_empty(T, H, D), q.new_empty(T, H, D), q.new_empty(T, H)
    given = grad, q, k, v, offsets, segment_ids(offsets, T), T, H, float(scale)
    forth = out, logsumexp, delta, grad_q
    nvrtc.launch(SOURCE, "attention_backward_q", T * H, *given, *forth, defines=defines)
    back = logsumexp, delta, grad_k, grad_v
    nvrtc.launch(SOURCE, "attention_backward_kv", T * H, *given, *back, defines=defines)
    return grad_q, grad_k, grad_v
