"""What a detector saw at a box: the tokens that its head read, at the centre and at the middle of the four sides.

For trackers that tell objects apart by their looks. Few numbers a box: each place's C channels are taken to ``WIDTH``
by fixed signs (Achlioptas 2003), which keeps distances between tokens about as they are and needs no training. The same
detector gives the same numbers for the same scan; those of two detectors have nothing to do with each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from drive.boxes.decode import GroupOutput

WIDTH = 12
PLACES = ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (-0.5, 0.0), (0.0, -0.5))  # centre; middle of front, left, back, right
FEATURES = WIDTH * len(PLACES)


def box_features(output: GroupOutput, boxes: Tensor, frame: Tensor) -> Tensor:
    """float32 [N, FEATURES] of boxes [N, 9] found by this head in frames int64 [N] of the batch.

    The cell that a place lies in counts, without interpolation (the map is sparse: neighbours may be missing); a place
    without a voxel has zeros.
    """
    if output.features is None:
        raise ValueError("this head's answer carries no features")
    half = boxes.new_tensor(PLACES)
    cos, sin = boxes[:, 6].cos()[:, None], boxes[:, 6].sin()[:, None]
    along, across = half[None, :, 0] * boxes[:, 3:4], half[None, :, 1] * boxes[:, 4:5]
    x = boxes[:, 0:1] + cos * along - sin * across
    y = boxes[:, 1:2] + sin * along + cos * across
    grid = output.grid
    _, ny, nx = grid.shape
    column = torch.floor((x - grid.range[0]) / grid.cell_size[0]).to(torch.int64)
    row = torch.floor((y - grid.range[1]) / grid.cell_size[1]).to(torch.int64)
    inside = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
    zero = torch.zeros_like(row)
    places = torch.stack([frame[:, None].expand_as(row), zero, row, column], dim=-1).view(-1, 4)
    keys, wanted = grid.key(output.coords), grid.key(places).where(inside.view(-1), -1)
    at = torch.searchsorted(keys, wanted).clamp(max=max(len(keys) - 1, 0))
    tokens = output.features.float() @ _signs(output.features.shape[1]).to(boxes.device)
    if not len(keys):
        return boxes.new_zeros(len(boxes), FEATURES)
    seen = tokens[at] * (keys[at] == wanted)[:, None]
    return seen.view(len(boxes), FEATURES)


def _signs(channels: int) -> Tensor:
    """[channels, WIDTH], +-1 / sqrt(WIDTH): the expected squared length of a token stays."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(channels, WIDTH)) / np.sqrt(WIDTH)
    return torch.from_numpy(signs.astype(np.float32))
