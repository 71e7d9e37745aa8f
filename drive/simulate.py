"""``drive simulate``: planners in closed loop on logs."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from rich.progress import Progress

from drive.errors import UserError
from drive.logs.store import Log
from drive.plans.by_name import find_planner
from drive.plans.planner import own_sensors
from drive.rollouts.config import SimulationConfig
from drive.rollouts.filters import SceneFilter
from drive.rollouts.finished import drive_keeping, forget
from drive.rollouts.many import Drives, SceneSpec, Sensing, SimulationWork
from drive.rollouts.planner_sensors import SeenByPlanner
from drive.rollouts.rollout import ENDS, Rollout, driven_name
from drive.rollouts.rollout_file import write_rollouts
from drive.rollouts.run_folder import ROLLOUTS, SUMMARY, read_run_folder, scene_entry
from drive.rollouts.sensor_loop import SensorConfig, Spent
from drive.samples.frame_dataset import find_logs
from drive.samples.plan_sample_sensors import PlanSensors
from drive.samples.scene import STEP_S
from drive.samples.scene_load import SceneConfig, scene_starts
from drive.tracks.sequence import join_sets, write_tracks
from drive.view.replay_report import write_replay_report

TRACKS = "tracks.arrow"


@dataclass(frozen=True)
class SimulateArguments:
    """Drive planners in closed loop through converted logs: OUT/<planner>/rollouts.arrow, OUT/infractions.json and the
    page OUT/report.html.

    Exit status 1 where a planner or a scene failed; each is listed, the others are driven.
    """

    logs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Logs, or folders of logs."""
    planner: tuple[str, ...] = ("log_replay", "stop", "constant_velocity", "idm")
    """log_replay, stop, constant_velocity, idm, pdm_closed, or yours as module:name."""
    out: Path = Path("runs/simulate")
    """Folder for the results."""
    seconds: float | None = None
    """Length of a drive; to the log's end unless given."""
    every: float | None = None
    """Start again every so many seconds of a log; one drive from its beginning unless given (then --seconds tells how
    much must follow a start)."""
    scene: tuple[str, ...] = ()
    """Only these scenes (<log>@<tenths>), as infractions.json names them: failed ones again."""
    ego: str = ""
    """Drive as another vehicle of the logs: a track's token, or longest: the one that drives furthest."""
    report: bool = True
    """Write OUT/report.html: every drive as a replay."""
    jobs: int = 1
    """Processes."""
    ray: str = ""
    """Drive on a Ray cluster: its address, or local for one on this machine with --jobs processors (extra cluster)."""
    batch: int = 32
    """Scenes side by side in a process. A batch that is finished is kept: the same command after a kill goes on."""
    sensors: str = ""
    """Folder of a detector's run: every planner drives a second time, as <planner>_sensors, told only what this
    detector and --tracker make of lidar sweeps that are rendered from the simulated state (logs of the synthetic town);
    true: of the true boxes, so that the tracker alone errs. Planners that see for themselves (runs of
    configs.town_diffusion_sensors) always do, with or without this."""
    tracker: str = "configs.town_sensor_loop"
    """With --sensors: a recipe of `drive track`."""
    cameras: bool = False
    """With --sensors, and for planners that see for themselves: keep what the cameras see, too (OUT/<planner as it
    drove>/cameras)."""
    device: str = "cpu"
    """With --sensors: torch device of the detector."""
    sensing: SensorConfig = field(default_factory=SensorConfig)
    """With --sensors: what is rendered when, and which tracks planners are shown."""
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    keep: SceneFilter = field(default_factory=SceneFilter)
    """Which scenes to drive in."""


def list_scenes(
    logs: Sequence[str], *, every: float | None, seconds: float | None, names: Sequence[str] = ()
) -> list[SceneSpec]:
    """Scenes of logs, or those of the names among them.

    Raises:
        UserError: no logs, a name that is none of theirs.
    """
    paths = find_logs(list(logs))
    if names:
        known = {path.name: path for path in paths}
        specs = []
        for name in names:
            log, _, tenths = name.rpartition("@")
            if log not in known or not tenths.isdigit():
                raise UserError(f"scene {name}", "no log here has this scene", "names are <log>@<tenths of a second>")
            specs.append(SceneSpec(known[log], int(tenths) / 10))
        return specs
    if every is None:
        return [SceneSpec(path, 0.0) for path in paths]
    return [
        SceneSpec(path, start)
        for path in paths
        for start in scene_starts(Log.open(path), every_s=every, future_s=seconds or 4.0)
    ]


