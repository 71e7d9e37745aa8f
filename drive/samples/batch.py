"""Several samples as one ragged batch of tensors: values and offsets, never padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from drive.errors import UserError
from drive.samples.augment.transform import augmented_from_recorded
from drive.samples.images import ImageBatch, collate_images
from drive.samples.sample import POINT_COLUMNS, FrameSample
from ops.camera_sample import Cameras


@dataclass(frozen=True, eq=False)
class FrameBatch:
    """B frames; frame b owns the rows `point_offsets[b]:point_offsets[b + 1]` (boxes likewise).

    Attributes:
        points: float32 [P, 6], see `drive.samples.sample.POINT_COLUMNS`, each in its own key frame's ego frame;
            [P, 10] with radars, see `drive.samples.sample.RADAR_POINT_COLUMNS`.
        point_offsets: int64 [B + 1].
        boxes: float32 [N, 9]: x y z length width height yaw vx vy.
        labels: int64 [N].
        velocity_valid: bool [N].
        num_points: int64 [N], points inside each box.
        box_offsets: int64 [B + 1].
        recorded_from_augmented: float64 [B, 4, 4]: undoes each frame's geometric augmentation (InverseAug, Li et al.
            2022, arXiv 2203.08195); the identity without.
        frame_ids: B names.
        recorded_xyz: float32 [P, 3] or None, see `FrameSample.recorded_xyz`.
        images: What the cameras saw, or None.
    """

    points: Tensor
    point_offsets: Tensor
    boxes: Tensor
    labels: Tensor
    velocity_valid: Tensor
    num_points: Tensor
    box_offsets: Tensor
    recorded_from_augmented: Tensor
    frame_ids: list[str]
    recorded_xyz: Tensor | None = None
    images: ImageBatch | None = None

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
        """Every tensor by its field's name, those of the images as "images.pixels" and so on.

        This is what is saved when a batch is kept for inspection; `of_tensors` reads it.
        """
        out = {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}
        if self.images is not None:
            out |= {f"images.{name}": tensor for name, tensor in self.images.tensors().items()}
        return out

    @staticmethod
    def of_tensors(
        tensors: Mapping[str, Tensor],
        frame_ids: list[str],
        names: list[tuple[str, ...]] | None = None,
        missing: list[tuple[str, ...]] | None = None,
    ) -> FrameBatch:
        """A batch of the tensors that `tensors` gave; cameras' names and missing lines are empty where not given."""
        inside = {n.removeprefix("images."): t for n, t in tensors.items() if n.startswith("images.")}
        images = None
        if inside:
            none: list[tuple[str, ...]] = [()] * len(frame_ids)
            cameras = Cameras(inside["table"], inside["offsets"])
            pixels = inside["pixels"].contiguous(memory_format=torch.channels_last)  # as it is, but after a file
            images = ImageBatch(pixels, inside["present"], cameras, names or none, missing or none)
        own = {n: t for n, t in tensors.items() if not n.startswith("images.")}
        return FrameBatch(**own, frame_ids=frame_ids, images=images)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> FrameBatch:
        """The same batch on another device."""
        return self._with({n: tensor.to(device, non_blocking=non_blocking) for n, tensor in self.tensors().items()})

    def pin_memory(self) -> FrameBatch:
        """The same batch in page-locked memory, so that a copy to a GPU can overlap with work."""
        return self._with({n: tensor.pin_memory() for n, tensor in self.tensors().items()})

    def _with(self, tensors: Mapping[str, Tensor]) -> FrameBatch:
        images = self.images
        names, missing = (None, None) if images is None else (images.names, images.missing)
        return FrameBatch.of_tensors(tensors, self.frame_ids, names, missing)


def _rows_of(offsets: Tensor, total: int) -> Tensor:
    counts = offsets[1:] - offsets[:-1]
    rows = torch.arange(len(counts), device=offsets.device)
    return torch.repeat_interleave(rows, counts, output_size=total)


def _width(samples: Sequence[FrameSample]) -> int:
    widths = {s.points.shape[1] for s in samples}
    if len(widths) > 1:
        what = "some samples have radar columns, some have none"
        raise UserError("a batch", what, "make all of them with the same data.radars")
    return widths.pop() if widths else len(POINT_COLUMNS)


def collate(samples: Sequence[FrameSample]) -> FrameBatch:
    """Join samples into a batch on the CPU. Works for no samples, empty frames and frames without boxes.

    Images and recorded places are in the batch where any of its samples has them; a sample without them has no camera
    and points that no camera sees.
    """

    def joined(arrays: list[np.ndarray], empty: np.ndarray) -> Tensor:
        # The list is never empty, so the result's type and width are right even without samples.
        return torch.from_numpy(np.concatenate([empty, *arrays]))

    def offsets(counts: list[int]) -> Tensor:
        return torch.from_numpy(np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64))

    seeing = any(s.images is not None for s in samples)
    return FrameBatch(
        points=joined([s.points for s in samples], np.zeros((0, _width(samples)), np.float32)),
        point_offsets=offsets([len(s.points) for s in samples]),
        boxes=joined([s.boxes for s in samples], np.zeros((0, 9), np.float32)),
        labels=joined([s.labels for s in samples], np.zeros(0, np.int64)),
        velocity_valid=joined([s.velocity_valid for s in samples], np.zeros(0, np.bool_)),
        num_points=joined([s.num_points for s in samples], np.zeros(0, np.int64)),
        box_offsets=offsets([len(s.boxes) for s in samples]),
        recorded_from_augmented=joined(
            [np.linalg.inv(augmented_from_recorded(s.augmentations))[None] for s in samples], np.zeros((0, 4, 4))
        ),
        frame_ids=[s.frame_id for s in samples],
        recorded_xyz=joined([_recorded(s) for s in samples], np.zeros((0, 3), np.float32)) if seeing else None,
        images=collate_images([s.images for s in samples]) if seeing else None,
    )


def _recorded(sample: FrameSample) -> np.ndarray:
    if sample.recorded_xyz is not None:
        return sample.recorded_xyz
    return np.full((len(sample.points), 3), np.nan, np.float32)
