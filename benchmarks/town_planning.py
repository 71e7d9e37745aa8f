"""Does DiffusionDrive drive better than a perceptron and a plain diffusion policy? Closed loop on towns never seen.

``python -m benchmarks.town_planning`` makes town scenarios without sensors, trains the three learned planners on the
same decisions for the same number of steps with several seeds (and an ego-only perceptron once), drives them and the
planners by rule through held-out scenarios at 2 Hz among traffic that answers (IDM), and writes
``results/town_planning.json``. All that it makes is kept under ``--work``, planner by planner and seed by seed: killed,
the same command goes on; started twice (``OMP_NUM_THREADS=1`` each), two processes share the work.

The recipes (configs.town_*) were chosen on ``--held-out tuning``: towns and drives of another seed, neither trained on
nor held out.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from benchmarks.study import claimed, machine, run, run_stages, write
from benchmarks.town_planning_table import summary, tables
from data_tools.town.command import TownConfig, build, is_town
from drive.errors import UserError
from drive.experiment import Experiment
from drive.logs.store import Log, list_logs
from drive.plan import load_planner
from drive.plans.by_name import find_planner
from drive.plans.learned import PlannerModel
from drive.plans.learned_planner import LearnedPlanner
from drive.plans.plan import Plan, resample, to_ego
from drive.plans.planner import Planner
from drive.plans.vanilla_diffusion import VanillaConfig
from drive.recipes import load_recipe
from drive.rollouts.config import ActorConfig, SimulationConfig
from drive.rollouts.rollout import Rollout
from drive.rollouts.rollout_file import read_rollouts, write_rollouts
from drive.rollouts.simulate import simulate
from drive.samples.frame_dataset import find_logs
from drive.samples.plan_sample_batch import collate_plans
from drive.samples.plan_sample_data import PlanDataConfig, PlanDataset, scene_samples
from drive.samples.scene import HEADING, Scene, X, Y
from drive.samples.scene_load import SceneConfig, load_scene
from drive.scores.closed_loop import DRIVE_SCORES, DriveScoreConfig, score_drives
from drive.scores.open_loop_diversity import mode_diversity
from drive.train.loop import train

LEARNED = ("diffusion", "mlp", "vanilla")
RULES = ("log_replay", "stop", "constant_velocity", "idm", "pdm_closed")
START_S, TIMED = 2.0, 32


def make_logs(a: argparse.Namespace) -> None:
    """The town's drives: for training and held out, and those that recipes may be chosen on."""
    console = Console(stderr=True)
    length = START_S + a.seconds + 6.0
    train = TownConfig(a.work / "train", a.logs, 0, seconds=32.0, format="log", workers=a.workers)
    held = TownConfig(a.work / "held_out", 0, a.scenarios, val_seconds=length, format="log", workers=a.workers)
    tuning = replace(held, out=a.work / "tuning", val_scenes=48, seed=1)
    for config in (train, held, tuning):
        with claimed(config.out, wait=True):
            if not is_town(config.out):
                build(config, console)
            wanted, there = config.scenes + config.val_scenes, len(list_logs(config.out))
            if there != wanted:
                what = f"has {there} drives, not {wanted}: it was made for another size of the study"
                raise UserError(config.out, what, "name another --work")


@lru_cache(maxsize=1)
def decisions(work: Path, workers: int) -> PlanDataset:
    """Those of the training drives, as the recipes want them."""
    data = load_recipe("configs.town_diffusion").data
    assert isinstance(data, PlanDataConfig)
    return PlanDataset.of(replace(data, workers=workers), find_logs([work / "train"], "town_train"))


@lru_cache(maxsize=1)
def held_out(folder: Path, seconds: float) -> list[Scene]:
    """One scenario a drive, its start START_S after the drive's, with 4 s and more behind its end for the judges."""
    logs = find_logs([folder], "town_val")
    return [load_scene(Log.open(log), START_S, SceneConfig(future_s=seconds + 4.5)) for log in logs]


