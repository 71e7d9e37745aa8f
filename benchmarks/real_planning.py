"""Planners in closed loop on the real recordings: nuScenes, Waymo and Argoverse 2, converted, driven, scored, ranked.

``python -m benchmarks.real_planning [DATA] [--work runs/real_planning] [--planner NAME ...] [--out FILE]``. DATA:
../shared/data. What is converted in WORK/logs is used again. One drive a log, from its start to its end.

- ``planning.<dataset>.<planner>.pdms``: the score of `drive.scores.closed_loop` (windows of 4 s every 2 s, progress
  against the log's driver), mean over drives, traffic repeats the recording. No NAVSIM number: "PDMS-nuS" where the
  road is nuScenes' lanes and buffered connectors, "PDMS-W" where it is Waymo's road edges, "PDMS-AV2" likewise,
  "PDMS-real" over all; corners may be as far off the road as infractions allow (0.3 m). ``planning_idm...``: traffic
  that answers.
- References: ``log_replay`` puts the vehicle where the log has it; ``log_replay_tracked`` is the same plan as nuPlan's
  tracker follows it, which is how every other planner drives.
- ``log_shows``: what is wrong in each recording itself, in numbers: least distance to anybody (negative: how deep
  boxes lie in each other), metres off the road, red lights. Log replay must show no more.

The bootstrap draws logs. A Waymo scenario that names no ego is driven as the vehicle that drives furthest.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.convert import machine
from drive.cli import main as drive
from drive.logs.store import Log, list_logs
from drive.plans.baselines import LogReplay
from drive.plans.by_name import find_planner
from drive.plans.corridor import project
from drive.plans.planner import Planner
from drive.rollouts.config import ActorConfig, ActorMode, SimulationConfig
from drive.rollouts.rollout import Rollout
from drive.rollouts.simulate import simulate
from drive.samples.scene import HEADING, RED, VX, Scene, X, Y
from drive.samples.scene_load import SceneConfig, load_scene
from drive.scores.closed_loop import DriveScoreConfig
from drive.scores.closed_loop_report import ReportConfig, score_planners
from drive.scores.pdm_config import PdmConfig
from drive.train.weights import write_atomic

SOURCES = {  # dataset: (name of its score, what converts which folder)
    "nuscenes": ("PDMS-nuS", (("scenarionet", "nuscenes/scenarionet"),)),
    "waymo": (
        "PDMS-W",
        (
            ("waymo_motion", "waymo/motion/scenario"),
            ("waymo_motion", "waymo/motion/scenario_json"),
            ("waymo_motion", "waymo/motion/tf_example"),
            ("scenarionet", "waymo/motion/scenarionet"),
        ),
    ),
    "av2": ("PDMS-AV2", (("av2", "av2/sensor"), ("av2", "av2/scenario_mining"))),
}
NO_EGO = ("tfrecord-00005-of-00150_2bd577a009790706",)
PLANNERS = ("stop", "constant_velocity", "idm", "pdm_closed")
TRAFFIC: tuple[tuple[ActorMode, str], ...] = (("log", "planning"), ("idm", "planning_idm"))
# As far off the road as infractions allow: roads without an area are strips about lines, which cut corners.
SPARED_M = 0.3
VERSIONS = (
    DriveScoreConfig(pdm=PdmConfig(road_tolerance_m=SPARED_M)),
    DriveScoreConfig(pdm=PdmConfig(version="v2-fixed", road_tolerance_m=SPARED_M)),
)


def convert_all(data: Path, logs: Path) -> None:
    """Convert what is not there yet. RuntimeError: a conversion failed; it said why."""
    for _, sources in SOURCES.values():
        for dataset, folder in sources:
            words = ["convert", dataset, str(data / folder), str(logs / folder), "--workers", "1"]
            if not (logs / folder / "logs.json").is_file() and drive(words) != 0:
                raise RuntimeError(f"drive {' '.join(words)} failed")


def scenes_of(dataset: str, logs: Path) -> list[Scene]:
    """One scene a log, from its first instant."""
    paths = [path for _, folder in SOURCES[dataset][1] for path in list_logs(logs / folder)]
    return [load_scene(Log.open(p), 0.0, SceneConfig(ego="longest" if p.name in NO_EGO else "")) for p in paths]


def box_gaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Gap in metres along the axis that separates boxes [..., 5] best: below 0, how deep they lie in each other; above
    0, at most their distance."""
    offset = b[..., :2] - a[..., :2]
    gaps = []
    for heading in (a[..., 4], a[..., 4] + np.pi / 2, b[..., 4], b[..., 4] + np.pi / 2):
        axis = np.stack([np.cos(heading), np.sin(heading)], axis=-1)
        half = [
            np.abs(np.cos(heading - box[..., 4])) * box[..., 2] + np.abs(np.sin(heading - box[..., 4])) * box[..., 3]
            for box in (a, b)
        ]
        gaps.append(np.abs((offset * axis).sum(axis=-1)) - 0.5 * (half[0] + half[1]))
    return np.asarray(np.max(gaps, axis=0))


