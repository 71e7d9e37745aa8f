"""Centre and foreground targets by hand."""

import math

import pytest
import torch

from drive.boxes.assign import assign_centres, foreground_targets
from drive.voxels.grid import GridSpec

GRID = GridSpec((0.0, 0.0, 0.0, 20.0, 20.0, 4.0), (1.0, 1.0, 4.0))


def cells(*places: tuple[int, int]) -> torch.Tensor:
    """Coords of (y, x) cells of frame 0, sorted."""
    return torch.tensor([[0, 0, y, x] for y, x in sorted(places)], dtype=torch.int64).view(-1, 4)


def box(x: float, y: float, length: float = 4.0, width: float = 2.0, yaw: float = 0.0) -> torch.Tensor:
    return torch.tensor([[x, y, 1.0, length, width, 1.5, yaw, 0.0, 0.0]])


def assign(coords: torch.Tensor, boxes: torch.Tensor, labels: list[int], scales: list[float], above: float = 0.2):
    batch = torch.zeros(len(boxes), dtype=torch.int64)
    return assign_centres(
        coords, GRID, 1, boxes, batch, torch.tensor(labels, dtype=torch.int64), torch.tensor(scales), above
    )


def test_the_nearest_voxel_has_heat_one_even_where_the_centre_cell_is_empty() -> None:
    # The centre (5.5, 5.5) is the middle of cell (5, 5), which is empty; (5, 7) is 2 m away, (5, 8) is 3 m away.
    targets = assign(cells((5, 7), (5, 8)), box(5.5, 5.5), [0], [1.0])
    torch.testing.assert_close(targets.heat[:, 0], torch.tensor([1.0, math.exp(-1)]))
    assert targets.rows.tolist() == [0, 1]
    assert targets.boxes.tolist() == [0, 0]
    assert float(targets.num_objects) == 1


def test_a_scale_of_a_fifth_leaves_one_voxel_to_regress() -> None:
    targets = assign(cells((5, 5), (5, 6)), box(5.5, 5.5), [0], [0.22])
    assert float(targets.heat[1, 0]) == pytest.approx(math.exp(-1 / 0.22), rel=1e-5)
    assert targets.rows.tolist() == [0]


def test_between_two_boxes_the_hotter_one_owns_a_voxel() -> None:
    two = torch.cat((box(3.5, 5.5), box(9.5, 5.5)))
    targets = assign(cells((5, 3), (5, 5), (5, 9)), two, [0, 0], [2.0])
    assert targets.rows.tolist() == [0, 1, 2]
    assert targets.boxes.tolist() == [0, 0, 1]
    assert float(targets.heat[1, 0]) == pytest.approx(math.exp(-1), rel=1e-5)


def test_classes_have_their_own_heat() -> None:
    two = torch.cat((box(3.5, 5.5), box(9.5, 5.5)))
    targets = assign(cells((5, 3), (5, 9)), two, [0, 1], [0.5, 0.5])
    assert targets.heat[:, 0].tolist() == [1.0, pytest.approx(0, abs=0.01)]
    assert targets.heat[:, 1].tolist() == [pytest.approx(0, abs=0.01), 1.0]


def test_a_box_far_from_every_voxel_has_no_target() -> None:
    targets = assign(cells((0, 0)), box(18.5, 18.5), [0], [1.0])
    assert float(targets.num_objects) == 0
    assert targets.rows.tolist() == []
    assert float(targets.heat.sum()) == 0


def test_frames_do_not_see_each_other() -> None:
    coords = torch.tensor([[0, 0, 5, 5], [1, 0, 5, 5]])
    targets = assign_centres(
        coords, GRID, 2, box(5.5, 5.5), torch.tensor([1]), torch.tensor([0]), torch.tensor([1.0]), 0.2
    )
    assert targets.heat[:, 0].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(("voxels", "boxes"), [(0, 1), (1, 0), (0, 0)])
def test_nothing(voxels: int, boxes: int) -> None:
    coords, wanted = cells((1, 1))[:voxels], box(1.5, 1.5)[:boxes]
    targets = assign(coords, wanted, [0] * boxes, [1.0])
    assert targets.heat.shape == (voxels, 1)
    assert len(targets.rows) == 0
    batch = torch.zeros(boxes, dtype=torch.int64)
    mask = foreground_targets(coords, GRID, 1, wanted, batch, torch.zeros(boxes, dtype=torch.int64), 2)
    assert mask.shape == (voxels, 2)
    assert not mask.any()


def dense() -> torch.Tensor:
    return GRID.coords(torch.arange(GRID.num_cells))


def foreground(boxes: torch.Tensor) -> set[tuple[int, int]]:
    """(y, x) of the foreground cells of a full grid."""
    n = len(boxes)
    zeros = torch.zeros(n, dtype=torch.int64)
    mask = foreground_targets(dense(), GRID, 1, boxes, zeros, zeros, 1)[:, 0]
    return {(y, x) for _, _, y, x in dense()[mask].tolist()}


def test_foreground_of_a_straight_box_is_every_cell_it_touches() -> None:
    # x from 3.2 to 6.8, y from 5.1 to 6.5.
    assert foreground(box(5.0, 5.8, 3.6, 1.4)) == {(y, x) for y in (5, 6) for x in (3, 4, 5, 6)}


def test_foreground_of_a_box_on_the_diagonal_leaves_the_corners_out() -> None:
    # A thin bar from (4, 4) to (8, 8) or so: cells far from the diagonal do not overlap it.
    hit = foreground(box(6.0, 6.0, 5.0, 0.2, math.pi / 4))
    assert {(4, 4), (5, 5), (6, 6), (7, 7)} <= hit
    assert (4, 7) not in hit
    assert (7, 4) not in hit
    assert (9, 9) not in hit


def test_foreground_agrees_with_an_exact_polygon() -> None:
    shapely = pytest.importorskip("shapely")
    generator = torch.Generator().manual_seed(3)
    for _ in range(10):
        x, y, length, width, turn = torch.rand(5, generator=generator).tolist()
        one = box(6 + 8 * x, 6 + 8 * y, 1 + 7 * length, 0.5 + 3 * width, (turn - 0.5) * 6)
        cos, sin = math.cos(one[0, 6]), math.sin(one[0, 6])
        corners = [
            (float(one[0, 0] + cos * a - sin * b), float(one[0, 1] + sin * a + cos * b))
            for a, b in (
                (float(one[0, 3]) / 2 * s, float(one[0, 4]) / 2 * t) for s, t in ((1, 1), (-1, 1), (-1, -1), (1, -1))
            )
        ]
        polygon = shapely.Polygon(corners)
        exact = {(j, i) for j in range(20) for i in range(20) if polygon.intersects(shapely.box(i, j, i + 1, j + 1))}
        assert foreground(one) == exact
