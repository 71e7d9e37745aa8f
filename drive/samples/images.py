"""Camera images of a frame: what is asked for, what one frame has, what a batch holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from drive.errors import UserError
from ops.camera_sample import Cameras, pinhole_cameras

UNSEEN_M = 1e9
"""How far behind the camera a missing camera's pose puts everything: it sees nothing, and its pose inverts."""


@dataclass(frozen=True)
class ImageConfig:
    """Images that a model gets: from which cameras, how large, and how they vary in training.

    A picture is scaled to the width of `size`; of its height the bottom is kept (the sky is cut), what is short is
    black at the top. Every step is a 3x3 matrix on pixels that goes into the camera's intrinsics.

    Attributes:
        cameras: Names, in the order in which they come; empty = every camera of a log, by name.
        size: Height and width in pixels, alike for every camera of a batch.
        resize: Training: factor on the scale, uniform in this range; (1, 1) = none.
        crop_jitter: Training: shift of the cut, uniform in +- this share of the height and the width.
        flip: Training: probability that an image is mirrored left to right, drawn for each camera.
        rotate_deg: Training: turn about the image's centre, uniform in +- this.
        drop_camera: Training: probability that a camera is missing (black, not present), drawn for each camera.
    """

    cameras: tuple[str, ...] = ()
    size: tuple[int, int] = (256, 704)
    resize: tuple[float, float] = (1.0, 1.0)
    crop_jitter: float = 0.0
    flip: float = 0.0
    rotate_deg: float = 0.0
    drop_camera: float = 0.0


@dataclass(frozen=True, eq=False)
class CameraImages:
    """The images of one frame, N cameras.

    Attributes:
        names: N cameras.
        pixels: uint8 [N, H, W, 3] RGB, zeros where an image is missing.
        present: bool [N].
        camera_from_ego: float64 [N, 4, 4]: optical frame (x right, y down, z forward) of each camera at ITS exposure,
            from the key frame's recorded, never augmented, ego frame. The identity where an image is missing.
        intrinsics: float64 [N, 3, 3] of `pixels` as they are: resize, crop, flip and rotation are in it (so the upper
            left 2x2 may mirror and turn). Pixel centres at integers. The identity where an image is missing.
        distortion: float64 [N, 5], plumb_bob k1 k2 p1 p2 k3; zeros without.
        pixels_from_recorded: float64 [N, 3, 3]: pixels of `pixels` of pixels of the recorded picture.
        missing: One line for each image that is missing: "<camera>: <why>".
    """

    names: tuple[str, ...]
    pixels: npt.NDArray[np.uint8]
    present: npt.NDArray[np.bool_]
    camera_from_ego: npt.NDArray[np.float64]
    intrinsics: npt.NDArray[np.float64]
    distortion: npt.NDArray[np.float64]
    pixels_from_recorded: npt.NDArray[np.float64]
    missing: tuple[str, ...] = ()

    def validate(self, frame_id: str) -> CameraImages:
        """Check shapes, types and values; gives the images back.

        Raises:
            UserError: A wrong shape or type, a matrix that is not finite.
        """
        n = len(self.names)
        size = self.pixels.shape[1:3] if self.pixels.ndim == 4 else (0, 0)
        expected: list[tuple[str, np.ndarray, tuple[int, ...], type]] = [
            ("pixels", self.pixels, (n, *size, 3), np.uint8),
            ("present", self.present, (n,), np.bool_),
            ("camera_from_ego", self.camera_from_ego, (n, 4, 4), np.float64),
            ("intrinsics", self.intrinsics, (n, 3, 3), np.float64),
            ("distortion", self.distortion, (n, 5), np.float64),
            ("pixels_from_recorded", self.pixels_from_recorded, (n, 3, 3), np.float64),
        ]
        for name, array, shape, dtype in expected:
            if array.shape != shape or array.dtype != dtype:
                raise UserError(
                    f"frame {frame_id}",
                    f"images.{name} is {array.dtype}{list(array.shape)}, expected {np.dtype(dtype)}{list(shape)}",
                    "build samples through FrameDataset or with these types",
                )
            if array.dtype == np.float64 and not np.isfinite(array).all():
                raise UserError(f"frame {frame_id}", f"images.{name} is not finite", "run `drive verify` on the log")
        return self


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """The images of B frames, one after another: N cameras in all, frames may have different numbers of them.

    Attributes:
        pixels: uint8 [N, 3, H, W], in memory [N, H, W, 3] (channels_last).
        present: bool [N].
        cameras: Table [N, 26] and offsets int64 [B + 1]; a camera that is not present sees no point.
        names: B tuples of camera names.
        missing: B tuples of lines, see `CameraImages.missing`.
    """

    pixels: Tensor
    present: Tensor
    cameras: Cameras
    names: list[tuple[str, ...]]
    missing: list[tuple[str, ...]]

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name."""
        table, offsets = self.cameras.table, self.cameras.offsets
        return {"pixels": self.pixels, "present": self.present, "table": table, "offsets": offsets}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> ImageBatch:
        """The same batch with other tensors, named as `tensors` names them."""
        cameras = Cameras(tensors["table"], tensors["offsets"])
        return ImageBatch(tensors["pixels"], tensors["present"], cameras, self.names, self.missing)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ImageBatch:
        """The same images on another device."""
        return self.with_tensors({n: t.to(device, non_blocking=non_blocking) for n, t in self.tensors().items()})

    def pin_memory(self) -> ImageBatch:
        """The same images in page-locked memory."""
        return self.with_tensors({n: t.pin_memory() for n, t in self.tensors().items()})


def collate_images(frames: Sequence[CameraImages | None], size: tuple[int, int] = (1, 1)) -> ImageBatch:
    """Join the images of frames; a frame with None has no camera.

    Args:
        frames: Of each frame.
        size: Height and width of the result where no frame has a camera.

    Raises:
        UserError: Images of different sizes.
    """
    held = [f for f in frames if f is not None and len(f.names)]
    sizes = sorted({f.pixels.shape[1:3] for f in held})
    if len(sizes) > 1:
        raise UserError("data.images.size", f"a batch with images of sizes {sizes}", "give all frames one size")
    height, width = sizes[0] if sizes else size
    eyes = np.zeros((0, 4, 4)), np.zeros((0, 3, 3))
    pixels = np.concatenate([np.zeros((0, height, width, 3), np.uint8), *(f.pixels for f in held)])
    present = np.concatenate([np.zeros(0, np.bool_), *(f.present for f in held)])
    camera_from_ego = np.concatenate([eyes[0], *(f.camera_from_ego for f in held)])
    intrinsics = np.concatenate([eyes[1], *(f.intrinsics for f in held)])
    distortion = np.concatenate([np.zeros((0, 5)), *(f.distortion for f in held)])
    unseen = np.eye(4)
    unseen[2, 3] = -UNSEEN_M
    camera_from_ego[~present] = unseen
    cameras = pinhole_cameras(
        torch.from_numpy(camera_from_ego),
        torch.from_numpy(intrinsics),
        torch.tensor([[width, height]]).expand(len(present), 2),
        torch.from_numpy(distortion),
        torch.tensor([0 if f is None else len(f.names) for f in frames], dtype=torch.int64),
    )
    return ImageBatch(
        pixels=torch.from_numpy(pixels).permute(0, 3, 1, 2),
        present=torch.from_numpy(present),
        cameras=cameras,
        names=[() if f is None else f.names for f in frames],
        missing=[() if f is None else f.missing for f in frames],
    )
