"""A recorded picture as the pixels that a network gets, and the matrix on pixels that says where each one went.

Matrices [3, 3] act on (u right, v down, 1) with pixel centres at integers. The parts of one picture's way, each exact:
scale and cut in one resampling, mirror image, turn about the centre.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from drive.samples.images import ImageConfig

Change = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]
"""What happens to a recorded picture uint8 [H, W, 3] before it is scaled and cut."""

MAX_PIXELS = 1 << 26
"""Larger pictures are refused before they are decoded: 8192 x 8192, six times what any driving camera gives."""


@dataclass(frozen=True)
class Cut:
    """How a picture becomes an image: edges move as u' = scale u + left, v' = scale v + top, then flip, then turn.

    Attributes:
        scale: Output pixels of one recorded pixel.
        left: Where the picture's left edge comes to lie, in output pixels from the image's left edge.
        top: The same of the upper edge.
        flip: Whether the image is mirrored left to right.
        turn_rad: Turn about the image's centre, positive clockwise as one looks at it (u towards v).
    """

    scale: float
    left: float
    top: float
    flip: bool = False
    turn_rad: float = 0.0

    def matrix(self, size: tuple[int, int]) -> npt.NDArray[np.float64]:
        """Pixels of the image [3, 3] of pixels of the recorded picture; `size` is the image's height and width."""
        width = size[1]
        # A centre at u is half a pixel right of its pixel's edge: scale (u + 1/2) + left - 1/2.
        shift = 0.5 * self.scale - 0.5
        out = np.array([[self.scale, 0.0, self.left + shift], [0.0, self.scale, self.top + shift], [0.0, 0.0, 1.0]])
        if self.flip:
            out = np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]) @ out
        return turned(self.turn_rad, size) @ out if self.turn_rad else out


def turned(angle_rad: float, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """A turn [3, 3] about the centre of an image of a height and width."""
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    u, v = (size[1] - 1) / 2, (size[0] - 1) / 2
    return np.array([[cos, -sin, u - cos * u + sin * v], [sin, cos, v - sin * u - cos * v], [0.0, 0.0, 1.0]])


def choose_cut(recorded: tuple[int, int], config: ImageConfig, rng: np.random.Generator | None = None) -> Cut:
    """How a picture of a width and height becomes an image of `config.size`.

    Without `rng` it fills the image's width and its bottom lies on the image's bottom. With it, in training, scale,
    place, mirror image and turn are drawn; every draw is made whatever the probabilities, so that one setting does
    not move the draws of another.
    """
    height, width = config.size
    scale = width / recorded[0]
    if rng is None:
        return Cut(scale, 0.0, height - scale * recorded[1])
    factor, right, down = rng.uniform(*config.resize), *rng.uniform(-config.crop_jitter, config.crop_jitter, 2)
    mirrored, turn = rng.random() < config.flip, rng.uniform(-config.rotate_deg, config.rotate_deg)
    scale *= factor
    # Larger or smaller about the middle of the width.
    left = (width - scale * recorded[0]) / 2 + right * width
    top = height - scale * recorded[1] + down * height
    return Cut(scale, left, top, bool(mirrored), float(np.deg2rad(turn)))


def picture_size(data: bytes) -> tuple[int, int]:
    """Width and height that a picture file declares.

    Raises:
        OSError: The bytes are no picture.
        ValueError: More than `MAX_PIXELS`.
    """
    return _opened(data).size


def decode(data: bytes, cut: Cut, size: tuple[int, int], change: Change | None = None) -> npt.NDArray[np.uint8]:
    """The image uint8 [H, W, 3] of a picture file's bytes; black where the picture does not reach.

    A JPEG that gets much smaller is decoded at a half, a quarter or an eighth of its size (libjpeg's scaled inverse
    transform), which takes a fraction of the time. With `change` all of it is decoded, and what `change` makes of it
    is the picture.

    Raises:
        OSError: The bytes are no picture, or end too early.
        ValueError: More than `MAX_PIXELS`.
    """
    height, width = size
    picture = _opened(data)
    recorded = picture.size
    # The outermost whole pixels of the image that the picture fills.
    x0, y0 = max(0, int(np.ceil(cut.left - 1e-6))), max(0, int(np.ceil(cut.top - 1e-6)))
    x1 = min(width, int(np.floor(cut.left + cut.scale * recorded[0] + 1e-6)))
    y1 = min(height, int(np.floor(cut.top + cut.scale * recorded[1] + 1e-6)))
    if change is None:
        picture.draft("RGB", (int(np.ceil(recorded[0] * cut.scale)), int(np.ceil(recorded[1] * cut.scale))))
    factor = round(recorded[0] / picture.width)  # 1, 2, 4 or 8; the last column and row may be part of a pixel
    picture = picture.convert("RGB")
    if change is not None:
        picture = Image.fromarray(change(np.asarray(picture)))
    out = np.zeros((height, width, 3), np.uint8)
    if x1 > x0 and y1 > y0:
        edges = (np.array([x0, y0, x1, y1]) - [cut.left, cut.top] * 2) / (cut.scale * factor)
        box = np.clip(edges, 0, [picture.width, picture.height] * 2)
        whole = np.round(box).astype(int)
        if np.abs(box - whole).max() < 1e-6 and (whole[2] - whole[0], whole[3] - whole[1]) == (x1 - x0, y1 - y0):
            part = picture.crop(tuple(whole.tolist()))
        else:
            part = picture.resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR, box=tuple(box.tolist()))
        out[y0:y1, x0:x1] = np.asarray(part)
    if cut.flip:
        out = out[:, ::-1]
    if cut.turn_rad:
        # Pillow asks where an output place comes from, in places measured from the image's edge.
        half = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
        back = half @ np.linalg.inv(turned(cut.turn_rad, size)) @ np.linalg.inv(half)
        picture = Image.fromarray(np.ascontiguousarray(out))
        affine = tuple(back[:2].reshape(-1).tolist())
        out = np.asarray(picture.transform((width, height), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR))
    return np.ascontiguousarray(out)


def _opened(data: bytes) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from error
    if picture.width * picture.height > MAX_PIXELS:
        raise ValueError(f"declares {picture.width} x {picture.height} pixels")
    return picture
