"""Pixels in, plan out: the sensors of a planner that sees for itself, rendered wherever it drives.

At each planning instant the lidar is cast and the three cameras are rendered from the simulated state, and the planner
is given what ``drive.samples.plan_sample_sensors`` makes of them: the same functions that made its training decisions
of recorded images and sweeps. Road users, map, route and lights are taken out of what it is told.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from drive.logs.store import Log
from drive.plans.planner import HISTORY, Observation
from drive.rollouts.history import History
from drive.rollouts.sensor_loop import JPEG_QUALITY, Spent, instant_of
from drive.rollouts.sensor_rig import Instant, RigCamera, SensorRig
from drive.samples.config import DataConfig
from drive.samples.plan_sample_sensors import (
    PANELS,
    PlanSensorInput,
    PlanSensors,
    SensedAt,
    camera_strip,
    choose_cameras,
    lidar_counts,
)
from drive.samples.scene import Actors, Lights, Scene, SceneMap
from drive.samples.scene_load import load_scene
from drive.tracks.sequence import TrackSet


@dataclass(frozen=True)
class SeenByPlanner:
    """Makes `PlannerSensors` of a batch's logs (``drive.rollouts.many.Sensing``); the same in every process."""

    inputs: PlanSensors
    seed: int = 0
    images: Path | None = None

    @property
    def renamed(self) -> bool:
        """It never drives without."""
        return False

    def suite(self, rigs: Mapping[str, SensorRig]) -> PlannerSensors:
        """The sensors of some logs."""
        return PlannerSensors(dict(rigs), self.inputs, self.seed, self.images)


@dataclass
class PlannerSensors:
    """What sensor-level planners see of their drives: one for a batch of scenes.

    Attributes:
        rigs: of the scenes, by the scene's log.
        inputs: sizes of what the planner takes.
        seed: of the sensors' noise, as ``SensorConfig.seed``.
        images: folder for what the planner saw (<scene>/<step>.jpg), None = none is kept.
        spent: filled while the drives run.
    """

    rigs: dict[str, SensorRig]
    inputs: PlanSensors
    seed: int = 0
    images: Path | None = None
    spent: Spent = field(default_factory=Spent)
    seen: list[TrackSet] = field(default_factory=list)

    @property
    def renamed(self) -> bool:
        """It never drives without."""
        return False

    @property
    def every(self) -> int:
        """Whenever the planner is asked."""
        return 1

    def begin(self, scenes: Sequence[Scene], history: History) -> PlannerEyes:
        """Sensors of some drives."""
        return PlannerEyes(self, scenes, history)


class PlannerEyes:
    """Sensors of S drives. Nothing is remembered from one look to the next."""

    def __init__(self, suite: PlannerSensors, scenes: Sequence[Scene], history: History) -> None:
        self.suite, self.scenes, self.history = suite, scenes, history
        self.rigs = [suite.rigs[scene.log] for scene in scenes]
        self.nowhere = SceneMap.empty()

    def look(self, drives: Sequence[int], k: int) -> None:
        """Nothing is looked at before a planner asks."""

    def observe(self, s: int, k: int, observation: Observation) -> Observation:
        """The ego's own state, the command, and what the sensors see."""
        instant = instant_of(self.scenes[s], self.history, s, k)
        sensors, spent = rendered_sensors(self.rigs[s], instant, self.suite.inputs, self.suite.seed)
        self.suite.spent.add(spent)
        if self.suite.images is not None:
            place = self.suite.images / self.scenes[s].name
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(sensors.camera).save(place / f"{k:03d}.jpg", quality=JPEG_QUALITY)
        return replace(
            observation, sensors=sensors, actors=Actors.none(HISTORY), lights=Lights.none(HISTORY),
            map=self.nowhere, route=None,
        )  # fmt: skip

    def close(self) -> None:
        """Nothing is left to do."""


class BesideRenderer:
    """What training decisions would see that were put beside the recorded drive (``PlanDataset.render``).

    Raises:
        UserError: one of the logs does not keep its world.
    """

    def __init__(self, logs: Sequence[Path], inputs: PlanSensors, seed: int = 0) -> None:
        self.inputs, self.seed = inputs, seed
        for path in logs:
            SensorRig.of(Log.open(path))
        self._kept: dict[str, tuple[SensorRig, Scene]] = {}

    def __call__(self, where: SensedAt) -> PlanSensorInput:
        """The sensors there."""
        if where.log not in self._kept:
            log = Log.open(Path(where.log))
            rig, scene = SensorRig.of(log), load_scene(log, 0.0)
            rig.require(scene)
            self._kept[where.log] = rig, scene
        rig, scene = self._kept[where.log]
        return rendered_sensors(rig, instant_beside(scene, where), self.inputs, self.seed)[0]


def instant_beside(scene: Scene, where: SensedAt) -> Instant:
    """An instant of a recorded scene with the ego somewhere else, global frame."""
    at, seen, origin = where.at, scene.actors, scene.origin_xy
    here = np.flatnonzero(seen.valid[:, at])
    box = seen.box[here, at].copy()
    box[:, :2] += origin
    x, y, heading = where.pose
    return Instant(
        name=f"{scene.name}:{at}",
        timestamp_ns=int(scene.timestamps_ns[at]),
        ego=np.array([x + origin[0], y + origin[1], scene.ego_z[at], heading]),
        speed=where.speed,
        yaw_rate=where.yaw_rate,
        tokens=tuple(seen.token[a] for a in here),
        kind=seen.kind[here],
        box=box,
        ground_z=seen.ground_z[here, at],
        velocity=seen.velocity[here, at].copy(),
    )


def rendered_sensors(rig: SensorRig, instant: Instant, inputs: PlanSensors, seed: int) -> tuple[PlanSensorInput, Spent]:
    """What a sensor-level planner sees at an instant, and the time it took. Noise depends on seed and time alone."""
    began = time.perf_counter()
    cloud = rig.sample(instant, _points(inputs), seed).points
    lidar = lidar_counts(cloud, inputs)
    cast = time.perf_counter()
    number = {camera.model.name: n for n, camera in enumerate(rig.cameras)}
    names = choose_cameras({camera.model.name: camera.ego_from_camera for camera in rig.cameras})
    pictures: list[Image.Image | None] = []
    missing = []
    for panel, name in zip(PANELS, names, strict=True):
        if name is None:
            missing.append(f"{panel}: no camera looks there")
            pictures.append(None)
        else:
            pictures.append(_picture(rig, rig.cameras[number[name]], number[name], instant, seed))
    strip = camera_strip(pictures, inputs)
    missed = dict.fromkeys(missing, 1)
    spent = Spent(looks=1, render_s=cast - began, camera_s=time.perf_counter() - cast, missing=missed)
    return PlanSensorInput(strip, lidar, tuple(missing)), spent


def _picture(rig: SensorRig, camera: RigCamera, n: int, instant: Instant, seed: int) -> Image.Image:
    rng = np.random.default_rng([seed, instant.timestamp_ns, 1000 + n])  # as SensorLoop's photographs
    return Image.fromarray(rig.image(instant, camera, rng).rgb)


def _points(inputs: PlanSensors) -> DataConfig:
    """Of one sweep the points that can count; nothing is cut around the ego, as none is in training."""
    reach = inputs.reach_m
    return DataConfig(range_m=(-reach, -reach, inputs.low_m, reach, reach, inputs.high_m), ego_radius_m=0.0)
