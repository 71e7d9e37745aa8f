"""Scenes: hand-made maps and logs whose answers are worked out, then the recorded ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_tools.convert import DATASETS
from drive.cli import main
from drive.errors import UserError
from drive.geometry.rigid import quaternion_from_yaw
from drive.logs.maps import MapFeature, distance_to
from drive.logs.store import Log
from drive.logs.writer import LogWriter
from drive.samples import scene as sc
from drive.samples.lane_graph import lane_graph
from drive.samples.route import COMMANDS, NoRouteError, command, find_route, path_route
from drive.samples.scene_kinds import actor_kind
from drive.samples.scene_load import SceneConfig, load_named, load_scene, scene_starts
from drive.samples.scene_map import build_map, local_map, strip
from tests.samples import hand_made_scene as made


def inside(ring: np.ndarray, x: float, y: float) -> bool:
    """Even-odd, straight from its definition."""
    odd = False
    for (ax, ay), (bx, by) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if (ay > y) != (by > y) and x < ax + (y - ay) / (by - ay) * (bx - ax):
            odd = not odd
    return odd


def covered(pieces: list[np.ndarray], x: float, y: float) -> bool:
    return any(inside(piece, x, y) for piece in pieces)


# --- kinds --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("category", "kind"),
    [
        ("vehicle.car", "vehicle"), ("vehicle.bus.bendy", "vehicle"), ("vehicle.motorcycle", "cyclist"),
        ("human.pedestrian.personal_mobility", "pedestrian"), ("movable_object.trafficcone", "static"),
        ("static_object.bicycle_rack", "static"), ("TYPE_CYCLIST", "cyclist"), ("VEHICLE", "vehicle"),
        ("PEDESTRIAN", "pedestrian"), ("MOBILE_PEDESTRIAN_CROSSING_SIGN", "static"),
        ("OFFICIAL_SIGNALER", "pedestrian"), ("WHEELED_DEVICE", "cyclist"), ("VEHICULAR_TRAILER", "vehicle"),
        ("Car", "vehicle"), ("Person_sitting", "pedestrian"), ("czone_sign", "static"), ("generic_object", "static"),
        ("BOX_TRUCK", "vehicle"), ("riderless_bicycle", "static"), ("animal", "pedestrian"),
    ],
)  # fmt: skip
def test_kind_of_a_category(category: str, kind: str) -> None:
    index = actor_kind(category)
    assert index is not None
    assert sc.ACTOR_KINDS[index] == kind


@pytest.mark.parametrize("category", ["PERCEPTION_LABEL_UNKNOWN", "TYPE_UNSET", "DontCare", "TYPE_OTHER", ""])
def test_categories_that_say_nothing(category: str) -> None:
    assert actor_kind(category) is None


# --- lanes --------------------------------------------------------------------------------------------------------


def test_links_and_neighbours_of_the_straight_road() -> None:
    graph = lane_graph(made.straight_road())
    at = {key: i for i, key in enumerate(graph.ids)}
    assert graph.linked_by == "ids"
    assert graph.successors[at["b"]] == (at["c"], at["t"])
    assert graph.left[at["a"]] == graph.left[at["b"]] == at["left"]
    assert graph.right[at["left"]] in (at["a"], at["b"])
    assert graph.left[at["left"]] == -1  # what runs there runs the other way
    assert graph.left[at["against"]] == graph.right[at["against"]] == -1
    assert graph.is_connector.nonzero()[0].tolist() == [at["t"]]


def test_without_links_lanes_join_where_their_ends_meet() -> None:
    features = [
        MapFeature(f.feature_id, f.kind, f.geometry, f.is_polygon, attributes=f.attributes)
        for f in made.straight_road()
    ]
    apart = made.lane("far", [(400.4, 0.0), (500.0, 0.0)]) + made.lane("back", [(400.0, 0.0), (300.0, 1.0)])
    graph = lane_graph([*features, *apart])
    at = {key: i for i, key in enumerate(graph.ids)}
    assert graph.linked_by == "geometry"
    assert graph.successors[at["b"]] == (at["c"], at["t"])
    assert graph.successors[at["t"]] == (at["up"],)
    assert graph.successors[at["c"]] == ()  # "far" is 0.4 m away, "back" leads the other way


def test_speed_limits_in_their_units_and_lanes_for_bicycles() -> None:
    features = [
        *made.lane("mph", [(0.0, 0.0), (9.0, 0.0)], speed_limit_mph=25.0),
        *made.lane("kmh", [(0.0, 20.0), (9.0, 20.0)], speed_limit_kmh=50.0),
        *made.lane("standin", [(0.0, 40.0), (9.0, 40.0)], speed_limit_kmh=100),
        *made.lane("bike", [(0.0, 60.0), (9.0, 60.0)], type="BIKE_LANE"),
    ]
    graph = lane_graph(features)
    assert graph.ids == ("mph", "kmh", "standin")
    np.testing.assert_allclose(graph.speed_limit_mps, [11.176, 13.8888889, 0.0])
    assert graph.speed_limit_valid.tolist() == [True, True, False]


# --- polygons -----------------------------------------------------------------------------------------------------


def test_a_strip_covers_what_lies_within_its_width() -> None:
    rng = np.random.default_rng(3)
    gentle = np.stack([20 * np.sin(np.linspace(0, 1.5, 12)), 20 * np.cos(np.linspace(0, 1.5, 12))], axis=1)
    hairpin = np.array([[0.0, 0.0], [6.0, 0.0], [6.0, 0.8], [0.0, 0.8]])
    for line, one in ((gentle, True), (hairpin, False)):
        pieces = strip(line, 1.75)
        assert (len(pieces) == 1) == one
        places = rng.uniform(line.min(axis=0) - 4, line.max(axis=0) + 4, (600, 2))
        feature = MapFeature("", "", np.pad(line, ((0, 0), (0, 1))), False)
        away = distance_to(feature, places)
        answers = np.array([covered(pieces, x, y) for x, y in places])
        clear = np.abs(away - 1.75) > 0.16  # rounded ends are polygons
        assert (answers == (away < 1.75))[clear].all()
        assert clear.sum() > 400


def test_strips_that_only_tell_lanes_end_with_their_lines() -> None:
    """Where road edges bound the road (Waymo), who stands a metre before the stop line is not in the lane behind it."""
    lanes = [MapFeature("a", "lane", made.ring((0.0, 0.0), (20.0, 0.0), (40.0, 0.0)), False)]
    edge = MapFeature("e", "road_edge", made.ring((-50.0, -6.0), (60.0, -6.0)), False)
    for features, before in (([*lanes, edge], False), (lanes, True)):
        built, _ = build_map(features)
        assert built.drivable_from == ("polygons and buffered centre lines" if before else "road edges")
        for x, inside in ((-1.0, before), (1.0, True), (39.0, True), (41.0, before)):
            assert covered([built.vertices], x, 0.5) == inside
    corner = np.array([[0.0, 0.0], [6.0, 0.0], [6.0, 0.8], [0.0, 0.8]])
    assert not covered(strip(corner, 1.75, round_ends=False), -1.0, 0.0)
    assert covered(strip(corner, 1.75, round_ends=False), 7.0, 0.4)


def test_where_the_road_comes_from() -> None:
    whole, _ = build_map(made.straight_road())
    assert whole.drivable_from == "polygons and buffered centre lines"
    turn = int(np.flatnonzero(whole.polygon_lane == whole.lane_ids.index("t"))[0])
    assert whole.polygon_layer[turn] == sc.DRIVABLE | sc.CONNECTOR
    area = MapFeature("d", "drivable_area", made.ring((-60, -5), (410, -5), (410, 12), (-60, 12)), True)
    with_area, _ = build_map([*made.straight_road(), area])
    assert with_area.drivable_from == "polygons"
    turn = int(np.flatnonzero(with_area.polygon_lane == with_area.lane_ids.index("t"))[0])
    assert with_area.polygon_layer[turn] == sc.CONNECTOR  # a lane to be in, not a piece of road of its own
    lines = [f for f in made.straight_road() if f.kind == "lane_connector"]
    edge = MapFeature("e", "road_edge", made.ring((0, -2), (9, -2)), False)
    assert build_map([*lines, edge])[0].drivable_from == "road edges"
    assert build_map(lines)[0].drivable_from == "polygons and buffered centre lines"
    assert build_map([])[0].drivable_from == "nothing"


def test_holes_stay_and_closing_points_go() -> None:
    hole = made.ring((2, 2), (2, 4), (4, 4), (2, 2))
    area = MapFeature("d", "drivable_area", made.ring((0, 0), (9, 0), (9, 9), (0, 0)), True, holes=(hole,))
    built, _ = build_map([area])
    assert built.polygon_offsets.tolist() == [0, 2]
    assert np.diff(built.ring_offsets).tolist() == [3, 3]


def test_the_part_near_a_path() -> None:
    whole, _ = build_map(made.straight_road())
    origin = np.array([-20.0, 0.0])
    part = local_map(whole, np.array([[-30.0, 0.0], [-20.0, 0.0]]), 30.0, origin)
    assert part.lane_ids == ("a", "left", "against")
    assert part.successors.size == part.predecessors.size == 0
    a, left = part.lane_ids.index("a"), part.lane_ids.index("left")
    assert (part.left[a], part.right[left]) == (left, a if whole.right[whole.lane_ids.index("left")] == 0 else -1)
    np.testing.assert_allclose(part.lane_line(a), [[-30.0, 0.0], [120.0, 0.0]])
    assert sorted(part.polygon_lane.tolist()) == [0, 1, 2]
    everything = local_map(whole, np.zeros((1, 2)), 1e4, np.zeros(2))
    for name in ("vertices", "successors", "successor_offsets", "predecessors", "polygon_lane", "left", "edge_z"):
        np.testing.assert_array_equal(getattr(everything, name), getattr(whole, name))


# --- routes -------------------------------------------------------------------------------------------------------


def test_route_of_a_straight_drive() -> None:
    lanes, _ = build_map(made.straight_road())
    route = find_route(lanes, made.drive(10.0))
    names = [lanes.lane_ids[i] for i in route.lanes]
    # To x = 80, then 150 m on: b ends at 250, and that is all of it.
    assert names == ["a", "b"]
    np.testing.assert_allclose(route.centreline[[0, -1]], [[-50.0, 0.0], [250.0, 0.0]])
    assert {lanes.lane_ids[i] for i in np.flatnonzero(route.on_route)} == {"a", "b", "left"}
    assert np.diff(route.arc_length).max() <= 0.5 + 1e-9


def test_route_goes_where_the_drive_went_not_straight_on() -> None:
    lanes, _ = build_map(made.straight_road())
    ego = made.drive(15.0, start=150.0)
    turned = ego[:, sc.X] > 250.0
    over = ego[turned, sc.X] - 250.0
    angle = np.minimum(over / 10, np.pi / 2)
    rest = np.maximum(over - 5 * np.pi, 0.0)
    ego[turned, sc.X], ego[turned, sc.Y] = 250 + 10 * np.sin(angle), 10 - 10 * np.cos(angle) + rest
    ego[turned, sc.HEADING] = angle
    route = find_route(lanes, ego)
    assert [lanes.lane_ids[i] for i in route.lanes] == ["b", "t", "up"]
    assert COMMANDS[command(route, np.array([225.0, 0.0]))] == "left"
    assert COMMANDS[command(route, np.array([150.0, 0.0]))] == "straight"
    assert COMMANDS[command(None, np.zeros(2))] == "unknown"


def test_a_change_of_lane_is_blended() -> None:
    lanes, _ = build_map(made.straight_road())
    ego = made.drive(10.0)
    share = np.clip((ego[:, sc.X] - 30) / 20, 0, 1)
    ego[:, sc.Y] = 3.5 * share
    route = find_route(lanes, ego)
    assert [lanes.lane_ids[i] for i in route.lanes] == ["a", "left"]
    step = np.diff(route.centreline, axis=0)
    assert np.abs(np.arctan2(step[:, 1], step[:, 0])).max() < 0.25
    assert route.centreline[-1, 1] == pytest.approx(3.5)


@pytest.mark.parametrize(
    ("ego", "why"),
    [(made.drive(y=30.0), "in a lane at only 0 of 17"), (made.drive(y=-2.5), "more than 2 m from the lanes' middle")],
)
def test_drives_without_a_route(ego: np.ndarray, why: str) -> None:
    lanes, _ = build_map(made.straight_road())
    with pytest.raises(NoRouteError, match=why):
        find_route(lanes, ego)
    own = path_route(lanes, ego)
    assert own.lanes.size == 0
    assert own.arc_length[-1] == pytest.approx(30 + 80 + 150)


def test_no_lanes_no_route_and_a_standing_drive() -> None:
    with pytest.raises(NoRouteError, match="no lanes"):
        find_route(sc.SceneMap.empty(), made.drive())
    lanes, _ = build_map(made.straight_road())
    route = find_route(lanes, made.drive(0.0))
    assert route.arc_length[-1] > 150.0
    assert path_route(lanes, made.drive(0.0)).arc_length[-1] == pytest.approx(180.0)


# --- logs ---------------------------------------------------------------------------------------------------------


def write_log(root: Path, name: str = "toy", frames: int = 6, lanes: bool = True, far: float = 4e5) -> Log:
    """2 Hz, 10 m/s eastwards at y = far; a car 20 m ahead with the same speed, labelled at frames 1, 2 and 5; one that
    turns from 170 to -170 degrees; a cone; something unknown."""
    with LogWriter(root, name, dataset="hand-made", source_version="1", licence="CC0-1.0") as log:
        for k in range(frames):
            frame = log.add_frame(
                500_000_000 * k, rows={}, pose_translation=np.array([5.0 * k, far, 0.0]),
                pose_rotation=quaternion_from_yaw(0.0), source_timestamp=k,
            )  # fmt: skip
            yaw = np.deg2rad(170.0 + 20.0 * min(k, 1))
            rows = [
                ("turner", "vehicle.car", [0.0, 9.0, 0.8, 4.0, 2.0, 1.6, yaw, 0, 0], True),
                ("cone", "movable_object.trafficcone", [5.0 - 5.0 * k, 6.0, 0.5, 0.4, 0.4, 1.0, 0, 0, 0], False),
                ("what", "unheard_of", [1.0, 1.0, 0.5, 1, 1, 1, 0, 0, 0], False),
            ]
            if k in (1, 2, 5):
                rows.append(("ahead", "vehicle.car", [20.0, 0.0, 0.8, 4.0, 2.0, 1.6, 0.0, 10.0, 0], k != 5))
            boxes = np.array([row[2] for row in rows])
            log.add_boxes(
                frame, boxes, [row[1] for row in rows], [row[0] for row in rows],
                velocity_valid=np.array([row[3] for row in rows]), source_translation=boxes[:, :3],
                source_rotation=quaternion_from_yaw(boxes[:, 6]), source_size=boxes[:, 3:6],
            )  # fmt: skip
        for feature in made.straight_road() if lanes else []:
            log.add_map_feature(
                feature.feature_id, feature.kind, feature.geometry + np.array([0, far, 0.0]),
                is_polygon=feature.is_polygon, attributes=feature.attributes, predecessors=feature.predecessors,
                successors=feature.successors,
            )  # fmt: skip
    return Log.open(root / name)


def test_a_scene_of_a_log(tmp_path: Path) -> None:
    scene = load_scene(write_log(tmp_path), 1.0)
    assert scene.name == "toy@10"
    assert (scene.now, len(scene.timestamps_ns)) == (10, 26)
    np.testing.assert_allclose(scene.origin_xy, [10.0, 4e5])
    np.testing.assert_allclose(scene.ego[:, sc.X], np.arange(26) - 10.0, atol=1e-9)
    np.testing.assert_allclose(scene.ego[:, sc.VX], 10.0)
    np.testing.assert_allclose(scene.ego[:, [sc.Y, sc.HEADING, sc.VY, sc.AX, sc.AY, sc.STEERING]], 0.0, atol=1e-7)
    at = {token: i for i, token in enumerate(scene.actors.token)}
    assert sorted(at) == ["ahead", "cone", "turner"]
    assert any("unheard_of" in note for note in scene.notes)
    ahead = scene.actors.valid[at["ahead"]]
    # Labelled at 0.5 s and 1 s, then not before 2.5 s: that gap is longer than two spacings.
    assert ahead.nonzero()[0].tolist() == [*range(5, 11), 25]
    np.testing.assert_allclose(scene.actors.box[at["ahead"], 7], [17.0, 0.0, 4.0, 2.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(scene.actors.velocity[at["ahead"], 7], [10.0, 0.0])
    np.testing.assert_allclose(scene.actors.velocity[at["cone"], 3], [0.0, 0.0], atol=1e-9)  # from its places
    half = scene.actors.box[at["turner"], [0, 2, 5], 4]
    np.testing.assert_allclose(np.rad2deg(half), [170.0, 178.0, -170.0])  # over the half turn, not back
    assert scene.route is not None
    assert [scene.map.lane_ids[i] for i in scene.route.lanes] == ["a", "b"]
    assert scene.lights.state.shape == (26, 0)


def test_starts_names_and_what_is_refused(tmp_path: Path) -> None:
    log = write_log(tmp_path)
    assert scene_starts(log, every_s=0.5, future_s=1.5) == [0.0, 0.5, 1.0]
    assert scene_starts(log, every_s=0.5, future_s=9.0) == []
    assert load_named(tmp_path, "toy@5", SceneConfig(future_s=1.0)).timestamps_ns[-1] == 1_500_000_000
    with pytest.raises(UserError, match=r"starts from 0 to 2.4 s"):
        load_scene(log, 2.5)
    with pytest.raises(UserError, match="not the name of a scene"):
        load_named(tmp_path, "toy")


def test_a_log_without_map_and_one_without_boxes(tmp_path: Path) -> None:
    scene = load_scene(write_log(tmp_path, lanes=False), 0.0)
    assert scene.route is None
    assert scene.map.drivable_from == "nothing"
    assert any("no route: the map has no lanes" in note for note in scene.notes)
    with LogWriter(tmp_path, "bare", dataset="hand-made", source_version="1", licence="CC0-1.0") as log:
        for k in range(3):
            log.add_frame(
                100_000_000 * k, rows={}, pose_translation=np.zeros(3), pose_rotation=quaternion_from_yaw(0.0),
                source_timestamp=k,
            )  # fmt: skip
    bare = load_scene(Log.open(tmp_path / "bare"), 0.0)
    assert len(bare.actors) == 0
    assert len(bare.timestamps_ns) == 3
    assert len(sc.Actors.none(4).take(np.zeros(0, int))) == 0


def test_another_vehicle_as_the_ego(tmp_path: Path) -> None:
    log = write_log(tmp_path)
    scene = load_scene(log, 0.0, SceneConfig(ego="longest"))
    # The car beside drives as far as the ego, in the middle of its 4 m x 2 m box; the gaps of "ahead" rule it out.
    assert "the ego is track turner, not the recording vehicle" in scene.notes
    assert (scene.vehicle.width, scene.vehicle.length) == (2.0, pytest.approx(4.0))
    assert sorted(scene.actors.token) == ["ahead", "cone"]
    heading = scene.ego[10, sc.HEADING]
    assert np.cos(heading) < 0  # as it was labelled
    middle = scene.ego[10, :2] + scene.vehicle.centre * np.array([np.cos(heading), np.sin(heading)])
    np.testing.assert_allclose(middle + scene.origin_xy, [10.0, 4e5 + 9.0], atol=1e-6)
    assert load_scene(log, 0.0, SceneConfig(ego="turner")).ego_valid.all()
    for track, why in (("ahead", "not labelled all along"), ("cone", "no vehicle"), ("nobody", "no vehicle")):
        with pytest.raises(UserError, match=why):
            load_scene(log, 0.0, SceneConfig(ego=track))


# --- recordings ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def real_logs(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Converted excerpts: all nuScenes drives and one each of the other shapes."""
    root = tmp_path_factory.mktemp("real")
    for dataset, folder, more in (
        ("scenarionet", "nuscenes/scenarionet", []),
        ("waymo_motion", "waymo/motion/scenario_json", ["--logs", "*2a173b334be3d32c"]),
        ("scenarionet", "waymo/motion/scenarionet", ["--logs", "*8a346109094cd5aa"]),
        ("av2", "av2/sensor", []),
        ("lyft", "lyft_l5_prediction", []),
    ):
        assert dataset in DATASETS
        words = ["convert", dataset, str(real_data / folder), str(root / folder.replace("/", "_")), "--workers", "1"]
        assert main([*words, *more]) == 0
    return root


