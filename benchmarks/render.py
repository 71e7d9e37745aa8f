"""How fast the renderer is: sweeps, rays and images a second on a street of a town's size, as JSON.

Usage: python -m benchmarks.render [--seconds 5] [--processes 2] [--out FILE]

The street has 400 static primitives and 60 actors of 4 parts each (half of them moving), like a scene of the
town; every sweep is from a new place with the sensor moving, and includes all that ``render_sweep`` does (noise,
drops, intensity, points in the end frame). ``processes`` workers render independent scenes, as the town does; each
is single-threaded. ``cpu_ms`` is processor time a sweep or image, which a busy machine disturbs less. Compilation is
timed apart (a second run finds numba's cache).
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import platform
import time
from pathlib import Path

import numpy as np

from drive.render.camera import CameraModel, render_image
from drive.render.lidar import NUSCENES_32, WAYMO_64, LidarModel, render_sweep
from drive.render.scene import (
    BOX,
    CYLINDER,
    ELLIPSOID,
    FACADE,
    FOLIAGE_NOISE,
    PLAIN,
    Actors,
    Ground,
    Material,
    Primitives,
    StaticScene,
)

STATIC, ACTORS = 400, 60
CAMERA = CameraModel("front", 800, 450, np.array([[633.0, 0, 400], [0, 633.0, 225], [0, 0, 1.0]]))


def _static_rows(rng: np.random.Generator) -> list[tuple]:
    rows: list[tuple] = []
    x = -150.0
    while x < 150.0:
        width = rng.uniform(12, 24)
        for side in (1, -1):
            depth, height = rng.uniform(10, 16), rng.uniform(6, 24)
            colour = tuple(rng.integers(110, 215) + rng.integers(-20, 20, 3))
            centre, half = (
                (x + width / 2, side * (12 + depth / 2), height / 2),
                (width / 2 - 0.7, depth / 2, height / 2),
            )
            rows.append((BOX, centre, half, Material.BUILDING, colour, FACADE))
        x += width
    while len(rows) < STATIC:
        x, side = rng.uniform(-150, 150), rng.choice([-1, 1])
        if len(rows) % 3 == 0:
            rows.append((CYLINDER, (x, side * 7.4, 3.0), (0.08, 0.08, 3.0), Material.METAL, (120, 120, 125), PLAIN))
            continue
        trunk, crown, y = rng.uniform(2.0, 3.5), rng.uniform(1.2, 2.2), side * rng.uniform(8.4, 10.5)
        rows.append((CYLINDER, (x, y, trunk / 2), (0.15, 0.15, trunk / 2), Material.TRUNK, (90, 70, 50), PLAIN))
        green = (60 + rng.integers(40), 105 + rng.integers(40), 45)
        centre = (x, y, trunk + 0.8 * crown)
        rows.append((ELLIPSOID, centre, (crown, crown, crown), Material.FOLIAGE, green, FOLIAGE_NOISE))
    return rows[:STATIC]


def _primitives(rows: list[tuple]) -> Primitives:
    kind, centre, half, material, colour, texture = (np.array(c) for c in zip(*rows, strict=True))
    return Primitives(kind, centre, half, np.zeros(len(rows)), material, colour, texture)


def _car(rng: np.random.Generator) -> Primitives:
    tyre = (BOX, (0.33, 0.95, 0.33), Material.TYRE, (25, 25, 25), PLAIN)
    return _primitives(
        [
            (BOX, (0, 0, 0.62), (2.25, 0.93, 0.36), Material.CAR_PAINT, tuple(rng.integers(20, 240, 3)), PLAIN),
            (BOX, (-0.2, 0, 1.15), (1.25, 0.82, 0.36), Material.GLASS, (35, 45, 60), PLAIN),
            (tyre[0], (1.35, 0, 0.33), *tyre[1:]),
            (tyre[0], (-1.35, 0, 0.33), *tyre[1:]),
        ]
    )


def _pedestrian(rng: np.random.Generator) -> Primitives:
    coat = tuple(rng.integers(30, 230, 3))
    return _primitives(
        [
            (CYLINDER, (0, 0, 0.45), (0.16, 0.16, 0.45), Material.CLOTH, (40, 40, 70), PLAIN),
            (ELLIPSOID, (0, 0, 1.62), (0.12, 0.12, 0.15), Material.SKIN, (210, 160, 130), PLAIN),
            (BOX, (0, 0, 1.15), (0.15, 0.24, 0.32), Material.CLOTH, coat, PLAIN),
            (BOX, (0.05, 0, 1.1), (0.1, 0.3, 0.25), Material.CLOTH, coat, PLAIN),
        ]
    )


def street(seed: int) -> tuple[StaticScene, Actors]:
    """A straight street 14 m wide with pavements, houses, trees, lamp posts, cars in four lanes and pedestrians."""
    rng = np.random.default_rng(seed)
    resolution = 0.2
    y, x = (np.arange(300) + 0.5) * resolution - 30.0, (np.arange(2000) + 0.5) * resolution - 200.0
    raster = np.full((300, 2000), Material.GRASS, np.uint8)
    raster[np.abs(y) < 11.0] = Material.SIDEWALK
    raster[np.abs(y) < 7.0] = Material.ROAD
    raster[np.ix_((np.abs(y) < 0.12) | (np.abs(np.abs(y) - 3.5) < 0.12), x % 6.0 < 3.0)] = Material.MARKING
    raster[np.ix_((np.abs(y) < 6.8) & (y % 1.0 < 0.5), np.abs(x - 14.0) < 1.8)] = Material.MARKING
    ground = Ground(raster, resolution, (-200.0, -30.0))
    scene = StaticScene(_primitives(_static_rows(rng)), ground, 1.0, 0.8, 0.45, (105, 150, 215), seed)
    poses, velocities, parts = [], [], []
    for i in range(ACTORS):
        if i % 4 == 0:
            poses.append((rng.uniform(-60, 60), rng.choice([-1, 1]) * rng.uniform(7.5, 9.0), 0.0, rng.uniform(-3, 3)))
            velocities.append((1.0, 0.0))
            parts.append(_pedestrian(rng))
        else:
            lane = (-5.2, 1.8, 5.2)[i % 3]  # the fourth lane is the ego car's
            speed = 10.0 if i % 2 else 0.0
            poses.append((rng.uniform(-90, 90), lane, 0.0, 0.0 if lane < 0 else math.pi))
            velocities.append((speed if lane < 0 else -speed, 0.0))
            parts.append(_car(rng))
    offsets = np.cumsum([0, *(len(p) for p in parts)])
    return scene, Actors(
        np.array(poses), np.array(velocities), np.zeros(ACTORS), offsets, Primitives.concatenate(parts)
    )


def lidar_pose(x: float, yaw: float) -> np.ndarray:
    """x right, y forward, z up, 1.84 m above the ego lane."""
    cos, sin = math.cos(yaw), math.sin(yaw)
    return np.array([[sin, cos, 0, x], [-cos, sin, 0, -1.8], [0, 0, 1, 1.84], [0, 0, 0, 1.0]])


def camera_pose(x: float, yaw: float) -> np.ndarray:
    """Level, 1.5 m above the ego lane, looking along ``yaw``."""
    cos, sin = math.cos(yaw), math.sin(yaw)
    return np.array([[sin, 0, cos, x], [-cos, 0, sin, -1.8], [0, -1, 0, 1.5], [0, 0, 0, 1.0]])


def _sweeps(model: LidarModel, seed: int, seconds: float) -> tuple[int, int, float, float]:
    scene, actors = street(seed)
    rng = np.random.default_rng(seed)
    count, points, start, cpu = 0, 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        x = (count * 0.5) % 60.0 - 30.0
        points += len(render_sweep(scene, actors, model, lidar_pose(x, 0.0), lidar_pose(x + 0.5, 0.01), rng).points)
        count += 1
    return count, points, time.perf_counter() - start, time.process_time() - cpu


def _images(seed: int, seconds: float) -> tuple[int, int, float, float]:
    scene, actors = street(seed)
    rng = np.random.default_rng(seed)
    count, start, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        render_image(scene, actors, CAMERA, camera_pose((count * 0.7) % 60.0 - 30.0, count * math.pi / 3), rng)
        count += 1
    return count, 0, time.perf_counter() - start, time.process_time() - cpu


def _work(task: tuple[str, int, float]) -> tuple[int, int, float, float]:
    what, seed, seconds = task
    run = {
        "nuscenes_32": lambda s: _sweeps(NUSCENES_32, seed, s),
        "waymo_64": lambda s: _sweeps(WAYMO_64, seed, s),
        "camera_800x450": lambda s: _images(seed, s),
    }[what]
    run(0.1)  # kernels loaded before the clock starts
    return run(seconds)


def _machine() -> dict:
    model = platform.processor()
    if Path("/proc/cpuinfo").is_file():
        names = [
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ]
        model = names[0] if names else model
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__}


def measure(seconds: float, processes: int) -> dict:
    """Everything this benchmark knows, as a flat dict."""
    start = time.perf_counter()
    _work(("nuscenes_32", 0, 0.0))
    _work(("camera_800x450", 0, 0.0))
    result: dict = {"machine": _machine(), "processes": processes, "seconds.first_call": time.perf_counter() - start}
    rays = {m.name: m.columns * len(m.beam_elevations_rad) for m in (NUSCENES_32, WAYMO_64)}
    rays["camera_800x450"] = CAMERA.width * CAMERA.height
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for what in rays:
            done = pool.map(_work, [(what, seed, seconds) for seed in range(processes)], chunksize=1)
            rate = sum(count / took for count, _, took, _ in done)
            unit = "images_per_s" if what.startswith("camera") else "sweeps_per_s"
            result[f"{what}.{unit}"] = rate
            result[f"{what}.rays_per_s"] = rate * rays[what]
            result[f"{what}.cpu_ms"] = 1e3 * sum(d[3] for d in done) / sum(d[0] for d in done)
            if unit == "sweeps_per_s":
                result[f"{what}.points_per_sweep"] = sum(d[1] for d in done) / sum(d[0] for d in done)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="time a measurement")
    parser.add_argument("--processes", type=int, default=2, help="single-threaded workers")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    arguments = parser.parse_args()
    text = json.dumps(measure(arguments.seconds, arguments.processes), indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
