"""What else is said of a drive beside its PDM score: nuPlan's closed-loop score, Waymax's metrics, infractions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from drive.rollouts.rollout import Rollout
from drive.samples.scene import HEADING, STEP_S, VX, Scene, X, Y
from drive.scores.nuplan import MULTIPLIERS, WEIGHTED, NuplanConfig, nuplan_score
from drive.scores.pdm_route import along_line
from drive.scores.pdm_scene import PdmMap
from drive.scores.waymax import WaymaxConfig, kinematics, log_divergence
from ops.box_collision.cpu import over_time

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

NUPLAN = ("nuplan", *(f"nuplan_{name}" for name in (*MULTIPLIERS, *WEIGHTED)))
WAYMAX = ("overlap", "offroad", "wrong_way", "off_route", "log_divergence_m", "infeasible", "route_progress")
INFRACTIONS = ("collisions_at_fault", "collisions_not_at_fault", "off_road", "left_route", "red_lights")

LEAST_STEPS = 6
LEAST_WAY_M = 5.0
"""A recorded drive shorter than this is no measure of progress."""


@dataclass(frozen=True)
class DriveMetrics:
    """Figures of D drives.

    Attributes:
        columns: float64 [D] for each of NUPLAN (0..1; 0 of failed drives), WAYMAX and INFRACTIONS (counts).
            overlap, offroad, wrong_way, off_route: 1 where it ever was so, else 0. log_divergence_m: mean distance from
            the recorded place. infeasible: share of the steps. route_progress: way along the route as a share of the
            recorded one's over the whole length of the scene.
        known: bool [D] for each column: whether the scene can tell. What it cannot stands as 0.
    """

    columns: dict[str, Floats]
    known: dict[str, Bools]


def drive_metrics(
    rollouts: Sequence[Rollout],
    scenes: Sequence[Scene | None],
    rooms: Sequence[int],
    maps: Mapping[str, PdmMap] | None = None,
    nuplan: NuplanConfig | None = None,
    waymax: WaymaxConfig | None = None,
) -> DriveMetrics:
    """Figures of drives; scenes[d] is that of rollouts[d], rooms[d] the steps that it had room for.

    maps: those of scenes, by name, where they are at hand. ValueError: lengths.
    """
    D = len(rollouts)
    if len(scenes) != D or len(rooms) != D:
        raise ValueError(f"{D} drives, {len(scenes)} scenes, {len(rooms)} rooms")
    columns = {name: np.zeros(D) for name in (*NUPLAN, *WAYMAX, *INFRACTIONS)}
    known = {name: np.zeros(D, np.bool_) for name in columns}
    ready = dict(maps or {})
    for d, (rollout, scene) in enumerate(zip(rollouts, scenes, strict=True)):
        found: dict[str, float] = infraction_counts(rollout)
        if scene is None or rollout.failed or len(rollout.ego) <= LEAST_STEPS:
            # A failed drive has 0 of everything that is better the more there is of it.
            found |= dict.fromkeys(NUPLAN, 0.0)
        else:
            if scene.name not in ready:
                ready[scene.name] = PdmMap.of(scene.map)
            score = nuplan_score(scene, rollout, nuplan, ready[scene.name], rooms[d])
            found["nuplan"] = score.score
            for name in (*MULTIPLIERS, *WEIGHTED):
                if name not in score.unjudged:
                    found[f"nuplan_{name}"] = getattr(score, name)
            found |= waymax_of_drive(scene, rollout, rooms[d], waymax)
        for name, value in found.items():
            columns[name][d], known[name][d] = value, True
    return DriveMetrics(columns, known)


def infraction_counts(rollout: Rollout) -> dict[str, float]:
    """How often each of INFRACTIONS happened."""
    kinds = [(i.kind, i.at_fault) for i in rollout.infractions]
    names = [kind for kind, _ in kinds]
    return {
        "collisions_at_fault": float(kinds.count(("collision", True))),
        "collisions_not_at_fault": float(kinds.count(("collision", False))),
        "off_road": float(names.count("off_road")),
        "left_route": float(names.count("off_route")),
        "red_lights": float(names.count("red_light")),
    }


def waymax_of_drive(scene: Scene, rollout: Rollout, room: int, config: WaymaxConfig | None = None) -> dict[str, float]:
    """Those of WAYMAX that the scene can tell, of the ego alone.

    Waymax's paths of the ego are here its one route: wrong way is more than 3.5 m, off the route more than 5 m beside
    its centre line. Off-road is any corner beyond the road's edge (areas, where the map has those).
    """
    config = config or WaymaxConfig()
    ego, vehicle, T = rollout.ego, rollout.vehicle, len(rollout.ego)
    middle = _middle(ego, vehicle.centre)
    measures = np.broadcast_to([vehicle.length, vehicle.width], (T, 2))
    boxes = np.concatenate([middle, measures, ego[:, [HEADING]]], axis=1)
    actors = rollout.actors
    others = np.ascontiguousarray(actors.box.transpose(1, 0, 2))
    touched = over_time(boxes[None], others, np.ascontiguousarray(actors.valid.T), threads=1)
    bicycle = kinematics(ego[:, [VX]], ego[:, [HEADING]], np.ones((T, 1), np.bool_), config)
    found = {"overlap": float(touched.any()), "infeasible": float(bicycle.infeasible.mean())}
    now = slice(scene.now, scene.now + T)
    logged = _middle(scene.ego[now], vehicle.centre)
    away, there = log_divergence(middle, np.ones(T, np.bool_), logged, scene.ego_valid[now])
    if there.any():
        found["log_divergence_m"] = float(away[there].mean())
    if rollout.road_known:
        found["offroad"] = float((rollout.off_road_m > 0).any())
    if rollout.route_known and scene.route is not None:
        aside = np.abs(rollout.aside_m)
        found["wrong_way"] = float((aside > config.wrong_way_m).any())
        found["off_route"] = float((aside > config.off_route_m).any())
        ends = scene.ego[[scene.now, scene.now + room]]
        if scene.ego_valid[[scene.now, scene.now + room]].all():
            line = scene.route.centreline, scene.route.arc_length
            start, goal = (along_line(float(e[X]), float(e[Y]), *line) for e in ends)
            if goal - start >= LEAST_WAY_M:
                found["route_progress"] = float((rollout.along_m[-1] - start) / (goal - start))
    return found


def room_of(rollout: Rollout, scene: Scene | None, seconds: float | None) -> int:
    """Steps that a drive's scene has room for: as long as it lasts, `seconds` at most; 0 without a scene."""
    if scene is None:
        return 0
    return int(min(scene.steps_ahead, np.inf if seconds is None else round(seconds / STEP_S)))


def _middle(states: Floats, centre: float) -> Floats:
    """Middles [T, 2] of rear axles' states [T, 11]."""
    ahead = np.stack([np.cos(states[:, HEADING]), np.sin(states[:, HEADING])], axis=1)
    return np.asarray(states[:, [X, Y]] + centre * ahead)
