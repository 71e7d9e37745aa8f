"""The rolling shutter of an image, where its log has one (Waymo's do)."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from drive.geometry.cameras import READOUTS, RollingShutter
from drive.logs.store import Log


def rolling_shutter(log: Log, camera: str, row: int) -> RollingShutter | None:
    """Times and motion of image `row` of a camera; None for a global shutter, and where the log does not say.

    Waymo's logs keep them in the tables images (velocity in global axes, turn rates in the vehicle's) and
    camera_calibration.
    """
    if not (log.has_table("images") and log.has_table("camera_calibration")):
        return None
    mounted = log.table("camera_calibration")
    direction = mounted.filter(pc.equal(mounted["sensor"], camera))["rolling_shutter_direction"].to_pylist()
    images = log.table("images")
    wanted = pc.and_(pc.equal(images["sensor"], camera), pc.equal(images["row"], row))
    found = images.filter(wanted).to_pylist()
    if not found or not direction or direction[0] not in READOUTS:
        return None
    image = found[0]
    times = [image[name] for name in ("pose_timestamp", "shutter", "camera_trigger_time", "camera_readout_done_time")]
    if None in times or image["velocity"] is None:
        return None
    posed, shutter, triggered, done = times
    velocity = np.asarray(image["velocity"], np.float64)
    global_from_ego = log.poses(camera, np.array([row]))[0]
    return RollingShutter(
        direction=direction[0],
        first_s=triggered + 0.5 * shutter - posed,
        readout_s=done - triggered - shutter,
        velocity_mps=global_from_ego[:3, :3].T @ velocity[:3],
        rate_radps=velocity[3:],
    )
