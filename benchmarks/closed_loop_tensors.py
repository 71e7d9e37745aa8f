"""The loop as tensors: equal to the compiled one on this device, then agent-steps a second.

    python -m benchmarks.closed_loop_tensors --device cuda     # part of `make gpu`; asked for: 1 million agent-steps/s

State transition, IDM traffic and Waymax's four metrics of 128 objects and 20,000 points of road edges a drive, 10 steps
from the start with a new plan (the recorded drive's) every 5. Exit status 1 where places differ from the compiled loop
by more than 1e-4 m after one second.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np
import torch

from benchmarks.closed_loop_ours import REPLAN, STEPS, drive_ours, log_reference
from benchmarks.closed_loop_scenes import OBJECTS, POINTS, made_scene
from drive.rollouts.config import ActorConfig, SimulationConfig
from drive.rollouts.state import build_world, start_state
from drive.rollouts.torch_step import TorchState, TorchWorld, reference_of, step_tensors
from drive.scores.torch_waymax import EdgeLists, Logged, step_metrics_tensors

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def drive(
    there: TorchWorld, edges: EdgeLists, logged: Logged, start: TorchState, plans: list[torch.Tensor]
) -> TorchState:  # fmt: skip
    """All steps with their metrics; the state at the end."""
    state = start
    for k in range(STEPS):
        if k % REPLAN == 0:
            reference = reference_of(plans[k // REPLAN], k)
        after = step_tensors(there, state, reference)
        step_metrics_tensors(there, edges, logged, state, after)
        state = after
    if there.box.is_cuda:
        torch.cuda.synchronize()
    return state


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--drives", type=int, default=64, help="side by side")
    parser.add_argument("--maps", type=int, default=4, help="different scenes among them")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    made = [made_scene(seed) for seed in range(args.maps)]
    config = SimulationConfig(actors=ActorConfig(mode="idm"))
    world = build_world([made[n % args.maps] for n in range(args.drives)], config)
    end, _ = drive_ours(world, config, STEPS)
    wrong = False
    for name, dtype in DTYPES.items():
        there = TorchWorld.of(world, config.actors, args.device, dtype)
        edges, logged = EdgeLists.of(world, args.device, dtype), Logged.of(world, args.device, dtype)
        start = there.state(start_state(world))
        plans = [
            torch.tensor(log_reference(world, k).poses, dtype=dtype, device=args.device)
            for k in range(0, STEPS, REPLAN)
        ]  # fmt: skip

        everything = there, edges, logged, start, plans
        found = drive(*everything)
        away = max(
            float(np.abs(found.ego[:, :2].cpu().double().numpy() - end.ego[:, :2]).max()),
            float(np.abs(found.box[..., :2].cpu().double().numpy() - end.box[..., :2]).max()),
        )
        wrong |= not away < 1e-4
        times = []
        for _ in range(args.rounds):
            began = time.perf_counter()
            drive(*everything)
            times.append(time.perf_counter() - began)
        steps = args.drives * STEPS / float(np.median(times))
        line = {
            "device": args.device, "dtype": name, "drives": args.drives, "points": POINTS,
            "metres_from_the_compiled_loop_after_1_s": away, "scene_steps_per_s": steps,
            "agent_steps_per_s": steps * OBJECTS,
        }  # fmt: skip
        print(json.dumps(line), flush=True)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
