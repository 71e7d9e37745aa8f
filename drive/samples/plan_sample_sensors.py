"""What a sensor-level planner is given at a decision's instant: one wide picture and a lidar histogram.

Spec 1.2 of planning, 5.4 of fusion: front-left, front and front-right side by side, returns above the ground counted on
a grid. The same functions make it of a log's recorded sensors and of sensors rendered in a drive.

Which camera is which is told by where it looks, not by its name: of the level ones the nearest to straight ahead, to 55
degrees left and to 55 degrees right. The published cuts are of 1920 x 1080 (28 rows from top and bottom, 416 columns
from both sides of the outer two) and are taken as shares. A picture of another shape is first cut to 16 : 9 around its
middle. Fields of view stay the cameras' own, lenses are not straightened: a network is for the rig that it was trained
on.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from numba import njit
from PIL import Image

from drive.errors import UserError
from drive.geometry.rigid import invert, transform_points
from drive.logs.store import Frame, Log
from drive.samples.plan_sample_raster import (
    P_CROSSING,
    P_DRIVABLE,
    P_INTERSECTION,
    P_LANE,
    P_PEDESTRIAN,
    P_STATIC,
    P_VEHICLE,
    MapPicture,
    RasterGrid,
    raster,
)
from drive.samples.scene import STATIC, VEHICLE, Actors
from drive.samples.scene_kinds import ego_origin_is_centre, ego_vehicle

PANELS = ("front_left", "front", "front_right")
LOOKS = np.radians([55.0, 0.0, -55.0])
"""Where NAVSIM's three cameras look [recall]."""
WITHIN = np.radians([35.0, 30.0, 35.0])
"""[inferred] A camera that looks farther away from that is not the one."""
LEVEL = np.radians(30.0)
SHAPE = 16 / 9
UNREADABLE = "cannot be read"
CUT_ROWS, CUT_COLUMNS = 28 / 1080, 416 / 1920

SEMANTICS = ("background", "road", "crossing", "centreline", "static", "vehicle", "pedestrian")
"""Classes of the semantic target. NAVSIM's third one is the walkway, which scenes do not have; cyclists, whom it
leaves out, count as pedestrians."""
_OF_PLANE = ((P_DRIVABLE, 1), (P_INTERSECTION, 1), (P_CROSSING, 2), (P_LANE, 3), (P_STATIC, 4), (P_VEHICLE, 5),
             (P_PEDESTRIAN, 6))  # fmt: skip


@dataclass(frozen=True)
class PlanSensors:
    """Sizes of the input; the defaults are the published ones.

    image: height and width of the three pictures together. The width is a multiple of 64: the panels' shares are 17, 30
        and 17 of 64.
    reach_m, cell_m: the histogram covers +-reach_m in x and y.
    low_m, high_m: returns from here to there above the ego frame's origin count, at most `most` a cell.
    semantic_cell_m: of the semantic target over x in 0..reach_m, y in +-reach_m.
    """

    image: tuple[int, int] = (256, 1024)
    reach_m: float = 32.0
    cell_m: float = 0.25
    low_m: float = 0.2
    high_m: float = 100.0
    most: int = 5
    semantic_cell_m: float = 0.25

    def __post_init__(self) -> None:
        if self.image[1] % 64 or min(self.image) < 1:
            raise ValueError(f"PlanSensors.image {self.image}: the width must be a multiple of 64")

    @property
    def cells(self) -> int:
        """Rows, and columns, of the histogram."""
        return round(2 * self.reach_m / self.cell_m)

    @property
    def semantic_grid(self) -> RasterGrid:
        """Cells of the semantic target."""
        return RasterGrid((0.0, self.reach_m), (-self.reach_m, self.reach_m), self.semantic_cell_m)


