"""Sparse convolution in plain torch: the specification, and the kernel wherever no faster one is registered."""

from collections.abc import Sequence

import torch
from torch import Tensor


def _keys(coords: Tensor, shape: Sequence[int]) -> Tensor:
    batch, z, y, x = coords.unbind(1)
    return ((batch * shape[0] + z) * shape[1] + y) * shape[2] + x


def check_coords(coords: Tensor, shape: Sequence[int], batch: int) -> None:
    """ValueError unless coords are sorted voxels of the grid, no two the same."""
    limit = torch.tensor([batch, *shape], device=coords.device)
    key = _keys(coords, shape)
    if bool(((coords < 0) | (coords >= limit)).any()) or bool((key[1:] <= key[:-1]).any()):
        raise ValueError(
            f"sparse_conv: coordinates must lie inside {batch} frames of {tuple(shape)} cells (z, y, x), sorted and no "
            "two the same"
        )


def outputs(
    coords: Tensor,
    shape_out: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
) -> Tensor:
    """int64 [U, 4]: the sorted output cells that at least one voxel reaches."""
    device = coords.device
    taps = torch.cartesian_prod(*(torch.arange(k, device=device) for k in kernel)).view(-1, 3)
    scaled = coords[:, None, 1:] + torch.tensor(padding, device=device) - taps
    step, limit = torch.tensor(stride, device=device), torch.tensor(shape_out, device=device)
    cell = torch.div(scaled, step, rounding_mode="floor")
    reached = ((scaled == cell * step) & (cell >= 0) & (cell < limit)).all(2)
    batch = coords[:, None, :1].expand(*cell.shape[:2], 1)
    key = torch.unique(_keys(torch.cat((batch, cell), 2)[reached], shape_out))
    rest, x = key // shape_out[2], key % shape_out[2]
    rest, y = rest // shape_out[1], rest % shape_out[1]
    return torch.stack((rest // shape_out[0], rest % shape_out[0], y, x), 1)


def rules(
    coords_in: Tensor,
    coords_out: Tensor,
    shape_in: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    tile: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """int32 inputs, outputs and int64 starts: for each output, which voxel lies at output * stride - padding + tap."""
    device, K = coords_in.device, kernel[0] * kernel[1] * kernel[2]
    taps = torch.cartesian_prod(*(torch.arange(k, device=device) for k in kernel)).view(-1, 3)
    corner = coords_out[:, 1:] * torch.tensor(stride, device=device) - torch.tensor(padding, device=device)
    place = corner[:, None] + taps
    inside = ((place >= 0) & (place < torch.tensor(shape_in, device=device))).all(2)
    batch = coords_out[:, None, :1].expand(*place.shape[:2], 1)
    key, wanted = _keys(coords_in, shape_in), _keys(torch.cat((batch, place), 2).flatten(0, 1), shape_in)
    row = torch.searchsorted(key, wanted).clamp(max=max(len(key) - 1, 0))
    found = inside.flatten() & (key[row] == wanted) if len(key) else torch.zeros_like(wanted, dtype=torch.bool)
    pair = torch.nonzero(found)[:, 0]
    return _sorted_pairs(row[pair], pair // K, pair % K, K, len(coords_out), tile)


def reverse(
    inputs: Tensor, outputs: Tensor, starts: Tensor, kernel: int, num_in: int, tile: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The same pairs, inputs and outputs exchanged."""
    return _sorted_pairs(outputs.long(), inputs.long(), offset_of_pair(starts, kernel), kernel, num_in, tile)


def offset_of_pair(starts: Tensor, kernel: int) -> Tensor:
    """int64 [P]: the kernel offset of each pair."""
    counts = starts[1:] - starts[:-1]
    return torch.repeat_interleave(torch.arange(len(counts), device=starts.device) % kernel, counts)


def _sorted_pairs(
    inputs: Tensor, outputs: Tensor, offset: Tensor, K: int, num_out: int, tile: int
) -> tuple[Tensor, Tensor, Tensor]:
    group = torch.div(outputs, tile, rounding_mode="floor") * K + offset
    order = torch.argsort(group * max(num_out, 1) + outputs)
    counts = torch.bincount(group, minlength=-(-num_out // tile) * K)
    starts = torch.cat((counts.new_zeros(1), counts.cumsum(0)))
    return inputs[order].int(), outputs[order].int(), starts


def convolve(x: Tensor, weight: Tensor, inputs: Tensor, outputs: Tensor, starts: Tensor, num_out: int) -> Tensor:
    """x [V, C], weight [K, C, D] -> [num_out, D]; half types are summed in float32."""
    K = len(weight)
    offset = offset_of_pair(starts, K)
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    y = x.new_zeros(num_out, weight.shape[2], dtype=wide)
    for k in range(K):
        mine = offset == k
        # An output takes at most one pair of an offset: nothing here depends on the order of additions.
        y.index_add_(0, outputs[mine], x[inputs[mine]].to(wide) @ weight[k].to(wide))
    return y.to(x.dtype)


def weight_gradient(x: Tensor, grad: Tensor, inputs: Tensor, outputs: Tensor, starts: Tensor, kernel: int) -> Tensor:
    """x [V, C], grad [num_out, D] -> [K, C, D], the gradient of `convolve`'s weight."""
    offset = offset_of_pair(starts, kernel)
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    parts = [x[inputs[offset == k]].to(wide).t() @ grad[outputs[offset == k]].to(wide) for k in range(kernel)]
    return torch.stack(parts).to(x.dtype)
