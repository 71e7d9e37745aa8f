"""The intelligent driver model, vectorised over vehicles.

Source: M. Treiber, A. Hennecke, D. Helbing, "Congested traffic states in empirical observations and microscopic
simulations", Physical Review E 62 (2000) 1805, equations 2 and 3 (delta = 4, no s1 term).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class IdmParameters:
    """What one kind of driver is like; the defaults are a car in a town.

    `headway_s` is T, `standstill_gap_m` s0, `acceleration_mps2` a, `comfortable_braking_mps2` b, `exponent` delta and
    `hardest_braking_mps2` the physical limit that the model's answer is clipped to.
    """

    headway_s: float = 1.2
    standstill_gap_m: float = 2.0
    acceleration_mps2: float = 1.5
    comfortable_braking_mps2: float = 2.0
    exponent: float = 4.0
    hardest_braking_mps2: float = 8.0


def idm_acceleration(
    speed_mps: Floats, desired_speed_mps: Floats, gap_m: Floats, leader_speed_mps: Floats, parameters: IdmParameters
) -> Floats:
    """Acceleration [N] in m/s^2 of N vehicles, each behind its own leader.

    `gap_m` is bumper to bumper; a vehicle without a leader has the gap infinity. A standing line or light is a leader
    with speed 0. A gap of zero or less asks for the hardest braking.
    """
    speed = np.asarray(speed_mps, dtype=np.float64)
    gap = np.maximum(np.asarray(gap_m, dtype=np.float64), 1e-3)
    desired = np.maximum(np.asarray(desired_speed_mps, dtype=np.float64), 1e-3)
    a, b = parameters.acceleration_mps2, parameters.comfortable_braking_mps2
    approach = speed - np.asarray(leader_speed_mps, dtype=np.float64)
    wanted_gap = parameters.standstill_gap_m + np.maximum(
        0.0, speed * parameters.headway_s + speed * approach / (2.0 * np.sqrt(a * b))
    )
    answer = a * (1.0 - (speed / desired) ** parameters.exponent - (wanted_gap / gap) ** 2)
    return np.clip(answer, -parameters.hardest_braking_mps2, a)


def advance(position_m: Floats, speed_mps: Floats, acceleration_mps2: Floats, step_s: float) -> tuple[Floats, Floats]:
    """Position and speed [N] after `step_s` under constant acceleration; a vehicle stops and never reverses.

    The ballistic update of Treiber and Kanagaraj (2015): the distance is exact for constant acceleration, and a speed
    that would turn negative inside the step ends at the point where it became zero.
    """
    speed_end = speed_mps + acceleration_mps2 * step_s
    stops = speed_end < 0.0
    braking = np.where(stops, np.maximum(-acceleration_mps2, 1e-9), 1.0)
    distance = np.where(stops, speed_mps**2 / (2.0 * braking), 0.5 * (speed_mps + speed_end) * step_s)
    return position_m + distance, np.maximum(speed_end, 0.0)
