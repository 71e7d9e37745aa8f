"""What of a frame a camera sees."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from drive.errors import UserError
from drive.geometry.box import corners
from drive.geometry.cameras import project
from drive.geometry.rigid import invert, transform_points
from drive.logs.store import Frame, Log


class CameraView:
    """The image of one camera at one key frame, as a test of places in the ego frame of that key frame.

    Raises:
        UserError: The log has no such camera, or the frame no image of it.
    """

    def __init__(self, log: Log, frame: Frame, camera: str) -> None:
        sensor = log.sensors.get(camera)
        if sensor is None or sensor.modality != "camera" or sensor.intrinsics is None:
            cameras = sorted(name for name, s in log.sensors.items() if s.modality == "camera")
            raise UserError("data.view", f"log {log.name} has no camera {camera!r}", f"use one of {cameras}")
        if camera not in frame.rows:
            raise UserError(f"{log.name}, frame {frame.index}", f"has no image of {camera}", "choose another data.view")
        global_from_ego = log.sweep_poses(camera)[frame.rows[camera]]
        self._camera_from_ego = invert(sensor.ego_from_sensor) @ invert(global_from_ego) @ frame.global_from_ego
        self._sensor = sensor

    def sees(self, places: np.ndarray) -> npt.NDArray[np.bool_]:
        """Which places [P, >=3] project into the image."""
        assert self._sensor.intrinsics is not None
        inside = np.zeros(len(places), np.bool_)
        at_camera = transform_points(self._camera_from_ego, np.asarray(places[:, :3], np.float64))
        front = np.flatnonzero(at_camera[:, 2] > 0)
        pixels, _ = project(at_camera[front], self._sensor.intrinsics, None)
        # Distortion is left out: far outside the lens's circle its polynomial folds back into the image.
        low, high = -0.5, np.array([self._sensor.width, self._sensor.height]) - 0.5
        inside[front] = ((pixels >= low) & (pixels < high)).all(axis=1)
        return inside

    def sees_boxes(self, boxes: np.ndarray) -> npt.NDArray[np.bool_]:
        """Which boxes [N, >=7] have their centre or a corner in the image."""
        if not len(boxes):
            return np.zeros(0, np.bool_)
        places = np.concatenate([boxes[:, None, :3], corners(boxes)], axis=1)
        seen = self.sees(places.reshape(-1, 3)).reshape(len(boxes), 9)
        return np.asarray(seen.any(axis=1))
