"""PDM-Closed on a street where it is plain what a careful driver does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drive.plans.planner import HISTORY, Observation
from drive.rollouts.pdm_closed import PdmClosedConfig, make_forecast
from drive.rollouts.rollout import Rollout
from drive.rollouts.simulate import simulate
from drive.samples.scene import RED, Actors, Lights, Scene
from drive.scores.closed_loop import DriveScoreConfig, score_drives
from drive.scores.pdm_closed import pdm_closed
from drive.scores.pdm_config import PdmConfig
from tests.scores.pdm_street import INSTANTS, cars, street


def drive(scene: Scene) -> Rollout:
    rollout = simulate([scene], pdm_closed())[0]
    assert not rollout.failed, rollout.failure
    return rollout


def observed(scene: Scene) -> Observation:
    """The scene's first instant, as if everything had stood so for the history."""

    def held(a: np.ndarray) -> np.ndarray:
        return np.repeat(a[:, :1], HISTORY, axis=1)

    actors, lights = scene.actors, scene.lights
    return Observation(
        scene=scene.name,
        timestamp_ns=0,
        step=0,
        ego=np.repeat(scene.ego[:1], HISTORY, axis=0),
        ego_valid=np.ones(HISTORY, bool),
        vehicle=scene.vehicle,
        actors=Actors(held(actors.box), held(actors.velocity), held(actors.valid), actors.kind, actors.token,
                      held(actors.ground_z)),
        lights=Lights(np.repeat(lights.state[:1], HISTORY, axis=0), lights.lane, lights.stop_xy),
        map=scene.map,
        route=scene.route,
        command=1,
    )  # fmt: skip


def test_free_road() -> None:
    """It comes to the limit of 10 m/s, stays in the middle and scores full marks."""
    scene = street(cars())
    rollout = drive(scene)
    assert rollout.ego[-1, 3] == pytest.approx(10.0, abs=0.3)
    assert np.abs(rollout.ego[:, 1] + 1.75).max() < 0.1
    config = DriveScoreConfig(PdmConfig(version="v2-fixed"), seconds=(len(rollout.ego) - 1) * 0.1)
    assert score_drives([rollout], [scene], config).pdms[0] == 1.0
    plan = pdm_closed().for_scene(scene).plan(observed(scene))
    assert plan.poses.shape == (80, 3)
    assert plan.times_s[-1] == pytest.approx(8.0)


def test_stops_behind_a_standing_car() -> None:
    """Across the whole width, so that no offset helps: it stops within some metres of it."""
    scene = street(cars((50.0, -1.75, 0.0)))
    rollout = drive(scene)
    assert rollout.infractions == ()
    assert rollout.ego[-1, 3] < 0.3
    gap = 48.0 - (rollout.ego[-1, 0] + 4.049)
    assert 0.3 < gap < 8.0


def test_follows_a_slower_car() -> None:
    scene = street(cars((25.0, -1.75, 5.0)))
    rollout = drive(scene)
    assert rollout.infractions == ()
    assert rollout.ego[-1, 3] == pytest.approx(5.0, abs=0.5)


def test_passes_a_parked_car_on_the_left() -> None:
    """The parked car's left side is at y = -2.7, where the ego in the middle reaches -2.9: one metre to the left it
    passes, half a metre across the line."""
    scene = street(cars((60.0, -3.7, 0.0)), right=-6.0)
    rollout = drive(scene)
    assert rollout.infractions == ()
    assert rollout.ego[-1, 0] > 60.0
    beside = np.abs(rollout.ego[:, 0] + 1.461 - 60.0) < 4.5
    assert rollout.ego[beside, 1].min() > -1.56


def test_stops_at_a_red_light() -> None:
    lights = Lights(np.full((INSTANTS, 1), RED, np.int8), np.array([0]), np.array([[60.0, -1.75]]))
    rollout = drive(replace(street(cars()), lights=lights))
    assert rollout.infractions == ()
    assert 50.0 < rollout.ego[-1, 0] + 4.049 < 60.0
    elsewhere = replace(lights, lane=np.array([1]))  # a light of the other lane
    assert drive(replace(street(cars()), lights=elsewhere)).ego[-1, 0] > 70.0


def test_emergency_brake() -> None:
    """At 4 m/s with a car 1 m ahead nothing helps: a straight stop at 4.05 m/s^2, v^2 / 2a = 1.98 m long."""
    scene = street(cars((4.049 + 1.0 + 2.0, -1.75, 0.0)), speed=4.0)
    plan = pdm_closed().for_scene(scene).plan(observed(scene))
    assert plan.poses[-1, 0] == pytest.approx(16 / 8.1)
    assert np.all(plan.poses[:, 1:] == 0.0)
    without = pdm_closed(PdmClosedConfig(emergency_brake=False)).for_scene(scene).plan(observed(scene))
    assert without.poses[-1, 0] > 16 / 8.1


def test_forecast() -> None:
    """Held for two steps; who overlaps the ego, is too far or not there is left out; the nearest are kept."""
    scene = street(cars((20.0, -1.75, 10.0), (2.0, -1.75, 0.0), (290.0, -1.75, 0.0), (40.0, -1.75, 0.0)))
    seen, config = observed(scene), PdmClosedConfig(most=(1, 0, 0, 0))
    assert scene.route is not None
    forecast = make_forecast(seen, scene.route, 6, config)
    np.testing.assert_allclose(forecast.boxes[:, 0, 0], [20, 20, 22, 22, 24, 24])
    assert forecast.boxes.shape == (6, 1, 5)
    empty = make_forecast(observed(street(cars())), scene.route, 6, config)
    assert empty.boxes.shape == (6, 0, 5)


def test_buffered_lanes_are_not_the_road_to_the_centimetre() -> None:
    """The road ends 0.2 m inside the ego's right side: by polygons all is off the road, and the first proposal as good
    as any; where lanes were buffered, the fastest in the middle is the best."""
    strict = street(cars(), right=-2.7)
    loose = replace(strict, map=replace(strict.map, drivable_from="polygons and buffered centre lines"))
    slow, fast = (pdm_closed().for_scene(s).plan(observed(s)).poses[39, 0] for s in (strict, loose))
    assert slow < 25.0
    assert fast > 34.0


def test_needs_a_route_and_a_scene() -> None:
    scene = street(cars())
    with pytest.raises(ValueError, match="route"):
        pdm_closed().for_scene(replace(scene, route=None))
    with pytest.raises(ValueError, match="for_scene"):
        pdm_closed().plan(observed(scene))
    failed = simulate([replace(scene, route=None)], pdm_closed())[0]
    assert failed.failed
    assert "route" in failed.failure
