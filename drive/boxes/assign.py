"""Which voxel answers for which box: the centre targets of spec 1.8, for sparse voxels and dense maps alike."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from drive.voxels.grid import GridSpec
from ops.centre_targets import centre_targets
from ops.centre_targets import foreground_targets as overlapped


@dataclass(frozen=True)
class CentreTargets:
    """heat: float32 [T, K] in 0..1, one voxel a box with exactly 1.

    rows, boxes: int64 [M] pairs (voxel, box) to regress: voxels with heat above the threshold, each with the box that
    gives it its heat (two boxes at exactly the same heat both stay).
    num_objects: boxes that some voxel answers for; float32 scalar tensor.
    """

    heat: Tensor
    rows: Tensor
    boxes: Tensor
    num_objects: Tensor


def assign_centres(
    coords: Tensor,
    grid: GridSpec,
    batch_size: int,
    boxes: Tensor,
    box_batch: Tensor,
    labels: Tensor,
    scales: Tensor,
    regress_above: float,
) -> CentreTargets:
    """Heat h(v) = max over boxes of exp(-(|v - c| - |v_b - c|) / scale), v_b the voxel nearest the box centre c.

    Args:
        coords: int64 [T, 4] active voxels of a grid with one layer in z.
        boxes: float32 [N, >= 7], box_batch: int64 [N], labels: int64 [N] in 0..K-1.
        scales: float32 [K], metres (spec 1.8: 1.0 vehicle, 0.22 pedestrian, 0.39 cyclist) [inferred].
        regress_above: heat from which a voxel regresses its box (0.2) [recall].
    Boxes without an active voxel within 4.6 scales and 3 m (heat 0.01 around a centre 3 m away) have no target.
    """
    given = coords, boxes, box_batch, labels, scales
    return CentreTargets(*centre_targets(*given, *_plane(grid), batch_size, regress_above))


def foreground_targets(
    coords: Tensor,
    grid: GridSpec,
    batch_size: int,
    boxes: Tensor,
    box_batch: Tensor,
    labels: Tensor,
    num_classes: int,
) -> Tensor:
    """bool [T, K]: does the voxel's square overlap (separating axes) a box of the class, seen from above (spec 1.7)."""
    return overlapped(coords, boxes, box_batch, labels, num_classes, *_plane(grid), batch_size)


def _plane(grid: GridSpec) -> tuple[tuple[float, float], tuple[float, float], tuple[int, int]]:
    """Corner, cell size and (ny, nx) of a grid with one layer in z. ValueError where it has more."""
    nz, ny, nx = grid.shape
    if nz != 1:
        raise ValueError(f"centre targets need one layer in z; this grid has {nz}")
    return grid.range[:2], grid.cell_size, (ny, nx)
