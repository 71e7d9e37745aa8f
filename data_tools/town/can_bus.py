"""The CAN bus files of a scene: what the car itself reports."""

from __future__ import annotations

import numpy as np

from data_tools.town.population import Population
from data_tools.town.tables import Row
from drive.geometry.rigid import quaternion_from_yaw


def pose_messages(population: Population, clock_us: int, seconds: float) -> list[Row]:
    """The CAN bus `pose` messages, 50 Hz: position and orientation global, the rest in the ego frame."""
    messages = []
    h = 0.02
    for time in np.arange(0.0, seconds, 0.02):
        (x0, y0, a0), (x, y, yaw), (x1, y1, a1) = (population.ego_pose(time + d) for d in (-h, 0.0, h))
        forward = np.array([np.cos(yaw), np.sin(yaw)])
        speed = float(np.array([x1 - x0, y1 - y0]) @ forward / (2 * h))
        change = float(np.array([x1 - 2 * x + x0, y1 - 2 * y + y0]) @ forward / h**2)
        turn = float(np.arctan2(np.sin(a1 - a0), np.cos(a1 - a0)) / (2 * h))
        messages.append(
            {"utime": clock_us + round(time * 1e6), "pos": [float(x), float(y), 0.0],
             "orientation": quaternion_from_yaw(yaw).tolist(), "vel": [speed, 0.0, 0.0],
             "rotation_rate": [0.0, 0.0, turn], "accel": [change, speed * turn, 9.81]}
        )  # fmt: skip
    return messages


def monitor_messages(population: Population, clock_us: int, seconds: float) -> list[Row]:
    """The CAN bus `vehicle_monitor` messages, 2 Hz: speed in km/h, wheel in degrees at the steering column."""
    messages = []
    for time in np.arange(0.0, seconds, 0.5):
        before, after = (population.ego_pose(time + d) for d in (-0.02, 0.02))
        speed = float(np.hypot(*(after - before)[:2]) / 0.04)
        turn = float(np.arctan2(np.sin(after[2] - before[2]), np.cos(after[2] - before[2])) / 0.04)
        wheel = np.degrees(np.arctan2(2.588 * turn, max(speed, 0.5))) * 15.0
        messages.append(
            {"utime": clock_us + round(time * 1e6), "vehicle_speed": speed * 3.6, "steering": float(wheel),
             "throttle": 0, "brake": 0, "left_signal": 0, "right_signal": 0, "available_distance": 100}
        )  # fmt: skip
    return messages
