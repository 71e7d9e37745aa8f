"""One decision as a planning network sees it: everything in the ego frame of that instant, and the future to learn.

Made of the same arrays that a planner is told in a drive (history, road users, map, route, signals), so what is trained
on a log is asked the same way in closed loop. Numbers are float32 metres, seconds, radians.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from drive.geometry.angles import wrap_angle
from drive.geometry.polylines import arc_length, point_at, project_to_polyline
from drive.samples.plan_sample_raster import (
    P_1S,
    P_2S,
    P_PEDESTRIAN,
    P_STATIC,
    P_VEHICLE,
    MapPicture,
    RasterGrid,
    raster,
)
from drive.samples.plan_sample_sensors import PlanSensorInput, PlanSensors, SensedAt
from drive.samples.route import COMMANDS
from drive.samples.scene import (
    ACTOR_KINDS,
    AX,
    AY,
    HEADING,
    RED,
    STATIC,
    VEHICLE,
    VX,
    VY,
    YELLOW,
    Actors,
    Lights,
    Route,
    SceneMap,
    X,
    Y,
)

HISTORY = 21
"""Instants of what is known: 2 s at 10 Hz and now (as ``drive.plans.planner.HISTORY``)."""
BACK = (5, 10, 15, 20)
"""Instants before now that tokens tell of: 0.5 s apart."""

STATUS_COLUMNS = (*(f"command_{name}" for name in COMMANDS), "vx", "vy", "ax", "ay")
PAST_COLUMNS = ("x", "y", "cos", "sin", "valid")
ACTOR_COLUMNS = (
    "x", "y", "cos", "sin", "vx", "vy", "length", "width",
    *(f"is_{kind}" for kind in ACTOR_KINDS),
    *(f"{name}_{back}" for back in BACK for name in ("x", "y", "valid")),
    "ahead", "aside", "on_known",
)  # fmt: skip
"""Of a road user: velocity in the ego frame's axes (not relative), where it was, and where its middle lies on the
route: metres along it from the ego's place, metres to its left; on_known: there is a route."""
LINE_COLUMNS = ("on_route", "connector", "stop", "go", "edge", "speed_limit", "speed_limit_valid")
"""Of a piece of a line; stop: a red or yellow signal governs the lane, go: a green one; limit in 10 m/s."""
LINE_POINTS, LINE_METRES = 10, 18.0
ROUTE_M = (-4.0, 0.0, 4.0, 8.0, 12.0, 16.0, 20.0, 25.0, 30.0, 35.0, 40.0, 50.0, 60.0)
"""Where the route's middle is told, metres along it from the ego's place; its last point stands for all beyond."""


@dataclass(frozen=True)
class PlanFeatures:
    """What a planning network is told, and how finely.

    raster: cells of the bird's-eye raster.
    reach_m: road users and pieces of lines farther away are left out.
    most_actors, most_lines: the nearest are kept.
    points, step_s: of the future.
    sensors: what a sensor-level planner is given beside; None reads no sensor.
    """

    raster: RasterGrid = field(default_factory=RasterGrid)
    reach_m: float = 60.0
    most_actors: int = 32
    most_lines: int = 96
    points: int = 8
    step_s: float = 0.5
    sensors: PlanSensors | None = None


@dataclass(frozen=True, eq=False)
class PlanSample:
    """A decision.

    Attributes:
        frame_id: "<log>@<tenths of a second after the log's start>", or any name.
        status: float32 [8], STATUS_COLUMNS; velocity and acceleration in the ego's own axes.
        command: index into COMMANDS.
        past: float32 [len(BACK), 5], PAST_COLUMNS: where the ego was; 0 where it is not known.
        route: float32 [len(ROUTE_M), 2], its middle; 0 where there is no route.
        actors: float32 [A, 27], ACTOR_COLUMNS, nearest first.
        lines: float32 [L, LINE_POINTS, 2]; line_about: float32 [L, 7], LINE_COLUMNS. Nearest first.
        raster: int16 [rows, columns], bits of PLANES.
        future: float32 [T, 3] x, y, heading; future_valid: bool [T]. Where it is false, or unknown as in a drive, 0.
        sensors: what a sensor-level planner sees; None for planners of objects, and until a data set has read it.
        semantic: uint8 [rows, columns], ``plan_sample_sensors.SEMANTICS`` ahead, to learn beside the future; or None.
        sensed: where the sensors that belong to the decision are to be had, or None.
    """

    frame_id: str
    status: npt.NDArray[np.float32]
    command: int
    past: npt.NDArray[np.float32]
    route: npt.NDArray[np.float32]
    actors: npt.NDArray[np.float32]
    lines: npt.NDArray[np.float32]
    line_about: npt.NDArray[np.float32]
    raster: npt.NDArray[np.int16]
    future: npt.NDArray[np.float32]
    future_valid: npt.NDArray[np.bool_]
    sensors: PlanSensorInput | None = None
    semantic: npt.NDArray[np.uint8] | None = None
    sensed: SensedAt | None = None


