"""What of a frame a camera sees."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from drive.errors import UserError
from drive.geometry.box import corners
from drive.logs.store import Frame, Log
from drive.samples.image_read import camera_from_frame


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
        camera_from_ego = camera_from_frame(log, frame, camera)
        self._pixels_from_ego = np.ascontiguousarray(sensor.intrinsics @ camera_from_ego[:3])
        self._width, self._height = float(sensor.width or 0), float(sensor.height or 0)

    def sees(self, places: np.ndarray) -> npt.NDArray[np.bool_]:
        """Which places [P, >=3] project into the image.

        Lens distortion is left out: far outside the image its polynomial folds places back into it.
        """
        inside = np.empty(len(places), np.bool_)
        view = places.view()
        view.flags.writeable = False
        _sees(view, self._pixels_from_ego, self._width, self._height, inside)
        return inside

    def sees_boxes(self, boxes: np.ndarray) -> npt.NDArray[np.bool_]:
        """Which boxes [N, >=7] have their centre or a corner in the image."""
        if not len(boxes):
            return np.zeros(0, np.bool_)
        places = np.concatenate([boxes[:, None, :3], corners(boxes)], axis=1, dtype=np.float32)
        seen = self.sees(places.reshape(-1, 3)).reshape(len(boxes), 9)
        return np.asarray(seen.any(axis=1))


@numba.njit(cache=True, nogil=True)
def _sees(places, m, width, height, inside):  # type: ignore[no-untyped-def]
    """`m` [3, 4] is intrinsics times camera-from-ego; pixel centres lie at integers."""
    for i in range(places.shape[0]):
        x, y, z = np.float64(places[i, 0]), np.float64(places[i, 1]), np.float64(places[i, 2])
        depth = m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3]
        u = m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]
        v = m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]
        inside[i] = (
            depth > 0 and -0.5 * depth <= u < (width - 0.5) * depth and -0.5 * depth <= v < (height - 0.5) * depth
        )
