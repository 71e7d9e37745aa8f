"""The planner head beside its published form, one call at batch 1: results/planner_head.json.

Usage: python -m benchmarks.planner_head [--rounds 15] [--threads 1 2] [--out FILE]

Sides, taking turns round by round: ours in float32 and bfloat16, with the map's convolution computed only where it is
read or once a layer; the published form as the tests write it (tests/plans/published_head.py), in both types.
Trajectories are compared before anything is timed: within 1e-5 m in float32. (That the published form gives what the
published code gives is what tests/golden/diffusiondrive_head.json is for.)
Size: 20 anchors of 8 points, 256 channels, 64 x 64 cells, 30 agents, two passes, 4.95 million weights.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.convert import machine
from drive.plans.diffusion import DiffusionConfig, DiffusionHead
from drive.plans.diffusion_parts import MapRows
from drive.plans.trunk import BevFrame, SceneFeatures

ROOT = Path(__file__).parent
RESULT = ROOT / "results" / "planner_head.json"
sys.path.insert(0, str(ROOT.parent / "tests" / "plans"))

from published_head import PublishedHead  # noqa: E402

Sides = dict[str, Callable[[], torch.Tensor]]


def make_head(seed: int) -> DiffusionHead:
    """The published size; 20 anchors from standing to 13.5 m/s, straight and turning."""
    torch.manual_seed(seed)
    head = DiffusionConfig().build(BevFrame(), 256).eval()
    speed, bend = torch.linspace(0, 13.5, 20), 0.03 * torch.arange(20).sin()
    along = speed[:, None] * torch.arange(1, 9) * 0.5
    turn = bend[:, None] * along
    head.anchors.copy_(torch.stack((along * turn.cos(), along * turn.sin()), dim=-1))
    return head


def sides_of(seed: int) -> tuple[Sides, dict[str, Any]]:
    """What is timed, by name; and facts about the work."""
    head = make_head(seed)
    scene = SceneFeatures(
        torch.randn(1, 256, 64, 64), torch.randn(1, 30, 256), None, torch.randn(1, 1, 256), torch.zeros(1).long()
    )
    noise = head.noise(1, torch.Generator().manual_seed(seed))
    assert noise is not None
    tensors = {name: getattr(scene, name) for name in ("bev", "agents", "ego")}
    halves = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    half_scene = replace(scene, **halves)

    def ours(values: str, narrow: bool) -> Callable[[], torch.Tensor]:
        made = DiffusionHead(replace(head.config, values=values), head.frame).eval()
        made.load_state_dict(head.state_dict())
        given = half_scene if narrow else scene
        made = made.narrow() if narrow else made
        return lambda: made.propose(given, noise).poses

    published = PublishedHead.of(head)
    published_narrow = PublishedHead.of(copy.deepcopy(head).narrow())
    found: Sides = {
        "published_f32": lambda: published(tensors["bev"], tensors["agents"], tensors["ego"], noise)[0],
        "ours_read_f32": ours("read", False),
        "ours_dense_f32": ours("dense", False),
        "published_bf16": lambda: published_narrow(halves["bev"], halves["agents"], halves["ego"], noise)[0],
        "ours_read_bf16": ours("read", True),
        "ours_dense_bf16": ours("dense", True),
    }
    computed: list[int] = []
    whole = MapRows.neighbours
    MapRows.neighbours = lambda self, cells: computed.append(len(cells)) or whole(self, cells)  # type: ignore
    with torch.inference_mode():
        found["ours_read_f32"]()
    MapRows.neighbours = whole  # type: ignore[method-assign]
    weights = sum(p.numel() for p in published.parameters())
    return found, {"weights": weights, "cells_computed": computed, "cells_of_published": [64 * 64] * 4, "noise": noise}


def measure(sides: Sides, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds a call, sides in turn."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    with torch.inference_mode():
        for _ in range(3):
            for call in sides.values():
                call()
        for _ in range(rounds):
            for name, call in sides.items():
                start = time.perf_counter()
                call()
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: {"median_ms": statistics.median(t), "least_ms": min(t)} for name, t in times.items()}


def main() -> None:
    """Compare, time and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    sides, facts = sides_of(arguments.seed)
    facts.pop("noise")
    with torch.inference_mode():
        answers = {name: call() for name, call in sides.items()}
    apart = {name: float((a - answers["published_f32"]).abs().max()) for name, a in answers.items()}
    for name in ("ours_read_f32", "ours_dense_f32"):
        assert apart[name] < 1e-5, f"{name} is {apart[name]} m from the published form"
    report: dict[str, Any] = {
        "benchmark": "planner_head",
        "command": f"python -m benchmarks.planner_head --rounds {arguments.rounds} --seed {arguments.seed}",
        "machine": {**machine(), "torch": torch.__version__},
        **facts,
        "metres_from_published_f32": apart,
    }
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        before = os.getloadavg()
        found = measure(sides, arguments.rounds)
        slow = {kind: found[f"published_{kind}"]["median_ms"] for kind in ("f32", "bf16")}
        for name, row in found.items():
            row["times_published_f32"] = slow["f32"] / row["median_ms"]
            row["times_published_same_type"] = slow[name.rsplit("_", 1)[1]] / row["median_ms"]
            print(f"{threads} threads {name:16s} {row['median_ms']:8.2f} ms  {row['times_published_f32']:6.1f} x")
        report[f"threads_{threads}"] = {"load_average": before, "sides": found}
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
