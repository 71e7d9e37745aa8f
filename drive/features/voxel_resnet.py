"""The sparse 3D encoder of CenterPoint-Voxel: residual submanifold stages between strided convolutions, to a map.

Sizes as in the published code (OpenPCDet ``VoxelResBackBone8x``, CenterPoint ``SpMiddleResNetFHD``): 16-32-64-128
channels, two residual blocks a stage, stride 8 in all, the height folded into the channels.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drive.features.norm import RowNorm
from ops.sparse_conv import Rulebook, sparse_conv, strided_rules, submanifold_rules

STRIDE = 8
"""Of the map, in cells of the input grid."""


@dataclass(frozen=True)
class VoxelResNetConfig:
    """Sizes of the encoder.

    channels: of the four stages. blocks: residual blocks a stage. out_channels: a layer of height of the map.
    implementation: "ops", this project's operator, on any device; "spconv" where that wheel is installed: its CUDA
    wheel trains and detects on a GPU, its CPU wheel only detects. Both read the same weights.
    """

    channels: tuple[int, int, int, int] = (16, 32, 64, 128)
    blocks: int = 2
    out_channels: int = 128
    implementation: Literal["ops", "spconv"] = "ops"


@dataclass(frozen=True)
class Step:
    """Where a convolution stands: layers of one name share its rules. Kernel, stride and padding are (z, y, x)."""

    name: str
    strided: bool
    kernel: tuple[int, int, int] = (3, 3, 3)
    stride: tuple[int, int, int] = (1, 1, 1)
    padding: tuple[int, int, int] = (1, 1, 1)


# The published paddings: 41 layers of height become 21, 11, 5 and 2.
DOWN = (
    Step("down2", True, stride=(2, 2, 2)),
    Step("down3", True, stride=(2, 2, 2)),
    Step("down4", True, stride=(2, 2, 2), padding=(0, 1, 1)),
)
TOP = Step("top", True, (3, 1, 1), (2, 1, 1), (0, 0, 0))


class Plan(Protocol):
    """The convolutions of one batch: makes each step's rules where they are first needed."""

    coords: Tensor  # [V, 4] (batch, z, y, x) of the rows that the last step returned
    shape: tuple[int, int, int]

    def convolve(self, x: Tensor, weight: Tensor, step: Step) -> Tensor:
        """Rows [V, C] at the current voxels -> [U, D]; a strided step moves to its output's voxels."""


@dataclass
class OpsPlan:
    """Rulebooks of this project's operator."""

    coords: Tensor
    shape: tuple[int, int, int]
    batch_size: int
    rules: dict[str, Rulebook] = field(default_factory=dict)

    def convolve(self, x: Tensor, weight: Tensor, step: Step) -> Tensor:
        if step.name not in self.rules:
            given = self.coords, self.shape, self.batch_size, step.kernel
            made = strided_rules(*given, step.stride, step.padding) if step.strided else submanifold_rules(*given)
            self.rules[step.name] = made
            self.coords, self.shape = made.coords_out, made.shape_out
        return sparse_conv(x, weight, self.rules[step.name])


@dataclass
class SpconvPlan:
    """spconv's own rules, in spconv's own order of voxels. ModuleNotFoundError where it is not installed."""

    coords: Tensor
    shape: tuple[int, int, int]
    batch_size: int
    known: dict[str, Any] = field(default_factory=dict)

    def convolve(self, x: Tensor, weight: Tensor, step: Step) -> Tensor:
        peer = importlib.import_module("ops.sparse_conv.peer")
        kind = "strided" if step.strided else "submanifold"
        place = kind, step.name, self.coords.int(), list(self.shape), self.batch_size
        rules = peer.SpconvRules(*place, step.kernel, step.stride, step.padding, self.known)
        rows, coords, shape = peer.convolve(x, weight, rules)
        self.coords, self.shape = coords.long(), tuple(shape)
        return rows


class SparseLayer(nn.Module):
    """Convolution and norm of sparse rows."""

    def __init__(self, inputs: int, outputs: int, step: Step) -> None:
        super().__init__()
        self.step = step
        taps = step.kernel[0] * step.kernel[1] * step.kernel[2]
        self.weight = nn.Parameter(torch.empty(taps, inputs, outputs))
        self.norm = RowNorm(outputs, "batch")
        # He's bound for the neighbours that there are: about a third of the cells (Waymo, 0.1 m).
        bound = (3 * 6 / (taps * inputs)) ** 0.5 if taps > 9 else (6 / (taps * inputs)) ** 0.5
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor, plan: Plan) -> Tensor:
        return self.norm(plan.convolve(x, self.weight, self.step))


class SparseBlock(nn.Module):
    """relu(x + conv(relu(conv(x)))) on the same voxels."""

    def __init__(self, channels: int, step: Step) -> None:
        super().__init__()
        self.first, self.second = SparseLayer(channels, channels, step), SparseLayer(channels, channels, step)

    def forward(self, x: Tensor, plan: Plan) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x, plan)), plan))


class VoxelResNet(nn.Module):
    """Rows [V, C] at voxels -> map [B, out_channels * layers, ny / 8, nx / 8], channels last in memory."""

    def __init__(self, config: VoxelResNetConfig, inputs: int, shape: tuple[int, int, int]) -> None:
        """shape: (nz, ny, nx) of the grid; one layer is added above, as published. ValueError where 8 does not divide
        ny and nx, or the height is too low for three strides."""
        super().__init__()
        if shape[1] % STRIDE or shape[2] % STRIDE:
            raise ValueError(f"a grid of {shape} cells (z, y, x) does not divide by {STRIDE} in y and x")
        self.shape, self.spconv = (shape[0] + 1, shape[1], shape[2]), config.implementation == "spconv"
        layers = self.shape[0]
        for step in (*DOWN, TOP):
            layers = (layers + 2 * step.padding[0] - step.kernel[0]) // step.stride[0] + 1
        if layers < 1:
            raise ValueError(f"a grid of {shape[0]} layers is too low for the encoder's strides")
        same = [Step(f"same{stage}", False) for stage in range(1, 5)]
        widths = config.channels
        self.enter = SparseLayer(inputs, widths[0], same[0])
        self.downs = nn.ModuleList(SparseLayer(widths[i], widths[i + 1], DOWN[i]) for i in range(3))
        self.stages = nn.ModuleList(
            nn.ModuleList(SparseBlock(width, step) for _ in range(config.blocks))
            for width, step in zip(widths, same, strict=True)
        )
        self.top = SparseLayer(widths[3], config.out_channels, TOP)
        self.out_channels = config.out_channels * layers

    def forward(self, x: Tensor, coords: Tensor, batch_size: int) -> Tensor:
        """x [V, C] at coords int64 [V, 4] (batch, z, y, x), sorted by linear key."""
        plan: Plan = (SpconvPlan if self.spconv else OpsPlan)(coords, self.shape, batch_size)
        x = F.relu(self.enter(x, plan))
        for stage, blocks in enumerate(self.stages):
            if stage:
                x = F.relu(self.downs[stage - 1](x, plan))
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, plan)
        x = F.relu(self.top(x, plan))
        (nz, ny, nx), (batch, z, row, column) = plan.shape, plan.coords.unbind(1)
        flat = x.new_zeros(batch_size * ny * nx * nz, x.shape[1])
        flat = flat.index_copy(0, ((batch * ny + row) * nx + column) * nz + z, x)
        return flat.view(batch_size, ny, nx, nz * x.shape[1]).permute(0, 3, 1, 2)
