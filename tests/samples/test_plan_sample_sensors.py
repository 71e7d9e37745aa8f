"""What a sensor-level planner is given: which cameras, how they are cut, counts, the semantic target."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drive.geometry.rigid import quaternion_from_yaw
from drive.logs.store import Log
from drive.logs.writer import LogWriter
from drive.samples.plan_perturb import PerturbConfig
from drive.samples.plan_sample import PlanFeatures
from drive.samples.plan_sample_batch import collate_plans
from drive.samples.plan_sample_data import PlanDataConfig, PlanDataset
from drive.samples.plan_sample_raster import RasterGrid, draw_map
from drive.samples.plan_sample_sensors import (
    SEMANTICS,
    PlanSensors,
    camera_strip,
    choose_cameras,
    lidar_counts,
    panel_widths,
    recorded_sensors,
    semantic_target,
)
from drive.samples.scene import PEDESTRIAN, STATIC
from drive.samples.scene_map import build_map
from tests.samples.hand_made_scene import actors, straight_road

PUBLISHED = PlanSensors()
SMALL = PlanSensors(image=(32, 128), cell_m=1.0, semantic_cell_m=1.0)
COLOURS = {"A": (200, 0, 0), "B": (0, 200, 0), "C": (0, 0, 200)}


def looking(yaw_degrees: float, pitch_degrees: float = 0.0) -> np.ndarray:
    """A camera's pose [4, 4]; only its third column, the optical axis, matters."""
    yaw, pitch = np.radians([yaw_degrees, pitch_degrees])
    pose = np.eye(4)
    pose[:3, 2] = [np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)]
    return pose


@pytest.mark.parametrize(
    ("yaws", "wanted"),
    [
        ({"f": 0.4, "fl": 56, "fr": -56, "bl": 109, "br": -109, "b": 180}, ["fl", "f", "fr"]),  # nuScenes
        ({"f": 0, "fl": 45, "fr": -45, "sl": 90, "sr": -90}, ["fl", "f", "fr"]),  # Waymo
        ({"x2": 0, "x3": 0.1}, [None, "x2", None]),  # KITTI's two
        ({"right": 305, "ahead": -359}, [None, "ahead", "right"]),
        ({"b": 0, "a": 0}, [None, "a", None]),
        ({"behind": 180, "side": 91}, [None, None, None]),
        ({}, [None, None, None]),
    ],
)
def test_cameras_by_where_they_look(yaws: dict[str, float], wanted: list[str | None]) -> None:
    assert choose_cameras({name: looking(yaw) for name, yaw in yaws.items()}) == wanted


def test_a_camera_that_looks_down_is_none() -> None:
    mounted = {"roof": looking(0, -40), "front": looking(12, -5)}
    assert choose_cameras(mounted) == [None, "front", None]
    assert choose_cameras({"roof": mounted["roof"]}) == [None] * 3


def test_the_published_cut() -> None:
    """1920 x 1080: column j of the front panel is the mean of four columns, the outer ones begin at column 416."""
    assert panel_widths(1024) == (272, 480, 272)
    ramp = np.zeros((1080, 1920, 3), np.uint8)
    ramp[..., 0] = np.arange(1920) // 8
    ramp[..., 1] = (np.arange(1080) // 5)[:, None]
    ramp[:28, :, 2] = ramp[-28:, :, 2] = 255
    strip = camera_strip([Image.fromarray(ramp)] * 3, PUBLISHED).astype(float)
    assert strip.shape == (256, 1024, 3)
    for begins, panel in ((416, strip[:, :272]), (0, strip[:, 272:752]), (416, strip[:, 752:])):
        column = (begins + 4 * np.arange(panel.shape[1]) + 1.5) / 8 - 0.5
        assert np.abs(panel[5:-5, 4:-4, 0] - column[4:-4]).max() < 1.1
        row = (28 + 4 * np.arange(256) + 1.5) / 5 - 0.5
        assert np.abs(panel[4:-4, :, 1] - row[4:-4, None]).max() < 1.1
        assert panel[2:-2, :, 2].max() == 0


def test_other_shapes_are_cut_to_16_by_9_around_their_middle() -> None:
    tall, wide = np.full((400, 320, 3), 9, np.uint8), np.full((90, 400, 3), 9, np.uint8)
    tall[110:290], wide[:, 120:280] = 100, 100  # 320 x 180 and 160 x 90 in the middle
    for picture in (tall, wide):
        strip = camera_strip([None, Image.fromarray(picture), None], PUBLISHED)
        assert (strip[:, 273:751] == 100).all()
        assert not strip[:, :272].any()
        assert not strip[:, 752:].any()


def test_counts_by_hand() -> None:
    points = np.array(
        [
            [0.1, 0.1, 1.0], *[[10.1, -5.1, 0.5]] * 7, [-32.0, -32.0, 1.0], [31.99, 31.99, 1.0],
            [32.0, 0.0, 1.0], [0.0, -32.01, 1.0], [3.0, 3.0, 0.2], [3.0, 3.0, 100.0], [np.nan, 0.0, 1.0],
            [3.0, 3.0, np.inf],
        ]
    )  # fmt: skip
    counts = lidar_counts(points, PUBLISHED)
    assert counts.shape == (256, 256)
    assert {(int(r), int(c)): int(counts[r, c]) for r, c in np.argwhere(counts)} == {
        (128, 128): 1, (168, 107): 5, (0, 0): 1, (255, 255): 1,
    }  # fmt: skip
    assert not lidar_counts(np.zeros((0, 4), np.float32), PUBLISHED).any()


def test_sizes_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="multiple of 64"):
        PlanSensors(image=(256, 1000))