@dataclass(frozen=True)
class MapLines:
    """A map's lanes and road edges cut into pieces, in the scene's frame: made once a scene.

    points: float64 [L, LINE_POINTS, 2]. about: float32 [L, 7], LINE_COLUMNS without signals. lane: int64 [L], -1: edge.
    route: float64 [C, 2], the middle of where the ego is to go (C = 0: nobody knows); along: float64 [C], arc length.
    """

    points: np.ndarray
    about: np.ndarray
    lane: np.ndarray
    route: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    along: np.ndarray = field(default_factory=lambda: np.zeros(0))


def cut_lines(lanes: SceneMap, route: Route | None) -> MapLines:
    """Every centre line and road edge as pieces of at most LINE_METRES with LINE_POINTS points each."""
    points: list[np.ndarray] = []
    about: list[tuple[float, ...]] = []
    numbers: list[int] = []
    for lane in range(len(lanes.lane_ids)):
        known = bool(lanes.speed_limit_valid[lane])
        limit = float(lanes.speed_limit_mps[lane]) / 10 if known else 0.0
        on_route = route is not None and bool(route.on_route[lane])
        row = (on_route, bool(lanes.lane_is_connector[lane]), 0.0, 0.0, 0.0, limit, known)
        for piece in _pieces(lanes.lane_line(lane)):
            points.append(piece)
            about.append(row)
            numbers.append(lane)
    for start, end in zip(lanes.edge_offsets[:-1], lanes.edge_offsets[1:], strict=True):
        for piece in _pieces(lanes.edge_vertices[start:end]):
            points.append(piece)
            about.append((0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0))
            numbers.append(-1)
    return MapLines(
        np.array(points, np.float64).reshape(-1, LINE_POINTS, 2),
        np.array(about, np.float32).reshape(-1, len(LINE_COLUMNS)),
        np.array(numbers, np.int64),
        np.zeros((0, 2)) if route is None else route.centreline,
        np.zeros(0) if route is None else route.arc_length,
    )


def _pieces(line: np.ndarray) -> list[np.ndarray]:
    length = arc_length(line)[-1] if len(line) > 1 else 0.0
    if length < 0.1:
        return []
    count = int(np.ceil(length / LINE_METRES))
    cuts = np.linspace(0.0, length, count * (LINE_POINTS - 1) + 1)
    every = point_at(line, cuts)
    return [every[k * (LINE_POINTS - 1) :][:LINE_POINTS] for k in range(count)]


def make_sample(
    name: str,
    ego: np.ndarray,
    ego_valid: np.ndarray,
    actors: Actors,
    lights: Lights,
    command: int,
    lines: MapLines,
    picture: MapPicture,
    features: PlanFeatures,
) -> PlanSample:
    """The sample of an instant, without its future.

    Args:
        name: Becomes frame_id.
        ego: float64 [HISTORY, 11], EGO_COLUMNS in the scene's frame; the last row is now.
        ego_valid: bool [HISTORY].
        actors, lights: With HISTORY instants.
        command: Index into COMMANDS.
        lines, picture: Of the scene's map.
        features: What to tell.
    """
    here = ego[-1, [X, Y, HEADING]]
    axes = _axes(here[2])
    status = np.zeros(len(STATUS_COLUMNS), np.float32)
    status[command] = 1
    status[len(COMMANDS) :] = ego[-1, [VX, VY, AX, AY]]
    back = HISTORY - 1 - np.array(BACK)
    past = np.zeros((len(BACK), len(PAST_COLUMNS)), np.float32)
    turned = ego[back, HEADING] - here[2]
    past[:, :2] = (ego[back][:, [X, Y]] - here[:2]) @ axes
    past[:, 2], past[:, 3], past[:, 4] = np.cos(turned), np.sin(turned), 1
    past *= ego_valid[back][:, None]

    box, velocity, kind, rows = _near_actors(actors, here, axes, features)
    then = (actors.box[rows][:, back, :2] - here[:2]) @ axes
    seen = actors.valid[rows][:, back]
    where = np.concatenate((then, np.ones((*seen.shape, 1))), axis=-1)
    route, along, aside = _on_route(lines, here, axes, actors.box[rows, -1, :2])
    told = np.concatenate(
        (
            box[:, :2],
            np.cos(box[:, 4:]),
            np.sin(box[:, 4:]),
            velocity,
            box[:, 2:4],
            kind[:, None] == np.arange(len(ACTOR_KINDS)),
            (where * seen[..., None]).reshape(len(rows), 3 * len(BACK)),
            along[:, None],
            aside[:, None],
            np.full((len(rows), 1), len(lines.route) > 0),
        ),
        axis=1,
    ).astype(np.float32)

    points, about = _near_lines(lines, lights, here, axes, features)
    stopping = (lights.state[-1] == RED) | (lights.state[-1] == YELLOW)
    stops = (lights.stop_xy[stopping] - here[:2]) @ axes
    plane = np.where(kind == VEHICLE, P_VEHICLE, np.where(kind == STATIC, P_STATIC, P_PEDESTRIAN))
    moving = kind == VEHICLE
    shown, planes = [box], [plane]
    for seconds, later in ((1.0, P_1S), (2.0, P_2S)):
        ahead = box[moving].copy()
        ahead[:, :2] += seconds * velocity[moving]
        shown.append(ahead)
        planes.append(np.full(len(ahead), later))
    drawn = raster(features.raster, picture, here, np.concatenate(shown), np.concatenate(planes), stops)
    return PlanSample(
        frame_id=name,
        status=status,
        command=command,
        past=past,
        route=route,
        actors=told,
        lines=points,
        line_about=about,
        raster=drawn,
        future=np.zeros((features.points, 3), np.float32),
        future_valid=np.zeros(features.points, np.bool_),
    )


