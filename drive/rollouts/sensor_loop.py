"""Perception in the loop: what a detector and a tracker make of rendered sweeps is what the planner is told.

At each perception instant every drive's scene is cast from where the ego and the others are in this simulation; the
detector sees all drives as one batch, the tracker steps drive by drive, its state handed in and given back. The ego's
own motion, map, route and lights stay the true ones.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from drive.boxes.detections import Detections
from drive.geometry.angles import wrap_angle
from drive.geometry.box import HEIGHT, VX, VY, YAW, Z
from drive.plans.planner import HISTORY, Observation
from drive.rollouts.history import History
from drive.rollouts.sensor_rig import Instant, SensorRig
from drive.samples.config import DataConfig
from drive.samples.sample import FrameSample
from drive.samples.scene import HEADING, STATIC, STEP_S, YAW_RATE, Actors, Scene, X, Y
from drive.samples.scene import VX as EGO_VX
from drive.samples.scene_kinds import actor_kind
from drive.tracks.sequence import TrackSet, placed_detections
from drive.tracks.track import FrameDetections, TrackedFrame, Tracker

_NOW = HISTORY - 1
JPEG_QUALITY = 88


@dataclass(frozen=True)
class SensorConfig:
    """What is rendered, and what of the tracks a planner is shown.

    `period_s`: a sweep is cast, looked at and tracked this often (0.5: at each planning instant; 0.1: at 10 Hz). Each
    planning instant must have one. Before a drive starts the same is done over the recorded 2 s, so that it begins with
    tracks. `min_score`: tracks below it are not shown; [inferred] the score below which `drive detect` draws no box.
    `seed`: of the sensors' noise; the same seed, scene and time give the same draws, whoever drives.
    """

    period_s: float = 0.5
    min_score: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        steps = self.period_s / STEP_S
        if steps < 1 or abs(steps - round(steps)) > 1e-6:
            raise ValueError(f"period_s is {self.period_s:g} s, not a multiple of {STEP_S:g} s")

    @property
    def every(self) -> int:
        """Steps of the simulation from one look to the next."""
        return round(self.period_s / STEP_S)


class Detector(Protocol):
    """What finds boxes in sweeps; ``drive.sensor_run`` makes one of a run."""

    class_names: tuple[str, ...]
    data: DataConfig
    """How points are to be read: range, sweeps, radius of the ego's own returns."""
    measures_velocity: bool

    def __call__(self, samples: Sequence[FrameSample]) -> Sequence[Detections]:
        """Boxes of each sample, in its ego frame."""
        ...


@dataclass
class Spent:
    """Where the time went, and on how much. ``looks``: (drive, instant) pairs."""

    looks: int = 0
    render_s: float = 0.0
    detect_s: float = 0.0
    track_s: float = 0.0
    camera_s: float = 0.0
    missing: dict[str, int] = field(default_factory=dict)
    """What a planner that sees for itself did not get, and in how many looks."""

    def add(self, other: Spent) -> None:
        """Take in another's."""
        for name, value in vars(other).items():
            if name != "missing":
                setattr(self, name, getattr(self, name) + value)
        for what, looks in other.missing.items():
            self.missing[what] = self.missing.get(what, 0) + looks


