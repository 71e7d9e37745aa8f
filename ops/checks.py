"""Checks of an operator's arguments. A wrong one raises ValueError that begins with the operator's name."""

import torch
from torch import Tensor

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def check_float(op: str, name: str, tensor: Tensor, dim: int, *, full_only: bool = False) -> None:
    """`tensor` must be floating point with `dim` axes (float32 or float64 where `full_only`)."""
    allowed = FLOATS[:2] if full_only else FLOATS
    if tensor.dtype not in allowed:
        raise ValueError(f"{op}: {name} must be one of {[str(d) for d in allowed]}, got {tensor.dtype}")
    if tensor.dim() != dim:
        raise ValueError(f"{op}: {name} must have {dim} axes, got shape {tuple(tensor.shape)}")


def check_index(op: str, name: str, tensor: Tensor, dim: int = 1) -> None:
    """`tensor` must be int64 with `dim` axes."""
    if tensor.dtype != torch.int64:
        raise ValueError(f"{op}: {name} must be int64, got {tensor.dtype}")
    if tensor.dim() != dim:
        raise ValueError(f"{op}: {name} must have {dim} axes, got shape {tuple(tensor.shape)}")


def check_same_device(op: str, *tensors: Tensor) -> None:
    """All tensors on one device."""
    devices = {tensor.device for tensor in tensors}
    if len(devices) > 1:
        raise ValueError(f"{op}: arguments lie on different devices: {sorted(str(d) for d in devices)}")


def check_rows(op: str, name: str, tensor: Tensor, rows: int) -> None:
    """First axis of `tensor` has `rows` entries."""
    if tensor.shape[0] != rows:
        raise ValueError(f"{op}: {name} must have {rows} rows, got shape {tuple(tensor.shape)}")


def check_boxes(op: str, name: str, boxes: Tensor) -> None:
    """Boxes [N, >=7]: x y z length width height yaw ..."""
    check_float(op, name, boxes, 2, full_only=True)
    if boxes.shape[1] < 7:
        raise ValueError(f"{op}: {name} needs at least 7 columns (x y z length width height yaw), got {boxes.shape[1]}")


def check_offsets(op: str, offsets: Tensor, rows: int) -> None:
    """`offsets` starts at 0, never falls and ends at `rows`. Reads the values: call it inside a kernel only."""
    if offsets.numel() < 1:
        raise ValueError(f"{op}: offsets needs at least one entry, got none")
    if int(offsets[0]) != 0 or int(offsets[-1]) != rows or bool((offsets[1:] < offsets[:-1]).any()):
        raise ValueError(f"{op}: offsets must start at 0, never fall and end at the {rows} rows that they split")
