"""Drives in many scenes: batches of them side by side, in this process or in several."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from drive.errors import UserError
from drive.logs.store import Log
from drive.plans.by_name import find_planner
from drive.plans.planner import Planner
from drive.rollouts.config import SimulationConfig
from drive.rollouts.filters import SceneFilter
from drive.rollouts.perception import Sensors
from drive.rollouts.rollout import Rollout, driven_name, not_simulated
from drive.rollouts.sensor_loop import Spent
from drive.rollouts.sensor_rig import SensorRig
from drive.rollouts.simulate import simulate
from drive.samples.scene import Scene
from drive.samples.scene_load import SceneConfig, load_scene
from drive.samples.workers import end_with_parent
from drive.tracks.sequence import TrackSet

KILLED = "the simulating process died (out of memory? a crash of the planner?)"


@dataclass(frozen=True)
class SceneSpec:
    """One scene to drive in: a log's folder and a start in seconds after its first instant."""

    log: Path
    start: float

    @property
    def name(self) -> str:
        """The scene's name."""
        return f"{self.log.name}@{round(self.start * 10)}"


@dataclass(frozen=True)
class Drives:
    """A batch's results: what was driven, and what the filter left out (name, why)."""

    rollouts: tuple[Rollout, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    tracks: tuple[TrackSet, ...] = ()
    """With sensors: what was perceived."""
    spent: Spent | None = None
    """With sensors: on what."""


class Sensing(Protocol):
    """Makes the sensors of a batch; pickles (``drive.sensor_run.SensorRun`` is one)."""

    @property
    def renamed(self) -> bool:
        """As ``Sensors.renamed``."""
        ...

    def suite(self, rigs: Mapping[str, SensorRig]) -> Sensors:
        """Sensors for scenes of these logs."""
        ...


@dataclass(frozen=True)
class SimulationWork:
    """Drives a batch of scenes when it is called. The same in every process.

    Attributes:
        planner: as the command line names it (drive.plans.by_name).
        sensing: perception in place of the true boxes.
    """

    planner: str
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    scene: SceneConfig = field(default_factory=SceneConfig)
    filter: SceneFilter = field(default_factory=SceneFilter)
    sensing: Sensing | None = None

    @property
    def name(self) -> str:
        """How results name the planner."""
        return driven_name(_planner(self.planner).name, self.sensing is not None and self.sensing.renamed)

    def __call__(self, specs: Sequence[SceneSpec]) -> Drives:
        planner = _planner(self.planner)
        scenes: list[Scene] = []
        broken: dict[str, Rollout] = {}
        left_out = []
        rigs: dict[str, SensorRig] = {}
        for spec in specs:
            try:
                scene = load_scene(_log(spec.log), spec.start, self.scene)
                if self.sensing is not None:
                    rigs[scene.log] = _rig(spec.log)
                    rigs[scene.log].require(scene)
            except UserError as error:
                said = f"{error.what}; {error.mend}" if error.place == spec.name else str(error)
                broken[spec.name] = not_simulated(spec.name, spec.log.name, self.name, said)
                continue
            if why := self.filter.refuses(scene):
                left_out.append((scene.name, why))
            else:
                scenes.append(scene)
        suite = self.sensing.suite(rigs) if self.sensing is not None and scenes else None
        driven = {r.scene: r for r in simulate(scenes, planner, self.simulation, suite)} | broken
        rollouts = tuple(driven[s.name] for s in specs if s.name in driven)
        if suite is None:
            return Drives(rollouts, tuple(left_out))
        return Drives(rollouts, tuple(left_out), tuple(suite.seen), suite.spent)


@lru_cache(maxsize=1)
def _planner(name: str) -> Planner:
    return find_planner(name)


@lru_cache(maxsize=2)
def _log(path: Path) -> Log:
    return Log.open(path)


@lru_cache(maxsize=4)
def _rig(path: Path) -> SensorRig:
    return SensorRig.of(_log(path))


def drive_all(work: SimulationWork, specs: Sequence[SceneSpec], *, jobs: int = 1, batch: int = 32) -> Iterator[Drives]:
    """Drive in all scenes, ``batch`` of them side by side, in ``jobs`` processes (1: in this one). Yields batches as
    they end. Where a process dies, the scenes that were in flight are driven again, each in a process of its own: the
    one that kills its process again is recorded as failed, the others are not lost."""
    batches = [specs[i : i + batch] for i in range(0, len(specs), batch)]
    if jobs == 1:
        yield from map(work, batches)
        return
    waiting, alone = list(reversed(batches)), list[Sequence[SceneSpec]]()
    while waiting or alone:
        single = not waiting
        flying: dict[Future[Drives], Sequence[SceneSpec]] = {}
        queue, most = (alone, 1) if single else (waiting, jobs)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(most, mp_context=context, initializer=end_with_parent) as pool:
            try:
                while queue or flying:
                    while queue and len(flying) < most:
                        specs = queue.pop()
                        flying[pool.submit(work, specs)] = specs
                    done, _ = wait(flying, return_when=FIRST_COMPLETED)
                    for future in done:
                        drives = future.result()
                        del flying[future]
                        yield drives
            except BrokenProcessPool:
                lost = [spec for specs in flying.values() for spec in specs]
                if single:
                    yield Drives(tuple(not_simulated(s.name, s.log.name, work.name, KILLED) for s in lost))
                else:
                    alone += [[spec] for spec in lost]
