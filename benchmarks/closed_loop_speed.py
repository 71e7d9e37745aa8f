"""The whole loop beside Waymax's in one process: state transition, traffic, and four metrics of every object.

    python -m benchmarks.closed_loop_speed --peers FOLDER   # FOLDER/src: waymax's checkout, FOLDER/site: jax and so on
    python -m benchmarks.closed_loop_speed                  # ours alone

Metrics: overlap, off-road, log divergence, kinematic infeasibility. Two loops: the others repeat the recording, or
drive by IDM. Equal first: Waymax rolls its own loop out, and our metrics of the very states that it went through must
equal its own; where they do not, the reason is found and counted. Then the time, at one thread (the process is held on
one core) and at two: rounds take turns, jax compiled before.

Waymax (waymo-research/waymax, licence for non-commercial use) is run, not copied. Its import of TensorFlow, which only
reads records, is replaced by an empty module.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.closed_loop_ours import STEPS, drive_ours
from benchmarks.closed_loop_peer import METRICS, import_waymax, road_points, waymax_loop, waymax_state
from benchmarks.closed_loop_scenes import HISTORY, OBJECTS, POINTS, made_scene, real_scenes
from benchmarks.nuscenes_metrics import machine
from drive.rollouts.config import ActorConfig, SimulationConfig
from drive.rollouts.ground import ground_of
from drive.rollouts.state import build_world
from drive.samples.scene import Scene
from drive.scores.waymax_step import Instant, instant_metrics


def ours(scenes: Sequence[Scene], mode: str, steps: int, threads: int) -> tuple[Callable[[], Any], int]:
    """(a round of all scenes, scene-steps in it): worlds made before, scenes shared out among threads."""
    config = SimulationConfig(actors=ActorConfig(mode=mode))  # type: ignore[arg-type]
    worlds = [build_world(scenes[t::threads], config) for t in range(threads)]
    pool = ThreadPoolExecutor(threads)

    def run() -> None:
        if threads == 1:
            drive_ours(worlds[0], config, steps)
        else:
            list(pool.map(lambda world: drive_ours(world, config, steps), worlds))

    return run, len(scenes) * steps


def off_road_by_points(scene: Scene, box: np.ndarray, z: float) -> float:
    """Waymax's reading of road edges: points, not segments. The sign is that of the nearest point's direction or, where
    that says more inside, of the point's before it on the same edge; the worst corner of a box [5]."""
    road, (x, y, length, width, heading) = road_points(scene), box
    cos, sin = np.cos(heading), np.sin(heading)
    worst = -np.inf
    for ahead, left in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        corner = np.array([x + (ahead * length * cos - left * width * sin) / 2,
                           y + (ahead * length * sin + left * width * cos) / 2])  # fmt: skip
        gap = road["xyz"] - [*corner, z]
        n = int(np.argmin(gap[:, 0] ** 2 + gap[:, 1] ** 2 + (2.0 * gap[:, 2]) ** 2))
        away = corner - road["xyz"][n, :2]
        sides = [float(away[0] * d[1] - away[1] * d[0]) for d in road["direction"][[n, max(n - 1, 0)]]]
        side = min(sides) if road["edge"][n] == road["edge"][max(n - 1, 0)] else sides[0]
        worst = max(worst, float(np.hypot(*away)) * np.sign(side))
    return worst


def compare(scene: Scene, mode: str, steps: int, loop: Any) -> Counter[str]:
    """Waymax's loop and its metrics against ours of the same states: how many values, how many differ and why."""
    first, (theirs, states) = loop(waymax_state(scene))
    objects = OBJECTS
    names = ("x", "y", "length", "width", "yaw", "vel_x", "vel_y", "valid", "z")
    rows = {n: np.concatenate([np.asarray(getattr(first, n))[None], np.asarray(getattr(states, n))]) for n in names}
    ground, log = ground_of([scene]), waymax_state(scene).log_trajectory
    logged = {n: np.asarray(getattr(log, n)) for n in ("x", "y", "valid")}
    counts: Counter[str] = Counter()

    def instant(k: int) -> Instant:
        box = np.stack([rows[n][k].astype(float) for n in names[:5]], axis=-1)
        box[:, 2:4] = np.abs(box[:, 2:4])  # see "without a size"
        return Instant(box[None], np.stack([rows["vel_x"][k], rows["vel_y"][k]], axis=-1)[None].astype(float),
                       rows["valid"][k][None])  # fmt: skip

    for k in range(steps):
        after, at = instant(k + 1), HISTORY + 1 + k
        xy = np.stack([logged["x"][:, at], logged["y"][:, at]], axis=-1)[None].astype(float)
        found = instant_metrics(
            ground, instant(k), after, xy, logged["valid"][:, at][None], rows["z"][k + 1][None].astype(float)
        )
        there = {n: np.asarray(theirs[n].valid)[k] for n in METRICS} | {"offroad": after.valid[0]}
        value = {n: np.asarray(theirs[n].value)[k] for n in METRICS}
        counts["objects"] += int(after.valid.sum())
        # Who appears after the start is given a place but no size by Waymax (-1 m x -1 m, which its metrics take for
        # 1 m x 1 m): ours are told 1 m x 1 m here.
        counts["objects without a size in waymax"] += int((after.valid[0] & (rows["length"][k + 1] < 0)).sum())
        off = there["log_divergence"] & (np.abs(value["log_divergence"] - found.divergence_m[0]) > 1e-3)
        counts["log divergence differs by more than 1 mm"] += int(off.sum())
        for name, flags in (
            ("overlap", found.overlap[0]), ("offroad", found.off_road_m[0] > 0),
            ("kinematic_infeasibility", found.infeasible[0]),
        ):  # fmt: skip
            counts[f"{name} true"] += int((flags & there[name]).sum())
            for o in np.flatnonzero(there[name] & (flags != (value[name] > 0.5))):
                counts[f"{name} differs"] += 1
                if name == "offroad":
                    by_points = off_road_by_points(scene, after.box[0, o], float(rows["z"][k + 1][o]))
                    same = (by_points > 0) == (value[name][o] > 0.5)
                    counts["offroad differs: points in place of segments" if same else "offroad unexplained"] += 1
    assert objects == len(rows["x"][0])
    return counts