@dataclass(frozen=True, eq=False)
class PlanSensorInput:
    """What the sensors say at one instant.

    Attributes:
        camera: uint8 [H, W, 3] RGB, front-left, front, front-right side by side; black where one is missing.
        lidar: uint8 [R, C], returns a cell, at most PlanSensors.most; rows along x (ahead), columns along y (left).
        missing: one line for each that is missing.
    """

    camera: npt.NDArray[np.uint8]
    lidar: npt.NDArray[np.uint8]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class SensedAt:
    """Where a decision's sensors are to be had.

    log, frame: folder of the log and number of the frame that recorded them.
    at: instant of the log's scene.
    pose: x, y, heading of the ego in the scene's frame; speed, yaw_rate: how it moves.
    moved: the ego is not where it was recorded: what it would see there has to be rendered.
    """

    log: str
    frame: int
    at: int
    pose: tuple[float, float, float]
    speed: float
    yaw_rate: float
    moved: bool


class Renderer(Protocol):
    """Renders what a decision that was put beside the recorded drive would see."""

    def __call__(self, where: SensedAt) -> PlanSensorInput: ...


def choose_cameras(ego_from_camera: Mapping[str, np.ndarray]) -> list[str | None]:
    """The cameras of PANELS, by name, None where none looks there; ego_from_camera float64 [4, 4] of each camera.

    No camera is in two panels: who is nearest to a panel's direction gets it (of equals the first by name).
    """
    names = sorted(ego_from_camera)
    if not names:
        return [None] * len(PANELS)
    axis = np.stack([ego_from_camera[name][:3, 2] for name in names])
    level = np.abs(axis[:, 2]) <= np.sin(LEVEL)
    off = np.arctan2(axis[:, 1], axis[:, 0])[:, None] - LOOKS
    off = np.abs(np.arctan2(np.sin(off), np.cos(off)))
    off[~level] = np.inf
    off[off > WITHIN] = np.inf
    chosen: list[str | None] = [None] * len(PANELS)
    while np.isfinite(off).any():
        row, panel = np.unravel_index(np.argmin(off), off.shape)
        chosen[panel] = names[row]
        off[row], off[:, panel] = np.inf, np.inf
    return chosen


def panel_widths(width: int) -> tuple[int, int, int]:
    """Columns of each panel of a picture `width` wide."""
    outer = 17 * width // 64
    return outer, width - 2 * outer, outer


def camera_strip(pictures: Sequence[Image.Image | None], config: PlanSensors) -> npt.NDArray[np.uint8]:
    """uint8 [H, W, 3] of the three panels' pictures (RGB); None is black."""
    height, width = config.image
    out, left = np.zeros((height, width, 3), np.uint8), 0
    for k, (picture, columns) in enumerate(zip(pictures, panel_widths(width), strict=True)):
        if picture is not None:
            box = _published_cut(*picture.size, outer=k != 1)
            small = picture.resize((columns, height), Image.Resampling.BILINEAR, box=box)
            out[:, left : left + columns] = np.asarray(small)
        left += columns
    return out


def _published_cut(width: float, height: float, outer: bool) -> tuple[float, float, float, float]:
    """left, top, right, bottom of what is kept of a picture, in pixels."""
    wide, high = min(width, height * SHAPE), min(height, width / SHAPE)
    wide_cut, high_cut = wide * (1 - 2 * CUT_COLUMNS) if outer else wide, high * (1 - 2 * CUT_ROWS)
    left, top = (width - wide_cut) / 2, (height - high_cut) / 2
    return left, top, left + wide_cut, top + high_cut


def lidar_counts(points: np.ndarray, config: PlanSensors) -> npt.NDArray[np.uint8]:
    """uint8 [R, C] of points [P, >= 3] in the ego frame (rear axle); points that are not finite count nowhere."""
    out = np.zeros((config.cells, config.cells), np.uint8)
    _count(points, out, config.reach_m, config.cell_m, config.low_m, config.high_m, config.most)
    return out


@njit(cache=True, nogil=True)
def _count(points, out, reach, cell, low, high, most):  # type: ignore[no-untyped-def]
    for p in range(len(points)):
        x, y, z = points[p, 0], points[p, 1], points[p, 2]
        # NaN fails every comparison.
        if -reach <= x < reach and -reach <= y < reach and low < z < high:
            r, c = min(int((x + reach) / cell), len(out) - 1), min(int((y + reach) / cell), len(out) - 1)
            if out[r, c] < most:
                out[r, c] += 1


