"""This operator beside its peers (`python -m ops bench`)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ops.pair import Pair
from ops.transformer_layer import LayerWeights, composed, transformer_layer
from ops.transformer_layer.check import random_weights
from ops.window_attention.bench import sweep_windows

CHANNELS, HIDDEN, HEADS = 128, 256, 8


def example(seed: int = 0, tokens: int = 500) -> tuple[Tensor, Tensor, LayerWeights]:
    """Small inputs: x [T, C], offsets, weights."""
    offsets = sweep_windows(seed)
    offsets = offsets[offsets <= tokens]
    x = torch.randn(int(offsets[-1]), CHANNELS, generator=torch.Generator().manual_seed(seed))
    return x, offsets, random_weights(CHANNELS, HIDDEN, seed)


def pairs() -> Iterator[Pair]:
    """Comparisons, the peer's output checked before either is timed; the products compute something else."""
    x, offsets, weights = example(3, 1 << 40)
    size = f"{len(x)} tokens, {CHANNELS} channels"
    for dtype, name in ((torch.bfloat16, "bfloat16"), (torch.float32, "float32")):
        narrow = dtype == torch.bfloat16
        given = x.to(dtype)
        attended, hidden = torch.randn_like(given), torch.randn(len(x), HIDDEN).to(dtype)
        w = [t.to(dtype) for t in weights]
        products = [(given, *w[0:2]), (attended, *w[2:4]), (given, *w[6:8]), (hidden, *w[8:10])]

        def ours(dtype: torch.dtype = dtype) -> list[Tensor]:
            with torch.no_grad():
                return [transformer_layer(x, offsets, weights, HEADS, matmul_dtype=dtype)]

        def alone(products: list[tuple[Tensor, ...]] = products) -> list[Tensor]:
            with torch.no_grad():
                return [F.linear(*one) for one in products]

        def parts(narrow: bool = narrow) -> list[Tensor]:
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=narrow):
                return [composed(x, offsets, weights, HEADS).float()]

        goal = 0.5 if narrow else 0.0
        layer = f"layer, {name} products, {size}"
        yield Pair(layer, f"its own {name} products", ours, alone, same=lambda a, b: None, goal=goal)
        yield Pair(layer, "torch's operators and window_attention", ours, parts, 0.05 if narrow else 1e-5)
