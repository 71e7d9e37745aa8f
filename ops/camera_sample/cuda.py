"""Host side of kernel.cu."""

from pathlib import Path

import torch
from torch import Tensor

from ops import nvrtc
from ops.segment.reference import segment_ids

SOURCE = Path(__file__).with_name("kernel.cu")


def project(
    points: Tensor, batch: Tensor, table: Tensor, first: Tensor, near: float, best: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(point [E], camera [E], place f32 [E, 2], depth f32 [E], offsets [P + 1]); points of any layout."""
    points, P = points[:, :3].double().contiguous(), points.shape[0]
    # `near` travels in float64: a launch passes floats in single precision.
    given = points, batch, table, first, torch.tensor([near], dtype=torch.float64, device=points.device), P, int(best)
    counts = batch.new_empty(P)
    nvrtc.launch(SOURCE, "count_pairs", P, *given, counts)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    E = int(offsets[-1])
    point, camera = batch.new_empty(E), batch.new_empty(E)
    place, depth = points.new_empty(E, 2, dtype=torch.float32), points.new_empty(E, dtype=torch.float32)
    nvrtc.launch(SOURCE, "list_pairs", P, *given, offsets, point, camera, place, depth)
    return point, camera, place, depth, offsets


def sample(features: Tensor, camera: Tensor, place: Tensor, offsets: Tensor, mean: bool) -> Tensor:
    """Features float32 [N, h, w, C] -> [R, C]."""
    _, h, w, C = features.shape
    R = offsets.shape[0] - 1
    out = features.new_empty(R, C)
    nvrtc.launch(SOURCE, "sample", R * C, features, camera, place, offsets, R, C, h, w, int(mean), out)
    return out


def sample_backward(
    grad: Tensor, camera: Tensor, place: Tensor, offsets: Tensor, mean: bool, size: list[int]
) -> Tensor:
    """Gradient of the features, float32 [N, h, w, C], added atomically."""
    _, h, w, C = size
    E, out = camera.shape[0], grad.new_zeros(size)
    row = segment_ids(offsets, E)
    nvrtc.launch(SOURCE, "spread", E * C, grad, row, camera, place, offsets, E, C, h, w, int(mean), out)
    return out
