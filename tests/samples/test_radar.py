"""Radar returns as points: where they lie, which way their velocities point, which of them count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from data_tools.town.radar import RADARS, Targets, radar_mount, scan
from drive.detect import sensors_used
from drive.errors import UserError
from drive.geometry.rigid import from_translation_rotation, quaternion_from_yaw
from drive.logs.store import Log
from drive.logs.writer import LogWriter
from drive.recipes import load_recipe
from drive.samples.augment.bank import ObjectBank
from drive.samples.augment.config import AugmentConfig, PasteConfig
from drive.samples.augment.paste import paste
from drive.samples.augment.policy import augment
from drive.samples.augment.transform import transform_sample, undo
from drive.samples.batch import collate
from drive.samples.classes import ClassMap
from drive.samples.config import DataConfig
from drive.samples.frame_dataset import FrameDataset
from drive.samples.radar import RadarConfig, join_radar, radar_points
from drive.samples.sample import AppliedTransform, FrameSample, empty_sample
from drive.sensor_run import NetworkDetector

CARS = ClassMap(("car",), {"car": "car"})
NUSCENES = ("x", "y", "z", "rcs", "vx", "vy", "vx_comp", "vy_comp")
DELFT = ("x", "y", "z", "rcs", "v_r", "v_r_compensated", "time")
STATES = ("invalid_state", "dyn_prop", "ambig_state")
WIDE = (-100.0, -100.0, -3.0, 100.0, 100.0, 5.0)
PERIOD_NS = 100_000_000


def states(count: int, **given: list[int]) -> dict[str, np.ndarray]:
    usual = {"invalid_state": 0, "dyn_prop": 1, "ambig_state": 3}
    return {n: np.array(given.get(n, [value] * count), np.int8) for n, value in usual.items()}


def write_log(
    root: Path,
    scans: list[np.ndarray],
    *,
    name: str = "radar",
    columns: tuple[str, ...] = NUSCENES,
    mount: tuple[tuple[float, ...], float] = ((0.0, 0.0, 0.5), 0.0),
    poses: list[tuple[list[float], float]] | None = None,
    extra: list[dict[str, np.ndarray]] | None = None,
    boxes: np.ndarray | None = None,
    lidar: np.ndarray | None = None,
    lag_ns: int = 0,
) -> Path:
    """One radar, a scan every 100 ms, the last at the key frame; `mount` is its place and yaw."""
    turns = [quaternion_from_yaw(yaw) for _, yaw in poses] if poses else [quaternion_from_yaw(0.0)] * len(scans)
    places = [place for place, _ in poses] if poses else [[0.0, 0.0, 0.0]] * len(scans)
    with LogWriter(root, name, dataset="hand-made", source_version="1", licence="CC0-1.0") as log:
        log.add_sensor("LIDAR", "lidar", [0, 0, 1.8], quaternion_from_yaw(0.0), columns=("x", "y", "z", "intensity"),
                       intensity_max=1.0)  # fmt: skip
        log.add_sensor("RADAR", "radar", list(mount[0]), quaternion_from_yaw(mount[1]), columns=columns)
        rows = {}
        for k, returns in enumerate(scans):
            own = extra[k] if extra else states(len(returns)) if columns == NUSCENES else {}
            rows["RADAR"] = log.add_sweep(
                "RADAR", k * PERIOD_NS + lag_ns, np.asarray(returns, np.float32).reshape(-1, len(columns)), places[k],
                turns[k], is_key_frame=k + 1 == len(scans), source_timestamp=k, source_name=str(k), extra=own,
            )  # fmt: skip
        last = (len(scans) - 1) * PERIOD_NS
        if lidar is not None:
            rows["LIDAR"] = log.add_sweep("LIDAR", last, lidar, places[-1], turns[-1], is_key_frame=True,
                                          source_timestamp=0, source_name="l")  # fmt: skip
        frame = log.add_frame(last, rows=rows, pose_translation=places[-1], pose_rotation=turns[-1], source_timestamp=0)
        if boxes is not None:
            log.add_boxes(
                frame, boxes, ["car"] * len(boxes), [str(k) for k in range(len(boxes))],
                velocity_valid=np.ones(len(boxes), bool), num_lidar_points=None, source_translation=boxes[:, :3],
                source_rotation=quaternion_from_yaw(boxes[:, 6]), source_size=boxes[:, 3:6],
            )  # fmt: skip
    return root / name


def returns_of(path: Path, config: RadarConfig | None = None, **options: Any) -> np.ndarray:
    log = Log.open(path)
    return radar_points(log, log.frame(0), config or RadarConfig(), **options)


def a_return(x: float, y: float, vx: float = 0.0, vy: float = 0.0, rcs: float = 5.0, z: float = 0.0) -> list[float]:
    return [x, y, z, rcs, 99.0, 99.0, vx, vy]  # what is not compensated is of no use


def test_one_return_by_hand(tmp_path: Path) -> None:
    # On the left side, looking left: what it sees 10 m ahead coming nearer at 3 m/s moves to the ego's right.
    path = write_log(tmp_path, [np.array([a_return(10.0, 2.0, -3.0, 0.5, 7.5)])], mount=((1.0, 0.5, 0.6), np.pi / 2))
    (row,) = returns_of(path)
    np.testing.assert_allclose(row, [-1.0, 10.5, 0.6, 0, 0, 0, -0.5, -3.0, 7.5, 1.0], atol=1e-6)


def test_a_radial_speed_points_along_the_ray(tmp_path: Path) -> None:
    # View-of-Delft: negative comes nearer. Ahead, 45 degrees to the left, and above: only the level part is kept.
    rows = [[20, 0, 0.3, 1, 9, -6, 0], [5, 5, 0, 2, 9, 2, -2], [3, 0, 4, 3, 9, 5, 0], [4, 0, 0, 3, 9, 0, 0]]
    found = returns_of(write_log(tmp_path, [np.array(rows)], columns=DELFT))
    expected = [[-6 * 20 / np.hypot(20, 0.3), 0], [np.sqrt(2), np.sqrt(2)], [3, 0], [0, 0]]
    np.testing.assert_allclose(found[:, 6:8], expected, atol=1e-5)
    np.testing.assert_allclose(found[:, 5], [0, 2 / 13, 0, 0], atol=1e-6)  # the second is two scans old
    assert found[:, 8].tolist() == [1, 2, 3, 3]


def test_the_world_of_a_turning_ego(tmp_path: Path) -> None:
    """The town's radar from a car that drives a curve: still things have no velocity, an oncoming car's is negative
    along the ray, and each return has the part of its object's true velocity that lies along its own ray."""
    rng = np.random.default_rng(3)
    mount = radar_mount("RADAR_FRONT_LEFT")
    ego_from_radar = from_translation_rotation(mount.translation, mount.rotation)
    yaw = np.radians(RADARS["RADAR_FRONT_LEFT"][0])
    poses, scans, extras, origins = [], [], [], []
    speed, turn = 9.0, 0.5
    oncoming, crossing = np.array([4.0, -8.0]), np.array([6.0, 3.0])  # global m/s; the radar looks to the global +y
    for k in range(5):
        t = (k - 4) * 0.1
        heading = turn * t
        place = [speed * t, 0.5 * speed * turn * t * t, 0.0]
        poses.append((place, heading))
        pose = from_translation_rotation(place, quaternion_from_yaw(heading)) @ ego_from_radar
        arm = pose[:2, 3] - np.array(place[:2])
        own = speed * np.array([np.cos(heading), np.sin(heading)]) + turn * np.array([-arm[1], arm[0]])
        at = np.array([[5.0, 40.0], [-4.0, 25.0]]) + t * np.array([oncoming, crossing])
        targets = Targets(
            ["bus"] * 2, np.column_stack([at, [0, 0]]), np.array([[0.1, 0.1, 3.0]] * 2), np.array([oncoming, crossing]),
            np.array([[0.0, 20.0], [9.0, 30.0], [-9.0, 35.0]]),
        )  # fmt: skip
        records = scan(targets, pose, own, rng)
        scans.append(np.stack([records[n] for n in NUSCENES], axis=1))
        extras.append({n: records[n] for n in STATES})
        origins.append(pose[:2, 3])
    path = write_log(tmp_path, scans, mount=(mount.translation, yaw), poses=poses, extra=extras)
    found = returns_of(path, RadarConfig(sweeps=5), range_m=WIDE)
    assert np.unique(np.round(10 * found[:, 5])).tolist() == [0, 1, 2, 3, 4]
    # The key frame's ego frame is the global one here, so the scans can be compared in it.
    sweep = 4 - np.round(found[:, 5] / 0.1).astype(int)
    ray = found[:, :2] - np.array(origins)[sweep]
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    along, speed_of = (found[:, 6:8] * ray).sum(1), np.linalg.norm(found[:, 6:8], axis=1)
    np.testing.assert_allclose(np.abs(along), speed_of, atol=1e-4)  # nothing across the ray
    where = found[:, :2] + found[:, 5:6] * oncoming  # carried to the key frame
    is_oncoming = np.hypot(*(where - [5.0, 40.0]).T) < 1.0
    is_crossing = np.hypot(*(found[:, :2] + found[:, 5:6] * crossing - [-4.0, 25.0]).T) < 1.0
    assert is_oncoming.sum() >= 5
    assert is_crossing.sum() >= 5
    np.testing.assert_allclose(along[is_oncoming], ray[is_oncoming] @ oncoming, atol=0.5)  # its noise is 0.1
    np.testing.assert_allclose(along[is_crossing], ray[is_crossing] @ crossing, atol=0.5)
    assert (along[is_oncoming] < -5.0).all()
    still = ~is_oncoming & ~is_crossing
    assert still.sum() > 20
    assert speed_of[still].max() < 0.5