def simulate_command(argv: Sequence[str]) -> int:
    """``drive simulate``."""
    arguments = tyro.cli(SimulateArguments, args=list(argv), prog="drive simulate")
    if arguments.jobs < 1 or arguments.batch < 1:
        raise UserError("--jobs, --batch", "must be at least 1", "give 1 or more")
    for flag, seconds in (("--seconds", arguments.seconds), ("--every", arguments.every)):
        if seconds is not None and not STEP_S <= seconds < math.inf:
            raise UserError(f"{flag} {seconds:g}", "is no length of time", f"give {STEP_S:g} s or more")
    planners = {name: find_planner(name) for name in arguments.planner}
    if len({planner.name for planner in planners.values()}) < len(planners):
        raise UserError("--planner", "two planners of the same name", "give them different names")
    specs = list_scenes(arguments.logs, every=arguments.every, seconds=arguments.seconds, names=arguments.scene)
    simulation = replace(arguments.simulation, longest_s=arguments.seconds or arguments.simulation.longest_s)
    results: dict[str, Any] = {}
    console = Console()
    failed: list[Rollout] = []
    # A plan's 4 s after the drive's last instant are the scene's too: who scores needs them.
    future = None if arguments.seconds is None else arguments.seconds + 5.0
    scene = SceneConfig(future_s=future, ego=arguments.ego)
    works = []
    for given, planner in planners.items():
        work = SimulationWork(given, simulation, scene, arguments.keep)
        if (inputs := own_sensors(planner)) is not None:
            works.append(replace(work, sensing=_own_eyes(arguments, planner.name, inputs)))
            continue
        works.append(work)
        if arguments.sensors:
            works.append(replace(work, sensing=_sensing(arguments, simulation, work)))
    for work in works:
        name = work.name
        drives = _drive(work, specs, arguments, name)
        rollouts = sorted((r for d in drives for r in d.rollouts), key=lambda r: r.scene)
        folder = arguments.out / name
        folder.mkdir(parents=True, exist_ok=True)
        write_rollouts(folder / ROLLOUTS, rollouts)
        left_out = sorted(pair for d in drives for pair in d.left_out)
        results[name] = summary(rollouts) | {"left_out": [{"scene": s, "why": why} for s, why in left_out]}
        if work.sensing is not None:
            if tracks := [t for d in drives for t in d.tracks]:
                write_tracks(folder / TRACKS, join_sets(tracks))
            results[name]["sensors"] = spent_on([d.spent for d in drives], results[name]["seconds_driven"])
        failed += [r for r in rollouts if r.failed]
        _print(console, name, results[name])
    again = scene_entry(scene, {spec.log.name: spec.log for spec in specs})
    document = {"simulation": asdict(simulation), **again, "planners": results}
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    part = arguments.out / f".{SUMMARY}.partial"
    part.write_text(text)
    part.replace(arguments.out / SUMMARY)
    for work in works:
        forget(arguments.out / work.name)
    console.print(f"-> {arguments.out / SUMMARY}", highlight=False, soft_wrap=True)
    if arguments.report:
        page = write_replay_report(read_run_folder(arguments.out))
        console.print(f"-> {page}", highlight=False, soft_wrap=True)
    for rollout in failed:
        console.print(
            f"failed: {rollout.planner} in {rollout.scene}: {rollout.failure}", highlight=False, soft_wrap=True
        )
    return 1 if failed else 0


def _sensing(arguments: SimulateArguments, simulation: SimulationConfig, work: SimulationWork) -> Sensing:
    """UserError: what is named is no detector or no tracker, or does not fit the rest of the command."""
    from drive.sensor_run import SensorRun  # it loads torch

    _on_the_recording_vehicle(arguments)
    if round(simulation.replan_s / STEP_S) % arguments.sensing.every:
        period = arguments.sensing.period_s
        what = f"every plan ({simulation.replan_s:g} s) wants a look at its instant, looks come every {period:g} s"
        raise UserError("--sensing.period-s", what, "give a period that divides --simulation.replan-s")
    images = arguments.out / driven_name(work.name, True) / "cameras" if arguments.cameras else None
    run = SensorRun(arguments.sensors, arguments.tracker, arguments.sensing, images, arguments.device)
    run.suite({})  # what is wrong is said before anything is driven
    return run


