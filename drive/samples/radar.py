"""Radar returns as points with a velocity, in the key frame's ego frame: rows of `RADAR_POINT_COLUMNS`.

What a radar measures is the speed along its ray. Less what its own motion puts there, the return of anything that
stands still has velocity zero, an oncoming car's points against the ray. Logs keep that compensated velocity in the
radar's own axes: as a vector (nuScenes: vx_comp, vy_comp) or as a speed, positive away from the radar
(View-of-Delft: v_r_compensated). Here it is a vector of the key frame's axes, so that returns of all radars and sweeps
agree. It turns with the axes and nothing is added to it: it is a velocity over ground.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from drive.errors import UserError
from drive.geometry.rigid import invert
from drive.logs.records import Sensor
from drive.logs.store import Frame, Log
from drive.samples.sample import POINT_COLUMNS, RADAR_POINT_COLUMNS, VELOCITY


@dataclass(frozen=True)
class RadarConfig:
    """Which radar returns are points of a sample.

    The states are columns of nuScenes, kept by the devkit's defaults (``RadarPointCloud.default_filters``); a radar
    without such a column is not filtered by it.

    Attributes:
        names: Radars to merge; empty takes every radar of a log.
        sweeps: Sweeps of each radar, the key frame's included; fewer at a log's beginning.
        only: Leave the lidars' points out.
        invalid_states: Kept values of invalid_state; 0 is valid.
        dynprop_states: Kept values of dyn_prop (moving, stationary, oncoming ...); the devkit leaves out 7, stopped.
        ambig_states: Kept values of ambig_state; 3 is an unambiguous Doppler.
        height_m: Height in the ego frame of returns that a radar gives none (z is 0 in its own frame); None leaves them
            in the plane of the radar.
        scan_period_s: Time between scans that a log has joined in one (View-of-Delft's radar_5_scans numbers them, 0
            the newest) [inferred from its 13 Hz].
    """

    names: tuple[str, ...] = ()
    sweeps: int = 1
    only: bool = False
    invalid_states: tuple[int, ...] = (0,)
    dynprop_states: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    ambig_states: tuple[int, ...] = (3,)
    height_m: float | None = None
    scan_period_s: float = 1 / 13

    def __post_init__(self) -> None:
        if self.sweeps < 1:
            raise UserError("data.radars.sweeps", f"{self.sweeps} is no number of sweeps", "set it to 1 or more")

    @property
    def states(self) -> dict[str, tuple[int, ...]]:
        """Kept values by the log's column."""
        return {
            "invalid_state": self.invalid_states, "dyn_prop": self.dynprop_states, "ambig_state": self.ambig_states,
        }  # fmt: skip


def radars_of(log: Log, config: RadarConfig) -> list[Sensor]:
    """The radars of a log that a configuration asks for.

    Raises:
        UserError: The log has none, lacks one, or one of them has no compensated velocities.
    """
    present = {name: sensor for name, sensor in log.sensors.items() if sensor.modality == "radar"}
    missing = [name for name in config.names if name not in present]
    if missing or not present:
        what = f"log {log.name} has no radar {missing or ''}".rstrip()
        mend = f"use some of {list(present)}" if present else "set data.radars to None, or name logs with radars"
        raise UserError("data.radars", what, mend)
    chosen = [present[name] for name in config.names or present]
    for sensor in chosen:
        _velocity_columns(sensor.columns, f"{log.name}, {sensor.name}")
    return chosen


def radar_frames(log: Log, config: RadarConfig) -> npt.NDArray[np.bool_]:
    """bool [F]: the frames of a log with a sweep of one of the radars. Raises UserError as `radars_of` does."""
    names = [sensor.name for sensor in radars_of(log, config)]
    return np.array([any(name in log.frame(f).rows for name in names) for f in range(log.num_frames)], np.bool_)


