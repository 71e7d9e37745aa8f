"""Non-maximum suppression of rotated boxes seen from above, all groups (classes of all frames) in one call.

Overlaps are computed in float64 whatever the boxes' dtype, so the kept set is that of a float64 polygon clipper.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ops import checks, kernels
from ops.arrays import arrays, tensors
from ops.operator import operator
from ops.rotated_nms import cpu, cuda, reference


def rotated_nms(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float | Sequence[float]) -> Tensor:
    """Indices of the boxes to keep, best score first (equal scores: lower index first): int64 [kept].

    boxes [N, >=7] (box columns), scores [N], groups int64 [N]: only boxes of the same group meet, and a box goes where
    its IoU from above with a better kept one is greater than the threshold. `iou_threshold` is one number for all
    groups, or one a group: then groups lie in 0..len - 1. A box without size, with a NaN or an infinity, or beyond
    1e9 m overlaps nothing: it stays. ValueError: shapes, dtypes, NaN scores, groups without a threshold.
    """
    checks.check_boxes("rotated_nms", "boxes", boxes)
    checks.check_float("rotated_nms", "scores", scores, 1, full_only=True)
    checks.check_index("rotated_nms", "groups", groups)
    checks.check_same_device("rotated_nms", boxes, scores, groups)
    checks.check_rows("rotated_nms", "scores", scores, boxes.shape[0])
    checks.check_rows("rotated_nms", "groups", groups, boxes.shape[0])
    thresholds = [float(iou_threshold)] if isinstance(iou_threshold, int | float) else [float(t) for t in iou_threshold]
    return _rotated_nms(boxes.detach(), scores.detach(), groups, thresholds, isinstance(iou_threshold, int | float))


def _group_thresholds(groups: Tensor, scores: Tensor, thresholds: Sequence[float], same: bool) -> tuple[Tensor, Tensor]:
    """Groups numbered from 0 and one threshold for each (float64)."""
    if bool(scores.isnan().any()):
        raise ValueError("rotated_nms: a score is NaN")
    if same:
        names, groups = torch.unique(groups, return_inverse=True)
        return groups, torch.full((names.numel(),), thresholds[0], dtype=torch.float64, device=groups.device)
    if groups.numel() and (int(groups.min()) < 0 or int(groups.max()) >= len(thresholds)):
        raise ValueError(f"rotated_nms: groups must lie in 0..{len(thresholds) - 1}, one threshold each")
    return groups, torch.tensor(thresholds, dtype=torch.float64, device=groups.device)


@operator("drive_ops::rotated_nms")
def _rotated_nms(boxes: Tensor, scores: Tensor, groups: Tensor, thresholds: Sequence[float], same: bool) -> Tensor:
    return reference.rotated_nms(boxes, scores, *_group_thresholds(groups, scores, thresholds, same))


@_rotated_nms.register_kernel("cpu")
def _(boxes: Tensor, scores: Tensor, groups: Tensor, thresholds: Sequence[float], same: bool) -> Tensor:
    groups, limits = _group_thresholds(groups, scores, thresholds, same)
    given = arrays(boxes, scores, groups, limits)
    return tensors(cpu.rotated_nms(*given, threads=torch.get_num_threads()))


@_rotated_nms.register_fake
def _(boxes: Tensor, scores: Tensor, groups: Tensor, thresholds: Sequence[float], same: bool) -> Tensor:
    return groups.new_empty(torch.library.get_ctx().new_dynamic_size())


def _rotated_nms_cuda(boxes: Tensor, scores: Tensor, groups: Tensor, thresholds: Sequence[float], same: bool) -> Tensor:
    groups, limits = _group_thresholds(groups, scores, thresholds, same)
    return cuda.rotated_nms(boxes[:, :7].double().contiguous(), scores, groups, limits)


def _register_cuda() -> None:
    _rotated_nms.register_kernel("cuda")(_rotated_nms_cuda)


kernels.declare("rotated_nms", "cpu", "numba", "float64 inside, neighbours from a grid")
kernels.declare_unproven_cuda("rotated_nms", _register_cuda)
