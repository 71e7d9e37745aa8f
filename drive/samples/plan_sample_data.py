"""Training decisions of logs: every so many instants of every log whose future is known."""

from __future__ import annotations

import hashlib
import multiprocessing
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.progress import track

from drive.errors import UserError
from drive.logs.store import Log
from drive.samples.classes import ClassMap
from drive.samples.plan_perturb import PerturbConfig, draw, ego_beside, future_beside
from drive.samples.plan_sample import HISTORY, MapLines, PlanFeatures, PlanSample, cut_lines, make_sample, with_future
from drive.samples.plan_sample_batch import PlanBatch, collate_plans
from drive.samples.plan_sample_raster import MapPicture, draw_map
from drive.samples.plan_sample_sensors import (
    PANELS,
    UNREADABLE,
    PlanSensorInput,
    PlanSensors,
    Renderer,
    SensedAt,
    choose_cameras,
    recorded_sensors,
    semantic_target,
)
from drive.samples.route import command
from drive.samples.scene import HEADING, STEP_S, VX, YAW_RATE, Actors, Lights, Scene, X, Y
from drive.samples.scene_load import load_scene


@dataclass(frozen=True)
class PlanDataConfig:
    """Decisions of one experiment.

    Attributes:
        train_logs, val_logs, allow_overlap, train_split, val_split: As in ``DataConfig``.
        features: What a planner is told.
        stride_s: Time between two decisions of a log.
        batch_size: Decisions a batch.
        workers, prefetch: As in ``DataConfig``; workers also make the samples, log by log.
        balance: Draw turning, standing and straight decisions equally often.
        perturb: Training decisions beside the recorded drive (default: none). What sensors would see there is rendered,
            which logs of the synthetic town allow.
        keep_sensors: Keep what was read of the sensors in memory (0.85 MB a decision at the published sizes).
    """

    train_logs: tuple[str, ...] = ()
    val_logs: tuple[str, ...] = ()
    allow_overlap: bool = False
    train_split: str = ""
    val_split: str = ""
    features: PlanFeatures = field(default_factory=PlanFeatures)
    stride_s: float = 0.5
    batch_size: int = 16
    workers: int = 0
    prefetch: int = 2
    balance: bool = False
    perturb: PerturbConfig = field(default_factory=PerturbConfig)
    keep_sensors: bool = False

    @property
    def paste_until(self) -> float:
        """Nothing is ever pasted."""
        return 1.0

    @property
    def class_map(self) -> ClassMap:
        """A planner has no classes: what asks for them wants a detector's run. Raises UserError."""
        raise UserError("this run", "is a planner's and finds no boxes", "score it in closed loop: `drive simulate`")


def scene_samples(
    scene: Scene, instants: Sequence[int], features: PlanFeatures, perturb: PerturbConfig | None = None
) -> list[PlanSample]:
    """Samples of a scene at instants (indices of its time grid) whose ego is known, with as much future as it has.

    With `perturb` some are put beside the recorded drive, always the same ones (by the log's name and the instant).
    Decisions without a whole future stay as they are.
    """
    lines = cut_lines(scene.map, scene.route)
    picture = draw_map(scene.map, scene.route, scene.ego[scene.ego_valid][:, [X, Y]], features.raster.cell_m)
    return [_sample(scene, at, features, lines, picture, perturb or PerturbConfig()) for at in instants]


