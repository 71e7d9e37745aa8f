"""Intersection over union of rotated boxes, from above and in 3D, over all pairs or pair by pair, and its gradient.

Boxes are rows x y z length width height yaw ... (further columns are ignored). All arithmetic is float64 in the frame
of one box, so float32 boxes far from the origin lose nothing: against an exact clipper the error is 1e-14 in float64,
and that of rounding the result, 6e-8, in float32. A box without size, with a NaN or an infinity, or with a number
beyond 1e9 has IoU 0 with all. Where the common area is zero its gradient is zero, also where boxes just touch.
"""

import torch
from torch import Tensor

from ops import checks, kernels
from ops.arrays import array, arrays, tensors
from ops.operator import operator
from ops.rotated_iou import cpu, cuda, hull, reference


def rotated_iou_bev(a: Tensor, b: Tensor) -> Tensor:
    """IoU from above of every box of `a` [N, >=7] with every box of `b` [M, >=7]: [N, M]. No gradient."""
    return _all_pairs("rotated_iou_bev", a, b, False)


def rotated_iou_3d(a: Tensor, b: Tensor) -> Tensor:
    """IoU in 3D of every box of `a` [N, >=7] with every box of `b` [M, >=7]: [N, M]. No gradient."""
    return _all_pairs("rotated_iou_3d", a, b, True)


def rotated_iou_bev_paired(a: Tensor, b: Tensor) -> Tensor:
    """IoU from above of `a` [N, >=7] and `b` [N, >=7] row by row: [N]. Differentiable in both."""
    return _bev_terms("rotated_iou_bev_paired", a, b)[0]


def rotated_iou_3d_paired(a: Tensor, b: Tensor) -> Tensor:
    """IoU in 3D of `a` [N, >=7] and `b` [N, >=7] row by row: [N]. Differentiable in both."""
    overlap, union, _ = _volumes("rotated_iou_3d_paired", a, b)
    return _ratio(overlap, union)


def rotated_giou_3d_paired(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU in 3D, row by row: [N] in (-1, 1]. Differentiable, also where the boxes do not touch.

    IoU - (hull - union) / hull (Rezatofighi et al., CVPR 2019), where the hull is the smallest box that holds both
    and is aligned with `b`'s yaw: an upper bound of the convex hull with a simple gradient.
    """
    overlap, union, hull = _volumes("rotated_giou_3d_paired", a, b)
    return _ratio(overlap, union) - _ratio(hull - union, hull)


def convex_giou_3d_paired(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU in 3D with the convex hull, row by row: [N] in [-1, 1]. No gradient.

    IoU - (C - U) / C, where C is the area of the convex hull of both boxes from above times their joint height: what
    AB3DMOT and SimpleTrack match by. Listed pairs: `convex_giou_3d_paired(a[i], b[j])`. -1 for a box without size.
    """
    _check("convex_giou_3d_paired", a, b)
    checks.check_rows("convex_giou_3d_paired", "b", b, a.shape[0])
    return _convex_giou(a.detach(), b.detach())


def iou3d_loss(a: Tensor, b: Tensor, *, generalised: bool = False) -> Tensor:
    """1 - IoU (or 1 - generalised IoU) of `a` [N, >=7] (predicted) and `b` [N, >=7] (labels), row by row: [N]."""
    return 1.0 - (rotated_giou_3d_paired(a, b) if generalised else rotated_iou_3d_paired(a, b))


def _check(op: str, a: Tensor, b: Tensor) -> None:
    checks.check_boxes(op, "a", a)
    checks.check_boxes(op, "b", b)
    checks.check_same_device(op, a, b)
    if a.dtype != b.dtype:
        raise ValueError(f"{op}: a is {a.dtype} and b is {b.dtype}")


def _all_pairs(op: str, a: Tensor, b: Tensor, three_d: bool) -> Tensor:
    _check(op, a, b)
    return _iou_matrix(a.detach(), b.detach(), three_d)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / torch.where(whole > 0, whole, torch.ones_like(whole)), torch.zeros_like(whole))


