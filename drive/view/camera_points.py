"""Lidar points in camera images: where each lies, drawn by depth, and whether objects' points lie on the objects.

Every image is seen from the ego pose of its own exposure; where a log says how its images were read out line by line
(Waymo), each point is seen from the pose of its own line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from drive.geometry.box import corners
from drive.geometry.cameras import project, project_rolling
from drive.geometry.rigid import invert, transform_points
from drive.logs.store import Log
from drive.samples.image_read import camera_from_frame, lens_of
from drive.samples.inside import points_in_boxes
from drive.samples.shutter import rolling_shutter
from drive.scores.image_boxes import BOX_EDGES, edges_in_front
from drive.view.ink import ramp
from ops.lens import farthest

SLACK_PX = 2.0
NEAR_M = 0.1  # boxes are cut at this plane before a camera


def project_to_camera(
    log: Log, frame: int, camera: str, points: np.ndarray, *, roll: bool = True, exposed: bool = True
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Pixels [P, 2] of the recorded picture and depths [P] of places [P, >=3] in a frame's ego frame.

    `roll` False leaves out how the image was read line by line; `exposed` False leaves out the ego's motion until the
    exposure, and needs no image. NaN where a place is behind the camera or beyond what its lens shows; pixels may lie
    outside the picture.
    """
    sensor, at = log.sensors[camera], log.frame(frame)
    assert sensor.intrinsics is not None
    assert sensor.width is not None
    assert sensor.height is not None
    places, lens = np.asarray(points[:, :3], np.float64), lens_of(sensor)
    shutter = rolling_shutter(log, camera, at.rows[camera]) if roll and exposed else None
    if shutter is not None:
        posed = log.poses(camera, np.array([at.rows[camera]]))[0]
        own = transform_points(invert(posed) @ at.global_from_ego, places)
        size = (sensor.width, sensor.height)
        return project_rolling(own, invert(sensor.ego_from_sensor), sensor.intrinsics, size, shutter, lens)[:2]
    mounted = camera_from_frame(log, at, camera) if exposed else invert(sensor.ego_from_sensor)
    optical = transform_points(mounted, places)
    k1, k2, _, _, k3 = lens
    with np.errstate(divide="ignore", invalid="ignore"):
        radius = (optical[:, :2] ** 2).sum(axis=1) / optical[:, 2] ** 2
    optical[~((optical[:, 2] > 0) & (radius < farthest(k1, k2, k3)))] = np.nan
    return project(optical, sensor.intrinsics, ("plumb_bob", lens))


def in_picture(log: Log, camera: str, pixels: np.ndarray) -> npt.NDArray[np.bool_]:
    """Which pixels [P, 2] lie in the recorded picture."""
    size = np.array([log.sensors[camera].width, log.sensors[camera].height], np.float64)
    return np.asarray(((pixels >= -0.5) & (pixels < size - 0.5)).all(axis=1))  # False for NaN


def draw_points(picture: Image.Image, pixels: np.ndarray, depth: np.ndarray, radius_px: float = 1.5) -> Image.Image:
    """A copy of a picture with a dot for every point, near ones light and on top of far ones."""
    out = picture.copy()
    draw = ImageDraw.Draw(out)
    order = np.argsort(-depth)
    colours = ramp(-np.log(np.maximum(depth[order], 0.1)), -np.log(80.0), -np.log(3.0))
    for (u, v), colour in zip(pixels[order].tolist(), colours.tolist(), strict=True):
        draw.ellipse((u - radius_px, v - radius_px, u + radius_px, v + radius_px), fill=tuple(colour))
    return out


@dataclass(frozen=True)
class ObjectPoints:
    """The lidar points of one labelled object in one image.

    Attributes:
        box: Row of the frame's boxes.
        camera: Name.
        category: Of the object.
        points: Its lidar points that project into the picture.
        inside: Those within its rectangle, `SLACK_PX` around it included.
        rectangle: Left, top, right, bottom in pixels.
        labelled: Whether the rectangle is a label of its own; else it is the one around the projected 3D box.
    """

    box: int
    camera: str
    category: str
    points: int
    inside: int
    rectangle: tuple[float, float, float, float]
    labelled: bool


