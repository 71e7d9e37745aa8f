"""Falling snow in a lidar sweep: flakes take a part of each beam and answer it before the target does.

The physics is that of Hahner et al., "LiDAR Snowfall Simulation for Robust 3D Object Detection" (CVPR 2022), with the
snowfall rates and speeds of MultiCorrupt: in the plane of each beam's turn lie disks (the cuts of spherical flakes,
diameters exponential with Marshall and Gunn's rate), a disk covers a part of the beam, each part answers with a pulse
that falls with the square of the distance, and the sensor reports the highest peak of the sum.

What differs from MultiCorrupt's converter, which reads disks that its authors computed beforehand and the lidar
segmentation of nuScenes:

- the disks are drawn here, from the sweep's own random state, and may overlap (of 10^5 disks a few do);
- a beam is cut into 64 parts of equal angle instead of intervals of any length;
- the noise floor is 0.7 of the weak returns (1st percentile) recorded at like distances, not of labelled ground, and
  takes only returns that a flake has weakened;
- no focal correction of single lasers (a Velodyne's table).
"""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np
import numpy.typing as npt

from drive.samples.corrupt.scan import Scan, Severity

SNOWFALL = ((0.5, 1.2), (2.5, 1.6), (1.5, 0.4))  # mm/h of water, m/s of the flakes' fall
BEAM_RAD = 3e-3  # opening angle
REACH_M = 80.0  # disks lie within
NOISE_FLOOR = 0.7

_SNOW_DENSITY = 0.1  # g/cm^3
_FLAKE_M = 0.003  # typical diameter, for the rate of rain that the snow is worth
_LARGEST_M = 0.02
_FLAKE_INTENSITY = 0.9 * 255  # a flake reflects 90 %
_BLIND_M, _SEEN_M = 0.9, 1.0  # the receiver's field covers the beam from the first distance on, wholly from the second
_PULSE_M = 299792458.0 * 1e-8  # 10 ns
_STEP_M = 0.1
_PARTS = 64
_MOST = 48  # flakes that one beam may hold
_WEAK_PERCENT, _WEAK_BIN_M, _WEAK_COUNT = 1.0, 5.0, 20
_TOP = 255.0


def add_snow(scan: Scan, severity: Severity, rng: np.random.Generator) -> Scan:
    """Returns weakened, put onto a flake, or lost in the noise."""
    if len(scan) == 0:
        return scan
    order = np.argsort(scan.ring, kind="stable")
    azimuth = np.arctan2(scan.xyz[:, 1], scan.xyz[:, 0]).astype(np.float64) % (2 * np.pi)
    distance, intensity = scan.distance_m(), scan.intensity.astype(np.float64) * _TOP
    rings, begins = np.unique(scan.ring[order], return_index=True)
    peak, answer, touched = distance.copy(), intensity.copy(), np.zeros(len(scan), np.bool_)
    for rows in np.split(order, begins[1:]) if len(rings) else []:
        disks = draw_disks(severity, rng)
        widest = float(np.max(disks[:, 2], initial=0.0))
        _shine(disks, widest, azimuth, distance, intensity, rows, peak, answer, touched)
    moved = np.abs(peak - distance) >= 2 * _STEP_M
    factor = np.where(touched & moved, peak / np.maximum(distance, _STEP_M), 1.0)
    lost = touched & ~moved & (answer < noise_floor(distance, intensity))
    lit = np.where(touched, np.floor(np.clip(answer, 0, _TOP)), intensity) / _TOP
    whitened = replace(
        scan, xyz=(scan.xyz * factor[:, None]).astype(np.float32), intensity=lit.astype(np.float32)
    )  # fmt: skip
    return whitened.take(~lost)


def occupancy(severity: Severity) -> float:
    """Share of the air's volume (and of a plane's area) that is snow."""
    rate, speed = SNOWFALL[severity - 1]
    return rate / (3.6e6 * _SNOW_DENSITY * speed)


def flake_rate(severity: Severity) -> float:
    """Rate of the exponential distribution of flake diameters, 1/m (Marshall and Gunn 1958)."""
    rate, speed = SNOWFALL[severity - 1]
    rain = (rate / (487 * _SNOW_DENSITY * _FLAKE_M * speed)) ** 1.5
    return float(25.5 * rain**-0.48 * 100)


