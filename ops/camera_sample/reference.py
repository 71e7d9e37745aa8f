"""Projection and bilinear sampling in plain torch: the specification."""

from typing import NamedTuple

import torch
from torch import Tensor

from ops import lens
from ops.camera_sample.cameras import INTRINSICS, LENS, REACH, SIZE
from ops.segment.reference import segment_ids


def project(
    points: Tensor, point_batch: Tensor, table: Tensor, first: Tensor, near: float, best: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Pairs by point, then camera: (point [E], camera [E], place f32 [E, 2], depth f32 [E], offsets [P + 1])."""
    xyz = points[:, :3].double()
    seen = torch.zeros(points.shape[0], table.shape[0], dtype=torch.bool, device=points.device)
    places = torch.zeros(*seen.shape, 2, dtype=torch.float64, device=points.device)
    depths, margins = torch.zeros_like(places[..., 0]), torch.full_like(places[..., 0], -torch.inf)
    frame = segment_ids(first, table.shape[0])
    for n, row in enumerate(table):
        pose, inner = row[:INTRINSICS].reshape(3, 4), row[INTRINSICS:LENS].reshape(2, 3)
        x, y, depth = (xyz @ pose[:, :3].T + pose[:, 3]).unbind(1)
        x, y = x / depth, y / depth
        sharp = x * x + y * y < row[REACH]
        x, y = lens.bend(x, y, *row[LENS:REACH])
        pixel = torch.stack([inner[0, 0] * x + inner[0, 1] * y, inner[1, 0] * x + inner[1, 1] * y], 1) + inner[:, 2]
        place = (pixel + 0.5) / row[SIZE:]
        inside = (depth > near) & sharp & ((place >= 0) & (place < 1)).all(1) & (point_batch == frame[n])
        seen[:, n], places[:, n], depths[:, n] = inside, place, depth
        border = (torch.minimum(place, 1 - place) * row[SIZE:]).amin(1)
        margins[:, n] = torch.where(inside, border, -torch.inf)
    if best and table.shape[0]:
        chosen = torch.zeros_like(seen)
        seen &= chosen.scatter_(1, margins.argmax(1, keepdim=True), True)
    point, camera = (column.clone() for column in seen.nonzero().unbind(1))  # an operator's outputs share no memory
    offsets = torch.cat([point.new_zeros(1), seen.sum(1).cumsum(0)])
    return point, camera, places[point, camera].float(), depths[point, camera].float(), offsets


class Taps(NamedTuple):
    """The four cells around places [...] of a map."""

    cells: Tensor
    """int64 [..., 4]: y * width + x; a cell outside the map is replaced by its neighbour inside."""
    weight: Tensor
    """[..., 4], 0 for cells outside."""
    slope: Tensor
    """[..., 4, 2]: derivative of the weight by the place."""
    usable: Tensor
    """bool [...]: any cell lies in the map; False where the place is not finite."""


def taps(place: Tensor, height: int, width: int) -> Taps:
    """The cells and weights that bilinear interpolation reads at places [..., 2], fractions of the map.

    grid_sample's align_corners=False with zeros around: cell i has its centre at (i + 0.5) / size.
    """
    size = torch.tensor([width, height], device=place.device)
    at = place * size - 0.5
    usable = ((at > -1) & (at < size)).all(-1)
    at = torch.where(usable[..., None], at, 0.0)
    low = at.floor()
    (wx, wy), (x, y) = (at - low).unbind(-1), low.long().unbind(-1)
    x, y = torch.stack([x, x + 1, x, x + 1], -1), torch.stack([y, y, y + 1, y + 1], -1)
    inside = usable[..., None] & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    weight = torch.stack([(1 - wx) * (1 - wy), wx * (1 - wy), (1 - wx) * wy, wx * wy], -1)
    along_x, along_y = torch.stack([wy - 1, 1 - wy, -wy, wy], -1), torch.stack([wx - 1, -wx, 1 - wx, wx], -1)
    slope = torch.stack([along_x * width, along_y * height], -1)
    cells = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    return Taps(cells, torch.where(inside, weight, 0.0), torch.where(inside[..., None], slope, 0.0), usable)


def sample(features: Tensor, camera: Tensor, place: Tensor, offsets: Tensor, mean: bool) -> Tensor:
    """Channels-last features [N, h, w, C] at the pairs, added (or averaged) over each row's pairs: [R, C]."""
    wide = _wide(features.dtype)
    cells, weight, usable = _taps_of_pairs(features, camera, place, offsets, mean)
    flat = features.flatten(0, 2).to(wide)
    values = torch.where(usable[:, None, None], flat[cells], 0.0) if len(cells) else flat.new_zeros(0, 4, flat.shape[1])
    pairs = (values * weight.to(wide)[..., None]).sum(1)
    out = pairs.new_zeros(offsets.shape[0] - 1, features.shape[3])
    return out.index_add(0, segment_ids(offsets, camera.shape[0]), pairs).to(features.dtype)


def sample_backward(
    grad: Tensor, camera: Tensor, place: Tensor, offsets: Tensor, mean: bool, size: list[int]
) -> Tensor:
    """Gradient of the features, [N, h, w, C]."""
    wide = _wide(grad.dtype)
    out = torch.zeros(size, dtype=wide, device=grad.device)
    cells, weight, _ = _taps_of_pairs(out, camera, place, offsets, mean)
    rows = segment_ids(offsets, camera.shape[0])
    spread = (grad.to(wide)[rows][:, None] * weight.to(wide)[..., None]).flatten(0, 1)
    return out.flatten(0, 2).index_add(0, cells.flatten(), spread).reshape(size).to(grad.dtype)


def _taps_of_pairs(
    features: Tensor, camera: Tensor, place: Tensor, offsets: Tensor, mean: bool
) -> tuple[Tensor, Tensor, Tensor]:
    _, h, w, _ = features.shape
    found = taps(place.to(_wide(features.dtype)), h, w)
    weight = found.weight
    if mean:
        counts = offsets[1:] - offsets[:-1]
        weight = weight / counts[segment_ids(offsets, camera.shape[0])][:, None]
    return found.cells + camera[:, None] * (h * w), weight, found.usable


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32