def recipe(name: str, seed: int, a: argparse.Namespace) -> Experiment:
    """The planner's recipe with the study's budget."""
    found = load_recipe(f"configs.town_{name}")
    plan = replace(found.train, steps=a.steps, max_seconds=0.0, checkpoint_seconds=60.0)
    return replace(found, train=plan, seed=seed)


def trained(name: str, seed: int, a: argparse.Namespace) -> tuple[LearnedPlanner, dict[str, Any]]:
    """The planner of a finished training."""
    experiment = recipe(name, seed, a)
    run = a.work / "runs" / f"{name}_{seed}_{experiment.hash()}"
    if not (run / "facts.json").is_file():
        done = train(experiment, run, dataset=decisions(a.work, a.workers))
        facts = {"train_seconds": round(done.seconds, 1), "train_steps": done.steps, "recipe": experiment.hash()}
        (run / "facts.json").write_text(json.dumps(facts))
    planner = replace(load_planner(run, seed=seed), headings=a.headings)
    return planner, json.loads((run / "facts.json").read_text())


def one_mode(planner: LearnedPlanner) -> LearnedPlanner:
    """A plain diffusion policy drives its first trajectory: in closed loop the other 19 are not drawn."""
    config = planner.model.config
    if not isinstance(config.head, VanillaConfig):
        return planner
    model = PlannerModel(replace(config, head=replace(config.head, modes=1)))
    model.load_state_dict(planner.model.state_dict())
    return replace(planner, model=model.eval())


def drive(planner: Planner, scenes: list[Scene], a: argparse.Namespace) -> list[Rollout]:
    """All scenes, 60 side by side."""
    config = SimulationConfig(replan_s=0.5, longest_s=a.seconds, actors=ActorConfig(mode=a.traffic))
    return [r for i in range(0, len(scenes), 60) for r in simulate(scenes[i : i + 60], planner, config)]


def judged(rollouts: list[Rollout], scenes: list[Scene], a: argparse.Namespace) -> list[dict[str, Any]]:
    """A row a drive."""
    scores = score_drives(rollouts, scenes, DriveScoreConfig(seconds=a.seconds))
    rows = []
    for d, (rollout, scene) in enumerate(zip(rollouts, scenes, strict=True)):
        row: dict[str, Any] = {"scene": rollout.scene, "end": rollout.end, "pdms": float(scores.pdms[d])}
        row |= {name: float(scores.columns[name][d]) for name in DRIVE_SCORES}
        row["infractions"] = sorted(f"{i.kind}{'' if i.at_fault else ' (not at fault)'}" for i in rollout.infractions)
        row |= first_plan(rollout, scene)
        rows.append(row)
    return rows


def first_plan(rollout: Rollout, scene: Scene) -> dict[str, float]:
    """Distance of the first plan, made of the recorded past, to what was driven: mean up to 1 s to 4 s (ST-P3's)."""
    if not len(rollout.plans):
        return {}
    rows = slice(rollout.plans.offsets[0], rollout.plans.offsets[1])
    here = scene.ego[scene.now, [X, Y, HEADING]]
    times = np.arange(1, 9) * 0.5
    plan = resample(Plan(to_ego(rollout.plans.poses[rows], here), rollout.plans.times_s[rows]), times)
    truth = to_ego(scene.ego[scene.now + np.round(times * 10).astype(int)][:, [X, Y, HEADING]], here)
    away = np.hypot(*(plan - truth)[:, :2].T)
    return {f"l2_{t}s": float(away[: 2 * t].mean()) for t in (1, 2, 3, 4)}