def test_which_returns_count(tmp_path: Path) -> None:
    cloud = np.array([a_return(10.0 + k, 0.0) for k in range(8)])
    cloud[6, 0], cloud[6, 1] = 0.4, -0.9  # the ego itself
    cloud[7, :] = np.nan  # nuScenes: a radar that saw nothing
    marks = states(8, invalid_state=[0, 4, 0, 0, 0, 0, 0, 0], dyn_prop=[1, 1, 7, 0, 2, 1, 1, 1],
                   ambig_state=[3, 3, 3, 3, 4, 3, 3, 3])  # fmt: skip
    path = write_log(tmp_path, [cloud], extra=[marks])
    assert returns_of(path)[:, 0].tolist() == [10.0, 13.0, 15.0]
    every = RadarConfig(invalid_states=(0, 4), dynprop_states=tuple(range(8)), ambig_states=(3, 4))
    assert returns_of(path, every)[:, 0].tolist() == [10.0, 11.0, 12.0, 13.0, 14.0, 15.0]
    assert returns_of(path, range_m=(0, -1, -1, 15.0, 1, 1))[:, 0].tolist() == [10.0, 13.0]  # half-open
    assert returns_of(path, ego_radius_m=0.0)[-1, 0] == pytest.approx(0.4)


def test_a_height_for_returns_without_one(tmp_path: Path) -> None:
    path = write_log(tmp_path, [np.array([a_return(10, 0), a_return(11, 0, z=0.7)])], mount=((0, 0, 0.5), 0.3))
    np.testing.assert_allclose(returns_of(path)[:, 2], [0.5, 1.2], atol=1e-6)
    np.testing.assert_allclose(returns_of(path, RadarConfig(height_m=0.9))[:, 2], [0.9, 1.2], atol=1e-6)


