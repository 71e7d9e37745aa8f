"""Sparse windows: which tokens attend to each other, worked out once a scale and shift (spec 1.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from drive.voxels.grid import GridSpec
from ops.window_partition import window_partition

# Cells a window edge at every scale (spec 1.5, paper).
WINDOW = 10


@dataclass(frozen=True)
class WindowPartition:
    """Tokens of one scale grouped by window.

    order: int64 [V] rows in window order (window by window, row-major inside a window).
    inverse: int64 [V] place of each row in that order.
    offsets: int64 [W + 1] where each non-empty window starts in ``order``.
    position: int64 [V] in-window cell y * window + x of the tokens in window order.
    """

    order: Tensor
    inverse: Tensor
    offsets: Tensor
    position: Tensor
    window: int


def partition_windows(
    coords: Tensor, grid: GridSpec, window: int = WINDOW, *, shifts: Sequence[int] = (0,)
) -> tuple[WindowPartition, ...]:
    """Group coords [V, 4] by floor((x + shift) / window), the same in y, frame by frame: a partition a shift.

    Nothing wraps round the border: border windows are smaller. Levels of z share a window.
    """
    return partition_scales([coords], [grid], window, shifts=shifts)[0]


def partition_scales(
    coords: Sequence[Tensor], grids: Sequence[GridSpec], window: int = WINDOW, *, shifts: Sequence[int]
) -> list[tuple[WindowPartition, ...]]:
    """`partition_windows` of several scales at once: for each a partition a shift."""
    found = window_partition(coords, [grid.shape for grid in grids], window, shifts)
    return [tuple(WindowPartition(*windows, window) for windows in scale) for scale in found]
