"""Windows of sparse cells."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ops.window_partition import _window_partition, reference, window_partition


def cells(shape: tuple[int, int, int], frames: int, share: float) -> Tensor:
    return torch.nonzero(torch.rand(frames, *shape) < share)


def flat(found) -> list[Tensor]:
    return [t for scale in found for windows in scale for t in windows]


def equal(found, wanted) -> None:
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert torch.equal(a, b)


def test_numbers_by_hand(pure) -> None:
    coords = torch.tensor([[0, 0, 0, 0], [0, 0, 3, 12], [0, 0, 4, 9], [0, 0, 12, 3], [1, 0, 0, 0]])
    ((plain, shifted),) = window_partition([coords], [(1, 25, 25)], 10, (0, 5))
    # Windows (0, 0), (0, 1), (1, 0) of frame 0, then (0, 0) of frame 1; (4, 9) shares the first with (0, 0).
    assert plain.order.tolist() == [0, 2, 1, 3, 4]
    assert plain.inverse.tolist() == [0, 2, 1, 3, 4]
    assert plain.offsets.tolist() == [0, 2, 3, 4, 5]
    assert plain.position.tolist() == [0, 49, 32, 23, 0]
    # (5, 5), (8, 17), (9, 14), (17, 8) after the shift.
    assert shifted.order.tolist() == [0, 1, 2, 3, 4]
    assert shifted.offsets.tolist() == [0, 1, 3, 4, 5]
    assert shifted.position.tolist() == [55, 87, 94, 78, 55]
    pure(lambda c: flat(window_partition([c], [(1, 25, 25)], 10, (0, 5))), coords)


@pytest.mark.parametrize("shape", [(1, 60, 47), (3, 21, 30), (1, 1, 1), (2, 5, 100)])
@pytest.mark.parametrize("window", [1, 4, 10])
def test_kernel_equals_reference(shape: tuple[int, int, int], window: int) -> None:
    coords = cells(shape, 3, 0.3)
    shifts = (0, window // 2, 13)
    wanted = reference.window_partition([coords], shape, window, shifts)
    equal(flat(window_partition([coords], [shape], window, shifts)), wanted)
    shuffled = coords[torch.randperm(len(coords))]
    wanted = reference.window_partition([shuffled], shape, window, shifts)
    equal(flat(window_partition([shuffled], [shape], window, shifts)), wanted)


def test_many_scales_are_each_their_own() -> None:
    shapes = [(1, 50, 60), (1, 25, 30), (2, 7, 8)]
    coords = [cells(shape, 2, 0.4) for shape in shapes]
    coords[1] = coords[1][:0]
    found = window_partition(coords, shapes, 5, (0, 2))
    for one, shape, scale in zip(coords, shapes, found, strict=True):
        equal(flat([scale]), flat(window_partition([one], [shape], 5, (0, 2))))
    assert found[1][0].offsets.tolist() == [0]
    assert window_partition([], [], 5) == []


@given(st.integers(0, 400), st.integers(1, 12), st.integers(0, 30), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_every_cell_is_in_its_window_once(count: int, window: int, shift: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    coords = torch.unique(torch.randint(0, 40, (count, 4), generator=g) * torch.tensor([0, 0, 1, 1]), dim=0)
    ((w,),) = window_partition([coords], [(1, 40, 40)], window, (shift,))
    assert torch.equal(w.inverse[w.order], torch.arange(len(coords)))
    placed = coords[w.order][:, 2:] + shift
    counts = w.offsets.diff()
    assert bool((counts > 0).all())
    assert torch.equal(placed[:, 0] % window * window + placed[:, 1] % window, w.position)
    for part in (placed // window).split(counts.tolist()):
        assert len(part.unique(dim=0)) == 1


def test_one_crowded_window_and_threads() -> None:
    coords = cells((1, 300, 300), 2, 0.3)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(flat(window_partition([coords], [(1, 300, 300)], 300, (0, 150))))
    finally:
        torch.set_num_threads(before)
    equal(*found)
    equal(found[0], reference.window_partition([coords], (1, 300, 300), 300, (0, 150)))


def test_operator_rules(opcheck) -> None:
    coords = cells((1, 9, 9), 1, 0.5)
    opcheck(_window_partition, [coords, coords[:3]], [1, 9, 9, 1, 9, 9], 4, [0, 2])


def test_not_contiguous() -> None:
    coords = cells((1, 20, 20), 2, 0.4)
    wide = torch.cat((coords, coords), 1)[:, :4]
    equal(flat(window_partition([wide], [(1, 20, 20)], 4)), flat(window_partition([coords], [(1, 20, 20)], 4)))


@pytest.mark.parametrize("window", [4, 2**15, 2**20])
def test_order_of_rows_and_wide_windows(window: int) -> None:
    coords, shape = cells((1, 20, 30), 2, 0.4), (1, 20, 30)
    swapped = coords.clone()
    swapped[[5, 6]] = coords[[6, 5]]
    for rows in (coords, swapped, coords.flip(0), coords[torch.argsort(coords[:, 3], stable=True)]):
        found = flat(window_partition([rows], [shape], window, (0, 3)))
        equal(found, reference.window_partition([rows], shape, window, (0, 3)))


@pytest.mark.parametrize("row", [0, 40, -1])
@pytest.mark.parametrize(
    ("column", "value"),
    [(0, -1), (1, -1), (1, 1), (2, -1), (2, -(2**40)), (2, 20), (2, 2**40), (3, -1), (3, 30), (3, 2**62)],
)
def test_one_cell_outside(row: int, column: int, value: int) -> None:
    coords = cells((1, 20, 30), 2, 0.4)
    coords[row, column] = value
    with pytest.raises(ValueError, match="window_partition: cells lie outside"):
        window_partition([coords], [(1, 20, 30)], 4, (0, 3))


@pytest.mark.parametrize("cell", [(-1, -1, -1, -1), (-1, 0, -1, 0), (0, 0, -1, 0), (-1, 0, 0, 0)])
def test_all_cells_outside(cell: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="window_partition: cells lie outside"):
        window_partition([torch.tensor([cell, cell])], [(1, 20, 30)], 4, (0, 3))


def test_wrong_arguments() -> None:
    coords, shape = cells((1, 9, 9), 1, 0.5), (1, 9, 9)
    for bad in (
        ([coords], [shape, shape], 4, (0,)),
        ([coords.int()], [shape], 4, (0,)),
        ([coords[:, :3]], [shape], 4, (0,)),
        ([coords], [(9, 9)], 4, (0,)),
        ([coords], [(0, 9, 9)], 4, (0,)),
        ([coords], [shape], 0, (0,)),
        ([coords], [shape], 4, (-1,)),
        ([coords], [(1, 9, 5)], 4, (0,)),
        ([coords - 1], [shape], 4, (0,)),
        ([coords + torch.tensor([2**40, 0, 0, 0])], [shape], 1, (0,)),
        ([coords, coords.to("meta")], [shape, shape], 4, (0,)),
    ):
        with pytest.raises(ValueError, match="window_partition"):
            window_partition(*bad)
