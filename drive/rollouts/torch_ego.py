"""The tracker and the bicycle of many drives as tensors: `drive.dynamics.controller` on any device, in any precision.

The same arithmetic in the same order as the compiled one; see there for sources. Angles rad, metres, seconds.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from drive.dynamics.bicycle import (
    AX,
    HEADING,
    STEERING,
    STEERING_RATE,
    VX,
    YAW_ACCELERATION,
    YAW_RATE,
    BicycleConfig,
    X,
    Y,
    plant,
)
from drive.dynamics.controller import TrackerConfig, gains, speed_matrix
from drive.dynamics.vehicle import Vehicle

GAINS = gains(TrackerConfig(), BicycleConfig().step_s)
PLANT = plant(Vehicle(), BicycleConfig())  # its wheelbase is not used: each drive has its own


def wrap(angle: Tensor) -> Tensor:
    """The same angle in [-pi, pi)."""
    return torch.remainder(angle + np.pi, 2 * np.pi) - np.pi


def plan_profiles(plans: Tensor) -> tuple[Tensor, Tensor]:
    """Speed and curvature [S, K] that plans [S, K + 1, 3] ask for: `Tracker.profiles`."""
    count, step = plans.shape[1] - 1, PLANT.step_s
    matrix = speed_matrix(count, step, TrackerConfig().jerk_penalty)
    moved, heading = plans[:, 1:, :2] - plans[:, :-1, :2], plans[:, :-1, 2]
    along = moved[..., 0] * heading.cos() + moved[..., 1] * heading.sin()
    speed = along @ torch.tensor(matrix, dtype=plans.dtype, device=plans.device).T
    right = step * speed * wrap(plans[:, 1:, 2] - heading)
    weight = step * step * speed * speed
    off = GAINS.curvature_rate_penalty / (step * step)
    excess = torch.full_like(speed[:, 0], GAINS.first_curvature_penalty)
    carried = torch.zeros_like(excess)
    diagonals, values = [], []
    for i in range(count):
        excess = excess + weight[:, i]
        diagonals.append(excess + (off if i < count - 1 else 0.0))
        values.append(right[:, i] + carried)
        carried = off * values[i] / diagonals[i]
        excess = off * excess / diagonals[i]
    values[-1] = values[-1] / diagonals[-1]
    for i in range(count - 2, -1, -1):
        values[i] = (values[i] + off * values[i + 1]) / diagonals[i]
    return speed, torch.stack(values, dim=1)


def step_ego(
    plans: Tensor, speed: Tensor, curvature: Tensor, at: Tensor, ego: Tensor, wheelbase: Tensor
) -> Tensor:  # fmt: skip
    """Egos [S, 11] a step later, each `at` int64 [S] steps into its plan [S, K + 1, 3]: `Tracker.step`."""
    rows, last, step = torch.arange(len(at), device=at.device), speed.shape[1] - 1, PLANT.step_s
    k = at.clamp(0, last)
    ahead = (k + GAINS.lookahead_steps).clamp(max=last)
    now, wanted = ego[:, VX], speed[rows, ahead]
    pose = plans[rows, k]
    acceleration = -GAINS.speed_gain * (now - wanted)
    dx, dy = ego[:, X] - pose[:, 0], ego[:, Y] - pose[:, 1]
    lateral = dy * pose[:, 2].cos() - dx * pose[:, 2].sin()
    heading = wrap(ego[:, HEADING] - pose[:, 2])
    steer = ego[:, STEERING] / wheelbase
    by_heading, by_lateral = torch.zeros_like(now), torch.zeros_like(now)
    for j in range(GAINS.lookahead_steps):
        way = step * (now + j * step * acceleration)
        lateral = lateral + way * heading
        by_lateral = by_lateral + way * by_heading
        heading = heading + way * (steer - curvature[rows, torch.minimum(k + j, ahead)])
        by_heading = by_heading + way * j * step / wheelbase
    pull = by_lateral * GAINS.lateral_weight * lateral + by_heading * GAINS.heading_weight * wrap(heading)
    stiff = by_lateral * by_lateral * GAINS.lateral_weight + by_heading * by_heading * GAINS.heading_weight
    rate = -pull / (stiff + GAINS.steering_rate_weight)
    stops = (now <= GAINS.stop_speed) & (wanted <= GAINS.stop_speed)
    acceleration = torch.where(stops, -GAINS.stop_gain * (now - wanted), acceleration)
    return _advance(ego, acceleration, torch.where(stops, 0.0, rate), wheelbase)


def _advance(ego: Tensor, acceleration: Tensor, steering_rate: Tensor, wheelbase: Tensor) -> Tensor:
    """`drive.dynamics.bicycle.advance`."""
    step = PLANT.step_s
    heading, speed, steering = ego[:, HEADING], ego[:, VX], ego[:, STEERING]
    applied = ego[:, AX] + PLANT.acceleration_share * (acceleration - ego[:, AX])
    rate = PLANT.steering_share * steering_rate
    new_speed = speed + applied * step
    new_steering = (steering + rate * step).clamp(-PLANT.largest_steering, PLANT.largest_steering)
    yaw_rate = new_speed * new_steering.tan() / wheelbase
    out = torch.zeros_like(ego)
    out[:, X] = ego[:, X] + speed * heading.cos() * step
    out[:, Y] = ego[:, Y] + speed * heading.sin() * step
    out[:, HEADING] = wrap(heading + speed * steering.tan() / wheelbase * step)
    out[:, VX], out[:, AX] = new_speed, applied
    out[:, STEERING], out[:, STEERING_RATE], out[:, YAW_RATE] = new_steering, rate, yaw_rate
    out[:, YAW_ACCELERATION] = (yaw_rate - ego[:, YAW_RATE]) / step
    return out