def object_points(
    log: Log, frame: int, points: np.ndarray, *, calibration_error: np.ndarray | None = None
) -> list[ObjectPoints]:
    """Each labelled object with lidar points in an image, and how many lie in its 2D box.

    Args:
        log: With cameras.
        frame: Index.
        points: float32 [P, >=3] in the frame's ego frame.
        calibration_error: [4, 4] that moves the points after they were found in their objects, to see what a wrong
            calibration does.

    Returns:
        Against the 2D boxes that the log labels (`labelled_rectangles`; objects without one are left out); where it
        labels none at all, against the rectangles around the projected 3D boxes.
    """
    boxes = log.boxes(frame)
    owner = points_in_boxes(points, boxes.boxes)[0]
    places = points if calibration_error is None else transform_points(calibration_error, points[:, :3])
    given = labelled_rectangles(log, frame)
    labelled = given is not None
    out = []
    for camera in sorted(name for name, s in log.sensors.items() if s.modality == "camera"):
        if camera not in log.frame(frame).rows:
            continue
        own = np.flatnonzero(owner >= 0)
        pixels, _ = project_to_camera(log, frame, camera, places[own])
        seen = in_picture(log, camera, pixels)
        own, pixels = own[seen], pixels[seen]
        around = given
        if around is None:
            projected = projected_rectangles(log, frame, camera).rectangles
            around = {(i, camera): rectangle for i, rectangle in enumerate(projected) if np.isfinite(rectangle).all()}
        for box in np.unique(owner[own]).tolist():
            rectangle = around.get((box, camera))
            if rectangle is None:
                continue
            mine = pixels[owner[own] == box]
            left, top, right, bottom = (float(v) for v in rectangle)
            low, high = np.array([left, top]) - SLACK_PX, np.array([right, bottom]) + SLACK_PX
            inside = int(((mine >= low) & (mine <= high)).all(axis=1).sum())
            category = boxes.category[box]
            out.append(ObjectPoints(box, camera, category, len(mine), inside, (left, top, right, bottom), labelled))
    return out


def labelled_rectangles(log: Log, frame: int) -> dict[tuple[int, str], np.ndarray] | None:
    """2D boxes [4] that a data set labels beside its 3D boxes, by (box, camera); None where it has none.

    KITTI and View-of-Delft give one with each 3D box; the standard table ``camera_labels`` names the object.
    """
    boxes = log.boxes(frame)
    sides = ("bbox_left", "bbox_top", "bbox_right", "bbox_bottom")
    cameras = [name for name, s in log.sensors.items() if s.modality == "camera"]
    if all(side in boxes.extra for side in sides) and len(cameras) == 1:
        rows = zip(*(boxes.extra[side] for side in sides), strict=True)
        return {(i, cameras[0]): np.array(row, np.float64) for i, row in enumerate(rows) if None not in row}
    if not log.has_table("camera_labels"):
        return None
    number = {token: i for i, token in enumerate(boxes.track_token)}
    return {
        (number[row["track"]], row["sensor"]): np.array([row[s] for s in ("x_min", "y_min", "x_max", "y_max")])
        for row in log.table("camera_labels").to_pylist()
        if row["frame"] == frame and row["track"] in number
    }


@dataclass(frozen=True)
class BoxRectangles:
    """Rectangles around projected 3D boxes.

    Attributes:
        rectangles: float64 [N, 4]: left, top, right, bottom around what of each box is in front of the camera, not cut
            at the picture's border; NaN for a box behind it.
        whole: bool [N]: no part of the box is behind the camera or beyond what its lens shows.
    """

    rectangles: npt.NDArray[np.float64]
    whole: npt.NDArray[np.bool_]


def projected_rectangles(log: Log, frame: int, camera: str, *, roll: bool = True) -> BoxRectangles:
    """Rectangles around the labelled 3D boxes of a frame; `roll` as in `project_to_camera`."""
    boxes = log.boxes(frame).boxes
    pose = camera_from_frame(log, log.frame(frame), camera)
    optical = transform_points(pose, corners(boxes).reshape(-1, 3)).reshape(-1, 8, 3)
    segments, index = edges_in_front(optical, NEAR_M)
    pixels, _ = project_to_camera(
        log, frame, camera, transform_points(invert(pose), segments.reshape(-1, 3)), roll=roll
    )
    out, whole = np.full((len(boxes), 4), np.nan), np.asarray((optical[..., 2] > NEAR_M).all(axis=1))
    owner, shown = np.repeat(index // len(BOX_EDGES), 2), np.isfinite(pixels).all(axis=1)
    for box in np.unique(owner[shown]).tolist():
        ends = pixels[shown & (owner == box)]
        out[box] = np.concatenate([ends.min(axis=0), ends.max(axis=0)])
    whole[owner[~shown]] = False
    return BoxRectangles(out, whole)
