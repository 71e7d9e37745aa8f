"""Points to voxels by hand; dense maps and back."""

import pytest
import torch

from drive.voxels.grid import GridSpec
from drive.voxels.scatter import gather_bev, scatter_bev
from drive.voxels.voxelize import voxelize_points

GRID = GridSpec((0.0, 0.0, -1.0, 4.0, 3.0, 1.0), (1.0, 1.0, 2.0))


def test_points_by_hand() -> None:
    points = torch.tensor(
        [
            [2.5, 1.5, 0.0, 0.1],
            [0.2, 0.2, 0.0, 0.2],
            [2.9, 1.1, 0.5, 0.3],
            [4.0, 1.0, 0.0, 0.4],  # x is on the far border: outside
            [0.2, 0.2, 0.0, 0.5],
        ]
    )
    voxels = voxelize_points(points, torch.tensor([0, 0, 0, 0, 1]), GRID, 2)
    assert voxels.coords.tolist() == [[0, 0, 0, 0], [0, 0, 1, 2], [1, 0, 0, 0]]
    assert voxels.order.tolist() == [1, 0, 2, 4]
    assert voxels.offsets.tolist() == [0, 1, 3, 4]
    assert voxels.voxel_of_point.tolist() == [0, 1, 1, 2]
    assert torch.equal(voxels.points, points[voxels.order])


def test_no_points() -> None:
    voxels = voxelize_points(torch.zeros(0, 6), torch.zeros(0, dtype=torch.int64), GRID, 2)
    assert voxels.coords.shape == (0, 4)
    assert voxels.points.shape == (0, 6)
    assert voxels.offsets.tolist() == [0]


def test_scatter_and_gather_are_inverse() -> None:
    coords = torch.tensor([[0, 0, 0, 3], [1, 0, 2, 0]])
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    dense = scatter_bev(values, coords, GRID, 2, fill=-1.0)
    assert dense.shape == (2, 2, 3, 4)
    assert dense[0, :, 0, 3].tolist() == [1.0, 2.0]
    assert dense[1, :, 2, 0].tolist() == [3.0, 4.0]
    assert int((dense == -1).sum()) == 2 * 2 * 12 - 4
    assert torch.equal(gather_bev(dense, coords), values)


def test_scatter_refuses_a_grid_with_layers() -> None:
    with pytest.raises(ValueError, match="one layer in z"):
        scatter_bev(torch.zeros(0, 1), torch.zeros(0, 4, dtype=torch.int64), GridSpec(GRID.range, (1.0, 1.0, 1.0)), 1)
