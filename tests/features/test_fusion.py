"""DeepFusion: against a loop in plain torch, a worked example, the three ways to align, and what is missing."""

import math
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from drive.errors import UserError
from drive.features import fusion
from drive.features.fusion import (
    DeepFusion,
    DeepFusionConfig,
    LearnableAlign,
    blocks_of,
    cell_centres,
    first_of_each,
    recorded_places,
    segment_softmax,
)
from drive.features.images import ImageNetConfig
from drive.samples.augment.transform import transform_sample
from drive.samples.batch import FrameBatch, collate
from drive.samples.images import CameraImages
from drive.samples.sample import AppliedTransform, FrameSample, empty_sample
from drive.voxels.grid import GridSpec
from drive.voxels.voxelize import Voxels, voxelize_points
from ops.camera_sample import Pairs, project_points

GRID = GridSpec((-8.0, -8.0, -2.0, 8.0, 8.0, 2.0), (0.5, 0.5, 4.0))
HIGH, WIDE, CHANNELS = 32, 48, 16
PLAIN = ImageNetConfig(backbone="plain", channels=8, out_strides=(8,))
CONFIG = DeepFusionConfig(PLAIN, channels=8)


def camera_images(seed: int = 0, present: tuple[bool, ...] = (True, True)) -> CameraImages:
    """One camera ahead and one behind, 90 degrees wide; noise for pixels."""
    ahead = np.array([[0, -1.0, 0, 0], [0, 0, -1, 0.5], [1, 0, 0, 0], [0, 0, 0, 1]])
    behind = np.array([[0, 1.0, 0, 0], [0, 0, -1, 0.5], [-1, 0, 0, 0], [0, 0, 0, 1]])
    inner = np.array([[WIDE / 2, 0, WIDE / 2 - 0.5], [0, WIDE / 2, HIGH / 2 - 0.5], [0, 0, 1]])
    there = np.array(present)
    pixels = np.random.default_rng(seed).integers(0, 255, (2, HIGH, WIDE, 3), np.uint8) * there[:, None, None, None]
    return CameraImages(
        names=("AHEAD", "BEHIND"),
        pixels=pixels.astype(np.uint8),
        present=there,
        camera_from_ego=np.stack([ahead, behind]),
        intrinsics=np.stack([inner, inner]),
        distortion=np.zeros((2, 5)),
        pixels_from_recorded=np.stack([np.eye(3)] * 2),
    )


def frame(seed: int = 0, count: int = 300, images: CameraImages | None = None) -> FrameSample:
    rng = np.random.default_rng(seed)
    points = np.zeros((count, 6), np.float32)
    points[:, :3] = rng.uniform([-7.9, -7.9, -1.5], [7.9, 7.9, 1.5], (count, 3))
    recorded = points[:, :3].copy()
    return replace(
        empty_sample(f"made/{seed}"), points=points, images=images or camera_images(seed), recorded_xyz=recorded
    )


