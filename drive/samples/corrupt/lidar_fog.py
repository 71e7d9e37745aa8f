"""Fog in a lidar sweep: returns grow weak with the way through the fog, or the fog itself answers first.

The optical model is that of Hahner et al., "Fog Simulation on Real LiDAR Point Clouds for 3D Object Detection in
Adverse Weather" (ICCV 2021), with MultiCorrupt's coefficients. Two things differ from MultiCorrupt's converter: the
distance from which the noise of a fog return is drawn is kept above 1 m (there it may become zero or negative for
returns nearer than 10 m), and intensities end at 1, the largest that our samples have.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from drive.samples.corrupt.scan import Scan, Severity

ATTENUATION = (0.02, 0.03, 0.06)  # alpha, 1/m
BACKSCATTER = (0.008, 0.008, 0.05)  # beta, 1/(m sr)
NOISE_M = 10.0

_PULSE_S = 2e-8  # half-power width of the pulse
_LIGHT_MPS = 299792458.0
_BLIND_M, _SEEN_M = 0.9, 1.0  # the receiver's field covers the beam from the first distance on, wholly from the second
_TARGET = 1e-6 / np.pi  # differential reflectivity of a hard target
_STEP_M, _FAR_M = 0.1, 200.0
_TOP = 255.0  # intensities are rounded to whole numbers of the recorded scale, 0..255


def add_fog(scan: Scan, severity: Severity, rng: np.random.Generator) -> Scan:
    """Attenuate every return and, where the fog in front of it answers more strongly, put the return into the fog.

    No return is lost; those that the fog took scatter about 4.7 m around the sensor.
    """
    alpha, beta = ATTENUATION[severity - 1], BACKSCATTER[severity - 1]
    distance = scan.distance_m()
    recorded = scan.intensity.astype(np.float64) * _TOP
    hard = np.round(np.exp(-2 * alpha * distance) * recorded)
    place, answer = fog_response(alpha)
    row = np.minimum(np.rint(distance / _STEP_M).astype(np.int64), len(place) - 1)
    soft = answer[row] * recorded * distance**2 * beta / _TARGET
    fog = soft > hard
    drawn = np.maximum(distance + NOISE_M * rng.uniform(-1, 1, size=len(scan)), 1.0)
    factor = np.where(fog, place[row] / drawn, 1.0)
    return replace(
        scan,
        xyz=(scan.xyz * factor[:, None]).astype(np.float32),
        intensity=(np.clip(np.where(fog, soft, hard), 0, _TOP) / _TOP).astype(np.float32),
    )


@lru_cache(maxsize=8)
def fog_response(alpha: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Where fog in front of a target answers most, and how strongly, for targets at 0, 0.1 ... 200 m.

    Returns:
        distance float64 [2001] in m (0 where nothing answers), and the integral over the pulse of
        sin^2 * exp(-2 alpha r) * overlap(r) / r^2, float64 [2001], s/m^2.
    """
    steps = round(_FAR_M / _STEP_M) + 1
    reach = np.arange(steps) * _STEP_M
    time = np.linspace(0, 2 * _PULSE_S, 2001)
    pulse = np.sin(np.pi * time / (2 * _PULSE_S)) ** 2
    answer = np.zeros(steps)
    near = reach <= 20.0  # beyond, the answer falls like 1/r^2: the largest lies before
    for i in np.flatnonzero(near):
        way = reach[i] - _LIGHT_MPS * time / 2
        seen = np.clip((way - _BLIND_M) / (_SEEN_M - _BLIND_M), 0, 1)
        way = np.maximum(way, _BLIND_M)
        answer[i] = np.trapezoid(pulse * np.exp(-2 * alpha * way) * seen / way**2, time)
    before = np.concatenate([[0.0], answer[:-1]])  # strictly in front of the target
    best = np.maximum.accumulate(before)
    first = np.maximum.accumulate(np.where((before == best) & (best > 0), np.arange(steps) - 1, 0))
    return np.where(best > 0, reach[first], 0.0), best
