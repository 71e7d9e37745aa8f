"""Waymax's four metrics of a simulated step (overlap, off-road, log divergence, kinematics): steps a second, 1 thread.

128 objects and 20,000 points of road edges, as a large scene of Waymo's motion data has. Waymax itself, JAX on this
kind of CPU: 9.1 scene-steps a second with the same four (measured apart, see the specification's row 8b).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.nuscenes_metrics import machine
from benchmarks.pdm_speed import seconds, slope
from drive.dynamics.vehicle import Vehicle
from drive.rollouts.ground import Ground, ground_of
from drive.samples.scene import Actors, Lights, Scene, SceneMap
from drive.scores.waymax import kinematics, log_divergence, off_roads, overlaps


def edges(points: int) -> Ground:
    """40 wavy road edges over 250 x 250 m."""
    along = np.linspace(-125, 125, points // 40)
    lines = [np.stack([along, y + 2 * np.sin(along / 25)], axis=1) for y in np.linspace(-120, 120, 40)]
    scene_map = replace(
        SceneMap.empty(),
        edge_vertices=np.concatenate(lines),
        edge_offsets=np.arange(41) * len(along),
        edge_z=np.zeros(40 * len(along)),
        drivable_from="road edges",
    )
    one, times = np.ones(1, bool), np.zeros(1, np.int64)
    nobody, dark = Actors.none(1), Lights.none(1)
    scene = Scene("made", "made", times, 0, np.zeros(2), np.zeros((1, 11)), one, np.zeros(1), Vehicle(), nobody,
                  scene_map, None, dark)  # fmt: skip
    return ground_of([scene])


def time_step(objects: int, points: int, seed: int = 0) -> dict[str, float]:
    """Microseconds of each metric for one instant of `objects`."""
    rng, ground = np.random.default_rng(seed), edges(points)
    boxes = np.zeros((1, objects, 5))
    boxes[..., :2] = rng.uniform(-120, 120, (1, objects, 2))
    boxes[..., 2], boxes[..., 3], boxes[..., 4] = 4.6, 1.9, rng.uniform(-3, 3, (1, objects))
    valid, z = np.ones((1, objects), bool), np.zeros((1, objects))
    logged = boxes[..., :2] + 1.0
    speed, heading = rng.uniform(0, 15, (2, objects)), rng.uniform(-3, 3, (2, objects))
    pair = np.ones((2, objects), bool)
    calls = {
        "overlap": lambda: overlaps(boxes, valid),
        "off_road": lambda: off_roads(boxes, valid, ground, z),
        "log_divergence": lambda: log_divergence(boxes[..., :2], valid, logged, valid),
        "kinematics": lambda: kinematics(speed, heading, pair),
    }
    return {name: seconds(call, least=0.1, rounds=3) * 1e6 for name, call in calls.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/pdm_waymax.json"))
    args = parser.parse_args()
    base = time_step(128, 20_000)
    total = sum(base.values())
    result: dict[str, Any] = {
        "machine": machine(),
        "clock": "processor time",
        "us": base,
        "scene_steps_per_s": 1e6 / total,
        "times_waymax": 1e6 / total / 9.1,
    }
    for axis, sizes in (("points", (5_000, 20_000, 80_000, 320_000)), ("objects", (32, 128, 512, 2048))):
        times = [sum(time_step(*((128, n) if axis == "points" else (n, 20_000))).values()) for n in sizes]
        result[axis] = {"sizes": sizes, "us": times, "slope": slope(sizes, times)}
    print(json.dumps(result, indent=1))
    args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