def _sample(
    scene: Scene, at: int, features: PlanFeatures, lines: MapLines, picture: MapPicture, perturb: PerturbConfig
) -> PlanSample:
    # Before the scene's first instant nothing is known: those rows are not valid.
    rows = np.arange(at - HISTORY + 1, at + 1)
    known, rows = rows >= 0, np.maximum(rows, 0)
    seen = scene.actors
    actors = Actors(
        seen.box[:, rows], seen.velocity[:, rows], seen.valid[:, rows] & known, seen.kind, seen.token,
        seen.ground_z[:, rows],
    )  # fmt: skip
    ego, known_ego = scene.ego[rows], scene.ego_valid[rows] & known
    times = (np.arange(features.points) + 1) * features.step_s
    then = at + np.round(times / STEP_S).astype(int)
    last = len(scene.ego) - 1
    valid = (then <= last) & scene.ego_valid[np.minimum(then, last)]
    future = scene.ego[np.minimum(then, last)][:, [X, Y, HEADING]]
    beside = None
    if perturb.share and valid.all():
        seed = int.from_bytes(hashlib.sha256(f"{scene.log} {at}".encode()).digest()[:8], "little")
        beside = draw(np.random.default_rng(seed), float(scene.ego[at, VX]), perturb)
        if beside is not None:
            recorded = scene.ego[at : then[-1] + 1][:, [X, Y, HEADING]]
            ego, future = ego_beside(ego, beside), future_beside(recorded, times, beside, perturb)
    here = ego[-1, [X, Y, HEADING]]
    start = int(scene.timestamps_ns[at] - scene.timestamps_ns[0]) // round(STEP_S * 1e9)
    sample = make_sample(
        f"{scene.log}@{start}",
        ego,
        known_ego,
        actors,
        Lights(scene.lights.state[rows], scene.lights.lane, scene.lights.stop_xy),
        command(scene.route, here[:2]),
        lines,
        picture,
        features,
    )
    sample = with_future(sample, here, future, valid)
    if features.sensors is None:
        return sample
    x, y, heading = here.tolist()
    speed, yaw_rate = ego[-1, [VX, YAW_RATE]].tolist()
    sensed = SensedAt("", -1, at, (x, y, heading), speed, yaw_rate, beside is not None)
    return replace(sample, sensed=sensed)


def log_samples(path: Path, config: PlanDataConfig) -> list[PlanSample]:
    """The training decisions of one log: those with their whole future."""
    log = Log.open(path)
    if not log.num_frames:
        return []
    scene = load_scene(log, 0.0)
    ahead = round(config.features.points * config.features.step_s / STEP_S)
    stride = max(round(config.stride_s / STEP_S), 1)
    if config.features.sensors is not None:
        frames = sensor_instants(log, scene, stride)
        frames = {at: f for at, f in frames.items() if at + ahead < len(scene.ego)}
    else:
        frames = dict.fromkeys(range(0, len(scene.ego) - ahead, stride), -1)
    instants = [at for at in frames if scene.ego_valid[at : at + ahead + 1].all()]
    samples = scene_samples(scene, instants, config.features, config.perturb)
    if config.features.sensors is None:
        return samples
    return [
        replace(sample, semantic=target, sensed=replace(sample.sensed, log=str(path), frame=frames[sample.sensed.at]))
        for sample, target in zip(samples, semantic_targets(scene, samples, config.features.sensors), strict=True)
        if sample.sensed is not None
    ]


def sensor_instants(log: Log, scene: Scene, stride: int) -> dict[int, int]:
    """Instants of a scene, `stride` of its steps apart or more, with the log's frame that has sensors there (at most
    half a step away)."""
    found: dict[int, int] = {}
    last = -stride
    for f in range(log.num_frames):
        away = log.frame_timestamps_ns[f] - scene.timestamps_ns[0]
        at = round(float(away) * 1e-9 / STEP_S)
        seen = any(log.sensors[name].modality in ("lidar", "camera") for name in log.frame(f).rows)
        if seen and 0 <= at < len(scene.ego) and at - last >= stride:
            found[at], last = f, at
    return found


def semantic_targets(scene: Scene, samples: Sequence[PlanSample], sensors: PlanSensors) -> list[npt.NDArray[np.uint8]]:
    """The semantic target of each of a scene's samples that have sensors, uint8 [rows, columns]."""
    places = scene.ego[scene.ego_valid][:, [X, Y]]
    picture = draw_map(scene.map, None, places, 2 * sensors.semantic_cell_m)
    known = [sample.sensed for sample in samples if sample.sensed is not None]
    return [semantic_target(picture, np.array(s.pose), scene.actors, s.at, sensors) for s in known]


