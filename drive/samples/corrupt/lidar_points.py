"""Lidar corruptions that drop or move returns.

Points reducing, beams reducing, motion blur and spatial misalignment are those of MultiCorrupt (Beemelmanns et al.,
2024), with its numbers; reflectance noise and the blind sector are ours. Each is a pure function of scan, severity and
random state; what is drawn does not depend on the severity, so the severities of one frame differ in strength alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from drive.samples.corrupt.scan import Scan, Severity

POINTS_DROPPED = (0.7, 0.8, 0.9)
BEAM_STEP = (2, 4, 8)  # of 32 beams 16, 8 and 4 stay: 1, 3, 5 ..., 1, 5, 9 ..., 1, 9, 17, 25
BLUR_M = (0.06, 0.10, 0.13)
BLUR_JITTER = (0.15, 0.2, 0.12)  # of each return in x, y, z, as a share of BLUR_M
MISALIGNED = (0.2, 0.4, 0.6)  # chance for each sweep
MISALIGNED_RAD = tuple(np.radians((1.0, 2.0, 3.0)).tolist())
MISALIGNED_SHIFT_M = 2.0  # along the sensor's x axis
REFLECTANCE_NOISE = (0.2, 0.4, 0.6)  # standard deviation, of intensities 0..1
BLIND_RAD = tuple(np.radians((90.0, 180.0, 360.0)).tolist())


def reduce_points(scan: Scan, severity: Severity, rng: np.random.Generator) -> Scan:
    """Drop 70, 80 or 90 % of the returns at random; the order of the others is kept."""
    order = rng.permutation(len(scan))
    kept = round(len(scan) * (1.0 - POINTS_DROPPED[severity - 1]))
    return scan.take(np.sort(order[:kept]))


def reduce_beams(scan: Scan, severity: Severity, rng: np.random.Generator) -> Scan:
    """Keep every second, fourth or eighth beam, from beam 1 on; of 32 beams 16, 8 or 4. Nothing is drawn."""
    return scan.take(scan.ring % BEAM_STEP[severity - 1] == 1)


def blur_motion(scan: Scan, severity: Severity, rng: np.random.Generator) -> Scan:
    """Shift the whole sweep by one Gaussian draw of 6, 10 or 13 cm an axis, and jitter each return by less."""
    std = BLUR_M[severity - 1]
    shift = rng.normal(size=3) * std
    jitter = rng.normal(size=(len(scan), 3)) * (np.array(BLUR_JITTER) * std)
    return replace(scan, xyz=(scan.xyz + shift + np.clip(jitter, -3 * std, 3 * std)).astype(np.float32))


def misalign(scan: Scan, severity: Severity, rng: np.random.Generator) -> Scan:
    """With chance 0.2, 0.4 or 0.6: turn the sweep by -1, -2 or -3 degrees about x, y and z and shift it 2 m in x.

    Only the points move: the calibration that goes with them stays, so they no longer fit the images nor the labels.
    """
    if rng.random() >= MISALIGNED[severity - 1]:
        return scan
    matrix = misalignment(severity)
    moved = scan.xyz @ matrix.T + np.array([MISALIGNED_SHIFT_M, 0.0, 0.0])
    return replace(scan, xyz=moved.astype(np.float32))


def misalignment(severity: Severity) -> npt.NDArray[np.float64]:
    """Rotation [3, 3] of `misalign`: about z first, then y, then x, each by the negative angle."""
    cos, sin = np.cos(MISALIGNED_RAD[severity - 1]), np.sin(MISALIGNED_RAD[severity - 1])
    about_x = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])
    about_y = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
    about_z = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    return np.asarray(about_x @ about_y @ about_z, np.float64)


def noise_reflectance(scan: Scan, severity: Severity, rng: np.random.Generator) -> Scan:
    """Add Gaussian noise of 0.2, 0.4 or 0.6 to the intensities (0..1), clipped."""
    noise = rng.normal(size=len(scan)) * REFLECTANCE_NOISE[severity - 1]
    return replace(scan, intensity=np.clip(scan.intensity + noise, 0, 1).astype(np.float32))


def drop_sector(scan: Scan, severity: Severity, rng: np.random.Generator) -> Scan:
    """Lose every return of a sector of 90, 180 or 360 degrees that begins at a drawn azimuth."""
    begin = rng.uniform(0, 2 * np.pi)
    azimuth = np.arctan2(scan.xyz[:, 1], scan.xyz[:, 0]).astype(np.float64)
    return scan.take((azimuth - begin) % (2 * np.pi) >= BLIND_RAD[severity - 1])
