"""The window transformer layer and block of SWFormer (spec 1.5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from drive.voxels.windows import WINDOW, WindowPartition
from ops.sparse_conv import Rulebook, sparse_conv
from ops.transformer_layer import LayerWeights, composed, transformer_layer


def sine_code(window: int, channels: int, temperature: float = 1000.0) -> Tensor:
    """Position code float32 [window * window, channels] of the cells of a window, row by row.

    Half of the channels encode y, half x: sine and cosine pairs of the cell's offset from the window's centre at
    frequencies temperature^(-2i / (channels / 2)) (code: SST sst_input_layer_v2.py, temperature 1000).
    """
    if channels % 4:
        raise ValueError(f"position codes need channels divisible by 4, not {channels}")
    pairs = channels // 4
    frequency = temperature ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
    offset = torch.arange(window, dtype=torch.float64) - (window - 1) / 2
    angle = offset[:, None] * frequency
    axis = torch.stack((angle.sin(), angle.cos()), dim=2).view(window, 2 * pairs)
    y = axis[:, None, :].expand(window, window, -1)
    x = axis[None, :, :].expand(window, window, -1)
    return torch.cat((y, x), dim=2).reshape(window * window, channels).float()


class WindowLayer(nn.Module):
    """Post-norm: y = LN(x + MSA(x)); z = LN(y + MLP(y)), attention inside each window only; no dropout.

    Keys and values are those of the window's tokens, nothing is padded. MLP with GELU.
    """

    def __init__(self, channels: int, heads: int, mlp_channels: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels)
        self.mlp_in = nn.Linear(channels, mlp_channels)
        self.mlp_out = nn.Linear(mlp_channels, channels)
        self.mlp_norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:
        """x [T, C] in window order, offsets int64 [W + 1] -> [T, C].

        Inference on a CPU takes the layer in one piece, with bfloat16 products inside torch.autocast to bfloat16.
        Training keeps what lies between, and a GPU has no kernel for the whole.
        """
        modules = self.qkv, self.out, self.norm, self.mlp_in, self.mlp_out, self.mlp_norm
        weights = LayerWeights(*(p for module in modules for p in (module.weight, module.bias)))
        epsilons = self.norm.eps, self.mlp_norm.eps
        if torch.is_grad_enabled() or x.device.type != "cpu" or x.dtype != torch.float32:
            return composed(x, offsets, weights, self.heads, *epsilons)
        narrow = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        dtype = torch.bfloat16 if narrow else None
        eps, mlp_eps = epsilons
        return transformer_layer(x, offsets, weights, self.heads, eps=eps, mlp_eps=mlp_eps, matmul_dtype=dtype)


class NeighbourMix(nn.Module):
    """x + LN(convolution of the occupied 3 x 3 neighbours): a position code that the data condition.

    Not in the paper. Attention alone has to learn from content which token lies where relative to which; until it
    has, a voxel does not know the shape that it is part of, and short trainings end before that. A sparse convolution
    before each block knows it from the first step (Point Transformer V3, arXiv 2312.10035, "xCPE", reports the same).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(9, channels, channels))
        self.norm = nn.LayerNorm(channels)
        nn.init.uniform_(self.weight, -((9 * channels) ** -0.5), (9 * channels) ** -0.5)

    def forward(self, x: Tensor, neighbours: Rulebook) -> Tensor:
        """x [V, C] -> [V, C]; neighbours are the rules of ``drive.voxels.neighbours``."""
        return x + self.norm(sparse_conv(x, self.weight, neighbours))


class WindowBlock(nn.Module):
    """N layers on plain windows, one re-partition, M layers on shifted windows (one shift a block: spec 1.5).

    The position code is added once where tokens enter a partition, and not again in its layers.
    mix: a NeighbourMix before the first layer (not in the paper).
    """

    position: Tensor

    def __init__(
        self,
        channels: int,
        heads: int,
        mlp_channels: int,
        plain: int,
        shifted: int,
        window: int = WINDOW,
        mix: bool = False,
    ) -> None:
        super().__init__()
        self.mix = NeighbourMix(channels) if mix else None
        self.plain = nn.ModuleList(WindowLayer(channels, heads, mlp_channels) for _ in range(plain))
        self.shifted = nn.ModuleList(WindowLayer(channels, heads, mlp_channels) for _ in range(shifted))
        self.register_buffer("position", sine_code(window, channels), persistent=False)

    def forward(
        self, x: Tensor, plain: WindowPartition, shifted: WindowPartition, neighbours: Rulebook | None = None
    ) -> Tensor:
        """x [V, C] in key order -> [V, C] in key order; the mix needs the rules of its neighbours."""
        if self.mix is not None:
            x = self.mix(x, neighbours)
        for layers, windows in ((self.plain, plain), (self.shifted, shifted)):
            if len(layers) == 0:
                continue
            x = x.index_select(0, windows.order) + self.position.index_select(0, windows.position)
            for layer in layers:
                x = layer(x, windows.offsets)
            x = x.index_select(0, windows.inverse)
        return x
