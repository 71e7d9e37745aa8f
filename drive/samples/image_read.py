"""The images of one frame of a log, each with the pose of its own exposure; what is not there is said, never raised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from drive.errors import UserError
from drive.geometry.cameras import PLUMB_BOB, RADIAL
from drive.geometry.rigid import invert
from drive.logs.store import Frame, Log, Sensor
from drive.samples.corrupt.cameras import CameraCorruption
from drive.samples.image_decode import choose_cut, decode, picture_size
from drive.samples.images import CameraImages, ImageConfig

BLACK = 10
"""An image whose brightest value (of 255) is below this is a black one: a covered lens or a dead camera."""


class _MissingImageError(Exception):
    """Why there is no image; its text goes into `CameraImages.missing`."""


def cameras_of(log: Log, config: ImageConfig) -> tuple[str, ...]:
    """The cameras that a frame of a log comes with: those asked for, or all of the log's by name."""
    return config.cameras or tuple(sorted(name for name, s in log.sensors.items() if s.modality == "camera"))


def check_images(logs: Sequence[Log], config: ImageConfig, training: bool) -> None:
    """Refuse a size or a range that makes no image, and in training a camera that no log has.

    When a model is used, a camera that its data lack is only missing.

    Raises:
        UserError: Names the field.
    """
    if min(config.size) < 1:
        raise UserError("data.images.size", f"is {config.size}", "give a height and a width in pixels")
    if not 0 < config.resize[0] <= config.resize[1]:
        raise UserError("data.images.resize", f"is {config.resize}", "give a smallest and a largest factor above 0")
    if not training:
        return
    known = {name for log in logs for name, s in log.sensors.items() if s.modality == "camera"}
    absent = sorted(set(config.cameras) - known)
    if absent or not known:
        what = f"no training log has the camera {', '.join(absent)}" if known else "no training log has a camera"
        raise UserError("data.images.cameras", what, f"use some of {sorted(known)}" if known else "set images to None")


def read_images(
    log: Log,
    frame: Frame,
    config: ImageConfig,
    rng: np.random.Generator | None = None,
    failing: CameraCorruption | None = None,
) -> CameraImages:
    """Decode the images of a frame; with `rng` (training) as varied and as incomplete as `config` says.

    Nothing about an image stops a frame: an absent or damaged image, a black one, one whose size is not the
    calibration's and a calibration that does not invert give black pixels, `present` False and a line in `missing`.
    With `failing` the cameras fail as it says.
    """
    names = cameras_of(log, config)
    n, (height, width) = len(names), config.size
    out = CameraImages(
        names=names,
        pixels=np.zeros((n, height, width, 3), np.uint8),
        present=np.zeros(n, np.bool_),
        camera_from_ego=np.tile(np.eye(4), (n, 1, 1)),
        intrinsics=np.tile(np.eye(3), (n, 1, 1)),
        distortion=np.zeros((n, 5)),
        pixels_from_recorded=np.tile(np.eye(3), (n, 1, 1)),
    )
    missing = []
    # A generator for each camera: what is drawn for one does not depend on whether another is there.
    generators = [None] * n if rng is None else rng.spawn(n)
    for i, (name, drawn) in enumerate(zip(names, generators, strict=True)):
        try:
            if drawn is not None and drawn.random() < config.drop_camera:
                raise _MissingImageError("left out at random, for training")
            sensor, camera_from_ego = _calibrated(log, frame, name)
            image, moved = _picture(log, frame, sensor, config, drawn, failing)
        except _MissingImageError as why:
            missing.append(f"{name}: {why}")
            continue
        assert sensor.intrinsics is not None
        out.pixels[i], out.present[i], out.pixels_from_recorded[i] = image, True, moved
        if failing is not None:
            camera_from_ego = failing.turn(name) @ camera_from_ego
        out.camera_from_ego[i], out.intrinsics[i] = camera_from_ego, moved @ sensor.intrinsics
        out.distortion[i] = lens_of(sensor)
    return replace(out, missing=tuple(missing))


def lens_of(sensor: Sensor) -> npt.NDArray[np.float64]:
    """A camera's distortion as plumb_bob k1 k2 p1 p2 k3 [5], zeros without; ValueError for a model we do not know."""
    if sensor.distortion is None:
        return np.zeros(5)
    model, values = sensor.distortion[0], np.asarray(sensor.distortion[1], np.float64)
    if model == PLUMB_BOB and len(values) == 5:
        return values
    if model == RADIAL and len(values) == 3:
        return np.array([values[0], values[1], 0.0, 0.0, values[2]])
    raise ValueError(f"distortion {model!r} of {len(values)} numbers is not known")


def camera_from_frame(log: Log, frame: Frame, camera: str) -> npt.NDArray[np.float64]:
    """The optical frame of a camera at its own exposure, from the ego frame of the key frame [4, 4].

    Each image carries the ego pose of its own instant; leaving the two poses out shifts boxes by up to half a metre.
    """
    global_from_ego = log.poses(camera, np.array([frame.rows[camera]]))[0]
    return invert(log.sensors[camera].ego_from_sensor) @ invert(global_from_ego) @ frame.global_from_ego


def _calibrated(log: Log, frame: Frame, name: str) -> tuple[Sensor, npt.NDArray[np.float64]]:
    """The camera and its pose, both usable."""
    sensor = log.sensors.get(name)
    if sensor is None or sensor.modality != "camera":
        raise _MissingImageError("the log has no such camera")
    if name not in frame.rows:
        raise _MissingImageError("the frame has no image of it")
    if sensor.intrinsics is None:
        raise _MissingImageError("it has no intrinsics")
    try:
        lens = lens_of(sensor)
    except ValueError as error:
        raise _MissingImageError(str(error)) from error
    pose = camera_from_frame(log, frame, name)
    focal = abs(np.linalg.det(sensor.intrinsics[:2, :2]))
    rigid = np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-3)  # False for NaN as well
    if not (np.isfinite(pose).all() and np.isfinite(lens).all() and rigid and np.isfinite(focal) and focal > 1e-6):
        raise _MissingImageError("its calibration does not invert")
    return sensor, pose


def _picture(
    log: Log,
    frame: Frame,
    sensor: Sensor,
    config: ImageConfig,
    rng: np.random.Generator | None,
    failing: CameraCorruption | None,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """Pixels of the image and the matrix of recorded pixels to them."""
    try:
        row = frame.rows[sensor.name] if failing is None else failing.row(sensor.name)
        recorded = log.image(sensor.name, row)
        size = picture_size(recorded.data)
        if None not in (sensor.width, sensor.height) and size != (sensor.width, sensor.height):
            what = f"the picture is {size[0]} x {size[1]}, its calibration {sensor.width} x {sensor.height}"
            raise _MissingImageError(what)
        cut = choose_cut(size, config, rng)
        image = decode(recorded.data, cut, config.size, None if failing is None else failing.change(sensor.name))
    except (UserError, OSError, ValueError, SyntaxError) as error:
        raise _MissingImageError(f"not readable ({error})") from error
    if image.max(initial=0) < BLACK:
        raise _MissingImageError("the image is black")
    return image, cut.matrix(config.size)
