"""Colours, type and lines that all pictures share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import ImageDraw, ImageFont

Colour = tuple[int, int, int]

BACKGROUND: Colour = (16, 19, 24)
PAPER: Colour = (230, 234, 240)
FAINT: Colour = (92, 100, 112)
EGO: Colour = (240, 240, 240)
TRUTH: Colour = (74, 200, 110)  # a label, found or not compared
MISSED: Colour = (255, 70, 90)  # a label that no prediction found
RIGHT: Colour = (90, 170, 255)  # a prediction on a label
FALSE: Colour = (255, 170, 60)  # a prediction on nothing

# Ten tones apart from one another on a dark ground; further classes begin again.
CLASS_COLOURS: tuple[Colour, ...] = (
    (90, 170, 255), (255, 170, 60), (190, 130, 255), (120, 220, 200), (255, 220, 90),
    (255, 120, 160), (150, 230, 90), (100, 220, 255), (255, 140, 90), (200, 200, 210),
)  # fmt: skip

# Dark violet, blue, green, yellow: rises in lightness, so that it reads without colour too.
_RAMP = np.array([[98, 92, 178], [70, 130, 200], [60, 175, 170], [110, 200, 110], [245, 230, 100]], dtype=np.float64)


def class_colour(label: int) -> Colour:
    """Colour of a class by its label."""
    return CLASS_COLOURS[label % len(CLASS_COLOURS)]


def ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Colours uint8 [N, 3] of values, from ``low`` (dark) to ``high`` (light); beyond them the ends' colours."""
    share = np.clip((np.asarray(values, dtype=np.float64) - low) / (high - low), 0.0, 1.0) * (len(_RAMP) - 1)
    index = np.minimum(share.astype(np.int64), len(_RAMP) - 2)
    rest = (share - index)[:, None]
    return (_RAMP[index] * (1 - rest) + _RAMP[index + 1] * rest).astype(np.uint8)


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own typeface, so that no font has to be installed."""
    return ImageFont.load_default(size)


def legend(draw: ImageDraw.ImageDraw, at: tuple[int, int], entries: Sequence[tuple[str, Colour]], size: int) -> None:
    """A row of coloured words, from ``at`` to the right."""
    x, y = at
    for text, colour in entries:
        draw.text((x, y), text, fill=colour, font=font(size))
        x += int(draw.textlength(text, font=font(size))) + size
