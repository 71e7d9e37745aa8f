"""S-MOTA and MOTPS: tracking scores in which speed and acceleration count (STT, Jing et al., ICRA 2024).

The paper's thresholds and formulas are not public: what is here is a definition of our own after its idea, so these
numbers must never be compared with the paper's. Its thresholds are fields of ``StateConfig``, and every number carries
its own in its name.

* Pairs are those of Waymo's mapping (``match_tracks``) at each score cutoff, at one least 3D IoU for all classes.
* A pair counts for S-MOTA only where velocity and acceleration are right: each is looked at where the label has it, and
  right where the length of its error is at most the threshold. A pair that is not right counts as one miss and one
  false positive; its identity is followed as before. S-MOTA = 1 - (misses + false positives + mismatches) / objects,
  the best over the cutoffs, never below 0 (so is Waymo's MOTA).
* A track without a velocity where the label has one is wrong. A tracker that gives no acceleration is taken at 0, which
  is what its model of constant velocity says; ``acceleration_given`` says how many pairs had one.
* MOTPS is the mean error of velocity (and of acceleration) over all pairs at the cutoff where plain MOTA is best, also
  by the labelled speed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from drive.scores.tracking_truth import Sides, State
from drive.scores.waymo_boxes import WaymoBoxes
from drive.scores.waymo_config import VEHICLE, WaymoConfig
from drive.scores.waymo_tracking import WaymoMatches, WaymoTracks, match_tracks

_OFF = math.inf


@dataclass(frozen=True)
class StateConfig:
    """min_iou: least 3D IoU of a pair. velocity_mps, acceleration_mps2: thresholds; every velocity is scored alone and
    with every acceleration. speed_mps: limits of the bands of labelled speed (Waymo's). cutoffs: how many score cutoffs
    where scores leave 0..1 (else Waymo's 0, 0.01, ... 1). All but Waymo's bands are our choice."""

    min_iou: float = 0.25
    velocity_mps: tuple[float, ...] = (0.5, 1.0, 2.0)
    acceleration_mps2: tuple[float, ...] = (1.0, 2.0)
    speed_mps: tuple[float, ...] = (0.2, 1.0, 3.0, 10.0)
    cutoffs: int = 100


@dataclass(frozen=True)
class StateScore:
    """One class. smota: {(velocity threshold, acceleration threshold or inf): S-MOTA}, NaN without objects.

    mota: of the same pairs. velocity_error, acceleration_error: means at the cutoff, over ``pairs`` of both kinds
    (NaN without any); velocity_given, acceleration_given: shares of those pairs with the tracker's own estimate.
    bands: [(low, high, pairs, mean velocity error)] by labelled speed.
    """

    config: StateConfig
    smota: dict[tuple[float, float], float]
    mota: float
    cutoff: float
    objects: int
    velocity_pairs: int
    velocity_error: float
    velocity_given: float
    acceleration_pairs: int
    acceleration_error: float
    acceleration_given: float
    bands: list[tuple[float, float, int, float]] = field(default_factory=list)

    def flat(self) -> dict[str, float | int]:
        """Every number with its thresholds in its name."""
        out: dict[str, float | int] = {"mota": self.mota, "cutoff": self.cutoff, "objects": self.objects}
        for (v, a), value in self.smota.items():
            out[f"smota.v{_plain(v)}" + ("" if a == _OFF else f"_a{_plain(a)}")] = value
        for name in ("velocity", "acceleration"):
            out[f"motps.{name}"] = getattr(self, f"{name}_error")
            out[f"motps.{name}_pairs"] = getattr(self, f"{name}_pairs")
            out[f"motps.{name}_given"] = getattr(self, f"{name}_given")
        for low, high, count, error in self.bands:
            name = f"motps.velocity.speed{_plain(low)}to{_plain(high)}"
            out |= {name: error, f"{name}_pairs": count}
        return out


def _plain(number: float) -> str:
    """A number without a dot: 0.5 -> 05, 2.0 -> 2."""
    return f"{number:g}".replace(".", "")


def evaluate_state(sides: Sides, name: str, config: StateConfig | None = None) -> StateScore:
    """S-MOTA and MOTPS of one class. ValueError where the logs have no ego poses: velocities are relative there."""
    config = config or StateConfig()
    if not sides.poses_known:
        raise ValueError("velocities are scored only where the logs have ego poses")
    rows = sides.rows(name)
    truth, tracks = sides.truth.take(rows[0]), sides.tracks.take(rows[1])
    score = tracks.boxes.score
    inside = not len(score) or bool(score.min() >= 0 and score.max() <= 1)
    waymo = WaymoConfig(
        breakdowns=(("OBJECT_TYPE", (2,)),),
        iou_thresholds=(0.0, *(config.min_iou,) * 4),
        **({} if inside else {"score_cutoffs": _quantiles(score, config.cutoffs)}),  # type: ignore[arg-type]
    )
    sequence = sides.frames.log
    both = []
    for side in (truth, tracks):
        b, kind = side.boxes, np.full(len(side), VEHICLE)
        local = _near_origin(b.boxes, b.frame, sides.frames.frames.ego_xy)
        boxes = (
            WaymoBoxes.labels(b.frame, local, kind, np.full(len(side), 2))
            if side is truth
            else WaymoBoxes.predictions(b.frame, local, kind, score)
        )
        both.append(WaymoTracks(boxes, sequence[b.frame], side.track))
    matches = match_tracks(both[0], both[1], waymo)
    return _score(matches, sides.truth_state.take(rows[0]), sides.track_state.take(rows[1]), config)


def _near_origin(boxes: np.ndarray, frame: np.ndarray, ego_xy: np.ndarray) -> np.ndarray:
    """Boxes [N, 7] about the ego's place (axes kept), so that float32 holds them."""
    local = boxes[:, :7].copy()
    local[:, :2] -= ego_xy[frame]
    return local


def _quantiles(score: np.ndarray, count: int) -> tuple[float, ...]:
    return tuple(np.unique(np.quantile(score, np.linspace(0, 1, count)).astype(np.float32)).tolist())


def _score(matches: WaymoMatches, truth: State, tracks: State, config: StateConfig) -> StateScore:
    objects = int(matches.objects[0, 0])
    plain = matches.miss[0] + matches.false[0] + matches.mismatch[0]
    cutoff, prediction = np.nonzero(matches.label >= 0)
    label = matches.label[cutoff, prediction]
    v_error = np.linalg.norm(tracks.velocity[prediction] - truth.velocity[label], axis=1)
    v_error[~tracks.velocity_valid[prediction]] = np.inf
    given = tracks.acceleration_valid[prediction]
    estimate = np.where(given[:, None], tracks.acceleration[prediction], 0.0)
    a_error = np.linalg.norm(estimate - truth.acceleration[label], axis=1)
    v_known, a_known = truth.velocity_valid[label], truth.acceleration_valid[label]

    smota = {}
    for v in config.velocity_mps:
        for a in (_OFF, *config.acceleration_mps2):
            wrong = (v_known & (v_error > v)) | (a_known & (a_error > a))
            errors = plain + 2 * np.bincount(cutoff[wrong], minlength=len(plain))
            smota[v, a] = max(0.0, float(1 - errors.min() / objects)) if objects else math.nan
    best = int(plain.argmin()) if len(plain) else 0
    here = cutoff == best
    both = here & v_known & np.isfinite(v_error)
    speed = np.linalg.norm(truth.velocity[label], axis=1)
    limits = (0.0, *config.speed_mps, math.inf)
    bands = []
    for low, high in pairwise(limits):
        inside = both & (speed >= low) & (speed < high)
        bands.append((low, high, int(inside.sum()), _mean(v_error[inside])))
    known = here & a_known
    return StateScore(
        config=config,
        smota=smota,
        mota=max(0.0, float(1 - plain[best] / objects)) if objects else math.nan,
        cutoff=float(matches.cutoffs[best]),
        objects=objects,
        velocity_pairs=int(both.sum()),
        velocity_error=_mean(v_error[both]),
        velocity_given=_mean(np.isfinite(v_error[here & v_known])),
        acceleration_pairs=int(known.sum()),
        acceleration_error=_mean(a_error[known]),
        acceleration_given=_mean(given[known]),
        bands=bands,
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan
