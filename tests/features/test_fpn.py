"""Pyramid necks against hand-made numbers: what is added, what is laid beside, what is pooled."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from drive.features.bifpn import BiFPN, BiFPNConfig, Node
from drive.features.fpn import FPN, ConcatFPN, MapNorm, halve, upsample_like


def identity(conv: nn.Conv2d) -> None:
    """A convolution that gives its input back (or the sum of its input's channels where they are more)."""
    nn.init.zeros_(conv.weight)
    middle = conv.kernel_size[0] // 2
    with torch.no_grad():
        for i in range(conv.out_channels):
            conv.weight[i, i % conv.weight.shape[1], middle, middle] = 1
        if conv.bias is not None:
            conv.bias.zero_()


def test_fpn_adds_from_coarse_to_fine_and_pools_what_is_missing() -> None:
    neck = FPN((1, 1, 1), (8, 16, 32), (8, 32, 64), channels=1, norm=False)
    for conv in neck.modules():
        if isinstance(conv, nn.Conv2d):
            identity(conv)
    fine, middle = torch.arange(15.0).view(1, 1, 3, 5), torch.tensor([[[[10.0, 20, 30], [40, 50, 60]]]])
    coarse = torch.tensor([[[[100.0, 200]]]])
    out8, out32, out64 = neck([fine, middle, coarse])
    below = middle + torch.tensor([100.0, 100, 200])  # nearest x2 of the coarse map, cut to three columns
    assert torch.equal(out8, fine + below.repeat_interleave(2, 2)[:, :, :3].repeat_interleave(2, 3)[..., :5])
    assert torch.equal(out32, coarse)
    assert torch.equal(out64, torch.tensor([[[[200.0]]]]))


def test_concat_neck_lays_maps_side_by_side_and_keeps_the_coarsest() -> None:
    neck = ConcatFPN((2, 3, 4), (8, 16, 32), (8, 16), channels=5)
    assert [step[0][0].in_channels for step in neck.joins] == [2 + 5, 3 + 4]
    maps = [torch.randn(2, 2, 7, 9), torch.randn(2, 3, 4, 5), torch.randn(2, 4, 2, 3)]
    out8, out16 = neck(maps)
    assert (out8.shape, out16.shape) == ((2, 5, 7, 9), (2, 5, 4, 5))
    sum(m.sum() for m in (out8, out16)).backward()
    assert all(p.grad is not None for p in neck.parameters())
    with pytest.raises(ValueError, match="gives"):
        ConcatFPN((2, 3), (8, 16), (16,), channels=5)


def test_weighted_node_is_the_normalised_mean() -> None:
    node = Node(2, 1).eval()
    for conv in (node.depthwise, node.pointwise):
        identity(conv)
    with torch.no_grad():
        node.weight.copy_(torch.tensor([3.0, 1.0]))
        a, b = torch.full((1, 1, 2, 2), 2.0), torch.full((1, 1, 2, 2), 6.0)
        mean = torch.tensor((3 * 2 + 1 * 6) / (3 + 1 + 1e-4))
        expected = mean * torch.sigmoid(mean) / (1 + node.norm.eps) ** 0.5
        torch.testing.assert_close(node(a, b), expected.expand(1, 1, 2, 2))
        node.weight.copy_(torch.tensor([1.0, -5.0]))  # relu: the second map counts for nothing
        torch.testing.assert_close(node(a, b), node(a, b + 100))


@pytest.mark.parametrize(("out", "coarsest"), [((8,), 128), ((8, 16, 32, 64, 128), 128), ((8, 512), 512), ((8,), 16)])
def test_bifpn_levels_and_no_dead_parameters(out: tuple[int, ...], coarsest: int) -> None:
    strides = (8, 16, 32) if coarsest > 16 else (8, 16)
    neck = BiFPN(BiFPNConfig(2, coarsest), (3, 4, 5)[: len(strides)], strides, out, channels=6)
    maps = [torch.randn(2, 3 + i, -(-100 // s), -(-200 // s)) for i, s in enumerate(strides)]
    found = neck(maps)
    assert [tuple(m.shape) for m in found] == [(2, 6, -(-100 // s), -(-200 // s)) for s in out]
    sum((m * torch.randn_like(m)).sum() for m in found).backward()
    assert [n for n, p in neck.named_parameters() if p.grad is None] == []
    levels = (coarsest // 8).bit_length()
    first = neck.passes[0]
    # Removed nodes: the coarsest on the way down, the finest on the way up; a skip joins inner levels from their input.
    assert len(first.down) == levels - 1
    assert [len(node.weight) for node in first.up] == [3] * (levels - 2) + [2]


def test_bifpn_reaches_the_finest_map_from_the_coarsest_input() -> None:
    neck = BiFPN(BiFPNConfig(1, 512), (2, 2, 2), (8, 16, 32), (8,), channels=4).eval()
    maps = [torch.randn(1, 2, 64, 64, requires_grad=True) for _ in (8, 16, 32)]
    maps = [torch.randn(1, 2, 64 // (1 << i), 64 // (1 << i), requires_grad=True) for i in range(3)]
    neck(maps)[0].sum().backward()
    assert all(m.grad is not None and bool((m.grad != 0).any()) for m in maps)


def test_bifpn_refuses_levels_that_do_not_go_together() -> None:
    for coarsest, out in ((8, (8,)), (32, (8, 64)), (16, (8,))):
        with pytest.raises(ValueError, match="cannot take"):
            BiFPN(BiFPNConfig(1, coarsest), (2, 2, 2), (8, 16, 32), out, channels=4)


def test_odd_sizes_keep_cells_in_place() -> None:
    x = torch.arange(6.0).view(1, 1, 2, 3)
    up = upsample_like(x, torch.zeros(1, 1, 3, 5))
    assert up.tolist() == [[[[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 4, 4, 5]]]]
    assert halve(up).shape == x.shape


def test_norm_of_a_single_cell_uses_running_statistics() -> None:
    norm = MapNorm(3)
    x = torch.randn(1, 3, 1, 1)
    torch.testing.assert_close(norm(x), x / (1 + norm.eps) ** 0.5)
    assert norm.running_mean.abs().sum() == 0
    assert torch.isfinite(norm(torch.randn(2, 3, 1, 1))).all()
    assert norm.running_mean.abs().sum() > 0
