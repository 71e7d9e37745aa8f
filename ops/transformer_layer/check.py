"""The kernels of this operator against its reference (`python -m ops check`)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from ops.compare import Comparison, both
from ops.examples import make
from ops.transformer_layer import LayerWeights, transformer_layer


def random_weights(channels: int, hidden: int, seed: int = 0) -> LayerWeights:
    """Weights of ordinary size."""
    g, C, M = torch.Generator().manual_seed(seed), channels, hidden
    shapes = ((3 * C, C), (3 * C,), (C, C), (C,), (C,), (C,), (M, C), (M,), (C, M), (C,), (C,), (C,))
    return LayerWeights(*(torch.randn(s, generator=g) / math.sqrt(s[-1]) for s in shapes))


def compare(device: str) -> Iterator[Comparison]:
    """(what, largest error, allowed error) on "cpu" or "cuda"."""
    e = make(12_000, 3, 200, 2_000, 8, device)
    x, weights = e.qkv[0].flatten(1), [w.to(device) for w in random_weights(128, 256)]
    # Gradients of weights are sums over all tokens. The bfloat16 side is compared with the same rounding in float64:
    # where a value lies at the edge of a step, the two fall to different sides of it.
    for what, dtype, allowed in (
        ("layer", None, (2e-5, 2e-3)),
        ("layer, bfloat16 products", torch.bfloat16, (4e-2, 0.2)),
    ):

        def call(x, *rest, dtype=dtype):  # type: ignore[no-untyped-def]
            return transformer_layer(x, rest[-1], LayerWeights(*rest[:-1]), 8, matmul_dtype=dtype)

        for (name, error, _), limit in zip(both(what, call, (x, *weights), (e.windows,), 0.0), allowed, strict=True):
            yield name, error, limit
