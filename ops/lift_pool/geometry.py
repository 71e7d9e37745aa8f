"""Where the places of a camera's frustum lie in the bird's-eye grid."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ops import lens
from ops.camera_sample.cameras import INTRINSICS, LENS, REACH, SIZE, Cameras
from ops.segment.reference import segment_ids


def grid_shape(point_range: Sequence[float], cell_size: Sequence[float]) -> tuple[int, int, int]:
    """(nz, ny, nx) of the grid. ValueError where the range is no whole number of cells along an axis."""
    shape = []
    for axis in (2, 1, 0):
        cells = (point_range[3 + axis] - point_range[axis]) / cell_size[axis] if cell_size[axis] > 0 else 0.0
        if cells < 0.5 or abs(cells - round(cells)) > 1e-3:
            raise ValueError(f"lift_pool: the range holds {cells} cells along axis {'xyz'[axis]}, not a whole number")
        shape.append(round(cells))
    return shape[0], shape[1], shape[2]


def frustum_places(cameras: Cameras, depths: Tensor, height: int, width: int) -> Tensor:
    """Ego metres, float64 [N, D, h, w, 3], of the centres of a feature map's cells at `depths` [D] along the axis.

    The map covers the image. NaN where the lens has no inverse: bent back, its answer misses the pixel by 0.1 pixels.
    """
    table, device = cameras.table, cameras.table.device
    share_x = (torch.arange(width, device=device, dtype=torch.float64) + 0.5) / width
    share_y = (torch.arange(height, device=device, dtype=torch.float64) + 0.5) / height
    depths = depths.detach().to(device, torch.float64)
    places = []
    for row in table:
        inner = torch.eye(3, dtype=torch.float64, device=device)
        inner[:2] = row[INTRINSICS:LENS].reshape(2, 3)
        v, u = torch.meshgrid(share_y * row[SIZE + 1] - 0.5, share_x * row[SIZE] - 0.5, indexing="ij")
        bent = torch.linalg.solve(inner, torch.stack([u, v, torch.ones_like(u)]).flatten(1))
        x, y = lens.straighten(bent[0], bent[1], *row[LENS:REACH])
        again = torch.stack(lens.bend(x, y, *row[LENS:REACH])) - bent[:2]
        wrong = ~((again * inner.diagonal()[:2, None]).abs().amax(0) < 0.1) | (x * x + y * y >= row[REACH])
        ray = torch.where(wrong, torch.nan, torch.stack([x, y, torch.ones_like(x)]))
        pose = row[:INTRINSICS].reshape(3, 4)
        optical = depths[:, None, None] * ray  # [D, 3, h * w]
        ego = torch.linalg.solve(pose[:, :3], optical - pose[:, 3:])
        places.append(ego.transpose(1, 2).reshape(len(depths), height, width, 3))
    return torch.stack(places) if places else table.new_zeros(0, len(depths), height, width, 3)


def frustum_cells(
    cameras: Cameras,
    depths: Tensor,
    size: tuple[int, int],
    point_range: Sequence[float],
    cell_size: Sequence[float],
) -> Tensor:
    """Cells of a camera rig's frustums, int64 [N, D, h, w]: ((frame * nz + z) * ny + y) * nx + x, -1 outside.

    `depths` [D] in metres, `size` = (h, w) of the feature maps, `point_range` and `cell_size` as in ops.voxelize. An
    augmentation of the ego frame goes into the cameras' poses, one of the images into their intrinsics.
    """
    nz, ny, nx = grid_shape(point_range, cell_size)
    places = frustum_places(cameras, depths, *size)
    low, step = (places.new_tensor(list(v)) for v in (point_range[:3], cell_size))
    at = ((places - low) / step).floor()
    limit = places.new_tensor([nx, ny, nz])
    inside = ((at >= 0) & (at < limit)).all(-1)  # a NaN is not
    x, y, z = torch.where(inside[..., None], at, 0.0).long().unbind(-1)
    frame = segment_ids(cameras.offsets, places.shape[0])[:, None, None, None]
    return torch.where(inside, ((frame * nz + z) * ny + y) * nx + x, -1)
