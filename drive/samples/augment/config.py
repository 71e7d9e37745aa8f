"""Every knob of augmentation."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class PasteConfig:
    """Copy-paste of objects from other frames (SECOND's ground-truth sampling).

    Attributes:
        probability: Chance that a sample gets pasted objects at all; 0 switches pasting off and no bank is built.
        fill_up_to: Class name and number of boxes of that class that a sample is filled up to, its own included.
        min_points: Objects with fewer points stay out of the bank.
        max_per_class: Objects that the bank keeps of each class, spread evenly over the logs; bounds its size.
        until: Share of the training after which nothing is pasted any more: pasted objects lack occlusion and raise
            false positives (DSVT and ScatterFormer stop 1 to 4 epochs before the end).
    """

    probability: float = 0.0
    fill_up_to: tuple[tuple[str, int], ...] = ()
    min_points: int = 5
    max_per_class: int = 4000
    until: float = 0.9


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of one training sample, in the order paste, flip, rotate, scale, translate, range crop.

    Attributes:
        flip_x: Probability of a mirror image across the x axis (y changes sign).
        flip_y: Probability of a mirror image across the y axis (x changes sign).
        rotate_rad: Turn about z, uniform in +- this.
        rotate_probability: Chance of a turn.
        scale_low: Smallest factor of a scaling about the ego origin.
        scale_high: Largest factor.
        scale_probability: Chance of a scaling.
        translate_std_m: Standard deviations of a shift in x, y, z.
        translate_probability: Chance of a shift.
        paste: Copy-paste.
    """

    flip_x: float = 0.5
    flip_y: float = 0.5
    rotate_rad: float = 3.141592653589793
    rotate_probability: float = 1.0
    scale_low: float = 0.95
    scale_high: float = 1.05
    scale_probability: float = 1.0
    translate_std_m: tuple[float, float, float] = (0.0, 0.0, 0.2)
    translate_probability: float = 1.0
    paste: PasteConfig = field(default_factory=PasteConfig)


NO_AUGMENTATION = AugmentConfig(
    flip_x=0.0, flip_y=0.0, rotate_probability=0.0, scale_probability=0.0, translate_probability=0.0
)
