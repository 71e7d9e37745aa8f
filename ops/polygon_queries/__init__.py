"""Map queries for scoring: corners of boxes in unions of polygons with holes, nearest points on centre lines.

Ragged: ring r of the map is vertices[ring_offsets[r]:ring_offsets[r + 1]] (not closed: its last vertex joins the
first), polygon g is rings polygon_offsets[g]:polygon_offsets[g + 1], its outer ring and its holes in any order
(even-odd). Line n is vertices[line_offsets[n]:line_offsets[n + 1]]. All float64, one frame; put the origin near the
scene. The grid is made anew in each call, linear in the map; a query then looks at its own cell (a polygon whose bounds
hold the point costs all its edges). Points on a boundary follow the half-open rule: which side they get depends on the
edge. Points with a NaN, an infinity or a number beyond 1e9 lie in nothing. No gradient.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ops import checks, kernels
from ops.arrays import arrays, tensors
from ops.operator import operator
from ops.polygon_queries import cpu, cuda, reference

MOST_CORNERS = 32


class CornersInside(NamedTuple):
    """Where the C points of each group (a box's corners; C = 1: plain points) lie."""

    inside: Tensor
    """bool [N, C]: some polygon holds the point (the union)."""
    holds_all: Tensor
    """int64 [N]: the first polygon that holds all C points, -1 where none does."""
    touched: Tensor
    """int64 [N]: polygons that hold at least one of the points."""


class OnLines(NamedTuple):
    """The nearest point of all lines; of equally near segments the first."""

    line: Tensor
    """int64 [N], -1 where there is none (no segment, or a point that is not finite)."""
    vertex: Tensor
    """int64 [N]: the segment starts at this vertex of the map."""
    point: Tensor
    """float64 [N, 2]."""
    arc_length: Tensor
    """float64 [N] metres along its line."""
    offset: Tensor
    """float64 [N] metres, left positive: by the segment's direction (at a corner by both segments')."""
    heading: Tensor
    """float64 [N] radians, the segment's direction."""


def corners_inside(points: Tensor, vertices: Tensor, ring_offsets: Tensor, polygon_offsets: Tensor) -> CornersInside:
    """Where points [N, C, 2] lie, C <= 32; see the module for the map's arrays. ValueError: shapes, dtypes, offsets."""
    op = "polygon_queries.corners_inside"
    _check_points(op, points, 3)
    _check_points(op, vertices, 2)
    checks.check_index(op, "ring_offsets", ring_offsets)
    checks.check_index(op, "polygon_offsets", polygon_offsets)
    checks.check_same_device(op, points, vertices, ring_offsets, polygon_offsets)
    if not 1 <= points.shape[1] <= MOST_CORNERS:
        raise ValueError(f"{op}: 1 to {MOST_CORNERS} points a group, got {points.shape[1]}")
    bits, first, touched = _corners_inside(points.detach(), vertices.detach(), ring_offsets, polygon_offsets)
    places = torch.arange(points.shape[1], device=points.device)
    return CornersInside((bits[:, None] >> places & 1).bool(), first, touched)


def boxes_inside(boxes: Tensor, vertices: Tensor, ring_offsets: Tensor, polygon_offsets: Tensor) -> CornersInside:
    """`corners_inside` of the corners of boxes [N, 5] (x y length width yaw): front right, front left, back left, back
    right. That all corners lie inside says nothing about a hole or a notch between them."""
    _check_points("polygon_queries.boxes_inside", boxes, 2, 5)
    axis = torch.stack([boxes[:, 4].cos(), boxes[:, 4].sin()], 1)
    ahead, left = axis * boxes[:, 2:3] / 2, torch.stack([-axis[:, 1], axis[:, 0]], 1) * boxes[:, 3:4] / 2
    centre = boxes[:, :2]
    corners = [centre + ahead - left, centre + ahead + left, centre - ahead + left, centre - ahead - left]
    return corners_inside(torch.stack(corners, 1), vertices, ring_offsets, polygon_offsets)


def nearest_on_lines(points: Tensor, vertices: Tensor, line_offsets: Tensor) -> OnLines:
    """The nearest point of any line to each of points [N, 2]; see the module. ValueError: shapes, dtypes, offsets."""
    op = "polygon_queries.nearest_on_lines"
    _check_points(op, points, 2)
    _check_points(op, vertices, 2)
    checks.check_index(op, "line_offsets", line_offsets)
    checks.check_same_device(op, points, vertices, line_offsets)
    points, vertices = points.detach(), vertices.detach()
    segment, share = _nearest(points, vertices, line_offsets)
    N = points.shape[0]
    if vertices.shape[0] < 2 or not bool((segment >= 0).any()):
        nothing = points.new_zeros(N)
        none = torch.full((N,), -1, device=points.device)
        return OnLines(none, none, points.new_zeros(N, 2), nothing, nothing, nothing)
    counts = line_offsets.diff()
    line_of = torch.repeat_interleave(torch.arange(counts.numel(), device=points.device), counts)
    starts = (line_of[1:] == line_of[:-1]).nonzero()[:, 0]
    vertex = starts[segment.clamp(min=0)]
    steps = vertices.diff(dim=0)
    lengths = torch.where(line_of[1:] == line_of[:-1], steps.norm(dim=1), 0.0)
    along = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    step = steps[vertex]
    point = vertices[vertex] + share[:, None] * step
    away = points - point
    unit = steps / steps.norm(dim=1, keepdim=True).clamp(min=1e-300)
    before, after = (vertex - 1).clamp(min=0), (vertex + 1).clamp(max=len(unit) - 1)
    joined = unit[vertex].clone()
    joined += unit[after] * ((share == 1) & (line_of[after] == line_of[(after + 1)]) & (after != vertex))[:, None]
    joined += unit[before] * ((share == 0) & (line_of[before] == line_of[vertex]) & (before != vertex))[:, None]
    cross = joined[:, 0] * away[:, 1] - joined[:, 1] * away[:, 0]
    offset = torch.where(cross < 0, -1.0, 1.0) * away.norm(dim=1)
    arc = along[vertex] - along[line_offsets[line_of[vertex]]] + share * lengths[vertex]
    found = segment >= 0
    numbers = [torch.where(found, t, 0.0) for t in (arc, offset, torch.atan2(step[:, 1], step[:, 0]))]
    here = point.where(found[:, None], 0.0)
    return OnLines(line_of[vertex].where(found, -1), vertex.where(found, -1), here, *numbers)


def _check_points(op: str, points: Tensor, axes: int, columns: int = 2) -> None:
    if points.dtype != torch.float64 or points.dim() != axes or points.shape[-1] != columns:
        raise ValueError(
            f"{op}: needs float64 with {axes} axes, the last of {columns}; got {points.dtype} {tuple(points.shape)}"
        )


def _check_map(op: str, vertices: Tensor, *offsets: Tensor) -> None:
    if not bool((vertices.abs() <= reference.LARGEST).all()):
        raise ValueError(f"{op}: a vertex is not finite or beyond 1e9")
    total = vertices.shape[0]
    for some in offsets:
        checks.check_offsets(op, some, total)
        total = some.numel() - 1


@operator("drive_ops::corners_inside")
def _corners_inside(points: Tensor, vertices: Tensor, rings: Tensor, polygons: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    _check_map("polygon_queries.corners_inside", vertices, rings, polygons)
    return reference.corners_inside(points, vertices, rings, polygons)


@_corners_inside.register_kernel("cpu")
def _(points: Tensor, vertices: Tensor, rings: Tensor, polygons: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    _check_map("polygon_queries.corners_inside", vertices, rings, polygons)
    p, v, r, g = arrays(points, vertices, rings, polygons)
    return tensors(cpu.corners_inside(p, v, r, g, threads=torch.get_num_threads()))


@_corners_inside.register_fake
def _(points: Tensor, vertices: Tensor, rings: Tensor, polygons: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    N = points.shape[0]
    return rings.new_empty(N), rings.new_empty(N), rings.new_empty(N)


@operator("drive_ops::nearest_on_lines")
def _nearest(points: Tensor, vertices: Tensor, lines: Tensor) -> tuple[Tensor, Tensor]:
    _check_map("polygon_queries.nearest_on_lines", vertices, lines)
    return reference.nearest(points, vertices, lines)


@_nearest.register_kernel("cpu")
def _(points: Tensor, vertices: Tensor, lines: Tensor) -> tuple[Tensor, Tensor]:
    _check_map("polygon_queries.nearest_on_lines", vertices, lines)
    p, v, n = arrays(points, vertices, lines)
    return tensors(cpu.nearest(p, v, n, threads=torch.get_num_threads()))


@_nearest.register_fake
def _(points: Tensor, vertices: Tensor, lines: Tensor) -> tuple[Tensor, Tensor]:
    return lines.new_empty(points.shape[0]), points.new_empty(points.shape[0])


def _corners_inside_cuda(
    points: Tensor, vertices: Tensor, rings: Tensor, polygons: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    _check_map("polygon_queries.corners_inside", vertices, rings, polygons)
    return cuda.corners_inside(*(t.contiguous() for t in (points, vertices, rings, polygons)))


def _nearest_cuda(points: Tensor, vertices: Tensor, lines: Tensor) -> tuple[Tensor, Tensor]:
    _check_map("polygon_queries.nearest_on_lines", vertices, lines)
    return cuda.nearest(*(t.contiguous() for t in (points, vertices, lines)))


def _register_cuda() -> None:
    _corners_inside.register_kernel("cuda")(_corners_inside_cuda)
    _nearest.register_kernel("cuda")(_nearest_cuda)


kernels.declare("polygon_queries", "cpu", "numba", "float64, uniform grid over the map")
kernels.declare_unproven_cuda("polygon_queries", _register_cuda)
