"""Both detectors as a whole: what must not change the answer, empty input, gradients, sizes, and that they learn."""

import dataclasses
from collections.abc import Callable

import pytest
import torch

from drive.boxes.detections import Detections
from drive.boxes.detector import PillarsConfig, SWFormerConfig
from drive.samples.batch import FrameBatch, collate
from drive.samples.sample import FrameSample
from drive.voxels.grid import GridSpec

Config = SWFormerConfig | PillarsConfig


def warmed(config: Config, batch: FrameBatch, steps: int = 3) -> torch.nn.Module:
    """A model whose scores differ from cell to cell."""
    torch.manual_seed(0)
    model = config.build().train()
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        model.losses(model(batch), batch)["loss"].backward()
        optimiser.step()
    return model.eval()


def same(a: Detections, b: Detections, atol: float) -> None:
    """The same boxes, whatever the order of equal scores."""
    assert len(a) == len(b)
    distance = (a.boxes[:, None] - b.boxes).abs().amax(2) + 100 * (a.labels[:, None] != b.labels)
    nearest, partner = distance.min(1)
    assert float(nearest.max()) < atol
    torch.testing.assert_close(a.scores, b.scores[partner], atol=atol, rtol=0)


def test_order_of_points_does_not_matter(config: Config, frames: Callable[..., FrameBatch]) -> None:
    batch = frames(1)
    model = warmed(config, batch)
    shuffle = torch.randperm(len(batch.points), generator=torch.Generator().manual_seed(0))
    mixed = FrameBatch(**{**batch.tensors(), "points": batch.points[shuffle]}, frame_ids=batch.frame_ids)
    with torch.no_grad():
        (one,), (other,) = model.decode(model(batch)), model.decode(model(mixed))
    assert len(one) > 0
    same(one, other, atol=1e-3)


def test_a_batch_is_its_frames(config: Config, frames: Callable[..., FrameBatch]) -> None:
    both = frames(1, 2)
    model = warmed(config, both)
    with torch.no_grad():
        together = model.decode(model(both))
        for seed, mine in zip((1, 2), together, strict=True):
            batch = frames(seed)
            (alone,) = model.decode(model(batch))
            assert len(alone) > 0
            same(mine, alone, atol=1e-3)


@pytest.mark.parametrize("points", [0, 1])
def test_frames_of_no_and_of_one_point(config: Config, empty: Callable[[int], FrameSample], points: int) -> None:
    model = config.build()
    for samples in ([empty(points)], [empty(points), empty(0)]):
        batch = collate(samples)
        for training in (True, False):
            model.train(training)
            output = model(batch)
            losses = model.losses(output, batch)
            assert all(bool(value.isfinite()) for value in losses.values())
            found = model.decode(output)
            assert len(found) == len(samples)
            assert all(bool(f.boxes.isfinite().all()) for f in found)


def test_a_frame_of_boxes_without_points_teaches_nothing_false(
    config: Config, frames: Callable[..., FrameBatch]
) -> None:
    batch = frames(1)
    unseen = FrameBatch(
        **{**batch.tensors(), "num_points": torch.zeros_like(batch.num_points)}, frame_ids=batch.frame_ids
    )
    model = config.build().train()
    losses = model.losses(model(unseen), unseen)
    for name, value in losses.items():
        if name.split("/")[0] in ("offset", "size", "heading", "velocity"):
            assert float(value) == 0, name


def test_gradient_reaches_every_parameter(config: Config, frames: Callable[..., FrameBatch]) -> None:
    batch = frames(1, 2)
    model = config.build().train()
    losses = model.losses(model(batch), batch)
    losses["loss"].backward()
    torch.testing.assert_close(
        losses["loss"].detach(), torch.stack([v for k, v in losses.items() if k != "loss"]).sum()
    )
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().sum()) > 0, name
        assert bool(parameter.grad.isfinite().all()), name


def test_the_same_step_twice_gives_the_same_bits(config: Config, frames: Callable[..., FrameBatch]) -> None:
    batch = frames(1, 2)
    grads = []
    for _ in range(2):
        torch.manual_seed(0)
        model = config.build().train()
        model.losses(model(batch), batch)["loss"].backward()
        grads.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_the_paper_size_has_about_three_million_parameters() -> None:
    sizes = {
        kind: sum(p.numel() for p in SWFormerConfig.waymo(kind).build().parameters()) for kind in ("pointnet", "pvt")
    }
    assert 2.7e6 < sizes["pointnet"] < 3.4e6
    assert 2.7e6 < sizes["pvt"] < 3.6e6


@pytest.mark.parametrize("make", [SWFormerConfig.waymo, SWFormerConfig.nuscenes, SWFormerConfig.kitti])
@torch.no_grad()
def test_paper_sizes_run_on_a_small_cloud(
    make: Callable[..., SWFormerConfig], frames: Callable[..., FrameBatch]
) -> None:
    torch.manual_seed(0)
    config = make("pvt")
    model = config.build().eval()
    batch = frames(1, ground=200)
    output = model(batch)
    assert [group.heat_logits.shape[1] for group in output.groups] == [len(g.classes) for g in config.groups]
    assert len(model.decode(output)) == 1


@pytest.mark.parametrize("config", ["swformer", "pillars"], indirect=True)
def test_two_frames_are_learnt_by_heart(config: Config, make: Callable[..., FrameSample]) -> None:
    """The loss falls to a fraction, and every box comes back with its class, as the best of its place."""
    batch = collate([make(seed, cars=3, small=2, ground=500, reach=13.0) for seed in (1, 2)])
    near = GridSpec((-16.0, -16.0, -2.0, 16.0, 16.0, 4.0), (0.5, 0.5, 6.0))
    torch.manual_seed(0)
    model = dataclasses.replace(config, grid=near).build().train()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3, betas=(0.9, 0.99))
    losses: list[float] = []
    for step in range(70):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * min(1.0, (step + 1) / 10) * (1.0 if step < 50 else 0.3)
        loss = model.losses(model(batch), batch)["loss"]
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.25 * losses[0]
    with torch.no_grad():
        found = model.eval().decode(model(batch))
    for frame, detections in enumerate(found):
        mine = batch.box_batch == frame
        distance = torch.cdist(batch.boxes[mine, :2], detections.boxes[:, :2])
        wrong = batch.labels[mine][:, None] != detections.labels
        nearest, which = (distance + 100 * wrong).min(1)
        assert float(nearest.max()) < 1.0
        assert float(detections.scores[which].min()) > 0.2
