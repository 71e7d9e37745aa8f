"""Scenes that both sides of `closed_loop_speed` drive through: made ones of one size, and real ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from drive.dynamics.vehicle import Vehicle
from drive.samples.scene import HEADING, VX, YAW_RATE, Actors, Lights, Scene, SceneMap, X, Y

OBJECTS, POINTS = 128, 20_000
"""Waymax's own bounds of a scene of the Waymo motion data, the ego among the objects."""
HISTORY, AHEAD = 10, 80


def made_scene(seed: int, objects: int = OBJECTS, points: int = POINTS) -> Scene:
    """20 wavy roads of 250 m, 12 m apart: both edges of each, sampled every half a metre. Nine in ten of the others
    drive along a road at 2 to 12 m/s with a little noise, some of them over its edge; the rest stand."""
    rng = np.random.default_rng(seed)
    roads = 20
    along = np.linspace(-125, 125, points // (2 * roads))
    middle = 12.0 * (np.arange(roads) - roads / 2)
    edges = []
    for y in middle:
        wave = 2 * np.sin(along / 25 + y)
        # The left of the direction of an edge is road: the right edge runs with the road, the left one against it.
        edges += [np.stack([along, y + wave - 4], axis=1), np.stack([along, y + wave + 4], axis=1)[::-1]]
    around = replace(
        SceneMap.empty(),
        edge_vertices=np.concatenate(edges),
        edge_offsets=np.arange(2 * roads + 1) * len(along),
        edge_z=np.zeros(2 * roads * len(along)),
        drivable_from="road edges",
    )
    steps = HISTORY + AHEAD + 1
    at = 0.1 * (np.arange(steps) - HISTORY)
    road = rng.integers(0, roads, objects)
    speed = rng.uniform(2, 12, objects)
    speed[rng.uniform(size=objects) < 0.1] = 0.0
    start, aside = rng.uniform(-80, 40, objects), rng.uniform(-3.3, 3.3, objects)
    x = start[:, None] + speed[:, None] * at
    y = middle[road][:, None] + 2 * np.sin(x / 25 + middle[road][:, None]) + aside[:, None]
    heading = np.arctan(2 / 25 * np.cos(x / 25 + middle[road][:, None]))
    # The ego, row 0, is wider than most: it keeps to the middle.
    y[0] -= aside[0]
    speed[0] = 8.0
    x[0] = start[0] + 8.0 * at
    y[0] = middle[road[0]] + 2 * np.sin(x[0] / 25 + middle[road[0]])
    heading[0] = np.arctan(2 / 25 * np.cos(x[0] / 25 + middle[road[0]]))
    velocity = np.gradient(np.stack([x, y], axis=-1), 0.1, axis=1)
    box = np.stack([x, y, np.full_like(x, 4.6), np.full_like(x, 1.9), heading], axis=-1)
    # A few appear late or vanish early.
    first = np.where(rng.uniform(size=objects) < 0.1, rng.integers(0, steps // 2, objects), 0)
    last = np.where(rng.uniform(size=objects) < 0.1, rng.integers(steps // 2, steps, objects), steps)
    valid = (np.arange(steps) >= first[:, None]) & (np.arange(steps) < last[:, None])
    vehicle = Vehicle()
    ego = np.zeros((steps, 11))
    ego[:, X], ego[:, Y] = x[0] - vehicle.centre * np.cos(heading[0]), y[0] - vehicle.centre * np.sin(heading[0])
    ego[:, HEADING], ego[:, VX] = heading[0], np.hypot(*velocity[0].T)
    ego[:, YAW_RATE] = np.gradient(heading[0], 0.1)
    others = Actors(
        np.where(valid[1:, :, None], box[1:], 0.0), np.where(valid[1:, :, None], velocity[1:], 0.0), valid[1:],
        np.zeros(objects - 1, np.int64), tuple(f"car-{a}" for a in range(objects - 1)), np.zeros((objects - 1, steps)),
    )  # fmt: skip
    return Scene(
        name=f"made-{seed}@{HISTORY}", log=f"made-{seed}", timestamps_ns=100_000_000 * np.arange(steps), now=HISTORY,
        origin_xy=np.zeros(2), ego=ego, ego_valid=np.ones(steps, bool), ego_z=np.zeros(steps), vehicle=vehicle,
        actors=others, map=around, route=None, lights=Lights.none(steps),
    )  # fmt: skip


def real_scenes(logs: list[Path]) -> list[Scene]:
    """Scenes of converted logs that have road edges, cut down to Waymax's number of objects: those nearest the ego."""
    from drive.logs.store import Log  # needs pyarrow, which made scenes do not
    from drive.samples.scene_load import SceneConfig, load_scene

    scenes = []
    for path in logs:
        scene = load_scene(Log.open(path), HISTORY / 10, SceneConfig(with_route=False))
        if scene.map.drivable_from != "road edges":
            continue
        away = np.hypot(*(scene.actors.box[:, scene.now, :2] - scene.ego[scene.now, [X, Y]]).T)
        away[~scene.actors.valid[:, scene.now]] = np.inf
        scenes.append(replace(scene, actors=scene.actors.take(np.sort(np.argsort(away)[: OBJECTS - 1]))))
    return scenes
