"""Anchor trajectories: the few paths that a planner refines, by k-means over futures, and how well they cover them.

A future is the ego's own path after an instant, [T, 2] in the ego frame at that instant (rear axle, x forward, y left,
metres). DiffusionDrive has 20 anchors of 8 points at 0.5 s (NAVSIM), and 6 for each of three commands at 6 points
(nuScenes). `coverage` says what a set of anchors leaves out: a planner without an anchor that stands still creeps.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from drive.errors import UserError

Floats = npt.NDArray[np.float64]

# What counts as standing, turning: [inferred]; of the report only.
STANDING_M, TURN_M = 1.0, 3.0


@dataclass(frozen=True)
class AffineRange:
    """Metres to -1..1 and back: value = 2 (metres - low) / span - 1.

    x, y: (low, span) in metres. The defaults are the published ones (spec 1.4): x -1.2..55.7, y -20..26, whose top
    speed over 4 s is 13.9 m/s. heading: (low, span) in radians, used only where a heading is diffused.
    """

    x: tuple[float, float] = (-1.2, 56.9)
    y: tuple[float, float] = (-20.0, 46.0)
    heading: tuple[float, float] = (-2.0, 3.9)

    def __post_init__(self) -> None:
        for name, (_, span) in (("x", self.x), ("y", self.y), ("heading", self.heading)):
            if not span > 0:
                raise ValueError(f"the range of {name} spans {span}: it must be above 0")

    @staticmethod
    def of_futures(futures: Floats, percent: float = 0.1, margin: float = 0.05) -> AffineRange:
        """The range of futures [N, T, 2 or 3] between their `percent` and 100 - `percent` percentiles, widened by
        `margin` of the span to either side.

        y is made symmetric: left and right turns are to be represented alike. Spans are at least 1 m, so that a set
        that only stands still has a range. Raises UserError without futures.
        """
        if len(futures) == 0:
            raise UserError("anchors", "there are no futures to take ranges from", "name logs with drives in them")
        low, high = np.percentile(futures[..., :2].reshape(-1, 2), [percent, 100 - percent], axis=0)
        side = max(abs(low[1]), abs(high[1]), 0.5)
        span = max(high[0] - low[0], 1.0)
        x = float(low[0] - margin * span), float(span * (1 + 2 * margin))
        y = float(-side * (1 + margin)), float(2 * side * (1 + margin))
        if futures.shape[-1] < 3:
            return AffineRange(x, y)
        turn = max(float(np.percentile(np.abs(futures[..., 2]), 100 - percent)), 0.1) * (1 + margin)
        return AffineRange(x, y, (-turn, 2 * turn))

    def rows(self) -> Floats:
        """float64 [3, 2]: (low, span) of x, y, heading."""
        return np.array([self.x, self.y, self.heading])

    def normalise(self, poses: Floats) -> Floats:
        """Poses [..., 2 or 3] as -1..1 (beyond it where they leave the range)."""
        rows = self.rows()[: poses.shape[-1]]
        return 2 * (poses - rows[:, 0]) / rows[:, 1] - 1

    def denormalise(self, values: Floats) -> Floats:
        """The reverse of :meth:`normalise`."""
        rows = self.rows()[: values.shape[-1]]
        return (values + 1) / 2 * rows[:, 1] + rows[:, 0]


def k_means(
    futures: Floats, modes: int, seed: int = 0, restarts: int = 4, iterations: int = 100, sample: int = 50_000
) -> Floats:
    """Anchors float64 [modes, T, 2] of futures [N, T, >= 2] (x, y), sorted by how far they go.

    Lloyd's algorithm from k-means++ starts (Arthur and Vassilvitskii 2007), the best of `restarts`; the same answer for
    the same arguments. More than `sample` futures are drawn from, without repetition. A cluster that empties takes the
    future that its own centre serves worst.

    Raises:
        UserError: fewer different futures than modes, or one that is not finite.
    """
    rows = np.asarray(futures, np.float64)[..., :2]
    rows = rows.reshape(len(rows), 2 * rows.shape[1])
    if not np.isfinite(rows).all():
        raise UserError("anchors", "a future is not finite", "leave out instants whose future is not whole")
    rng = np.random.default_rng(seed)
    if len(rows) > sample:
        rows = rows[np.sort(rng.choice(len(rows), sample, replace=False))]
    different = len(np.unique(rows, axis=0))
    if different < modes:
        what = f"{different} different futures for {modes} anchors"
        raise UserError("anchors", what, "use more logs, or fewer modes")
    best, least = rows[:modes], np.inf
    for _ in range(restarts):
        centres = _spread_out(rows, modes, rng)
        nearest, _ = _nearest(rows, centres)
        for _ in range(iterations):
            counts = np.bincount(nearest, minlength=modes)
            sums = np.stack([np.bincount(nearest, column, modes) for column in rows.T], axis=1)
            centres = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres)
            after, squares = _nearest(rows, centres)
            empty = np.flatnonzero(np.bincount(after, minlength=modes) == 0)
            if empty.size:
                worst = np.argsort(-squares, kind="stable")[: empty.size]
                centres[empty] = rows[worst]
                after, squares = _nearest(rows, centres)
            if np.array_equal(after, nearest):
                break
            nearest = after
        total = float(_nearest(rows, centres)[1].sum())
        if total < least:
            best, least = centres, total
    order = np.argsort(np.linalg.norm(best[:, -2:], axis=1), kind="stable")
    return best[order].reshape(modes, -1, 2)


def _spread_out(rows: Floats, modes: int, rng: np.random.Generator) -> Floats:
    """k-means++: each further start drawn by its squared distance to the nearest start before it."""
    chosen = [int(rng.integers(len(rows)))]
    squares = ((rows - rows[chosen[0]]) ** 2).sum(1)
    while len(chosen) < modes:
        # Rounded up to the last row that has any distance, so that a start is never drawn twice.
        at = np.searchsorted(np.cumsum(squares), rng.random() * squares.sum(), side="right")
        row = int(min(at, np.flatnonzero(squares)[-1]))
        chosen.append(row)
        squares = np.minimum(squares, ((rows - rows[row]) ** 2).sum(1))
    return rows[chosen].copy()


def _nearest(rows: Floats, centres: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    """Each row's nearest centre and squared distance to it."""
    squares = (rows**2).sum(1)[:, None] - 2 * rows @ centres.T + (centres**2).sum(1)
    nearest = squares.argmin(1)
    return nearest, np.maximum(squares[np.arange(len(rows)), nearest], 0.0)