def test_an_empty_scan_a_beginning_and_a_later_clock(tmp_path: Path) -> None:
    path = write_log(tmp_path, [np.zeros((0, 8)), np.array([a_return(10, 0)])], lag_ns=20_000_000)
    found = returns_of(path, RadarConfig(sweeps=6))
    assert found.shape == (1, 10)
    assert found[0, 5] == pytest.approx(-0.02)  # radars do not wait for the lidar
    empty = returns_of(write_log(tmp_path, [np.zeros((0, 8))], name="empty"))
    assert (empty.shape, empty.dtype) == ((0, 10), np.float32)


def test_radars_that_cannot_be(tmp_path: Path) -> None:
    path = write_log(tmp_path, [np.array([a_return(10, 0)])], lidar=np.ones((3, 4), np.float32) * 5)
    with pytest.raises(UserError, match=r"has no radar \['FRONT'\]; use some of \['RADAR'\]"):
        FrameDataset([path], CARS, radars=RadarConfig(names=("FRONT",)))
    bare = write_log(tmp_path, [np.zeros((1, 4))], name="bare", columns=("x", "y", "z", "speed"))
    with pytest.raises(UserError, match="no velocity less the ego's own motion"):
        returns_of(bare)
    with LogWriter(tmp_path, "none", dataset="hand-made", source_version="1", licence="CC0-1.0") as log:
        log.add_sensor("LIDAR", "lidar", [0, 0, 0], quaternion_from_yaw(0.0), columns=("x", "y", "z"))
    with pytest.raises(UserError, match=r"has no radar; set data\.radars to None"):
        FrameDataset([tmp_path / "none"], CARS, radars=RadarConfig())
    with pytest.raises(UserError, match="0 is no number of sweeps"):
        RadarConfig(sweeps=0)


