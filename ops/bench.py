"""Every operator against the usual way in torch: outputs compared first, then both timed in turns in this process."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ops import dilate, point_attention, points_in_boxes, rotated_iou, rotated_nms, segment, voxelize, window_attention
from ops.examples import RANGE, VOXEL, Example, make


@dataclass(frozen=True)
class Row:
    """One comparison; times in milliseconds: the least of all rounds."""

    name: str
    peer: str
    ours_ms: float
    peer_ms: float
    first_call_s: float
    """Our first call: reading the compiled kernel from numba's cache, or compiling it."""


def _with_gradient(call: Callable[..., Tensor], *values: Tensor) -> Callable[[], list[Tensor]]:
    leaves = [v.clone().requires_grad_() for v in values]

    def run() -> list[Tensor]:
        out = call(*leaves)
        return [out.detach(), *torch.autograd.grad(out.sum(), leaves)]

    return run


def _unique_voxels(e: Example) -> list[Tensor]:
    """The merged-key way: torch.unique of one integer a point."""
    low, high, size = (e.points.new_tensor(v) for v in (RANGE[:3], RANGE[3:], VOXEL))
    inside = ((e.points[:, :3] >= low) & (e.points[:, :3] < high)).all(1)
    cell = ((e.points[inside, :3] - low) / size).long()
    nz, ny, nx = voxelize.grid_shape(RANGE, VOXEL)
    key = ((e.point_batch[inside] * nz + cell[:, 2]) * ny + cell[:, 1]) * nx + cell[:, 0]
    key, inverse, counts = torch.unique(key, return_inverse=True, return_counts=True)
    coords = torch.stack([key // (nx * ny * nz), key // (nx * ny) % nz, key // nx % ny, key % nx], 1)
    order = inside.nonzero()[:, 0][torch.argsort(inverse, stable=True)]
    return [coords, order, torch.cat([counts.new_zeros(1), counts.cumsum(0)])]


def _padded_attention(windows: Tensor) -> Callable[..., Tensor]:
    """SST's way: windows of similar size padded together, masked dense attention. The buckets are made beforehand."""
    buckets = list(window_attention.reference._buckets(windows))

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = torch.zeros_like(q)
        for rows, valid in buckets:
            qb, kb, vb = (t[rows].transpose(1, 2) for t in (q, k, v))
            o = scaled_dot_product_attention(qb, kb, vb, attn_mask=valid[:, None, None, :])
            out = out.index_put((rows[valid],), o.transpose(1, 2)[valid])
        return out

    return run


def _scatter_max(ids: Tensor, segments: int) -> Callable[[Tensor], Tensor]:
    return lambda v: v.new_zeros(segments, v.shape[1]).scatter_reduce(
        0, ids[:, None].expand_as(v), v, "amax", include_self=False
    )


def _scatter_attention(ids: Tensor, segments: int) -> Callable[[Tensor, Tensor], Tensor]:
    def run(scores: Tensor, values: Tensor) -> Tensor:
        top = _scatter_max(ids, segments)(scores.detach())
        weight = (scores - top[ids]).exp()
        total = torch.zeros_like(top).index_add(0, ids, weight)
        weighted = (weight / total[ids])[:, :, None] * values[:, None, :]
        return weighted.new_zeros(segments, *weighted.shape[1:]).index_add(0, ids, weighted)

    return run


def _pairs(e: Example) -> Iterator[tuple[str, str, Callable[[], Any], Callable[[], Any], float]]:
    """(name, peer, ours, the peer's, allowed difference)."""
    groups = voxelize.voxelize(e.points, e.point_batch, RANGE, VOXEL, e.frames)
    yield (
        f"voxelize {len(e.points)} points",
        "torch.unique of keys",
        lambda: list(voxelize.voxelize(e.points, e.point_batch, RANGE, VOXEL, e.frames)),
        lambda: _unique_voxels(e),
        0.0,
    )
    V, offsets = len(groups.coords), groups.offsets
    ids = segment.segment_ids(offsets, len(groups.order))
    values, scores = torch.randn(len(ids), 64), torch.randn(len(ids), 4)
    yield (
        "segment max, 64 channels, and gradient",
        "scatter_reduce amax",
        _with_gradient(lambda v: segment.segment_max(v, offsets), values),
        _with_gradient(_scatter_max(ids, V), values),
        1e-6,
    )
    yield (
        "point attention, 4 heads, and gradient",
        "scatter softmax",
        _with_gradient(lambda s, v: point_attention.point_attention(s, v, offsets), scores, values),
        _with_gradient(_scatter_attention(ids, V), scores, values),
        1e-3,
    )
    padded = _padded_attention(e.windows)
    with torch.no_grad():
        yield (
            f"window attention, {len(e.qkv[0])} tokens, {e.qkv[0].shape[1]} heads",
            "padded buckets, SDPA",
            lambda: [window_attention.window_attention(*e.qkv, e.windows)],
            lambda: [padded(*e.qkv)],
            1e-4,
        )
    yield (
        "window attention and gradient",
        "padded buckets, SDPA",
        _with_gradient(lambda q, k, v: window_attention.window_attention(q, k, v, e.windows), *e.qkv),
        _with_gradient(padded, *e.qkv),
        1e-3,
    )
    half = len(e.boxes) // 2
    a, b = e.boxes[:half], e.boxes[half:]
    yield (
        f"rotated IoU {len(a)} x {len(b)}",
        "our torch reference",
        lambda: [rotated_iou.rotated_iou_bev(a, b)],
        lambda: [rotated_iou.reference.iou_matrix(a, b, False)],
        1e-5,
    )
    limits = torch.full((3,), 0.2, dtype=torch.float64)
    yield (
        f"rotated NMS, {len(e.boxes)} boxes, 3 classes",
        "our torch reference",
        lambda: [rotated_nms.rotated_nms(e.boxes, e.scores, e.labels, [0.2] * 3)],
        lambda: [rotated_nms.reference.rotated_nms(e.boxes, e.scores, e.labels, limits)],
        0.0,
    )
    zeros = torch.zeros_like(e.point_batch), torch.zeros(100, dtype=torch.int64)
    yield (
        f"points in boxes, {len(e.points)} x 100",
        "our torch reference",
        lambda: list(points_in_boxes.points_in_boxes(e.points, e.boxes[:100])),
        lambda: list(points_in_boxes.reference.points_in_boxes(e.points, zeros[0], e.boxes[:100], zeros[1])),
        float("inf"),
    )
    keep = torch.rand(V) < 0.15
    _, ny, nx = voxelize.grid_shape(RANGE, VOXEL)
    yield (
        f"dilate 5 x 5, {int(keep.sum())} of {V} voxels",
        "our torch reference",
        lambda: list(dilate.dilate(groups.coords, keep, 5, (ny, nx), e.frames)),
        lambda: list(dilate.reference.dilate(groups.coords, keep, 5, ny, nx, e.frames)),
        0.0,
    )


def measure(threads: int, rounds: int = 7) -> list[Row]:
    """Time every pair with `threads` torch threads. AssertionError where the two outputs differ."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    rows = []
    try:
        for name, peer, ours, theirs, allowed in _pairs(make(120_000, 4, 1_000, 8_000, 4)):
            start = time.perf_counter()
            found = ours()
            first = time.perf_counter() - start
            for x, y in zip(found, theirs(), strict=True):
                assert x.shape == y.shape, f"{name}: {tuple(x.shape)} against {tuple(y.shape)}"
                assert not x.numel() or float((x.double() - y.double()).abs().max()) <= allowed, name
            seconds: tuple[list[float], list[float]] = ([], [])
            for _ in range(rounds):
                for call, times in zip((ours, theirs), seconds, strict=True):
                    start = time.perf_counter()
                    call()
                    times.append(time.perf_counter() - start)
            rows.append(Row(name, peer, min(seconds[0]) * 1e3, min(seconds[1]) * 1e3, first))
    finally:
        torch.set_num_threads(before)
    return rows


def table(rows: list[Row], threads: int) -> str:
    """The rows as text, with the machine's load."""
    lines = [f"{threads} thread(s), load average {os.getloadavg()[0]:.1f}, torch {torch.__version__}"]
    lines.append(f"{'':44s}{'ours ms':>9s}{'peer ms':>9s}{'ratio':>7s}{'first s':>9s}  peer")
    for r in rows:
        ratio = r.peer_ms / r.ours_ms
        lines.append(f"{r.name:44s}{r.ours_ms:9.2f}{r.peer_ms:9.2f}{ratio:7.1f}{r.first_call_s:9.2f}  {r.peer}")
    return "\n".join(lines)
