"""This operator beside its peers (`python -m ops bench`): shapely's vectorised intersects."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import torch
from torch import Tensor

from ops.box_collision import collisions
from ops.pair import Pair


def example(proposals: int, times: int, agents: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """An ego's proposals [P, T, 5] through agents [T, A, 5] that stand within 60 m, float64."""
    g = torch.Generator().manual_seed(seed)
    steps = torch.linspace(0, 40, times, dtype=torch.float64)
    bend = torch.randn(proposals, 1, generator=g, dtype=torch.float64) * 0.4
    ego = torch.zeros(proposals, times, 5, dtype=torch.float64)
    ego[..., 0], ego[..., 1], ego[..., 4] = steps * bend.cos(), steps * bend.sin(), bend
    ego[..., 2], ego[..., 3] = 5.176, 2.297
    others = torch.rand(times, agents, 5, generator=g, dtype=torch.float64)
    others[..., :2] = 120 * others[..., :2] - 60
    others[..., 2:4] = 0.5 + 4 * others[..., 2:4]
    others[..., 4] = 6.28 * others[..., 4]
    return ego, others


def with_shapely(ego: Tensor, others: Tensor) -> list[Tensor]:
    """Polygons made, then one vectorised call over all pairs of one time."""
    import shapely

    from ops.rotated_iou.reference import _corners

    def polygons(rows: Tensor) -> Tensor:
        boxes = torch.zeros(rows[..., 0].numel(), 7, dtype=torch.float64)
        boxes[:, [0, 1, 3, 4, 6]] = rows.reshape(-1, 5).double()
        return shapely.polygons(_corners(boxes).numpy()).reshape(rows.shape[:-1])

    return [torch.from_numpy(shapely.intersects(polygons(ego)[:, :, None], polygons(others)[None]))]


def pairs() -> Iterator[Pair]:
    """Comparisons, the peer's output checked before either is timed."""
    ego, others = example(256, 41, 58)
    peer = (lambda: with_shapely(ego, others)) if importlib.util.find_spec("shapely") else None
    name = "box collisions, 256 proposals x 41 x 58"
    yield Pair(name, "shapely intersects", lambda: [collisions(ego, others)], peer)
