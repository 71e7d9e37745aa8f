"""Window layers and the backbone against a plain reading of the paper."""

import math

import pytest
import torch
import torch.nn.functional as F

from drive.features.attention import WindowBlock, WindowLayer, sine_code
from drive.features.pillars import DenseBackbone, DenseConfig
from drive.features.swformer import BackboneConfig, SWFormer
from drive.voxels.grid import GridSpec
from drive.voxels.levels import build_levels
from drive.voxels.neighbours import neighbour_rules
from drive.voxels.windows import partition_windows

GRID = GridSpec((0.0, 0.0, 0.0, 64.0, 64.0, 1.0), (1.0, 1.0, 1.0))
SMALL = BackboneConfig(16, 2, 32, layers=((1, 1),) * 5)


def occupied(count: int, seed: int = 0, frames: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randperm(frames * GRID.num_cells, generator=generator)[:count]
    return GRID.coords(keys.sort().values)


def test_sine_code_by_hand() -> None:
    code = sine_code(10, 8)
    assert code.shape == (100, 8)
    # Cell (y, x) = (2, 7) lies at offsets -2.5 and 2.5 from the centre; frequencies 1 and 1000^-0.5.
    slow = 1000**-0.5
    expected = [f(o * w) for o in (-2.5, 2.5) for w in (1.0, slow) for f in (math.sin, math.cos)]
    torch.testing.assert_close(code[27], torch.tensor(expected))


def test_a_layer_is_post_norm_attention_inside_each_window() -> None:
    torch.manual_seed(0)
    layer = WindowLayer(16, 2, 32)
    x, offsets = torch.randn(7, 16), torch.tensor([0, 4, 5, 7])
    parts = []
    for start, stop in ((0, 4), (4, 5), (5, 7)):
        rows = x[start:stop]
        q, k, v = (t.view(-1, 2, 8).transpose(0, 1) for t in layer.qkv(rows).chunk(3, 1))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(0, 1).reshape(-1, 16)
        y = layer.norm(rows + layer.out(mixed))
        parts.append(layer.mlp_norm(y + layer.mlp_out(F.gelu(layer.mlp_in(y)))))
    torch.testing.assert_close(layer(x, offsets), torch.cat(parts), atol=1e-5, rtol=1e-5)


def test_a_block_without_shifted_layers_keeps_windows_apart() -> None:
    torch.manual_seed(0)
    coords = torch.tensor([[0, 0, 5, 5], [0, 0, 5, 9], [0, 0, 5, 10]])
    plain, shifted = partition_windows(coords, GRID, shifts=(0, 5))
    neighbours = neighbour_rules(coords, GRID)
    x = torch.randn(3, 16, requires_grad=True)
    block = WindowBlock(16, 2, 32, 1, 0)
    (gradient,) = torch.autograd.grad(block(x, plain, shifted, neighbours)[2].square().sum(), x)
    assert gradient.abs().sum(1).gt(0).tolist() == [False, False, True]
    block = WindowBlock(16, 2, 32, 1, 1)
    (gradient,) = torch.autograd.grad(block(x, plain, shifted, neighbours)[2].square().sum(), x)
    assert gradient.abs().sum(1).gt(0).tolist() == [True, True, True]
    block = WindowBlock(16, 2, 32, 1, 0, mix=True)
    (gradient,) = torch.autograd.grad(block(x, plain, shifted, neighbours)[2].square().sum(), x)
    assert gradient.abs().sum(1).gt(0).tolist() == [False, True, True]  # x = 9 and 10 touch across the window's edge


def test_the_gradient_of_a_coarse_scale_goes_to_chosen_voxels_only() -> None:
    """Nothing is pooled: with the finest block and fusion cut off, only chosen voxels matter (spec 1.13)."""
    coords = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 1], [0, 0, 30, 30]])
    levels = build_levels(coords, GRID)
    x = torch.randn(4, 16, requires_grad=True)
    coarse = x.index_select(0, levels[1].chosen)
    (gradient,) = torch.autograd.grad(coarse.sum(), x)
    assert gradient.sum(1).tolist() == [16.0, 0.0, 0.0, 16.0]


def test_features_stay_when_everything_moves_by_whole_windows_of_the_coarsest_scale() -> None:
    big = GridSpec((0.0, 0.0, 0.0, 640.0, 640.0, 1.0), (1.0, 1.0, 1.0))
    torch.manual_seed(0)
    model, coords, x = SWFormer(SMALL), occupied(300), torch.randn(300, 16)
    moved = coords + torch.tensor([0, 0, 320, 320])
    torch.testing.assert_close(model(x, build_levels(coords, big)), model(x, build_levels(moved, big)))


def test_a_batch_is_its_frames_one_after_the_other() -> None:
    torch.manual_seed(0)
    model, coords, x = SWFormer(SMALL), occupied(400, frames=2), torch.randn(400, 16)
    both = model(x, build_levels(coords, GRID))
    for frame in (0, 1):
        mine = coords[:, 0] == frame
        alone = coords[mine].clone()
        alone[:, 0] = 0
        torch.testing.assert_close(both[mine], model(x[mine], build_levels(alone, GRID)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("count", [0, 1])
def test_no_voxel_and_one_voxel(count: int) -> None:
    out = SWFormer(SMALL)(torch.randn(count, 16), build_levels(occupied(count), GRID))
    assert out.shape == (count, 16)


def test_gradient_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    model = SWFormer(SMALL)
    out = model(torch.randn(300, 16), build_levels(occupied(300), GRID))
    (out * torch.randn(out.shape)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().sum()) > 0, name


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="scales have layers"):
        BackboneConfig(layers=((1, 1),))
    with pytest.raises(ValueError, match="must divide"):
        BackboneConfig(channels=30, heads=8)


@pytest.mark.parametrize(("out_stride", "edge"), [(1, 24), (2, 12), (4, 6)])
def test_dense_maps_have_the_shape_of_their_stride(out_stride: int, edge: int) -> None:
    dense = DenseBackbone(DenseConfig((1, 1, 1), (1, 2, 2), (8, 8, 8), 4, out_stride), 6)
    assert dense(torch.randn(2, 6, 24, 24)).shape == (2, 12, edge, edge)
    assert dense.out_channels == 12


def test_a_border_that_the_stride_does_not_divide_is_kept() -> None:
    dense = DenseBackbone(DenseConfig((0, 0), (1, 2), (8, 8), 4, 1), 6)
    assert dense(torch.randn(1, 6, 25, 23)).shape == (1, 8, 25, 23)


def test_inference_in_one_piece_is_the_layer_that_was_trained() -> None:
    torch.manual_seed(0)
    layer, x, offsets = WindowLayer(64, 4, 128), torch.randn(70, 64), torch.tensor([0, 40, 41, 70])
    trained = layer(x, offsets).detach()
    with torch.no_grad():
        torch.testing.assert_close(layer(x, offsets), trained, rtol=0, atol=1e-5)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            narrow = layer(x, offsets)
    assert narrow.dtype == torch.float32
    # Factors round by 2**-9 each; of outputs of size 1, sums over 64 or 128 products keep about as much.
    assert 0 < float((narrow - trained).abs().max()) < 0.03
