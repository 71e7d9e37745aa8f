"""Training decisions of logs: every so many instants of every log whose future is known."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
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
from drive.samples.route import command
from drive.samples.scene import HEADING, STEP_S, VX, Actors, Lights, Scene, X, Y
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
        perturb: Training decisions beside the recorded drive (default: none).
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
    return with_future(sample, here, future, valid)


def log_samples(path: Path, config: PlanDataConfig) -> list[PlanSample]:
    """The training decisions of one log: those with their whole future."""
    log = Log.open(path)
    if not log.num_frames:
        return []
    scene = load_scene(log, 0.0)
    ahead = round(config.features.points * config.features.step_s / STEP_S)
    stride = max(round(config.stride_s / STEP_S), 1)
    instants = [at for at in range(0, len(scene.ego) - ahead, stride) if scene.ego_valid[at : at + ahead + 1].all()]
    return scene_samples(scene, instants, config.features, config.perturb)


class PlanDataset:
    """Decisions in memory (about 40 kB each at 128 x 128 cells), made once, in the logs' order."""

    def __init__(self, samples: Sequence[PlanSample]) -> None:
        self.samples = list(samples)

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
        return PlanDataset(samples)

    def __len__(self) -> int:
        return len(self.samples)

    def item(self, index: int, epoch: int = 0, repeat: int = 0, paste: bool = True) -> PlanSample:
        """One decision; the other arguments of ``TrainingSet`` change nothing."""
        return self.samples[index]

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
