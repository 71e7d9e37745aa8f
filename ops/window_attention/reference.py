"""Attention inside ragged groups in plain torch: groups of similar size padded together. The specification."""

from collections.abc import Iterator

import torch
from torch import Tensor


def window_attention(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """(attended [T, H, D], log-sum-exp of the scaled scores [T, H]). Half types compute in float32."""
    out, logsumexp = q.new_empty(q.shape), q.new_empty(q.shape[:2], dtype=_wide(q))
    for rows, valid in _buckets(offsets):
        qb, kb, vb = (t[rows].to(_wide(q)) for t in (q, k, v))
        s = _scores(qb, kb, valid, scale)
        total = s.logsumexp(-1)
        attended = torch.einsum("whij,wjhd->wihd", (s - total[..., None]).exp(), vb)
        out[rows[valid]] = attended[valid].to(q.dtype)
        logsumexp[rows[valid]] = total.transpose(1, 2)[valid]
    return out, logsumexp


def window_attention_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, out: Tensor, logsumexp: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v, each [T, H, D]."""
    grads = q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)
    for rows, valid in _buckets(offsets):
        qb, kb, vb, gb, ob = (t[rows].to(_wide(q)) for t in (q, k, v, grad, out))
        gb = gb * valid[:, :, None, None]
        p = (_scores(qb, kb, valid, scale) - logsumexp[rows].transpose(1, 2)[..., None]).exp()
        p = p * valid[:, None, :, None]  # rows of padding repeat token 0: they must not reach keys and values
        ds = p * (torch.einsum("wihd,wjhd->whij", gb, vb) - (gb * ob).sum(-1).transpose(1, 2)[..., None]) * scale
        grads[0][rows[valid]] = torch.einsum("whij,wjhd->wihd", ds, kb)[valid].to(q.dtype)
        grads[1][rows[valid]] = torch.einsum("whij,wihd->wjhd", ds, qb)[valid].to(k.dtype)
        grads[2][rows[valid]] = torch.einsum("whij,wihd->wjhd", p, gb)[valid].to(v.dtype)
    return grads


def _scores(q: Tensor, k: Tensor, valid: Tensor, scale: float) -> Tensor:
    return torch.einsum("wihd,wjhd->whij", q, k).mul(scale).masked_fill(~valid[:, None, None, :], -torch.inf)


def _buckets(offsets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Groups by size class (8, 16, 32, ...): row numbers [w, size] and which of them are real (others are row 0)."""
    counts = offsets[1:] - offsets[:-1]
    low, size, largest = 0, 8, int(counts.max()) if counts.numel() else 0
    while low < largest:
        chosen = ((counts > low) & (counts <= size)).nonzero()[:, 0]
        if chosen.numel():
            width = min(size, largest)
            step = torch.arange(width, device=offsets.device)
            valid = step < counts[chosen, None]
            yield torch.where(valid, offsets[chosen, None] + step, 0), valid
        low, size = size, size * 2


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32
