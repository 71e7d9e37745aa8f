"""A scenario whose log one can check on paper: two cars on three steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.scenario_log import Agents, Light, Scenario, check_states, write_scenario
from data_tools.verify import verify_log
from drive.errors import UserError
from drive.logs.maps import MapFeature
from drive.logs.store import Log
from drive.logs.writer import LogWriter

QUARTER = np.pi / 2


def scenario(**changes: Any) -> Scenario:
    """The ego drives north at 10 m/s from (100, 200); another car stands 20 m ahead of its start, facing west."""
    agents = Agents(
        token=["ego", "other"],
        category=["vehicle", "vehicle"],
        position=np.array([[[100, 200, 1], [100, 201, 1], [100, 202, 1]], [[100, 220, 2]] * 3], np.float64),
        size=np.array([[[5, 2, 1.5]] * 3, [[4, 1.8, 1.4]] * 3], np.float64),
        heading=np.array([[QUARTER] * 3, [np.pi + 2 * np.pi] * 3]),
        velocity=np.array([[[0, 10]] * 3, [[-3, 0]] * 3], np.float64),
        valid=np.array([[True, True, True], [True, False, True]]),
        columns={"observed": np.array([[True, True, False]] * 2)},
    )
    given = Scenario(
        place="test",
        seconds=np.array([0.0, 0.1, 0.2]),
        agents=agents,
        ego=0,
        map_features=[MapFeature("7", "lane", np.array([[0.0, 0, 0], [1, 0, 0]]), False, successors=("8",))],
        lights=[Light(2, "7", "green", "GO", (1, 2, 3)), Light(0, "7", "red", "STOP")],
        roles=[("other", "predict", 2)],
        facts={"scenario_id": "abc", "current_time_index": 1},
        start_ns=5_000_000_000,
    )
    return replace(given, **changes)


def written(path: Path, given: Scenario) -> Log:
    with LogWriter(path, "log", dataset="test", source_version="1", licence="none") as log:
        write_scenario(log, given)
    result = verify_log(path / "log")
    assert result.problems == []
    return Log.open(path / "log")


def test_numbers_by_hand(tmp_path: Path) -> None:
    log = written(tmp_path, scenario())
    assert log.frame_timestamps_ns.tolist() == [5_000_000_000, 5_100_000_000, 5_200_000_000]
    first, middle = log.boxes(0), log.boxes(1)
    assert first.track_token == ["ego", "other"]
    assert middle.track_token == ["ego"]
    np.testing.assert_allclose(first.boxes[0], [0, 0, 0, 5, 2, 1.5, 0, 10, 0], atol=1e-12)
    # 20 m ahead, 1 m up, facing left (west is left of north), rolling to the left.
    np.testing.assert_allclose(first.boxes[1], [20, 0, 1, 4, 1.8, 1.4, QUARTER, 0, 3], atol=1e-12)
    np.testing.assert_allclose(log.boxes(2).boxes[1, 0], 18, atol=1e-12)
    assert first.extra["source_heading"] == [QUARTER, 3 * np.pi]
    assert log.boxes(2).extra["observed"] == [False, False]
    assert log.table("lights").to_pylist() == [
        {"frame": 0, "feature_id": "7", "state": "red", "stop_point": None, "source_state": "STOP"},
        {"frame": 2, "feature_id": "7", "state": "green", "stop_point": [1.0, 2.0, 3.0], "source_state": "GO"},
    ]
    assert log.table("track_roles").to_pylist() == [
        {"track": "ego", "role": "ego", "difficulty": None},
        {"track": "other", "role": "predict", "difficulty": 2},
    ]
    assert log.table("ego")["vx_mps"].to_pylist() == pytest.approx([10, 10, 10])
    assert log.table("scenario").to_pylist() == [{"scenario_id": "abc", "current_time_index": 1}]
    assert log.table("track_attributes")["num_valid"].to_pylist() == [3, 2]
    assert log.map_features()[0].successors == ("8",)


def test_the_ego_is_not_seen_at_every_step(tmp_path: Path) -> None:
    given = scenario()
    valid = np.array([[False, True, False], [True, True, True]])
    log = written(tmp_path, replace(given, agents=replace(given.agents, valid=valid)))
    assert log.table("scenario_steps")["ego_valid"].to_pylist() == [False, True, False]
    for step in range(3):  # held from the only step that is known; nothing about the other car is lost
        np.testing.assert_allclose(log.frame(step).pose_translation, [100, 201, 1])
        np.testing.assert_allclose(log.boxes(step).boxes[-1, :3], [19, 0, 1], atol=1e-12)
    assert log.table("ego").num_rows == 1


def test_the_pose_between_two_known_steps(tmp_path: Path) -> None:
    given = scenario()
    heading = np.array([[3.1, 0, -3.1], [0, 0, 0]])
    valid = np.array([[True, False, True], [True, True, True]])
    log = written(tmp_path, replace(given, agents=replace(given.agents, valid=valid, heading=heading)))
    np.testing.assert_allclose(log.frame(1).pose_translation, [100, 201, 1])
    # From 3.1 to -3.1 the short way is over pi, not over 0.
    np.testing.assert_allclose(log.frame(1).global_from_ego[:2, 0], [-1, 0], atol=1e-12)


def test_no_ego_and_nobody_at_all(tmp_path: Path) -> None:
    log = written(tmp_path, scenario(ego=None, roles=[]))
    assert log.table("track_roles").num_rows == 0
    assert not log.has_table("ego")
    np.testing.assert_allclose(log.frame(0).global_from_ego[:3, :3], np.eye(3))
    nobody = Agents([], [], *(np.zeros((0, 3, *w)) for w in ((3,), (3,), (), (2,))), np.zeros((0, 3), bool))
    empty = written(tmp_path / "empty", scenario(agents=nobody, ego=None, roles=[], lights=[], map_features=[]))
    assert [len(empty.boxes(i).boxes) for i in range(3)] == [0, 0, 0]


def test_a_feature_without_points_does_not_vanish(tmp_path: Path) -> None:
    log = written(tmp_path, scenario(map_features=[MapFeature("9", "road_line", np.zeros((0, 3)), False)]))
    assert log.map_features() == []
    assert log.table("map_features_without_points").to_pylist() == [{"feature_id": "9", "kind": "road_line"}]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("position", np.nan, "test: track other, step 0: position"),
        ("position", 1e9, "position"),
        ("size", 0.0, "size"),
        ("size", -1.0, "size"),
        ("heading", np.inf, "heading"),
        ("velocity", 1e30, "velocity"),
    ],
)
def test_a_state_that_cannot_be(tmp_path: Path, name: str, value: float, message: str) -> None:
    given = scenario()
    values = getattr(given.agents, name).copy()
    values[1] = value
    with pytest.raises(UserError, match=message):
        written(tmp_path, replace(given, agents=replace(given.agents, **{name: values})))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seconds": np.array([0.0, 0.1, 0.1])}, "step 2: time does not increase"),
        ({"seconds": np.array([0.0, np.nan, 0.1])}, "not a finite number"),
        ({"roles": [("nobody", "predict", 1)]}, "track nobody"),
        ({"lights": [Light(3, "7", "red", "STOP")]}, "belongs to no step"),
        ({"map_features": [MapFeature("1", "lane", np.array([[np.nan, 0, 0]]), False)]}, "lane 1"),
    ],
)
def test_a_scenario_that_cannot_be(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        written(tmp_path, scenario(**changes))


def test_a_token_twice_and_too_many_states(tmp_path: Path) -> None:
    given = scenario()
    with pytest.raises(UserError, match="track ego: the track is there twice"):
        written(tmp_path, replace(given, agents=replace(given.agents, token=["ego", "ego"]), roles=[]))
    with pytest.raises(UserError, match="are no scenario"):
        check_states(10**6, 10**6, "test")
    with pytest.raises(UserError, match="are no scenario"):
        check_states(1, 0, "test")
