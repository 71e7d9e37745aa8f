"""TransFuser's fusion by hand, stages of backbones, and what its trunk is taught."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drive.errors import UserError
from drive.features.bev_heads import AgentHead, SemanticHead, agent_losses, semantic_loss
from drive.features.transfuser import StageFusion, TransFuserConfig, as_map, as_tokens, stages

TINY = TransFuserConfig(
    backbone="plain", widths=(4, 8, 8, 12), image_tokens=(2, 8), lidar_tokens=(4, 4), layers=1, heads=2, ratio=2,
    dropout=0.0, map_channels=6, map_size=(16, 16),
)  # fmt: skip


def test_shapes_and_that_both_inputs_reach_the_map() -> None:
    torch.manual_seed(0)
    net = TINY.build().eval()
    camera, lidar = torch.rand(2, 3, 32, 128), torch.rand(2, 1, 64, 64)
    coarse, fine = net(camera, lidar)
    assert (coarse.shape, fine.shape, net.channels) == ((2, 12, 4, 4), (2, 6, 16, 16), 12)
    for changed in ((camera.flip(0), lidar), (camera, lidar.flip(0))):
        assert not torch.allclose(net(*changed)[1], fine, atol=1e-6)
    assert torch.equal(net(camera, lidar)[1], fine)
    assert net(camera[:0], lidar[:0])[1].shape == (0, 6, 16, 16)


def test_everything_learns() -> None:
    torch.manual_seed(0)
    net = TINY.build().train()
    sum(out.square().mean() for out in net(torch.rand(2, 3, 32, 128), torch.rand(2, 1, 64, 64))).backward()  # type: ignore[union-attr]
    assert not [n for n, p in net.named_parameters() if p.grad is None]


def test_tokens_are_rows_of_a_map() -> None:
    maps = torch.arange(2 * 3 * 2 * 4).float().reshape(2, 3, 2, 4)
    tokens = as_tokens(maps)
    assert tokens.shape == (2, 8, 3)
    assert torch.equal(tokens[1, 5], maps[1, :, 1, 1])
    assert torch.equal(as_map(tokens, (2, 4)), maps)


class Nothing(nn.Module):
    """In place of a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_fusion_by_hand() -> None:
    """Without layers: what is added is the pooled map and the tokens' positions, image rows first, then the lidar's."""
    config = replace(TINY, image_tokens=(1, 2), lidar_tokens=(2, 1), layers=0)
    fusion = StageFusion(2, 3, config)
    fusion.norm = Nothing()  # type: ignore[assignment]
    for convolution in (fusion.to_common, fusion.from_common):
        nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    with torch.no_grad():
        fusion.to_common.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0]])[..., None, None])
        fusion.from_common.weight.copy_(torch.tensor([[1.0, 0], [0, 1], [0, 0]])[..., None, None])
        fusion.positions.copy_(torch.tensor([[10.0, 0], [20, 0], [30, 0], [40, 0]])[None])
    image = torch.cat((torch.full((1, 2, 2, 2), 1.0), torch.full((1, 2, 2, 2), 3.0)), dim=3)
    lidar = torch.cat((torch.full((1, 3, 4, 4), 5.0), torch.full((1, 3, 4, 4), 7.0)), dim=2)
    new_image, new_lidar = fusion(image, lidar)
    # Left pixels: 1 + (1 + 10); right: 3 + (3 + 20); in between straight from one token's middle to the other's.
    assert new_image[0, 0, 0].tolist() == [12.0, 1 + 11 + 0.25 * 12, 3 + 11 + 0.75 * 12, 26.0]
    assert new_image[0, 1, 0].tolist() == [2.0, 1 + 1 + 0.5, 3 + 1 + 1.5, 6.0]
    assert new_lidar[0, 0, [0, -1], 0].tolist() == [5 + 5 + 30.0, 7 + 7 + 40.0]
    assert new_lidar[0, 1, [0, -1], 0].tolist() == [10.0, 14.0]
    assert new_lidar[0, 2, :, 0].tolist() == [5.0] * 4 + [7.0] * 4  # the third channel has nothing to add


def test_positions_start_at_zero_and_weights_narrow() -> None:
    torch.manual_seed(0)
    fusion = TransFuserConfig(backbone="plain", widths=(64, 64, 64, 64), layers=1).build().fusions[0]
    assert fusion.positions.shape == (1, 8 * 32 + 8 * 8, 64)
    assert not fusion.positions.any()
    linear = [p for n, p in fusion.layers.named_parameters() if p.ndim == 2]
    assert all(abs(float(p.detach().std()) - 0.02) < 0.002 for p in linear)


