"""This operator beside its peers (`python -m ops bench`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ops.examples import make
from ops.pair import Pair, with_gradient
from ops.window_attention import reference, window_attention


def _padded_attention(windows: Tensor) -> Callable[..., Tensor]:
    """SST's way: windows of similar size padded together, masked dense attention. The buckets are made beforehand."""
    buckets = list(reference._buckets(windows))

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = torch.zeros_like(q)
        for rows, valid in buckets:
            qb, kb, vb = (t[rows].transpose(1, 2) for t in (q, k, v))
            o = scaled_dot_product_attention(qb, kb, vb, attn_mask=valid[:, None, None, :])
            out = out.index_put((rows[valid],), o.transpose(1, 2)[valid])
        return out

    return run


def pairs() -> Iterator[Pair]:
    """Comparisons, the peer's output checked before either is timed."""
    e = make(120_000, 4, 1_000, 8_000, 4)
    padded = _padded_attention(e.windows)

    def ours() -> list[Tensor]:
        with torch.no_grad():
            return [window_attention(*e.qkv, e.windows)]

    def theirs() -> list[Tensor]:
        with torch.no_grad():
            return [padded(*e.qkv)]

    size = f"{len(e.qkv[0])} tokens, {e.qkv[0].shape[1]} heads"
    yield Pair(f"window attention, {size}", "padded buckets, SDPA", ours, theirs, 1e-4)
    yield Pair(
        "window attention and gradient",
        "padded buckets, SDPA",
        with_gradient(lambda q, k, v: window_attention(q, k, v, e.windows), *e.qkv),
        with_gradient(padded, *e.qkv),
        1e-3,
    )