def turned(sample: FrameSample, angle: float = 1.0) -> FrameSample:
    matrix = np.eye(4)
    matrix[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    matrix[:3] *= 0.9
    matrix[2, 3] = 0.2
    return transform_sample(sample, [AppliedTransform("turn and shrink", matrix)])


def pillars_of(batch: FrameBatch) -> tuple[Voxels, Tensor]:
    voxels = voxelize_points(batch.points, batch.point_batch, GRID, batch.batch_size)
    generator = torch.Generator().manual_seed(1)
    return voxels, torch.randn(len(voxels.coords), CHANNELS, generator=generator)


def made(config: DeepFusionConfig = CONFIG) -> DeepFusion:
    """With norms that do something."""
    torch.manual_seed(0)
    model = config.build(CHANNELS)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "running_mean" in name or (name.endswith("norm.bias")):
                tensor.uniform_(-0.5, 0.5)
            elif "running_var" in name:
                tensor.uniform_(0.5, 2.0)
    return model.eval()


def slow(model: DeepFusion, pillars: Tensor, voxels: Voxels, batch: FrameBatch, places: Tensor) -> Tensor:
    """Pillar by pillar, point by point, in the words of the paper."""
    align, config = model.attend, model.config
    assert batch.images is not None
    maps = model.images(batch.images.pixels)[0]
    out = []
    for p in range(len(pillars)):
        found = []
        for row in voxels.order[voxels.offsets[p] : voxels.offsets[p + 1]].tolist():
            at = project_points(
                places[row : row + 1], batch.images.cameras, batch.point_batch[row : row + 1], best=True
            )
            if not len(at.camera) or not bool(batch.images.present[at.camera[0]]):
                continue
            place = at.place if config.sampling == "bilinear" else cell_centres(at.place, maps)
            grid = (2 * place - 1)[None, None]
            sampled = torch.nn.functional.grid_sample(maps[at.camera], grid, align_corners=False)
            found.append(sampled[0, :, 0, 0])
        if config.pool == "pixel":
            found = found[:1]
        total = torch.zeros(model.images.channels)
        if found:
            features = torch.stack(found)
            v = align.value_norm(align.value(features))
            weight = torch.full((len(found), 1), 1 / len(found))
            if config.pool == "attention":
                k, q = align.key_norm(align.key(features)), align.query(pillars[p : p + 1])
                weight = torch.softmax(k @ q.T / math.sqrt(config.channels), 0)
            total = (
                align.out(weight * v).sum(0) if config.output == "point" else align.out((weight * v).sum(0)[None])[0]
            )
        out.append(model.fuse(torch.cat((pillars[p], total))[None])[0])
    return torch.stack(out)


@pytest.mark.parametrize("pool", ["attention", "mean", "pixel"])
@pytest.mark.parametrize("output", ["point", "pillar"])
@pytest.mark.parametrize(("sampling", "norm"), [("bilinear", "batch"), ("nearest", "batch"), ("bilinear", "layer")])
def test_equals_a_loop_over_points(
    pool: Any, sampling: Any, norm: Any, output: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch norm outside training is folded into the weights, block by block; layer norm is not."""
    monkeypatch.setattr(fusion, "BLOCK", 50)
    config = replace(CONFIG, pool=pool, sampling=sampling, norm=norm, output=output)
    model = made(config)
    batch = collate([frame(0), turned(frame(1, 150))])
    voxels, pillars = pillars_of(batch)
    assert batch.recorded_xyz is not None
    with torch.no_grad():
        ours = model(pillars, voxels, batch)
        torch.testing.assert_close(ours, slow(model, pillars, voxels, batch, batch.recorded_xyz), atol=1e-5, rtol=1e-4)


def test_a_worked_example() -> None:
    """Two pillars; the first has pixels 1 and 3 (its query prefers the larger), the second none."""
    config = DeepFusionConfig(PLAIN, channels=1, dropout=0.0, norm="batch")
    align = LearnableAlign(config, 1, 1).eval()
    with torch.no_grad():
        for layer, value in ((align.query.linear, 1.0), (align.key, 1.0), (align.value, 2.0), (align.out.linear, 1.0)):
            layer.weight.fill_(value)
        for norm in (align.query.norm, align.key_norm, align.value_norm, align.out.norm):
            norm.norm.eps = 0.0  # type: ignore[assignment]
    maps = torch.tensor([1.0, 3.0]).reshape(1, 1, 1, 2)
    place = torch.tensor([[0.25, 0.5], [0.75, 0.5]])
    pairs = Pairs(torch.tensor([0, 2]), torch.tensor([0, 0]), place, torch.ones(2), torch.tensor([0, 1, 1, 2, 2]))
    pillars, offsets = torch.tensor([[0.5], [7.0]]), torch.tensor([0, 3, 4])
    # Scores 0.5 and 1.5: weights 1 / (1 + e) and e / (1 + e); values 2 and 6; ReLU changes nothing.
    expected = (2 + 6 * math.e) / (1 + math.e)
    with torch.no_grad():
        found = align(pillars, maps, pairs, offsets)
        torch.testing.assert_close(found, torch.tensor([[expected], [0.0]]))
        even = replace(config, pool="mean")
        align.config = even
        torch.testing.assert_close(align(pillars, maps, pairs, offsets), torch.tensor([[4.0], [0.0]]))
        align.config = replace(config, pool="pixel")
        torch.testing.assert_close(align(pillars, maps, pairs, offsets), torch.tensor([[2.0], [0.0]]))


def test_softmax_of_segments() -> None:
    scores = torch.tensor([[1000.0], [1000.0], [-1000.0], [5.0]], requires_grad=True)
    weight = segment_softmax(scores, torch.tensor([0, 3, 3, 4]))
    torch.testing.assert_close(weight.detach(), torch.tensor([[0.5], [0.5], [0.0], [1.0]]))
    (weight * torch.tensor([[1.0], [0.0], [0.0], [1.0]])).sum().backward()
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad, torch.tensor([[0.25], [-0.25], [0.0], [0.0]]))
    assert segment_softmax(torch.zeros(0, 1), torch.tensor([0, 0, 0])).shape == (0, 1)


def test_blocks_cut_between_segments() -> None:
    assert blocks_of(torch.tensor([0, 2, 5, 5, 6, 9]), 3) == [(0, 2), (2, 4), (4, 5)]
    assert blocks_of(torch.tensor([0, 9, 9]), 3) == [(0, 1), (1, 2)]
    assert blocks_of(torch.tensor([0, 0]), 3) == [(0, 1)]
    assert blocks_of(torch.tensor([0]), 3) == []


@pytest.mark.parametrize("output", ["point", "pillar"])
def test_training_is_the_same_function_as_evaluation(output: Literal["point", "pillar"]) -> None:
    """With the running statistics of this very batch, and no weight dropped."""
    model = made(replace(CONFIG, dropout=0.0, output=output)).train()
    model.images.eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.momentum = 1.0
    batch = collate([frame(14)])
    voxels, pillars = pillars_of(batch)
    with torch.no_grad():
        training = model(pillars, voxels, batch)
        torch.testing.assert_close(model.eval()(pillars, voxels, batch), training, atol=0.02, rtol=0.02)


def test_first_pair_of_each_pillar() -> None:
    pairs = Pairs(torch.arange(5), torch.tensor([0, 1, 0, 1, 0]), torch.rand(5, 2), torch.ones(5), torch.arange(6))
    kept, rows = first_of_each(pairs, torch.tensor([0, 2, 2, 5]))
    assert kept.point.tolist() == [0, 2]
    assert kept.camera.tolist() == [0, 0]
    assert rows.tolist() == [0, 1, 1, 2]


def test_carried_and_undone_places_agree_and_none_does_not() -> None:
    sample = turned(frame(2))
    batch = collate([frame(3, 20), sample])
    carried, undone, moved = (
        recorded_places(batch, replace(CONFIG, align=way)) for way in ("carried", "inverse_aug", "none")
    )
    assert float((carried - undone).abs().max()) < 1e-5  # metres
    assert float((carried - moved)[:20].abs().max()) == 0  # the first frame was not augmented
    assert float((carried - moved)[20:].abs().max()) > 1.0


def test_an_augmented_frame_reads_the_same_pixels() -> None:
    """The same pillars, fed from a turned cloud: InverseAug finds the pixels again, without it others are read."""
    plain, augmented = collate([frame(4)]), collate([turned(frame(4))])
    voxels, pillars = pillars_of(plain)
    kept = replace(voxels, points=augmented.points[voxels.order])
    with torch.no_grad():
        wanted = made()(pillars, voxels, plain)
        for way in ("carried", "inverse_aug"):
            model = made(replace(CONFIG, align=way))
            torch.testing.assert_close(model(pillars, kept, augmented), wanted, atol=1e-4, rtol=1e-3)
        lost = made(replace(CONFIG, align="none"))(pillars, kept, augmented)
    assert float((lost - wanted).abs().max()) > 0.02


def test_points_that_no_camera_can_have_seen() -> None:
    """NaN in the recorded places, and points older than `newest_s`."""
    sample = frame(5)
    assert sample.recorded_xyz is not None
    pasted = replace(sample, recorded_xyz=np.full_like(sample.recorded_xyz, np.nan))
    old = sample.points.copy()
    old[:, 5] = 0.2
    blind, aged = collate([pasted]), collate([replace(sample, points=old)])
    voxels, pillars = pillars_of(blind)
    model, fresh = made(), made(replace(CONFIG, newest_s=0.1))
    with torch.no_grad():
        unseen = model.fuse(torch.cat((pillars, torch.zeros(len(pillars), 8)), 1))
        assert torch.equal(model(pillars, voxels, blind), unseen)
        assert torch.equal(fresh(pillars, voxels, aged), unseen)
        assert not torch.equal(model(pillars, voxels, aged), unseen)


@pytest.mark.parametrize("training", [False, True])
def test_without_any_image_the_pillars_alone_count(training: bool) -> None:
    model = made().train(training)
    sample = frame(6)
    none = [
        collate([replace(sample, images=None, recorded_xyz=None)]),
        collate([replace(sample, images=camera_images(present=(False, False)))]),
        collate([replace(sample, images=replace(_no_camera(), names=()))]),
    ]
    voxels, pillars = pillars_of(none[0])
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for batch in none:
        model.load_state_dict(state)
        found = model(pillars, voxels, batch)
        model.load_state_dict(state)
        assert torch.equal(found, model.fuse(torch.cat((pillars, torch.zeros(len(pillars), 8)), 1)))


def _no_camera() -> CameraImages:
    full = camera_images()
    fields = {name: getattr(full, name)[:0] for name in ("pixels", "present", "camera_from_ego", "intrinsics")}
    return replace(full, distortion=np.zeros((0, 5)), pixels_from_recorded=np.zeros((0, 3, 3)), **fields)


def test_a_missing_camera_costs_its_own_pillars_only() -> None:
    model = made()
    whole, half = collate([frame(7)]), collate([frame(7, images=camera_images(7, (True, False)))])
    voxels, pillars = pillars_of(whole)
    with torch.no_grad():
        seen, left = model(pillars, voxels, whole), model(pillars, voxels, half)
        alone = model.fuse(torch.cat((pillars, torch.zeros(len(pillars), 8)), 1))
    x = GRID.centres(voxels.coords)[:, 0]
    ahead, behind = x > 0.5, x < -0.5
    assert torch.equal(left[behind], alone[behind])
    torch.testing.assert_close(left[ahead], seen[ahead])
    assert not torch.equal(seen[behind], alone[behind])
    assert not torch.equal(seen[ahead], alone[ahead])


@pytest.mark.parametrize("align", ["carried", "inverse_aug", "none"])
def test_gradients_reach_the_image_net(align: Literal["inverse_aug", "carried", "none"]) -> None:
    model = made(replace(CONFIG, align=align)).train()
    batch = collate([turned(frame(8))])
    voxels, pillars = pillars_of(batch)
    pillars.requires_grad_()
    model(pillars, voxels, batch).square().sum().backward()
    assert pillars.grad is not None
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.images.parameters() if p.dim() > 1)


@pytest.mark.parametrize("points", [0, 1])
@pytest.mark.parametrize("training", [False, True])
def test_frames_of_no_and_of_one_point(points: int, training: bool) -> None:
    model = made().train(training)
    batch = collate([frame(9, points), frame(10, 0)])
    voxels, pillars = pillars_of(batch)
    found = model(pillars, voxels, batch)
    assert found.shape == (points, CHANNELS)
    assert bool(found.isfinite().all())


def test_weights_are_dropped_in_training_alone() -> None:
    torch.manual_seed(0)
    model = made(replace(CONFIG, norm="layer", dropout=1.0))  # batch norm would differ in training anyway
    batch = collate([frame(11)])
    voxels, pillars = pillars_of(batch)
    with torch.no_grad():
        kept = model.attend(*_attention_inputs(model, pillars, voxels, batch))
        model.attend.train()
        dropped = model.attend(*_attention_inputs(model, pillars, voxels, batch))
    assert float(kept.std(0).max()) > 0.1
    assert float((dropped - dropped.mean()).abs().max()) < float((kept - kept.mean()).abs().max())


def _attention_inputs(
    model: DeepFusion, pillars: Tensor, voxels: Voxels, batch: FrameBatch
) -> tuple[Tensor, Tensor, Pairs, Tensor]:
    assert batch.images is not None
    pairs = project_points(batch.points[voxels.order], batch.images.cameras, batch.point_batch[voxels.order], best=True)
    return pillars, model.images(batch.images.pixels)[0], pairs, voxels.offsets


def test_batches_without_recorded_places_are_refused() -> None:
    batch = replace(collate([frame(12)]), recorded_xyz=None)
    voxels, pillars = pillars_of(batch)
    with pytest.raises(UserError, match="recorded_xyz"):
        made()(pillars, voxels, batch)


def test_bfloat16() -> None:
    """Inside autocast the coordinates and the softmax stay float32."""
    model, batch = made(), collate([frame(13)])
    voxels, pillars = pillars_of(batch)
    with torch.no_grad():
        wide = model(pillars, voxels, batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            narrow = model(pillars, voxels, batch)
    assert float((narrow.float() - wide).abs().max()) < 0.05 * float(wide.abs().max())
