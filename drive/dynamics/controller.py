"""Tracking of a planned path in closed form: what a vehicle does that is told to follow it.

Source: the LQR tracker of nuplan-devkit (``LQRTracker``) and NAVSIM (``BatchLQRTracker``). Theirs fit speed and
curvature to the plan by two dense pseudo-inverses a proposal; the same minima are found here by a matrix that does not
depend on the plan (`speed_matrix`) and by a tridiagonal system, and the ten composed steps of the lateral problem by
running sums. States agree to about 1e-9.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from drive.dynamics.bicycle import HEADING, STEERING, VX, BicycleConfig, Plant, X, Y, advance_one, plant, wrap
from drive.dynamics.vehicle import Vehicle

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TrackerConfig:
    """Weights and thresholds; the defaults are those of both benchmarks."""

    speed_weight: float = 10.0
    acceleration_weight: float = 1.0
    lateral_weight: float = 1.0
    heading_weight: float = 10.0
    steering_rate_weight: float = 1.0
    lookahead_steps: int = 10
    jerk_penalty: float = 1e-4
    jerk_is_acceleration: bool = False
    """NAVSIM's batched tracker fills the matrix of differences so that all but the last of them lose their second term:
    it penalises accelerations where nuPlan penalises their changes. True: states equal to NAVSIM's."""
    curvature_rate_penalty: float = 1e-2
    first_curvature_penalty: float = 1e-10
    stop_gain: float = 0.5
    stop_speed_mps: float = 0.2


class Gains(NamedTuple):
    """A `TrackerConfig` as the numbers that the kernels take."""

    speed_gain: float
    lateral_weight: float
    heading_weight: float
    steering_rate_weight: float
    lookahead_steps: int
    curvature_rate_penalty: float
    first_curvature_penalty: float
    stop_gain: float
    stop_speed: float


class Profiles(NamedTuple):
    """What a plan asks for at the start of each of its K steps: speed_mps and curvature_1pm, float64 [P, K]."""

    speed_mps: Floats
    curvature_1pm: Floats


def gains(config: TrackerConfig, step_s: float) -> Gains:
    """The kernels' numbers. ValueError: a look-ahead of less than two steps (steering would have no effect)."""
    if config.lookahead_steps < 2:
        raise ValueError(f"the tracker looks at least 2 steps ahead, not {config.lookahead_steps}")
    reach = config.lookahead_steps * step_s
    return Gains(
        reach * config.speed_weight / (reach * reach * config.speed_weight + config.acceleration_weight),
        float(config.lateral_weight),
        float(config.heading_weight),
        float(config.steering_rate_weight),
        int(config.lookahead_steps),
        float(config.curvature_rate_penalty),
        float(config.first_curvature_penalty),
        float(config.stop_gain),
        float(config.stop_speed_mps),
    )


@lru_cache(maxsize=16)
def speed_matrix(steps: int, step_s: float, jerk_penalty: float, jerk_is_acceleration: bool = False) -> Floats:
    """W float64 [K, K]: speeds = W @ (displacements along the plan's headings).

    The minimum of sum (dt v_i - s_i)^2 + penalty * sum (second differences of v / dt)^2: the headings drop out, because
    the displacement across a heading does not depend on the speed. `jerk_is_acceleration`: of the first differences,
    but for the last. Read-only.
    """
    penalised = np.diff(np.eye(steps), n=2, axis=0) / step_s
    if jerk_is_acceleration:
        penalised[:-1] = np.diff(np.eye(steps), axis=0)[:-2] / step_s
    system = step_s * step_s * np.eye(steps) + jerk_penalty * penalised.T @ penalised
    matrix = np.asarray(np.linalg.solve(system, step_s * np.eye(steps)), dtype=np.float64)
    matrix.flags.writeable = False
    return matrix


@njit(cache=True, nogil=True)
def _profile(plan, matrix, gains, step, along, diagonal, speed, curvature):  # type: ignore[no-untyped-def]
    """Speed [K] and curvature [K] of one plan [K + 1, 3]; along, diagonal [K] are scratch."""
    K = plan.shape[0] - 1
    for i in range(K):
        cos, sin = np.cos(plan[i, 2]), np.sin(plan[i, 2])
        along[i] = (plan[i + 1, 0] - plan[i, 0]) * cos + (plan[i + 1, 1] - plan[i, 1]) * sin
    for i in range(K):
        total = 0.0
        for j in range(K):
            total += matrix[i, j] * along[j]
        speed[i] = total
    # (dt^2 v_i^2 + coupling) k_i - off k_(i-1) - off k_(i+1) = dt v_i turn_i: eliminated downwards, solved upwards.
    # `excess` is the pivot without its coupling to the next row: summed from positive terms only, because at a
    # standstill the pivot itself would be the difference of two numbers that agree in ten digits.
    off = gains.curvature_rate_penalty / (step * step)
    excess, carried = gains.first_curvature_penalty, 0.0
    for i in range(K):
        excess += step * step * speed[i] * speed[i]
        diagonal[i] = excess + (off if i < K - 1 else 0.0)
        curvature[i] = step * speed[i] * wrap(plan[i + 1, 2] - plan[i, 2]) + carried
        carried = off * curvature[i] / diagonal[i]
        excess = off * excess / diagonal[i]
    curvature[K - 1] /= diagonal[K - 1]
    for i in range(K - 2, -1, -1):
        curvature[i] = (curvature[i] + off * curvature[i + 1]) / diagonal[i]


