"""Our PDM score against NAVSIM's public scorer on the same made-up worlds, sub-score by sub-score.

``python -m benchmarks.pdm_parity --navsim-v1 DIR --navsim-v2 DIR --nuplan DIR --libraries DIR`` (see `pdm_peer`): one
process a version, because both have the same package name. Driven states, sub-scores, progress, times of first events,
and v2's two-frame comfort are compared; what differs is listed by world and plan. `--golden` keeps rows for the tests.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.nuscenes_metrics import machine
from drive.dynamics.controller import reference_poses
from drive.scores.pdm import NEVER, score_states
from drive.scores.pdm_comfort import two_frame_comfort
from drive.scores.pdm_config import PdmConfig
from tests.scores.pdm_world import TIMES_S, make_world, scene_of

TOLERANCE = {"ep": 1e-4, "progress_m": 1e-4, "score": 1e-4}
GOLDEN_WORLDS = 12


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """One version: counts of equal values, the differences, the largest difference of driven states."""
    from benchmarks.pdm_peer import Peer

    warnings.simplefilter("ignore")
    folder = args.navsim_v1 if args.version == "v1.1" else args.navsim_v2
    peer, config = Peer(args.version, folder, args.nuplan, args.libraries), PdmConfig(version=args.version)
    equal: dict[str, int] = {}
    below_one: dict[str, int] = {}
    differences: list[dict[str, Any]] = []
    golden: dict[str, list[np.ndarray]] = {}
    total, furthest, seconds, own_seconds = 0, 0.0, 0.0, 0.0
    for seed in range(args.worlds):
        world = make_world(seed, args.agents, args.plans)
        given = peer.scene(world)
        start = time.perf_counter()
        states = peer.drive(world, given)
        theirs = peer.score(states, given)
        seconds += time.perf_counter() - start
        scene = scene_of(world, config)
        start = time.perf_counter()
        driven = config.tracker(scene.vehicle).track(reference_poses(world.plans, TIMES_S, world.ego0), world.ego0)
        table = score_states(scene, driven, config)
        own_seconds += (time.perf_counter() - start) * (seed > 0)
        furthest = max(furthest, float(np.abs(driven - states).max()))
        ours = {name: getattr(table, name) for name in theirs if not name.endswith("_step")}
        for event in ("collision", "ttc"):
            steps = table.steps[event]
            ours[f"{event}_step"] = np.where(steps == NEVER, np.inf, steps)
        if config.second:
            from navsim.planning.simulation.planner.pdm_planner.scoring import pdm_comfort_metrics

            before = np.roll(states, 1, axis=0)
            times = np.arange(36) * 0.1
            felt = pdm_comfort_metrics.ego_is_two_frame_extended_comfort(states[:, :-5], before[:, 5:], times)
            theirs["ec"], ours["ec"] = felt.astype(float), two_frame_comfort(driven, np.roll(driven, 1, 0), 5, config)
        total += args.plans
        for name, value in theirs.items():
            both = np.isinf(ours[name]) & np.isinf(value)
            with np.errstate(invalid="ignore"):
                same = both | (np.abs(ours[name] - value) <= TOLERANCE.get(name, 0.0))
            equal[name] = equal.get(name, 0) + int(same.sum())
            below_one[name] = below_one.get(name, 0) + int((value < 1).sum())
            for plan in np.flatnonzero(~same).tolist():
                pair = {"ours": float(ours[name][plan]), "theirs": float(value[plan])}
                differences.append({"world": seed, "plan": plan, "name": name, **pair})
        if seed < GOLDEN_WORLDS:
            for name, value in {**theirs, "plans": world.plans, "end": states[:, -1]}.items():
                golden.setdefault(f"{args.version}/{name}", []).append(value)
    np.savez_compressed(args.rows, **{name: np.stack(value) for name, value in golden.items()})
    return {
        "version": args.version,
        "worlds": args.worlds,
        "plans": total,
        "equal": {name: f"{count} of {total}" for name, count in equal.items()},
        "below_one": below_one,
        "differences": differences,
        "furthest_state": furthest,
        "navsim_seconds": seconds,
        "our_seconds_after_the_first": own_seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("navsim-v1", "navsim-v2", "nuplan", "libraries"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--worlds", type=int, default=60)
    parser.add_argument("--agents", type=int, default=15)
    parser.add_argument("--plans", type=int, default=8)
    parser.add_argument("--version", default="")
    parser.add_argument("--rows", default="")
    parser.add_argument("--golden", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/pdm_parity.json"))
    args = parser.parse_args()
    if args.version:
        print(json.dumps(compare(args)))
        return
    results, rows = [], {}
    for version in ("v1.1", "v2-fixed"):
        part = args.out.with_name(f".{args.out.stem}-{version}.npz")
        command = [sys.executable, "-m", "benchmarks.pdm_parity", *sys.argv[1:], "--version", version]
        done = subprocess.run([*command, "--rows", str(part)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{version}: {done.stderr[-3000:]}")
        results.append(json.loads(done.stdout.splitlines()[-1]))
        with np.load(part) as found:
            rows |= dict(found)
        part.unlink()
        print(json.dumps({k: v for k, v in results[-1].items() if k != "differences"}, indent=1))
        print(f"{len(results[-1]['differences'])} differences", results[-1]["differences"][:10])
    args.out.write_text(json.dumps({"machine": machine(), "agents": args.agents, "versions": results}, indent=1) + "\n")
    if args.golden:
        np.savez_compressed(args.golden, **rows)


if __name__ == "__main__":
    main()
