"""Both layers of a pillar's PointNet in one operator: the points' hidden rows are never all in memory."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ops import checks
from ops.arrays import arrays, tensors
from ops.operator import operator
from ops.pillar_encoder import cpu_net, reference

Outputs = tuple[Tensor, Tensor, Tensor, Tensor]
Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def pillar_net(features: Tensor, offsets: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, wp: Tensor, b2: Tensor) -> Tensor:
    """h = ReLU(features @ w1 + b1); max over a pillar of ReLU(h @ w2 + max(h) @ wp + b2): [P, K] -> [V, C].

    Args:
        features: [P, K], pillar after pillar: pillar v holds rows offsets[v] to offsets[v + 1] - 1.
        offsets: int64 [V + 1].
        w1, b1: [K, H] and [H]. w2, wp: [H, C], of a point's hidden row and of its pillar's maximum. b2: [C].

    An empty pillar gives 0; a NaN in a pillar's rows makes it NaN. Differentiable once in all but offsets. float32 has
    kernels on the CPU; float64 takes the torch reference, and so does CUDA. ValueError: dtypes, shapes, offsets that do
    not split the rows, P >= 2**31. Source: SWFormer (arXiv 2210.07372), the encoder of its code's family.
    """
    from ops.pillar_encoder import check_layer

    check_layer("pillar_net", features, offsets, w1, b1)
    H, C = w1.shape[1], w2.shape[-1]
    checks.check_same_device("pillar_net", features, w2, wp, b2)
    if b1.dim() != 1 or w2.shape != (H, C) or wp.shape != (H, C) or b2.shape != (C,):
        raise ValueError(
            f"pillar_net: for {H} hidden channels needs b1 [{H}], w2 and wp [{H}, C] and b2 [C], got "
            f"{tuple(b1.shape)}, {tuple(w2.shape)}, {tuple(wp.shape)} and {tuple(b2.shape)}"
        )
    if any(t.dtype != features.dtype for t in (w2, wp, b2)):
        raise ValueError("pillar_net: all weights must have the features' dtype")
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (features, w1, b1, w2, wp, b2))
    return _pillar_net(features, offsets, w1, b1, w2, wp, b2, keep)[0]


def _kept(found: Outputs, keep: bool) -> Outputs:
    out, pooled, first, second = found
    return (out, pooled, first, second) if keep else (out, pooled, first.new_empty(0, 0), first.new_empty(0, 0))


@operator("drive_ops::pillar_net")
def _pillar_net(
    features: Tensor, offsets: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, wp: Tensor, b2: Tensor, keep: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    checks.check_offsets("pillar_net", offsets, features.shape[0])
    return _kept(reference.pillar_net(features, offsets, w1, b1, w2, wp, b2), keep)


@_pillar_net.register_kernel("cpu")
def _(
    features: Tensor, offsets: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, wp: Tensor, b2: Tensor, keep: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    checks.check_offsets("pillar_net", offsets, features.shape[0])
    if features.dtype == torch.float64:
        return _kept(reference.pillar_net(features, offsets, w1, b1, w2, wp, b2), keep)
    given = arrays(features, offsets, *_by_four(w1, b1, w2))
    found = tensors(cpu_net.pillar_net(*given, keep=keep, threads=torch.get_num_threads()))
    z, pooled, first, second = found[0], *(t[:, : w1.shape[1]].contiguous() for t in found[1:3]), found[3]
    own = torch.addmm(b2, pooled, wp)
    if bool(own.isfinite().all()):
        out = z.add_(own).relu_()
        return out, pooled, first, torch.where(out > 0, second, -1) if keep else second
    # Numbers that are not finite, or too large for the fast kernel's sums: somewhere a pillar was left out.
    return _kept(reference.pillar_net(features, offsets, w1, b1, w2, wp, b2), keep)


def _by_four(w1: Tensor, b1: Tensor, w2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden channels that are always 0 make their number divisible by 4."""
    more = -w1.shape[1] % 4
    return (F.pad(w1, (0, more)), F.pad(b1, (0, more)), F.pad(w2, (0, 0, 0, more))) if more else (w1, b1, w2)