def timed(calls: dict[str, tuple[Callable[[], Any], int]], rounds: int, clock: Callable[[], float]) -> dict[str, Any]:
    """Scene-steps a second of each: median, and the best of the rounds, which take turns."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for call, _ in calls.values():
        call()
    for _ in range(rounds):
        for name, (call, count) in calls.items():
            start = clock()
            call()
            found[name].append(count / (clock() - start))
    return {name: {"median": statistics.median(v), "best": max(v), "rounds": rounds} for name, v in found.items()}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """One process on the cores that it may use: equality, then times."""
    cores = len(os.sched_getaffinity(0))
    made = [made_scene(seed) for seed in range(args.scenes)]
    # One core: processor time, which other programs on the machine disturb less; more: the clock on the wall.
    clock = time.process_time if cores == 1 else time.perf_counter
    result: dict[str, Any] = {"cores": cores, "load": os.getloadavg()}
    for mode in ("log", "idm"):
        calls = {"ours": ours(made, mode, STEPS, cores)}
        if args.peers:
            import jax

            loop, state = waymax_loop(mode, STEPS, keep=False), waymax_state(made[0])
            calls["waymax"] = (lambda loop=loop, state=state: jax.block_until_ready(loop(state)), STEPS)  # type: ignore[misc]
        times = timed(calls, args.rounds, clock)
        if args.peers:
            times["ratio"] = times["ours"]["median"] / times["waymax"]["median"]
        result[mode] = times
        print(json.dumps({mode: times}), flush=True)
    return result


def equality(args: argparse.Namespace) -> dict[str, Any]:
    """Metrics of Waymax's own roll-outs, made scenes and real ones."""
    result: dict[str, Any] = {}
    logs = [path for folder in args.logs for path in sorted(folder.iterdir()) if (path / "log.json").exists()]
    scenes = {"made": [made_scene(0)], "real": real_scenes(logs)}
    for mode in ("log", "idm"):
        loop = waymax_loop(mode, STEPS, keep=True)
        for kind, chosen in scenes.items():
            counts: Counter[str] = Counter()
            for scene in chosen:
                counts += compare(scene, mode, STEPS, loop)
            result[f"{kind}, {mode}"] = {"scenes": len(chosen), "steps": STEPS, **dict(sorted(counts.items()))}
            print(json.dumps({f"{kind}, {mode}": result[f"{kind}, {mode}"]}), flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--logs", type=Path, nargs="*", default=[], help="folders of converted logs with road edges")
    parser.add_argument("--scenes", type=int, default=8, help="driven side by side")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--part", choices=("all", "equality", "speed"), default="all")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/closed_loop_speed.json"))
    parser.add_argument("--threads", type=int, default=2, help="cores that --part speed keeps to")
    args = parser.parse_args()
    if args.part == "speed":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    if args.peers:
        import_waymax(args.peers)
    if args.part == "speed":
        print("RESULT" + json.dumps(measure(args)))
        return
    result: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}
    result |= {"machine": machine(), "objects": OBJECTS, "points": POINTS, "scenes": args.scenes}
    if args.peers:
        result["equality"] = equality(args)
    if args.part == "all":
        for threads in (1, 2):
            # A process of its own for each: jax makes its threads once, for the cores that it sees.
            words = [sys.executable, "-m", "benchmarks.closed_loop_speed", "--part", "speed"]
            words += ["--scenes", str(args.scenes), "--rounds", str(args.rounds)]
            words += ["--peers", str(args.peers)] if args.peers else []
            done = subprocess.run([*words, "--threads", str(threads)], check=True, text=True, stdout=subprocess.PIPE)
            result[f"{threads} threads"] = json.loads(done.stdout.split("RESULT")[1])
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
