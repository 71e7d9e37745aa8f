"""The nuScenes variant: displacements, commands, and its place in the harness."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from worlds import drive_scene

from drive.plans.diffusion_nuscenes import NuscenesConfig, NuscenesHead, steps_of
from drive.plans.learned import PlannerConfig
from drive.plans.trunk import BevFrame, SceneFeatures
from drive.plans.trunk_object import ObjectTrunkConfig
from drive.samples.plan_sample import PlanFeatures
from drive.samples.plan_sample_batch import collate_plans
from drive.samples.plan_sample_data import scene_samples
from drive.samples.plan_sample_raster import RasterGrid

SMALL = NuscenesConfig(modes=2, channels=32, heads=2, ffn=64)


def features_of(commands: list[int], seed: int = 0) -> SceneFeatures:
    rng, B = torch.Generator().manual_seed(seed), len(commands)
    shapes = ((B, 32, 64, 64), (B, 4, 32), (B, 1, 32))
    bev, agents, ego = (torch.randn(shape, generator=rng) for shape in shapes)
    return SceneFeatures(bev, agents, None, ego, torch.tensor(commands, dtype=torch.int64))


def futures() -> np.ndarray:
    """Straight, left and right at two speeds each, [60, 6, 3]."""
    rng, share = np.random.default_rng(0), np.arange(1, 7) / 6
    rows = []
    for aside in (0.0, 8.0, -8.0):
        for speed in (3.0, 9.0):
            rows += [np.stack((speed * 3 * share, aside * share**2, 0 * share), axis=1)] * 10
    return np.array(rows) + rng.normal(0, 0.02, (60, 6, 3))


def head_of(config: NuscenesConfig = SMALL) -> NuscenesHead:
    torch.manual_seed(0)
    head = config.build(BevFrame(), 32).eval()
    head.fit(futures(), 0)
    return head


def test_published_numbers() -> None:
    head = NuscenesConfig().build(BevFrame(), 256)
    assert head.anchors.shape == (3, 6, 6, 2)
    # Forward (d + 0.5) / 8.1 to -1..1 and sideways d / 3, clamped (the lidar frame's y and x).
    steps = torch.tensor([[3.55, 1.5], [7.6, -3.0], [20.0, 9.0], [-5.0, 0.0]])
    assert torch.allclose(head.normalise(steps), torch.tensor([[0, 0.5], [1, -1], [1, 1], [-1, 0]]), atol=1e-6)
    assert torch.allclose(head.denormalise(head.normalise(steps[:2])), steps[:2], atol=1e-5)
    assert [step.level for step in head.config.schedule.steps] == [20, 0]


def test_anchors_by_command() -> None:
    head = head_of()
    ends = head.anchors[:, :, -1]
    assert ends[0, :, 1].tolist() == pytest.approx([8, 8], abs=0.1)
    assert ends[1, :, 1].tolist() == pytest.approx([0, 0], abs=0.1)
    assert ends[2, :, 1].tolist() == pytest.approx([-8, -8], abs=0.1)
    assert ends[1, :, 0].tolist() == pytest.approx([9, 27], abs=0.1)
    straight = futures()[:20]
    found = SMALL.build(BevFrame(), 32)
    report = found.fit(straight, 0)  # nobody turns: every command gets the anchors of all
    assert torch.equal(found.anchors[0], found.anchors[1])
    assert report.left_share == 0


def test_the_command_decides() -> None:
    head = head_of()
    with torch.inference_mode():
        alike = replace(features_of([0]), command=torch.tensor([0]))
        answers = [head.propose(replace(alike, command=torch.tensor([c]))).poses for c in range(4)]
    assert not torch.allclose(answers[0], answers[1], atol=1e-3)
    assert torch.equal(answers[1], answers[3])  # unknown drives as straight does


def test_poses_are_sums_of_displacements() -> None:
    head = head_of()
    steps = torch.zeros(1, 1, 6, 2)
    steps[..., 0], steps[0, 0, 2] = 2.0, torch.tensor([1.0, 1.0])
    steps[0, 0, 4] = torch.tensor([0.0, -0.1])  # too short to have a direction
    poses = head._poses(steps)
    assert poses[0, 0, :, 0].tolist() == pytest.approx([2, 4, 5, 7, 7, 9])
    assert poses[0, 0, :, 1].tolist() == pytest.approx([0, 0, 1, 1, 0.9, 0.9])
    assert poses[0, 0, :, 2].tolist() == pytest.approx([0, 0, np.pi / 4, 0, 0, 0])
    places = torch.randn(2, 3, 6, 2)
    assert torch.allclose(steps_of(places).cumsum(-2), places, atol=1e-5)


def test_same_values_read_or_convolved_whole() -> None:
    features, noise = features_of([0, 1, 2]), head_of().noise(3, torch.Generator().manual_seed(1))
    with torch.inference_mode():
        read, dense = (head_of(replace(SMALL, values=how)).propose(features, noise) for how in ("read", "dense"))
        none = head_of().propose(features_of([]))
    assert torch.allclose(read.poses, dense.poses, atol=1e-5)
    assert none.poses.shape == (0, 2, 6, 3)


def test_every_weight_learns_from_displacements() -> None:
    head = head_of().train()
    future = torch.from_numpy(futures()[[0, 25, 45]]).float()
    torch.manual_seed(0)
    for layer in head.layers:
        torch.nn.init.normal_(layer.spatial.weight.weight, 0, 0.2)
    terms = head.losses(head.answer(features_of([1, 0, 2])), future, torch.ones(3, 6, dtype=torch.bool))
    (terms["score"] + terms["regression"]).backward()
    assert not [n for n, w in head.named_parameters() if w.grad is None or not w.grad.abs().any()]


def test_a_displacement_needs_both_ends() -> None:
    head = head_of()
    torch.manual_seed(0)
    answer = head.answer(features_of([1]))
    future = torch.from_numpy(futures()[:1]).float()
    valid = torch.tensor([[True, False, True, True, True, True]])
    wrong = future.clone()
    wrong[:, 1] = 1e4
    first, second = (head.losses(answer, f, valid)["regression"].detach() for f in (future, wrong))
    assert torch.isclose(first, second)


def test_in_the_harness() -> None:
    grid = RasterGrid(cell_m=2.0)
    trunk = ObjectTrunkConfig(channels=32, layers=1, heads=2, ffn=64, map_channels=(16, 16, 16), raster=grid)
    model = PlannerConfig(trunk, SMALL).build().eval()
    model.fit(futures(), 0)
    scene = drive_scene(8.0, turn=True)
    batch = collate_plans(scene_samples(scene, [0, 30], PlanFeatures(raster=grid, points=6)))
    assert model.propose(batch).best().shape == (2, 6, 3)
    assert torch.isfinite(model.train().losses(model(batch), batch)["loss"])
    eight = collate_plans(scene_samples(scene, [0], PlanFeatures(raster=grid)))
    with pytest.raises(ValueError, match="plans 6 points, the samples have futures of 8"):
        model.losses(model(eight), eight)
