"""Boxes as the Kalman filter's state and measurement (ops.kalman.AB3DMOT): AB3DMOT's and SimpleTrack's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from drive.geometry.box import HEIGHT, LENGTH, VX, WIDTH, YAW, X, Y, Z
from ops import kalman

_COLUMNS = [X, Y, Z, YAW, LENGTH, WIDTH, HEIGHT]  # the filter's order of a box
_VX, _VY = 7, 8


@dataclass(frozen=True)
class BoxFilter:
    """A constant-velocity filter of boxes, in units of time of ``unit_s`` seconds.

    Attributes:
        unit_s: Seconds.
        anchor: The point of the box that is filtered: "bottom" centre or "centre".
        first, process: Variances of a new track and of a step: (the box's entries, its velocity's).
        measured: Variance of a measurement's entries.
    """

    unit_s: float
    anchor: Literal["bottom", "centre"]
    first: tuple[float, float]
    process: tuple[float, float]
    measured: float

    def measurements(self, boxes: np.ndarray) -> np.ndarray:
        """[N, 7] of boxes [N, 9]."""
        measured = boxes[:, _COLUMNS]
        if self.anchor == "bottom":
            measured[:, Z] -= boxes[:, HEIGHT] / 2
        return measured

    def boxes(self, mean: np.ndarray) -> np.ndarray:
        """Boxes [N, 9] of filters [N, 10]; velocities in metres a second."""
        boxes = np.empty((len(mean), 9))
        boxes[:, _COLUMNS] = mean[:, :7]
        boxes[:, VX:] = mean[:, _VX : _VY + 1] / self.unit_s
        if self.anchor == "bottom":
            boxes[:, Z] += boxes[:, HEIGHT] / 2
        return boxes

    def ahead(self, mean: np.ndarray, units: np.ndarray | float) -> np.ndarray:
        """Boxes [N, 9] after ``units`` of time."""
        boxes = self.boxes(mean)
        boxes[:, :3] += mean[:, 7:] * np.asarray(units)[..., None]
        return boxes

    def begin(self, measured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(mean [N, 10], covariance [N, 10, 10]) of new tracks: at rest, with a large variance of velocity."""
        mean = np.zeros((len(measured), 10))
        mean[:, :7] = measured
        return mean, np.broadcast_to(_diagonal(self.first), (len(measured), 10, 10))

    def step(
        self,
        mean: np.ndarray,
        covariance: np.ndarray,
        units: np.ndarray,
        noise_factor: float,
        rows: np.ndarray,
        measured: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Filters [N] moved by ``units`` [N] and then measured at ``rows`` [K]: new arrays.

        noise_factor: the process variance of this step is ``process`` times this.
        """
        moved = kalman.predict_update(
            kalman.AB3DMOT,
            kalman.Tracks(torch.from_numpy(mean), torch.from_numpy(covariance)),
            torch.from_numpy(units),
            torch.from_numpy(_diagonal(self.process) * noise_factor),
            torch.from_numpy(rows),
            torch.from_numpy(measured),
            torch.from_numpy(np.eye(7) * self.measured),
        )
        return moved.mean.numpy(), moved.covariance.numpy()

    def velocity_sigma(self, covariance: np.ndarray) -> np.ndarray:
        """Standard deviations [N, 2] of vx and vy, metres a second."""
        diagonal = covariance[:, [_VX, _VY], [_VX, _VY]]
        return np.sqrt(diagonal) / self.unit_s


def _diagonal(variances: tuple[float, float]) -> np.ndarray:
    return np.diag(np.repeat(variances, (7, 3)))
