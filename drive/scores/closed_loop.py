"""PDM score of drives: windows of what was driven, each scored as a plan among the traffic as it moved in that drive.

A drive is judged in windows of 4 s that start every 2 s (and one that ends where the scene ends). In each the driven
states stand in for the tracked plan: nothing is tracked a second time. A drive's score is the mean over all windows
that its scene had room for; windows that it did not live to finish (a collision by own fault, off the road, off the
route) count 0, and so do all of a drive whose planner failed. No benchmark's number: the same sub-scores, but other
scenes, starts and references.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from drive.rollouts.rollout import Rollout
from drive.samples.scene import RED, STATIC, STEP_S, Scene
from drive.scores.closed_loop_comfort import history_comfort, plan_comfort
from drive.scores.pdm import PdmScorer, PdmTable, finished, progress_share
from drive.scores.pdm_config import PdmConfig
from drive.scores.pdm_scene import PdmMap, PdmScene, light_polygons, pdm_scene

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DRIVE_SCORES = ("nc", "dac", "ddc", "tlc", "ep", "ttc", "lk", "comfort", "ec")
"""Sub-scores of a window: those of `drive.scores.pdm`; `ec` compares the two plans that a window begins with."""

Reference = Literal["human", "pdm_closed", "best"]


@dataclass(frozen=True)
class DriveScoreConfig:
    """How drives are cut and scored.

    Attributes:
        pdm: version, parity, thresholds; its `steps` are the window's.
        every_s: from a window's start to the next one's.
        to_the_end: whether a last window ends where the scene ends, if none does (else up to 2 s are not judged).
        seconds: length of the drives, as they were simulated; None: to the end of their scenes.
        reference: whose progress in a window a drive's is measured against: that of the log's driver in the same 4 s
            ("human"), of PDM-Closed from the window's start, as the benchmarks have it ("pdm_closed": slow, a call of
            that planner a window), or its own alone ("best": 1 wherever it gets on at all).
    """

    pdm: PdmConfig = field(default_factory=PdmConfig)
    every_s: float = 2.0
    to_the_end: bool = True
    seconds: float | None = None
    reference: Reference = "human"

    def __post_init__(self) -> None:
        if not self.every_s >= STEP_S or self.reference not in ("human", "pdm_closed", "best"):
            raise ValueError(f"windows at least {STEP_S} s apart, a reference human, pdm_closed or best: {self}")

    def label(self) -> str:
        """Name for tables and files."""
        window = self.pdm.steps * self.pdm.step_s
        return f"{self.pdm.label()} of drives, {window:g} s every {self.every_s:g} s, progress against {self.reference}"


@dataclass(frozen=True)
class DriveScores:
    """Scores of D drives and of their M windows; float64 in 0..1 unless said.

    Attributes:
        label: version, parity, windows, reference: to be stored with every number.
        planner, scene, end, failure: of each drive.
        pdms: [D]. columns: for each of DRIVE_SCORES [D]. Means over all windows; those not driven to their end count 0.
        failed: bool [D]: the planner failed, or there is no drive; all scores are 0.
        offsets: int64 [D + 1], the windows of each drive; a drive without any has a scene shorter than a window (or
            none), and its scores are 0: `left_out` tells which of them nobody can be blamed for.
        start: int64 [M], the window's first step. driven: bool [M]: it was driven to its end.
        window_pdms: [M]. window_columns: for each of DRIVE_SCORES [M].
        progress_m: [M] along the route. reference_m: [M], the reference's, times its own product; 0 without one.
        unjudged: of each drive what its scene cannot tell (1 in the columns).
        left_out: bool [D]: its scene is shorter than a window. Not to be averaged.
    """

    label: str
    planner: tuple[str, ...]
    scene: tuple[str, ...]
    end: tuple[str, ...]
    failure: tuple[str, ...]
    pdms: Floats
    columns: dict[str, Floats]
    failed: npt.NDArray[np.bool_]
    offsets: Ints
    start: Ints
    driven: npt.NDArray[np.bool_]
    window_pdms: Floats
    window_columns: dict[str, Floats]
    progress_m: Floats
    reference_m: Floats
    unjudged: tuple[tuple[str, ...], ...]
    left_out: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.pdms)


def window_starts(room: int, config: DriveScoreConfig) -> Ints:
    """First steps of the windows of a drive that may take `room` steps; none where it is shorter than a window."""
    last = room - config.pdm.steps
    if last < 0:
        return np.zeros(0, np.int64)
    starts = np.arange(0, last + 1, round(config.every_s / STEP_S), dtype=np.int64)
    return np.append(starts, last) if config.to_the_end and starts[-1] < last else starts


def score_drives(
    rollouts: Sequence[Rollout], scenes: Sequence[Scene | None], config: DriveScoreConfig | None = None
) -> DriveScores:
    """Scores of drives; scenes[d] is that of rollouts[d] (the same object for the same scene is quicker), None only of
    drives that were not simulated.

    ValueError: lengths; a scene of another name; a drive that ends "with its log" elsewhere than `seconds` says.
    """
    config = config or DriveScoreConfig()
    if len(rollouts) != len(scenes):
        raise ValueError(f"{len(rollouts)} drives, {len(scenes)} scenes")
    starts = [_starts(r, s, config) for r, s in zip(rollouts, scenes, strict=True)]
    offsets = np.cumsum([0, *map(len, starts)]).astype(np.int64)
    table = {name: np.zeros(offsets[-1]) for name in (*DRIVE_SCORES, "score", "progress_m", "reference_m")}
    driven = np.zeros(offsets[-1], np.bool_)
    unjudged: list[tuple[str, ...]] = [()] * len(rollouts)
    of_scene: dict[str, list[int]] = {}
    for d, rollout in enumerate(rollouts):
        if not rollout.failed and len(starts[d]):
            of_scene.setdefault(rollout.scene, []).append(d)
    for drives in of_scene.values():
        scene = scenes[drives[0]]
        assert scene is not None
        rows = np.concatenate([np.arange(offsets[d], offsets[d + 1]) for d in drives])
        whole, scored = _score_scene(scene, [rollouts[d] for d in drives], [starts[d] for d in drives], config)
        driven[rows] = whole
        if scored is not None:
            found, reference = scored
            plans = np.full(whole.sum(), np.nan) if found.ec is None else found.ec
            shown = {"reference_m": reference, "ec": np.nan_to_num(plans, nan=1.0)}
            for name in table:
                table[name][rows[whole]] = shown[name] if name in shown else getattr(found, name)
            for d in drives:
                own = (rows[whole] >= offsets[d]) & (rows[whole] < offsets[d + 1])
                silent = config.pdm.second and bool(np.isnan(plans[own]).all())
                unjudged[d] = (*found.unjudged, *(["ec"] if silent else []))
    counts = np.diff(offsets)
    means = {
        name: np.bincount(np.repeat(np.arange(len(rollouts)), counts), table[name], len(rollouts))
        / np.maximum(counts, 1)
        for name in (*DRIVE_SCORES, "score")
    }
    return DriveScores(
        label=config.label(),
        planner=tuple(r.planner for r in rollouts),
        scene=tuple(r.scene for r in rollouts),
        end=tuple(r.end for r in rollouts),
        failure=tuple(r.failure for r in rollouts),
        pdms=means.pop("score"),
        columns=means,
        failed=np.array([r.failed for r in rollouts], np.bool_),
        offsets=offsets,
        start=np.concatenate([*starts, np.zeros(0, np.int64)]),
        driven=driven,
        window_pdms=table["score"],
        window_columns={name: table[name] for name in DRIVE_SCORES},
        progress_m=table["progress_m"],
        reference_m=table["reference_m"],
        unjudged=tuple(unjudged),
        left_out=np.array([not len(s) and not r.failed for s, r in zip(starts, rollouts, strict=True)], np.bool_),
    )


def _starts(rollout: Rollout, scene: Scene | None, config: DriveScoreConfig) -> Ints:
    if scene is None:
        if rollout.end != "not simulated":
            raise ValueError(f"{rollout.scene}: the scene of a drive is needed to score it")
        return np.zeros(0, np.int64)
    if scene.name != rollout.scene:
        raise ValueError(f"a drive in {rollout.scene} is given scene {scene.name}")
    longest = np.inf if config.seconds is None else round(config.seconds / STEP_S)
    room = int(min(scene.steps_ahead, longest))
    steps = len(rollout.ego) - 1
    if rollout.end == "end of the log" and not rollout.failed and steps != room:
        raise ValueError(
            f"{rollout.scene}: {rollout.planner} drove {steps * STEP_S:g} s to the end, "
            f"the scores are told of {room * STEP_S:g} s"
        )
    return window_starts(room, config)


def _score_scene(
    scene: Scene, rollouts: list[Rollout], starts: list[Ints], config: DriveScoreConfig
) -> tuple[npt.NDArray[np.bool_], tuple[PdmTable, Floats] | None]:
    """(which of all windows were driven to their end; the table of those and their reference's progress)."""
    pdm, T = config.pdm, config.pdm.steps + 1
    done = [own + pdm.steps <= len(r.ego) - 1 for r, own in zip(rollouts, starts, strict=True)]
    whole = np.concatenate(done)
    if not whole.any():
        return whole, None
    lived = [own[fine] for own, fine in zip(starts, done, strict=True)]
    ready = windows_scene(scene, rollouts, lived, pdm)
    scorer = PdmScorer(ready, pdm)
    states = np.concatenate([r.ego[own[:, None] + np.arange(T)] for r, own in zip(rollouts, lived, strict=True)])
    B, block = len(states), np.arange(len(states), dtype=np.int64)
    # Who sets the pace is one more proposal in each window.
    other, known = _pace(scene, rollouts, lived, config)
    raw = scorer.raw(np.concatenate([states, other]), np.concatenate([block, known]))
    reference = np.zeros(B)
    reference[known] = raw.progress_m[B:] * raw.product[B:]
    table = raw.first(B)
    if pdm.second:
        before = history_comfort(scene, rollouts, lived, states[:B], pdm)
        table = replace(table, comfort=before, ec=plan_comfort(scene, rollouts, lived, pdm))
    return whole, (finished(replace(table, ep=progress_share(table, pdm, reference)), pdm), reference)


def _pace(scene: Scene, rollouts: list[Rollout], starts: list[Ints], config: DriveScoreConfig) -> tuple[Floats, Ints]:
    """States [Q, T, 11] of those whose progress is the reference, and the window of each, int64 [Q]."""
    T, first = config.pdm.steps + 1, np.concatenate(starts)
    if config.reference == "human":
        at = scene.now + first[:, None] + np.arange(T)
        known = np.flatnonzero(scene.ego_valid[at].all(axis=1))
        return scene.ego[at[known]], known
    if config.reference == "pdm_closed" and scene.route is not None:
        from drive.scores.closed_loop_reference import pdm_closed_states  # it plans, which scoring need not

        return pdm_closed_states(scene, rollouts, starts, config.pdm), np.arange(len(first))
    return np.zeros((0, T, 11)), np.zeros(0, np.int64)


def windows_scene(scene: Scene, rollouts: Sequence[Rollout], starts: Sequence[Ints], config: PdmConfig) -> PdmScene:
    """The windows of drives in one scene as that many starts: traffic as it moved in each drive, and nobody after its
    end. starts: first steps of each drive's windows. ValueError: a drive with other actors than the scene."""
    places = np.concatenate([scene.ego[scene.ego_valid, :2], *(r.ego[:, :2] for r in rollouts)])
    reach = float(np.hypot(scene.vehicle.length, scene.vehicle.width)) + config.road_tolerance_m + 1.0
    within = np.concatenate([places.min(axis=0) - reach, places.max(axis=0) + reach])
    # Of the start only the map and the route are taken.
    without = replace(config, steps=3, traffic_beyond=False)
    base = pdm_scene(scene, without, pdm_map=PdmMap.of(scene.map, within))
    boxes, valid, speed = [], [], []
    ahead = np.arange(config.traffic_steps)
    for rollout, own in zip(rollouts, starts, strict=True):
        actors = rollout.actors
        if actors.token != scene.actors.token:
            raise ValueError(f"{rollout.scene}: the drive of {rollout.planner} has other actors than its scene")
        last = len(rollout.ego) - 1
        at = own[:, None] + ahead
        inside, at = at <= last, np.minimum(at, last)
        boxes.append(actors.box.transpose(1, 0, 2)[at])
        valid.append(actors.valid.T[at] & inside[..., None])
        speed.append(np.hypot(*actors.velocity.T)[at])
    first = np.concatenate(list(starts))
    light, polygon = light_polygons(scene, base.map, base.on_route)
    shown = np.minimum(scene.now + first[:, None] + ahead, len(scene.timestamps_ns) - 1)
    return replace(
        base,
        boxes=np.concatenate(boxes),
        valid=np.concatenate(valid),
        speed=np.concatenate(speed),
        is_thing=scene.actors.kind == STATIC,
        red=scene.lights.state[shown][:, :, light] == RED,
        red_polygon=polygon,
        ground_z=scene.ego_z[scene.now + first],
        history=None,
    )