def draw_disks(severity: Severity, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Disks of snow in the plane of one beam: float64 [D, 3], azimuth in 0..2 pi (rising), distance m, radius m."""
    scale = 1 / flake_rate(severity)
    wanted = occupancy(severity) * np.pi * REACH_M**2
    # An exponential that ends at the largest flake; of a ball cut at a height uniform over it the mean cut is two
    # thirds of its greatest circle.
    end = _LARGEST_M / scale
    below = -np.expm1(-end)
    mean_square = scale**2 * (2 - np.exp(-end) * (end**2 + 2 * end + 2)) / below
    count = int(rng.poisson(wanted / (np.pi / 4 * mean_square * 2 / 3)))
    diameter = -scale * np.log1p(-rng.random(count) * below)
    height = rng.uniform(-0.5, 0.5, count) * diameter
    radius = np.sqrt((diameter / 2) ** 2 - height**2)
    place = REACH_M * np.sqrt(rng.random(count))
    turn = rng.uniform(0, 2 * np.pi, count)
    keep = place > _BLIND_M + radius  # nearer ones are out of the receiver's sight
    disks = np.stack([turn, place, radius], axis=1)[keep]
    return disks[np.argsort(disks[:, 0])]


def noise_floor(distance_m: np.ndarray, intensity: np.ndarray) -> npt.NDArray[np.float64]:
    """Intensity (0..255) below which a return at each distance is lost: 0.7 of the weakest recorded thereabouts."""
    bins = (distance_m / _WEAK_BIN_M).astype(np.int64)
    centres, floors = [], []
    for b in np.unique(bins):
        there = intensity[bins == b]
        if len(there) >= _WEAK_COUNT:
            centres.append((b + 0.5) * _WEAK_BIN_M)
            floors.append(NOISE_FLOOR * np.percentile(there, _WEAK_PERCENT))
    return np.interp(distance_m, centres, floors) if centres else np.zeros(len(distance_m))


@numba.njit(cache=True, nogil=True)
def _shine(disks, widest, azimuth, distance, intensity, rows, peak, answer, touched):  # type: ignore[no-untyped-def]
    """Write peak, answer and touched of the beams `rows`, all in the plane of `disks` (rising azimuth)."""
    two_pi = 2 * np.pi
    count = len(disks)
    cells = int(distance.max() / _STEP_M) + int(_PULSE_M / _STEP_M) + 3 if len(distance) else 0
    power = np.zeros(cells)
    hit, ahead = np.empty(_MOST, np.int64), np.empty(_MOST)
    # A disk's half angle is asin(radius / distance); none is nearer than the blind distance.
    window = BEAM_RAD / 2 + np.arcsin(min(widest / _BLIND_M, 1.0))
    for row in rows:
        if count == 0 or distance[row] <= _BLIND_M:
            continue
        centre = azimuth[row]
        begin = np.searchsorted(disks[:, 0], (centre - window) % two_pi)
        found = 0
        for step in range(count):
            d = (begin + step) % count
            offset = (disks[d, 0] - centre + np.pi) % two_pi - np.pi
            if offset > window or offset < -window:
                break
            half = np.arcsin(disks[d, 2] / disks[d, 1])
            if disks[d, 1] < distance[row] and abs(offset) < half + BEAM_RAD / 2 and found < _MOST:
                # Kept by rising distance.
                place = found
                while place > 0 and ahead[place - 1] > disks[d, 1]:
                    hit[place], ahead[place] = hit[place - 1], ahead[place - 1]
                    place -= 1
                hit[place], ahead[place] = d, disks[d, 1]
                found += 1
        if found == 0:
            continue
        free = np.ones(_PARTS, np.bool_)
        left = _PARTS
        last = 0
        for d in hit[:found]:
            offset = (disks[d, 0] - centre + np.pi) % two_pi - np.pi
            half = np.arcsin(disks[d, 2] / disks[d, 1])
            taken = 0
            for part in range(_PARTS):
                angle = ((part + 0.5) / _PARTS - 0.5) * BEAM_RAD
                if free[part] and abs(angle - offset) < half:
                    free[part] = False
                    taken += 1
            if taken:
                left -= taken
                near = disks[d, 1]
                seen = min(max((near - _BLIND_M) / (_SEEN_M - _BLIND_M), 0.0), 1.0)
                last = max(last, _pulse(power, near, _FLAKE_INTENSITY * taken / _PARTS * seen / near**2))
        if left == _PARTS:
            continue
        touched[row] = True
        # The target's own answer is what was recorded, less what the flakes cover.
        last = max(last, _pulse(power, distance[row], intensity[row] * left / _PARTS))
        highest = 0
        for cell in range(last):
            if power[cell] > power[highest]:
                highest = cell
        peak[row] = highest * _STEP_M - _PULSE_M / 2
        answer[row] = power[highest]
        power[:last] = 0.0


@numba.njit(cache=True, nogil=True)
def _pulse(power, near, height):  # type: ignore[no-untyped-def]
    """Add the answer of something at distance `near`; one past the last cell that it reaches."""
    first = int(np.ceil(near / _STEP_M))
    end = min(int(np.floor((near + _PULSE_M) / _STEP_M)) + 1, len(power))
    for cell in range(first, end):
        power[cell] += height * np.sin(np.pi * (cell * _STEP_M - near) / _PULSE_M) ** 2
    return end
