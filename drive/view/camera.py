"""Boxes drawn into the camera images of a log, each camera through its own ego pose."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from drive.errors import UserError
from drive.geometry.box import corners
from drive.geometry.cameras import project
from drive.geometry.rigid import transform_points
from drive.logs.store import Log, Sensor
from drive.samples.image_read import camera_from_frame as exposed_camera
from drive.scores.image_boxes import BOX_EDGES, edges_in_front
from drive.view.camera_points import draw_points, in_picture, project_to_camera
from drive.view.ink import PAPER, TRUTH, Colour, font

_NEAR_M = 0.3  # edges are cut at this plane
_FRONT_EDGES = (3, 7, 8, 11)  # of BOX_EDGES: the face that the object drives with
_PIECES = 12  # straight pieces of an edge where a lens bends it


def open_image(log: Log, frame: int, camera: str) -> Image.Image:
    """The picture that ``camera`` took for a frame, RGB.

    Raises UserError: no such camera, no picture of this frame, or bytes that are no picture.
    """
    sensor = log.sensors.get(camera)
    if sensor is None or sensor.modality != "camera":
        cameras = [name for name, s in log.sensors.items() if s.modality == "camera"]
        raise UserError(log.path, f"has no camera {camera!r}", f"choose one of {', '.join(cameras) or '(none)'}")
    rows = log.frame(frame).rows
    if camera not in rows:
        raise UserError(log.path, f"frame {frame} has no image of {camera}", "choose another frame or camera")
    recorded = log.image(camera, rows[camera])
    try:
        return Image.open(io.BytesIO(recorded.data)).convert("RGB")
    except OSError as error:
        raise UserError(
            f"{log.path}: {recorded.source_name}", f"not a picture ({error})", "convert the log again"
        ) from error


def camera_from_frame(log: Log, frame: int, camera: str) -> np.ndarray:
    """Camera (optical axes) at its own time from the ego at the frame's time, f64 [4, 4]."""
    return exposed_camera(log, log.frame(frame), camera)


def box_lines(boxes: np.ndarray, camera_from_ego: np.ndarray, sensor: Sensor) -> list[tuple[int, int, np.ndarray]]:
    """(box, edge, pixels [Q, 2]) of every visible piece of edge of boxes [N, >=7] in the ego frame."""
    if len(boxes) == 0 or sensor.intrinsics is None:
        return []
    placed = transform_points(camera_from_ego, corners(boxes).reshape(-1, 3)).reshape(-1, 8, 3)
    segments, index = edges_in_front(placed, _NEAR_M)
    pieces = 1 if sensor.distortion is None else _PIECES
    share = np.linspace(0, 1, pieces + 1)[None, :, None]
    places = segments[:, :1] * (1 - share) + segments[:, 1:] * share
    distortion = None if sensor.distortion is None else (sensor.distortion[0], np.array(sensor.distortion[1]))
    if distortion is not None and len(places):
        # Far outside the lens's circle its polynomial folds back into the picture: such pieces are left out.
        inside = _within_lens(places, sensor)
        places, index = places[inside], index[inside]
    pixels, _ = project(places.reshape(-1, 3), sensor.intrinsics, distortion)
    pixels = pixels.reshape(len(places), pieces + 1, 2)
    return [(int(i) // len(BOX_EDGES), int(i) % len(BOX_EDGES), line) for i, line in zip(index, pixels, strict=True)]


def _within_lens(places: np.ndarray, sensor: Sensor) -> np.ndarray:
    """Which pieces stay inside 1.3 times the picture's undistorted frame, bool [S]."""
    assert sensor.intrinsics is not None
    assert sensor.width is not None
    assert sensor.height is not None
    straight, _ = project(places.reshape(-1, 3), sensor.intrinsics)
    centre = np.array([sensor.width, sensor.height]) / 2
    inside = np.all(np.abs(straight - centre) <= 1.3 * centre, axis=1).reshape(len(places), -1)
    return np.asarray(np.all(inside, axis=1))


def draw_camera(
    log: Log,
    frame: int,
    camera: str,
    layers: Sequence[tuple[np.ndarray, Sequence[Colour]]] | None = None,
    *,
    width_px: int | None = None,
    title: str = "",
    points: np.ndarray | None = None,
) -> Image.Image:
    """The picture of a camera with boxes in it.

    layers: (boxes f64 [N, >=7] in the frame's ego frame, N colours), later ones on top; None draws the log's labels.
    width_px: width of the result; None keeps the picture's.
    points: [P, >=3] in the frame's ego frame, drawn under the boxes and coloured by depth; None draws none.
    """
    picture = open_image(log, frame, camera)
    if points is not None:
        pixels, depth = project_to_camera(log, frame, camera, points)
        seen = in_picture(log, camera, pixels)
        picture = draw_points(picture, pixels[seen], depth[seen], radius_px=max(1.0, picture.width / 1000))
    sensor = log.sensors[camera]
    if layers is None:
        boxes = log.boxes(frame).boxes
        layers = [(boxes, [TRUTH] * len(boxes))]
    # Drawn large and made small, which smooths the lines.
    target = width_px or picture.width
    factor = max(1, round(2 * target / picture.width)) if target <= picture.width else 2
    canvas = picture.resize((picture.width * factor, picture.height * factor)) if factor > 1 else picture
    draw = ImageDraw.Draw(canvas)
    line_width = max(2, round(1.4 * canvas.width / target))
    pose = camera_from_frame(log, frame, camera)
    for boxes, colours in layers:
        for box, edge, line in box_lines(boxes, pose, sensor):
            # Pixel centres are at integers: half a pixel more in the enlarged picture.
            scaled = (line + 0.5) * factor - 0.5
            if not _touches(scaled, canvas.size):
                continue
            width = line_width * 2 if edge in _FRONT_EDGES else line_width
            draw.line(
                [(float(u), float(v)) for u, v in _shortened(scaled, canvas.size)], fill=colours[box], width=width
            )
    out = canvas.resize((target, round(target * picture.height / picture.width)), Image.Resampling.LANCZOS)
    if title:
        ImageDraw.Draw(out).text((8, 6), title, fill=PAPER, font=font(15), stroke_width=2, stroke_fill=(0, 0, 0))
    return out


def _touches(line: np.ndarray, size: tuple[int, int]) -> bool:
    return bool(np.all(line.max(axis=0) >= 0) and np.all(line.min(axis=0) <= size))


def _shortened(line: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A two-point line cut to three times the picture around it: Pillow overflows on far coordinates."""
    if len(line) != 2:
        return line
    low, high = -np.array(size, dtype=np.float64), 2 * np.array(size, dtype=np.float64)
    first, step = line[0], line[1] - line[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = (low - first) / step, (high - first) / step
    enter = float(np.nanmax(np.where(step == 0, 0.0, np.minimum(a, b)), initial=0.0))
    leave = float(np.nanmin(np.where(step == 0, 1.0, np.maximum(a, b)), initial=1.0))
    return np.stack([first + enter * step, first + leave * step]) if enter < leave else line[:1].repeat(2, axis=0)
