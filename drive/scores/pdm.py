"""PDM score v1.1 (PDMS) and its extension v2 (EPDMS): how safely, legally and well simulated plans drive.

Equal to NAVSIM's scorer sub-score by sub-score (benchmarks/pdm_parity.py), batched over proposals. A score of scenes
that are not NAVSIM's is no benchmark number: say where the scenes come from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from drive.dynamics.controller import reference_poses
from drive.scores.pdm_areas import OFF_ROAD, area_flags, edge_flags
from drive.scores.pdm_comfort import comfort, two_frame_comfort
from drive.scores.pdm_config import PdmConfig
from drive.scores.pdm_contacts import NEVER, Rules, Traffic, collisions, make_traffic, red_lights, times_to_collision
from drive.scores.pdm_route import lane_keeping, progress, wrong_way
from drive.scores.pdm_scene import PdmScene

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

SUB_SCORES = ("nc", "dac", "ddc", "tlc", "ep", "ttc", "lk", "comfort", "ec")
"""No at-fault collision, drivable area, driving direction, traffic lights, ego progress, time to collision, lane
keeping, comfort (with history in v2), two-frame comfort."""

EVENTS = ("collision", "off_road", "wrong_way", "red_light", "ttc", "lane")


@dataclass(frozen=True)
class PdmTable:
    """Scores of P proposals; every array is float64 [P] in 0..1 unless said.

    Attributes:
        label: version and parity, to be stored with every number.
        ec: None where no earlier plan was given, NaN for a proposal without one: the score is then without it.
        tlc, lk: 1 in v1.1, which does not have them.
        product: of the factors. score: PDMS or EPDMS.
        progress_m: float64 [P], metres along the route, at least 0.
        steps: for each of EVENTS the first step int64 [P] at which it happened, or NEVER. Of "wrong_way" and "lane" the
            step at which the score fell; "collision" is at fault.
        collision_with, ttc_with: int64 [P], the object of the first event, or -1.
        failed: bool [P]: the plan or what came of it is not finite; all its scores are 0.
        unjudged: names of sub-scores that this scene cannot tell; they are 1.
    """

    label: str
    nc: Floats
    dac: Floats
    ddc: Floats
    tlc: Floats
    ep: Floats
    ttc: Floats
    lk: Floats
    comfort: Floats
    ec: Floats | None
    product: Floats
    score: Floats
    progress_m: Floats
    steps: dict[str, Ints]
    collision_with: Ints
    ttc_with: Ints
    failed: Bools
    unjudged: tuple[str, ...]

    def column(self, name: str) -> Floats:
        """One of SUB_SCORES. KeyError: there is none, or it was not judged for want of an earlier plan."""
        found = getattr(self, name) if name in SUB_SCORES else None
        if found is None:
            raise KeyError(f"no column {name!r} in {self.label}")
        return np.asarray(found)

    def row(self, p: int, step_s: float = 0.1) -> dict[str, Any]:
        """Proposal p for a report: numbers, the label, the second at which each of EVENTS happened or None."""
        numbers = {name: float(getattr(self, name)[p]) for name in SUB_SCORES if getattr(self, name) is not None}
        times = {f"{e}_s": None if s[p] == NEVER else round(float(s[p]) * step_s, 3) for e, s in self.steps.items()}
        rest = {"score": float(self.score[p]), "progress_m": float(self.progress_m[p]), "failed": bool(self.failed[p])}
        return {"label": self.label, **rest, **numbers, **times, "unjudged": list(self.unjudged)}

    def first(self, count: int) -> PdmTable:
        """The table of the first `count` proposals."""
        columns: dict[str, Any] = {n: c[:count] for n, c in vars(self).items() if isinstance(c, np.ndarray)}
        return replace(self, **columns, steps={event: s[:count] for event, s in self.steps.items()})

    def __len__(self) -> int:
        return len(self.score)


def score_plans(
    scene: PdmScene, poses: Floats, times_s: Floats, ego0: Floats, config: PdmConfig, reference_m: float | None = None
) -> PdmTable:
    """Drive P plans and score the drives: `reference_poses`, `config.tracker`, `score_states`.

    poses [P, N, 3] x, y, heading in the frame of the rear axle now, at times_s [N]; ego0 [11] in the scene's frame.
    ValueError: see there.
    """
    tracker = config.tracker(scene.vehicle)
    plans = reference_poses(poses, times_s, ego0, config.steps * config.step_s, config.step_s)
    return score_states(scene, tracker.track(plans, ego0), config, reference_m=reference_m)


class PdmScorer:
    """One scene and one version, prepared: traffic in rows, thresholds as numbers. For many batches of proposals."""

    def __init__(self, scene: PdmScene, config: PdmConfig) -> None:
        """ValueError: less traffic than the version needs."""
        instants = scene.valid.shape[-2]
        if instants < config.traffic_steps:
            raise ValueError(
                f"{scene.name}: {config.label()} needs {config.traffic_steps} instants of traffic, "
                f"the scene brings {instants}"
            )
        self.scene, self.config = scene, config
        vehicle = scene.vehicle
        self.rules = Rules(
            length=vehicle.length,
            width=vehicle.width,
            centre=vehicle.centre,
            stopped=config.stopped_mps,
            ttc_stopped=config.ttc_stopped_mps,
            cos_ahead=float(np.cos(np.deg2rad(config.ahead_deg))),
            cos_behind=float(np.cos(np.deg2rad(config.behind_deg))),
            step=config.step_s,
        )
        first = config.quirks.first_appearance
        shape = scene.starts, instants, len(scene.is_thing)
        boxes, valid, speed = scene.boxes.reshape(*shape, 5), scene.valid.reshape(shape), scene.speed.reshape(shape)
        self.traffic: Traffic = make_traffic(boxes, valid, speed, scene.is_thing, first)
        lit = scene.starts, scene.red.shape[-2], len(scene.red_polygon)
        self.red = np.ascontiguousarray(scene.red.reshape(lit))
        self.ahead = np.array(sorted(config.ttc_steps), dtype=np.int64)

    def areas(self, states: Floats, block: Ints | None = None) -> npt.NDArray[np.uint8]:
        """Bits of `pdm_areas` uint8 [P, T]; block as `raw`."""
        scene = self.scene
        block = np.zeros(len(states), np.int64) if block is None else block
        flags = np.zeros(states.shape[:2], np.uint8)
        measures = self.rules.length, self.rules.width, self.rules.centre
        tolerance = float(self.config.road_tolerance_m)
        area_flags(states, *measures, scene.map.layer, scene.on_route, tolerance, scene.map.grid, flags)
        if scene.edges is not None:
            heights = np.broadcast_to(np.asarray(scene.ground_z, np.float64), scene.starts)[block]
            edge_flags(states, *measures, scene.edges, heights, tolerance, flags)
        elif not scene.map.judges_road:
            flags &= np.uint8(255 - OFF_ROAD)
        return flags

    def raw(self, states: Floats, block: Ints | None = None) -> PdmTable:
        """Everything but progress as a share and the score itself: `ep`, `score` are 0.

        block: int64 [P], among which start's traffic and lights each proposal drives (the first's, if not given).
        """
        config, scene, rules = self.config, self.scene, self.rules
        states = np.ascontiguousarray(states, dtype=np.float64)
        if states.ndim != 3 or states.shape[1:] != (config.steps + 1, 11):
            raise ValueError(f"states must be [P, {config.steps + 1}, 11], got {states.shape}")
        P = len(states)
        block = np.zeros(P, np.int64) if block is None else np.asarray(block, np.int64)
        if block.shape != (P,) or np.any((block < 0) | (block >= scene.starts)):
            raise ValueError(f"{P} proposals, starts {block} of {scene.starts}")
        failed: Bools = np.logical_not(np.all(np.isfinite(states), axis=(1, 2)))
        flags = self.areas(states, block)
        nc, ttc, metres, furthest = np.ones((4, P))
        hit, off, wrong, red, soon, lane, who, soon_who, light = np.full((9, P), NEVER)
        collisions(states, flags, self.traffic, block, rules, nc, hit, who)
        times_to_collision(states, flags, self.traffic, block, rules, config.ttc_last, self.ahead, ttc, soon, soon_who)
        is_off = (flags & OFF_ROAD) != 0
        off = np.where(is_off.any(axis=1), is_off.argmax(axis=1), NEVER)
        if config.second:
            known = scene.map
            bounds = known.bounds[scene.red_polygon]
            polygons = known.vertices, known.rings, known.polygons
            red_lights(states, block, rules, self.red, scene.red_polygon, bounds, *polygons, red, light)
        unjudged = [] if scene.map.judges_road or scene.edges is not None else ["dac"]
        ddc = np.ones(P)
        if scene.line is None:
            unjudged += ["ddc", "ep", *(["lk"] if config.second else [])]
            metres[:] = 0.0
        else:
            progress(states, rules.centre, scene.line, metres)
            if scene.judges_direction:
                window = int(config.direction_window_s / config.step_s)
                wrong_way(states, flags, rules.centre, window, config.second, config.direction_half_m, furthest, wrong)
                ddc = np.where(furthest < config.direction_half_m, 1.0, 0.5)
                ddc[furthest >= config.direction_zero_m] = 0.0
            else:
                unjudged.append("ddc")
            if config.second:
                needed = int(np.ceil(config.lane_keeping_s / config.step_s))
                lane_keeping(states, flags, rules.centre, scene.line, config.lane_keeping_m, needed, lane)
        # A state that is not finite spoils its own row only.
        safe = np.where(failed[:, None, None], 0.0, states)
        columns = {
            "nc": nc,
            "dac": np.where(off == NEVER, 1.0, 0.0),
            "ddc": ddc,
            "tlc": np.where(red == NEVER, 1.0, 0.0),
            "ttc": ttc,
            "lk": np.where(lane == NEVER, 1.0, 0.0),
            "comfort": comfort(safe, rules.centre, config, scene.history),
            "progress_m": metres,
        }
        columns = {name: np.where(failed, 0.0, column) for name, column in columns.items()}
        product = columns["nc"] * columns["dac"] * columns["tlc"]
        if config.direction_is_factor:
            product = product * columns["ddc"]
        return PdmTable(
            label=config.label(),
            ep=np.zeros(P),
            ec=None,
            product=product,
            score=np.zeros(P),
            steps=dict(zip(EVENTS, (hit, off, wrong, red, soon, lane), strict=True)),
            collision_with=who,
            ttc_with=soon_who,
            failed=failed,
            unjudged=tuple(unjudged),
            **columns,
        )

    def score(self, states: Floats, reference_m: float | None = None, before: Floats | None = None) -> PdmTable:
        """Scores of driven proposals [P, T, 11]; see `score_states`."""
        table = self.raw(states)
        ec = None
        if before is not None and self.config.second:
            ec = np.where(table.failed, 0.0, two_frame_comfort(states, before, 5, self.config))
        return finished(replace(table, ep=progress_share(table, self.config, reference_m), ec=ec), self.config)


def score_states(
    scene: PdmScene,
    states: Floats,
    config: PdmConfig,
    reference_m: float | None = None,
    before: Floats | None = None,
) -> PdmTable:
    """Scores of driven proposals: states float64 [P, T, 11] as `Tracker.track` gives them, T = config.steps + 1.

    reference_m: progress of the reference plan times its own product (the benchmarks': of PDM-Closed); each proposal is
    measured against the larger of it and its own. None: against the best of the proposals given.
    before: states of the plans made 0.5 s earlier, for v2's two-frame comfort. ValueError: shapes, missing traffic.
    """
    return PdmScorer(scene, config).score(states, reference_m, before)


def progress_share(table: PdmTable, config: PdmConfig, reference_m: float | Floats | None = None) -> Floats:
    """EP float64 [P] of a table's `progress_m` and `product`; reference_m may be one number a proposal, [P]."""
    if "ep" in table.unjudged:
        return np.where(table.failed, 0.0, 1.0)
    own = table.progress_m * table.product
    best = np.full(len(own), own.max(initial=0.0)) if reference_m is None else np.maximum(own, reference_m)
    far = best > config.progress_m
    zeroed = not config.second and config.quirks.progress_zeroed
    share = np.clip((own if zeroed else table.progress_m) / np.where(far, best, 1.0), 0.0, 1.0)
    share = np.where(far, share, np.where((table.product == 0.0) & zeroed, 0.0, 1.0))
    return np.where(table.failed, 0.0, share)


def finished(table: PdmTable, config: PdmConfig) -> PdmTable:
    """The table with the score of its columns and its product."""
    if not config.second:
        weighted = (5 * table.ep + 5 * table.ttc + 2 * table.comfort) / 12
    else:
        parts = 5 * table.ep + 5 * table.ttc + 2 * table.lk + 2 * table.comfort
        ec = np.full(len(table), np.nan) if table.ec is None else table.ec
        weighted = np.where(np.isnan(ec), parts / 14, (parts + 2 * np.nan_to_num(ec)) / 16)
    return replace(table, score=table.product * weighted)


def filtered_by_human(table: PdmTable, human: PdmTable, config: PdmConfig) -> PdmTable:
    """v2's human filter: where the human (a table of one) scores 0, the plans' sub-score is 1. For original scenes.

    v2-legacy shows the changed columns but keeps the product and the score of the unchanged ones, as the published
    scorer did before 2025-09-29. The human's history comfort is not evaluated. ValueError: v1.1, or not one human.
    """
    if not config.second or len(human) != 1:
        raise ValueError(f"the human filter belongs to v2 and takes one human, not {config.version} and {len(human)}")
    changed: dict[str, Any] = {
        name: np.where(table.failed, 0.0, 1.0)
        for name in ("nc", "dac", "ddc", "tlc", "ep", "ttc", "lk")
        if human.column(name)[0] == 0.0
    }
    shown = replace(table, **changed)
    if config.version == "v2-legacy":
        return shown
    return finished(replace(shown, product=shown.nc * shown.dac * shown.ddc * shown.tlc), config)
