"""Places of an ego frame in the images of its cameras, and image features sampled there.

`project_points` finds the (point, camera) pairs in which a camera sees a point; `sample_pairs` and `sample_points` read
feature maps at them, bilinearly. Conventions: optical frame x right, y down, z forward; pixel centres at integers; a
place in an image is given in fractions of it, ((u + 0.5) / width, (v + 0.5) / height), so that one list of pairs serves
feature maps of any stride; maps are read like grid_sample(align_corners=False, padding_mode="zeros").

DeepFusion (arXiv 2203.08195) lets every pillar attend to the camera features of its points: project the points in
pillar order (`points[groups.order]` of a voxelization); then `pairs.offsets[groups.offsets]` splits the rows of
`sample_pairs` by pillar, ready for ops.segment and ops.point_attention.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ops import checks, kernels
from ops.arrays import arrays, tensors
from ops.camera_sample import cpu, cuda, reference
from ops.camera_sample.cameras import Cameras, matrix_cameras, pinhole_cameras
from ops.operator import operator

__all__ = ["Cameras", "Pairs", "matrix_cameras", "pinhole_cameras", "project_points", "sample_pairs", "sample_points"]


class Pairs(NamedTuple):
    """E visible (point, camera) pairs, by point and then camera."""

    point: Tensor
    """int64 [E]."""
    camera: Tensor
    """int64 [E]: row of the cameras, and of the feature maps."""
    place: Tensor
    """f32 [E, 2] in [0, 1]: fractions of the image from its left and top edge; pixel = place * size - 0.5."""
    depth: Tensor
    """f32 [E] metres along the optical axis."""
    offsets: Tensor
    """int64 [P + 1]: the pairs of point p are offsets[p] to offsets[p + 1]."""

    @property
    def seen(self) -> Tensor:
        """bool [P]: whether any camera sees the point."""
        return self.offsets[1:] > self.offsets[:-1]


def project_points(
    points: Tensor, cameras: Cameras, point_batch: Tensor | None = None, *, best: bool = False, near: float = 0.1
) -> Pairs:
    """Which cameras see the `points` f32 or f64 [P, >=3] (x y z in ego metres) of their frame `point_batch` int64 [P].

    A point is visible where its depth exceeds `near` metres, it projects into the image and the lens's polynomial has
    not folded back. `best` keeps of each point the camera in which it lies farthest from the image's border
    (DeepFusion's rule; the first of equals). NaN and infinite points are visible nowhere. Computed in float64, not
    differentiable. ValueError: shapes, dtypes, a frame that the cameras do not have.
    """
    checks.check_float("camera_sample", "points", points, 2, full_only=True)
    if point_batch is None:
        point_batch = torch.zeros(points.shape[0], dtype=torch.int64, device=points.device)
    checks.check_index("camera_sample", "point_batch", point_batch)
    checks.check_rows("camera_sample", "point_batch", point_batch, points.shape[0])
    checks.check_same_device("camera_sample", points, point_batch, cameras.table, cameras.offsets)
    if not 0 <= near < float("inf"):
        raise ValueError(f"camera_sample: near must be finite metres, not negative, got {near}")
    if points.shape[1] < 3:
        raise ValueError(f"camera_sample: points need 3 columns, got shape {tuple(points.shape)}")
    return Pairs(*_project(points.detach(), point_batch, cameras.table, cameras.offsets, float(near), best))


def sample_pairs(features: Tensor, pairs: Pairs) -> Tensor:
    """Features of every pair: `features` [N, C, h, w], one map a camera, -> [E, C]. Differentiable in features.

    Fastest where the maps are channels_last in memory (no copy is made then). ValueError as in `sample_points`.
    """
    rows = torch.arange(pairs.camera.shape[0] + 1, device=pairs.camera.device)
    return _checked_sample(features, pairs, rows, False)


def sample_points(features: Tensor, pairs: Pairs, reduce: str = "mean") -> Tensor:
    """Features of every point, "mean" or "sum" over the cameras that see it, 0 where none does: [P, C].

    `features` [N, C, h, w]: one map a camera. Differentiable in features. ValueError: shapes, dtypes, a camera that
    has no map, another `reduce`.
    """
    if reduce not in ("mean", "sum"):
        raise ValueError(f"camera_sample: reduce must be 'mean' or 'sum', got {reduce!r}")
    return _checked_sample(features, pairs, pairs.offsets, reduce == "mean")


def _checked_sample(features: Tensor, pairs: Pairs, offsets: Tensor, mean: bool) -> Tensor:
    checks.check_float("camera_sample", "features", features, 4)
    checks.check_index("camera_sample", "camera", pairs.camera)
    checks.check_index("camera_sample", "offsets", offsets)
    checks.check_float("camera_sample", "place", pairs.place, 2, full_only=True)
    checks.check_same_device("camera_sample", features, pairs.camera, pairs.place, offsets)
    if tuple(pairs.place.shape) != (pairs.camera.shape[0], 2):
        raise ValueError(f"camera_sample: place must be [{pairs.camera.shape[0]}, 2], got {tuple(pairs.place.shape)}")
    return _sample(features.permute(0, 2, 3, 1), pairs.camera, pairs.place.detach(), offsets, mean)


def _check_points(point_batch: Tensor, table: Tensor, first: Tensor) -> None:
    checks.check_offsets("camera_sample", first, table.shape[0])
    frames = first.shape[0] - 1
    if point_batch.numel() and (int(point_batch.min()) < 0 or int(point_batch.max()) >= frames):
        raise ValueError(f"camera_sample: point_batch must lie in 0..{frames - 1}")


def _check_pairs(features: list[int], camera: Tensor, offsets: Tensor) -> None:
    checks.check_offsets("camera_sample", offsets, camera.shape[0])
    if camera.numel() and (int(camera.min()) < 0 or int(camera.max()) >= features[0] or 0 in features[1:3]):
        raise ValueError(f"camera_sample: camera must lie in 0..{features[0] - 1}, maps must not be empty: {features}")


@operator("drive_ops::camera_project")
def _project(
    points: Tensor, point_batch: Tensor, table: Tensor, first: Tensor, near: float, best: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    _check_points(point_batch, table, first)
    return reference.project(points, point_batch, table, first, near, best)


@operator("drive_ops::camera_sample")
def _sample(features: Tensor, camera: Tensor, place: Tensor, offsets: Tensor, mean: bool) -> Tensor:
    _check_pairs(list(features.shape), camera, offsets)
    return reference.sample(features, camera, place, offsets, mean)


@operator("drive_ops::camera_sample_backward")
def _sample_backward(
    grad: Tensor, camera: Tensor, place: Tensor, offsets: Tensor, mean: bool, size: list[int]
) -> Tensor:
    return reference.sample_backward(grad, camera, place, offsets, mean, size)


@_project.register_kernel("cpu")
def _(
    points: Tensor, point_batch: Tensor, table: Tensor, first: Tensor, near: float, best: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    _check_points(point_batch, table, first)
    given = arrays(points, point_batch, table, first)
    return tensors(cpu.project(*given, near=near, best=best, threads=torch.get_num_threads()))


@_sample.register_kernel("cpu")
def _(features: Tensor, camera: Tensor, place: Tensor, offsets: Tensor, mean: bool) -> Tensor:
    _check_pairs(list(features.shape), camera, offsets)
    if features.dtype == torch.float64:
        return reference.sample(features, camera, place, offsets, mean)
    given = arrays(features, camera, place, offsets)
    return tensors(cpu.sample(*given, mean=mean, threads=torch.get_num_threads())).to(features.dtype)


@_sample_backward.register_kernel("cpu")
def _(grad: Tensor, camera: Tensor, place: Tensor, offsets: Tensor, mean: bool, size: list[int]) -> Tensor:
    if grad.dtype == torch.float64:
        return reference.sample_backward(grad, camera, place, offsets, mean, size)
    given = arrays(grad, camera, place, offsets)
    N, h, w, C = size
    spread = cpu.sample_backward(*given, mean=mean, size=(N, h, w, C), threads=torch.get_num_threads())
    return tensors(spread).to(grad.dtype)


@_project.register_fake
def _(
    points: Tensor, point_batch: Tensor, table: Tensor, first: Tensor, near: float, best: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    E, P = torch.library.get_ctx().new_dynamic_size(), points.shape[0]
    place, depth = (points.new_empty(size, dtype=torch.float32) for size in ((E, 2), (E,)))
    return point_batch.new_empty(E), point_batch.new_empty(E), place, depth, point_batch.new_empty(P + 1)


@_sample.register_fake
def _(features: Tensor, camera: Tensor, place: Tensor, offsets: Tensor, mean: bool) -> Tensor:
    return features.new_empty(offsets.shape[0] - 1, features.shape[3])


@_sample_backward.register_fake
def _(grad: Tensor, camera: Tensor, place: Tensor, offsets: Tensor, mean: bool, size: list[int]) -> Tensor:
    return grad.new_empty(size)


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    features, camera, place, offsets, ctx.mean = inputs
    ctx.size = list(features.shape)
    ctx.save_for_backward(camera, place, offsets)


def _backward(ctx, grad):  # type: ignore[no-untyped-def]
    return _sample_backward(grad, *ctx.saved_tensors, ctx.mean, ctx.size), None, None, None, None


_sample.register_autograd(_backward, setup_context=_save)


def _project_cuda(
    points: Tensor, point_batch: Tensor, table: Tensor, first: Tensor, near: float, best: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    _check_points(point_batch, table, first)
    return cuda.project(points, point_batch.contiguous(), table.contiguous(), first.contiguous(), near, best)


def _sample_cuda(features: Tensor, camera: Tensor, place: Tensor, offsets: Tensor, mean: bool) -> Tensor:
    _check_pairs(list(features.shape), camera, offsets)
    if features.dtype == torch.float64:
        return reference.sample(features, camera, place, offsets, mean)
    given = (features.float().contiguous(), camera.contiguous(), place.float().contiguous(), offsets.contiguous())
    return cuda.sample(*given, mean).to(features.dtype)


def _sample_backward_cuda(
    grad: Tensor, camera: Tensor, place: Tensor, offsets: Tensor, mean: bool, size: list[int]
) -> Tensor:
    # The kernel adds atomically, in no fixed order.
    if grad.dtype == torch.float64 or torch.are_deterministic_algorithms_enabled():
        return reference.sample_backward(grad, camera, place, offsets, mean, size)
    given = (grad.float().contiguous(), camera.contiguous(), place.float().contiguous(), offsets.contiguous())
    return cuda.sample_backward(*given, mean, size).to(grad.dtype)


def _register_cuda() -> None:
    _project.register_kernel("cuda")(_project_cuda)
    _sample.register_kernel("cuda")(_sample_cuda)
    _sample_backward.register_kernel("cuda")(_sample_backward_cuda)


kernels.declare("camera_sample", "cpu", "numba", "float32 and half types; float64 features take the torch reference")
kernels.declare_unproven_cuda("camera_sample", _register_cuda)