def off_road(scene: sc.Scene, keep: np.ndarray) -> int:
    """Instants at which some corner of the logged ego lies in none of the polygons ``keep`` [G]."""
    torch = pytest.importorskip("torch")
    from ops.polygon_queries import boxes_inside

    m, ego = scene.map, scene.ego[scene.ego_valid]
    rings = np.repeat(keep, np.diff(m.polygon_offsets))
    vertices = m.vertices[np.repeat(rings, np.diff(m.ring_offsets))]
    ring_offsets = np.concatenate([[0], np.cumsum(np.diff(m.ring_offsets)[rings])])
    polygon_offsets = np.concatenate([[0], np.cumsum(np.diff(m.polygon_offsets)[keep])])
    v, heading = scene.vehicle, ego[:, sc.HEADING]
    place = ego[:, :2] + v.centre * np.stack([np.cos(heading), np.sin(heading)], axis=1)
    sides = np.broadcast_to([v.length, v.width], (len(ego), 2))
    boxes = np.concatenate([place, sides, heading[:, None]], axis=1)
    given = [torch.from_numpy(a) for a in (boxes, vertices, ring_offsets, polygon_offsets)]
    return int((~boxes_inside(*given).inside.all(dim=1)).sum())


def test_logged_nuscenes_drives_are_on_the_road_only_with_the_connectors(real_logs: Path) -> None:
    alone, together = [], []
    logs = sorted(p for p in (real_logs / "nuscenes_scenarionet").iterdir() if p.is_dir())
    for path in logs:
        scene = load_scene(Log.open(path), 0.0)
        road = (scene.map.polygon_layer & sc.DRIVABLE) > 0
        alone.append(off_road(scene, road & (scene.map.polygon_layer & sc.CONNECTOR == 0)) > 0)
        together.append(off_road(scene, road) > 0)
        assert scene.route is not None
        assert scene.route.lanes.size
    assert (len(logs), sum(alone), sum(together)) == (7, 6, 0)


