"""Do oriented boxes, seen from above, touch: pairs, or proposals against agents over time.

Separating axes in float64 whatever the dtype. Touching counts as a collision, up to the rounding of float64 (1e-16 of
the coordinates' difference); a rectangle without size is a segment or a point. One with a NaN, an infinity, a negative
size or a number beyond 1e9 touches nothing. No gradient.
"""

import torch
from torch import Tensor

from ops import checks, kernels
from ops.arrays import array, arrays, tensors
from ops.box_collision import cpu, cuda, reference
from ops.operator import operator

NEVER = -1
"""`first_collisions` of a pair that never touches."""


def boxes_touch(a: Tensor, b: Tensor) -> Tensor:
    """Row by row: a, b [N, 5] (x y length width yaw) -> bool [N]."""
    _check("box_collision.boxes_touch", ("a", a, 2), ("b", b, 2))
    checks.check_rows("box_collision.boxes_touch", "b", b, a.shape[0])
    return _pairs(a.detach(), b.detach())


def collisions(proposals: Tensor, agents: Tensor, valid: Tensor | None = None) -> Tensor:
    """Every proposal against every agent at the same time.

    proposals [P, T, 5], agents [T, A, 5] (x y length width yaw, one frame), valid bool [T, A] (default: all)
    -> bool [P, T, A].
    """
    _check("box_collision.collisions", ("proposals", proposals, 3), ("agents", agents, 3))
    T, A = agents.shape[:2]
    if proposals.shape[1] != T:
        raise ValueError(f"box_collision.collisions: proposals have {proposals.shape[1]} times, agents {T}")
    if valid is None:
        valid = torch.ones(T, A, dtype=torch.bool, device=agents.device)
    if valid.dtype != torch.bool or valid.shape != (T, A):
        raise ValueError(f"box_collision.collisions: valid must be bool [{T}, {A}], got {valid.dtype} {valid.shape}")
    checks.check_same_device("box_collision.collisions", proposals, agents, valid)
    return _over_time(proposals.detach(), agents.detach(), valid)


def first_collisions(proposals: Tensor, agents: Tensor, valid: Tensor | None = None) -> Tensor:
    """The first time step at which a proposal touches an agent, or NEVER: int64 [P, A]; arguments as `collisions`."""
    hit = collisions(proposals, agents, valid)
    if hit.shape[1] == 0:
        return torch.full((hit.shape[0], hit.shape[2]), NEVER, device=hit.device)
    return torch.where(hit.any(1), hit.to(torch.uint8).argmax(1), NEVER)


def _check(op: str, one: tuple[str, Tensor, int], two: tuple[str, Tensor, int]) -> None:
    for name, boxes, axes in (one, two):
        checks.check_float(op, name, boxes, axes, full_only=True)
        if boxes.shape[-1] != 5:
            raise ValueError(f"{op}: {name} needs 5 columns (x y length width yaw), got {boxes.shape[-1]}")
    if one[1].dtype != two[1].dtype:
        raise ValueError(f"{op}: {one[0]} is {one[1].dtype} and {two[0]} is {two[1].dtype}")
    checks.check_same_device(op, one[1], two[1])


@operator("drive_ops::boxes_touch")
def _pairs(a: Tensor, b: Tensor) -> Tensor:
    return reference.touch(a, b)


@_pairs.register_kernel("cpu")
def _(a: Tensor, b: Tensor) -> Tensor:
    return tensors(cpu.pairs(*arrays(a, b), threads=torch.get_num_threads()))


@_pairs.register_fake
def _(a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty(a.shape[0], dtype=torch.bool)


@operator("drive_ops::box_collisions")
def _over_time(proposals: Tensor, agents: Tensor, valid: Tensor) -> Tensor:
    return reference.touch(proposals[:, :, None], agents[None]) & valid[None]


@_over_time.register_kernel("cpu")
def _(proposals: Tensor, agents: Tensor, valid: Tensor) -> Tensor:
    given = array(proposals), array(agents), array(valid)
    return tensors(cpu.over_time(*given, threads=torch.get_num_threads()))


@_over_time.register_fake
def _(proposals: Tensor, agents: Tensor, valid: Tensor) -> Tensor:
    return valid.new_empty(proposals.shape[0], *valid.shape)


def _pairs_cuda(a: Tensor, b: Tensor) -> Tensor:
    return cuda.pairs(a.double().contiguous(), b.double().contiguous())


def _over_time_cuda(proposals: Tensor, agents: Tensor, valid: Tensor) -> Tensor:
    return cuda.over_time(proposals.double().contiguous(), agents.double().contiguous(), valid)


def _register_cuda() -> None:
    _pairs.register_kernel("cuda")(_pairs_cuda)
    _over_time.register_kernel("cuda")(_over_time_cuda)


kernels.declare("box_collision", "cpu", "numba", "separating axes in float64, far pairs rejected first")
kernels.declare_unproven_cuda("box_collision", _register_cuda)