BOXES = np.array([[12.0, 3, 0.8, 4, 2, 1.6, 0.4, -6, 1], [30, -8, 0.8, 4, 2, 1.6, 2.0, 2, 2]])


def scene_log(root: Path, name: str = "scene") -> Path:
    """Two boxes, each with lidar points and a return whose velocity is the box's; one still return."""
    rng = np.random.default_rng(1)
    lidar = np.concatenate([box[:3] - [0, 0, 1.8] + rng.uniform(-0.5, 0.5, (6, 3)) for box in BOXES])
    cloud = np.column_stack([lidar, np.full(len(lidar), 0.5)]).astype(np.float32)
    radar = np.array([a_return(*box[:2], *box[7:9]) for box in BOXES] + [a_return(-20.0, 4.0)])
    return write_log(root, [radar], name=name, boxes=BOXES, lidar=cloud)


def test_a_sample_with_radar_and_without(tmp_path: Path) -> None:
    path = scene_log(tmp_path)
    lidar = FrameDataset([path], CARS)[0]
    assert lidar.points.shape == (12, 6)
    both = FrameDataset([path], CARS, radars=RadarConfig())[0].validate()
    assert both.points.shape == (15, 10)
    assert both.points[:12, :6].tobytes() == lidar.points.tobytes()  # to the bit
    assert not both.points[:12, 6:].any()
    assert both.points[12:, 9].tolist() == [1, 1, 1]
    assert (lidar.num_points.tolist(), both.num_points.tolist()) == ([6, 6], [7, 7])
    alone = FrameDataset.of(DataConfig(class_map=CARS, radars=RadarConfig(only=True)), [path])[0]
    np.testing.assert_array_equal(alone.points, both.points[12:])
    assert alone.num_points.tolist() == [1, 1]


def test_radars_alone_need_no_lidar(tmp_path: Path) -> None:
    path = write_log(tmp_path, [np.array([a_return(10, 0)])])  # the frame has no lidar sweep
    assert len(FrameDataset([path], CARS, radars=RadarConfig())) == 0
    assert FrameDataset([path], CARS, radars=RadarConfig(only=True))[0].points.shape == (1, 10)


