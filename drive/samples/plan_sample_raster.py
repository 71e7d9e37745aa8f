"""A bird's-eye raster of what is known at an instant: map, route, lights, road users, one bit a plane.

The map and the route do not move: they are drawn once a scene, in the scene's frame (`MapPicture`), and looked up for
each instant; boxes are drawn where they are. Rows go along x (ahead), columns along y (left) of the ego frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from drive.samples.scene import CROSSING, INTERSECTION, ON_ROAD, Route, SceneMap

PLANES = (
    "drivable",
    "intersection",
    "crossing",
    "lane",  # centre lines
    "edge",  # of the road, where the log has them
    "route",  # its centre line
    "red",  # around the places where one stops for a red or yellow signal
    "vehicle",
    "pedestrian",  # and cyclists
    "static",
    "vehicle_1s",  # vehicles in 1 s and 2 s if they go on as they do
    "vehicle_2s",
)
P_DRIVABLE, P_INTERSECTION, P_CROSSING, P_LANE, P_EDGE, P_ROUTE = range(6)
P_RED, P_VEHICLE, P_PEDESTRIAN, P_STATIC, P_1S, P_2S = range(6, 12)
STOP_RADIUS_M = 1.5
MARGIN_M = 60.0


@dataclass(frozen=True)
class RasterGrid:
    """Cells of `cell_m` metres over x_m and y_m, each (low, high) in the ego frame."""

    x_m: tuple[float, float] = (-16.0, 48.0)
    y_m: tuple[float, float] = (-32.0, 32.0)
    cell_m: float = 0.5

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return tuple(round((high - low) / self.cell_m) for low, high in (self.x_m, self.y_m))  # type: ignore[return-value]


@dataclass(frozen=True)
class MapPicture:
    """Map and route of a scene, drawn in its frame.

    Attributes:
        bits: uint8 [R, C], bits of PLANES drivable .. route; rows along x, columns along y.
        low: float64 [2], where cell (0, 0) begins.
        cell_m: size of a cell.
    """

    bits: npt.NDArray[np.uint8]
    low: npt.NDArray[np.float64]
    cell_m: float


def draw_map(lanes: SceneMap, route: Route | None, places: np.ndarray, cell_m: float) -> MapPicture:
    """The picture of a map around places [N, 2] that the ego may reach (60 m beyond them), lines `cell_m` wide."""
    fine = cell_m / 2
    points = places if route is None else np.concatenate((places, route.centreline))
    # On whole cells of the scene's frame: pictures of the same map agree wherever they reach.
    low, high = np.floor((points.min(0) - MARGIN_M) / cell_m) * cell_m, points.max(0) + MARGIN_M
    bits = np.zeros(tuple(np.ceil((high - low) / fine).astype(int)), np.uint8)
    layers = ((P_DRIVABLE, ON_ROAD), (P_INTERSECTION, INTERSECTION), (P_CROSSING, CROSSING))
    marks = np.zeros(len(lanes.polygon_layer), np.uint8)
    for plane, layer in layers:
        marks |= ((lanes.polygon_layer & layer) > 0).astype(np.uint8) << plane
    vertices = (lanes.vertices - low) / fine - 0.5  # in cells, whole numbers at their centres
    _fill(bits, vertices, lanes.ring_offsets, lanes.polygon_offsets, marks)
    lines = [(lanes.lane_vertices, lanes.lane_offsets, P_LANE), (lanes.edge_vertices, lanes.edge_offsets, P_EDGE)]
    if route is not None:
        lines.append((route.centreline, np.array([0, len(route.centreline)]), P_ROUTE))
    for line, offsets, plane in lines:
        _draw(bits, (line - low) / fine - 0.5, offsets, np.uint8(1 << plane))
    return MapPicture(bits, low, fine)


def raster(
    grid: RasterGrid, picture: MapPicture, ego_xyh: np.ndarray, boxes: np.ndarray, plane: np.ndarray, stops: np.ndarray
) -> npt.NDArray[np.int16]:
    """int16 [rows, columns], bit p = PLANES[p].

    Args:
        grid: Which cells.
        picture: Of the scene.
        ego_xyh: Place and heading of the ego in the scene [3].
        boxes: float64 [N, 5] x y length width heading in the ego frame; a box covers one cell at least.
        plane: int64 [N], the plane of each box.
        stops: float64 [K, 2], places in the ego frame where a signal asks to stop.
    """
    out = np.zeros(grid.shape, np.int16)
    _look_up(out, picture.bits, picture.low, picture.cell_m, ego_xyh, grid.x_m[0], grid.y_m[0], grid.cell_m)
    squares = np.zeros((len(stops), 5))
    squares[:, :2], squares[:, 2:4] = stops, 2 * STOP_RADIUS_M
    rows = np.concatenate((boxes, squares)).astype(np.float64)
    marks = (1 << np.concatenate((plane, np.full(len(stops), P_RED)))).astype(np.int16)
    _boxes(out, rows, marks, grid.x_m[0], grid.y_m[0], grid.cell_m)
    return out


@njit(cache=True, nogil=True)
def _fill(bits, vertices, ring_offsets, polygon_offsets, marks):  # type: ignore[no-untyped-def]
    """Even-odd scan conversion of polygons: a cell counts where its centre lies inside."""
    rows, columns = bits.shape
    for g in range(len(marks)):
        first, last = ring_offsets[polygon_offsets[g]], ring_offsets[polygon_offsets[g + 1]]
        if marks[g] == 0 or last - first < 3:
            continue
        low, high = vertices[first:last, 0].min(), vertices[first:last, 0].max()
        crossings = np.empty(last - first)
        for row in range(max(int(np.ceil(low)), 0), min(int(np.floor(high)), rows - 1) + 1):
            found = 0
            for ring in range(polygon_offsets[g], polygon_offsets[g + 1]):
                begin, end = ring_offsets[ring], ring_offsets[ring + 1]
                for i in range(begin, end):
                    j = i + 1 if i + 1 < end else begin
                    a, b = vertices[i, 0], vertices[j, 0]
                    if (a > row) != (b > row):
                        share = (row - a) / (b - a)
                        crossings[found] = vertices[i, 1] + share * (vertices[j, 1] - vertices[i, 1])
                        found += 1
            ordered = np.sort(crossings[:found])
            for k in range(0, found - 1, 2):
                start, stop = max(int(np.ceil(ordered[k])), 0), min(int(np.floor(ordered[k + 1])), columns - 1)
                for column in range(start, stop + 1):
                    bits[row, column] |= marks[g]


@njit(cache=True, nogil=True)
def _draw(bits, line, offsets, mark):  # type: ignore[no-untyped-def]
    """Polylines two cells wide."""
    rows, columns = bits.shape
    for n in range(len(offsets) - 1):
        for i in range(offsets[n], offsets[n + 1] - 1):
            dx, dy = line[i + 1, 0] - line[i, 0], line[i + 1, 1] - line[i, 1]
            steps = int(np.sqrt(dx * dx + dy * dy) * 2) + 1
            for k in range(steps + 1):
                row, column = int(np.floor(line[i, 0] + dx * k / steps)), int(np.floor(line[i, 1] + dy * k / steps))
                for r in range(row, row + 2):
                    for c in range(column, column + 2):
                        if 0 <= r < rows and 0 <= c < columns:
                            bits[r, c] |= mark


@njit(cache=True, nogil=True)
def _look_up(out, bits, low, fine, ego, x0, y0, cell):  # type: ignore[no-untyped-def]
    """The picture's cell under each cell's centre; nothing outside the picture."""
    cos, sin = np.cos(ego[2]), np.sin(ego[2])
    for r in range(out.shape[0]):
        x = x0 + (r + 0.5) * cell
        for c in range(out.shape[1]):
            y = y0 + (c + 0.5) * cell
            row = int(np.floor((ego[0] + cos * x - sin * y - low[0]) / fine))
            column = int(np.floor((ego[1] + sin * x + cos * y - low[1]) / fine))
            if 0 <= row < bits.shape[0] and 0 <= column < bits.shape[1]:
                out[r, c] = bits[row, column]


@njit(cache=True, nogil=True)
def _boxes(out, boxes, marks, x0, y0, cell):  # type: ignore[no-untyped-def]
    """Cells whose centre a box covers; boxes are at least a cell wide and long, so that none falls between."""
    for n in range(len(boxes)):
        x, y, heading = boxes[n, 0], boxes[n, 1], boxes[n, 4]
        length, width = max(boxes[n, 2], cell) / 2 + 1e-9, max(boxes[n, 3], cell) / 2 + 1e-9
        cos, sin = np.cos(heading), np.sin(heading)
        reach_x, reach_y = abs(cos) * length + abs(sin) * width, abs(sin) * length + abs(cos) * width
        first, last = int(np.floor((x - reach_x - x0) / cell)), int(np.floor((x + reach_x - x0) / cell))
        left, right = int(np.floor((y - reach_y - y0) / cell)), int(np.floor((y + reach_y - y0) / cell))
        for r in range(max(first, 0), min(last, out.shape[0] - 1) + 1):
            for c in range(max(left, 0), min(right, out.shape[1] - 1) + 1):
                dx, dy = x0 + (r + 0.5) * cell - x, y0 + (c + 0.5) * cell - y
                if abs(cos * dx + sin * dy) <= length and abs(cos * dy - sin * dx) <= width:
                    out[r, c] |= marks[n]
