"""All scores of the drives of some planners in the same scenes: a ranking with intervals, pairs, every drive."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from drive.errors import UserError
from drive.rollouts.rollout import Rollout
from drive.samples.scene import Scene
from drive.scores.closed_loop import DriveScoreConfig, DriveScores, score_drives
from drive.scores.closed_loop_metrics import DriveMetrics, drive_metrics, room_of
from drive.scores.closed_loop_plans import FirstPlans, first_plans
from drive.scores.significance import Paired, SignificanceConfig, interval, paired, units_of

Floats = npt.NDArray[np.float64]

Unit = Literal["scene", "log"]
Seeds = Mapping[str, Sequence[Sequence[Rollout]]]
"""Drives of each planner: seed by seed, in each the same scenes."""


@dataclass(frozen=True)
class ReportConfig:
    """versions: how drives are scored, the first ranks; `unit`: what the bootstrap draws and the tests count."""

    versions: tuple[DriveScoreConfig, ...] = (DriveScoreConfig(),)
    unit: Unit = "log"
    significance: SignificanceConfig = field(default_factory=SignificanceConfig)

    def names(self) -> list[str]:
        """Of the versions: pdms, epdms. ValueError: two of the same name."""
        names = ["epdms" if v.pdm.second else "pdms" for v in self.versions]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"one PDMS and one EPDMS at most, got {[v.label() for v in self.versions]}")
        return names


def score_planners(planners: Seeds, load: Callable[[str], Scene], config: ReportConfig | None = None) -> dict[str, Any]:
    """Everything that ``drive score`` says of drives, as JSON takes it. `load` makes a scene of its name.

    A failed drive counts 0; a scene too short for a window is left out for everybody and listed.

    Raises:
        UserError: planners that drove in different scenes; no scene long enough to be scored.
    """
    config = config or ReportConfig()
    names = config.names()
    flat = [(planner, k, r) for planner, seeds in planners.items() for k, own in enumerate(seeds) for r in own]
    order = _common_scenes(planners)
    driven = {r.scene for *_, r in flat if r.end != "not simulated"}
    scenes = {name: load(name) for name in order if name in driven}
    rollouts = [r for *_, r in flat]
    theirs = [scenes.get(r.scene) if r.end != "not simulated" else None for r in rollouts]
    tables = {n: score_drives(rollouts, theirs, v) for n, v in zip(names, config.versions, strict=True)}
    seconds = config.versions[0].seconds
    metrics = drive_metrics(rollouts, theirs, [room_of(r, s, seconds) for r, s in zip(rollouts, theirs, strict=True)])
    short = np.any([t.left_out for t in tables.values()], axis=0)
    left_out = sorted({r.scene for r, out in zip(rollouts, short, strict=True) if out})
    counted = [name for name in order if name not in left_out]
    if not counted:
        raise UserError(f"{len(order)} scenes", "none is as long as a window of the score", "simulate longer drives")
    place = {(planner, k, r.scene): row for row, (planner, k, r) in enumerate(flat)}
    rows = {p: np.array([[place[p, k, s] for s in counted] for k in range(len(planners[p]))]) for p in planners}
    log_of = {r.scene: r.log for r in rollouts}
    unit = units_of([s if config.unit == "scene" else log_of[s] for s in counted])
    summaries = {
        p: _planner(rows[p], unit, tables, metrics, first_plans(*_drives(rows[p], rollouts, theirs)), config)
        for p in planners
    }
    ranking = sorted(planners, key=lambda p: -summaries[p][names[0]]["mean"])
    return {
        "versions": {n: v.label() for n, v in zip(names, config.versions, strict=True)},
        "significance": asdict(config.significance) | {"unit": config.unit, "units": int(unit.max()) + 1},
        "scenes": len(counted),
        "left_out": left_out,
        "failed": [
            {"planner": p, "seed": k, "scene": r.scene, "why": r.failure} for p, k, r in flat if r.failed
        ],
        "planners": {p: summaries[p] for p in ranking},
        "pairs": _pairs(ranking, rows, unit, tables, metrics, config),
        "drives": [_drive(row, p, k, r, tables, metrics) for row, (p, k, r) in enumerate(flat)],
    }  # fmt: skip


def _common_scenes(planners: Seeds) -> list[str]:
    """Names of the scenes, in order. UserError: a planner or a seed of it lacks one, or has one twice."""
    sets = {(p, k): [r.scene for r in own] for p, seeds in planners.items() for k, own in enumerate(seeds)}
    everywhere = sorted({name for own in sets.values() for name in own})
    for (planner, seed), own in sets.items():
        if sorted(own) != everywhere:
            missing = sorted(set(everywhere) - set(own))
            what = (
                f"lacks {len(missing)} of {len(everywhere)} scenes ({', '.join(missing[:3])})"
                if missing
                else "has a scene twice"
            )
            raise UserError(f"{planner}, seed {seed}", what, "compare planners that were simulated in the same scenes")
    if not everywhere:
        raise UserError("drives", "there are none", "simulate in logs with scenes")
    return everywhere


def _drives(
    rows: npt.NDArray[np.int64], rollouts: Sequence[Rollout], scenes: Sequence[Scene | None]
) -> tuple[list[Rollout], list[Scene | None]]:
    return [rollouts[row] for row in rows.ravel().tolist()], [scenes[row] for row in rows.ravel().tolist()]


def _interval(values: Floats, unit: npt.NDArray[np.int64], config: ReportConfig) -> dict[str, float]:
    return {name: round(v, 6) for name, v in asdict(interval(values, unit, config.significance)).items()}


def _planner(
    rows: npt.NDArray[np.int64],
    unit: npt.NDArray[np.int64],
    tables: Mapping[str, DriveScores],
    metrics: DriveMetrics,
    plans: FirstPlans,
    config: ReportConfig,
) -> dict[str, Any]:
    """rows int64 [K, N]: a planner's drives, seed by seed."""
    found: dict[str, Any] = {"seeds": len(rows), "drives": int(rows.size)}
    for name, table in tables.items():
        seeds = [round(float(v), 6) for v in table.pdms[rows].mean(axis=1)]
        means = {c: round(float(v[rows].mean()), 6) for c, v in table.columns.items()}
        found[name] = _interval(table.pdms[rows], unit, config) | {"of_seeds": seeds, "sub_scores": means}
    found["failed"] = int(next(iter(tables.values())).failed[rows].sum())
    found["nuplan"] = _interval(metrics.columns["nuplan"][rows], unit, config)
    found["metrics"] = {
        name: {"mean": round(float(column[rows][known].mean()), 6), "drives": int(known.sum())}
        for name, column in metrics.columns.items()
        if name != "nuplan" and (known := metrics.known[name][rows]).any()
    }
    found["first_plans"] = _plans(plans)
    return found


