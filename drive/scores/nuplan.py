"""nuPlan's closed-loop score of a simulated drive.

Source: nuplan-devkit ``planning/metrics`` and the closed-loop configurations of its challenge. Multipliers: no at-fault
collision, drivable area (0.3 m tolerance), making progress, driving direction. Weighted: progress along the expert's
route 5, time to collision 5, speed limit 4, comfort 2. What a scene cannot tell is left out of the weighted mean, whose
weights are renormalised, and named in `unjudged`: such a score is no nuPlan number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from drive.dynamics.bicycle import HEADING, VX, VY, X, Y
from drive.rollouts.rollout import Rollout
from drive.samples.scene import Scene
from drive.scores.nuplan_ttc import least_times
from drive.scores.pdm import PdmScorer
from drive.scores.pdm_areas import LANES, OFF_ROAD
from drive.scores.pdm_comfort import comfort
from drive.scores.pdm_config import PdmConfig
from drive.scores.pdm_contacts import NEVER
from drive.scores.pdm_grid import cell_of, entry_holds
from drive.scores.pdm_rollout import driven_config, driven_scene, expert_progress
from drive.scores.pdm_route import along_line, wrong_way
from drive.scores.pdm_scene import PdmMap

Floats = npt.NDArray[np.float64]

MULTIPLIERS = ("no_collision", "drivable", "making_progress", "direction")
WEIGHTED = ("progress", "ttc", "speed_limit", "comfort")


@dataclass(frozen=True)
class NuplanConfig:
    """Weights and thresholds of the closed-loop score."""

    progress_weight: float = 5.0
    ttc_weight: float = 5.0
    speed_limit_weight: float = 4.0
    comfort_weight: float = 2.0
    spared_things: int = 1
    """So many at-fault collisions with things cost half each; with road users none is spared."""
    road_tolerance_m: float = 0.3
    least_progress: float = 0.2
    least_metres: float = 0.1
    """Progress below this counts as this; an ego that goes back further than this has none."""
    ttc_bound_s: float = 0.95
    ttc_horizon_s: float = 3.0
    ttc_step_s: float = 0.1
    overspeed_mps: float = 2.23
    """So much above the limit on average takes the whole term."""


@dataclass(frozen=True)
class NuplanScore:
    """Of one drive; sub-scores in 0..1.

    Attributes:
        score: product of MULTIPLIERS times the weighted mean of WEIGHTED.
        least_ttc_s: smallest time to collision, inf without one within the horizon.
        progress_m, expert_m: metres along the route. overspeed_mps: mean above the limit where one is known.
        at_fault: numbers of collisions by own fault with vehicles, pedestrians and cyclists, things.
        unjudged: names that this scene cannot tell; multipliers of them are 1, weighted terms left out.
    """

    scene: str
    score: float
    no_collision: float
    drivable: float
    making_progress: float
    direction: float
    progress: float
    ttc: float
    speed_limit: float
    comfort: float
    least_ttc_s: float
    progress_m: float
    expert_m: float
    overspeed_mps: float
    at_fault: tuple[int, int, int]
    unjudged: tuple[str, ...]


def nuplan_score(
    scene: Scene,
    rollout: Rollout,
    config: NuplanConfig | None = None,
    pdm_map: PdmMap | None = None,
    expert_steps: int | None = None,
) -> NuplanScore:
    """The score of a drive through a scene. ValueError: a failed drive or one of less than 6 steps.

    expert_steps: over how many steps the log's driver made the progress that is compared; those of the drive, unless
    given (a drive that ended early has not come as far as one that went on).
    """
    config = config or NuplanConfig()
    base = PdmConfig(version="v2-fixed", road_tolerance_m=config.road_tolerance_m)
    ready = driven_scene(scene, rollout, base, pdm_map)
    steps = len(rollout.ego) - 1
    scorer = PdmScorer(ready, driven_config(base, steps))
    states = np.ascontiguousarray(rollout.ego[None])
    flags = scorer.areas(states)
    unjudged: list[str] = []

    at_fault = _collisions(rollout)
    spared = (0, 0, config.spared_things)
    no_collision = min(max(0.0, 1.0 - n / (s + 1)) for n, s in zip(at_fault, spared, strict=True))
    drivable = 0.0 if (flags & OFF_ROAD).any() else 1.0
    if not ready.map.judges_road and ready.edges is None:
        unjudged.append("drivable")
    furthest, step = np.zeros(1), np.full(1, NEVER)
    direction = making = progress = 1.0
    metres = expert = 0.0
    if ready.line is None:
        unjudged += ["making_progress", "direction", "progress"]
    else:
        centre = ready.vehicle.centre
        if ready.judges_direction:
            window = round(base.direction_window_s / base.step_s)
            wrong_way(states, flags, centre, window, False, base.direction_half_m, furthest, step)
            least_m, most_m = base.direction_half_m, base.direction_zero_m
            direction = 1.0 if furthest[0] < least_m else 0.5 if furthest[0] < most_m else 0.0
        else:
            unjudged.append("direction")
        ends = [
            along_line(s[X] + centre * np.cos(s[HEADING]), s[Y] + centre * np.sin(s[HEADING]), *ready.line[:2])
            for s in (states[0, 0], states[0, -1])
        ]
        metres, expert = float(ends[1] - ends[0]), expert_progress(scene, ready, expert_steps or steps)
        least = config.least_metres
        progress = 0.0 if metres < -least else min(1.0, max(metres, least) / max(expert, least))
        making = 1.0 if progress >= config.least_progress else 0.0
    times = np.empty(steps + 1)
    actors = rollout.actors
    touched = _touched(rollout)
    least_times(
        states[0], flags[0], ready.boxes, np.ascontiguousarray(actors.velocity.transpose(1, 0, 2)), ready.valid,
        touched, scorer.rules, config.ttc_horizon_s, config.ttc_step_s, times,
    )  # fmt: skip
    ttc = 1.0 if times.min() >= config.ttc_bound_s else 0.0
    over, known = _overspeed(scene, states[0], ready.map, ready.on_route)
    if not known:
        unjudged.append("speed_limit")
    speed_limit = max(0.0, 1.0 - over / config.overspeed_mps)
    # nuPlan smooths over the drive alone, as NAVSIM does without a history.
    smooth = driven_config(base, steps)
    easy = float(comfort(states, ready.vehicle.centre, smooth, np.zeros((0, 11)))[0])
    terms = {"progress": progress, "ttc": ttc, "speed_limit": speed_limit, "comfort": easy}
    weights = {name: getattr(config, f"{name}_weight") for name in WEIGHTED if name not in unjudged}
    mean = sum(weights[name] * terms[name] for name in weights) / sum(weights.values())
    if "drivable" in unjudged:
        drivable = 1.0
    return NuplanScore(
        scene=scene.name,
        score=no_collision * drivable * making * direction * mean,
        no_collision=no_collision,
        drivable=drivable,
        making_progress=making,
        direction=direction,
        least_ttc_s=float(times.min()),
        progress_m=metres,
        expert_m=expert,
        overspeed_mps=over,
        at_fault=at_fault,
        unjudged=tuple(unjudged),
        **terms,
    )


def _collisions(rollout: Rollout) -> tuple[int, int, int]:
    """At-fault collisions with vehicles, vulnerable road users, things."""
    kinds = [i.counterpart_kind for i in rollout.infractions if i.kind == "collision" and i.at_fault]
    vulnerable = kinds.count("pedestrian") + kinds.count("cyclist")
    return kinds.count("vehicle"), vulnerable, kinds.count("static")


def _touched(rollout: Rollout) -> npt.NDArray[np.int64]:
    """Instant from which on each actor has been touched, int64 [A]; beyond the drive where never."""
    rows = {token: row for row, token in enumerate(rollout.actors.token)}
    first = np.full(len(rows), len(rollout.ego), np.int64)
    for i in rollout.infractions:
        if i.kind == "collision" and i.counterpart in rows:
            row = rows[str(i.counterpart)]
            first[row] = min(first[row], i.step)
    return first


def _overspeed(scene: Scene, states: Floats, known: PdmMap, on_route: npt.NDArray[np.bool_]) -> tuple[float, bool]:
    """(mean m/s above the limit of the lane that the middle is in, whether a limit was known anywhere)."""
    limit = np.where(scene.map.speed_limit_valid, scene.map.speed_limit_mps, np.inf)
    lane = np.full(len(states), -1, np.int64)
    _lanes(states, scene.vehicle.centre, known.layer, known.lane, on_route, known.grid, lane)
    of_lane = np.append(limit, np.inf)[lane]
    judged = np.isfinite(of_lane)
    if not judged.any():
        return 0.0, False
    speed = np.hypot(states[judged, VX], states[judged, VY])
    return float(np.maximum(speed - of_lane[judged], 0.0).sum() / judged.sum()), True


@njit(cache=True, nogil=True)
def _lanes(states, centre, layers, lanes, on_route, grid, out):  # type: ignore[no-untyped-def]
    """out [T]: the lane whose polygon holds the middle, one of the route if there is one, or -1."""
    for t in range(states.shape[0]):
        x, y = states[t, X] + centre * np.cos(states[t, HEADING]), states[t, Y] + centre * np.sin(states[t, HEADING])
        cell = cell_of(x, y, grid)
        if cell < 0:
            continue
        for e in range(grid.starts[cell], grid.starts[cell + 1]):
            g = grid.polygon[e]
            if layers[g] & LANES and lanes[g] >= 0 and entry_holds(x, y, cell, e, grid):
                if on_route[g]:
                    out[t] = lanes[g]
                    break
                if out[t] < 0:
                    out[t] = lanes[g]
