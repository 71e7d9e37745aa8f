"""Points in polygons and nearest points on polylines in plain torch, all against all: the specification."""

import torch
from torch import Tensor

LARGEST = 1e9


def corners_inside(points: Tensor, vertices: Tensor, rings: Tensor, polygons: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(bits of the points that some polygon holds, first polygon that holds all or -1, polygons that hold any): [N]."""
    N, C = points.shape[:2]
    G = polygons.numel() - 1
    following = torch.arange(1, vertices.shape[0] + 1, device=vertices.device)
    following[rings[1:][rings.diff() > 0] - 1] = rings[:-1][rings.diff() > 0]
    x0, y0, x1, y1 = (t[:, d] for t in (vertices, vertices[following]) for d in range(2))
    x, y = points[..., 0, None], points[..., 1, None]
    side = (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)
    crosses = ((y0 > y) != (y1 > y)) & ((side > 0) == (y1 > y0))
    bounds = rings[polygons].tolist()
    held = torch.zeros(N, C, G, dtype=torch.bool, device=points.device)
    for g in range(G):
        held[..., g] = crosses[..., bounds[g] : bounds[g + 1]].sum(2) % 2 == 1
    held &= (points.abs() <= LARGEST).all(2)[..., None]
    bit = 2 ** torch.arange(C, device=points.device)
    whole = held.all(1)
    first = torch.where(whole.any(1), whole.to(torch.uint8).argmax(1) if G else 0, -1)
    return (held.any(2) * bit).sum(1), first, held.any(1).sum(1)


def nearest(points: Tensor, vertices: Tensor, lines: Tensor) -> tuple[Tensor, Tensor]:
    """(segment counted over all lines or -1, share along it): [N]."""
    joins = torch.ones(max(vertices.shape[0] - 1, 0), dtype=torch.bool, device=vertices.device)
    ends = lines[1:-1]
    joins[ends[(ends > 0) & (ends < vertices.shape[0])] - 1] = False
    first = joins.nonzero()[:, 0]
    if not first.numel():
        return lines.new_full((points.shape[0],), -1), points.new_zeros(points.shape[0])
    step = vertices[first + 1] - vertices[first]
    offset = points[:, None] - vertices[first]
    length = step.square().sum(1)
    share = ((offset * step).sum(2) / length.where(length > 0, 1.0)).clamp(0, 1).where(length > 0, 0.0)
    distance = (offset - share[..., None] * step).square().sum(2)
    best = distance.argmin(1)
    good = (points.abs() <= LARGEST).all(1)
    return best.where(good, -1), share.gather(1, best[:, None])[:, 0].where(good, 0.0)
