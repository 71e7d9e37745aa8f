"""The image tower: sizes, normalisation, freezing, refusals, and a forward pass of every family of backbones."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from drive.errors import UserError
from drive.features.image_timm import synchronised_batch_norms
from drive.features.images import ImageNet, ImageNetConfig, without_weights

# The smallest of each family, by measured time; the whole table of ids is benchmarks/backbones.py.
FAMILIES = {
    "ResNet": "resnet34",
    "ResNet-RS": "resnetrs50",
    "ResNeSt": "resnest14d",
    "Res2Net": "res2net50_14w_8s",
    "ECA-ResNet": "ecaresnet26t",
    "Wide ResNet": "wide_resnet50_2",
    "ResNeXt": "resnext50_32x4d",
    "DPN": "dpn48b",
    "VoVNet": "ese_vovnet19b_slim",
    "EfficientNet": "efficientnet_lite0",
    "EfficientNetV2": "tf_efficientnetv2_b0",
    "MobileNetV3": "mobilenetv3_small_050",
    "MixNet": "mixnet_s",
    "MnasNet": "mnasnet_small",
    "CoAtNet": "coatnet_nano_rw_224",
    "MaxViT": "maxvit_nano_rw_256",
    "PVT v2": "pvt_v2_b0",
    "Swin": "swin_tiny_patch4_window7_224",
    "Inception": "inception_v3",
}
SIZE = (64, 96)


def pixels(n: int = 2, size: tuple[int, int] = SIZE, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (n, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def shapes(maps: tuple[Tensor, ...]) -> list[tuple[int, ...]]:
    assert all(m.is_contiguous(memory_format=torch.channels_last) for m in maps)
    return [tuple(m.shape) for m in maps]


@pytest.mark.parametrize("neck", ["fpn", "bifpn"])
def test_plain_maps_of_every_stride(neck: Any) -> None:
    net = ImageNetConfig("plain", neck=neck, channels=12, out_strides=(2, 4, 8, 64)).build()
    size = 65, 99
    assert net.strides == (2, 4, 8, 64)
    assert net.channels == 12
    expected = [(2, 12, -(-size[0] // s), -(-size[1] // s)) for s in net.strides]
    maps = net(pixels(size=size))
    assert shapes(maps) == expected
    torch.stack([(m * torch.randn_like(m)).sum() for m in maps]).sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []
    assert shapes(net(pixels(0, size))) == [(0, *e[1:]) for e in expected]


def test_pixels_are_normalised_by_the_backbones_own_numbers() -> None:
    net = ImageNetConfig("plain", channels=4).build().eval()
    seen: list[Tensor] = []
    net.backbone.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    image = pixels(1)
    kept = image.clone()
    net(image)
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (net.backbone.mean, net.backbone.std))
    torch.testing.assert_close(seen[0], (image / 255 - mean) / std)
    assert torch.equal(image, kept)
    assert set(net.state_dict()) == {name for name in net.state_dict() if name.startswith(("backbone.", "neck."))}


def test_an_image_does_not_depend_on_its_neighbours_in_the_batch() -> None:
    net = ImageNetConfig("plain", channels=4).build().eval()
    both = net(pixels(3))[0]
    for i in range(3):
        torch.testing.assert_close(net(pixels(3)[i : i + 1])[0], both[i : i + 1], atol=1e-5, rtol=1e-5)


def test_every_family_gives_maps() -> None:
    failed = {}
    for family, name in FAMILIES.items():
        size = (96, 128) if family == "Inception" else SIZE  # it takes no smaller one
        try:
            net = ImageNetConfig(name, channels=8, image_size=size).build().eval()
            with torch.no_grad():
                found = shapes(net(pixels(1, size)))
        except Exception as error:
            failed[family] = repr(error)
            continue
        if found != [(1, 8, size[0] // 8, size[1] // 8)] or net.backbone.strides != (8, 16, 32):
            failed[family] = f"{found} from strides {net.backbone.strides}"
    assert failed == {}


def test_channels_last_models_and_sizes_that_do_not_divide() -> None:
    config = ImageNetConfig("swin_s3_tiny_224", image_size=(60, 90), channels=8, out_strides=(4, 32))
    net = config.build().eval()
    assert net.backbone.padded == (64, 96)
    assert shapes(net(pixels(1, (60, 90)))) == [(1, 8, 15, 23), (1, 8, 2, 3)]
    with pytest.raises(ValueError, match="64 x 96"):
        net(pixels(1))
    with pytest.raises(UserError, match="built for one image size.*image_size"):
        dataclasses.replace(config, image_size=None).build()


def test_stages_behind_the_last_level_are_not_built() -> None:
    whole = ImageNetConfig("resnet10t", channels=8).build()
    short = ImageNetConfig("resnet10t", channels=8, in_strides=(8, 16)).build()
    assert short.backbone.strides == (8, 16)
    assert any("layer4" in name for name, _ in whole.named_parameters())
    assert not any("layer4" in name for name, _ in short.named_parameters())


def test_frozen_parts_do_not_change() -> None:
    net = ImageNetConfig("mobilenetv3_small_050", channels=8, frozen_stride=4, frozen_norm=True).build().train()
    before = copy.deepcopy(net.state_dict())
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.1)
    net(pixels())[0].square().mean().backward()
    optimizer.step()
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    first = {name for name in before if name.startswith(("backbone.model.conv_stem", "backbone.model.blocks.0."))}
    norms = {name for name in before if "running" in name and name.startswith("backbone.")}
    assert first
    assert norms
    assert not changed & (first | norms)
    assert any(name.startswith("backbone.model.blocks.1.") for name in changed)
    assert any("neck" in name and "running" in name for name in changed)
    net.eval().train()
    assert not net.backbone.model.bn1.training
    assert net.neck.training


def test_synchronised_norms_compute_the_same() -> None:
    """timm's norms may hold the activation; frozen ones stay frozen."""
    net = ImageNetConfig("mobilenetv3_small_050", channels=8, frozen_norm=True).build().eval()
    with torch.no_grad():
        before = net(pixels())[0]
        shared = synchronised_batch_norms(copy.deepcopy(net))
        torch.testing.assert_close(shared(pixels())[0], before)
    shared.train()
    norms = {name: m for name, m in shared.named_modules() if isinstance(m, torch.nn.SyncBatchNorm)}
    assert {name.partition(".")[0] for name, m in norms.items() if m.training} == {"neck"}
    assert {name.partition(".")[0] for name, m in norms.items() if not m.training} == {"backbone"}


