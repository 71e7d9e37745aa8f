"""A straight street as a Scene: two lanes of 3.5 m along x, the right one is the route; 10 m/s are allowed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from drive.dynamics.vehicle import Vehicle
from drive.samples.scene import DRIVABLE, LANE, Actors, Lights, Route, Scene, SceneMap

INSTANTS = 101
TIME = np.arange(INSTANTS) * 0.1


def going(speed: float, y: float = -1.75) -> np.ndarray:
    """Ego states [INSTANTS, 11] at a constant speed along x."""
    states = np.zeros((INSTANTS, 11))
    states[:, 0], states[:, 1], states[:, 3] = speed * TIME, y, speed
    return states


def cars(*rows: tuple[float, float, float]) -> Actors:
    """(x at the first instant, y, speed along x): vehicles of 4 by 2 m."""
    A = len(rows)
    given = np.array(rows, float).reshape(A, 3)
    box, velocity = np.zeros((A, INSTANTS, 5)), np.zeros((A, INSTANTS, 2))
    box[..., 0], box[..., 1] = given[:, :1] + given[:, 2:] * TIME, given[:, 1:2]
    box[..., 2], box[..., 3] = 4.0, 2.0
    velocity[..., 0] = given[:, 2:]
    valid = np.ones((A, INSTANTS), bool)
    names = tuple(f"car{a}" for a in range(A))
    return Actors(box, velocity, valid, np.zeros(A, np.int64), names, np.zeros((A, INSTANTS)))


def street(actors: Actors, speed: float = 8.0, limit: bool = True, right: float = -3.5) -> Scene:
    """The log's driver goes at `speed`; `right`: where the road ends."""
    sides = ((right, 3.5), (-3.5, 0), (0, 3.5))
    rings = [np.array([[-50, a], [300, a], [300, b], [-50, b]], float) for a, b in sides]
    lines = np.array([[-50, -1.75], [300, -1.75], [300, 1.75], [-50, 1.75]])
    none = np.zeros(0, np.int64)
    scene_map = replace(
        SceneMap.empty(),
        vertices=np.concatenate(rings),
        ring_offsets=np.array([0, 4, 8, 12]),
        polygon_offsets=np.arange(4),
        polygon_layer=np.array([DRIVABLE, LANE, LANE], np.uint8),
        polygon_lane=np.array([-1, 0, 1]),
        lane_vertices=lines,
        lane_offsets=np.array([0, 2, 4]),
        lane_ids=("right", "left"),
        lane_is_connector=np.zeros(2, bool),
        successor_offsets=np.zeros(3, np.int64),
        successors=none,
        predecessor_offsets=np.zeros(3, np.int64),
        predecessors=none,
        left=np.full(2, -1),
        right=np.full(2, -1),
        speed_limit_mps=np.full(2, 10.0),
        speed_limit_valid=np.full(2, limit),
        drivable_from="polygons",
    )
    middle = np.stack([np.arange(-50, 300.5, 0.5), np.full(701, -1.75)], axis=1)
    route = Route(np.array([0]), np.array([True, False]), middle, np.arange(701) * 0.5)
    return Scene(
        name="street@0",
        log="street",
        timestamps_ns=np.arange(INSTANTS) * 10**8,
        now=0,
        origin_xy=np.zeros(2),
        ego=going(speed),
        ego_valid=np.ones(INSTANTS, bool),
        ego_z=np.zeros(INSTANTS),
        vehicle=Vehicle(),
        actors=actors,
        map=scene_map,
        route=route,
        lights=Lights.none(INSTANTS),
    )
