"""The centre head: heat, box, velocity and IoU of every voxel, for one group of classes (spec 1.8)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drive.boxes.coder import LOG_SIZE, OFFSET, REGRESSION_CHANNELS
from drive.features.norm import RowNorm

# Heat starts at 0.1 everywhere, or the first steps blow up (spec 1.13: -2.19 or lower).
HEAT_BIAS = -math.log(9)


@dataclass(frozen=True)
class HeadGroup:
    """Classes that share a head, a diffusion kernel and a box branch.

    kernel: cells k of the k x k voxel diffusion: 9 vehicle, 5 pedestrian and cyclist at 0.32 m [inferred].
    heat_scale_m: one a class, the heat's decay length: 1.0, 0.22, 0.39 m for vehicle, pedestrian, cyclist [inferred].
    size_m: l w h, height_m: z of the centre above the ego frame's z = 0, where the regression starts [inferred].
    nms_iou: overlap seen from above from which the weaker of two boxes of a class goes (0.7, 0.6, 0.55: code DSVT).
    iou_power: a in score^(1 - a) * iou^a (0.68, 0.71, 0.65: code DSVT, VoxelNeXt); 0 leaves the score.
    """

    classes: tuple[str, ...]
    kernel: int
    heat_scale_m: tuple[float, ...]
    size_m: tuple[float, float, float]
    height_m: float
    nms_iou: float
    iou_power: float = 0.0

    def __post_init__(self) -> None:
        if len(self.heat_scale_m) != len(self.classes):
            raise ValueError(f"group {self.classes} has {len(self.heat_scale_m)} heat scales")
        if self.kernel % 2 == 0:
            raise ValueError(f"group {self.classes}: the diffusion kernel must be odd, not {self.kernel}")


def class_indices(classes: tuple[str, ...], groups: tuple[HeadGroup, ...]) -> tuple[tuple[int, ...], ...]:
    """Labels of each group's classes. Raises ValueError unless every class is in exactly one group."""
    grouped = [name for group in groups for name in group.classes]
    if sorted(grouped) != sorted(classes):
        raise ValueError(f"head groups hold {grouped}, the classes are {list(classes)}: each must be in one group")
    return tuple(tuple(classes.index(name) for name in group.classes) for group in groups)


class CentreHead(nn.Module):
    """Rows [T, C] -> heat logits [T, K] and regression [T, REGRESSION_CHANNELS] (columns: drive.boxes.coder).

    Two branches, each Linear-norm-ReLU-Linear. The box branch starts at the group's size and height.
    """

    def __init__(
        self, channels: int, hidden: int, group: HeadGroup, norm: Literal["batch", "layer"], centre_z: float
    ) -> None:
        super().__init__()
        self.heat_in, self.heat_norm = nn.Linear(channels, hidden, bias=False), RowNorm(hidden, norm)
        self.box_in, self.box_norm = nn.Linear(channels, hidden, bias=False), RowNorm(hidden, norm)
        self.heat_out = nn.Linear(hidden, len(group.classes))
        self.box_out = nn.Linear(hidden, REGRESSION_CHANNELS)
        nn.init.constant_(self.heat_out.bias, HEAT_BIAS)
        with torch.no_grad():
            self.box_out.bias.zero_()
            self.box_out.bias[OFFSET.stop - 1] = group.height_m - centre_z
            self.box_out.bias[LOG_SIZE] = torch.tensor(group.size_m).log()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        heat = self.heat_out(F.relu(self.heat_norm(self.heat_in(x))))
        return heat, self.box_out(F.relu(self.box_norm(self.box_in(x))))
