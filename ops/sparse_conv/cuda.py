"""Host side of kernel.cu: float32 CUDA tensors, any number of channels."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ops import nvrtc

SOURCE = Path(__file__).with_name("kernel.cu")
CHUNK_TILES = 8  # tiles of pairs that one thread of the weight gradient walks through


def rules(
    coords_in: Tensor,
    coords_out: Tensor,
    shape_in: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    batch: int,
    tile: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """See ops.sparse_conv.rulebook. An input is found by its rank in a bitmap of occupied cells; the lists are then the
    table's occupied entries, which torch's own kernels collect. Waits for the device to know how many there are."""
    device, K = coords_in.device, kernel[0] * kernel[1] * kernel[2]
    V, U = len(coords_in), len(coords_out)
    words = (batch * shape_in[0] * shape_in[1] * shape_in[2] + 31) // 32
    bitmap = torch.zeros(words, dtype=torch.int32, device=device)
    count = torch.empty_like(bitmap)
    nvrtc.launch(SOURCE, "sparse_mark", V, coords_in, V, *shape_in, bitmap)
    nvrtc.launch(SOURCE, "sparse_count", words, bitmap, words, count)
    before = torch.cumsum(count, 0, dtype=torch.int32) - count
    table = torch.empty(-(-U // tile), K, tile, dtype=torch.int32, device=device)
    numbers = *shape_in, *kernel, *stride, *padding, tile
    nvrtc.launch(SOURCE, "sparse_rules", table.numel(), coords_out, U, bitmap, before, *numbers, table.numel(), table)
    pair = torch.nonzero(table.flatten() >= 0)[:, 0]
    outputs = torch.div(pair, K * tile, rounding_mode="floor") * tile + pair % tile
    counts = (table >= 0).sum(2).flatten()
    starts = torch.cat((counts.new_zeros(1), counts.cumsum(0)))
    return table.flatten()[pair], outputs.int(), starts


def _table(inputs: Tensor, outputs: Tensor, starts: Tensor, K: int, num_out: int) -> Tensor:
    table = torch.full((num_out, K), -1, dtype=torch.int32, device=inputs.device)
    groups = len(starts) - 1
    nvrtc.launch(SOURCE, "sparse_table", groups, inputs, outputs, starts, groups, K, num_out, table)
    return table


def convolve(x: Tensor, weight: Tensor, inputs: Tensor, outputs: Tensor, starts: Tensor, num_out: int) -> Tensor:
    """x [V, C], weight [K, C, D] -> [num_out, D]."""
    K, C, D = weight.shape
    table, y = _table(inputs, outputs, starts, K, num_out), x.new_empty(num_out, D)
    nvrtc.launch(SOURCE, "sparse_conv", num_out * D, x, len(x), weight, table, num_out, K, C, D, y)
    return y


def weight_gradient(x: Tensor, grad: Tensor, inputs: Tensor, outputs: Tensor, starts: Tensor, kernel: int) -> Tensor:
    """[K, C, D]: partial sums over a few tiles each, added in a fixed order."""
    C, D = x.shape[1], grad.shape[1]
    tiles = (len(starts) - 1) // kernel
    chunks = -(-tiles // CHUNK_TILES)
    parts = x.new_empty(chunks, kernel, C, D)
    sizes = len(x), len(grad), tiles, CHUNK_TILES, kernel, C, D
    nvrtc.launch(SOURCE, "sparse_weight", parts.numel(), x, grad, inputs, outputs, starts, *sizes, parts.numel(), parts)
    return parts.sum(0)
