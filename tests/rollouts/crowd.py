"""Scenes with a crowd on winding roads between road edges, some of it late, on hills, behind an ego that stands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from drive.dynamics.controller import Profiles, Tracker
from drive.rollouts.simulate import HORIZON, Reference
from drive.rollouts.state import World
from drive.samples.scene import HEADING, VX, Actors, Scene, SceneMap, X, Y
from tests.samples.hand_made_scene import scene

STEPS = 41


def crowd(seed: int, count: int = 14, name: str = "crowd@0") -> Scene:
    """Two roads of 200 m with a bend; `count` others, of which one in four stands and one in four appears late."""
    rng = np.random.default_rng(seed)
    along = np.linspace(-60, 140, 80)
    edges = [np.stack([along, 10 * np.sin(along / 40) + aside], axis=1) for aside in (-5.0, 5.0, 9.0, 19.0)]
    edges[1::2] = [edge[::-1] for edge in edges[1::2]]  # the left of an edge is road
    around = replace(
        SceneMap.empty(), edge_vertices=np.concatenate(edges), edge_offsets=80 * np.arange(5),
        edge_z=np.concatenate([0.02 * e[:, 0] for e in edges]), drivable_from="road edges",
    )  # fmt: skip
    at = 0.1 * np.arange(STEPS)
    speed = np.where(rng.uniform(size=count) < 0.25, 0.0, rng.uniform(2, 14, count))
    x = rng.uniform(-50, 60, count)[:, None] + speed[:, None] * at
    lane = np.where(rng.uniform(size=count) < 0.5, 0.0, 14.0) + rng.uniform(-5, 5, count)
    y, heading = 10 * np.sin(x / 40) + lane[:, None], np.arctan(np.cos(x / 40) / 4)
    first = np.where(rng.uniform(size=count) < 0.25, rng.integers(1, 20, count), 0)
    valid = np.arange(STEPS) >= first[:, None]
    box = np.stack([x, y, np.full_like(x, 4.5), np.full_like(x, 1.9), heading], axis=-1)
    velocity = np.stack([speed[:, None] + 0 * x, speed[:, None] * np.cos(x / 40) / 4], axis=-1)
    keep = valid[..., None]
    others = Actors(
        np.where(keep, box, 0.0), np.where(keep, velocity, 0.0), valid, np.arange(count) % 3,
        tuple(f"car-{a}" for a in range(count)), np.where(valid, 0.02 * x, 0.0),
    )  # fmt: skip
    ego = np.zeros((STEPS, 11))
    ego[:, X] = 4.0 * at - 0.4 * at**2 * (at < 5)
    ego[:, Y], ego[:, HEADING] = 10 * np.sin(ego[:, X] / 40), np.arctan(np.cos(ego[:, X] / 40) / 4)
    ego[:, VX] = 4.0 - 0.8 * at
    return scene(ego, others, around, name=name)


def as_recorded(world: World, step: int) -> Reference:
    """Plans that repeat the recorded drives."""
    rows = [np.minimum(s.now + step + np.arange(HORIZON + 1), len(s.ego) - 1) for s in world.scenes]
    plans = np.stack([s.ego[r, :3] for s, r in zip(world.scenes, rows, strict=True)])
    return Reference(plans, Profiles(*Tracker().profiles(plans)), np.full(len(plans), step, np.int64))
