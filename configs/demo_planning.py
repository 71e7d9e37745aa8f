"""The planners' part of ``make demo`` and ``make demo-full``: who drives best on towns that no planner was trained on.

Drives of traffic without sensors are made, a small DiffusionDrive is trained on some of them, and it and the planners
by rule drive on the others in closed loop, among traffic that answers. All of it are commands that a user would type.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from configs.stages import Stages

RULES = ("log_replay", "stop", "constant_velocity", "idm", "pdm_closed")
TRAIN_S, START_S, DRIVE_S = 32.0, 2.0, 8.0


def plan_stage(stages: Stages, out: Path, train_seconds: float, scenarios: int, held_out: int, seeds: int = 1) -> None:
    """Figures ``planning.<planner>.pdms`` with ``.pdms_low`` and ``.pdms_high`` (95 %), 0 to 1; prints the ranking.

    Args:
        stages: the chain.
        out: folder of it all; what is there already is used again.
        train_seconds: of one training.
        scenarios: for training, 8 s each; a drive of 32 s holds 8, 3 s apart.
        held_out: drives to be judged on.
        seeds: trainings.
    """
    drives, judged = out / "drives", out / "held_out"
    logs = max(-(-scenarios // 8), 1)
    if not (drives / "town.json").is_file():
        size = ["--scenes", logs, "--val-scenes", 0, "--seconds", TRAIN_S]
        stages.run("planning.drives", ["data_tools.town", drives, "--format", "log", *size])
    if not (judged / "town.json").is_file():
        # Two seconds of history, the drive, and what the judges look at beyond its end.
        size = ["--scenes", 0, "--val-scenes", held_out, "--val-seconds", START_S + DRIVE_S + 6.0]
        stages.run("planning.held_out", ["data_tools.town", judged, "--format", "log", *size])
    runs = []
    for seed in range(seeds):
        runs.append(out / f"town_diffusion_{seed}")
        data = ["--data.train-logs", drives, "--data.val-logs", judged]
        length = ["--train.max-seconds", train_seconds, "--seed", seed]
        recipe = ["drive", "plan", "configs.town_diffusion", "--out", runs[-1], *data, *length]
        stages.run(f"planning.train_{seed}", recipe)
    scenes = [f"{log.name}@{START_S * 10:.0f}" for log in sorted(judged.glob("held-*"))]
    folders = []
    for seed, run in enumerate(runs):
        folders.append(out / f"simulate_{seed}")
        planners = [*(RULES if seed == 0 else ()), run]
        how = [
            "--seconds",
            DRIVE_S,
            "--simulation.actors.mode",
            "idm",
            "--batch",
            64,
            "--out",
            folders[-1],
            "--no-report",
        ]
        command = ["drive", "simulate", judged, "--planner", *planners, "--scene", *scenes, *how]
        stages.run(f"planning.simulate_{seed}", command)
    stages.run("planning.score", ["drive", "score", *folders])
    stages.run("planning.report", ["drive", "view", folders[0]])
    ranked = ranking(json.loads((folders[0] / "scores.json").read_text()))
    stages.add({f"planning.{name}.{key}": value for name, row in ranked.items() for key, value in row.items()})
    print(
        f"\nplanners on {held_out} drives in towns that none was trained on, PDM score of {DRIVE_S:g} s in closed loop:"
    )
    for name, row in ranked.items():
        print(f"{name:18s} {row['pdms']:.3f}  ({row['pdms_low']:.3f} to {row['pdms_high']:.3f})")


def ranking(scores: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Score and 95 % interval by planner, best first, of what `drive score` wrote of drives."""
    found = {name: planner["pdms"] for name, planner in scores["planners"].items()}
    ordered = sorted(found.items(), key=lambda item: -item[1]["mean"])
    return {n: {"pdms": v["mean"], "pdms_low": v["low"], "pdms_high": v["high"]} for n, v in ordered}
