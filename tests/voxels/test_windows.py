"""Window partition by hand."""

import torch

from drive.voxels.grid import GridSpec
from drive.voxels.windows import partition_windows

GRID = GridSpec((0.0, 0.0, 0.0, 25.0, 25.0, 1.0), (1.0, 1.0, 1.0))
COORDS = torch.tensor([[0, 0, 0, 0], [0, 0, 3, 12], [0, 0, 4, 9], [0, 0, 12, 3], [1, 0, 0, 0]])


def test_plain_windows() -> None:
    (p,) = partition_windows(COORDS, GRID)
    # Windows (0, 0), (0, 1), (1, 0) of frame 0, then (0, 0) of frame 1; (4, 9) shares the first with (0, 0).
    assert p.order.tolist() == [0, 2, 1, 3, 4]
    assert p.offsets.tolist() == [0, 2, 3, 4, 5]
    assert p.position.tolist() == [0, 49, 32, 23, 0]
    assert p.inverse[p.order].tolist() == [0, 1, 2, 3, 4]


def test_shifted_windows() -> None:
    (p,) = partition_windows(COORDS, GRID, shifts=(5,))
    # x + 5 and y + 5: (5, 5), (8, 17), (9, 14), (17, 8): windows (0, 0), (0, 1) twice, (1, 0).
    assert p.order.tolist() == [0, 1, 2, 3, 4]
    assert p.offsets.tolist() == [0, 1, 3, 4, 5]
    assert p.position.tolist() == [55, 87, 94, 78, 55]


def test_a_full_window_holds_a_hundred_tokens() -> None:
    coords = GRID.coords(torch.arange(GRID.num_cells))
    (p,) = partition_windows(coords, GRID)
    counts = p.offsets[1:] - p.offsets[:-1]
    assert counts.tolist() == [100, 100, 50, 100, 100, 50, 50, 50, 25]
    assert p.position[:100].tolist() == list(range(100))


def test_no_tokens() -> None:
    (p,) = partition_windows(torch.zeros(0, 4, dtype=torch.int64), GRID)
    assert p.order.shape == (0,)
    assert p.offsets.tolist() == [0]
