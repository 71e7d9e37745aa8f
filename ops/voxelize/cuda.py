"""Host side of kernel.cu. The order inside a voxel comes from a stable sort of the 32-bit ranks."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ops import nvrtc

SOURCE = Path(__file__).with_name("kernel.cu")


def voxelize(
    points: Tensor,
    point_batch: Tensor,
    point_range: Sequence[float],
    voxel_size: Sequence[float],
    shape: tuple[int, int, int],
    batch_size: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """See ops.voxelize.voxelize; `shape` = (nz, ny, nx). Waits for the device once, to know the number of voxels."""
    P, device = points.shape[0], points.device
    defines = (("REAL", "double" if points.dtype == torch.float64 else "float"),)
    bounds = points.new_tensor([*point_range, *voxel_size])
    words = (batch_size * shape[0] * shape[1] * shape[2] + 31) // 32
    cell = torch.empty(P, dtype=torch.int64, device=device)
    bitmap = torch.zeros(words, dtype=torch.int32, device=device)
    count, rank = torch.empty_like(bitmap), torch.empty(P, dtype=torch.int32, device=device)
    given = points, point_batch, P, points.shape[1], bounds
    nvrtc.launch(SOURCE, "voxelize_cells", P, *given, *shape, cell, bitmap, defines=defines)
    nvrtc.launch(SOURCE, "voxelize_count", words, bitmap, words, count, defines=defines)
    before = torch.cat([cell.new_zeros(1), count.cumsum(0)])
    V = int(before[-1])
    coords = torch.empty(V, 4, dtype=torch.int64, device=device)
    ranking = cell, P, bitmap, before, V
    nvrtc.launch(SOURCE, "voxelize_rank", P, *ranking, *shape, rank, coords, defines=defines)
    offsets = torch.cat([cell.new_zeros(1), torch.bincount(rank, minlength=V + 1)[:V].cumsum(0)])
    order = torch.sort(rank, stable=True).indices[: int(offsets[-1])].clone()
    return coords, order, offsets
