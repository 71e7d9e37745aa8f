"""Scenes by hand and by the dozen for the planners' tests: no logs, no files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from drive.dynamics.vehicle import Vehicle
from drive.samples.scene import CONNECTOR, DRIVABLE, HEADING, LANE, VX, Actors, Lights, Route, Scene, SceneMap, X, Y

LANE_WIDTH = 4.0


def road_map() -> SceneMap:
    """A straight road along x from -100 to 200, one lane of 4 m, and beside it a lane that forks off to the left."""
    along = np.linspace(-100, 200, 31)
    first = np.stack((along, 0 * along), axis=1)
    bend = np.linspace(0, np.pi / 2, 16)
    second = np.stack((20 + 30 * np.sin(bend), 30 - 30 * np.cos(bend)), axis=1)
    ring = np.array([[-100.0, -2], [200, -2], [200, 2], [-100, 2]])
    outer = np.stack((20 + 32 * np.sin(bend), 30 - 32 * np.cos(bend)), axis=1)
    inner = np.stack((20 + 28 * np.sin(bend), 30 - 28 * np.cos(bend)), axis=1)
    vertices = np.concatenate((ring, outer, inner[::-1]))
    empty = SceneMap.empty()
    none = np.array([-1, -1])
    return replace(
        empty,
        vertices=vertices,
        ring_offsets=np.array([0, 4, len(vertices)]),
        polygon_offsets=np.array([0, 1, 2]),
        polygon_layer=np.array([DRIVABLE | LANE, DRIVABLE | CONNECTOR], np.uint8),
        polygon_lane=np.array([0, 1]),
        lane_vertices=np.concatenate((first, second)),
        lane_offsets=np.array([0, len(first), len(first) + len(second)]),
        lane_ids=("straight", "left"),
        lane_is_connector=np.array([False, True]),
        successor_offsets=np.zeros(3, np.int64),
        predecessor_offsets=np.zeros(3, np.int64),
        left=none,
        right=none,
        speed_limit_mps=np.array([13.0, 0.0]),
        speed_limit_valid=np.array([True, False]),
        drivable_from="polygons",
    )


def drive_scene(speed: float, turn: bool, name: str = "hand", steps: int = 81, actors: Actors | None = None) -> Scene:
    """The ego drives the straight road from x = -10, or turns left into the other lane; a route leads there."""
    lanes = road_map()
    way = speed * 0.1 * np.arange(steps)
    ego = np.zeros((steps, 11))
    ego[:, X], ego[:, VX] = way - 10, speed
    line = lanes.lane_line(0)
    if turn:
        angle = np.clip((way - 30) / 30, 0, np.pi / 2)
        bent = way > 30
        ego[bent, X], ego[bent, Y] = 20 + 30 * np.sin(angle[bent]), 30 - 30 * np.cos(angle[bent])
        beyond = np.maximum(way - 30 - 15 * np.pi, 0)
        ego[:, Y] += beyond
        ego[:, HEADING] = angle
        line = np.concatenate((line[line[:, 0] < 20], lanes.lane_line(1)))
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    return Scene(
        name=f"{name}@0",
        log=name,
        timestamps_ns=1_000_000_000 + 100_000_000 * np.arange(steps),
        now=0,
        origin_xy=np.zeros(2),
        ego=ego,
        ego_valid=np.ones(steps, bool),
        ego_z=np.zeros(steps),
        vehicle=Vehicle(),
        actors=actors or Actors.none(steps),
        map=lanes,
        route=Route(np.array([0, 1] if turn else [0]), np.array([True, turn]), line, length),
        lights=Lights.none(steps),
    )


def one_actor(steps: int, place: tuple[float, float], velocity: tuple[float, float], kind: int = 0) -> Actors:
    """A car of 4 x 2 m that starts at a place and keeps its velocity."""
    box, speed = np.zeros((1, steps, 5)), np.zeros((1, steps, 2))
    box[0, :, :2] = np.array(place) + 0.1 * np.arange(steps)[:, None] * np.array(velocity)
    box[0, :, 2:] = 4.0, 2.0, np.arctan2(velocity[1], velocity[0])
    speed[0] = velocity
    shape = np.ones((1, steps), bool)
    return Actors(box, speed, shape, np.array([kind]), ("car",), np.zeros((1, steps)))
