"""Which kernel runs for which operator on which device: one table, shown by `drive doctor` and in training logs."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

OPERATORS = (
    "segment",
    "voxelize",
    "point_attention",
    "sparse_conv",
    "window_attention",
    "transformer_layer",
    "rotated_iou",
    "rotated_nms",
    "points_in_boxes",
    "assignment",
    "kalman",
    "box_collision",
    "polygon_queries",
    "dilate",
    "pillar_encoder",
    "window_partition",
    "downscale",
    "centre_targets",
    "camera_sample",
    "deformable_sample",
    "lift_pool",
)


@dataclass(frozen=True)
class KernelRow:
    """One line of the table. `kernel` is "torch reference", "numba", "C (compiled here)", "numba (no compiler)"
    and other reasons why not, or "cuda (never run on a GPU)"."""

    op: str
    device: str
    kernel: str
    reason: str


_rows: dict[tuple[str, str], KernelRow] = {}
_native: dict[str, Callable[[], tuple[str, str]]] = {}
_cuda_kernels: dict[str, Callable[[], None]] = {}


def declare(op: str, device: str, kernel: str, reason: str) -> None:
    """Called by an operator's own module: the kernel that it registered for a device, and why that one."""
    _rows[op, device] = KernelRow(op, device, kernel, reason)


def declare_native(op: str, in_use: Callable[[], tuple[str, str]]) -> None:
    """The operator's CPU kernel is C where it can be compiled here, numba elsewhere; `in_use` compiles it and answers
    (kernel, reason) each time that the table is shown.
    """
    _native[op] = in_use
    declare(op, "cpu", "numba", "float32 and half types; float64 takes the torch reference")


def declare_unproven_cuda(op: str, register: Callable[[], None]) -> None:
    """The operator has a CUDA kernel that compiles but never ran on a GPU; `register` switches it on."""
    _cuda_kernels[op] = register
    declare(op, "cuda", "torch reference", "its kernel never ran on a GPU yet: ops.enable_unproven_cuda()")


def _import_all() -> None:
    for name in OPERATORS:
        importlib.import_module(f"ops.{name}")


def kernels_in_use() -> list[KernelRow]:
    """Every operator with the kernel that runs on "cpu" and on "cuda", sorted by operator and device."""
    _import_all()
    for op, in_use in _native.items():
        declare(op, "cpu", *in_use())
    return [_rows[key] for key in sorted(_rows)]


def enable_unproven_cuda() -> list[str]:
    """Use the CUDA kernels that were compiled but never run on a GPU. Returns the operators that switched.

    Until then CUDA tensors take the torch reference. Compare first: `python -m ops check --cuda`.
    """
    _import_all()
    for op, register in _cuda_kernels.items():
        if _rows[op, "cuda"].kernel == "torch reference":
            register()
            declare(op, "cuda", "cuda (never run on a GPU)", "never ran on a GPU before; switched on by hand")
    return sorted(_cuda_kernels)
