"""The town as logs of traffic alone: what planners are trained and judged on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from data_tools.town.actors import ego_from_centre
from data_tools.town.command import TownConfig, build
from data_tools.town.layout import build_town
from data_tools.town.population import populate
from data_tools.town.routes import rolling_headings
from drive.errors import UserError
from drive.logs.files import list_logs
from drive.logs.store import Log
from drive.plans.baselines import LogReplay
from drive.rollouts.config import SimulationConfig
from drive.rollouts.simulate import simulate
from drive.samples.scene import HEADING, VX, VY, X, Y
from drive.samples.scene_load import SceneConfig, load_scene


def make(folder: Path, **changes: object) -> list[Path]:
    settings: dict[str, object] = {"scenes": 2, "val_scenes": 1, "seconds": 9.0, "val_seconds": 6.0, "towns": 2}
    build(TownConfig(folder, format="log", workers=1, **{**settings, **changes}), Console(quiet=True))  # type: ignore[arg-type]
    return list_logs(folder)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make(tmp_path_factory.mktemp("town") / "logs")


def test_splits_share_no_town(logs: list[Path]) -> None:
    opened = [Log.open(path) for path in logs]
    assert [(log.name, log.split) for log in opened] == [
        ("drive-00000", "town_train"), ("drive-00001", "town_train"), ("held-00000", "town_val"),
    ]  # fmt: skip
    assert len({str(log.manifest["location"]) for log in opened}) == 3
    assert [log.num_frames for log in opened] == [46, 46, 31]


def test_scenes_have_a_route_limits_and_company(logs: list[Path]) -> None:
    scene = load_scene(Log.open(logs[0]), 2.0, SceneConfig(future_s=5.0))
    assert scene.route is not None
    assert len(scene.route.lanes) > 0
    assert scene.map.drivable_from == "polygons"
    assert scene.map.speed_limit_valid.all()
    np.testing.assert_allclose(scene.map.speed_limit_mps, 40 / 3.6)
    assert scene.vehicle.wheelbase == 2.6
    kinds = np.bincount(scene.actors.kind, minlength=4)
    assert (kinds[:3] >= 3).all()


def test_the_recorded_drive_touches_nobody_and_stays_on_the_road(logs: list[Path]) -> None:
    scenes = [load_scene(Log.open(path), 2.0) for path in logs]
    drives = simulate(scenes, LogReplay(), SimulationConfig(tracking="perfect"))
    assert [(r.end, r.infractions) for r in drives] == [("end of the log", ())] * len(logs)


def test_labels_are_where_the_traffic_was(logs: list[Path]) -> None:
    log = Log.open(logs[0])
    first, later = log.boxes(10), log.boxes(11)
    poses = [log.frame(i).global_from_ego for i in (10, 11)]
    here = {t: p[:3, :3] @ b[:3] + p[:3, 3] for p, f in zip(poses, (first, later), strict=True)
            for t, b in zip(f.track.tolist(), f.boxes, strict=True)}  # fmt: skip
    assert len(here) >= len(first.boxes) > 20
    for i, track in enumerate(first.track.tolist()):
        before = poses[0][:3, :3] @ first.boxes[i, :3] + poses[0][:3, 3]
        velocity = poses[0][:2, :2] @ first.boxes[i, 7:9]
        if track in set(later.track.tolist()):
            np.testing.assert_allclose(here[track][:2], before[:2] + 0.2 * velocity, atol=0.12)


def test_the_rear_axle_follows_its_heading() -> None:
    """In the turns too, to 5 cm/s (the path is a polyline); the recorded scene keeps that but for its smoothing."""
    town = build_town("town-000", 3)
    population = populate(town, 1, 20.0, standing_start=False)
    poses = np.array([population.ego_pose(float(t)) for t in np.arange(0.0, 20.0, 0.1)])
    heading = np.unwrap(poses[:, 2])
    assert abs(heading[-1] - heading[0]) > 0.5, "this drive turns"
    moved, middle = np.diff(poses[:, :2], axis=0) / 0.1, (heading[1:] + heading[:-1]) / 2
    slip = moved[:, 1] * np.cos(middle) - moved[:, 0] * np.sin(middle)
    assert np.abs(slip).max() < 0.05


def test_rolling_on_a_circle() -> None:
    """Settled, a point pulled at distance d behind one on a circle of radius r lags by asin(d / r)."""
    angle = np.arange(0.0, 6.0, 0.05)
    points = 10.0 * np.column_stack([np.cos(angle), np.sin(angle)])
    lag = angle + np.pi / 2 - rolling_headings(points, 2.0)
    np.testing.assert_allclose(lag[-20:], np.arcsin(0.2), atol=0.03)
    straight = np.column_stack([np.arange(5.0), np.zeros(5)])
    np.testing.assert_array_equal(rolling_headings(straight, 1.3), np.zeros(5))


def test_same_seed_same_logs(logs: list[Path], tmp_path: Path) -> None:
    again = make(tmp_path / "again", scenes=1, val_scenes=0)
    assert [path.name for path in again] == ["drive-00000"]
    for name in ("boxes.arrow", "frames.arrow", "map.arrow"):
        one, other = (hashlib.sha256((p / name).read_bytes()).hexdigest() for p in (logs[0], again[0]))
        assert one == other
    elsewhere = load_scene(Log.open(make(tmp_path / "other", scenes=1, val_scenes=0, seed=1)[0]), 2.0)
    assert not np.allclose(
        elsewhere.ego[0, [X, Y, HEADING]], load_scene(Log.open(logs[0]), 2.0).ego[0, [X, Y, HEADING]]
    )


def test_the_ego_is_recorded_without_slip(logs: list[Path]) -> None:
    scene = load_scene(Log.open(logs[1]), 0.0)
    assert scene.ego[:, VX].max() > 2.0
    assert np.abs(scene.ego[:, VY]).max() < 0.3


def test_bad_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--towns"):
        make(tmp_path / "none", towns=0)
    with pytest.raises(UserError, match="no scene to make"):
        make(tmp_path / "empty", scenes=0, val_scenes=0)
    with pytest.raises(UserError, match="--val-seconds"):
        make(tmp_path / "short", val_seconds=0.1)


def test_over_time_is_pose_by_pose() -> None:
    population = populate(build_town("town-000", 3), 2, 4.0, standing_start=False)
    times = np.array([0.0, 1.7, 3.9])
    poses, velocity = population.over_time(times)
    for k, time in enumerate(times.tolist()):
        np.testing.assert_allclose(poses[k, 1:], population.poses(time), atol=1e-12)
        np.testing.assert_allclose(velocity[k, 1:], population.motion(time)[0], atol=1e-9)
        np.testing.assert_allclose(ego_from_centre(poses[k, 0]), population.ego_pose(time), atol=1e-12)
    none, nothing = population.over_time(np.zeros(0))
    assert none.shape[0] == nothing.shape[0] == 0
