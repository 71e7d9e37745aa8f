"""The sparse pyramid: which voxel a coarse cell takes, and who its children are."""

import itertools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from drive.voxels.grid import STRIDES, GridSpec
from drive.voxels.levels import build_levels
from ops.downscale import downscale

GRID = GridSpec((0.0, 0.0, 0.0, 640.0, 640.0, 1.0), (1.0, 1.0, 1.0))


def rows(*cells: tuple[int, int, int]) -> torch.Tensor:
    """Sorted coords of (batch, y, x) cells."""
    return torch.tensor([[b, 0, y, x] for b, y, x in sorted(cells)], dtype=torch.int64).view(-1, 4)


def test_ties_of_a_two_by_two_cell_go_to_the_lowest_key() -> None:
    coords = rows((0, 0, 1), (0, 1, 0), (0, 1, 1), (0, 0, 2), (0, 1, 2))
    up, chosen, parent = downscale(coords, 2, GRID.shape)
    assert up.tolist() == [[0, 0, 0, 0], [0, 0, 0, 1]]
    assert coords[chosen].tolist() == [[0, 0, 0, 1], [0, 0, 0, 2]]
    assert parent.tolist() == [0, 1, 0, 0, 1]


def test_the_voxel_nearest_the_centre_of_a_four_by_four_cell_wins() -> None:
    # (2, 2) is 0.71 cells from the centre (1.5, 1.5), (0, 1) is 1.58, (3, 3) is 2.12.
    coords = rows((0, 0, 1), (0, 2, 2), (0, 3, 3))
    _, chosen, _ = downscale(coords, 4, GRID.shape)
    assert coords[chosen].tolist() == [[0, 0, 2, 2]]


def test_equal_distances_in_a_four_by_four_cell_go_to_the_lowest_key() -> None:
    coords = rows((0, 1, 2), (0, 2, 1), (0, 2, 2))
    _, chosen, _ = downscale(coords, 4, GRID.shape)
    assert coords[chosen].tolist() == [[0, 0, 1, 2]]


def test_frames_never_mix() -> None:
    coords = rows((0, 0, 0), (1, 0, 0), (1, 0, 1))
    up, chosen, parent = downscale(coords, 2, GRID.shape)
    assert up.tolist() == [[0, 0, 0, 0], [1, 0, 0, 0]]
    assert chosen.tolist() == [0, 1]
    assert parent.tolist() == [0, 1, 1]


def test_strides_and_the_identity_of_the_finest_level() -> None:
    levels = build_levels(rows((0, 3, 3), (0, 40, 7), (0, 41, 7)), GRID)
    assert tuple(level.grid.stride for level in levels) == STRIDES
    assert [len(level.coords) for level in levels] == [3, 2, 2, 2, 2]
    assert levels[0].chosen.tolist() == [0, 1, 2]
    assert levels[-1].parent.tolist() == []


def test_no_voxels() -> None:
    for level in build_levels(rows(), GRID):
        assert level.coords.shape == (0, 4)
        assert level.windows.offsets.tolist() == [0]


cells = st.sets(st.tuples(st.integers(0, 1), st.integers(0, 95), st.integers(0, 95)), max_size=60)


@settings(max_examples=30, deadline=None)
@given(cells)
def test_every_voxel_has_its_own_parent_and_every_choice_is_a_child(occupied: set[tuple[int, int, int]]) -> None:
    levels = build_levels(rows(*occupied), GRID)
    for fine, coarse in itertools.pairwise(levels):
        ratio = coarse.grid.stride // fine.grid.stride
        expected = fine.coords.clone()
        expected[:, 2:] //= ratio
        assert torch.equal(coarse.coords[fine.parent], expected)
        assert torch.equal(fine.parent[coarse.chosen], torch.arange(len(coarse.coords)))
        key = coarse.grid.key(coarse.coords)
        assert bool((key[1:] > key[:-1]).all())


@settings(max_examples=15, deadline=None)
@given(cells)
def test_a_shift_of_one_stride_32_window_changes_nothing(occupied: set[tuple[int, int, int]]) -> None:
    """320 cells = 10 cells of stride 32 (spec 8.14): parents, grouping and in-window positions stay."""
    here = build_levels(rows(*occupied), GRID)
    there = build_levels(rows(*((b, y + 320, x + 320) for b, y, x in occupied)), GRID)
    for a, b in zip(here, there, strict=True):
        assert torch.equal(a.chosen, b.chosen)
        assert torch.equal(a.parent, b.parent)
        for plain, moved in ((a.windows, b.windows), (a.shifted, b.shifted)):
            assert torch.equal(plain.order, moved.order)
            assert torch.equal(plain.offsets, moved.offsets)
            assert torch.equal(plain.position, moved.position)