def test_the_semantic_target_by_hand() -> None:
    """On the lane's centre line, a car 10 m ahead, someone 20 m ahead and 5 m to the left, a cone on the car."""
    config = replace(PUBLISHED, semantic_cell_m=0.5)
    around = build_map(straight_road())[0]
    others = actors((10.0, 0.0, 0.0, 0.0), (20.0, 5.0, 0.0, 0.0), (13.0, 0.0, 0.0, 0.0), steps=1)
    others = replace(others, kind=np.array([0, PEDESTRIAN, STATIC]))
    picture = draw_map(around, None, np.zeros((1, 2)), 1.0)
    target = semantic_target(picture, np.zeros(3), others, 0, config)
    assert target.shape == (64, 128)

    def at(x: float, y: float) -> str:
        return SEMANTICS[target[int(x / 0.5), int((y + 32) / 0.5)]]

    assert at(5.1, 0.1) == "centreline"
    assert at(5.1, 1.1) == "road"
    assert at(5.1, -3.1) == "background"
    assert at(9.1, 0.6) == "vehicle"
    assert at(14.1, 0.6) == "static"
    assert at(20.1, 5.1) == "pedestrian"
    turned = semantic_target(picture, np.array([20.0, 0.0, np.pi]), others, 0, config)
    assert SEMANTICS[turned[int(9.6 / 0.5), int((32 - 0.6) / 0.5)]] == "vehicle"  # 10 m ahead again
    assert SEMANTICS[turned[int(0.1 / 0.5), int((32 - 4.9) / 0.5)]] == "pedestrian"  # now to the right


def jpeg(colour: tuple[int, int, int]) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (192, 108), colour).save(data, format="JPEG", quality=95)
    return data.getvalue()


FACING = {"A": np.radians(55.0), "B": 0.0, "C": np.radians(-55.0)}
FRAMES = 60