def test_timm_in_four_stages() -> None:
    """The stages one after another are the whole network."""
    timm = pytest.importorskip("timm", reason="extra camera")
    torch.manual_seed(0)
    made, widths = stages("resnet10t", 1, (), pretrained=False)
    assert (len(made), widths) == (4, (64, 128, 256, 512))
    whole = timm.create_model("resnet10t", features_only=True, in_chans=1, out_indices=(1, 2, 3, 4)).eval()
    whole.load_state_dict(
        dict(zip(whole.state_dict(), made.state_dict().values(), strict=True))
    )  # the same order of modules
    x = torch.rand(1, 1, 64, 64)
    for level, stage in zip(whole(x), made.eval(), strict=True):
        x = stage(x)
        assert torch.allclose(x, level, atol=1e-6)


@pytest.mark.parametrize("name", ["no_such_net", "swin_tiny_patch4_window7_224", "mobilenetv3_small_050"])
def test_backbones_that_are_none(name: str) -> None:
    pytest.importorskip("timm", reason="extra camera")
    with pytest.raises(UserError, match=name):
        stages(name, 3, (), pretrained=False)


def test_the_semantic_map_is_of_what_lies_ahead() -> None:
    torch.manual_seed(0)
    head = SemanticHead(3, 7, (8, 16)).eval()
    fine = torch.rand(1, 3, 8, 8)
    behind, ahead = fine.clone(), fine.clone()
    behind[:, :, :4] += 1.0
    ahead[:, :, 7] += 1.0
    logits = head(fine)
    assert logits.shape == (1, 7, 8, 16)
    assert torch.equal(head(behind), logits)
    assert not torch.allclose(head(ahead)[:, :, 7], logits[:, :, 7])
    target = torch.zeros(1, 8, 16, dtype=torch.uint8)
    assert float(semantic_loss(100 * F.one_hot(target.long(), 7).permute(0, 3, 1, 2).float(), target)) < 1e-6


def test_agents_lie_in_reach() -> None:
    torch.manual_seed(0)
    boxes, logits = AgentHead(4, 8, 32.0)(100 * torch.randn(2, 3, 4))
    assert boxes.shape == (2, 3, 5)
    assert logits.shape == (2, 3)
    assert boxes[..., :2].abs().max() <= 32
    assert boxes[..., 2].abs().max() <= torch.pi


def test_agent_losses_by_hand() -> None:
    boxes = torch.tensor([[[0.0, 0, 0, 4, 2], [10, 0, 0, 4, 2], [20, 0, 0, 4, 2]]] * 2)
    logits = torch.zeros(2, 3)
    truth = torch.tensor([[11.0, 0, 0.5, 4, 2], [1, 1, 0, 4, 2]])  # both in the second scene
    found, error = agent_losses(boxes, logits, truth, torch.tensor([0, 0, 2]), 1.0, 1.0)
    assert float(found) == pytest.approx(0.6931, abs=1e-4)
    assert float(error) == pytest.approx((1.5 + 2.0) / 2)
    sure = torch.tensor([[-9.0, -9, -9], [9, 9, -9]])
    assert float(agent_losses(boxes, sure, truth, torch.tensor([0, 0, 2]), 1.0, 1.0)[0]) < 1e-3
    nobody = agent_losses(boxes, logits, truth[:0], torch.tensor([0, 0, 0]), 1.0, 1.0)
    assert float(nobody[1]) == 0.0


def test_the_matching_is_the_cheapest() -> None:
    """Against all ways to match four vehicles with four tokens, with the whole published cost."""
    generator = torch.Generator().manual_seed(1)
    boxes, truth = (torch.randn(n, 5, generator=generator) * 5 for n in (4, 4))
    logits = torch.randn(1, 4, generator=generator) * 3
    way, least = None, float("inf")
    for order in permutations(range(4)):
        chosen = list(order)
        exists = F.binary_cross_entropy_with_logits(logits[0, chosen], torch.ones(4), reduction="sum")
        cost = 10 * exists + (boxes[chosen, :2] - truth[:, :2]).abs().sum()
        if float(cost) < least:
            way, least = chosen, float(cost)
    wanted = (boxes[way] - truth).abs().sum() / 4
    error = agent_losses(boxes[None], logits, truth, torch.tensor([0, 4]), 10.0, 1.0)[1]
    assert float(error) == pytest.approx(float(wanted), rel=1e-5)
