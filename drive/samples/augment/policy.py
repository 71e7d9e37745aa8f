"""The augmentation of one sample: the policies in order, from one random state that the sample's identity fixes."""

from __future__ import annotations

import numpy as np

from drive.samples.augment.bank import ObjectBank
from drive.samples.augment.config import AugmentConfig
from drive.samples.augment.flip import flip
from drive.samples.augment.paste import paste
from drive.samples.augment.rotate import rotate
from drive.samples.augment.scale import scale
from drive.samples.augment.transform import transform_sample
from drive.samples.augment.translate import translate
from drive.samples.sample import FrameSample


def augment(
    sample: FrameSample,
    config: AugmentConfig,
    rng: np.random.Generator,
    *,
    bank: ObjectBank | None = None,
    obstacles: np.ndarray | None = None,
) -> FrameSample:
    """Augment one sample.

    Args:
        sample: As recorded.
        config: Probabilities and sizes.
        rng: Fixed by (seed, epoch, index), so a sample does not depend on which worker makes it, or when.
        bank: Objects to paste; None pastes nothing (the last part of a training).
        obstacles: [M, >=7] boxes that are not labels but must not be pasted upon (ignored categories).

    Returns:
        A new sample; every geometric step is in `augmentations`.
    """
    pasting, moving = rng.spawn(2)  # so that the geometry is the same with and without a bank
    if bank is not None:
        sample = paste(sample, bank, config.paste, pasting, obstacles)
    transforms = [
        *flip(moving, config.flip_x, config.flip_y),
        *rotate(moving, config.rotate_rad, config.rotate_probability),
        *scale(moving, config.scale_low, config.scale_high, config.scale_probability),
        *translate(moving, config.translate_std_m, config.translate_probability),
    ]
    return transform_sample(sample, transforms)