@njit(cache=True, nogil=True)
def command(plan, speed, curvature, k, state, gains, step, wheelbase):  # type: ignore[no-untyped-def]
    """(acceleration, steering rate) that the tracker commands at step k of one plan to a vehicle in `state` [11]."""
    K = speed.shape[0]
    ahead = min(k + gains.lookahead_steps, K - 1)
    now, wanted = state[VX], speed[ahead]
    if now <= gains.stop_speed and wanted <= gains.stop_speed:
        return -gains.stop_gain * (now - wanted), 0.0
    acceleration = -gains.speed_gain * (now - wanted)
    reference = plan[k, 2]
    dx, dy = state[X] - plan[k, 0], state[Y] - plan[k, 1]
    lateral = dy * np.cos(reference) - dx * np.sin(reference)
    heading = wrap(state[HEADING] - reference)
    steer = state[STEERING] / wheelbase
    # by_heading and by_lateral: what a steering rate of one changes within the look-ahead.
    by_heading, by_lateral = 0.0, 0.0
    for j in range(gains.lookahead_steps):
        way = step * (now + j * step * acceleration)
        lateral += way * heading
        by_lateral += way * by_heading
        heading += way * (steer - curvature[min(k + j, ahead)])
        by_heading += way * j * step / wheelbase
    pull = by_lateral * gains.lateral_weight * lateral + by_heading * gains.heading_weight * wrap(heading)
    stiffness = by_lateral * by_lateral * gains.lateral_weight + by_heading * by_heading * gains.heading_weight
    return acceleration, -pull / (stiffness + gains.steering_rate_weight)


@njit(cache=True, nogil=True)
def _track(plans, matrix, gains, plant, states):  # type: ignore[no-untyped-def]
    """states [P, K + 1, 11], whose first rows are given."""
    K = plans.shape[1] - 1
    along, diagonal, speed, curvature = np.empty(K), np.empty(K), np.empty(K), np.empty(K)
    for p in range(plans.shape[0]):
        _profile(plans[p], matrix, gains, plant.step_s, along, diagonal, speed, curvature)
        for k in range(K):
            state = states[p, k]
            a, u = command(plans[p], speed, curvature, k, state, gains, plant.step_s, plant.wheelbase)
            advance_one(state, a, u, plant, states[p, k + 1])


@njit(cache=True, nogil=True)
def _profiles(plans, matrix, gains, step, speed, curvature):  # type: ignore[no-untyped-def]
    along, diagonal = np.empty(speed.shape[1]), np.empty(speed.shape[1])
    for p in range(plans.shape[0]):
        _profile(plans[p], matrix, gains, step, along, diagonal, speed[p], curvature[p])


@njit(cache=True, nogil=True)
def _step(plans, speed, curvature, at, states, gains, plant, out):  # type: ignore[no-untyped-def]
    for p in range(plans.shape[0]):
        k = min(max(at[p], 0), speed.shape[1] - 1)
        a, u = command(plans[p], speed[p], curvature[p], k, states[p], gains, plant.step_s, plant.wheelbase)
        advance_one(states[p], a, u, plant, out[p])


