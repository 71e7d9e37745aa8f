"""A scene: what a planner, a simulated drive and a score are told of a stretch of a log. Arrays only, no torch.

One frame: axes of the log's global frame, origin moved to `Scene.origin_xy`, so that numbers are small; metres,
radians, seconds, float64. One time grid: 10 Hz, instants of the log interpolated (positions linear, headings the
shorter way round), nothing before the first or after the last label of a track. Ragged data is values and offsets, as
ops.polygon_queries takes it. ``drive.samples.scene_load.load_scene`` makes scenes of logs; scenes made by hand are as
good.

Shape letters: T instants, A road users, L lanes, G polygons, K signals.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from drive.dynamics.bicycle import (
    AX,
    AY,
    EGO_COLUMNS,
    HEADING,
    STEERING,
    STEERING_RATE,
    VX,
    VY,
    YAW_ACCELERATION,
    YAW_RATE,
    X,
    Y,
)
from drive.dynamics.vehicle import Vehicle

STEP_S = 0.1
"""The time grid's spacing."""

# The ego's states are those of the vehicle model: rear axle, see there.
__all__ = [
    "ACTOR_KINDS",
    "AX",
    "AY",
    "EGO_COLUMNS",
    "HEADING",
    "STEERING",
    "STEERING_RATE",
    "VX",
    "VY",
    "YAW_ACCELERATION",
    "YAW_RATE",
    "Actors",
    "Lights",
    "Route",
    "Scene",
    "SceneMap",
    "X",
    "Y",
]

ACTOR_KINDS = ("vehicle", "pedestrian", "cyclist", "static")
VEHICLE, PEDESTRIAN, CYCLIST, STATIC = range(4)

# Bits of SceneMap.polygon_layer.
DRIVABLE, INTERSECTION, LANE, CONNECTOR, CARPARK, ROADBLOCK, CROSSING = 1, 2, 4, 8, 16, 32, 64

ON_ROAD = DRIVABLE | INTERSECTION | CARPARK | ROADBLOCK
"""Layers that a corner of the ego must be in one of (spec section 2.6); the builder sets DRIVABLE on lanes where the
log has no drivable area of its own."""

DRIVABLE_FROM = ("polygons", "polygons and buffered centre lines", "road edges", "nothing")

UNKNOWN_LIGHT, RED, YELLOW, GREEN = range(4)


@dataclass(frozen=True)
class Actors:
    """Road users and things, without the ego.

    Attributes:
        box: float64 [A, T, 5] x, y of the centre, length, width, heading.
        velocity: float64 [A, T, 2] in the scene's frame (not the actor's).
        valid: bool [A, T]; where it is false the numbers are 0.
        kind: int64 [A], index into ACTOR_KINDS.
        token: the log's own names [A].
        ground_z: float64 [A, T] height of the box's underside, global.
    """

    box: np.ndarray
    velocity: np.ndarray
    valid: np.ndarray
    kind: np.ndarray
    token: tuple[str, ...]
    ground_z: np.ndarray

    def __post_init__(self) -> None:
        count, steps = self.valid.shape
        wanted = {"box": (count, steps, 5), "velocity": (count, steps, 2), "kind": (count,), "ground_z": (count, steps)}
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"Actors.{name} has shape {getattr(self, name).shape}, not {shape}")
        if len(self.token) != count:
            raise ValueError(f"{count} actors, {len(self.token)} tokens")

    def __len__(self) -> int:
        return len(self.token)

    def take(self, rows: np.ndarray) -> Actors:
        """The actors at ``rows`` (mask or indices)."""
        token = tuple(np.asarray(self.token, object)[rows].tolist())
        return Actors(
            self.box[rows], self.velocity[rows], self.valid[rows], self.kind[rows], token, self.ground_z[rows]
        )

    @staticmethod
    def none(steps: int) -> Actors:
        """Nobody, for ``steps`` instants."""
        shape = (0, steps)
        return Actors(
            np.zeros((*shape, 5)), np.zeros((*shape, 2)), np.zeros(shape, bool), np.zeros(0, np.int64), (),
            np.zeros(shape),
        )  # fmt: skip


