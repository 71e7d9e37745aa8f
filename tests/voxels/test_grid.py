"""Shapes, strides, keys and centres of a grid, by hand."""

import pytest
import torch

from drive.voxels.grid import GridSpec

WAYMO = GridSpec((-74.88, -74.88, -2.0, 74.88, 74.88, 4.0), (0.32, 0.32, 6.0))


def test_waymo_pillars_are_468_by_468() -> None:
    assert WAYMO.shape == (1, 468, 468)
    assert WAYMO.num_cells == 468 * 468


def test_strided_grids_round_up() -> None:
    assert [WAYMO.at_stride(s).shape[1] for s in (1, 2, 4, 16, 32)] == [468, 234, 117, 30, 15]
    assert WAYMO.at_stride(4).cell_size == pytest.approx((1.28, 1.28))


def test_centres_by_hand() -> None:
    grid = GridSpec((0.0, -4.0, -1.0, 8.0, 4.0, 3.0), (0.5, 1.0, 2.0))
    assert grid.shape == (2, 8, 16)
    coords = torch.tensor([[0, 0, 0, 0], [3, 1, 7, 15]])
    torch.testing.assert_close(grid.centres(coords), torch.tensor([[0.25, -3.5, 0.0], [7.75, 3.5, 2.0]]))


def test_key_and_coords_invert_each_other() -> None:
    grid = GridSpec((0.0, 0.0, 0.0, 3.0, 2.0, 2.0), (1.0, 1.0, 1.0))
    key = torch.arange(3 * grid.num_cells)
    assert torch.equal(grid.key(grid.coords(key)), key)


def test_key_order_is_row_order() -> None:
    grid = GridSpec((0.0, 0.0, 0.0, 3.0, 2.0, 1.0), (1.0, 1.0, 1.0))
    assert grid.coords(torch.arange(7)).tolist()[2:5] == [[0, 0, 0, 2], [0, 0, 1, 0], [0, 0, 1, 1]]


@pytest.mark.parametrize("size", [(0.3, 0.5, 4.0), (0.0, 0.5, 4.0), (-1.0, 0.5, 4.0)])
def test_a_range_of_broken_voxels_is_refused(size: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="grid axis x"):
        GridSpec((0.0, 0.0, 0.0, 8.0, 8.0, 4.0), size)
