"""CenterPoint-Voxel: the encoder against dense convolutions, sizes, the choice of spconv, and that it learns."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from drive.boxes.groups import TOWN_GROUPS
from drive.boxes.voxel_detector import VoxelConfig
from drive.features.pillars import DenseConfig
from drive.features.voxel_resnet import SparseLayer, VoxelResNet, VoxelResNetConfig
from drive.samples.batch import FrameBatch
from drive.samples.classes import TOWN_CLASSES
from drive.voxels.grid import GridSpec
from tests.boxes import conftest as made

SMALL = VoxelResNetConfig((4, 6, 8, 10), blocks=1, out_channels=5)
SHAPE = (40, 16, 24)
frames = made.frames


def voxels(share: float = 0.1) -> torch.Tensor:
    return torch.nonzero(torch.rand(2, *SHAPE) < share)


def small_detector() -> VoxelConfig:
    return VoxelConfig(
        classes=TOWN_CLASSES.names,
        groups=TOWN_GROUPS,
        grid=GridSpec((-24.0, -24.0, -2.0, 24.0, 24.0, 4.0), (0.25, 0.25, 0.25)),
        encoder=VoxelResNetConfig((16, 16, 32, 32), blocks=1, out_channels=16),
        dense=DenseConfig((1, 1), (1, 2), (32, 32), 32),
        scale_xy=24.0,
        head_channels=32,
    )


def test_equals_dense_convolutions_where_voxels_are() -> None:
    """The same network with conv3d, empty cells set to zero after each layer."""
    torch.manual_seed(0)
    net = VoxelResNet(SMALL, 3, SHAPE).eval()
    coords = voxels()
    x = torch.randn(len(coords), 3)
    image = torch.zeros(2, 3, SHAPE[0] + 1, *SHAPE[1:])
    image[coords[:, 0], :, coords[:, 1], coords[:, 2], coords[:, 3]] = x
    mask = image.abs().sum(1, keepdim=True) > 0

    def layer(x: torch.Tensor, mask: torch.Tensor, given: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
        assert isinstance(given, SparseLayer)
        step = given.step
        weight = given.weight.unflatten(0, step.kernel).permute(4, 3, 0, 1, 2)
        x = F.conv3d(x, weight, stride=step.stride, padding=step.padding)
        if step.strided:
            ones = torch.ones(1, 1, *step.kernel)
            mask = F.conv3d(mask.float(), ones, stride=step.stride, padding=step.padding) > 0
        x = x / (1 + 1e-3) ** 0.5  # the norm of an untrained network
        return x * mask, mask

    y, mask = layer(image, mask, net.enter)
    y = y.relu()
    for stage, blocks in enumerate(net.stages):
        if stage:
            y, mask = layer(y, mask, net.downs[stage - 1])
            y = y.relu()
        for block in blocks:  # type: ignore[attr-defined]
            inner = layer(y, mask, block.first)[0].relu()
            y = (y + layer(inner, mask, block.second)[0]).relu()
    y, _ = layer(y, mask, net.top)
    found = net(x, coords, 2).detach()
    assert found.shape == (2, net.out_channels, 2, 3) == (2, 10, 2, 3)
    # The map's channels are layer by layer of height.
    wanted = y.detach().relu().transpose(1, 2).flatten(1, 2)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
    assert float(found.abs().max()) > 0


def test_sizes_of_the_published_network() -> None:
    net = VoxelResNet(VoxelResNetConfig(), 5, (40, 1504, 1504))
    assert net.out_channels == 256
    with pytest.raises(ValueError, match="does not divide by 8"):
        VoxelResNet(SMALL, 3, (16, 12, 16))
    with pytest.raises(ValueError, match="too low"):
        VoxelResNet(SMALL, 3, (16, 16, 16))


def test_no_voxels_give_an_empty_map() -> None:
    net = VoxelResNet(SMALL, 3, SHAPE).train()
    out = net(torch.zeros(0, 3), torch.zeros(0, 4, dtype=torch.int64), 1)
    assert out.shape == (1, 10, 2, 3)
    assert not out.any()


def test_spconv_is_a_choice() -> None:
    """Where it is installed, both give the same map; where it is not, the error says so."""
    torch.manual_seed(0)
    ours = VoxelResNet(SMALL, 3, SHAPE).eval()
    theirs = VoxelResNet(VoxelResNetConfig(SMALL.channels, 1, 5, "spconv"), 3, SHAPE).eval()
    theirs.load_state_dict(ours.state_dict())
    coords = voxels()
    x = torch.randn(len(coords), 3)
    with torch.no_grad():
        if importlib.util.find_spec("spconv") is None:
            with pytest.raises(ModuleNotFoundError, match="spconv is not installed"):
                theirs(x, coords, 2)
        else:
            wanted = ours(x, coords, 2)
            torch.testing.assert_close(theirs(x, coords, 2), wanted, rtol=1e-4, atol=1e-4 * float(wanted.max()))


def test_a_few_steps_reduce_the_loss(frames: Callable[..., FrameBatch]) -> None:
    torch.manual_seed(0)
    batch, model = frames(0, 1), small_detector().build().train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    seen = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = model.losses(model(batch), batch)["loss"]
        loss.backward()
        optimiser.step()
        seen.append(float(loss.detach()))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert seen[-1] < 0.5 * seen[0]
    model.eval()
    with torch.no_grad():
        assert len(model.decode(model(batch))) == 2
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert model(batch).groups[0].heat_logits.isfinite().all()