@dataclass(frozen=True)
class Tracker:
    """A vehicle, its plant and its tracker, ready for any number of plans."""

    vehicle: Vehicle = field(default_factory=Vehicle)
    config: TrackerConfig = field(default_factory=TrackerConfig)
    bicycle: BicycleConfig = field(default_factory=BicycleConfig)

    def track(self, plans_xyh: Floats, ego0: Floats) -> Floats:
        """Drive P plans [P, K + 1, 3] (x, y, heading; one scene frame, the plant's step apart, the first row is now)
        from the states ego0 [P, 11] (or [11] for all) -> float64 [P, K + 1, 11], the first row ego0 itself.

        A plan with a NaN gives NaN states. ValueError: fewer than 3 steps, shapes that do not fit.
        """
        plans = _plans(plans_xyh)
        states = np.empty((*plans.shape[:2], 11))
        states[:, 0] = _states(ego0, len(plans))
        _track(plans, self._matrix(plans), *self._numbers(), states)
        return states

    def profiles(self, plans_xyh: Floats) -> Profiles:
        """Speed and curvature [P, K] that plans [P, K + 1, 3] ask for: once a plan, for `step`."""
        plans = _plans(plans_xyh)
        speed, curvature = np.empty((2, len(plans), plans.shape[1] - 1))
        gains, plant = self._numbers()
        _profiles(plans, self._matrix(plans), gains, plant.step_s, speed, curvature)
        return Profiles(speed, curvature)

    def step(self, plans_xyh: Floats, profiles: Profiles, at: npt.NDArray[np.int64], states: Floats) -> Floats:
        """One step of the closed loop: P vehicles in `states` [P, 11], each `at` [P] steps into its own plan
        (beyond its end: at its last step) -> float64 [P, 11]. `track` is this, K times."""
        plans = _plans(plans_xyh)
        at = np.ascontiguousarray(at, dtype=np.int64)
        if profiles.speed_mps.shape != (len(plans), plans.shape[1] - 1) or at.shape != (len(plans),):
            raise ValueError(f"plans {plans.shape}, profiles {profiles.speed_mps.shape} and at {at.shape} do not fit")
        states = _states(states, len(plans))
        out = np.empty_like(states)
        _step(plans, *profiles, at, states, *self._numbers(), out)
        return out

    def _matrix(self, plans: Floats) -> Floats:
        config = self.config
        return speed_matrix(plans.shape[1] - 1, self.bicycle.step_s, config.jerk_penalty, config.jerk_is_acceleration)

    def _numbers(self) -> tuple[Gains, Plant]:
        return gains(self.config, self.bicycle.step_s), plant(self.vehicle, self.bicycle)


def track(plans_xyh: Floats, ego0: Floats, vehicle: Vehicle | None = None) -> Floats:
    """`Tracker.track` with the benchmarks' constants at 10 Hz: plans [P, 41, 3], ego0 [P, 11] -> [P, 41, 11]."""
    return Tracker(vehicle or Vehicle()).track(plans_xyh, ego0)


def reference_poses(
    poses: Floats, times_s: Floats, ego0: Floats, horizon_s: float = 4.0, step_s: float = 0.1
) -> Floats:
    """Plans as a planner gives them, made ready for the tracker.

    poses [P, N, 3] (x, y, heading of the rear axle, in the frame of the rear axle now) at times_s [N] after now
    (increasing, the first above 0), ego0 [P, 11] or [11] in the scene's frame -> float64 [P, K + 1, 3] in the scene's
    frame every `step_s` from now to `horizon_s`: positions linear, headings along the shortest arc and unwrapped.
    ValueError: shapes, times that do not increase, a plan that ends before the horizon.
    """
    poses, times = np.asarray(poses, dtype=np.float64), np.asarray(times_s, dtype=np.float64)
    if poses.ndim != 3 or poses.shape[2] != 3 or times.shape != poses.shape[1:2] or len(times) == 0:
        raise ValueError(f"poses must be [P, N, 3] with times [N], got {poses.shape} and {times.shape}")
    knots = np.concatenate([[0.0], times])
    if not np.all(np.diff(knots) > 0) or times[-1] < horizon_s - 1e-9:
        raise ValueError(f"times must increase from above 0 to at least {horizon_s} s, got {times}")
    now = _states(ego0, len(poses))[:, None, :3]
    grid = np.arange(round(horizon_s / step_s) + 1) * step_s
    after = np.clip(np.searchsorted(knots, grid, side="right") - 1, 0, len(knots) - 2)
    share = ((grid - knots[after]) / np.diff(knots)[after])[:, None]
    cos, sin = np.cos(now[..., 2]), np.sin(now[..., 2])
    placed = np.empty((len(poses), len(knots), 3))
    placed[:, :1] = now
    placed[:, 1:, 0] = now[..., 0] + cos * poses[..., 0] - sin * poses[..., 1]
    placed[:, 1:, 1] = now[..., 1] + sin * poses[..., 0] + cos * poses[..., 1]
    placed[:, 1:, 2] = now[..., 2] + poses[..., 2]
    placed[..., 2] = np.unwrap(placed[..., 2], axis=1)
    return placed[:, after] * (1 - share) + placed[:, after + 1] * share


def _plans(plans: Floats) -> Floats:
    plans = np.ascontiguousarray(plans, dtype=np.float64)
    if plans.ndim != 3 or plans.shape[2] != 3 or plans.shape[1] < 4:
        raise ValueError(f"plans must be [P, K + 1, 3] with at least 3 steps, got {plans.shape}")
    return plans


def _states(states: Floats, count: int) -> Floats:
    states = np.asarray(states, dtype=np.float64)
    if states.shape not in ((11,), (count, 11)):
        raise ValueError(f"states must be [{count}, 11] or [11], got {states.shape}")
    return np.ascontiguousarray(np.broadcast_to(states, (count, 11)))