def test_velocities_turn_with_the_scene(tmp_path: Path) -> None:
    recorded = FrameDataset([scene_log(tmp_path)], CARS, radars=RadarConfig(), range_m=WIDE)[0]
    rows = np.flatnonzero(recorded.points[:, 9])[:2]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        sample = augment(recorded, AugmentConfig(scale_low=0.8, scale_high=1.25), rng)
        np.testing.assert_allclose(sample.points[rows, :2], sample.boxes[:, :2], atol=1e-4)
        np.testing.assert_allclose(sample.points[rows, 6:8], sample.boxes[:, 7:9], atol=1e-5)
        np.testing.assert_array_equal(sample.points[:, 8:], recorded.points[:, 8:])
        np.testing.assert_allclose(undo(sample).points, recorded.points, atol=1e-5)
    mirror = AppliedTransform("flip", np.diag([1.0, -1.0, 1.0, 1.0]))
    np.testing.assert_allclose(transform_sample(recorded, [mirror]).points[rows[0], 6:8], [-6, -1], atol=1e-6)


def test_pasted_objects_keep_their_velocity(tmp_path: Path) -> None:
    dataset = FrameDataset([scene_log(tmp_path)], CARS, radars=RadarConfig(), range_m=WIDE, augment=AugmentConfig())
    bank = dataset.build_bank(tmp_path / "bank.arrow")
    assert (len(bank), bank.columns) == (2, 10)
    blank = replace(empty_sample(), points=np.zeros((0, 10), np.float32))
    config = PasteConfig(probability=1.0, fill_up_to=(("car", 2),))
    pasted = paste(blank, bank, config, np.random.default_rng(0))
    radar = pasted.points[pasted.points[:, 9] == 1]
    order = np.argsort(radar[:, 0])
    np.testing.assert_allclose(radar[order, :2], BOXES[:, :2], atol=1e-4)  # where it was recorded
    np.testing.assert_allclose(radar[order, 6:8], BOXES[:, 7:9], atol=1e-5)
    lidar_only = FrameDataset([scene_log(tmp_path, "second")], CARS, range_m=WIDE, augment=AugmentConfig())
    assert lidar_only.build_bank(tmp_path / "other.arrow").columns == 6
    assert ObjectBank(tmp_path / "other.arrow").points(0).shape[1] == 6
    assert bank.key != key_with_two_sweeps(dataset, tmp_path)


def key_with_two_sweeps(dataset: FrameDataset, folder: Path) -> str:
    """The key of a bank of the same frames with another sweep of the radar: it is built anew."""
    other = FrameDataset(
        [log.path for log in dataset.logs], CARS, radars=RadarConfig(sweeps=2), augment=AugmentConfig()
    )
    return other.build_bank(folder / "again.arrow").key


def test_batches(tmp_path: Path) -> None:
    sample = FrameDataset([scene_log(tmp_path)], CARS, radars=RadarConfig())[0]
    blank: FrameSample = replace(empty_sample(), points=np.zeros((0, 10), np.float32))
    batch = collate([blank.validate(), sample, sample])
    assert (batch.points.shape, batch.point_offsets.tolist()) == ((30, 10), [0, 0, 15, 30])
    assert collate([blank]).points.shape == (0, 10)
    assert collate([]).points.shape == (0, 6)
    with pytest.raises(UserError, match="some samples have radar columns"):
        collate([sample, empty_sample()])
    with pytest.raises(UserError, match=r"expected float32\[15, 10\]"):
        replace(sample, points=sample.points[:, :8]).validate()


def test_joining_nothing() -> None:
    none = join_radar(np.zeros((0, 6), np.float32), np.zeros((0, 10), np.float32))
    assert none.shape == (0, 10)


def test_a_detector_of_radar_is_refused_where_none_is_rendered() -> None:
    trained: Any = SimpleNamespace(data=DataConfig(radars=RadarConfig()), class_names=("car",))
    with pytest.raises(UserError, match="reads radar; in the loop only lidar sweeps are rendered"):
        NetworkDetector(trained, "runs/radar")


def test_what_a_submission_declares() -> None:
    def used(radars: RadarConfig | None) -> list[str]:
        detector: Any = SimpleNamespace(data=DataConfig(radars=radars), experiment=load_recipe("configs.town_radar"))
        return [name for name, is_used in sensors_used(detector).items() if is_used]

    assert used(None) == ["use_lidar"]
    assert used(RadarConfig()) == ["use_lidar", "use_radar"]
    assert used(RadarConfig(only=True)) == ["use_radar"]