def shown_by(scene: Scene, replayed: Rollout) -> dict[str, Any]:
    """What the recording itself shows; `replayed`: driven exactly as it was."""
    known = scene.now + np.flatnonzero(scene.ego_valid[scene.now :])
    ego, vehicle, actors = scene.ego[known], scene.vehicle, scene.actors
    middle = ego[:, [X, Y]] + vehicle.centre * np.stack([np.cos(ego[:, HEADING]), np.sin(ego[:, HEADING])], axis=1)
    size = np.broadcast_to([vehicle.length, vehicle.width], (len(ego), 2))
    boxes = np.concatenate([middle, size, ego[:, [HEADING]]], axis=1)
    gaps = np.where(actors.valid[:, known], box_gaps(boxes[None], actors.box[:, known]), np.inf)
    found: dict[str, Any] = {
        "scene": scene.name,
        "seconds": round(len(known) / 10, 1),
        "way_m": round(float(np.linalg.norm(np.diff(ego[:, [X, Y]], axis=0), axis=1).sum()), 1),
        "road": scene.map.drivable_from,
        "off_road_m": round(float(replayed.off_road_m[: len(known)].max()), 3) if replayed.road_known else None,
        "infractions": [brief(i) for i in map(asdict, replayed.infractions)],
        "red_lights": over_red(scene, ego, known),
        "notes": list(scene.notes[1:]),
    }
    if np.isfinite(gaps).any():
        who, when = (int(i) for i in np.unravel_index(int(gaps.argmin()), gaps.shape))
        found["closest"] = {"gap_m": round(float(gaps[who, when]), 3), "time_s": when / 10, "who": actors.token[who]}
    return found


def over_red(scene: Scene, ego: np.ndarray, known: np.ndarray) -> list[dict[str, float]]:
    """Where the recorded bumper was past a stop of the route, and the tail before it, while its light was red."""
    found = []
    if scene.route is not None:
        line, along = scene.route.centreline, scene.route.arc_length
        axle = np.array([project(line, along, x, y)[0] for x, y in ego[:, [X, Y]]])
        lights = scene.lights
        for k in np.flatnonzero(np.isin(lights.lane, scene.route.lanes)):
            stop, aside = project(line, along, *lights.stop_xy[k])
            past = axle + scene.vehicle.front - stop
            over = (past > 0) & (past < scene.vehicle.length) & (lights.state[known, k] == RED) & (abs(aside) < 3.0)
            if over.any():
                when = np.flatnonzero(over)
                numbers = {
                    "from_s": when[0] / 10,
                    "to_s": when[-1] / 10,
                    "past_at_first_m": round(float(past[when[0]]), 2),
                }
                found.append(numbers | {"speed_mps": round(float(ego[when[0], VX]), 2)})
    return found


def brief(infraction: dict[str, Any]) -> dict[str, Any]:
    """An infraction in a line: what is zero or nothing is left out."""
    kept = {k: round(v, 2) if isinstance(v, float) else v for k, v in infraction.items() if k not in ("step", "x", "y")}
    return {k: v for k, v in kept.items() if v not in (None, "", 0.0) or k == "at_fault"}