@dataclass
class SensorSuite:
    """Everything that perception needs beside the drives: one for a batch of scenes.

    Attributes:
        rigs: of the scenes, by the scene's log.
        tracker: any of ``drive.tracks``.
        track_min_score: detections below it never reach the tracker.
        images: folder for camera images (<scene>/<step>_<camera>.jpg), None = no cameras.
        spent: filled while the drives run.
        seen: filled when they have ended: tracks of every drive.
    """

    rigs: dict[str, SensorRig]
    detector: Detector
    tracker: Tracker[Any]
    config: SensorConfig = field(default_factory=SensorConfig)
    track_min_score: float | None = None
    images: Path | None = None
    spent: Spent = field(default_factory=Spent)
    seen: list[TrackSet] = field(default_factory=list)

    @property
    def renamed(self) -> bool:
        """A planner that is told what sensors perceive is another driver."""
        return True

    @property
    def every(self) -> int:
        """Steps from one look to the next."""
        return self.config.every

    def begin(self, scenes: Sequence[Scene], history: History) -> SensorLoop:
        """Perception of some drives; it has looked at what was recorded before their start."""
        loop = SensorLoop(self, scenes, history)
        for k in range(-(_NOW // self.config.every) * self.config.every, 0, self.config.every):
            loop.look([s for s in range(len(scenes)) if history.ego_valid[s, _NOW + k]], k)
        return loop


class SensorLoop:
    """Perception of S drives: what each tracker remembers, and what it has reported."""

    def __init__(self, suite: SensorSuite, scenes: Sequence[Scene], history: History) -> None:
        self.suite, self.scenes, self.history = suite, scenes, history
        self.rigs = [suite.rigs[scene.log] for scene in scenes]
        self.state: list[Any] = [suite.tracker.start() for _ in scenes]
        self.frames: list[list[tuple[int, TrackedFrame]]] = [[] for _ in scenes]
        kinds = [actor_kind(name) for name in suite.tracker.class_names]
        self.kind = np.array([STATIC if kind is None else kind for kind in kinds], np.int64)
        names = {name.lower(): k for k, name in enumerate(suite.tracker.class_names)}
        self.label = np.array([names.get(name.lower(), -1) for name in suite.detector.class_names], np.int64)

    def look(self, drives: Sequence[int], k: int) -> None:
        """Cast, detect and track in some drives at step k, if it is a perception instant."""
        if k % self.suite.config.every or not drives:
            return
        suite, spent = self.suite, self.suite.spent
        instants = [instant_of(self.scenes[s], self.history, s, k) for s in drives]
        clock = _stopwatch()
        samples = [
            self.rigs[s].sample(instant, suite.detector.data, suite.config.seed)
            for s, instant in zip(drives, instants, strict=True)
        ]
        spent.render_s += clock()
        found = suite.detector(samples)
        spent.detect_s += clock()
        for s, instant, sample, detections in zip(drives, instants, samples, found, strict=True):
            frame = self._placed(s, instant, sample, detections)
            self.state[s], tracked = suite.tracker.step(self.state[s], frame)
            self.frames[s].append((k, _with_velocities(tracked, frame)))
        spent.track_s += clock()
        if suite.images is not None and k >= 0:
            for s, instant in zip(drives, instants, strict=True):
                self._photograph(suite.images, s, instant, k)
        spent.camera_s += clock()
        spent.looks += len(drives)

    def observe(self, s: int, k: int, observation: Observation) -> Observation:
        """An observation with tracks for its actors."""
        window = [(j + _NOW - k, frame) for j, frame in self.frames[s] if k - HISTORY < j <= k]
        return replace(observation, actors=self._actors(window))

    def close(self) -> None:
        """The drives have ended: what was tracked is kept."""
        self.suite.seen.append(self.tracks())

    def tracks(self) -> TrackSet:
        """All that was tracked, before the drives' starts too; global frame. A frame's log is its scene, its index the
        step, its id ``<scene>:<step>``."""
        ids, names, steps, frames = [], [], [], []
        for scene, reported in zip(self.scenes, self.frames, strict=True):
            for k, frame in reported:
                boxes = frame.boxes.copy()
                boxes[:, :2] += scene.origin_xy
                ids.append(f"{scene.name}:{k}")
                names.append(scene.name)
                steps.append(k)
                frames.append(replace(frame, boxes=boxes))
        return TrackSet.join(self.suite.tracker.class_names, ids, names, steps, frames)

    def _placed(self, s: int, instant: Instant, sample: FrameSample, found: Detections) -> FrameDetections:
        """Detections in the scene's frame."""
        matrix = sample.global_from_ego.copy()
        matrix[:2, 3] -= self.scenes[s].origin_xy
        boxes, scores, labels = found.numpy()
        features = np.zeros((len(scores), 0), np.float32)
        if found.features is not None:
            features = found.features.detach().cpu().numpy()
        valid = np.full(len(scores), self.suite.detector.measures_velocity)
        return placed_detections(
            instant.timestamp_ns, matrix, boxes.astype(np.float64), valid, scores.astype(np.float64),
            self.label[labels], features, self.suite.track_min_score,
        )  # fmt: skip

    def _photograph(self, folder: Path, s: int, instant: Instant, k: int) -> None:
        place = folder / self.scenes[s].name
        place.mkdir(parents=True, exist_ok=True)
        for n, camera in enumerate(self.rigs[s].cameras):
            rng = np.random.default_rng([self.suite.config.seed, instant.timestamp_ns, 1000 + n])
            data = io.BytesIO()
            rgb = self.rigs[s].image(instant, camera, rng).rgb
            Image.fromarray(rgb).save(data, format="JPEG", quality=JPEG_QUALITY)
            (place / f"{k:03d}_{camera.model.name}.jpg").write_bytes(data.getvalue())

    def _actors(self, window: Sequence[tuple[int, TrackedFrame]]) -> Actors:
        """Tracks reported at columns of a history, and in between where both ends know one."""
        ids = np.unique(np.concatenate([np.zeros(0, np.int64), *(self._shown(frame)[0] for _, frame in window)]))
        count = len(ids)
        box, velocity = np.zeros((count, HISTORY, 5)), np.zeros((count, HISTORY, 2))
        valid, ground = np.zeros((count, HISTORY), bool), np.zeros((count, HISTORY))
        kind = np.zeros(count, np.int64)
        before = None
        for at, frame in window:
            own, rows = self._shown(frame)
            to, boxes = np.searchsorted(ids, own), frame.boxes[rows]
            box[to, at], velocity[to, at] = boxes[:, [0, 1, 3, 4, YAW]], boxes[:, [VX, VY]]
            ground[to, at], valid[to, at] = boxes[:, Z] - boxes[:, HEIGHT] / 2, True
            kind[to] = self.kind[frame.labels[rows]]
            if before is not None:
                both = np.flatnonzero(valid[:, before] & valid[:, at])
                _fill(both, before, at, box, velocity, ground, valid)
            before = at
        return Actors(box, velocity, valid, kind, tuple(f"track-{i}" for i in ids.tolist()), ground)

    def _shown(self, frame: TrackedFrame) -> tuple[np.ndarray, np.ndarray]:
        """ids int64 [M] and rows [M] of the tracks that a planner is shown."""
        rows = np.flatnonzero(frame.scores >= self.suite.config.min_score)
        return frame.ids[rows], rows


def instant_of(scene: Scene, history: History, s: int, k: int) -> Instant:
    """Drive s of a history at step k (negative: before its start), global frame."""
    at, origin = _NOW + k, scene.origin_xy
    here = np.flatnonzero(history.valid[s, : len(scene.actors), at])
    ego = history.ego[s, at]
    row = min(max(scene.now + k, 0), len(scene.timestamps_ns) - 1)
    box = history.box[s, here, at].copy()
    box[:, :2] += origin
    return Instant(
        name=f"{scene.name}:{k}",
        timestamp_ns=int(scene.timestamps_ns[row]),
        ego=np.array([ego[X] + origin[0], ego[Y] + origin[1], scene.ego_z[row], ego[HEADING]]),
        speed=float(ego[EGO_VX]),
        yaw_rate=float(ego[YAW_RATE]),
        tokens=tuple(scene.actors.token[a] for a in here),
        kind=scene.actors.kind[here],
        box=box,
        ground_z=scene.actors.ground_z[here, row],
        velocity=history.velocity[s, here, at].copy(),
    )


def _with_velocities(tracked: TrackedFrame, frame: FrameDetections) -> TrackedFrame:
    """Where the tracker has no velocity yet (one place is none), the detector's own."""
    first = ~tracked.velocity_valid & tracked.matched
    rows = np.flatnonzero(first)
    rows = rows[frame.velocity_valid[tracked.detection[rows]]]
    boxes = tracked.boxes.copy()
    boxes[rows, VX : VY + 1] = frame.boxes[tracked.detection[rows], VX : VY + 1]
    return replace(tracked, boxes=boxes)


def _fill(
    rows: np.ndarray, first: int, last: int, box: np.ndarray, velocity: np.ndarray, ground: np.ndarray,
    valid: np.ndarray,
) -> None:  # fmt: skip
    """Between two columns, straight from one to the other."""
    turn = wrap_angle(box[rows, last, 4] - box[rows, first, 4])
    for at in range(first + 1, last):
        share = (at - first) / (last - first)
        for whole in (box, velocity, ground):
            whole[rows, at] = (1 - share) * whole[rows, first] + share * whole[rows, last]
        box[rows, at, 4] = wrap_angle(box[rows, first, 4] + share * turn)
        valid[rows, at] = True


def _stopwatch() -> Callable[[], float]:
    last = [time.perf_counter()]

    def lap() -> float:
        now = time.perf_counter()
        passed, last[0] = now - last[0], now
        return passed

    return lap
