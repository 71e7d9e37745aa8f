"""How fast plans are driven and scored on one thread, and by what law: proposals, agents, polygons of the map.

``python -m benchmarks.pdm_speed`` for ours alone; with the folders of `pdm_parity` NAVSIM v1.1's simulator and scorer
run on the same world in the same process, and no number is given unless the sub-scores are equal.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.nuscenes_metrics import machine
from drive.dynamics.controller import reference_poses
from drive.scores.pdm import PdmScorer
from drive.scores.pdm_config import PdmConfig
from tests.scores.pdm_world import TIMES_S, World, make_world, scene_of

BASE = {"plans": 256, "agents": 58, "polygons": 55}
LAWS = {"plans": (16, 64, 256, 1024, 4096), "agents": (15, 58, 230, 920), "polygons": (55, 220, 880, 3520)}


def run_ours(world: World, config: PdmConfig) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """(plans to table, the scene and its map made as well)."""
    scene = scene_of(world, config)
    scorer, tracker = PdmScorer(scene, config), config.tracker(scene.vehicle)

    def score() -> Any:
        states = tracker.track(reference_poses(world.plans, TIMES_S, world.ego0), world.ego0)
        return scorer.score(states)

    def everything() -> Any:
        fresh = PdmScorer(scene_of(world, config), config)
        return fresh.score(tracker.track(reference_poses(world.plans, TIMES_S, world.ego0), world.ego0))

    return score, everything


def seconds(call: Callable[[], Any], least: float = 0.3, rounds: int = 5) -> float:
    """Median of `rounds`, each of repeats that take `least` seconds together.

    Processor time of this one thread: on a machine that others use too, the clock on the wall measures them.
    """
    call()
    start = time.process_time()
    call()
    repeats = max(int(least / max(time.process_time() - start, 1e-6)), 1)
    found = []
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(repeats):
            call()
        found.append((time.process_time() - start) / repeats)
    return statistics.median(found)


def slope(sizes: tuple[int, ...], times: list[float]) -> float:
    """Exponent of the law over the upper half of the sizes."""
    half = len(sizes) // 2 - (len(sizes) < 4)
    return float(np.polyfit(np.log(sizes[half:]), np.log(times[half:]), 1)[0])


def plot(result: dict[str, Any], path: Path) -> None:
    """The three laws as lines on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(LAWS), figsize=(4 * len(LAWS), 3.5), constrained_layout=True)
    for one, axis in zip(axes, LAWS, strict=True):
        for version in ("v1.1", "v2-fixed"):
            law = result[f"{version} by {axis}"]
            one.loglog(law["sizes"], law["ms"], "o-", label=f"{version}: slope {law['slope']:.2f}")
        rest = ", ".join(f"{n} {name}" for name, n in BASE.items() if name != axis)
        one.set(xlabel=axis, ylabel="ms, one thread", title=rest)
        one.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("navsim-v1", "nuplan", "libraries"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/pdm_speed.json"))
    parser.add_argument("--plot", type=Path, help="draw the laws that --out holds, measure nothing")
    args = parser.parse_args()
    if args.plot:
        plot(json.loads(args.out.read_text()), args.plot)
        return
    config = PdmConfig()
    result: dict[str, Any] = {
        "machine": machine(),
        "threads": 1,
        "clock": "processor time",
        "base": BASE,
        "seed": args.seed,
    }
    if args.navsim_v1:
        from benchmarks.pdm_peer import Peer

        warnings.simplefilter("ignore")
        peer = Peer("v1.1", args.navsim_v1, args.nuplan, args.libraries)
        for plans in (2, 20, 256):
            world = make_world(args.seed, BASE["agents"], plans, BASE["polygons"])
            given = peer.scene(world)
            ours, _ = run_ours(world, config)
            table, theirs = ours(), []
            for _ in range(3 if plans < 100 else 1):
                start = time.process_time()
                found = peer.score(peer.drive(world, given), given)
                theirs.append(time.process_time() - start)
            for name in ("nc", "dac", "ddc", "ttc", "comfort"):
                if not np.array_equal(found[name], table.column(name)):
                    raise SystemExit(f"{plans} plans: {name} differs, no numbers")
            own, other = seconds(ours), statistics.median(theirs)
            result[f"beside_navsim_{plans}"] = {
                "navsim_ms": other * 1e3,
                "ours_ms": own * 1e3,
                "navsim_proposals_per_s": plans / other,
                "our_proposals_per_s": plans / own,
                "ratio": other / own,
            }
            print(plans, result[f"beside_navsim_{plans}"])
    for version in ("v1.1", "v2-fixed"):
        config = PdmConfig(version=version)
        world = make_world(args.seed, BASE["agents"], BASE["plans"], BASE["polygons"])
        ours, everything = run_ours(world, config)
        own = seconds(ours)
        row = {
            "ms": own * 1e3,
            "proposals_per_s": BASE["plans"] / own,
            "scene_ms": (seconds(everything) - own) * 1e3,
            "map_ms": seconds(lambda c=config, w=world: scene_of(w, c)) * 1e3,
        }
        result[version] = row
        print(version, row)
        for axis, sizes in LAWS.items():
            times = []
            for size in sizes:
                world = make_world(args.seed, **{**BASE, axis: size})
                times.append(seconds(run_ours(world, config)[0], least=0.1, rounds=3))
            result[f"{version} by {axis}"] = {
                "sizes": sizes,
                "ms": [t * 1e3 for t in times],
                "slope": slope(sizes, times),
            }
            print(version, axis, [round(t * 1e3, 2) for t in times], round(slope(sizes, times), 2))
    args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