@dataclass(frozen=True)
class Coverage:
    """What anchors cover of futures. Shares are of all futures; errors are mean point-wise distances in metres between
    a future and its nearest anchor. A kind of future that does not occur has error 0 and share 0.

    futures, anchors: how many. mean_error_m, p95_error_m, worst_error_m: over all futures.
    standing_*: futures that end within 1 m; standing_anchors: anchors that do.
    left_*, right_*: futures (anchors) that end more than 3 m to that side.
    unused: anchors that are nearest to no future.
    top_speed_mps: mean speed over the horizon up to which x is representable. saturated_share: futures that leave the
    range in any point (their noisy anchor is clamped); saturated_anchors: anchors that do.
    """

    futures: int
    anchors: int
    mean_error_m: float
    p95_error_m: float
    worst_error_m: float
    standing_share: float
    standing_error_m: float
    standing_anchors: int
    left_share: float
    left_error_m: float
    left_anchors: int
    right_share: float
    right_error_m: float
    right_anchors: int
    unused: int
    top_speed_mps: float
    saturated_share: float
    saturated_anchors: int

    def warnings(self) -> list[str]:
        """What a user should know before training, one line each; empty where all is well."""
        found = []
        for name, what in (("standing", "stand still"), ("left", "turn left"), ("right", "turn right")):
            share, anchors = getattr(self, f"{name}_share"), getattr(self, f"{name}_anchors")
            if share > 0 and anchors == 0:
                found.append(f"{share:.1%} of the futures {what} and no anchor does")
        if self.saturated_share > 0.01:
            found.append(f"{self.saturated_share:.1%} of the futures leave the range (top {self.top_speed_mps:.1f}m/s)")
        if self.unused:
            found.append(f"{self.unused} anchors are nearest to no future")
        return found

    def to_dict(self) -> dict[str, float]:
        """Plain numbers for a report."""
        return asdict(self)

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(self.to_dict(), indent=1, sort_keys=True) + "\n")


def coverage(anchors: Floats, futures: Floats, span: AffineRange, horizon_s: float) -> Coverage:
    """How anchors [K, T, 2] cover futures [N, T, >= 2] that last `horizon_s`. Raises UserError without futures."""
    if len(futures) == 0:
        raise UserError("anchors", "there are no futures to cover", "name logs with drives in them")
    paths = np.asarray(futures, np.float64)[..., :2]
    error, best = nearest_anchor(paths, anchors)

    def kinds(ends: Floats) -> dict[str, npt.NDArray[np.bool_]]:
        standing = np.linalg.norm(ends, axis=1) < STANDING_M
        return {"standing": standing, "left": ends[:, 1] > TURN_M, "right": ends[:, 1] < -TURN_M}

    numbers: dict[str, float] = {}
    of_anchors = kinds(anchors[:, -1])
    for name, mask in kinds(paths[:, -1]).items():
        numbers[f"{name}_share"] = float(mask.mean())
        numbers[f"{name}_error_m"] = float(error[mask].mean()) if mask.any() else 0.0
        numbers[f"{name}_anchors"] = int(of_anchors[name].sum())
    low, wide = span.x
    leaves = [(np.abs(span.normalise(points)) > 1).any(axis=(1, 2)) for points in (paths, anchors)]
    return Coverage(
        futures=len(paths),
        anchors=len(anchors),
        mean_error_m=float(error.mean()),
        p95_error_m=float(np.percentile(error, 95)),
        worst_error_m=float(error.max()),
        unused=len(anchors) - len(np.unique(best)),
        top_speed_mps=(low + wide) / horizon_s,
        saturated_share=float(leaves[0].mean()),
        saturated_anchors=int(leaves[1].sum()),
        **numbers,  # type: ignore[arg-type]
    )


def nearest_anchor(futures: Floats, anchors: Floats) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Mean point-wise distance [N] of futures [N, T, 2] to the nearest of anchors [K, T, 2], and which it is [N]."""
    error = np.full((len(futures), len(anchors)), np.inf)
    for k, anchor in enumerate(anchors):  # a mode at a time: memory stays N x T
        error[:, k] = np.linalg.norm(futures - anchor, axis=-1).mean(-1)
    best = error.argmin(1)
    return error[np.arange(len(futures)), best], best