def radar_points(
    log: Log, frame: Frame, config: RadarConfig, ego_radius_m: float = 1.0, range_m: Sequence[float] | None = None
) -> npt.NDArray[np.float32]:
    """The returns of a frame's radars in its ego frame, key sweeps first of each radar.

    Args:
        ego_radius_m: Returns with |x| and |y| below this in the radar's frame are dropped, as of a lidar.
        range_m: Drop what is outside x0 y0 z0 x1 y1 z1 (half-open) of the ego frame as well.

    Returns:
        float32 [R, 10], see `RADAR_POINT_COLUMNS`. Returns that are not finite are dropped: nuScenes' way to say that
        a radar saw nothing.
    """
    parts = [np.zeros((0, len(RADAR_POINT_COLUMNS)), np.float32)]
    ego_from_global = invert(frame.global_from_ego)
    for sensor in radars_of(log, config):
        if (key := frame.rows.get(sensor.name)) is None:
            continue
        times = log.sweep_timestamps_ns(sensor.name)
        rows = np.arange(key, max(key - config.sweeps, -1), -1)
        matrices = ego_from_global @ log.poses(sensor.name, rows) @ sensor.ego_from_sensor
        for row, matrix in zip(rows.tolist(), matrices, strict=True):
            sweep = log.sweep(sensor.name, row)
            returns, kept = sweep.points, np.ones(len(sweep.points), np.bool_)
            for column, states in config.states.items():
                if column in sweep.extra:
                    kept &= np.isin(sweep.extra[column], states)
            kept &= ~(np.abs(returns[:, :2]) < ego_radius_m).all(axis=1)
            dt = float(frame.timestamp_ns - times[row]) * 1e-9
            parts.append(_carry(returns[kept], sensor.columns, matrix, dt, config))
    out = np.concatenate(parts)
    keep = np.isfinite(out).all(axis=1)
    if range_m is not None:
        low, high = np.array(range_m[:3], np.float32), np.array(range_m[3:], np.float32)
        keep &= ((out[:, :3] >= low) & (out[:, :3] < high)).all(axis=1)
    return out[keep]


def join_radar(lidar: npt.NDArray[np.float32], radar: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Lidar points [P, 6], then radar returns [R, 10]: one cloud float32 [P + R, 10]."""
    out = np.zeros((len(lidar) + len(radar), len(RADAR_POINT_COLUMNS)), np.float32)
    out[: len(lidar), : len(POINT_COLUMNS)] = lidar
    out[len(lidar) :] = radar
    return out


@lru_cache(maxsize=64)
def _velocity_columns(columns: tuple[str, ...], place: str) -> tuple[int, ...]:
    """Positions of the compensated velocity: (x, y) of a vector in the radar's frame, or (radial speed,)."""
    for names in (("vx_comp", "vy_comp"), ("v_r_compensated",)):
        if set(names) <= set(columns):
            return tuple(columns.index(name) for name in names)
    what = f"its returns have no velocity less the ego's own motion (columns {', '.join(columns)})"
    raise UserError(place, what, "leave this radar out by data.radars.names")


def _carry(
    returns: npt.NDArray[np.float32], columns: tuple[str, ...], matrix: np.ndarray, dt: float, config: RadarConfig
) -> npt.NDArray[np.float32]:
    """Returns [R, C] of one sweep as rows of RADAR_POINT_COLUMNS; `matrix` is key ego from sensor."""
    own = returns[:, :3].astype(np.float64)
    velocity = np.zeros((len(own), 3))
    at = _velocity_columns(columns, "radar")
    if len(at) == 2:
        velocity[:, :2] = returns[:, at]
    else:
        reach = np.linalg.norm(own, axis=1, keepdims=True)
        velocity[:] = returns[:, at] * own / np.maximum(reach, 1e-6)
    out = np.zeros((len(own), len(RADAR_POINT_COLUMNS)), np.float32)
    out[:, :3] = own @ matrix[:3, :3].T + matrix[:3, 3]
    if config.height_m is not None:
        out[own[:, 2] == 0.0, 2] = config.height_m
    out[:, 5] = dt
    if "time" in columns:
        out[:, 5] -= returns[:, columns.index("time")] * config.scan_period_s
    out[:, VELOCITY] = (velocity @ matrix[:3, :3].T)[:, :2]
    if "rcs" in columns:
        out[:, 8] = returns[:, columns.index("rcs")]
    out[:, 9] = 1.0
    return out
