"""Augmentation: what it does can be undone, keeps points in their boxes, and depends on nothing but its seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Polygon

from drive.errors import UserError
from drive.geometry.box import corners_bev, points_in_box_mask
from drive.samples.augment.bank import ObjectBank
from drive.samples.augment.config import NO_AUGMENTATION, AugmentConfig, PasteConfig
from drive.samples.augment.flip import flip
from drive.samples.augment.paste import paste
from drive.samples.augment.policy import augment
from drive.samples.augment.rotate import rotate
from drive.samples.augment.scale import scale
from drive.samples.augment.transform import transform_sample, undo, undo_boxes
from drive.samples.augment.translate import translate
from drive.samples.classes import NUSCENES_CLASSES
from drive.samples.frame_dataset import FrameDataset
from drive.samples.inside import points_in_boxes
from drive.samples.sample import AppliedTransform, FrameSample, empty_sample

ALL = AugmentConfig(flip_x=1.0, flip_y=1.0, translate_std_m=(0.5, 0.5, 0.2))


def scene(seed: int, boxes: int = 8, clutter: int = 300, spread: float = 30.0) -> FrameSample:
    """Boxes with 20 points each, well inside, and clutter that is well outside of every box."""
    rng = np.random.default_rng(seed)
    placed = np.zeros((boxes, 9))
    placed[:, :2] = rng.uniform(-spread, spread, (boxes, 2))
    placed[:, 3:6] = rng.uniform(0.6, 5.0, (boxes, 3))
    placed[:, 6] = rng.uniform(-3.1, 3.1, boxes)
    placed[:, 7:] = rng.normal(0, 5, (boxes, 2))
    own = []
    for x, y, z, length, width, height, yaw, *_ in placed:
        local = rng.uniform(-0.45, 0.45, (20, 3)) * [length, width, height]
        cos, sin = np.cos(yaw), np.sin(yaw)
        turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        own.append(local @ turn.T + [x, y, z])
    other = rng.uniform(-40, 40, (clutter, 3)) * [1, 1, 0.05]
    other = other[points_in_boxes(other.astype(np.float32), placed, 0.05)[0] < 0]
    xyz = np.concatenate([np.zeros((0, 3)), *own, other])
    points = np.concatenate([xyz, rng.uniform(0, 1, (len(xyz), 3))], axis=1).astype(np.float32)
    return FrameSample(
        points=points,
        boxes=placed.astype(np.float32),
        labels=rng.integers(0, 2, boxes),
        velocity_valid=np.ones(boxes, np.bool_),
        num_points=np.full(boxes, 20),
        frame_id=f"scene/{seed}",
    )


def counts(sample: FrameSample) -> list[int]:
    return points_in_boxes(sample.points, sample.boxes)[1].tolist()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_undone_it_is_as_before(seed: int) -> None:
    before = scene(seed)
    after = augment(before, ALL, np.random.default_rng(seed))
    assert [t.name for t in after.augmentations] == ["flip_x", "flip_y", "rotate", "scale", "translate"]
    assert not np.allclose(after.boxes, before.boxes, atol=1e-3)
    back = undo(after)
    np.testing.assert_allclose(back.points, before.points, atol=2e-5)
    np.testing.assert_allclose(back.boxes[:, :6], before.boxes[:, :6], atol=2e-5)
    np.testing.assert_allclose(np.cos(back.boxes[:, 6] - before.boxes[:, 6]), 1.0, atol=1e-6)
    np.testing.assert_allclose(back.boxes[:, 7:], before.boxes[:, 7:], atol=2e-5)
    np.testing.assert_allclose(undo_boxes(after.boxes, after.augmentations)[:, :6], before.boxes[:, :6], atol=2e-5)
    assert back.augmentations == ()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), flip_x=st.booleans(), flip_y=st.booleans())
def test_points_stay_in_their_boxes(seed: int, flip_x: bool, flip_y: bool) -> None:
    before = scene(seed)
    config = replace(ALL, flip_x=float(flip_x), flip_y=float(flip_y))
    after = augment(before, config, np.random.default_rng(seed))
    assert counts(after) == counts(before)
    mask = points_in_box_mask(after.points, after.boxes)
    assert mask.sum(axis=1).tolist() == counts(after)  # the fast count is the plain one
    np.testing.assert_array_equal(after.points[:, 3:], before.points[:, 3:])
    assert (np.abs(after.boxes[:, 6]) <= np.float32(np.pi)).all()


def one_box(yaw: float) -> FrameSample:
    return replace(
        empty_sample(),
        boxes=np.array([[10, 2, 1, 4, 2, 1.5, yaw, 3, 1]], np.float32),
        labels=np.zeros(1, np.int64),
        velocity_valid=np.ones(1, np.bool_),
        num_points=np.ones(1, np.int64),
        points=np.array([[11, 2, 1, 0.5, 0, 0.1]], np.float32),
    )


def test_policies_by_hand() -> None:
    rng = np.random.default_rng(0)
    before = one_box(0.5)
    by_x = transform_sample(before, flip(rng, 1.0, 0.0))
    np.testing.assert_allclose(by_x.boxes, [[10, -2, 1, 4, 2, 1.5, -0.5, 3, -1]], atol=1e-6)
    np.testing.assert_allclose(by_x.points, [[11, -2, 1, 0.5, 0, 0.1]], atol=1e-6)
    by_y = transform_sample(before, flip(rng, 0.0, 1.0))
    np.testing.assert_allclose(by_y.boxes, [[-10, 2, 1, 4, 2, 1.5, np.pi - 0.5, -3, 1]], atol=1e-6)
    quarter = np.eye(4)
    quarter[:2, :2] = [[0, -1], [1, 0]]
    turned = transform_sample(before, [AppliedTransform("rotate", quarter)])
    np.testing.assert_allclose(turned.boxes, [[-2, 10, 1, 4, 2, 1.5, 0.5 + np.pi / 2, -1, 3]], atol=1e-6)
    doubled = transform_sample(before, scale(rng, 2.0, 2.0, 1.0))
    np.testing.assert_allclose(doubled.boxes, [[20, 4, 2, 8, 4, 3, 0.5, 6, 2]], atol=1e-5)
    moved = transform_sample(before, translate(rng, (0.0, 0.0, 1.0), 1.0))
    assert (moved.boxes[0, :2] == before.boxes[0, :2]).all()
    assert moved.boxes[0, 2] - 1 == pytest.approx(moved.points[0, 2] - 1, abs=1e-6)
    assert moved.boxes[0, 2] != before.boxes[0, 2]


def test_draws_stay_in_their_limits() -> None:
    turns, factors, flips = [], [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        turns += [np.arctan2(*t.augmented_from_original[[1, 0], 0]) for t in rotate(rng, 0.5, 1.0)]
        factors += [t.augmented_from_original[0, 0] for t in scale(rng, 0.9, 1.2, 1.0)]
        flips.append(len(flip(rng, 0.5, 0.0)))
    assert -0.5 <= min(turns) < -0.45 < 0.45 < max(turns) <= 0.5
    assert 0.9 <= min(factors) < 0.91 < 1.19 < max(factors) <= 1.2
    assert 0.4 < np.mean(flips) < 0.6


def test_nothing_is_done_at_probability_zero() -> None:
    before = scene(1)
    assert augment(before, NO_AUGMENTATION, np.random.default_rng(0)) is before


def test_a_tilt_is_refused() -> None:
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[0.8, -0.6], [0.6, 0.8]]
    with pytest.raises(ValueError, match="tilt"):
        transform_sample(scene(1), [AppliedTransform("tilt", tilt)])


def test_an_empty_frame() -> None:
    after = augment(empty_sample(), ALL, np.random.default_rng(0))
    assert after.points.shape == (0, 6)
    assert undo(after).boxes.shape == (0, 9)


def test_the_same_whoever_asks_and_when(log_path: Path) -> None:
    a = FrameDataset([log_path], NUSCENES_CLASSES, augment=AugmentConfig(), seed=5)
    b = FrameDataset([log_path], NUSCENES_CLASSES, augment=AugmentConfig(), seed=5)
    forwards = [a.item(i, epoch=3) for i in (0, 1, 2)]
    backwards = [b.item(i, epoch=3) for i in (2, 1, 0)][::-1]
    for x, y in zip(forwards, backwards, strict=True):
        np.testing.assert_array_equal(x.points, y.points)
        np.testing.assert_array_equal(x.boxes, y.boxes)
    others = [a.item(0, epoch=4), a.item(0, epoch=3, repeat=1)]
    others.append(FrameDataset([log_path], NUSCENES_CLASSES, augment=AugmentConfig(), seed=6).item(0, epoch=3))
    for other in others:
        assert not np.array_equal(other.points[:9], forwards[0].points[:9])


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> ObjectBank:
    path = tmp_path_factory.mktemp("bank") / "bank.arrow"
    samples = [scene(seed) for seed in range(40)]
    return ObjectBank.build(samples, path, ("car", "pedestrian"), min_points=5, max_per_class=1000)


def test_bank_holds_objects_in_their_own_frame(bank: ObjectBank) -> None:
    assert len(bank) == 320
    assert bank.names == ("car", "pedestrian")
    assert len(bank.rows_of("car")) + len(bank.rows_of("pedestrian")) == 320
    for row in range(0, 320, 40):
        half = bank.boxes[row, 3:6] / 2
        assert (np.abs(bank.points(row)[:, :3]) <= half + 1e-5).all()
        assert len(bank.points(row)) >= 5
    with pytest.raises(UserError, match="no class 'dog'"):
        bank.rows_of("dog")


def test_bank_is_bounded_and_does_not_depend_on_the_order(tmp_path: Path) -> None:
    samples = [scene(seed) for seed in range(10)]
    options = {"names": ("car", "pedestrian"), "min_points": 5, "max_per_class": 7}
    a = ObjectBank.build(samples, tmp_path / "a.arrow", **options)
    ObjectBank.build(samples[::-1], tmp_path / "b.arrow", **options)
    assert len(a) == 14
    assert (tmp_path / "a.arrow").read_bytes() == (tmp_path / "b.arrow").read_bytes()
    few = ObjectBank.build(samples, tmp_path / "c.arrow", ("car", "pedestrian"), min_points=999, max_per_class=7)
    assert len(few) == 0
    assert paste(samples[0], few, PasteConfig(1.0, (("car", 50),)), np.random.default_rng(0)) is samples[0]


def test_a_broken_bank_is_named(tmp_path: Path) -> None:
    (tmp_path / "bank.arrow").write_bytes(b"rubbish")
    for name in ("bank.arrow", "absent.arrow"):
        with pytest.raises(UserError, match="delete it"):
            ObjectBank(tmp_path / name)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_pasted_objects_overlap_nothing(bank: ObjectBank, seed: int) -> None:
    before = scene(seed, boxes=2)
    obstacle = np.array([[0, 0, 0, 20, 20, 2, 0.3]], np.float32)
    config = PasteConfig(probability=1.0, fill_up_to=(("car", 12), ("pedestrian", 9)))
    after = paste(before, bank, config, np.random.default_rng(seed), obstacle)
    pasted = after.boxes[2:]
    assert len(pasted) > 0
    assert ((after.labels == 0).sum() <= max(12, (before.labels == 0).sum())).all()
    assert (after.labels == 1).sum() <= max(9, (before.labels == 1).sum())
    np.testing.assert_array_equal(after.boxes[:2], before.boxes)
    shapes = [Polygon(c) for c in corners_bev(np.concatenate([pasted[:, :7], obstacle, before.boxes[:, :7]]))]
    for i in range(len(pasted)):
        for j in range(i):
            assert shapes[i].intersection(shapes[j]).area < 1e-6
        for j in range(len(pasted), len(shapes)):
            assert shapes[i].intersection(shapes[j]).area < 1e-6
    # Inside a pasted box there are its own points and none of the scene.
    found = points_in_boxes(after.points, pasted, 1e-4)[1]
    np.testing.assert_array_equal(found, after.num_points[2:])
    assert len(after.velocity_valid) == len(after.labels) == len(after.num_points) == len(after.boxes)


def test_a_data_set_pastes_and_opens_its_bank_again(log_path: Path, tmp_path: Path) -> None:
    config = replace(NO_AUGMENTATION, paste=PasteConfig(1.0, (("car", 9),), min_points=5))
    dataset = FrameDataset([log_path], NUSCENES_CLASSES, augment=config)
    plain = dataset.item(0)
    built = dataset.build_bank(tmp_path / "bank.arrow")
    assert set(built.labels.tolist()) == {0, 5}
    stamp = (tmp_path / "bank.arrow").stat().st_mtime_ns
    assert dataset.build_bank(tmp_path / "bank.arrow").key == built.key
    assert (tmp_path / "bank.arrow").stat().st_mtime_ns == stamp
    np.testing.assert_array_equal(dataset.item(0, paste=False).points, plain.points)
    # All frames hold the same boxes, so everything collides, and nothing is pasted.
    np.testing.assert_array_equal(dataset.item(0).boxes, plain.boxes)
    other = FrameDataset([log_path], NUSCENES_CLASSES, augment=config, sweeps=2)
    other.build_bank(tmp_path / "bank.arrow")
    assert (tmp_path / "bank.arrow").stat().st_mtime_ns != stamp