def write_log(root: Path, name: str = "street", cameras: str = "ABC", lidar: bool = True) -> Path:
    """Ten frames a second at 5 m/s; images and a wall 6.5 m to the left at every fifth; the third image of B is cut
    short, the fourth is absent."""
    with LogWriter(root, name, dataset="hand-made", source_version="1", licence="CC0-1.0") as log:
        if lidar:
            log.add_sensor("L", "lidar", [1.0, 0, 2.0], quaternion_from_yaw(np.pi / 2), columns=("x", "y", "z"))
        for camera in cameras:
            cos, sin = np.cos((FACING[camera] - np.pi / 2) / 2), np.sin((FACING[camera] - np.pi / 2) / 2)
            half = np.sqrt(0.5)
            log.add_sensor(
                camera, "camera", [1.0, 0, 1.5], [cos * half, -cos * half, -sin * half, sin * half], width=192,
                height=108, intrinsics=np.array([[150.0, 0, 96], [0, 150, 54], [0, 0, 1]]),
            )  # fmt: skip
        for k in range(FRAMES):
            pose = {"pose_translation": [0.5 * k, 0.0, 0.0], "pose_rotation": quaternion_from_yaw(0.0)}
            about = {"is_key_frame": True, "source_timestamp": k, **pose}
            rows = {}
            if k % 5 == 0:
                if lidar:  # its own x is the ego's y
                    wall = np.array([[6.5, -x - 0.5, z] for x in range(-10, 30) for z in (-1.0, -1.9)], np.float32)
                    rows["L"] = log.add_sweep("L", 100_000_000 * k, wall, source_name=f"{k}", **about)
                for camera in cameras:
                    data = jpeg(COLOURS[camera])
                    if (camera, k) == ("B", 15):
                        continue
                    data = data[: len(data) // 2] if (camera, k) == ("B", 10) else data
                    rows[camera] = log.add_image(
                        camera, 100_000_000 * k - 20_000_000, data, 192, 108, source_name=f"{camera}{k}", **about
                    )
            log.add_frame(100_000_000 * k, rows=rows, source_timestamp=k, **pose)
        for feature in straight_road():
            log.add_map_feature(
                feature.feature_id, feature.kind, feature.geometry, is_polygon=feature.is_polygon,
                attributes=feature.attributes, predecessors=feature.predecessors, successors=feature.successors,
            )  # fmt: skip
    return root / name


def data_of(**more: object) -> PlanDataConfig:
    return PlanDataConfig(features=PlanFeatures(raster=RasterGrid(cell_m=2.0), sensors=SMALL), stride_s=0.5, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("logs"))


def test_what_a_log_recorded(street: Path) -> None:
    log = Log.open(street)
    seen = recorded_sensors(log, log.frame(5), SMALL)
    assert seen.missing == ()
    for left, right, colour in ((0, 34, "A"), (34, 94, "B"), (94, 128, "C")):
        assert np.abs(seen.camera[:, left:right].astype(int) - COLOURS[colour]).max() < 6
    # The wall 6.5 m to the left, 0.1 m and 1 m above the ground (the lower does not count), x from -8.5 to 30.5.
    assert np.argwhere(seen.lidar).tolist() == [[32 + 1 + x, 38] for x in range(-10, 30)]
    assert seen.lidar.max() == 1


def test_what_is_missing_is_black_and_said(street: Path, tmp_path: Path) -> None:
    log = Log.open(street)
    for frame, why in ((10, "front: the image of B cannot be read"), (15, "front: no image of B for this frame")):
        seen = recorded_sensors(log, log.frame(frame), SMALL)
        assert len(seen.missing) == 1
        assert seen.missing[0].startswith(why)
        assert not seen.camera[:, 34:94].any()
        assert seen.camera[:, :34].any()
    log = Log.open(write_log(tmp_path, cameras="B", lidar=False))
    seen = recorded_sensors(log, log.frame(0), SMALL)
    assert seen.missing == (
        "front_left: no camera looks there",
        "front_right: no camera looks there",
        "lidar: no sweep of this frame",
    )
    assert not seen.lidar.any()
    seen = recorded_sensors(log, log.frame(1), SMALL)  # a frame with nothing at all
    assert not seen.camera.any()
    assert len(seen.missing) == 4


def test_decisions_stand_where_sensors_are(street: Path) -> None:
    dataset = PlanDataset.of(data_of(keep_sensors=True), [street])
    assert [s.frame_id for s in dataset.samples] == [f"street@{k}" for k in (0, 5, 10, 15)]  # and 4 s to go
    assert dataset.notes() == []
    assert dataset.samples[1].sensors is None
    sample = dataset.item(1)
    wanted = recorded_sensors(Log.open(street), Log.open(street).frame(5), SMALL)
    assert sample.sensors is not None
    np.testing.assert_array_equal(sample.sensors.camera, wanted.camera)
    np.testing.assert_array_equal(sample.sensors.lidar, wanted.lidar)
    assert dataset.item(1) is dataset.item(1)  # kept
    with pytest.warns(UserWarning, match=r"frame 10: front: the image of B cannot be read.*trained on black"):
        dataset.item(2)
    batch = collate_plans([dataset.item(0), sample])
    assert batch.camera is not None
    assert batch.lidar is not None
    assert batch.semantic is not None
    assert (batch.camera.shape, batch.lidar.shape) == ((2, 3, 32, 128), (2, 1, 64, 64))
    assert batch.camera[1, :, 3, 5].tolist() == wanted.camera[3, 5].tolist()
    assert batch.semantic.shape == (2, 32, 64)
    assert {"camera", "lidar", "semantic"} <= set(batch.to("cpu").tensors())
    with pytest.raises(ValueError, match="1 of 2 samples have sensors"):
        collate_plans([sample, PlanDataset.of(data_of(), [street]).samples[0]])
    plain = replace(data_of(), features=PlanFeatures(raster=RasterGrid(cell_m=2.0)))
    without = PlanDataset.of(plain, [street])
    assert collate_plans([without.item(0)]).camera is None


def test_a_log_without_side_cameras_is_said_once(tmp_path: Path) -> None:
    dataset = PlanDataset.of(data_of(), [write_log(tmp_path, cameras="B")])
    assert dataset.notes() == [
        "front_left: no camera looks there in 4 of 4 decisions: black",
        "front_right: no camera looks there in 4 of 4 decisions: black",
    ]


def test_beside_the_drive_somebody_has_to_render(street: Path) -> None:
    from drive.errors import UserError

    dataset = PlanDataset.of(data_of(perturb=PerturbConfig(share=1.0)), [street])
    moved = dataset.samples[1].sensed
    assert moved is not None
    assert moved.moved
    assert abs(moved.pose[1]) > 1e-3
    with pytest.raises(UserError, match="nothing renders them"):
        dataset.item(1)
    wanted = recorded_sensors(Log.open(street), Log.open(street).frame(0), SMALL)
    dataset.render = lambda where: wanted
    assert dataset.item(1).sensors is wanted