def _own_eyes(arguments: SimulateArguments, name: str, inputs: PlanSensors) -> Sensing:
    """What a planner that sees for itself is given. UserError: see :func:`_on_the_recording_vehicle`."""
    _on_the_recording_vehicle(arguments)
    images = arguments.out / name / "cameras" if arguments.cameras else None
    return SeenByPlanner(inputs, arguments.sensing.seed, images)


def _on_the_recording_vehicle(arguments: SimulateArguments) -> None:
    if arguments.ego:
        what = "the sensors are mounted on the recording vehicle"
        raise UserError("--ego", what, "leave out --ego, or --sensors and planners that see for themselves")


def spent_on(parts: Sequence[Spent | None], seconds_driven: float) -> dict[str, Any]:
    """Seconds of work by kind, and all of them a simulated second."""
    total = Spent()
    for part in parts:
        if part is not None:
            total.add(part)
    work = total.render_s + total.detect_s + total.track_s + total.camera_s
    figures = {name: round(value, 3) for name, value in asdict(total).items() if name != "missing"}
    if total.missing:
        figures["missing"] = dict(sorted(total.missing.items()))
    return figures | {"seconds_a_driven_second": round(work / max(seconds_driven, 0.1), 4)}


def _drive(work: SimulationWork, specs: Sequence[SceneSpec], arguments: SimulateArguments, name: str) -> list[Drives]:
    drives = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=len(specs))
        going = drive_keeping(
            arguments.out / name, work, specs, jobs=arguments.jobs, batch=arguments.batch, ray=arguments.ray
        )
        for done in going:
            drives.append(done)
            progress.advance(task, len(done.rollouts) + len(done.left_out))
    return drives


def summary(rollouts: Sequence[Rollout]) -> dict[str, Any]:
    """What happened to one planner: counts, and every drive with its infractions, as JSON takes it."""
    seconds = [s for r in rollouts for s in r.plans.seconds]
    kinds = Counter(
        f"{i.kind}{'' if i.at_fault else ' (not at fault)'}" for r in rollouts for i in r.infractions
    )  # fmt: skip
    return {
        "drives": len(rollouts),
        "failed": sum(r.failed for r in rollouts),
        "seconds_driven": round(sum(max(len(r.ego) - 1, 0) for r in rollouts) * 0.1, 1),
        "plans": len(seconds),
        "plan_ms_median": round(float(np.median(seconds)) * 1e3, 3) if seconds else None,
        "plan_ms_worst": round(max(seconds) * 1e3, 3) if seconds else None,
        "ends": {end: count for end in ENDS if (count := sum(r.end == end for r in rollouts))},
        "infractions": dict(sorted(kinds.items())),
        "scenes": [_scene(r) for r in rollouts],
    }


def _scene(rollout: Rollout) -> dict[str, Any]:
    return {
        "scene": rollout.scene,
        "end": rollout.end,
        "failure": rollout.failure,
        "seconds": round(max(len(rollout.ego) - 1, 0) * 0.1, 1),
        "progress_m": round(float(rollout.along_m[-1] - rollout.along_m[0]), 3) if rollout.route_known else None,
        "road_known": rollout.road_known,
        "infractions": [
            {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(i).items()} for i in rollout.infractions
        ],
    }


def _print(console: Console, name: str, counts: dict[str, Any]) -> None:
    wrong = ", ".join(f"{kind} {count}" for kind, count in counts["infractions"].items()) or "no infraction"
    left = f", {len(counts['left_out'])} left out" if counts["left_out"] else ""
    console.print(
        f"{name}: {counts['drives']} drives{left}, {counts['failed']} failed, "
        f"{counts['seconds_driven']:.0f} s; {wrong}",
        highlight=False,
        soft_wrap=True,
    )
    for what, looks in counts.get("sensors", {}).get("missing", {}).items():
        console.print(f"  missing in {looks} looks: {what}", highlight=False, soft_wrap=True)
