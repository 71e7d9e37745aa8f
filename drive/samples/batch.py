"""Several samples as one ragged batch of tensors: values and offsets, never padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from drive.samples.sample import POINT_COLUMNS, FrameSample


@dataclass(frozen=True, eq=False)
class FrameBatch:
    """B frames; frame b owns the rows `point_offsets[b]:point_offsets[b + 1]` (boxes likewise).

    Attributes:
        points: float32 [P, 6], see `drive.samples.sample.POINT_COLUMNS`, each in its own key frame's ego frame.
        point_offsets: int64 [B + 1].
        boxes: float32 [N, 9]: x y z length width height yaw vx vy.
        labels: int64 [N].
        velocity_valid: bool [N].
        num_points: int64 [N], points inside each box.
        box_offsets: int64 [B + 1].
        frame_ids: B names.
    """

    points: Tensor
    point_offsets: Tensor
    boxes: Tensor
    labels: Tensor
    velocity_valid: Tensor
    num_points: Tensor
    box_offsets: Tensor
    frame_ids: list[str]

    @property
    def batch_size(self) -> int:
        return len(self.frame_ids)

    @cached_property
    def point_batch(self) -> Tensor:
        """int64 [P]: the frame of each point."""
        return _rows_of(self.point_offsets, len(self.points))

    @cached_property
    def box_batch(self) -> Tensor:
        """int64 [N]: the frame of each box."""
        return _rows_of(self.box_offsets, len(self.boxes))

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by its field's name (what is saved when a batch is kept for inspection)."""
        return {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}

    def to(self, device: torch.device | str, non_blocking: bool = False) -> FrameBatch:
        """The same batch on another device."""
        moved = {name: tensor.to(device, non_blocking=non_blocking) for name, tensor in self.tensors().items()}
        return FrameBatch(**moved, frame_ids=self.frame_ids)

    def pin_memory(self) -> FrameBatch:
        """The same batch in page-locked memory, so that a copy to a GPU can overlap with work."""
        pinned = {name: tensor.pin_memory() for name, tensor in self.tensors().items()}
        return FrameBatch(**pinned, frame_ids=self.frame_ids)


def _rows_of(offsets: Tensor, total: int) -> Tensor:
    counts = offsets[1:] - offsets[:-1]
    rows = torch.arange(len(counts), device=offsets.device)
    return torch.repeat_interleave(rows, counts, output_size=total)


def collate(samples: Sequence[FrameSample]) -> FrameBatch:
    """Join samples into a batch on the CPU. Works for no samples, empty frames and frames without boxes."""

    def joined(arrays: list[np.ndarray], empty: np.ndarray) -> Tensor:
        # The list is never empty, so the result's type and width are right even without samples.
        return torch.from_numpy(np.concatenate([empty, *arrays]))

    def offsets(counts: list[int]) -> Tensor:
        return torch.from_numpy(np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64))

    return FrameBatch(
        points=joined([s.points for s in samples], np.zeros((0, len(POINT_COLUMNS)), np.float32)),
        point_offsets=offsets([len(s.points) for s in samples]),
        boxes=joined([s.boxes for s in samples], np.zeros((0, 9), np.float32)),
        labels=joined([s.labels for s in samples], np.zeros(0, np.int64)),
        velocity_valid=joined([s.velocity_valid for s in samples], np.zeros(0, np.bool_)),
        num_points=joined([s.num_points for s in samples], np.zeros(0, np.int64)),
        box_offsets=offsets([len(s.boxes) for s in samples]),
        frame_ids=[s.frame_id for s in samples],
    )