def open_loop(planner: LearnedPlanner, scenes: list[Scene]) -> dict[str, float]:
    """Mode diversity over four instants a scene, and the time of one plan alone."""
    found: list[np.ndarray] = []
    best: list[np.ndarray] = []
    seconds: list[float] = []
    for i in range(0, len(scenes), 15):
        samples = [
            s for scene in scenes[i : i + 15]
            for s in scene_samples(scene, [scene.now + k for k in (0, 20, 40, 60)], planner.features)
        ]  # fmt: skip
        batch = collate_plans(samples)
        proposals = planner.model.propose(batch, planner.seed)
        poses = proposals.poses[..., :2].double()
        found.append(mode_diversity(poses.numpy()))
        away = (poses - batch.future[:, None, :, :2]).norm(dim=-1).mean(-1)
        best.append(torch.where(batch.future_valid.all(1), away.amin(1), torch.nan).numpy())
        if len(seconds) < TIMED:
            for sample in samples[:4]:
                alone = collate_plans([sample])
                began = time.perf_counter()
                planner.model.propose(alone, planner.seed)
                seconds.append(time.perf_counter() - began)
    return {
        "diversity": float(np.concatenate(found).mean()),
        "l2_best_mode": float(np.nanmean(np.concatenate(best))),
        "network_ms": float(np.median(seconds) * 1e3),
        "modes": int(proposals.poses.shape[1]),
    }


def stage(name: str, seed: int, a: argparse.Namespace, file: Path) -> dict[str, Any]:
    """One planner, one seed: trained and driven; the drives are left beside `file`."""
    facts: dict[str, Any] = {"planner": name, "seed": seed}
    if name in RULES:
        planner: Planner = find_planner(name)
    else:
        learned, more = trained(name, seed, a)
        facts |= more | open_loop(learned, held_out(a.work / a.held_out, a.seconds))
        planner = one_mode(learned)
    scenes = held_out(a.work / a.held_out, a.seconds)
    began = time.perf_counter()
    rollouts = drive(planner, scenes, a)
    facts["simulate_seconds"] = round(time.perf_counter() - began, 1)
    facts["call_ms"] = float(np.median([s for r in rollouts for s in r.plans.seconds]) * 1e3)
    write_rollouts(file.with_suffix(".arrow"), rollouts)
    return facts


def main() -> None:
    """Run what is missing; write the table of what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/town_planning"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "town_planning.json")
    parser.add_argument(
        "--logs", type=int, default=256, help="training drives of 32 s: 8 scenarios of 8 s in each, 3 s apart"
    )
    parser.add_argument("--scenarios", type=int, default=240)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--planners", nargs="+", default=[*LEARNED, "ego_mlp", *RULES])
    parser.add_argument("--held-out", default="held_out", choices=("held_out", "tuning"))
    parser.add_argument("--traffic", default="idm", choices=("log", "idm", "idm_behind"))
    parser.add_argument("--headings", default="path", choices=("path", "told"), help="of the learned planners' plans")
    parser.add_argument("--workers", type=int, default=2)
    a = parser.parse_args()
    make_logs(a)
    work = [(name, seed) for seed in a.seeds for name in a.planners if seed == a.seeds[0] or name in LEARNED]
    folder = a.work / f"stages_{a.held_out}_{a.traffic}_{a.seconds:g}s"
    told = "" if a.headings == "path" else "_told"
    tags = ["" if name in RULES else f"_{recipe(name, seed, a).hash()}{told}" for name, seed in work]
    files = [folder / f"{name}_{seed}{tag}.json" for (name, seed), tag in zip(work, tags, strict=True)]
    kept = run_stages({file: partial(stage, *own, a, file) for own, file in zip(work, files, strict=True)})
    found, scenes = [], held_out(a.work / a.held_out, a.seconds)
    for file, facts in zip(files, kept, strict=True):
        found.append(facts | {"rows": judged(read_rollouts(file.with_suffix(".arrow")), scenes, a)})
    settings = {k: v for k, v in vars(a).items() if k not in ("work", "out", "workers")}
    settings["score"] = DriveScoreConfig(seconds=a.seconds).label()
    document = {"machine": machine(), "settings": settings} | summary(found)
    if a.held_out == "held_out":
        write(a.out, document)
    print(tables(document))


if __name__ == "__main__":
    run(main)
