"""This operator beside its peers (`python -m ops bench`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ops.pair import Pair, with_gradient
from ops.window_attention import window_attention

HEADS, DEPTH = 8, 16
BUCKETS = (16, 32, 64, 100)


def sweep_windows(seed: int = 3) -> Tensor:
    """Offsets of 690 windows as a Waymo sweep at 0.32 m fills windows of 10 x 10 pillars (seed 3: 13,608 tokens, mean
    19.7, median 11, nine tenths below 48, at most 100; the sweep: 13.6k, 19.7, 12, 50, 100).
    """
    sizes = (2.48 + 1.06 * torch.randn(690, generator=torch.Generator().manual_seed(seed))).exp()
    counts = sizes.clamp(1, 100).round().long()
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def example(seed: int = 0, tokens: int = 500) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Small inputs: q, k, v [T, H, D] and offsets."""
    offsets = sweep_windows(seed)
    offsets = offsets[offsets <= tokens]
    g = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, int(offsets[-1]), HEADS, DEPTH, generator=g).unbind()
    return q, k, v, offsets


def _buckets(offsets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Row numbers [w, size] of the windows of each bucket, and which of them are real (others are row 0)."""
    counts, low = offsets[1:] - offsets[:-1], 0
    for size in BUCKETS:
        chosen = ((counts > low) & (counts <= size)).nonzero()[:, 0]
        valid = torch.arange(size) < counts[chosen, None]
        yield torch.where(valid, offsets[chosen, None] + torch.arange(size), 0), valid
        low = size


def _padded_attention(windows: Tensor) -> Callable[..., Tensor]:
    """SST's way: windows of similar size padded together, masked dense attention. The buckets are made beforehand."""
    buckets = list(_buckets(windows))

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
    q, k, v, offsets = example(3, 1 << 40)
    padded = _padded_attention(offsets)

    def ours() -> list[Tensor]:
        with torch.no_grad():
            return [window_attention(q, k, v, offsets)]

    def theirs() -> list[Tensor]:
        with torch.no_grad():
            return [padded(q, k, v)]

    size = f"{len(q)} tokens, {HEADS} heads"
    peer = f"SST buckets {'/'.join(map(str, BUCKETS))}, padded SDPA"
    yield Pair(f"window attention, {size}", peer, ours, theirs, 1e-4, goal=4.0)
    yield Pair(
        "window attention and gradient",
        peer,
        with_gradient(lambda q, k, v: window_attention(q, k, v, offsets), q, k, v),
        with_gradient(padded, q, k, v),
        1e-3,
    )