@_pillar_net.register_fake
def _(
    features: Tensor, offsets: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, wp: Tensor, b2: Tensor, keep: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    V, H, C = offsets.shape[0] - 1, w1.shape[1], w2.shape[1]
    first, second = (features.new_empty((V, n) if keep else (0, 0), dtype=torch.int32) for n in (H, C))
    return features.new_empty(V, C), features.new_empty(V, H), first, second


@operator("drive_ops::pillar_net_backward")
def _pillar_net_backward(
    grad: Tensor,
    pooled: Tensor,
    first: Tensor,
    second: Tensor,
    features: Tensor,
    offsets: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    wp: Tensor,
    to_features: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return _reference_backward(grad, pooled, first, second, features, offsets, w1, b1, w2, wp, to_features)


def _reference_backward(
    grad: Tensor,
    pooled: Tensor,
    first: Tensor,
    second: Tensor,
    features: Tensor,
    offsets: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    wp: Tensor,
    to_features: bool,
) -> Gradients:
    d_x, *rest = reference.pillar_net_backward(grad, pooled, first, second, features, offsets, w1, b1, w2, wp)
    return (d_x if to_features else d_x[:0].clone(), *rest)  # type: ignore[return-value]


@_pillar_net_backward.register_kernel("cpu")
def _(
    grad: Tensor,
    pooled: Tensor,
    first: Tensor,
    second: Tensor,
    features: Tensor,
    offsets: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    wp: Tensor,
    to_features: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    if grad.dtype == torch.float64:
        return _reference_backward(grad, pooled, first, second, features, offsets, w1, b1, w2, wp, to_features)
    passed = torch.where(second >= 0, grad, 0)
    H, d_pooled = w1.shape[1], passed @ wp.t()
    more = -H % 4
    padded = F.pad(d_pooled, (0, more)), F.pad(first, (0, more), value=-1)
    given = arrays(passed, *padded, second, features, offsets, *_by_four(w1, b1, w2))
    d_x, d_w1, d_b1, d_w2 = tensors(
        cpu_net.pillar_net_backward(*given, to_x=to_features, threads=torch.get_num_threads())
    )
    cut = d_w1[:, :H].contiguous(), d_b1[:H].clone(), d_w2[:H].contiguous()
    return d_x, *cut, pooled.t() @ passed, passed.sum(0)


@_pillar_net_backward.register_fake
def _(
    grad: Tensor,
    pooled: Tensor,
    first: Tensor,
    second: Tensor,
    features: Tensor,
    offsets: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    wp: Tensor,
    to_features: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    d_x = features.new_empty(features.shape[0] if to_features else 0, features.shape[1])
    return (
        d_x,
        torch.empty_like(w1),
        torch.empty_like(b1),
        torch.empty_like(w2),
        torch.empty_like(wp),
        b1.new_empty(w2.shape[1]),
    )


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    features, offsets, w1, b1, w2, wp, _, ctx.keep = inputs
    _, pooled, first, second = output
    ctx.save_for_backward(pooled, first, second, features, offsets, w1, b1, w2, wp)
    ctx.mark_non_differentiable(pooled, first, second)


def _backward(ctx, grad, *_):  # type: ignore[no-untyped-def]
    if not ctx.keep:
        raise RuntimeError("pillar_net: the rows of the maxima were not kept (keep=False), so there is no gradient")
    wants_x = ctx.needs_input_grad[0]
    d_x, d_w1, d_b1, d_w2, d_wp, d_b2 = _pillar_net_backward(grad, *ctx.saved_tensors, wants_x)
    return d_x if wants_x else None, None, d_w1, d_b1, d_w2, d_wp, d_b2, None


_pillar_net.register_autograd(_backward, setup_context=_save)
