"""What perception costs a planner: the same drives with true boxes and with rendered sensors, as JSON and pictures.

Usage: python -m benchmarks.sensor_loop --logs LOGS --arms DETECTOR,TRACKER,SECONDS [...] [--planners idm pdm_closed]
       [--every 4] [--seconds 8] [--out benchmarks/results/sensor_loop.json] [--pictures FOLDER]

Arms, over the same scenes with the same seeds: true boxes, and each DETECTOR (a run's folder; ``true``: every box is
found, hidden ones too, so that only the tracker errs) with a TRACKER's recipe, looking every so many SECONDS. LOGS are
held-out logs of the synthetic town, as ``make demo`` writes them. Of each arm: PDMS of the
drives with its 95 % interval over logs (starts of one log are no independent draws), the paired difference to the true
boxes, what ended the drives, which of the road users within 40 m were told to the planner (a track within 2 m; hidden
ones count as missed), and seconds of work a driven second by kind. Before that: how near a sweep rendered at the logged
state is to the logged one, whose noise is another draw.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.spatial import cKDTree

from benchmarks.convert import machine
from drive.geometry.box import transform_boxes
from drive.geometry.rigid import invert
from drive.logs.store import Log
from drive.plans.by_name import find_planner
from drive.rollouts.config import SimulationConfig
from drive.rollouts.history import History
from drive.rollouts.rollout import Rollout
from drive.rollouts.sensor_loop import SensorConfig, SensorSuite, instant_of
from drive.rollouts.sensor_rig import SensorRig
from drive.rollouts.simulate import simulate
from drive.rollouts.state import build_world
from drive.samples.frame_dataset import find_logs
from drive.samples.scene import STATIC, Scene
from drive.samples.scene_load import SceneConfig, load_scene, scene_starts
from drive.scores.closed_loop import DriveScoreConfig, score_drives
from drive.scores.significance import interval, paired, units_of
from drive.sensor_run import SensorRun
from drive.tracks.sequence import TrackSet, join_sets
from drive.view.bev import draw_bev

RESULT = Path(__file__).parent / "results" / "sensor_loop.json"
NEAR_M, MATCH_M = 40.0, 2.0
TRUE_BOXES = "true boxes"


def fidelity(log: Log, rig: SensorRig, scene: Scene) -> dict[str, float]:
    """Logged sweeps of a scene's history and start beside rendered ones: within 50 m, the distance of each logged
    return to the nearest rendered one."""
    history = History(build_world([scene], SimulationConfig()))
    stamps = log.sweep_timestamps_ns(rig.lidar)
    gaps = []
    for k in range(-20, 1, 5):
        if scene.now + k < 0:
            continue
        instant = instant_of(scene, history, 0, k)
        logged = log.points(rig.lidar, int(np.searchsorted(stamps, instant.timestamp_ns)))[:, :3]
        seen = rig.sweep(instant, np.random.default_rng([0, instant.timestamp_ns, 0])).points
        near = np.hypot(*logged[:, :2].T) < 50.0
        gaps.append(cKDTree(seen).query(logged[near])[0])
    gap = np.concatenate(gaps)
    return {
        "sweeps": len(gaps),
        "median_m": round(float(np.median(gap)), 4),
        "within_0.1_m": round(float((gap < 0.1).mean()), 4),
        "within_0.3_m": round(float((gap < 0.3).mean()), 4),
    }


def told(rollouts: Sequence[Rollout], tracks: TrackSet, min_score: float) -> dict[str, float]:
    """Of the road users within NEAR_M of the ego, the share that a shown track stood at, and of shown tracks the share
    that stood at nobody; how far off places and headings (mod pi) of those found were; over all looks of the drives."""
    there = found = shown = false = 0
    errors = [np.zeros((0, 2))]
    frames = {name: tracks.frames_of(name) for name in set(tracks.logs)}
    moves = np.array([name != "traffic_cone" for name in tracks.class_names])
    for rollout in rollouts:
        for f in frames.get(rollout.scene, []):
            k, frame = tracks.frame_indices[f], tracks.frame(f)
            if not 0 <= k < len(rollout.ego):
                continue
            own = rollout.actors.valid[:, k] & (rollout.actors.kind != STATIC)
            true = rollout.actors.box[own, k][:, [0, 1, 4]]
            seen = frame.boxes[(frame.scores >= min_score) & moves[frame.labels]][:, [0, 1, 6]]
            seen[:, :2] -= rollout.origin_xy
            true, seen = (v[np.hypot(*(v[:, :2] - rollout.ego[k, :2]).T) < NEAR_M] for v in (true, seen))
            there, shown = there + len(true), shown + len(seen)
            if not len(true) or not len(seen):
                false += len(seen)
                continue
            gap = np.hypot(*(true[:, None, :2] - seen[None, :, :2]).transpose(2, 0, 1))
            hit, at = gap.min(axis=1) < MATCH_M, gap.argmin(axis=1)
            found, false = found + int(hit.sum()), false + int((gap.min(axis=0) >= MATCH_M).sum())
            turn = np.abs((true[:, 2] - seen[at, 2] + np.pi / 2) % np.pi - np.pi / 2)
            errors.append(np.stack([gap.min(axis=1), np.degrees(turn)], axis=1)[hit])
    off = np.median(np.concatenate(errors), axis=0) if found else np.zeros(2)
    return {
        "road_users": there,
        "told": round(found / max(there, 1), 4),
        "false": round(false / max(shown, 1), 4),
        "off_m_median": round(float(off[0]), 3),
        "off_deg_median": round(float(off[1]), 2),
    }


def named(arm: str) -> str:
    """How results name an arm."""
    if arm == TRUE_BOXES:
        return arm
    detector, tracker, period = arm.split(",")
    return f"{Path(detector).name}, {tracker.removeprefix('configs.')}, {1 / float(period):g} Hz"


def drive_arm(
    scenes: Sequence[Scene], planner: str, rigs: dict[str, SensorRig], arm: str, config: SimulationConfig,
    options: argparse.Namespace,
) -> tuple[list[Rollout], dict[str, Any], SensorSuite | None]:  # fmt: skip
    """The drives of one planner in one arm, and what its sensors did."""
    suite = None
    if arm != TRUE_BOXES:
        detector, tracker, period = arm.split(",")
        suite = SensorRun(detector, tracker, SensorConfig(float(period), seed=options.seed)).suite(rigs)
    rollouts = [r for i in range(0, len(scenes), options.batch) for r in simulate(
        scenes[i : i + options.batch], find_planner(planner), config, suite)]  # fmt: skip
    if suite is None:
        return rollouts, {}, None
    tracks = join_sets(suite.seen)
    seconds = 0.1 * sum(len(r.ego) - 1 for r in rollouts)
    spent = asdict(suite.spent)
    work = {name.removesuffix("_s"): round(v / seconds, 4) for name, v in spent.items() if name != "looks"}
    each = {name: round(1e3 * v / max(spent["looks"], 1), 2) for name, v in spent.items() if name != "looks"}
    more = {
        "perceived": told(rollouts, tracks, suite.config.min_score),
        "looks": spent["looks"],
        "seconds_a_driven_second": work,
        "ms_a_look": {name.removesuffix("_s"): v for name, v in each.items()},
    }
    return rollouts, more, suite


def figures(rollouts: Sequence[Rollout], scenes: Sequence[Scene], options: argparse.Namespace) -> tuple[Any, Any]:
    """(scores; what JSON says of them)."""
    scores = score_drives(rollouts, scenes, DriveScoreConfig(seconds=options.seconds))
    unit = units_of([r.log for r in rollouts])
    return scores, {
        "drives": len(rollouts),
        "pdms": asdict(interval(scores.pdms[None], unit)),
        "sub_scores": {name: round(float(v.mean()), 4) for name, v in scores.columns.items()},
        "ends": dict(Counter(r.end for r in rollouts)),
        "failed": int(scores.failed.sum()),
    }


def pictures(folder: Path, scene: Scene, rig: SensorRig, rollout: Rollout, suite: SensorSuite, log: Log) -> None:
    """Where a drive is furthest from its recording at a look: its sweep with true boxes (green) and tracks, its front
    image, and the front image that was recorded at that moment."""
    tracks = suite.seen[0]
    away = np.hypot(*(rollout.ego[:, :2] - scene.ego[scene.now : scene.now + len(rollout.ego), :2]).T)
    looks = [f for f in tracks.frames_of(scene.name) if 0 <= tracks.frame_indices[f] < len(rollout.ego)]
    f = max(looks, key=lambda f: away[tracks.frame_indices[f]])
    k, frame = tracks.frame_indices[f], tracks.frame(f)
    state = replace(scene, now=scene.now + k, ego=_driven(scene, rollout))
    instant = instant_of(state, History(build_world([state], SimulationConfig())), 0, 0)
    sample = rig.sample(instant, suite.detector.data, suite.config.seed)
    shown = frame.scores >= suite.config.min_score
    seen = transform_boxes(invert(instant.global_from_ego()), frame.boxes[shown])
    title = f"{scene.name} + {k / 10:g} s, {away[k]:.1f} m from the recording"
    draw_bev(
        sample.points, boxes=sample.boxes.astype(np.float64), predictions=seen, labels=frame.labels[shown],
        class_names=tracks.class_names, range_m=(-40.0, -40.0, 40.0, 40.0), title=title,
    ).save(folder / "diverged_sweep.png")  # fmt: skip
    front = next(c for c in rig.cameras if c.model.name == "CAM_FRONT")
    Image.fromarray(rig.image(instant, front, np.random.default_rng(0)).rgb).save(folder / "diverged_front.png")
    stamps = log.sweep_timestamps_ns(front.model.name)
    row = int(np.abs(stamps - instant.timestamp_ns).argmin())
    (folder / "recorded_front.jpg").write_bytes(log.image(front.model.name, row).data)


def _driven(scene: Scene, rollout: Rollout) -> np.ndarray:
    ego = scene.ego.copy()
    ego[scene.now : scene.now + len(rollout.ego)] = rollout.ego
    return ego


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", nargs="+", required=True)
    parser.add_argument("--split", default="")
    parser.add_argument("--arms", nargs="+", default=["true,configs.town_sensor_loop,0.5"])
    parser.add_argument("--planners", nargs="+", default=["idm", "pdm_closed"])
    parser.add_argument("--every", type=float, default=4.0)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    logs = [Log.open(path) for path in find_logs(options.logs, options.split)]
    config = SceneConfig(future_s=options.seconds + 5.0)
    starts = {log.name: scene_starts(log, every_s=options.every, future_s=options.seconds) for log in logs}
    scenes = [load_scene(log, start, config) for log in logs for start in starts[log.name]]
    rigs = {log.name: SensorRig.of(log) for log in logs}
    result: dict[str, Any] = {
        "machine": machine(),
        "command": f"--every {options.every:g} --seconds {options.seconds:g} --seed {options.seed}",
        "scenes": [scene.name for scene in scenes],
        "logged_state": fidelity(logs[0], rigs[logs[0].name], load_scene(logs[0], 4.0, config)),
        "planners": {},
    }
    print(result["logged_state"], flush=True)
    simulation = SimulationConfig(longest_s=options.seconds)
    unit = units_of([scene.log for scene in scenes])
    for planner in options.planners:
        base = None
        arms: dict[str, Any] = {}
        for arm in (TRUE_BOXES, *options.arms):
            rollouts, more, suite = drive_arm(scenes, planner, rigs, arm, simulation, options)
            scores, said = figures(rollouts, scenes, options)
            base = scores if base is None else base
            if arm != TRUE_BOXES:
                said["less_true_boxes"] = asdict(paired(scores.pdms[None], base.pdms[None], unit))
            name = named(arm)
            arms[name] = said | more
            print(planner, name, json.dumps(arms[name]), flush=True)
            if options.pictures and suite is not None and planner == options.planners[0] and arm == options.arms[-1]:
                options.pictures.mkdir(parents=True, exist_ok=True)
                far = [float(np.hypot(*(r.ego[-1, :2] - s.ego[s.now + len(r.ego) - 1, :2])))
                       for r, s in zip(rollouts, scenes, strict=True)]  # fmt: skip
                i = int(np.argmax(far[: options.batch]))
                log = next(log for log in logs if log.name == scenes[i].log)
                pictures(options.pictures, scenes[i], rigs[log.name], rollouts[i], suite, log)
            result["planners"][planner] = arms
            options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"-> {options.out}")


if __name__ == "__main__":
    main()
