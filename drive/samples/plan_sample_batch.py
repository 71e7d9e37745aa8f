"""Decisions of several scenes as one ragged batch of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from drive.samples.plan_sample import ACTOR_COLUMNS, LINE_COLUMNS, LINE_POINTS, PlanSample


@dataclass(frozen=True, eq=False)
class PlanBatch:
    """B decisions; decision b owns the rows `actor_offsets[b]:actor_offsets[b + 1]` of actors, lines likewise.

    Attributes:
        status: float32 [B, 8], command: int64 [B], past: float32 [B, 4, 5], route: float32 [B, 13, 2], see
            ``PlanSample``.
        actors: float32 [A, 27]; actor_offsets: int64 [B + 1].
        lines: float32 [L, LINE_POINTS, 2]; line_about: float32 [L, 7]; line_offsets: int64 [B + 1].
        raster: int16 [B, rows, columns], bits.
        future: float32 [B, T, 3]; future_valid: bool [B, T].
        frame_ids: B names.
        camera: uint8 [B, 3, H, W]; lidar: uint8 [B, 1, R, C], returns a cell. None where no sample has sensors.
        semantic: uint8 [B, rows, columns], classes; None where they are not known (in drives).
    """

    status: Tensor
    command: Tensor
    past: Tensor
    route: Tensor
    actors: Tensor
    actor_offsets: Tensor
    lines: Tensor
    line_about: Tensor
    line_offsets: Tensor
    raster: Tensor
    future: Tensor
    future_valid: Tensor
    frame_ids: list[str]
    camera: Tensor | None = None
    lidar: Tensor | None = None
    semantic: Tensor | None = None

    @property
    def batch_size(self) -> int:
        return len(self.frame_ids)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by its field's name."""
        return {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}

    def to(self, device: torch.device | str) -> PlanBatch:
        """The same batch on another device."""
        return PlanBatch(**{n: tensor.to(device) for n, tensor in self.tensors().items()}, frame_ids=self.frame_ids)


def collate_plans(samples: Sequence[PlanSample]) -> PlanBatch:
    """Join samples of one kind of features on the CPU; at least one. Those without road users or lines are welcome."""

    def offsets(counts: list[int]) -> Tensor:
        return torch.from_numpy(np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64))

    def rows(name: str, *width: int) -> Tensor:
        return torch.from_numpy(np.concatenate([getattr(s, name).reshape(-1, *width) for s in samples]))

    def stacked(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(s, name) for s in samples]))

    return PlanBatch(
        status=stacked("status"),
        command=torch.tensor([s.command for s in samples]),
        past=stacked("past"),
        route=stacked("route"),
        actors=rows("actors", len(ACTOR_COLUMNS)),
        actor_offsets=offsets([len(s.actors) for s in samples]),
        lines=rows("lines", LINE_POINTS, 2),
        line_about=rows("line_about", len(LINE_COLUMNS)),
        line_offsets=offsets([len(s.lines) for s in samples]),
        raster=stacked("raster"),
        future=stacked("future"),
        future_valid=stacked("future_valid"),
        frame_ids=[s.frame_id for s in samples],
        **_sensors(samples),
    )


def _sensors(samples: Sequence[PlanSample]) -> dict[str, Tensor]:
    """camera, lidar and semantic, those that all samples have; ValueError where only some have sensors."""
    given = [s.sensors for s in samples if s.sensors is not None]
    if not given:
        return {}
    if len(given) < len(samples):
        raise ValueError(f"{len(given)} of {len(samples)} samples have sensors: a batch has all or none")
    camera = torch.from_numpy(np.stack([sensors.camera for sensors in given])).permute(0, 3, 1, 2)
    found = {"camera": camera, "lidar": torch.from_numpy(np.stack([sensors.lidar for sensors in given]))[:, None]}
    classes = [s.semantic for s in samples if s.semantic is not None]
    if len(classes) == len(samples):
        found["semantic"] = torch.from_numpy(np.stack(classes))
    return found


def padded(rows: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Ragged rows [R, ...] as [B, M, ...] with zeros behind each decision's own, M the most of any, and bool [B, M]."""
    counts = offsets.diff()
    most = int(counts.max()) if counts.numel() else 0
    valid = torch.arange(most, device=rows.device) < counts[:, None]
    out = rows.new_zeros(len(counts), most, *rows.shape[1:])
    out[valid] = rows
    return out, valid