def _plans(plans: FirstPlans) -> dict[str, Any]:
    """Open loop: the conventions are `at` (UniAD's) and `mean_up_to` (ST-P3's)."""
    found: dict[str, Any] = {"plans": plans.plans, "shortest_s": plans.shortest_s, "diversity": plans.diversity}
    if plans.open_loop is not None:
        found["open_loop"] = asdict(plans.open_loop)
    if plans.nuplan is not None:
        score = plans.nuplan
        figures = {
            n: round(float(getattr(score, n).mean()), 6) for n in ("score", "ade_m", "fde_m", "ahe_rad", "fhe_rad")
        }
        found["nuplan_open_loop"] = figures | {"horizons_s": list(score.horizons_s), "scenes": len(score.score)}
    return found


def _pairs(
    ranking: Sequence[str],
    rows: Mapping[str, npt.NDArray[np.int64]],
    unit: npt.NDArray[np.int64],
    tables: Mapping[str, DriveScores],
    metrics: DriveMetrics,
    config: ReportConfig,
) -> list[dict[str, Any]]:
    """Every two planners, the one ranked higher first; p_holm is the permutation's p for all pairs of a score."""
    scores = {name: table.pdms for name, table in tables.items()} | {"nuplan": metrics.columns["nuplan"]}
    out = []
    for name, values in scores.items():
        pairs = list(itertools.combinations(ranking, 2))
        found = [paired(values[rows[a]], values[rows[b]], unit, config.significance) for a, b in pairs]
        adjusted = holm([pair.p_permutation for pair in found])
        out += [_pair(a, b, name, one, p) for (a, b), one, p in zip(pairs, found, adjusted, strict=True)]
    return out


def _pair(a: str, b: str, score: str, pair: Paired, p_holm: float) -> dict[str, Any]:
    flat = {"difference": pair.difference.mean, "low": pair.difference.low, "high": pair.difference.high}
    tests = {"p_permutation": pair.p_permutation, "p_wilcoxon": pair.p_wilcoxon, "p_holm": p_holm}
    counts = {"better": pair.better, "worse": pair.worse, "equal": pair.equal}
    return {"a": a, "b": b, "score": score} | {n: round(v, 6) for n, v in (flat | tests).items()} | counts


def holm(p: Sequence[float]) -> list[float]:
    """p values made safe for having asked as many questions (Holm's step-down)."""
    order = np.argsort(np.asarray(p, dtype=np.float64), kind="stable")
    steps = np.asarray(p, dtype=np.float64)[order] * (len(p) - np.arange(len(p)))
    out = np.empty(len(p))
    out[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(v) for v in out]


def _drive(
    row: int, planner: str, seed: int, rollout: Rollout, tables: Mapping[str, DriveScores], metrics: DriveMetrics
) -> dict[str, Any]:
    found: dict[str, Any] = {"planner": planner, "seed": seed, "scene": rollout.scene, "end": rollout.end}
    found["failure"] = rollout.failure
    for name, table in tables.items():
        windows = slice(int(table.offsets[row]), int(table.offsets[row + 1]))
        found[name] = round(float(table.pdms[row]), 6)
        found[f"{name}_sub_scores"] = {c: round(float(v[row]), 6) for c, v in table.columns.items()}
        found[f"{name}_windows"] = [
            {"start_s": round(float(start) * 0.1, 1), "driven": bool(whole), "score": round(float(score), 6)}
            for start, whole, score in zip(
                table.start[windows], table.driven[windows], table.window_pdms[windows], strict=True
            )
        ]
        found[f"{name}_unjudged"] = list(table.unjudged[row])
    values = {n: round(float(c[row]), 6) for n, c in metrics.columns.items() if metrics.known[n][row]}
    return found | {"metrics": values}
