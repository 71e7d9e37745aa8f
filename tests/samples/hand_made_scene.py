"""Map features, routes and scenes made by hand: a straight road of two lanes, a junction, who stands on it."""

from __future__ import annotations

import numpy as np

from drive.dynamics.vehicle import Vehicle
from drive.logs.maps import MapFeature
from drive.samples.route import NoRouteError, find_route
from drive.samples.scene import VX, Actors, Lights, Scene, SceneMap, X, Y
from drive.samples.scene_map import build_map

STEPS = 81


def ring(*points: tuple[float, float]) -> np.ndarray:
    return np.array([(x, y, 0.0) for x, y in points])


def lane(
    name: str, line: list[tuple[float, float]], width: float = 3.5, kind: str = "lane", **more: object
) -> list[MapFeature]:
    """A lane around a straight line: its area and its centre line."""
    (x0, y0), (x1, y1) = line[0], line[-1]
    heading = np.arctan2(y1 - y0, x1 - x0)
    n = np.array([-np.sin(heading), np.cos(heading)]) * width / 2
    area = np.array([line[0] - n, line[-1] - n, line[-1] + n, line[0] + n])
    geometry = np.concatenate([area, np.zeros((4, 1))], axis=1)
    links = {k: tuple(more.pop(k, ())) for k in ("successors", "predecessors")}  # type: ignore[arg-type]
    return [
        MapFeature(name, kind, geometry, True, attributes=more, **links),
        MapFeature(name, "centerline", ring(*line), False, attributes={"lane": name}),
    ]


def straight_road() -> list[MapFeature]:
    """300 m eastwards from x = -50: the right lane at y = 0 in two pieces, the left lane at y = 3.5, and one the other
    way at y = 7; the right lane's end forks into a straight lane and one that turns left."""
    turn = [(250 + 10 * np.sin(a), 10 - 10 * np.cos(a)) for a in np.linspace(0, np.pi / 2, 10)]
    return [
        *lane("a", [(-50.0, 0.0), (100.0, 0.0)], successors=["b"]),
        *lane("b", [(100.0, 0.0), (250.0, 0.0)], successors=["c", "t"]),
        *lane("c", [(250.0, 0.0), (400.0, 0.0)]),
        *lane("left", [(-50.0, 3.5), (250.0, 3.5)]),
        *lane("against", [(250.0, 7.0), (-50.0, 7.0)]),
        MapFeature("t", "lane_connector", ring(*turn), False, successors=("up",)),
        *lane("up", [(260.0, 10.0), (260.0, 100.0)]),
    ]


def drive(speed: float = 10.0, start: float = 0.0, y: float = 0.0, steps: int = STEPS) -> np.ndarray:
    """Ego states [T, 11] straight to the east."""
    ego = np.zeros((steps, 11))
    ego[:, X], ego[:, Y], ego[:, VX] = start + speed * 0.1 * np.arange(steps), y, speed
    return ego


def actors(*rows: tuple[float, float, float, float], kind: int = 0, steps: int = STEPS) -> Actors:
    """Cars 4 m x 2 m: x, y, heading, speed at the first instant; they keep them."""
    box, velocity = np.zeros((len(rows), steps, 5)), np.zeros((len(rows), steps, 2))
    at = 0.1 * np.arange(steps)
    for a, (x, y, heading, speed) in enumerate(rows):
        v = speed * np.array([np.cos(heading), np.sin(heading)])
        box[a, :, 0], box[a, :, 1] = x + v[0] * at, y + v[1] * at
        box[a, :, 2:] = 4.0, 2.0, heading
        velocity[a] = v
    count = len(rows)
    token = tuple(f"car-{a}" for a in range(count))
    shape = (count, steps)
    return Actors(box, velocity, np.ones(shape, bool), np.full(count, kind, np.int64), token, np.zeros(shape))


def scene(
    ego: np.ndarray | None = None,
    others: Actors | None = None,
    around: SceneMap | None = None,
    *,
    name: str = "road@0",
    lights: Lights | None = None,
    now: int = 0,
) -> Scene:
    """A scene on the straight road; no route where the map has none for the drive."""
    ego = drive() if ego is None else ego
    around = build_map(straight_road())[0] if around is None else around
    steps = len(ego)
    try:
        route = find_route(around, ego[now:])
    except NoRouteError:
        route = None
    return Scene(
        name=name, log=name.split("@")[0], timestamps_ns=100_000_000 * np.arange(steps), now=now,
        origin_xy=np.zeros(2), ego=ego, ego_valid=np.ones(steps, bool), ego_z=np.zeros(steps), vehicle=Vehicle(),
        actors=Actors.none(steps) if others is None else others, map=around, route=route,
        lights=Lights.none(steps) if lights is None else lights,
    )  # fmt: skip