def drives_of(scenes: Sequence[Scene], planners: Sequence[Planner], mode: ActorMode) -> dict[str, list[list[Rollout]]]:
    """Drives of each planner (one seed), and of the two log replays."""
    config = SimulationConfig(actors=ActorConfig(mode=mode))
    done = {"log_replay": [simulate(scenes, LogReplay(), replace(config, tracking="perfect"))]}
    done["log_replay_tracked"] = [simulate(scenes, LogReplay("log_replay_tracked"), config)]
    return done | {planner.name: [simulate(scenes, planner, config)] for planner in planners}


def counted(drives: Sequence[Rollout]) -> dict[str, Any]:
    """Infractions and ends of some drives."""
    kinds = Counter(f"{i.kind}{'' if i.at_fault else ' (not at fault)'}" for r in drives for i in r.infractions)
    return {"infractions": dict(sorted(kinds.items())), "ends": dict(Counter(r.end for r in drives))}


def scored(drives: dict[str, list[list[Rollout]]], scenes: Sequence[Scene]) -> dict[str, Any]:
    """Ranking with intervals and pairs of some drives."""
    by_name = {scene.name: scene for scene in scenes}
    table = score_planners(drives, by_name.__getitem__, ReportConfig(versions=VERSIONS))
    for name, row in table["planners"].items():
        row |= counted(drives[name][0])
        row["first_plans"] = {k: v for k, v in row["first_plans"].items() if k in ("plans", "open_loop")}
    table.pop("drives")
    table["pairs"] = [pair for pair in table["pairs"] if pair["score"] == "pdms"]
    return table


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything; see the module."""
    logs = arguments.work / "logs"
    convert_all(arguments.data, logs)
    planners = [find_planner(name) for name in (*PLANNERS, *arguments.planner)]
    scenes = {dataset: scenes_of(dataset, logs) for dataset in SOURCES}
    figures: dict[str, float] = {}
    document: dict[str, Any] = {"machine": machine(), "log_shows": {}, "tables": {}, "drives": {}, "seconds": {}}
    for mode, prefix in TRAFFIC:
        began = time.perf_counter()
        done = {dataset: drives_of(scenes[dataset], planners, mode) for dataset in SOURCES}
        document["seconds"][f"simulate.{mode}"] = round(time.perf_counter() - began, 1)
        if mode == "log":
            for dataset, own in done.items():
                document["log_shows"][dataset] = [
                    shown_by(s, r) for s, r in zip(scenes[dataset], own["log_replay"][0], strict=True)
                ]
        everything = {p: [[r for own in done.values() for r in own[p][0]]] for p in next(iter(done.values()))}
        began = time.perf_counter()
        for dataset, own in (*done.items(), ("real", everything)):
            among = scenes.get(dataset) or [s for some in scenes.values() for s in some]
            table = scored(own, among)
            if dataset != "real":
                table.pop("pairs")
            table["name"] = SOURCES[dataset][0] if dataset in SOURCES else "PDMS-real"
            document["tables"][f"{mode}.{dataset}"] = table
            for planner, row in table["planners"].items():
                figures[f"{prefix}.{dataset}.{planner}.pdms"] = round(row["pdms"]["mean"], 4)
        document["seconds"][f"score.{mode}"] = round(time.perf_counter() - began, 1)
        document["drives"][mode] = {
            planner: [
                {"scene": r.scene, "end": r.end, "failure": r.failure}
                | {"infractions": [brief(asdict(i)) for i in r.infractions]}
                for r in own[0]
                if r.infractions or r.end != "end of the log"
            ]
            for planner, own in everything.items()
        }
    return {"figures": figures, **document}


def show(document: dict[str, Any]) -> None:
    """The tables as lines."""
    for key, table in document["tables"].items():
        print(f"\n{key}: {table['name']}, {table['scenes']} drives")
        for name, row in table["planners"].items():
            value = row["pdms"]
            wrong = ", ".join(f"{k} {n}" for k, n in row["infractions"].items()) or "no infraction"
            print(f"  {name:20} {value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]  {wrong}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/real_planning"))
    parser.add_argument("--planner", nargs="*", default=[], help="more planners: a run of drive plan, module:name")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/real_planning.json"))
    arguments = parser.parse_args()
    document = run(arguments)
    show(document)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(arguments.out, partial(_write, json.dumps(document, indent=1, allow_nan=False) + "\n"))


def _write(text: str, path: Path) -> None:
    path.write_text(text)


if __name__ == "__main__":
    main()