def test_frozen_stages_of_the_plain_net() -> None:
    net = ImageNetConfig("plain", channels=8, frozen_stride=4).build()
    frozen = {name.split(".")[2] for name, p in net.named_parameters() if not p.requires_grad}
    assert frozen == {"0", "1"}
    with pytest.raises(UserError, match="frozen_stride"):
        ImageNetConfig("plain", frozen_stride=32).build()


def test_local_weights(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model("resnet10t")
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, path)
    config = ImageNetConfig("resnet10t", checkpoint=str(path), channels=8)
    state = torch.get_rng_state()
    net = config.build()
    assert torch.equal(net.backbone.model.layer2[0].conv1.weight, model.layer2[0].conv1.weight)
    assert not torch.equal(state, torch.get_rng_state())  # the neck drew; the same weights with the same seed
    torch.save({k: v for k, v in model.state_dict().items() if "layer3" not in k}, path)
    with pytest.raises(UserError, match=r"does not hold .* tensors of resnet10t \(layer3"):
        config.build()
    torch.save(timm.create_model("resnet14t").state_dict() | {"layer1.0.conv1.weight": torch.zeros(3)}, path)
    with pytest.raises(UserError, match="does not fit resnet10t"):
        config.build()
    path.write_bytes(b"no weights")
    with pytest.raises(UserError, match="cannot be read"):
        config.build()
    path.unlink()
    with pytest.raises(UserError, match="no such file"):
        config.build()
    assert without_weights(3) == 3
    assert without_weights(config).checkpoint == ""


def test_composed_backbones() -> None:
    config = ImageNetConfig("resnet10t", composed=True, channels=8, out_strides=(8, 32), frozen_stride=2)
    net = config.build()
    assert net.backbone.strides == (8, 16, 32)
    maps = net(pixels(size=(62, 95)))
    assert shapes(maps) == [(2, 8, 8, 12), (2, 8, 2, 3)]
    torch.stack([(m * torch.randn_like(m)).sum() for m in maps]).sum().backward()
    trained = {name: p for name, p in net.named_parameters() if p.requires_grad}
    assert [name for name, p in trained.items() if p.grad is None] == []
    assert any(name.startswith("backbone.assistant.model.layer1") for name in trained)
    assert not any(".model.conv1" in name for name in trained)
    # Without its links, the lead is as it is alone.
    x = torch.randn(1, 3, 64, 96)
    net.eval()
    for link in net.backbone.links:
        link[1].weight.data.zero_()
    torch.testing.assert_close(net.backbone(x), net.backbone.lead(x)[2:])
    for words in ({"backbone": "swin_s3_tiny_224", "image_size": SIZE}, {"backbone": "plain"}):
        with pytest.raises(UserError, match="compose"):
            dataclasses.replace(config, **words).build()


def test_published_weights_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("timm")
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="resnet10t: its pretrained weights could not be had.*pretrained=False"):
        ImageNetConfig("resnet10t", pretrained=True).build()


@dataclasses.dataclass(frozen=True)
class Outer:
    images: ImageNetConfig
    size: int = 3


def test_saved_models_fetch_no_weights() -> None:
    outer = Outer(ImageNetConfig(pretrained=True))
    assert without_weights(outer) == Outer(ImageNetConfig())
    plain = Outer(ImageNetConfig())
    assert without_weights(plain) is plain


REFUSED = [
    ({"backbone": "resnet43"}, "no model of this name; did you mean .*resnet"),
    ({"backbone": "resnet10t", "out_strides": (1, 2)}, "finest joined level has stride 2, not 1"),
    ({"backbone": "resnet10t", "in_strides": (8, 64)}, "has no level of stride 64, only 2, 4, 8, 16, 32"),
    ({"backbone": "resnet10t", "in_strides": (8, 32)}, "do not double"),
    ({"backbone": "resnet10t", "in_strides": (4, 8)}, "joins nothing to stride 4"),
    ({"backbone": "resnet10t", "neck": "concat", "out_strides": (32,)}, "neck concat"),
    ({"backbone": "plain", "in_strides": (16,)}, "no level of stride 16"),
    ({"backbone": "plain", "pretrained": True}, "no published weights"),
    ({"out_strides": ()}, "no map"),
    ({"out_strides": (16, 8)}, "from fine to coarse"),
    ({"out_strides": (12,)}, "powers of two"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_refusals(words: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ImageNetConfig(**words).build()


def test_copies_keep_what_is_frozen() -> None:
    net: ImageNet = copy.deepcopy(ImageNetConfig("plain", channels=8, frozen_norm=True).build())
    net.train()
    assert all(not m.training for m in net.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d))