@dataclass(frozen=True)
class SceneMap:
    """Polygons, lanes and road edges near a drive, 2-D.

    Attributes:
        vertices: float64 [M, 2] of all rings; ring r is ring_offsets[r]:ring_offsets[r + 1], not closed.
        ring_offsets: int64 [rings + 1]; polygon g is rings polygon_offsets[g]:polygon_offsets[g + 1], its outer ring
            first, then its holes (even-odd).
        polygon_offsets: int64 [G + 1].
        polygon_layer: uint8 [G], bits DRIVABLE, INTERSECTION, LANE, CONNECTOR, CARPARK, ROADBLOCK, CROSSING.
        polygon_lane: int64 [G], the lane that a LANE or CONNECTOR polygon belongs to, or -1.
        lane_vertices: float64 [N, 2]; lane l's centre line is lane_offsets[l]:lane_offsets[l + 1], as one drives.
        lane_offsets: int64 [L + 1].
        lane_ids: the log's own names [L].
        lane_is_connector: bool [L]: inside a junction.
        successor_offsets, successors: int64 [L + 1] and flat: lanes that follow; predecessors likewise.
        left, right: int64 [L], the neighbour of the same direction, or -1.
        speed_limit_mps, speed_limit_valid: float64 [L], bool [L].
        edge_vertices: float64 [E, 2] of road edges; edge e is edge_offsets[e]:edge_offsets[e + 1]. The left of the
            direction of travel along it is road.
        edge_offsets: int64 [edges + 1].
        edge_z: float64 [E], global height.
        drivable_from: one of DRIVABLE_FROM.
    """

    vertices: np.ndarray
    ring_offsets: np.ndarray
    polygon_offsets: np.ndarray
    polygon_layer: np.ndarray
    polygon_lane: np.ndarray
    lane_vertices: np.ndarray
    lane_offsets: np.ndarray
    lane_ids: tuple[str, ...]
    lane_is_connector: np.ndarray
    successor_offsets: np.ndarray
    successors: np.ndarray
    predecessor_offsets: np.ndarray
    predecessors: np.ndarray
    left: np.ndarray
    right: np.ndarray
    speed_limit_mps: np.ndarray
    speed_limit_valid: np.ndarray
    edge_vertices: np.ndarray
    edge_offsets: np.ndarray
    edge_z: np.ndarray
    drivable_from: str

    def __post_init__(self) -> None:
        lanes, polygons = len(self.lane_ids), len(self.polygon_layer)
        wanted = {
            "polygon_offsets": polygons + 1,
            "polygon_lane": polygons,
            "lane_offsets": lanes + 1,
            "lane_is_connector": lanes,
            "successor_offsets": lanes + 1,
            "predecessor_offsets": lanes + 1,
            "left": lanes,
            "right": lanes,
            "speed_limit_mps": lanes,
            "speed_limit_valid": lanes,
            "edge_z": len(self.edge_vertices),
        }
        for name, count in wanted.items():
            if len(getattr(self, name)) != count:
                raise ValueError(f"SceneMap.{name} has {len(getattr(self, name))} rows, not {count}")
        if self.drivable_from not in DRIVABLE_FROM:
            raise ValueError(f"drivable_from {self.drivable_from!r} is not one of {DRIVABLE_FROM}")

    def lane_line(self, lane: int) -> np.ndarray:
        """Centre line float64 [N, 2] of a lane."""
        return self.lane_vertices[self.lane_offsets[lane] : self.lane_offsets[lane + 1]]

    def successors_of(self, lane: int) -> np.ndarray:
        """Lanes int64 that follow a lane."""
        return self.successors[self.successor_offsets[lane] : self.successor_offsets[lane + 1]]

    def predecessors_of(self, lane: int) -> np.ndarray:
        """Lanes int64 that lead into a lane."""
        return self.predecessors[self.predecessor_offsets[lane] : self.predecessor_offsets[lane + 1]]

    @staticmethod
    def empty() -> SceneMap:
        """Nothing is known of the place."""
        points, none, one = np.zeros((0, 2)), np.zeros(0, np.int64), np.zeros(1, np.int64)
        return SceneMap(
            points, one, one, np.zeros(0, np.uint8), none, points, one, (), np.zeros(0, bool), one, none, one, none,
            none, none, np.zeros(0), np.zeros(0, bool), points, one, np.zeros(0), "nothing",
        )  # fmt: skip