def with_future(sample: PlanSample, here: np.ndarray, poses: np.ndarray, valid: np.ndarray) -> PlanSample:
    """The sample with the future poses [T, 3] of the scene's frame, seen from `here`; valid bool [T]."""
    future = np.concatenate(((poses[:, :2] - here[:2]) @ _axes(here[2]), wrap_angle(poses[:, 2:] - here[2])), axis=1)
    return replace(sample, future=(future * valid[:, None]).astype(np.float32), future_valid=valid.astype(np.bool_))


def _axes(heading: float) -> np.ndarray:
    """[2, 2] so that row vectors of the scene times it are in the ego frame."""
    cos, sin = np.cos(heading), np.sin(heading)
    return np.array([[cos, -sin], [sin, cos]])


def _near_actors(
    actors: Actors, here: np.ndarray, axes: np.ndarray, features: PlanFeatures
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Boxes [A, 5], velocities [A, 2] in the ego frame, kinds [A] and rows [A] of the nearest that are there now."""
    distance = np.linalg.norm(actors.box[:, -1, :2] - here[:2], axis=1)
    rows = np.flatnonzero(actors.valid[:, -1] & (distance < features.reach_m))
    rows = rows[np.argsort(distance[rows], kind="stable")][: features.most_actors]
    box = actors.box[rows, -1].copy()
    box[:, :2] = (box[:, :2] - here[:2]) @ axes
    box[:, 4] -= here[2]
    return box, actors.velocity[rows, -1] @ axes, actors.kind[rows], rows


ON_ROUTE_M = 80.0
"""Of the route, this much before and behind the ego is looked at: it may come back to the same place."""


def _on_route(
    lines: MapLines, here: np.ndarray, axes: np.ndarray, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The route float32 [len(ROUTE_M), 2] in the ego frame; of places [A, 2] metres along and aside of it."""
    if len(lines.route) < 2:
        return np.zeros((len(ROUTE_M), 2), np.float32), np.zeros(len(places)), np.zeros(len(places))
    at = float(project_to_polyline(lines.route, here[None, :2])[0][0])
    told = point_at(lines.route, np.clip(at + np.array(ROUTE_M), 0.0, lines.along[-1]))
    near = np.flatnonzero(np.abs(lines.along - at) <= ON_ROUTE_M)
    along, aside = project_to_polyline(lines.route[near], places)
    return ((told - here[:2]) @ axes).astype(np.float32), along + lines.along[near[0]] - at, aside


def _near_lines(
    lines: MapLines, lights: Lights, here: np.ndarray, axes: np.ndarray, features: PlanFeatures
) -> tuple[np.ndarray, np.ndarray]:
    """Points float32 [L, LINE_POINTS, 2] in the ego frame and LINE_COLUMNS of the nearest pieces, signals put in."""
    distance = np.linalg.norm(lines.points - here[:2], axis=2).min(axis=1, initial=np.inf)
    rows = np.flatnonzero(distance < features.reach_m)
    rows = rows[np.argsort(distance[rows], kind="stable")][: features.most_lines]
    about = lines.about[rows].copy()
    state = lights.state[-1]
    for signal in np.flatnonzero((state > 0) & (lights.lane >= 0)):
        on = lines.lane[rows] == lights.lane[signal]
        about[on, 2 if state[signal] in (RED, YELLOW) else 3] = 1
    return ((lines.points[rows] - here[:2]) @ axes).astype(np.float32), about
