"""Rulebooks: which voxel takes part in which output of a sparse convolution, worked out once and shared by layers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ops import checks
from ops.arrays import arrays, tensors
from ops.operator import operator
from ops.sparse_conv import cpu_mutual, cpu_rules, cuda, reference

TILE = 512
"""Output rows that are worked on together: their sums and the weights of one offset stay in a core's cache."""

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Rulebook:
    """P pairs (input voxel, output voxel, kernel offset) of one convolution on given voxels.

    Pairs are grouped by tile of ``TILE`` outputs, then by offset, and inside such a group in the order of the outputs,
    each of which appears there at most once: whoever owns a tile owns its sums.

    inputs, outputs: int32 [P], rows of the input and of the output.
    starts: int64 [tiles * K + 1]: tile t's pairs of offset k lie at starts[t * K + k] .. starts[t * K + k + 1].
    kernel: K, offsets in the order (z, y, x).
    coords_in, coords_out: int64 [., 4] (batch, z, y, x); shape_in, shape_out: (nz, ny, nx).
    mutual: inputs and outputs are the same voxels, and pair (i, j, k) comes with (j, i, K - 1 - k): a submanifold.

    ValueError where the lists point outside the voxels that they name.
    """

    inputs: Tensor
    outputs: Tensor
    starts: Tensor
    kernel: int
    coords_in: Tensor
    coords_out: Tensor
    shape_in: Triple
    shape_out: Triple
    mutual: bool

    def __post_init__(self) -> None:
        tiles = -(-len(self.coords_out) // TILE)
        if len(self.starts) != tiles * self.kernel + 1 or self.inputs.shape != self.outputs.shape:
            raise ValueError(f"sparse_conv: a rulebook of {tiles} tiles needs {tiles * self.kernel + 1} starts")
        if self.inputs.device.type == "cpu" and not torch.compiler.is_compiling():
            self._check_lists()

    def _check_lists(self) -> None:
        """The kernels trust the lists. (On a GPU they look themselves, so that nothing waits for the device.)"""
        checks.check_offsets("sparse_conv", self.starts, len(self.inputs))
        sizes = self.kernel, TILE, len(self.coords_in), len(self.coords_out)
        given: tuple[Any, ...] = (*arrays(self.inputs, self.outputs, self.starts), *sizes)
        if not cpu_rules.inside(*given):
            raise ValueError("sparse_conv: a rulebook's pairs point outside its voxels or tiles")

    def reversed(self) -> "Rulebook":
        """The same pairs with inputs and outputs exchanged: the rules of the inverse convolution, which takes a strided
        one's outputs back to the voxels that it came from."""
        inputs, outputs, starts = _reverse(self.inputs, self.outputs, self.starts, self.kernel, len(self.coords_in))
        ends = (self.coords_out, self.coords_in), (self.shape_out, self.shape_in)
        return Rulebook(inputs, outputs, starts, self.kernel, *ends[0], *ends[1], mutual=False)


def submanifold_rules(
    coords: Tensor, shape: Sequence[int], batch_size: int, kernel: Sequence[int] = (3, 3, 3)
) -> Rulebook:
    """Rules of a submanifold convolution (arXiv 1706.01307): outputs are the inputs' cells, no other comes into being.

    Args:
        coords: int64 [V, 4] (batch, z, y, x), sorted, no two the same, as ``ops.voxelize`` gives them.
        shape: (nz, ny, nx) cells of a frame; their product may pass 2^31.
        kernel: (kz, ky, kx), odd. Frames and borders are not crossed.

    ValueError: dtype, shape, an even kernel, unsorted voxels or voxels outside the grid.
    """
    if any(k % 2 == 0 for k in kernel):
        raise ValueError(f"sparse_conv: a submanifold's kernel must be odd, got {tuple(kernel)}")
    shape_in, taps, ones = _checked(coords, shape, batch_size, kernel, (1, 1, 1))
    padding = [k // 2 for k in taps]
    numbers = list(shape_in), list(shape_in), list(taps), list(ones), padding, batch_size
    inputs, outputs, starts = _rules(coords, coords, *numbers)
    return Rulebook(inputs, outputs, starts, math.prod(taps), coords, coords, shape_in, shape_in, mutual=True)


def strided_rules(
    coords: Tensor,
    shape: Sequence[int],
    batch_size: int,
    kernel: Sequence[int] = (3, 3, 3),
    stride: Sequence[int] = (2, 2, 2),
    padding: Sequence[int] = (1, 1, 1),
) -> Rulebook:
    """Rules of a strided sparse convolution: every cell that at least one voxel reaches becomes an output.

    Output cell o takes the voxels at o * stride - padding + (0 .. kernel - 1); outputs are sorted. The output grid has
    (n + 2 * padding - kernel) // stride + 1 cells along an axis. Arguments and errors: ``submanifold_rules``.
    """
    shape_in, taps, steps = _checked(coords, shape, batch_size, kernel, stride)
    if len(padding) != 3 or any(p < 0 for p in padding):
        raise ValueError(f"sparse_conv: padding must be three numbers of 0 or more, got {tuple(padding)}")
    sizes = [(n + 2 * p - k) // s + 1 for n, p, k, s in zip(shape_in, padding, taps, steps, strict=True)]
    if min(sizes) < 1:
        raise ValueError(f"sparse_conv: kernel {taps} does not fit into {shape_in} cells with padding {tuple(padding)}")
    shape_out = (sizes[0], sizes[1], sizes[2])
    numbers = list(shape_in), list(shape_out), list(taps), list(steps), list(padding), batch_size
    cells = _outputs(coords, *numbers)
    inputs, outputs, starts = _rules(coords, cells, *numbers)
    return Rulebook(inputs, outputs, starts, math.prod(taps), coords, cells, shape_in, shape_out, mutual=False)


def _checked(
    coords: Tensor, shape: Sequence[int], batch_size: int, kernel: Sequence[int], stride: Sequence[int]
) -> tuple[Triple, Triple, Triple]:
    checks.check_index("sparse_conv", "coords", coords, 2)
    if coords.shape[1] != 4:
        raise ValueError(f"sparse_conv: coords must be [V, 4] (batch, z, y, x), got {tuple(coords.shape)}")
    for name, triple in (("shape", shape), ("kernel", kernel), ("stride", stride)):
        if len(triple) != 3 or min(triple) < 1:
            raise ValueError(f"sparse_conv: {name} must be three positive numbers (z, y, x), got {tuple(triple)}")
    if batch_size < 0 or max(len(coords), shape[2] + 64, batch_size * shape[0] * shape[1]) >= 2**31:
        raise ValueError(
            f"sparse_conv: {len(coords)} voxels and {batch_size} frames of {tuple(shape)} cells: voxels, rows of cells "
            "and cells of a row must each stay below 2^31"
        )
    return (
        (int(shape[0]), int(shape[1]), int(shape[2])),
        (int(kernel[0]), int(kernel[1]), int(kernel[2])),
        (int(stride[0]), int(stride[1]), int(stride[2])),
    )


@operator("drive_ops::sparse_rules")
def _rules(
    coords_in: Tensor,
    coords_out: Tensor,
    shape_in: list[int],
    shape_out: list[int],
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    batch_size: int,
) -> tuple[Tensor, Tensor, Tensor]:
    reference.check_coords(coords_in, shape_in, batch_size)
    return reference.rules(coords_in, coords_out, shape_in, kernel, stride, padding, TILE)


@operator("drive_ops::sparse_outputs")
def _outputs(
    coords: Tensor,
    shape_in: list[int],
    shape_out: list[int],
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    batch_size: int,
) -> Tensor:
    reference.check_coords(coords, shape_in, batch_size)
    return reference.outputs(coords, shape_out, kernel, stride, padding)


@operator("drive_ops::sparse_rules_reversed")
def _reverse(
    inputs: Tensor, outputs: Tensor, starts: Tensor, kernel: int, num_in: int
) -> tuple[Tensor, Tensor, Tensor]:
    return reference.reverse(inputs, outputs, starts, kernel, num_in, TILE)


@_rules.register_kernel("cpu")
def _(
    coords_in: Tensor,
    coords_out: Tensor,
    shape_in: list[int],
    shape_out: list[int],
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    batch_size: int,
) -> tuple[Tensor, Tensor, Tensor]:
    first = arrays(coords_in)[0]
    second = first if coords_out.data_ptr() == coords_in.data_ptr() and shape_in == shape_out else arrays(coords_out)[0]
    numbers: Any = {"kernel": tuple(kernel), "stride": tuple(stride), "padding": tuple(padding), "batch": batch_size}
    numbers |= {"shape_in": tuple(shape_in), "shape_out": tuple(shape_out)}
    if second is first and stride == [1, 1, 1] and padding == [k // 2 for k in kernel] and all(k % 2 for k in kernel):
        grid: Any = {"shape": tuple(shape_in), "kernel": tuple(kernel), "batch": batch_size}
        return tensors(cpu_mutual.mutual_rules(first, **grid, tile=TILE, threads=torch.get_num_threads()))
    return tensors(cpu_rules.rules(first, second, **numbers, tile=TILE, threads=torch.get_num_threads()))


@_outputs.register_kernel("cpu")
def _(
    coords: Tensor,
    shape_in: list[int],
    shape_out: list[int],
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    batch_size: int,
) -> Tensor:
    numbers: Any = {"kernel": tuple(kernel), "stride": tuple(stride), "padding": tuple(padding), "batch": batch_size}
    numbers |= {"shape_in": tuple(shape_in), "shape_out": tuple(shape_out)}
    return tensors(cpu_rules.outputs(arrays(coords)[0], **numbers, threads=torch.get_num_threads()))


@_reverse.register_kernel("cpu")
def _(inputs: Tensor, outputs: Tensor, starts: Tensor, kernel: int, num_in: int) -> tuple[Tensor, Tensor, Tensor]:
    return tensors(cpu_rules.reverse(*arrays(inputs, outputs, starts), kernel=kernel, num_in=num_in, tile=TILE))


@_rules.register_fake
def _(
    coords_in: Tensor,
    coords_out: Tensor,
    shape_in: list[int],
    shape_out: list[int],
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    batch_size: int,
) -> tuple[Tensor, Tensor, Tensor]:
    pairs = torch.library.get_ctx().new_dynamic_size()
    tiles = -(-coords_out.shape[0] // TILE)
    lists = coords_in.new_empty(pairs, dtype=torch.int32), coords_in.new_empty(pairs, dtype=torch.int32)
    return *lists, coords_in.new_empty(tiles * kernel[0] * kernel[1] * kernel[2] + 1)


@_outputs.register_fake
def _(
    coords: Tensor,
    shape_in: list[int],
    shape_out: list[int],
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    batch_size: int,
) -> Tensor:
    return coords.new_empty(torch.library.get_ctx().new_dynamic_size(), 4)


@_reverse.register_fake
def _(inputs: Tensor, outputs: Tensor, starts: Tensor, kernel: int, num_in: int) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(outputs), torch.empty_like(inputs), starts.new_empty(-(-num_in // TILE) * kernel + 1)


def _rules_cuda(
    coords_in: Tensor,
    coords_out: Tensor,
    shape_in: list[int],
    shape_out: list[int],
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    batch_size: int,
) -> tuple[Tensor, Tensor, Tensor]:
    reference.check_coords(coords_in, shape_in, batch_size)
    lists = coords_in.contiguous(), coords_out.contiguous()
    return cuda.rules(*lists, shape_in, kernel, stride, padding, batch_size, TILE)


def register_cuda() -> None:
    """The rulebook's kernel; outputs and the exchange of lists take the torch reference on a GPU."""
    _rules.register_kernel("cuda")(_rules_cuda)