class PlanDataset:
    """Decisions in memory (about 40 kB each at 128 x 128 cells), made once, in the logs' order.

    sensors: sizes of the sensors' input, which is read from the logs when a decision is asked for; None: none is.
    keep: read it once.
    render: what decisions beside the recorded drive would see; None: there must be none.
    """

    render: Renderer | None = None

    def __init__(self, samples: Sequence[PlanSample], sensors: PlanSensors | None = None, keep: bool = False) -> None:
        self.samples, self.sensors, self.keep = list(samples), sensors, keep
        self._logs: dict[str, Log] = {}

    @staticmethod
    def of(config: PlanDataConfig, logs: Sequence[Path]) -> PlanDataset:
        """All decisions of logs.

        Raises:
            UserError: a damaged log, or no decision with a known future in any.
        """
        make = partial(log_samples, config=config)
        if config.workers:
            spawn = multiprocessing.get_context("spawn")  # never forked: numba's threads do not survive it
            with ProcessPoolExecutor(config.workers, mp_context=spawn) as pool:
                made = list(track(pool.map(make, logs), "decisions", total=len(logs)))
        else:
            made = [make(path) for path in track(logs, "decisions")]
        samples = [sample for one in made for sample in one]
        if not samples:
            seconds = config.features.points * config.features.step_s
            what = f"no decision with a known future of {seconds:g} s in {len(logs)} logs"
            raise UserError("data.train_logs", what, "name longer logs, with poses of the ego")
        return PlanDataset(samples, config.features.sensors, config.keep_sensors)

    def __len__(self) -> int:
        return len(self.samples)

    def item(self, index: int, epoch: int = 0, repeat: int = 0, paste: bool = True) -> PlanSample:
        """One decision, its sensors read now; the other arguments of ``TrainingSet`` change nothing.

        Raises:
            UserError: a damaged log.
        """
        sample = self.samples[index]
        if self.sensors is None or sample.sensed is None or sample.sensors is not None:
            return sample
        sample = replace(sample, sensors=self._sense(sample.sensed, self.sensors))
        if self.keep:
            self.samples[index] = sample
        return sample

    def _sense(self, where: SensedAt, sizes: PlanSensors) -> PlanSensorInput:
        if where.moved:
            if self.render is None:
                what = "moves the ego away from where its sensors were recorded, and nothing renders them"
                raise UserError("data.perturb.share", what, "set it to 0")
            return self.render(where)
        log = self._logs.get(where.log)
        if log is None:
            log = self._logs[where.log] = Log.open(Path(where.log))
        found = recorded_sensors(log, log.frame(where.frame), sizes)
        for line in found.missing:
            if UNREADABLE in line:  # what a log never had is said once, by `notes`
                warnings.warn(f"{where.log}, frame {where.frame}: {line}: trained on black", stacklevel=2)
        return found

    def notes(self) -> list[str]:
        """Lines for the person who trains: which panels are black because no camera looks there, and in how many
        decisions."""
        if self.sensors is None:
            return []
        dark: Counter[str] = Counter()
        for path, count in Counter(s.sensed.log for s in self.samples if s.sensed is not None).items():
            cameras = {n: s.ego_from_sensor for n, s in Log.open(Path(path)).sensors.items() if s.modality == "camera"}
            dark.update({p: count for p, name in zip(PANELS, choose_cameras(cameras), strict=True) if name is None})
        return [f"{panel}: no camera looks there in {n} of {len(self)} decisions: black" for panel, n in dark.items()]

    def presence(self) -> npt.NDArray[np.bool_]:
        """bool [F, 4]: standing (less than 1 m to go), turning left, right (3 m aside at the end), straight on."""
        ends = self.futures()[:, -1]
        standing = np.linalg.norm(ends[:, :2], axis=1) < 1
        left, right = ends[:, 1] > 3, ends[:, 1] < -3
        return np.stack((standing, left, right, ~(standing | left | right)), axis=1)

    def futures(self) -> npt.NDArray[np.float64]:
        """float64 [N, T, 3], the futures of those decisions that know all of it."""
        whole = [s.future for s in self.samples if s.future_valid.all()]
        shape = self.samples[0].future.shape if self.samples else (0, 3)
        return np.array(whole, np.float64).reshape(len(whole), *shape)

    @staticmethod
    def collate(samples: Sequence[PlanSample]) -> PlanBatch:
        """Join samples into a batch."""
        return collate_plans(samples)
