"""What the PDM score needs to know of a scene, as arrays that its kernels take."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from drive.dynamics.vehicle import Vehicle
from drive.rollouts.ground import EDGES, Ground, ground_of
from drive.samples.scene import CROSSING, RED, STATIC, Scene, SceneMap
from drive.scores.pdm_areas import LANES, polygon_is_on_route
from drive.scores.pdm_config import PdmConfig
from drive.scores.pdm_grid import Grid, make_grid
from drive.scores.pdm_route import CentreLine, make_centre_line

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PdmMap:
    """The polygons of a map with their grid; made once a map.

    Attributes:
        vertices, rings, polygons: ragged, as SceneMap; without those that are crossings only.
        layer: uint8 [G] bits of drive.samples.scene. lane: int64 [G] or -1.
        bounds: float64 [G, 4] x low, y low, x high, y high.
        judges_road: whether polygons say what is road.
    """

    vertices: Floats
    rings: Ints
    polygons: Ints
    layer: npt.NDArray[np.uint8]
    lane: Ints
    bounds: Floats
    grid: Grid
    judges_road: bool

    @staticmethod
    def of(scene_map: SceneMap, within: Floats | None = None) -> PdmMap:
        """within: float64 [4] x low, y low, x high, y high, outside of which nobody will ask (a smaller grid).

        ValueError: offsets that do not fit, vertices that are not finite.
        """
        keep = np.flatnonzero(scene_map.polygon_layer & ~np.uint8(CROSSING))
        ring, polygon_offsets = _take(scene_map.polygon_offsets, keep)
        vertex, ring_offsets = _take(scene_map.ring_offsets, ring)
        vertices = np.ascontiguousarray(scene_map.vertices[vertex], dtype=np.float64).reshape(-1, 2)
        bounds = np.tile([np.inf, np.inf, -np.inf, -np.inf], (len(keep), 1))
        owner = np.repeat(np.arange(len(keep)), np.diff(ring_offsets[polygon_offsets]))
        for axis in (0, 1):
            np.minimum.at(bounds[:, axis], owner, vertices[:, axis])
            np.maximum.at(bounds[:, axis + 2], owner, vertices[:, axis])
        return PdmMap(
            vertices=vertices,
            rings=ring_offsets,
            polygons=polygon_offsets,
            layer=np.ascontiguousarray(scene_map.polygon_layer[keep], dtype=np.uint8),
            lane=np.ascontiguousarray(scene_map.polygon_lane[keep], dtype=np.int64),
            bounds=bounds,
            grid=make_grid(vertices, ring_offsets, polygon_offsets, within=within),
            judges_road=scene_map.drivable_from in ("polygons", "polygons and buffered centre lines"),
        )


def _take(offsets: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """(indices of what ragged rows hold, one row after the other; their offsets)."""
    counts = np.asarray(offsets[rows + 1] - offsets[rows], dtype=np.int64)
    kept = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return np.arange(kept[-1]) + np.repeat(offsets[rows] - kept[:-1], counts), kept


@dataclass(frozen=True)
class PdmScene:
    """One start of a planner: S instants of traffic (0.1 s apart, the first is now), map, route, lights.

    Several starts in one place (the windows of drives) go in one scene: boxes, valid, speed and red then have an axis
    [B] before the others, and `PdmScorer.raw` is told which start each proposal is of.

    Attributes:
        boxes: float64 [S, A, 5] x y length width heading; valid bool [S, A]; speed float64 [S, A] m/s.
        is_thing: bool [A]: no vehicle, pedestrian or cyclist.
        on_route: bool [G], the polygons of the route's lanes.
        line: the route's middle, or None: progress, direction and lane keeping are not judged then.
        red: bool [S, R]: which of R lane polygons (red_polygon int64 [R]) have a red light.
        history: float64 [H, 11] of the driver before now, or None.
    """

    name: str
    vehicle: Vehicle
    map: PdmMap
    boxes: Floats
    valid: Bools
    speed: Floats
    is_thing: Bools
    on_route: Bools
    line: CentreLine | None
    red: Bools
    red_polygon: Ints
    history: Floats | None = None
    edges: Ground | None = None
    """Road edges, where they and no polygons bound the road (a ground of this scene alone)."""
    ground_z: float | Floats = 0.0
    """Height of the ground below the ego (of each start [B]), for road edges that run above or below others."""
    notes: tuple[str, ...] = field(default=())

    @property
    def starts(self) -> int:
        """B, of scenes with several starts; else 1."""
        return len(self.valid) if self.valid.ndim == 3 else 1

    @property
    def judges_direction(self) -> bool:
        """Whether there is a lane of the route to be off (a route may be nothing but the recorded path)."""
        return self.line is not None and bool(self.on_route.any())

    def __post_init__(self) -> None:
        *S, A = self.valid.shape
        wanted = {
            "boxes": (*S, A, 5),
            "speed": (*S, A),
            "is_thing": (A,),
            "on_route": (len(self.map.layer),),
            "red": (*S, len(self.red_polygon)),
        }
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{self.name}: {name} has shape {getattr(self, name).shape}, not {shape}")


def pdm_scene(scene: Scene, config: PdmConfig, at: int | None = None, pdm_map: PdmMap | None = None) -> PdmScene:
    """A scene's instant `at` (default: its start) for the score, with the log's own traffic.

    pdm_map: `PdmMap.of(scene.map)` where it is at hand. ValueError: the scene ends before the traffic that the version
    needs (`config.traffic_steps`).
    """
    at = scene.now if at is None else at
    stop = at + config.traffic_steps
    if at < 0 or stop > len(scene.timestamps_ns):
        raise ValueError(
            f"{scene.name}: {config.label()} from instant {at} needs traffic up to instant {stop - 1}, "
            f"the scene has {len(scene.timestamps_ns)}"
        )
    known = pdm_map or PdmMap.of(scene.map)
    notes = list(scene.notes)
    lanes = np.zeros(len(scene.map.lane_ids), np.bool_) if scene.route is None else scene.route.on_route
    on_route = polygon_is_on_route(known.layer, known.lane, lanes)
    ground = None if known.judges_road else ground_of([scene])
    edges = ground if ground is not None and ground.kind[0] == EDGES else None
    if not known.judges_road:
        notes.append("off the road is beyond a road edge" if edges is not None else "what is road is not known")
    light, polygon = light_polygons(scene, known, on_route)
    unplaced = len(scene.lights.lane) - len(np.unique(light))
    if unplaced:
        notes.append(f"{unplaced} of {len(scene.lights.lane)} lights govern no polygon of the route: not judged")
    now = slice(at, stop)
    return PdmScene(
        name=scene.name,
        vehicle=scene.vehicle,
        map=known,
        boxes=np.ascontiguousarray(scene.actors.box[:, now].transpose(1, 0, 2)),
        valid=np.ascontiguousarray(scene.actors.valid[:, now].T),
        speed=np.ascontiguousarray(np.hypot(*scene.actors.velocity[:, now].T)),
        is_thing=scene.actors.kind == STATIC,
        on_route=on_route,
        line=None if scene.route is None else make_centre_line(scene.route.centreline, config.lane_keeping_m),
        red=np.ascontiguousarray(scene.lights.state[now][:, light] == RED),
        red_polygon=polygon,
        history=scene.ego[max(at - 15, 0) : at] if at >= 15 and bool(scene.ego_valid[at - 15 : at].all()) else None,
        edges=edges,
        ground_z=float(scene.ego_z[at]),
        notes=tuple(notes),
    )


def light_polygons(scene: Scene, known: PdmMap, on_route: Bools) -> tuple[Ints, Ints]:
    """(light, polygon) of each pair of a light and a polygon on the route of the lane that it governs."""
    usable = on_route & ((known.layer & LANES) != 0)
    pairs = (scene.lights.lane[:, None] == known.lane[None]) & (scene.lights.lane >= 0)[:, None] & usable[None]
    light, polygon = np.nonzero(pairs)
    return light.astype(np.int64), polygon.astype(np.int64)