def _bev_terms(op: str, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(IoU from above, overlap area), each [N]."""
    _check(op, a, b)
    checks.check_rows(op, "b", b, a.shape[0])
    rectangle = [0, 1, 3, 4, 6]
    overlap = _paired_overlap(a[:, rectangle], b[:, rectangle])[0]
    return _ratio(overlap, a[:, 3] * a[:, 4] + b[:, 3] * b[:, 4] - overlap), overlap


def _volumes(op: str, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(overlap, union, box around both aligned with b), each [N]."""
    _, area = _bev_terms(op, a, b)
    top_a, top_b = a[:, 2] + a[:, 5] / 2, b[:, 2] + b[:, 5] / 2
    bottom_a, bottom_b = a[:, 2] - a[:, 5] / 2, b[:, 2] - b[:, 5] / 2
    overlap = area * (torch.minimum(top_a, top_b) - torch.maximum(bottom_a, bottom_b)).clamp(min=0)
    union = a[:, 3:6].prod(1) + b[:, 3:6].prod(1) - overlap
    turn = a[:, 6] - b[:, 6]
    cos, sin = turn.cos().abs(), turn.sin().abs()
    dx, dy = a[:, 0] - b[:, 0], a[:, 1] - b[:, 1]
    ahead, aside = b[:, 6].cos() * dx + b[:, 6].sin() * dy, b[:, 6].cos() * dy - b[:, 6].sin() * dx
    reach_l, reach_w = (a[:, 3] * cos + a[:, 4] * sin) / 2, (a[:, 3] * sin + a[:, 4] * cos) / 2
    hull_l = torch.maximum(ahead + reach_l, b[:, 3] / 2) - torch.minimum(ahead - reach_l, -b[:, 3] / 2)
    hull_w = torch.maximum(aside + reach_w, b[:, 4] / 2) - torch.minimum(aside - reach_w, -b[:, 4] / 2)
    return overlap, union, hull_l * hull_w * (torch.maximum(top_a, top_b) - torch.minimum(bottom_a, bottom_b))


@operator("drive_ops::rotated_iou_matrix")
def _iou_matrix(a: Tensor, b: Tensor, three_d: bool) -> Tensor:
    return reference.iou_matrix(a, b, three_d)


@operator("drive_ops::paired_overlap")
def _paired_overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return reference.paired_overlap(a, b)


@operator("drive_ops::convex_giou")
def _convex_giou(a: Tensor, b: Tensor) -> Tensor:
    return reference.convex_giou(a, b)


@_convex_giou.register_kernel("cpu")
def _(a: Tensor, b: Tensor) -> Tensor:
    out = a.new_empty(a.shape[0])
    hull.convex_giou(array(a), array(b), out.numpy(), threads=torch.get_num_threads())
    return out


@_convex_giou.register_fake
def _(a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty(a.shape[0])


@_iou_matrix.register_kernel("cpu")
def _(a: Tensor, b: Tensor, three_d: bool) -> Tensor:
    out = a.new_empty(a.shape[0], b.shape[0])
    cpu.iou_matrix(array(a), array(b), out.numpy(), three_d=three_d, threads=torch.get_num_threads())
    return out


@_paired_overlap.register_kernel("cpu")
def _(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    found = tensors(cpu.paired_overlap(*arrays(a.double(), b.double()), threads=torch.get_num_threads()))
    area, grad_a, grad_b = (t.to(a.dtype) for t in found)
    return area, grad_a, grad_b


@_iou_matrix.register_fake
def _(a: Tensor, b: Tensor, three_d: bool) -> Tensor:
    return a.new_empty(a.shape[0], b.shape[0])


@_paired_overlap.register_fake
def _(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return a.new_empty(a.shape[0]), a.new_empty(a.shape), a.new_empty(a.shape)


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(output[1], output[2])
    ctx.mark_non_differentiable(output[1], output[2])


def _backward(ctx, grad, _, __):  # type: ignore[no-untyped-def]
    grad_a, grad_b = ctx.saved_tensors
    return grad[:, None] * grad_a, grad[:, None] * grad_b


_paired_overlap.register_autograd(_backward, setup_context=_save)


def _iou_matrix_cuda(a: Tensor, b: Tensor, three_d: bool) -> Tensor:
    return cuda.iou_matrix(a[:, :7].double().contiguous(), b[:, :7].double().contiguous(), three_d).to(a.dtype)


def _paired_overlap_cuda(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    found = cuda.paired_overlap(a.double().contiguous(), b.double().contiguous())
    area, grad_a, grad_b = (t.to(a.dtype) for t in found)
    return area, grad_a, grad_b


def _convex_giou_cuda(a: Tensor, b: Tensor) -> Tensor:
    return cuda.convex_giou(a[:, :7].double(), b[:, :7].double()).to(a.dtype)


def _register_cuda() -> None:
    _convex_giou.register_kernel("cuda")(_convex_giou_cuda)
    _iou_matrix.register_kernel("cuda")(_iou_matrix_cuda)
    _paired_overlap.register_kernel("cuda")(_paired_overlap_cuda)


kernels.declare("rotated_iou", "cpu", "numba", "float64 inside, neighbours from a grid")
kernels.declare_unproven_cuda("rotated_iou", _register_cuda)
