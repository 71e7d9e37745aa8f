"""InverseAug: whatever was done to a sample's geometry is undone, by the inverse of the chain and step by step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from drive.samples.augment.config import AugmentConfig
from drive.samples.augment.flip import flip
from drive.samples.augment.policy import augment
from drive.samples.augment.rotate import rotate
from drive.samples.augment.scale import scale
from drive.samples.augment.transform import augmented_from_recorded, transform_sample, undo
from drive.samples.augment.translate import translate
from drive.samples.batch import collate
from drive.samples.images import CameraImages
from drive.samples.sample import AppliedTransform, FrameSample, empty_sample

NO_CAMERAS = CameraImages(
    (), np.zeros((0, 4, 4, 3), np.uint8), np.zeros(0, np.bool_), np.zeros((0, 4, 4)), np.zeros((0, 3, 3)),
    np.zeros((0, 5)), np.zeros((0, 3, 3)),
)  # fmt: skip


def step(kind: int, seed: int) -> list[AppliedTransform]:
    """One drawn policy, with settings wider than any recipe's."""
    rng = np.random.default_rng(seed)
    return [
        lambda: flip(rng, 0.7, 0.7),
        lambda: rotate(rng, np.pi, 1.0),
        lambda: scale(rng, 0.5, 2.0, 1.0),
        lambda: translate(rng, (3.0, 3.0, 1.0), 1.0),
    ][kind]()


chains = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**32 - 1)), max_size=10)


def cloud(seed: int) -> FrameSample:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-80, 80, (50, 6)).astype(np.float32)
    recorded = points[:, :3].copy()
    return replace(empty_sample(), points=points, recorded_xyz=recorded, images=NO_CAMERAS)


@settings(max_examples=200, deadline=None)
@given(chain=chains, seed=st.integers(0, 1000))
def test_undoing_any_chain_gives_the_place_back(chain: list[tuple[int, int]], seed: int) -> None:
    transforms = [t for kind, s in chain for t in step(kind, s)]
    xyz = np.random.default_rng(seed).uniform(-100, 100, (30, 3))
    done, steps_back = np.c_[xyz, np.ones(30)].T, np.eye(4)
    for transform in transforms:
        done = transform.augmented_from_original @ done
    for transform in reversed(transforms):
        steps_back = np.linalg.inv(transform.augmented_from_original) @ steps_back
    whole = augmented_from_recorded(transforms)
    assert np.abs((whole @ np.c_[xyz, np.ones(30)].T) - done).max() < 1e-5 * max(1.0, np.abs(done).max())
    assert np.abs((np.linalg.inv(whole) @ done)[:3].T - xyz).max() < 1e-5
    assert np.abs((steps_back @ done)[:3].T - xyz).max() < 1e-5


@settings(max_examples=50, deadline=None)
@given(chain=chains, seed=st.integers(0, 1000))
def test_a_batch_carries_the_inverse_and_it_equals_the_carried_places(chain: list[tuple[int, int]], seed: int) -> None:
    transforms = [t for kind, s in chain for t in step(kind, s)]
    sample = transform_sample(cloud(seed), transforms)
    # Both are the recorded places: one carried bit by bit, one computed from float32 places.
    batch = collate([cloud(seed + 1), sample])
    assert batch.recorded_xyz is not None
    assert np.array_equal(batch.recorded_xyz[50:].numpy(), cloud(seed).points[:, :3])
    back = batch.recorded_from_augmented.numpy()
    assert np.array_equal(back[0], np.eye(4))
    undone = sample.points[:, :3].astype(np.float64) @ back[1, :3, :3].T + back[1, :3, 3]
    growth = np.abs(back[1, :3, :3]).max()  # shrinking a scene a thousand times loses digits; recipes shrink by 5 %
    assert np.abs(undone - batch.recorded_xyz[50:].numpy()).max() < 1e-5 * max(1.0, growth) * (
        1 + np.abs(sample.points[:, :3]).max()
    )
    assert np.abs(undo(sample).points[:, :3] - cloud(seed).points[:, :3]).max() < 1e-4 * max(1.0, growth) * (
        1 + np.abs(sample.points[:, :3]).max()
    )


def test_a_recipe_s_augmentation_is_undone_within_a_millimetre() -> None:
    """The specification's unit test: max |inverse(augmented) - recorded| < 1e-3 m."""
    strong = AugmentConfig(translate_std_m=(1.0, 1.0, 0.35))
    for seed in range(30):
        sample = augment(cloud(seed), strong, np.random.default_rng(seed))
        assert sample.augmentations
        back = collate([sample]).recorded_from_augmented[0].numpy()
        undone = sample.points[:, :3].astype(np.float64) @ back[:3, :3].T + back[:3, 3]
        assert sample.recorded_xyz is not None
        assert np.abs(undone - sample.recorded_xyz).max() < 1e-4


def test_the_order_counts() -> None:
    """As the original undoes it: mirror, subtract the shift, divide by the factor, turn back."""
    turn, factor, shift = 0.7, 1.04, np.array([0.3, -0.2, 0.5])
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    matrices = [np.eye(4) for _ in range(4)]
    matrices[0][:3, :3] = rotation
    matrices[1][:3, :3] *= factor
    matrices[2][:3, 3] = shift
    matrices[3][1, 1] = -1
    chain = [AppliedTransform(str(i), m) for i, m in enumerate(matrices)]
    sample = transform_sample(cloud(0), chain)
    places = sample.points[:, :3].astype(np.float64) * [1, -1, 1]
    by_hand = (places - shift) / factor @ rotation
    back = collate([sample]).recorded_from_augmented[0].numpy()
    assert np.allclose(sample.points[:, :3] @ back[:3, :3].T + back[:3, 3], by_hand, atol=1e-9)
    assert np.abs(by_hand - cloud(0).points[:, :3]).max() < 1e-4
    backwards = collate([transform_sample(cloud(0), chain[::-1])]).recorded_from_augmented[0].numpy()
    assert np.abs(backwards - back).max() > 0.1


def test_no_points() -> None:
    sample = transform_sample(
        replace(empty_sample(), recorded_xyz=np.zeros((0, 3), np.float32), images=NO_CAMERAS), step(1, 3)
    )
    batch = collate([sample])
    assert batch.recorded_xyz is not None
    assert batch.recorded_xyz.shape == (0, 3)
    assert batch.recorded_from_augmented.shape == (1, 4, 4)
    assert collate([]).recorded_from_augmented.shape == (0, 4, 4)
