"""Every operator on one device, its kernel against its own torch reference there: `python -m ops bench --cuda`.

On a GPU the other peers of ops/<name>/bench.py are absent or run on the CPU; the reference is eager torch on the same
tensors, which is what a GPU user has without a kernel. Inputs are made here: a scan of a real one's size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ops import (
    assignment,
    box_collision,
    camera_sample,
    centre_targets,
    deformable_sample,
    dilate,
    downscale,
    kalman,
    lift_pool,
    pillar_encoder,
    point_attention,
    points_in_boxes,
    polygon_queries,
    rotated_iou,
    rotated_nms,
    segment,
    sparse_conv,
    transformer_layer,
    voxelize,
    window_attention,
    window_partition,
)
from ops.assignment.bench import example as tracks_and_detections
from ops.box_collision.bench import example as plans_and_agents
from ops.camera_sample.bench import rig
from ops.centre_targets.bench import example as labelled_voxels
from ops.examples import make
from ops.kalman.bench import example as moving
from ops.lift_pool.bench import example as lifted
from ops.pair import with_gradient
from ops.polygon_queries.bench import example as town
from ops.references import reference_kernels
from ops.scans import WAYMO_PILLARS, WAYMO_VOXELS, scan

WINDOW, SHIFTS = 10, (0, 5)


@dataclass(frozen=True)
class DeviceRow:
    """Milliseconds, the least of several calls; `error` is the largest difference of the two sides' first outputs."""

    op: str
    name: str
    ours_ms: float
    reference_ms: float
    error: float


def calls(device: str, rings: int = 64, columns: int = 2770) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """(operator, what, call) on inputs of a Waymo sweep's size; fewer rings and columns make a smaller one."""
    points = scan(rings, columns).to(device)
    frame = torch.zeros(len(points), dtype=torch.int64, device=device)
    g = torch.Generator().manual_seed(0)

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=g).to(device)

    yield "voxelize", f"{len(points)} points", lambda: voxelize.voxelize(points, frame, *WAYMO_PILLARS, 1)
    groups = voxelize.voxelize(points, frame, *WAYMO_PILLARS, 1)
    inside, offsets, coords = len(groups.order), groups.offsets, groups.coords
    wide, scores = normal(inside, 64), normal(inside, 4)
    yield "segment", "max and gradient", with_gradient(lambda v: segment.segment_max(v, offsets), wide)
    ten, weight, bias = normal(inside, 10), normal(10, 64), normal(64)
    yield (
        "pillar_encoder", "10 to 64 and gradient",
        with_gradient(lambda x, w, b: pillar_encoder.pillar_max(x, offsets, w, b), ten, weight, bias),
    )  # fmt: skip
    yield (
        "point_attention", "4 heads and gradient",
        with_gradient(lambda s, v: point_attention.point_attention(s, v, offsets), scores, wide),
    )  # fmt: skip
    shape = voxelize.grid_shape(*WAYMO_PILLARS)
    yield "downscale", "by 2", lambda: downscale.downscale(coords, 2, shape)
    yield (
        "window_partition", "one scale, two shifts",
        lambda: window_partition.window_partition([coords], [shape], WINDOW, SHIFTS)[0][0],
    )  # fmt: skip
    windows = window_partition.window_partition([coords], [shape], WINDOW)[0][0].offsets
    tokens = len(coords)
    q, k, v = normal(3, tokens, 8, 16)
    yield "window_attention", f"{tokens} tokens", lambda: window_attention.window_attention(q, k, v, windows)
    yield (
        "window_attention", "and gradient",
        with_gradient(lambda a, b, c: window_attention.window_attention(a, b, c, windows), q, k, v),
    )  # fmt: skip
    norms = (normal(128) for _ in range(6))
    layer = transformer_layer.LayerWeights(
        normal(384, 128) / 11, normal(384), normal(128, 128) / 11, next(norms), next(norms), next(norms),
        normal(256, 128) / 11, normal(256), normal(128, 256) / 16, next(norms), next(norms), next(norms),
    )  # fmt: skip
    x = normal(tokens, 128)
    yield "transformer_layer", "128 wide", lambda: transformer_layer.transformer_layer(x, windows, layer, 8)
    keep = (torch.rand(tokens, generator=g) < 0.2).to(device)
    yield "dilate", "5 x 5", lambda: dilate.dilate(coords, keep, 5, shape[1:], 1)
    fine = voxelize.voxelize(points, frame, *WAYMO_VOXELS, 1).coords
    fine_shape = voxelize.grid_shape(*WAYMO_VOXELS)
    yield "sparse_conv", "rulebook", lambda: sparse_conv.submanifold_rules(fine, fine_shape, 1).starts
    rules = sparse_conv.submanifold_rules(fine, fine_shape, 1)
    narrow, kernel = normal(len(fine), 16), normal(27, 16, 16) / 20
    yield (
        "sparse_conv", "16 to 16 and gradient",
        with_gradient(lambda a, w: sparse_conv.sparse_conv(a, w, rules), narrow, kernel),
    )  # fmt: skip
    e = make(10, 1, min(1_000, len(points)), 10, 1, device)
    half = len(e.boxes) // 2
    yield (
        "rotated_iou", f"{half} x {len(e.boxes) - half}",
        lambda: rotated_iou.rotated_iou_bev(e.boxes[:half], e.boxes[half:]),
    )  # fmt: skip
    yield (
        "rotated_nms",
        f"{len(e.boxes)} boxes",
        lambda: rotated_nms.rotated_nms(e.boxes, e.scores, e.labels, [0.2] * 3),
    )
    yield "points_in_boxes", "100 boxes", lambda: points_in_boxes.points_in_boxes(points[:, :3], e.boxes[:100])
    maps, places, shares = normal(1, 256, 64, 64), torch.rand(1, 20, 8, 2, generator=g).to(device), normal(1, 20, 8)
    yield "deformable_sample", "one map, 20 x 8", lambda: deformable_sample.sample_map(maps, places, shares)
    cameras, features = rig()[0].to(device), normal(5, 64, 160, 240)
    yield (
        "camera_sample", "project, 5 cameras",
        lambda: camera_sample.project_points(points[:, :3], cameras).place.float(),
    )  # fmt: skip
    seen = camera_sample.project_points(points[:, :3], cameras)
    yield "camera_sample", "sample 64 channels", lambda: camera_sample.sample_points(features, seen)
    depth, context, plan = lifted(0)
    depth, context, plan = depth.to(device), context.to(device), plan.to(device)
    yield "lift_pool", "small", lambda: lift_pool.lift_pool(depth, context, plan)
    tracks, detections = (c.to(device) for c in tracks_and_detections(200))
    among = assignment.candidates(tracks, detections, 4.0)
    yield "assignment", "200 x 200", lambda: assignment.assign(among, 200).column
    yield from _of_tracks_and_maps(device)


