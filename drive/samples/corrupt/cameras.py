"""A frame's cameras, corrupted: which picture is read, what happens to its pixels, how wrong its pose is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from drive.logs.store import Frame, Log
from drive.samples.corrupt.config import CorruptConfig
from drive.samples.corrupt.image_light import Pixels
from drive.samples.corrupt.moments import generator, shown_image

MISSING = (0.2, 0.4, 0.6)  # chance for each image of MultiCorrupt's missing camera
DROPPED = (0.0, 0.5, 1.0)  # share of a frame's cameras that camera_drop takes, one at least
TURNED_RAD = tuple(np.radians((0.5, 1.0, 2.0)).tolist())


@dataclass(frozen=True)
class CameraCorruption:
    """What `config` does to the cameras of one frame."""

    config: CorruptConfig
    log: Log
    frame: Frame

    def row(self, camera: str) -> int:
        """The row whose picture is shown; the frame has an image of this camera."""
        return shown_image(self.config, self.log, self.frame, camera)

    def change(self, camera: str) -> Callable[[Pixels], Pixels] | None:
        """What happens to the recorded picture (uint8 [H, W, 3]) of this camera; None where nothing does."""
        config, frame = self.config, self.frame
        function = config.corruption.image
        if function is None or not self._chosen(camera):
            return None
        number = frame.index if config.corruption.by_frame else frame.rows[camera]
        rng = generator(config, self.log, camera, number)
        return lambda pixels: function(pixels, config.severity, rng)

    def turn(self, camera: str) -> npt.NDArray[np.float64]:
        """Rotation [4, 4] of the pose that is believed against the true one: wrong camera from true camera.

        A calibration that has come loose is wrong in every frame of a log in the same way: each camera is turned by
        0.5, 1 or 2 degrees about its own vertical axis, to a side that is drawn once a log and camera.
        """
        out = np.eye(4)
        if self.config.name == "calibration_shift":
            side = 1.0 if generator(self.config, self.log, camera, 0).random() < 0.5 else -1.0
            angle = side * TURNED_RAD[self.config.severity - 1]
            # Optical axes: x right, y down, z forward; the vertical axis is y.
            out[0, 0], out[0, 2], out[2, 0], out[2, 2] = np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)
        return out

    def _chosen(self, camera: str) -> bool:
        """Whether this camera's picture is among those that fail."""
        name, severity = self.config.name, self.config.severity
        if name == "missing_camera":
            rng = generator(self.config, self.log, camera, self.frame.rows[camera])
            return bool(rng.random() < MISSING[severity - 1])
        if name == "camera_drop":
            every = sorted(n for n in self.frame.rows if self.log.sensors[n].modality == "camera")
            order = generator(self.config, self.log, "cameras", self.frame.index).permutation(len(every))
            count = max(1, int(np.ceil(DROPPED[severity - 1] * len(every))))
            return every.index(camera) in order[:count]
        return True
