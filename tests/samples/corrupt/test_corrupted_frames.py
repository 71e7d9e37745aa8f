"""Corruptions of whole frames: which moment is shown, which camera is lost, the same whoever asks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from failing_log import CAMERAS, grey_of, sweep_of, write_failing_log

from drive.errors import UserError
from drive.experiment import Experiment
from drive.logs.store import Log
from drive.recipes import load_recipe
from drive.samples.augment.config import AugmentConfig
from drive.samples.batch import collate
from drive.samples.config import DataConfig
from drive.samples.corrupt.config import CORRUPTIONS, CorruptConfig
from drive.samples.corrupt.moments import older_image, shift_is_recorded
from drive.samples.frame_dataset import FrameDataset
from drive.samples.images import ImageConfig
from drive.samples.loader import TrainLoader
from drive.samples.sample import FrameSample

IMAGES = ImageConfig(size=(64, 96))


def frames(
    log: Path, corrupt: CorruptConfig | None, images: ImageConfig | None = IMAGES, sweeps: int = 1
) -> FrameDataset:
    data = DataConfig(images=images, corrupt=corrupt, sweeps=sweeps, ego_radius_m=0.0)
    return FrameDataset.of(data, [log])


def sample(log: Path, name: str, severity: int = 1, frame: int = 2, seed: int = 1000, sweeps: int = 1) -> FrameSample:
    return frames(log, CorruptConfig(name, severity, seed), sweeps=sweeps)[frame]


def greys(of: FrameSample) -> list[int]:
    assert of.images is not None
    return of.images.pixels[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("name", list(CORRUPTIONS))
def test_every_corruption_of_a_frame(failing_log: Path, name: str) -> None:
    clean = frames(failing_log, None)[2]
    touches = CORRUPTIONS[name].touches
    # Chance may spare one frame: of some seeds one must show something in each sensor that it touches.
    seen = set()
    for seed in range(4):
        out = sample(failing_log, name, 3, seed=seed)
        assert out.images is not None
        if seed == 0:
            again = sample(failing_log, name, 3, seed=seed)
            assert out.points.tobytes() == again.points.tobytes()
            assert out.images.pixels.tobytes() == again.images.pixels.tobytes()
        if out.points.tobytes() != clean.points.tobytes():
            seen.add("lidar")
        same = out.images.camera_from_ego.tobytes() == clean.images.camera_from_ego.tobytes()
        if out.images.pixels.tobytes() != clean.images.pixels.tobytes() or not same:
            seen.add("camera")
        assert np.array_equal(out.labels, clean.labels)  # labels stay
        assert np.array_equal(out.boxes, clean.boxes)
    assert seen == set(touches)


def test_a_worker_process_makes_the_same_frames(failing_log: Path) -> None:
    dataset = frames(failing_log, CorruptConfig("snow", 2))
    here = [dataset[i] for i in range(3)]
    loader = TrainLoader(dataset, 1, workers=1, seed=0)
    batches = iter(loader)
    for _ in range(3):
        batch = next(batches)
        own = next(s for s in here if s.frame_id == batch.frame_ids[0])
        assert batch.points.numpy().tobytes() == own.points.tobytes()
        assert batch.images.pixels.permute(0, 2, 3, 1).numpy().tobytes() == own.images.pixels.tobytes()
    batches.close()


def test_a_sweep_is_corrupted_once_whoever_shows_it(failing_log: Path) -> None:
    # Row 9 is the key sweep of frame 1 and the sixth sweep of frame 2.
    as_key = sample(failing_log, "points_reducing", 1, frame=1).points
    merged = sample(failing_log, "points_reducing", 1, frame=2, sweeps=6).points
    old = merged[merged[:, 5] > 0.45]
    assert len(as_key) == len(old) == 192  # 30 % of 640
    assert np.array_equal(as_key[:, 2:4], old[:, 2:4])


def test_rings_that_are_kept_come_from_the_log(failing_log: Path) -> None:
    kept = sample(failing_log, "beams_reducing", 3).points
    rings = np.rint((kept[:, 2] - 1.8 - 0.14) / 0.02).astype(int)
    assert np.unique(rings).tolist() == [1, 9, 17, 25]
    assert len(kept) == 4 * 20


def test_stale_sensors_show_the_frame_before(failing_log: Path) -> None:
    stale_lidar, stale_images = 0, 0
    for seed in range(60):
        out = sample(failing_log, "temporal_misalignment", 2, seed=seed, sweeps=2)
        key = out.points[out.points[:, 5] == 0]
        row = round(float(key[0, 2] - 1.8 - 0.02 * 0) * 100)  # the first return is of ring 0
        assert row in (14, 9)
        stale_lidar += row == 9
        # Placed by the poses and times of the frame's own sweeps.
        assert np.array_equal(key[:, :2], sweep_of(row)[:, :2])
        assert np.unique(out.points[:, 5]).tolist() == [0.0, np.float32(0.1)]
        assert set(greys(out)) <= {grey_of(14), grey_of(9)}
        stale_images += sum(g == grey_of(9) for g in greys(out))
        pose = frames(failing_log, None)[2].images.camera_from_ego
        assert np.array_equal(out.images.camera_from_ego, pose)
    assert stale_lidar / 60 == pytest.approx(0.4, abs=0.15)
    assert stale_images / 120 == pytest.approx(0.4, abs=0.12)
    first = sample(failing_log, "temporal_misalignment", 3, frame=0)  # nothing comes before
    assert greys(first) == [grey_of(4)] * 2


def test_images_of_an_earlier_moment(failing_log: Path) -> None:
    for severity, row in zip((1, 2, 3), (13, 12, 9), strict=True):
        out = sample(failing_log, "time_shift", severity)
        assert greys(out) == [grey_of(row)] * 2
        assert np.array_equal(out.images.camera_from_ego, frames(failing_log, None)[2].images.camera_from_ego)
    log = Log.open(failing_log)
    assert older_image(log, "LEFT", 0, 1) == 0  # nothing was recorded before
    assert [shift_is_recorded(log, s) for s in (1, 2, 3)] == [True] * 3


def test_cameras_lost_by_number_and_by_chance(failing_log: Path) -> None:
    clean = frames(failing_log, None)[2]
    for severity, lost in ((1, 1), (2, 1), (3, 2)):
        out = sample(failing_log, "camera_drop", severity)
        assert (~out.images.present).sum() == lost
        assert len(out.images.missing) == lost
        assert out.points.tobytes() == clean.points.tobytes()
    lost = np.array(
        [[(~sample(failing_log, "missing_camera", s, seed=i).images.present) for i in range(50)] for s in (1, 3)]
    )
    assert lost[0].mean() == pytest.approx(0.2, abs=0.1)
    assert lost[1].mean() == pytest.approx(0.6, abs=0.1)
    assert not (lost[0] & ~lost[1]).any()  # a worse severity loses what a milder one loses


def test_a_loose_camera_turns_about_its_own_axis(failing_log: Path) -> None:
    clean = frames(failing_log, None)
    for severity, degrees in ((1, 0.5), (2, 1.0), (3, 2.0)):
        out = frames(failing_log, CorruptConfig("calibration_shift", severity))
        for i in range(len(CAMERAS)):
            turns = []
            for frame in range(3):
                turn = out[frame].images.camera_from_ego[i] @ np.linalg.inv(clean[frame].images.camera_from_ego[i])
                assert np.allclose(turn[:3, 3], 0, atol=1e-12)  # the camera stays where it is
                assert np.allclose(turn[1, :3], [0, 1, 0], atol=1e-12)  # its vertical axis too
                turns.append(np.degrees(np.arctan2(turn[0, 2], turn[0, 0])))
            assert np.abs(turns[0]) == pytest.approx(degrees)
            assert turns == pytest.approx([turns[0]] * 3)  # alike in every frame


def test_frames_without_points_and_without_cameras(tmp_path: Path) -> None:
    empty = write_failing_log(tmp_path, "empty", empty=True)
    blind = write_failing_log(tmp_path, "blind", cameras=False)
    for name in CORRUPTIONS:
        corrupt = CorruptConfig(name, 3)
        out = frames(empty, corrupt)[1]
        assert out.points.shape == (0, 6)
        assert frames(blind, corrupt, images=None)[1].images is None
        none = frames(blind, corrupt)[1].images
        assert none is not None
        assert len(none.names) == 0
    assert not shift_is_recorded(Log.open(blind), 1)


def test_what_is_no_corruption_is_refused() -> None:
    with pytest.raises(UserError, match="no corruption 'rain'"):
        CorruptConfig("rain")
    with pytest.raises(UserError, match="4 is no severity"):
        CorruptConfig("fog", 4)


def test_a_corruption_is_part_of_the_configuration(tmp_path: Path) -> None:
    recipe = load_recipe("configs.town_swformer")
    changed = replace(recipe, data=replace(recipe.data, corrupt=CorruptConfig("fog", 2)))
    (tmp_path / "config.json").write_text(changed.to_json())
    assert Experiment.read(tmp_path / "config.json").data.corrupt == CorruptConfig("fog", 2)
    assert changed.hash() != recipe.hash()


def dropping(log: Path, cameras: float, lidar: float, augment: bool = True) -> FrameDataset:
    data = DataConfig(images=IMAGES, drop_cameras=cameras, drop_lidar=lidar, ego_radius_m=0.0)
    return FrameDataset.of(data, [log], augment=AugmentConfig() if augment else None, min_points=1)


def test_modality_drop_out_takes_one_or_the_other(failing_log: Path) -> None:
    dataset = dropping(failing_log, 0.3, 0.2)
    drawn = [dataset.item(2, epoch) for epoch in range(200)]
    no_images = np.array([not s.images.present.any() for s in drawn])
    no_points = np.array([len(s.points) == 0 for s in drawn])
    assert no_images.mean() == pytest.approx(0.3, abs=0.1)
    assert no_points.mean() == pytest.approx(0.2, abs=0.1)
    assert not (no_images & no_points).any()
    # Labels stay, as hard to see as they were.
    assert all(len(s.boxes) == 1 and s.num_points[0] > 0 for s in drawn)
    assert all(len(s.recorded_xyz) == len(s.points) for s in drawn)
    blind = drawn[int(np.flatnonzero(no_images)[0])]
    assert blind.images.missing == tuple(f"{c}: left out with all others at random, for training" for c in CAMERAS)
    collate([blind, drawn[int(np.flatnonzero(no_points)[0])]])
    # The rest of the sample does not depend on it, nor on who asks.
    plain = dropping(failing_log, 0.0, 0.0).item(2, 5)
    kept = dropping(failing_log, 1e-9, 0.0).item(2, 5)
    assert kept.points.tobytes() == plain.points.tobytes()
    # When a model is used, nothing is dropped.
    assert dropping(failing_log, 0.5, 0.5, augment=False)[0].images.present.all()


def test_drop_out_that_cannot_be_is_refused(failing_log: Path, tmp_path: Path) -> None:
    for cameras, lidar in ((0.7, 0.4), (-0.1, 0.0)):
        with pytest.raises(UserError, match="exclude each other"):
            dropping(failing_log, cameras, lidar)
    with pytest.raises(UserError, match="for samples with images"):
        FrameDataset.of(DataConfig(drop_lidar=0.1), [failing_log])
    # A frame that has no image to go by keeps its points.
    data = DataConfig(images=ImageConfig(size=(64, 96), drop_camera=1.0), drop_lidar=1.0, ego_radius_m=0.0)
    assert len(FrameDataset.of(data, [failing_log], augment=AugmentConfig()).item(0).points) > 0
