"""Cameras as one table of numbers: pose, intrinsics, lens, image size."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ops import lens

# Columns: camera from ego 3 x 4, intrinsics 2 x 3, k1 k2 p1 p2 k3, squared reach of the lens, width, height.
POSE, INTRINSICS, LENS, REACH, SIZE, COLUMNS = 0, 12, 18, 23, 24, 26


@dataclass(frozen=True, eq=False)
class Cameras:
    """N cameras of F frames; make them by `pinhole_cameras` or `matrix_cameras`."""

    table: Tensor
    """float64 [N, 26]."""
    offsets: Tensor
    """int64 [F + 1]: frame f has cameras offsets[f] to offsets[f + 1]."""

    def to(self, device: torch.device | str) -> "Cameras":
        """The same cameras on another device."""
        return Cameras(self.table.to(device), self.offsets.to(device))

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.offsets.shape[0] - 1


def pinhole_cameras(
    camera_from_ego: Tensor,
    intrinsics: Tensor,
    size: Tensor,
    distortion: Tensor | None = None,
    counts: Tensor | None = None,
) -> Cameras:
    """Cameras by pose [N, 4, 4] (ego metres to optical frame: x right, y down, z forward) and intrinsics [N, 3, 3].

    `size` int64 [N, 2] is the image's width and height in pixels, pixel centres at integers. `distortion` [N, 5] is
    plumb_bob (k1 k2 p1 p2 k3), [N, 3] radial (k1 k2 k3); None: none. `counts` int64 [F] is the number of cameras of
    each frame of a batch, in the order of the rows; None: all belong to one frame. A resize or crop A [3, 3] of the
    images goes into the intrinsics: A @ K. ValueError: shapes, non-finite numbers, empty images.
    """
    N = camera_from_ego.shape[0] if camera_from_ego.dim() else -1
    shapes = [tuple(t.shape) for t in (camera_from_ego, intrinsics, size)]
    if shapes != [(N, 4, 4), (N, 3, 3), (N, 2)]:
        raise ValueError(f"camera_sample: needs poses [N, 4, 4], intrinsics [N, 3, 3], sizes [N, 2], got {shapes}")
    table = torch.zeros(N, COLUMNS, dtype=torch.float64)
    table[:, POSE:INTRINSICS] = camera_from_ego.detach()[:, :3].reshape(N, 12)
    table[:, INTRINSICS:LENS] = intrinsics.detach()[:, :2].reshape(N, 6)
    if distortion is not None:
        if distortion.shape == (N, 3):  # radial: the same polynomial without its tangential part
            distortion = torch.stack([*distortion[:, :2].T, *torch.zeros(2, N), distortion[:, 2]], 1)
        if distortion.shape != (N, 5):
            raise ValueError(f"camera_sample: distortion must be [{N}, 5] or [{N}, 3], got {tuple(distortion.shape)}")
        table[:, LENS:REACH] = distortion.detach()
    table[:, SIZE:] = size
    if not bool(table.isfinite().all()) or bool((table[:, SIZE:] < 1).any()):
        raise ValueError("camera_sample: cameras must be finite and their images at least one pixel wide and high")
    reaches = [lens.farthest(k1, k2, k3) for k1, k2, _, _, k3 in table[:, LENS:REACH].tolist()]
    table[:, REACH] = torch.tensor(reaches, dtype=torch.float64)
    counts = torch.tensor([N]) if counts is None else counts.detach().cpu()
    if counts.dtype != torch.int64 or counts.dim() != 1 or int(counts.sum()) != N or bool((counts < 0).any()):
        raise ValueError(f"camera_sample: counts must be int64 and add up to the {N} cameras, got {counts.tolist()}")
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return Cameras(table, offsets).to(camera_from_ego.device)


def matrix_cameras(image_from_ego: Tensor, size: Tensor, counts: Tensor | None = None) -> Cameras:
    """Cameras by one matrix each, [N, 3, 4] or [N, 4, 4] (the "lidar2img" of other code): (u d, v d, d) of a place.

    The last row must give metres of depth, as intrinsics times pose does. ValueError as in `pinhole_cameras`.
    """
    N = image_from_ego.shape[0] if image_from_ego.dim() else -1
    if tuple(image_from_ego.shape) not in ((N, 3, 4), (N, 4, 4)):
        raise ValueError(f"camera_sample: needs matrices [N, 3, 4] or [N, 4, 4], got {tuple(image_from_ego.shape)}")
    pose = torch.eye(4, dtype=torch.float64, device=image_from_ego.device).repeat(N, 1, 1)
    pose[:, :3] = image_from_ego[:, :3]
    return pinhole_cameras(pose, torch.eye(3, dtype=torch.float64).repeat(N, 1, 1), size, None, counts)