def recorded_sensors(log: Log, frame: Frame, config: PlanSensors) -> PlanSensorInput:
    """What a log recorded for a frame: the images and sweeps that belong to it, as they are, in the frame's ego frame.

    An image was taken up to some tens of milliseconds before the sweep ended; as published, nothing is done about it.
    A missing or undecodable image is black and named in `missing`, as are missing lidars; a damaged log is a UserError.
    """
    camera, missing = _recorded_strip(log, frame, config)
    clouds = []
    for name, sensor in log.sensors.items():
        if sensor.modality == "lidar" and name in frame.rows:
            row = frame.rows[name]
            ego_from_lidar = (
                invert(frame.global_from_ego) @ log.poses(name, np.array([row]))[0] @ sensor.ego_from_sensor
            )
            clouds.append(transform_points(ego_from_lidar, log.points(name, row)[:, :3].astype(np.float64)))
    if not clouds:
        missing.append("lidar: no sweep of this frame")
    points = np.concatenate(clouds) if clouds else np.zeros((0, 3))
    if ego_origin_is_centre(log):
        vehicle = ego_vehicle(log)
        points = points + np.array([vehicle.centre, 0.0, vehicle.height / 2])
    return PlanSensorInput(camera, lidar_counts(points, config), tuple(missing))


def _recorded_strip(log: Log, frame: Frame, config: PlanSensors) -> tuple[npt.NDArray[np.uint8], list[str]]:
    mounted = {name: s.ego_from_sensor for name, s in log.sensors.items() if s.modality == "camera"}
    pictures: list[Image.Image | None] = []
    missing = []
    for panel, name in zip(PANELS, choose_cameras(mounted), strict=True):
        picture, why = None, "no camera looks there"
        if name is not None:
            picture, why = _opened(log, frame, name)
        pictures.append(picture)
        if picture is None:
            missing.append(f"{panel}: {why}")
    return camera_strip(pictures, config), missing


def _opened(log: Log, frame: Frame, camera: str) -> tuple[Image.Image | None, str]:
    if camera not in frame.rows:
        return None, f"no image of {camera} for this frame"
    try:
        data = log.image(camera, frame.rows[camera]).data
        return Image.open(io.BytesIO(data)).convert("RGB"), ""
    except (OSError, SyntaxError, ValueError, UserError, Image.DecompressionBombError) as error:
        return None, f"the image of {camera} {UNREADABLE} ({error})"


def semantic_target(
    picture: MapPicture, here: np.ndarray, actors: Actors, at: int, config: PlanSensors
) -> npt.NDArray[np.uint8]:
    """uint8 [rows, columns] of SEMANTICS ahead of the ego at `here` [3] (x, y, heading in the scene's frame).

    Args:
        picture: Of the scene's map, made with `draw_map(..., 2 * semantic_cell_m)`: centre lines are two cells wide.
        here: Where the ego is.
        actors: Of the scene; their boxes at column `at` are drawn.
        at: Instant.
        config: Which cells.
    """
    there = np.flatnonzero(actors.valid[:, at])
    box, kind = actors.box[there, at].copy(), actors.kind[there]
    cos, sin = np.cos(here[2]), np.sin(here[2])
    box[:, :2] = (box[:, :2] - here[:2]) @ np.array([[cos, -sin], [sin, cos]])
    box[:, 4] -= here[2]
    plane = np.where(kind == VEHICLE, P_VEHICLE, np.where(kind == STATIC, P_STATIC, P_PEDESTRIAN))
    bits = raster(config.semantic_grid, picture, here, box, plane, np.zeros((0, 2)))
    out = np.zeros(bits.shape, np.uint8)
    for bit, kind_of in _OF_PLANE:
        out[(bits >> bit & 1).astype(bool)] = kind_of
    return out
