"""Comfort of simulated drives: smoothed accelerations, jerks and yaw rates within nuPlan's bounds.

A Savitzky-Golay filter with polynomial ends is a fixed matrix for a given length; they are made once (`smoothing`) and
every signal is one product. Equal to ``scipy.signal.savgol_filter(..., mode="interp")``, its half-sample shift for even
windows included.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from drive.dynamics.bicycle import AX, AY, HEADING, VX, YAW_ACCELERATION, YAW_RATE
from drive.scores.pdm_config import ComfortBounds, PdmConfig

Floats = npt.NDArray[np.float64]

SIGNALS = (
    "longitudinal acceleration",
    "lateral acceleration",
    "jerk",
    "longitudinal jerk",
    "yaw acceleration",
    "yaw rate",
)
"""Order of the columns of `within_bounds`."""


@lru_cache(maxsize=64)
def smoothing(length: int, window: int, order: int, derivative: int, step_s: float) -> Floats:
    """S float64 [length, length]: smoothed (or its derivative) = S @ signal. Read-only.

    A polynomial of `order` is fitted to each `window` samples; within half a window of an end that of the first or last
    window is used. A window longer than the signal is cut to it. ValueError: an order not below the window.
    """
    window = min(window, length)
    if not 0 <= derivative <= order < window:
        raise ValueError(f"a derivative {derivative} of a polynomial of order {order} over {window} samples")
    half = window // 2
    matrix = np.zeros((length, length))
    for row in range(length):
        start = min(max(row - (window - 1) // 2, 0), length - window)
        at_end = row < half or row >= length - half
        # Even windows have no middle sample: inside, their polynomial is read half a sample late.
        place = float(row - start) if at_end else (window - 1) / 2
        powers = np.vander(np.arange(window) - place, order + 1, increasing=True)
        matrix[row, start : start + window] = np.linalg.pinv(powers)[derivative]
    matrix *= float(np.prod(np.arange(1, derivative + 1))) / step_s**derivative
    matrix.flags.writeable = False
    return matrix


def _apply(signal: Floats, window: int, order: int, derivative: int, step_s: float) -> Floats:
    """A filtered signal [P, T], rounded to 8 decimals as the published scorer does."""
    filtered = signal @ smoothing(signal.shape[1], window, order, derivative, step_s).T
    return np.asarray(np.round(filtered, 8), dtype=np.float64)


def _unwrapped(heading: Floats) -> Floats:
    turns = np.cumsum(np.round(np.diff(heading, axis=1) / (2 * np.pi)), axis=1)
    return heading - 2 * np.pi * np.concatenate([np.zeros((len(heading), 1)), turns], axis=1)


def _at_middle(states: Floats, centre: float, config: PdmConfig) -> tuple[Floats, Floats]:
    """(longitudinal, lateral) acceleration [P, T] as the version reads it."""
    along, across = states[..., AX], states[..., AY]
    rate, change = states[..., YAW_RATE], states[..., YAW_ACCELERATION]
    if not config.quirks.bent_shift:
        return along - centre * rate**2, states[..., VX] * rate + centre * change
    if config.second:
        return along + centre * rate**2 + centre * change, across
    return along, across


def signals(states: Floats, centre: float, config: PdmConfig) -> tuple[Floats, ...]:
    """The six of SIGNALS, float64 [P, T] each, of states [P, T, 11]; `centre` is the middle ahead of the rear axle."""
    T, dt = states.shape[1], config.step_s
    along, across = _at_middle(states, centre, config)
    magnitude = np.hypot(states[..., AX], states[..., AY]) if config.quirks.bent_shift else np.hypot(along, across)
    # v1.1 fits one parabola to its whole 4 s; to a longer drive that would say nothing.
    wide, long = (8, 15) if config.second or config.steps > 40 else (T, T)
    yaw = 5 if config.quirks.short_yaw_windows else 15
    heading = _unwrapped(states[..., HEADING])
    return (
        _apply(along, wide, 2, 0, dt),
        _apply(across, wide, 2, 0, dt),
        _apply(_apply(magnitude, 8, 2, 0, dt), long, 2, 1, dt),
        _apply(_apply(along, 8, 2, 0, dt), long, 2, 1, dt),
        _apply(heading, yaw, 3, 2, dt),
        _apply(heading, yaw, 2, 1, dt),
    )


def within_bounds(states: Floats, centre: float, config: PdmConfig) -> npt.NDArray[np.bool_]:
    """Which of SIGNALS stay within their bounds: bool [P, 6] of states [P, T, 11], T >= 6. A NaN does not."""
    bounds = config.comfort
    low_high = (
        (bounds.acceleration_low, bounds.acceleration_high),
        (-bounds.lateral_acceleration, bounds.lateral_acceleration),
        (-bounds.jerk, bounds.jerk),
        (-bounds.longitudinal_jerk, bounds.longitudinal_jerk),
        (-bounds.yaw_acceleration, bounds.yaw_acceleration),
        (-bounds.yaw_rate, bounds.yaw_rate),
    )
    found = signals(states, centre, config)
    return np.stack([((s > low) & (s < high)).all(axis=1) for s, (low, high) in zip(found, low_high, strict=True)], 1)


def comfort(states: Floats, centre: float, config: PdmConfig, history: Floats | None = None) -> Floats:
    """C of v1.1, HC of v2: float64 [P] in {0, 1}.

    history: float64 [H, 11] (or [P, H, 11]) of what was driven before, 10 Hz, the last one step before now; v2 smooths
    over both.
    """
    quirks = config.quirks
    if config.second:
        if history is None and quirks.no_history_is_comfortable:
            return np.ones(len(states))
        if history is not None:
            before = history[..., :-1, :] if quirks.history_gap else history
            if quirks.history_without_turning:
                before = before.copy()
                before[..., [YAW_RATE, YAW_ACCELERATION]] = 0.0
            states = np.concatenate([np.broadcast_to(before, (len(states), *before.shape[-2:])), states], axis=1)
    return np.asarray(within_bounds(states, centre, config).all(axis=1), dtype=np.float64)


def two_frame_comfort(now: Floats, before: Floats, shift: int, config: PdmConfig) -> Floats:
    """EC: float64 [P] in {0, 1}. Plans of now and of `shift` steps ago, driven: states [P, T, 11] each; over the time
    that both cover they must ask for nearly the same. ValueError: shapes, a shift that leaves less than 6 steps."""
    if now.shape != before.shape or not 0 < shift <= now.shape[1] - 6:
        raise ValueError(f"plans {now.shape} and {before.shape} {shift} steps apart cannot be compared")
    bounds: ComfortBounds = config.comfort
    limits = (
        bounds.two_frame_acceleration,
        bounds.two_frame_jerk,
        bounds.two_frame_yaw_rate,
        bounds.two_frame_yaw_acceleration,
    )
    pairs = zip(_felt(now[:, :-shift], config), _felt(before[:, shift:], config), limits, strict=True)
    fine = [np.sqrt(np.mean((a - b) ** 2, axis=1)) <= limit for a, b, limit in pairs]
    return np.all(fine, axis=0).astype(np.float64)


def _felt(states: Floats, config: PdmConfig) -> tuple[Floats, Floats, Floats, Floats]:
    """Acceleration, jerk, yaw rate and yaw acceleration [P, T] of the two-frame comparison."""
    dt, yaw = config.step_s, 5 if config.quirks.short_yaw_windows else 15
    acceleration = _apply(np.hypot(states[..., AX], states[..., AY]), 8, 2, 0, dt)
    heading = _unwrapped(states[..., HEADING])
    return (
        acceleration,
        _apply(acceleration, 15, 2, 1, dt),
        _apply(heading, yaw, 2, 1, dt),
        _apply(heading, yaw, 2, 2, dt),
    )
