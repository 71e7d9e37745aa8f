"""The official devkit opens the town: tables, maps, boxes, sweeps."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("nuscenes", reason="the extra 'nuscenes' is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def devkit(tiny_town: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nuscenes.nuscenes import NuScenes

        return NuScenes(version="v1.0-town", dataroot=str(tiny_town), verbose=False)


@pytest.fixture(scope="module")
def town_map(tiny_town: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nuscenes.map_expansion.map_api import NuScenesMap

        return NuScenesMap(dataroot=str(tiny_town), map_name="boston-seaport")


def test_boxes_hold_the_counted_points(devkit: Any) -> None:
    from nuscenes.utils.geometry_utils import points_in_box

    for sample in devkit.sample[::3]:
        path, boxes, _ = devkit.get_sample_data(sample["data"]["LIDAR_TOP"])
        points = np.fromfile(path, np.float32).reshape(-1, 5)[:, :3].T
        for box in boxes:
            counted = devkit.get("sample_annotation", box.token)["num_lidar_pts"]
            assert abs(int(points_in_box(box, points).sum()) - counted) <= 1


def test_box_velocity_and_boxes_between_key_frames(devkit: Any) -> None:
    annotations = [a for a in devkit.sample_annotation if a["prev"] and a["next"]]
    moving = standing = 0
    for annotation in annotations:
        names = [devkit.get("attribute", t)["name"] for t in annotation["attribute_tokens"]]
        speed = float(np.linalg.norm(devkit.box_velocity(annotation["token"])[:2]))
        assert np.isfinite(speed)
        assert speed < 16.0
        moving += names == ["vehicle.moving"] and speed > 1.0
        if names in (["vehicle.parked"], []):
            standing += 1
            assert speed == pytest.approx(0.0, abs=1e-9)
    assert moving > 3
    assert standing > 10
    scene = devkit.scene[0]
    key = devkit.get("sample", scene["first_sample_token"])["data"]["LIDAR_TOP"]
    between = devkit.get("sample_data", devkit.get("sample_data", key)["next"])
    assert len(devkit.get_boxes(between["token"])) > 0


def test_sweeps_accumulate(devkit: Any) -> None:
    from nuscenes.utils.data_classes import LidarPointCloud

    last = devkit.get("sample", devkit.scene[0]["last_sample_token"])
    cloud, times = LidarPointCloud.from_file_multisweep(devkit, last, "LIDAR_TOP", "LIDAR_TOP", nsweeps=10)
    assert len(np.unique(times)) == 10
    assert times.max() == pytest.approx(0.45, abs=1e-6)
    assert cloud.points.shape[1] > 20_000


def test_splits(devkit: Any) -> None:
    from nuscenes.utils.splits import get_scenes_of_split

    assert get_scenes_of_split("town_train", devkit) == ["scene-9001", "scene-9002"]
    assert get_scenes_of_split("town_val", devkit) == ["scene-9501"]


def test_ego_is_on_the_map_mask(devkit: Any) -> None:
    for scene in devkit.scene:
        log = devkit.get("log", scene["log_token"])
        mask = devkit.get("map", log["map_token"])["mask"]
        key = devkit.get("sample", scene["first_sample_token"])["data"]["LIDAR_TOP"]
        x, y, _ = devkit.get("ego_pose", devkit.get("sample_data", key)["ego_pose_token"])["translation"]
        assert mask.is_on_mask(x, y).all()
        assert not mask.is_on_mask(np.array([1.0]), np.array([1.0])).any()


def test_vehicles_stay_on_the_drivable_area(devkit: Any, tiny_town: Path) -> None:
    from nuscenes.map_expansion.map_api import NuScenesMap
    from shapely.geometry import Polygon
    from shapely.ops import unary_union

    for scene in devkit.scene:
        location = devkit.get("log", scene["log_token"])["location"]
        town = NuScenesMap(dataroot=str(tiny_town), map_name=location)
        polygons = [town.extract_polygon(t) for t in town.drivable_area[0]["polygon_tokens"]]
        paved = unary_union([polygon.buffer(0.35) for polygon in polygons])
        sample = devkit.get("sample", scene["last_sample_token"])
        checked = 0
        for token in sample["anns"]:
            annotation = devkit.get("sample_annotation", token)
            if annotation["category_name"].startswith("vehicle."):
                corners = devkit.get_box(token).bottom_corners()[:2].T
                assert Polygon(corners).within(paved)
                checked += 1
        assert checked > 3


def test_lanes_and_connectivity(town_map: Any) -> None:
    assert len(town_map.lane) > 20
    for lane in town_map.lane[:12]:
        token = lane["token"]
        for following in town_map.get_outgoing_lane_ids(token):
            assert token in town_map.get_incoming_lane_ids(following)
            here = town_map.discretize_lanes([token], 0.5)[token]
            there = town_map.discretize_lanes([following], 0.5)[following]
            assert np.hypot(here[-1][0] - there[0][0], here[-1][1] - there[0][1]) < 0.05
            turn = np.arctan2(np.sin(here[-1][2] - there[0][2]), np.cos(here[-1][2] - there[0][2]))
            assert abs(turn) < 0.2
        middle = town_map.discretize_lanes([token], 0.5)[token]
        steps = np.diff(np.array(middle)[:, :2], axis=0)
        assert np.linalg.norm(steps, axis=1).max() < 0.6
        x, y, _ = middle[len(middle) // 2]
        assert town_map.get_closest_lane(x, y, radius=2.0) == token


def test_map_mask_and_layers(town_map: Any, devkit: Any) -> None:
    scene = devkit.scene[0]
    key = devkit.get("sample", scene["first_sample_token"])["data"]["LIDAR_TOP"]
    x, y, _ = devkit.get("ego_pose", devkit.get("sample_data", key)["ego_pose_token"])["translation"]
    layers = ["drivable_area", "ped_crossing", "walkway", "stop_line", "carpark_area", "road_divider", "lane_divider"]
    mask = town_map.get_map_mask((x, y, 100.0, 100.0), 30.0, layers, (200, 200))
    assert mask.shape == (7, 200, 200)
    share = mask.mean(axis=(1, 2))
    assert 0.05 < share[0] < 0.8  # drivable area
    assert share[2] > 0.02  # walkway
    assert mask[0, 100, 100] == 1  # the ego stands on it
    found = town_map.get_records_in_radius(x, y, 60.0, ["lane", "road_segment", "stop_line", "lane_connector"])
    assert all(found[layer] for layer in ("lane", "road_segment", "stop_line", "lane_connector"))


def test_can_bus_opens(tiny_town: Path) -> None:
    from nuscenes.can_bus.can_bus_api import NuScenesCanBus

    can = NuScenesCanBus(dataroot=str(tiny_town))
    messages = can.get_messages("scene-9001", "pose")
    recorded = json.loads((tiny_town / "can_bus" / "scene-9001_pose.json").read_text())
    assert len(messages) == len(recorded)


def test_radar_opens_and_measures_radial_velocity(devkit: Any) -> None:
    from nuscenes.utils.data_classes import RadarPointCloud

    checked = 0
    for sample in devkit.sample:
        for channel in ("RADAR_FRONT", "RADAR_BACK_LEFT"):
            path = devkit.get_sample_data_path(sample["data"][channel])
            points = RadarPointCloud.from_file(path).points
            assert points.shape[0] == 18
            x, y, vx, vy = points[0], points[1], points[8], points[9]
            reach = np.hypot(x, y)
            # Velocity lies along the ray, and is small where nothing moves.
            assert np.abs(x * vy - y * vx).max(initial=0.0) < 1e-3 * reach.max(initial=1.0) * 20.0
            still = points[3] == 1
            assert np.abs(np.hypot(vx, vy)[still]).max(initial=0.0) < 1.0
            checked += points.shape[1]
    assert checked > 100
    assert sum(a["num_radar_pts"] for a in devkit.sample_annotation) > 20