def _of_tracks_and_maps(device: str) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    given: Any = tuple(t.to(device) if isinstance(t, torch.Tensor) else t for t in labelled_voxels(0))
    yield "centre_targets", "heat of sparse voxels", lambda: centre_targets.centre_targets(*given)
    tracks, dt, Q, measured, R = moving(200)
    mean, covariance, dt, Q, measured, R = (t.to(device) for t in (*tracks, dt, Q, measured, R))
    rows = torch.arange(200, device=device)

    def filtered() -> torch.Tensor:
        ahead = kalman.predict(kalman.AB3DMOT, kalman.Tracks(mean, covariance), dt, Q)
        return kalman.update(kalman.AB3DMOT, ahead, rows, measured, R).mean

    yield "kalman", "200 tracks", filtered
    plans, agents = (t.to(device) for t in plans_and_agents(256, 41, 58))
    yield "box_collision", "256 x 41 x 58", lambda: box_collision.collisions(plans, agents)
    corners, vertices, rings, polygons, _ = (t.to(device) for t in town(500, 10_000))
    yield (
        "polygon_queries", "10,000 points, 500 polygons",
        lambda: polygon_queries.corners_inside(corners, vertices, rings, polygons).inside,
    )  # fmt: skip


def measure(device: str, rounds: int = 20, rings: int = 64, columns: int = 2770) -> list[DeviceRow]:
    """Every call by its kernel and by its reference on the device, in turns."""
    rows = []
    for op, name, call in calls(device, rings, columns):
        with reference_kernels(device):
            exact = _first(call())
        error = float((_first(call()).double() - exact.double()).abs().max()) if exact.numel() else 0.0
        ours, reference = [], []
        for _ in range(rounds):
            ours.append(_timed(call, device))
            with reference_kernels(device):
                reference.append(_timed(call, device))
        rows.append(DeviceRow(op, name, min(ours) * 1e3, min(reference) * 1e3, error))
    return rows


def _first(found: Any) -> torch.Tensor:
    return found if isinstance(found, torch.Tensor) else found[0]


def _timed(call: Callable[[], Any], device: str) -> float:
    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    wait()
    begin = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - begin


def table(rows: list[DeviceRow], device: str) -> str:
    """The rows as text."""
    where = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    lines = [f"{where}, torch {torch.__version__}"]
    lines.append(f"{'':46s}{'ours ms':>10s}{'torch ms':>10s}{'ratio':>8s}{'differs':>10s}")
    for r in rows:
        ratio = r.reference_ms / r.ours_ms
        lines.append(f"{r.op + ': ' + r.name:46s}{r.ours_ms:10.3f}{r.reference_ms:10.3f}{ratio:8.1f}{r.error:10.1e}")
    return "\n".join(lines)