def test_scenes_of_the_other_recordings(real_logs: Path) -> None:
    def one(folder: str) -> sc.Scene:
        path = next(p for p in sorted((real_logs / folder).iterdir()) if p.is_dir())
        return load_scene(Log.open(path), 0.0)

    waymo, net = one("waymo_motion_scenario_json"), one("waymo_motion_scenarionet")
    assert waymo.map.drivable_from == net.map.drivable_from == "road edges"
    assert waymo.lights.state.shape[1] > 0
    assert (net.lights.lane >= 0).mean() > 0.9  # one governs a lane for bicycles
    assert net.map.speed_limit_valid.mean() > 0.5
    # The logged point is the box's middle; the scene's is the rear axle, which does not slip sideways.
    assert np.abs(waymo.ego[:, sc.VY]).max() < 0.1
    assert np.abs(waymo.ego[:, sc.YAW_RATE]).max() > 0.4
    other = load_scene(Log.open(next(p for p in (real_logs / "nuscenes_scenarionet").glob("*0061"))), 0.0,
                       SceneConfig(ego="longest"))  # fmt: skip
    recorder = other.actors.token.index("ego")
    own = load_scene(Log.open(real_logs / "nuscenes_scenarionet" / other.log), 0.0)
    middle = own.ego[0, :2] + own.vehicle.centre * np.array([np.cos(own.ego[0, 2]), np.sin(own.ego[0, 2])])
    np.testing.assert_allclose(other.actors.box[recorder, 0, :2] + other.origin_xy, middle + own.origin_xy, atol=0.02)
    av2 = one("av2_sensor")
    assert av2.map.drivable_from == "polygons"
    assert av2.route is not None
    assert (av2.map.polygon_layer & sc.INTERSECTION).any()
    lyft = one("lyft_l5_prediction")
    assert lyft.route is None
    assert len(lyft.actors) > 100