@dataclass(frozen=True)
class Route:
    """Where the ego is to drive.

    Attributes:
        lanes: int64 [R] in driving order; R = 0 where the map's lanes do not lead along it (`Scene.notes` say so).
        on_route: bool [L]: the lanes above and their neighbours of the same direction and road block.
        centreline: float64 [C, 2], C >= 2, about every 0.5 m.
        arc_length: float64 [C], metres from its start.
    """

    lanes: np.ndarray
    on_route: np.ndarray
    centreline: np.ndarray
    arc_length: np.ndarray

    def __post_init__(self) -> None:
        if len(self.centreline) != len(self.arc_length) or len(self.centreline) < 2:
            raise ValueError(f"a route of {len(self.centreline)} points and {len(self.arc_length)} arc lengths")


@dataclass(frozen=True)
class Lights:
    """Signals: what K of them show.

    Attributes:
        state: int8 [T, K], 0 unknown, 1 red, 2 yellow, 3 green.
        lane: int64 [K], the lane that a signal governs, or -1 where the map does not have it.
        stop_xy: float64 [K, 2], where one stops for it.
    """

    state: np.ndarray
    lane: np.ndarray
    stop_xy: np.ndarray

    def __post_init__(self) -> None:
        count = self.state.shape[1]
        if len(self.lane) != count or self.stop_xy.shape != (count, 2):
            raise ValueError(f"{count} signals, {len(self.lane)} lanes, stop points {self.stop_xy.shape}")

    @staticmethod
    def none(steps: int) -> Lights:
        """No signals, for ``steps`` instants."""
        return Lights(np.zeros((steps, 0), np.int8), np.zeros(0, np.int64), np.zeros((0, 2)))


@dataclass(frozen=True)
class Scene:
    """One stretch of a log, ready to be planned in, driven through and scored.

    Attributes:
        name: unique in a set of logs: the log's name, "@" and the start in tenths of a second after its first instant.
        log: the log's name.
        timestamps_ns: int64 [T], STEP_S apart.
        now: index of the start; what stands before it is history.
        origin_xy: float64 [2], global place of the scene's origin.
        ego: float64 [T, 11], EGO_COLUMNS, as logged.
        ego_valid: bool [T]; where it is false the log has no ego there.
        ego_z: float64 [T], global height of the ground below the ego.
        vehicle: measures of the ego.
        actors, map, lights: see there.
        route: None where there is none; `notes` says why.
        notes: what a user ought to know about how the scene was made.
    """

    name: str
    log: str
    timestamps_ns: np.ndarray
    now: int
    origin_xy: np.ndarray
    ego: np.ndarray
    ego_valid: np.ndarray
    ego_z: np.ndarray
    vehicle: Vehicle
    actors: Actors
    map: SceneMap
    route: Route | None
    lights: Lights
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        steps = len(self.timestamps_ns)
        if not 0 <= self.now < steps:
            raise ValueError(f"{self.name}: starts at {self.now} of {steps} instants")
        if self.ego.shape != (steps, len(EGO_COLUMNS)):
            raise ValueError(f"{self.name}: ego states {self.ego.shape} for {steps} instants")
        for name, count in (
            ("ego_valid", len(self.ego_valid)),
            ("ego_z", len(self.ego_z)),
            ("actors", self.actors.valid.shape[1]),
            ("lights", len(self.lights.state)),
        ):
            if count != steps:
                raise ValueError(f"{self.name}: {name} has {count} instants of {steps}")
        if self.route is not None and len(self.route.on_route) != len(self.map.lane_ids):
            raise ValueError(f"{self.name}: the route knows {len(self.route.on_route)} lanes, not all of the map's")

    @property
    def steps_ahead(self) -> int:
        """Instants after the start."""
        return len(self.timestamps_ns) - 1 - self.now
