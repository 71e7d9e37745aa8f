"""Which sparse cells share a window: every scale and every shift of a pyramid in one call (SWFormer, spec 1.5)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ops import checks, kernels
from ops.operator import operator
from ops.window_partition import cpu, cuda, reference

__all__ = ["Windows", "window_partition"]

# Windows of one scale, empty ones too: 4 bytes each. Their numbers and those of cells are int32.
MOST_WINDOWS = 2**29


class Windows(NamedTuple):
    """Cells of one scale grouped by window."""

    order: Tensor
    """int64 [V]: rows in window order, (y, x, z) order inside a window; windows by (batch, y, x)."""
    inverse: Tensor
    """int64 [V]: place of each row in that order."""
    offsets: Tensor
    """int64 [W + 1]: where each non-empty window starts in `order`."""
    position: Tensor
    """int64 [V]: in-window cell y * window + x of the cells in window order."""


def window_partition(
    coords: Sequence[Tensor], shapes: Sequence[tuple[int, int, int]], window: int, shifts: Sequence[int] = (0,)
) -> list[list[Windows]]:
    """Group the cells of every scale by floor((x + shift) / window), the same in y, frame by frame.

    Args:
        coords: int64 [V, 4] (batch, z, y, x) of every scale, each cell at most once, in any order; the order of keys
            (as voxelize and downscale leave them) is fastest.
        shapes: (nz, ny, nx) of every scale. Layers in z share a window; nothing wraps round the border.
        window: cells a window's edge. shifts: cells, each 0 or more.

    Returns a list a scale, in it a partition a shift. ValueError: dtypes, shapes, cells outside their grid, or more
    than 2**29 windows or cells.
    """
    if len(coords) != len(shapes):
        raise ValueError(f"window_partition: {len(coords)} scales but {len(shapes)} shapes")
    for cells, shape in zip(coords, shapes, strict=True):
        checks.check_index("window_partition", "coords", cells, 2)
        if cells.shape[1] != 4 or len(shape) != 3 or min(shape) < 1:
            raise ValueError(
                f"window_partition: needs coords [V, 4] and shapes (nz, ny, nx), got {cells.shape}, {shape}"
            )
    checks.check_same_device("window_partition", *coords)
    if window < 1 or any(shift < 0 for shift in shifts):
        raise ValueError(f"window_partition: window must be positive and shifts not negative: {window}, {list(shifts)}")
    found = _window_partition(list(coords), [n for shape in shapes for n in shape], window, list(shifts))
    of = iter([Windows(*found[i : i + 4]) for i in range(0, len(found), 4)])
    return [[next(of) for _ in shifts] for _ in coords]


def _check(coords: Sequence[Tensor], shapes: Sequence[int], window: int, shifts: Sequence[int]) -> None:
    for level, cells in enumerate(coords):
        limit = torch.tensor([2**62, *shapes[3 * level : 3 * level + 3]], device=cells.device)
        if bool(((cells < 0) | (cells >= limit)).any()):
            raise ValueError(f"window_partition: cells lie outside their grid of {shapes[3 * level : 3 * level + 3]}")
        frames = int(cells[:, 0].max()) + 1 if cells.shape[0] else 0
        ny, nx = (n + max(shifts, default=0) for n in shapes[3 * level + 1 : 3 * level + 3])
        windows = frames * (ny // window + 1) * (nx // window + 1)
        if max(windows, cells.shape[0]) > MOST_WINDOWS:
            raise ValueError(f"window_partition: {frames} frames hold over {MOST_WINDOWS:,} windows")


@operator("drive_ops::window_partition")
def _window_partition(
    coords: Sequence[Tensor], shapes: Sequence[int], window: int, shifts: Sequence[int]
) -> list[Tensor]:
    _check(coords, shapes, window, shifts)
    return reference.window_partition(coords, shapes, window, shifts)


@_window_partition.register_kernel("cpu")
def _(coords: Sequence[Tensor], shapes: Sequence[int], window: int, shifts: Sequence[int]) -> list[Tensor]:
    given = [cells.contiguous().numpy() for cells in coords]
    found = cpu.window_partition(given, shapes, window, shifts, MOST_WINDOWS, torch.get_num_threads())
    return [torch.from_numpy(a) for a in found]


@_window_partition.register_fake
def _(coords: Sequence[Tensor], shapes: Sequence[int], window: int, shifts: Sequence[int]) -> list[Tensor]:
    context = torch.library.get_ctx()
    found = []
    for cells in coords:
        for _ in shifts:
            bounds = context.new_dynamic_size()
            order, inverse, position = (cells.new_empty(cells.shape[0]) for _ in range(3))
            found += [order, inverse, cells.new_empty(bounds), position]
    return found


def _window_partition_cuda(
    coords: Sequence[Tensor], shapes: Sequence[int], window: int, shifts: Sequence[int]
) -> list[Tensor]:
    _check(coords, shapes, window, shifts)
    found: list[Tensor] = []
    for level, cells in enumerate(coords):
        for shift in shifts:
            found += cuda.partition(cells.contiguous(), shapes[3 * level : 3 * level + 3], window, shift)
    return found


def _register_cuda() -> None:
    _window_partition.register_kernel("cuda")(_window_partition_cuda)


kernels.declare("window_partition", "cpu", "numba", "counting sort by window, all scales and shifts in one call")
kernels.declare_unproven_cuda("window_partition", _register_cuda)
