"""The kinematic bicycle with lagging controls: the plant of the closed loop and of the PDM score.

Source: nuplan-devkit ``KinematicBicycleModel`` and NAVSIM ``BatchKinematicBicycleModel``: the first-order lags, forward
Euler with the old speed, heading and steering, and the order of the updates are theirs, so that states agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from drive.dynamics.vehicle import Vehicle

Floats = npt.NDArray[np.float64]

EGO_COLUMNS = ("x", "y", "heading", "vx", "vy", "ax", "ay", "steering", "steering_rate", "yaw_rate", "yaw_acceleration")
"""Of a state [..., 11]: the rear axle in the scene's frame (m, rad); velocity and acceleration in the vehicle's axes
(m/s, m/s^2); steering angle of the front wheels (rad, rad/s); yaw rate and acceleration (rad/s, rad/s^2)."""
X, Y, HEADING, VX, VY, AX, AY, STEERING, STEERING_RATE, YAW_RATE, YAW_ACCELERATION = range(11)


@dataclass(frozen=True)
class BicycleConfig:
    """Lags of the actuators and the steering's stop."""

    step_s: float = 0.1
    acceleration_lag_s: float = 0.2
    steering_lag_s: float = 0.05
    largest_steering_rad: float = np.pi / 3


class Plant(NamedTuple):
    """A `BicycleConfig` and a wheelbase as the numbers that the kernel takes."""

    step_s: float
    acceleration_share: float
    steering_share: float
    largest_steering: float
    wheelbase: float


def plant(vehicle: Vehicle, config: BicycleConfig) -> Plant:
    """The kernel's numbers. ValueError: a step that is not positive, a negative lag."""
    step = config.step_s
    if not (step > 0 and config.acceleration_lag_s >= 0 and config.steering_lag_s >= 0):
        raise ValueError(f"the step must be positive and the lags at least 0: {config}")
    return Plant(
        step_s=float(step),
        acceleration_share=step / (step + config.acceleration_lag_s),
        steering_share=step / (step + config.steering_lag_s),
        largest_steering=float(config.largest_steering_rad),
        wheelbase=float(vehicle.wheelbase),
    )


@njit(cache=True, nogil=True)
def wrap(angle):  # type: ignore[no-untyped-def]
    """The same angle in [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


@njit(cache=True, nogil=True)
def advance_one(state, acceleration, steering_rate, plant, out):  # type: ignore[no-untyped-def]
    """One step of one vehicle: state [11] -> out [11] under the commanded acceleration and steering rate.

    `out` may be `state` itself. The speed is not clamped: under a braking command it becomes negative.
    """
    step = plant.step_s
    heading, speed, steering = state[HEADING], state[VX], state[STEERING]
    applied = state[AX] + plant.acceleration_share * (acceleration - state[AX])
    rate = plant.steering_share * steering_rate
    x = state[X] + speed * np.cos(heading) * step
    y = state[Y] + speed * np.sin(heading) * step
    turned = wrap(heading + speed * np.tan(steering) / plant.wheelbase * step)
    new_speed = speed + applied * step
    new_steering = min(max(steering + rate * step, -plant.largest_steering), plant.largest_steering)
    yaw_rate = new_speed * np.tan(new_steering) / plant.wheelbase
    out[YAW_ACCELERATION] = (yaw_rate - state[YAW_RATE]) / step
    out[X], out[Y], out[HEADING] = x, y, turned
    out[VX], out[VY], out[AX], out[AY] = new_speed, 0.0, applied, 0.0
    out[STEERING], out[STEERING_RATE], out[YAW_RATE] = new_steering, rate, yaw_rate


@njit(cache=True, nogil=True)
def _advance(states, accelerations, steering_rates, plant, out):  # type: ignore[no-untyped-def]
    for p in range(states.shape[0]):
        advance_one(states[p], accelerations[p], steering_rates[p], plant, out[p])


def advance(
    states: Floats,
    acceleration_mps2: Floats,
    steering_rate_radps: Floats,
    vehicle: Vehicle,
    config: BicycleConfig | None = None,
) -> Floats:
    """One step of P vehicles: states [P, 11] (EGO_COLUMNS) under commands [P] each -> float64 [P, 11].

    ValueError: shapes that do not fit.
    """
    states = np.ascontiguousarray(states, dtype=np.float64)
    pedal = np.ascontiguousarray(acceleration_mps2, dtype=np.float64)
    wheel = np.ascontiguousarray(steering_rate_radps, dtype=np.float64)
    if states.ndim != 2 or states.shape[1] != 11 or not pedal.shape == wheel.shape == states.shape[:1]:
        raise ValueError(f"states {states.shape} need 11 columns, commands {pedal.shape}, {wheel.shape} one a state")
    out = np.empty_like(states)
    _advance(states, pedal, wheel, plant(vehicle, config or BicycleConfig()), out)
    return out
