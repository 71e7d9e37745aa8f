"""A town's map as nuScenes stores maps: the expansion JSON (version 1.3) and the semantic prior PNG.

The devkit accepts only its four location names, so the towns carry them (coordinates and shapes are ours):
`LOCATIONS`. The PNG files carry the official file names of those locations, which the devkit's `BitMap` expects.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from data_tools.town.layout import CYCLE_STRIP, LANE_WIDTH, STOP_LINE, WALKWAY, Connector, Lane, Town
from data_tools.town.scenery import signal_position
from data_tools.town.tables import Row, token
from drive.geometry.angles import wrap_angle
from drive.geometry.polylines import arc_length, offset_polyline, point_at
from drive.render.scene import Material

LOCATIONS = {
    "boston-seaport": "36092f0b03a857c6a3403e25b4b7aab3",
    "singapore-onenorth": "53992ee3023e5494b90c316c183be829",
    "singapore-hollandvillage": "37819e65e09e5547b8a3ceaefba56bb2",
    "singapore-queenstown": "93406b464a165eaba6d9de76ca09f5da",
}
TRAIN_LOCATIONS = ("boston-seaport", "singapore-onenorth", "singapore-hollandvillage")
VAL_LOCATION = "singapore-queenstown"
ARC_STEP = 2.0  # metres of a lane that one arc stands for
STRAIGHT_RADIUS = 999.999


def semantic_prior(ground: np.ndarray) -> bytes:
    """PNG, 0.1 m a pixel, north up: 255 where the ground is road or walkway, else 0."""
    white = np.zeros(len(Material), np.uint8)
    white[[Material.ROAD, Material.SIDEWALK, Material.MARKING]] = 255
    data = BytesIO()
    Image.fromarray(white[ground[::-1]]).save(data, format="PNG", compress_level=1)
    return data.getvalue()


class _Geometry:
    """Nodes, lines and polygons with their tokens."""

    def __init__(self, town: Town) -> None:
        self.name = f"{town.name}/{town.seed}"
        self.nodes: list[Row] = []
        self.lines: list[Row] = []
        self.polygons: list[Row] = []

    def node(self, point: np.ndarray) -> str:
        key = token(self.name, "node", len(self.nodes))
        self.nodes.append({"token": key, "x": round(float(point[0]), 4), "y": round(float(point[1]), 4)})
        return key

    def line(self, points: np.ndarray) -> str:
        key = token(self.name, "line", len(self.lines))
        self.lines.append({"token": key, "node_tokens": [self.node(p) for p in points]})
        return key

    def polygon(self, points: np.ndarray) -> str:
        key = token(self.name, "polygon", len(self.polygons))
        self.polygons.append({"token": key, "exterior_node_tokens": [self.node(p) for p in points], "holes": []})
        return key


def thin(line: np.ndarray, spacing: float = 5.0) -> np.ndarray:
    """Fewer vertices: every `spacing` metres and both ends."""
    along = arc_length(line)
    return point_at(line, np.linspace(0.0, along[-1], max(int(np.ceil(along[-1] / spacing)), 1) + 1))


def lane_polygon(centre: np.ndarray, width: float = LANE_WIDTH) -> np.ndarray:
    """Polygon [K, 2] around a centre line."""
    line = thin(centre, 3.0)
    return np.concatenate([offset_polyline(line, -width / 2), offset_polyline(line, width / 2)[::-1]])


def arcline_path(centre: np.ndarray) -> list[Row]:
    """The line as arcs of about `ARC_STEP` metres, each tangent to the line at its ends (devkit's ArcLinePath)."""
    line = thin(centre, ARC_STEP)
    fine = np.gradient(line, axis=0)
    yaw = np.arctan2(fine[:, 1], fine[:, 0])
    arcs = []
    for k in range(len(line) - 1):
        # The arc through both points that starts along the chord minus half the turn.
        chord = line[k + 1] - line[k]
        distance, direction = float(np.hypot(*chord)), float(np.arctan2(chord[1], chord[0]))
        turn = float(wrap_angle(yaw[k + 1] - yaw[k]))
        start, end = direction - turn / 2, direction + turn / 2
        if abs(turn) < 1e-4:
            shape, radius, lengths = "LSL", STRAIGHT_RADIUS, [0.0, distance, 0.0]
            start = end = direction
        else:
            radius = distance / (2 * np.sin(abs(turn) / 2))
            shape = "LSL" if turn > 0 else "RSR"
            lengths = [float(radius * abs(turn)), 0.0, 0.0]
        arcs.append(
            {
                "start_pose": [float(line[k, 0]), float(line[k, 1]), start],
                "end_pose": [float(line[k + 1, 0]), float(line[k + 1, 1]), end],
                "shape": shape, "radius": float(radius), "segment_length": lengths,
            }
        )  # fmt: skip
    return arcs


def lane_token(town: Town, lane: Lane | Connector) -> str:
    kind = "lane" if isinstance(lane, Lane) else "lane_connector"
    return token(town.name, town.seed, kind, lane.index)


def map_expansion(town: Town) -> dict[str, Any]:
    """All layers of the map expansion, ready for JSON."""
    g = _Geometry(town)
    name = g.name
    layers: dict[str, Any] = {
        key: []
        for key in (
            "drivable_area", "road_segment", "road_block", "lane", "lane_connector", "ped_crossing", "walkway",
            "stop_line", "carpark_area", "road_divider", "lane_divider", "traffic_light",
        )
    }  # fmt: skip
    area = token(name, "drivable_area")
    paved = []
    for road in town.roads:
        polygon = road.strip(0.0, road.length, road.half_width, -road.half_width)
        paved.append(g.polygon(_thin_ring(polygon)))
        segment = token(name, "road_segment", road.index)
        layers["road_segment"].append(
            {"token": segment, "polygon_token": g.polygon(_thin_ring(polygon)), "is_intersection": False,
             "drivable_area_token": area}
        )  # fmt: skip
        layers["road_divider"].append(
            {"token": token(name, "road_divider", road.index), "line_token": g.line(thin(road.centre)),
             "road_segment_token": segment}
        )  # fmt: skip
        for forward in (True, False):
            _add_direction(town, g, layers, road.index, forward, segment)
        for side in (1.0, -1.0):
            walk = road.strip(0.0, road.length, side * (road.half_width + WALKWAY), side * road.half_width)
            layers["walkway"].append(
                {"token": token(name, "walkway", road.index, side), "polygon_token": g.polygon(_thin_ring(walk))}
            )
            if road.parking:
                inner = side * (road.lane_edge + CYCLE_STRIP)
                bay = road.strip(6.0, road.length - 6.0, side * road.half_width, inner)
                layers["carpark_area"].append(
                    {"token": token(name, "carpark_area", road.index, side),
                     "polygon_token": g.polygon(_thin_ring(bay)), "orientation": 0.0,
                     "road_block_token": token(name, "road_block", road.index, side < 0)}
                )  # fmt: skip
    for corner_index, corner in enumerate(town.corners):
        ring = np.concatenate([corner.kerb, corner.outer[::-1]])
        layers["walkway"].append(
            {"token": token(name, "walkway", "corner", corner_index), "polygon_token": g.polygon(ring)}
        )
    for node in range(len(town.nodes)):
        polygon = town.intersection(node)
        paved.append(g.polygon(polygon))
        layers["road_segment"].append(
            {"token": token(name, "intersection", node), "polygon_token": g.polygon(polygon), "is_intersection": True,
             "drivable_area_token": area}
        )  # fmt: skip
    layers["drivable_area"].append({"token": area, "polygon_tokens": paved})
    for crossing in town.crossings:
        road = town.roads[crossing.road]
        ring = road.strip(crossing.start, crossing.stop, road.half_width, -road.half_width)
        layers["ped_crossing"].append(
            {"token": token(name, "ped_crossing", crossing.index), "polygon_token": g.polygon(ring),
             "road_segment_token": token(name, "road_segment", crossing.road)}
        )  # fmt: skip
    for connector in town.connectors:
        ring = lane_polygon(connector.centre, 3.0)
        layers["lane_connector"].append({"token": lane_token(town, connector), "polygon_token": g.polygon(ring)})
    return {
        "version": "1.3", "canvas_edge": [round(town.size[0], 1), round(town.size[1], 1)],
        "node": g.nodes, "line": g.lines, "polygon": g.polygons, **layers,
        "arcline_path_3": {lane_token(town, lane): arcline_path(lane.centre) for lane in _all_lanes(town)},
        "connectivity": _connectivity(town),
    }  # fmt: skip


def _all_lanes(town: Town) -> list[Lane | Connector]:
    return [*town.lanes, *town.connectors]


def _thin_ring(ring: np.ndarray) -> np.ndarray:
    """Every fourth vertex of each half of a strip's ring, both ends of the halves kept."""
    half = len(ring) // 2
    keep = sorted({0, half - 1, half, len(ring) - 1, *range(0, half, 4), *range(half, len(ring), 4)})
    return ring[keep]


def _add_direction(
    town: Town, g: _Geometry, layers: dict[str, Any], road_index: int, forward: bool, segment: str
) -> None:
    """One direction of a road: its road block, lanes, lane dividers, stop line and traffic light."""
    road, name = town.roads[road_index], g.name
    side = -1.0 if forward else 1.0
    block = token(name, "road_block", road_index, forward)
    edge, length = side * road.lane_edge, road.length
    first, last = (0.0, length) if forward else (length, 0.0)

    def across(at: float) -> str:
        return g.line(np.concatenate([road.along(at, at, 0.0)[:1], road.along(at, at, edge)[:1]]))

    ring = road.strip(0.0, length, edge, 0.0)
    layers["road_block"].append(
        {"token": block, "polygon_token": g.polygon(_thin_ring(ring)), "from_edge_line_token": across(first),
         "to_edge_line_token": across(last), "road_segment_token": segment}
    )  # fmt: skip
    for lane in town.lanes_of(road_index, forward):
        left, right = (
            offset_polyline(thin(lane.centre), LANE_WIDTH / 2),
            offset_polyline(thin(lane.centre), -LANE_WIDTH / 2),
        )
        divided = lane.order + 1 < road.lanes
        dashed, solid = "DASHED_WHITE", "SINGLE_SOLID_WHITE"
        layers["lane"].append(
            {"token": lane_token(town, lane), "polygon_token": g.polygon(lane_polygon(lane.centre)), "lane_type": "CAR",
             "from_edge_line_token": g.line(np.stack([left[0], right[0]])),
             "to_edge_line_token": g.line(np.stack([left[-1], right[-1]])),
             "left_lane_divider_segments": [
                 {"node_token": g.node(p), "segment_type": dashed if lane.order else "DOUBLE_SOLID_WHITE"} for p in left
             ],
             "right_lane_divider_segments": [
                 {"node_token": g.node(p), "segment_type": dashed if divided else solid} for p in right
             ]}
        )  # fmt: skip
        if divided:
            line = g.line(right)
            layers["lane_divider"].append(
                {"token": token(name, "lane_divider", lane.index), "line_token": line,
                 "lane_divider_segments": [
                     {"node_token": key, "segment_type": dashed} for key in g.lines[-1]["node_tokens"]
                 ]}
            )  # fmt: skip
    low, high = (length - STOP_LINE - 0.5, length - STOP_LINE + 0.5) if forward else (STOP_LINE - 0.5, STOP_LINE + 0.5)
    node = road.nodes[1] if forward else road.nodes[0]
    end = 1 if forward else 0
    crossings = [token(name, "ped_crossing", c.index) for c in town.crossings if c.road == road_index and c.end == end]
    light = token(name, "traffic_light", road_index, end)
    signalled = len(town.arms[node]) >= 4
    layers["stop_line"].append(
        {"token": token(name, "stop_line", road_index, forward),
         "polygon_token": g.polygon(road.strip(low, high, edge, 0.0)),
         "stop_line_type": "TRAFFIC_LIGHT" if signalled else ("PED_CROSSING" if crossings else "YIELD"),
         "ped_crossing_tokens": crossings, "traffic_light_tokens": [light] if signalled else [],
         "road_block_token": block}
    )  # fmt: skip
    if signalled:
        x, y = signal_position(town, (road_index, end))
        foot = np.array([[x, y], [x, y + 0.1]])
        layers["traffic_light"].append(
            {"token": light, "line_token": g.line(foot), "traffic_light_type": "VERTICAL",
             "from_road_block_token": block, "items": [],
             "pose": {"tx": x, "ty": y, "tz": 3.2, "rx": 0.0, "ry": 0.0, "rz": 0.0}}
        )  # fmt: skip


def _connectivity(town: Town) -> dict[str, Row]:
    """Lane or connector token -> tokens of what leads in and out."""
    table: dict[str, Row] = {lane_token(town, lane): {"incoming": [], "outgoing": []} for lane in _all_lanes(town)}
    for connector in town.connectors:
        own = lane_token(town, connector)
        source, target = lane_token(town, town.lanes[connector.source]), lane_token(town, town.lanes[connector.target])
        table[own] = {"incoming": [source], "outgoing": [target]}
        table[source]["outgoing"].append(own)
        table[target]["incoming"].append(own)
    return table
