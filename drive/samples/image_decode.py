"""A recorded picture as the pixels that a network gets, and the matrix on pixels that says where each one went.

Matrices [3, 3] act on (u right, v down, 1) with pixel centres at integers. The parts of one picture's way, each exact:
scale and cut, mirror image, turn about the centre; all of them in one resampling.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numba
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
    transform), other pictures are averaged over whole blocks; what is left, a scale above one half, and the mirror
    image and the turn are one bilinear pass. With `change` all of it is decoded, and what `change` makes of it is the
    picture.

    Raises:
        OSError: The bytes are no picture, or end too early.
        ValueError: More than `MAX_PIXELS`.
    """
    picture = _opened(data)
    width, height = picture.size
    if change is None:
        picture.draft("RGB", (int(np.ceil(width * cut.scale)), int(np.ceil(height * cut.scale))))
    factor = round(width / picture.width)  # 1, 2, 4 or 8; the last column and row may be part of a pixel
    picture = picture.convert("RGB")
    if change is not None:
        picture = Image.fromarray(change(np.asarray(picture)))
    if (block := int(1 / (cut.scale * factor))) > 1:
        picture, factor = picture.reduce(block), factor * block
    # Pixels of the decoded picture of pixels of the image.
    recorded_from_decoded = np.array(
        [[factor, 0.0, (factor - 1) / 2], [0.0, factor, (factor - 1) / 2], [0.0, 0.0, 1.0]]
    )
    back = np.linalg.inv(cut.matrix(size) @ recorded_from_decoded)
    whole = np.round(back)
    if np.abs(back - whole).max() < 1e-9 and np.array_equal(whole[:2, :2], np.eye(2)):
        return _shifted(np.asarray(picture), int(whole[0, 2]), int(whole[1, 2]), size)
    out = np.empty((*size, 3), np.uint8)
    warp = _warp if cut.turn_rad else _warp_upright
    warp(np.asarray(picture), np.ascontiguousarray(back[:2]), out)
    return out


def _shifted(source: npt.NDArray[np.uint8], left: int, top: int, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The part of a size whose first pixel stands at (left, top) of `source`, black outside."""
    out = np.zeros((*size, 3), np.uint8)
    part = source[max(top, 0) : max(top + size[0], 0), max(left, 0) : max(left + size[1], 0)]
    out[max(-top, 0) :, max(-left, 0) :][: part.shape[0], : part.shape[1]] = part
    return out


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _warp(source, m, out):  # type: ignore[no-untyped-def]
    """Bilinear, in 256ths of a pixel: what stands at (x, y) of `out` is at m (x, y, 1) of `source`; black outside."""
    high, wide = source.shape[0], source.shape[1]
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            u, v = m[0, 0] * x + m[0, 1] * y + m[0, 2], m[1, 0] * x + m[1, 1] * y + m[1, 2]
            if u < -0.5 or v < -0.5 or u >= wide - 0.5 or v >= high - 0.5:
                out[y, x, 0], out[y, x, 1], out[y, x, 2] = 0, 0, 0
                continue
            u, v = min(max(u, 0.0), wide - 1.0), min(max(v, 0.0), high - 1.0)
            u0, v0 = int(u), int(v)
            u1, v1 = min(u0 + 1, wide - 1), min(v0 + 1, high - 1)
            right, down = int((u - u0) * 256 + 0.5), int((v - v0) * 256 + 0.5)
            a, b = (256 - right) * (256 - down), right * (256 - down)
            c, d = (256 - right) * down, right * down
            for k in range(3):
                upper, lower = (
                    a * source[v0, u0, k] + b * source[v0, u1, k],
                    c * source[v1, u0, k] + d * source[v1, u1, k],
                )
                out[y, x, k] = np.uint8((upper + lower + 32768) >> 16)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _warp_upright(source, m, out):  # type: ignore[no-untyped-def]
    """`_warp` without a turn, more than twice as fast: two rows are mixed in vector registers, then read across."""
    high, wide, width = source.shape[0], source.shape[1], out.shape[1]
    left, right = np.zeros(width, np.int32), np.zeros(width, np.int32)
    share = np.full(width, -1, np.int32)  # of the right one, in 256ths; negative outside
    for x in range(width):
        u = m[0, 0] * x + m[0, 2]
        if -0.5 <= u < wide - 0.5:
            u = min(max(u, 0.0), wide - 1.0)
            left[x], right[x], share[x] = 3 * int(u), 3 * min(int(u) + 1, wide - 1), int((u - int(u)) * 256 + 0.5)
    mixed = np.empty(3 * wide, np.int32)
    for y in range(out.shape[0]):
        v = m[1, 1] * y + m[1, 2]
        if not -0.5 <= v < high - 0.5:
            out[y] = 0
            continue
        v = min(max(v, 0.0), high - 1.0)
        upper, lower = source[int(v)].reshape(-1), source[min(int(v) + 1, high - 1)].reshape(-1)
        down = np.int32((v - int(v)) * 256 + 0.5)
        for i in range(3 * wide):
            mixed[i] = upper[i] * (256 - down) + lower[i] * down
        for x in range(width):
            a, b, f = left[x], right[x], share[x]
            if f < 0:
                out[y, x, 0], out[y, x, 1], out[y, x, 2] = 0, 0, 0
                continue
            for k in range(3):
                out[y, x, k] = np.uint8((mixed[a + k] * (256 - f) + mixed[b + k] * f + 32768) >> 16)


def _opened(data: bytes) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from error
    if picture.width * picture.height > MAX_PIXELS:
        raise ValueError(f"declares {picture.width} x {picture.height} pixels")
    return picture
