"""SWFormer with cameras as a whole: the lidar's part is untouched, the images count, what is missing is survived."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from drive.boxes.detector import SWFormerConfig, SWFormerDetector
from drive.detect import TrainedDetector
from drive.errors import UserError
from drive.experiment import Experiment
from drive.features.fusion import DeepFusionConfig
from drive.features.images import ImageNetConfig
from drive.recipes import load_recipe
from drive.samples.batch import collate
from drive.samples.config import DataConfig
from drive.samples.images import CameraImages
from drive.samples.sample import FrameSample
from drive.sensor_run import NetworkDetector
from drive.train.setup import training_set
from tests.boxes.conftest import small_swformer

FUSION = DeepFusionConfig(ImageNetConfig(backbone="plain", channels=8, out_strides=(8,)), channels=8)


@pytest.fixture
def fused() -> SWFormerConfig:
    return small_swformer(fusion=FUSION)


def seen(sample: FrameSample, seed: int = 0, present: bool = True) -> FrameSample:
    """The frame with one camera that looks ahead."""
    pixels = np.random.default_rng(seed).integers(0, 255, (1, 32, 48, 3), np.uint8)
    images = CameraImages(
        names=("AHEAD",),
        pixels=pixels if present else 0 * pixels,
        present=np.array([present]),
        camera_from_ego=np.array([[[0, -1.0, 0, 0], [0, 0, -1, 1.5], [1, 0, 0, 0], [0, 0, 0, 1]]]),
        intrinsics=np.array([[[24.0, 0, 23.5], [0, 24, 15.5], [0, 0, 1]]]),
        distortion=np.zeros((1, 5)),
        pixels_from_recorded=np.eye(3)[None],
    )
    return replace(sample, images=images, recorded_xyz=sample.points[:, :3].copy())


def test_a_seed_gives_the_lidars_part_the_same_weights(fused: SWFormerConfig) -> None:
    torch.manual_seed(3)
    alone = replace(fused, fusion=None).build().state_dict()
    torch.manual_seed(3)
    both = fused.build().state_dict()
    assert {name for name in both if not name.startswith("fusion.")} == set(alone)
    assert all(torch.equal(both[name], tensor) for name, tensor in alone.items())


def test_images_change_what_is_seen_ahead(fused: SWFormerConfig, make: Callable[..., FrameSample]) -> None:
    torch.manual_seed(0)
    model = fused.build().eval()
    with torch.no_grad():
        one, other, none = (model(collate([seen(make(1), s, s < 2)])) for s in (0, 1, 2))
        bare = model(collate([make(1)]))
    assert one.foreground_logits is not None
    assert none.foreground_logits is not None
    assert bare.foreground_logits is not None
    assert other.foreground_logits is not None
    assert not torch.equal(one.foreground_logits, other.foreground_logits)
    assert not torch.equal(one.foreground_logits, none.foreground_logits)
    assert torch.equal(none.foreground_logits, bare.foreground_logits)  # a missing camera, and no camera at all


@pytest.mark.parametrize("training", [False, True])
def test_frames_without_points_boxes_or_images(
    fused: SWFormerConfig, empty: Callable[[int], FrameSample], training: bool
) -> None:
    model = fused.build().train(training)
    for samples in ([seen(empty(0))], [seen(empty(1)), empty(0)], [empty(1)], [seen(empty(1), present=False)]):
        batch = collate(samples)
        output = model(batch)
        assert all(bool(v.isfinite()) for v in model.losses(output, batch).values())
        assert len(model.decode(output)) == len(samples)


def test_gradients_reach_every_parameter_in_bfloat16(fused: SWFormerConfig, make: Callable[..., FrameSample]) -> None:
    model: SWFormerDetector = fused.build().train()
    batch = collate([seen(make(1)), seen(make(2), 1)])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model.losses(model(batch), batch)["loss"]
    loss.backward()
    assert model.fusion is not None
    for name, parameter in model.fusion.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert bool(parameter.grad.any()) or name.endswith("bias"), name


def test_data_without_images_is_refused_in_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe: Experiment = load_recipe("configs.town_deepfusion")
    assert isinstance(recipe.data, DataConfig)
    data = replace(recipe.data, images=None, val_logs=())
    monkeypatch.setattr("drive.train.setup.find_logs", lambda *_: [])
    with pytest.raises(UserError, match=r"data\.images"):
        training_set(replace(recipe, data=data), tmp_path, None)  # type: ignore[arg-type]


def test_the_sensor_loop_refuses_what_looks_at_images() -> None:
    recipe: Experiment = load_recipe("configs.town_deepfusion")
    trained = TrainedDetector(recipe, torch.nn.Identity(), torch.device("cpu"))
    with pytest.raises(UserError, match="looks at images"):
        NetworkDetector(trained, "runs/fused")
