"""When does SWFormer pass the pillars, and PVTransformer PointNet? Town logs, several seeds and lengths, same data.

``python -m benchmarks.learning_study LOGS`` trains every combination that ``results/learning_study.json`` lacks, in the
order of the lengths, and writes the file after each: it may be stopped at any time and goes on by the same command.
Two processes with different ``--seeds`` may write to the same file (``OMP_NUM_THREADS=1`` each on two cores).
LOGS are converted town logs with the splits town_train and town_val (``make demo`` leaves some in runs/demo/logs).
Scores are of scenes in a town that was not trained on. Lengths are optimiser steps of two frames; the seconds in the
rows depend on the threads and on what else the machine did.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from drive.recipes import load_recipe
from drive.runs import ScoreArguments, score
from drive.train.loop import train

MODELS = ("pillars", "swformer", "pvtransformer")


def one_run(name: str, steps: int, seed: int, logs: Path, folder: Path, device: str) -> dict[str, Any]:
    """Train and score one combination."""
    recipe = load_recipe(f"configs.town_{name}")
    data = replace(recipe.data, train_logs=(str(logs),), val_logs=(str(logs),))
    plan = replace(recipe.train, steps=steps, max_seconds=0.0, device=device)
    experiment = replace(recipe, data=data, train=plan, seed=seed)
    summary = train(experiment, folder)
    flat = score(ScoreArguments(folder, device=device)).flat()
    row = {"model": name, "steps": steps, "seed": seed, "config_hash": experiment.hash()}
    row |= {"seconds": round(summary.seconds, 1), "device": device, "threads": torch.get_num_threads()}
    figures = {"car_ap": flat["ap.car"], "mAP_present": flat["mAP_present"], "NDS": flat["NDS"], "mAOE": flat["mAOE"]}
    return row | {key: round(value, 4) for key, value in figures.items()}


def table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean, lowest and highest over the seeds, by model and steps."""
    out = {}
    for model, steps in sorted({(r["model"], r["steps"]) for r in rows}, key=lambda key: (key[1], key[0])):
        mine = [r for r in rows if (r["model"], r["steps"]) == (model, steps)]
        for figure in ("car_ap", "mAP_present", "mAOE"):
            values = [r[figure] for r in mine]
            spread = {"mean": round(float(np.mean(values)), 4), "min": min(values), "max": max(values)}
            out[f"{model}.{steps}.{figure}"] = {**spread, "seeds": len(values)}
    return out


def known(out: Path) -> list[dict[str, Any]]:
    """The rows that are there."""
    rows: list[dict[str, Any]] = json.loads(out.read_text())["rows"] if out.is_file() else []
    return rows


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", type=Path)
    parser.add_argument("--steps", type=int, nargs="+", default=[400, 1200])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--work", type=Path, default=Path("runs/learning_study"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "learning_study.json")
    arguments = parser.parse_args()
    for steps in arguments.steps:
        for seed in arguments.seeds:
            for name in MODELS:
                if (name, steps, seed) in {(r["model"], r["steps"], r["seed"]) for r in known(arguments.out)}:
                    continue
                folder = arguments.work / f"{name}_{steps}_{seed}"
                row = one_run(name, steps, seed, arguments.logs, folder, arguments.device)
                shutil.rmtree(folder)
                rows = [*known(arguments.out), row]  # read again: another process may do other seeds
                machine = {"processor": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__}
                content = {"machine": machine, "table": table(rows), "rows": rows}
                partial = arguments.out.with_suffix(".partial")
                partial.write_text(json.dumps(content, indent=1) + "\n")
                partial.replace(arguments.out)
                print(json.dumps(rows[-1]), flush=True)


if __name__ == "__main__":
    main()
