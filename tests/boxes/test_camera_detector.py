"""Detectors with a lift, cameras alone and joined with lidar: gradients, missing cameras, lidar alone, learning."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from drive.boxes.camera_detector import CameraConfig
from drive.boxes.detections import Detections
from drive.boxes.detector import PillarsConfig
from drive.boxes.groups import TOWN_GROUPS
from drive.boxes.voxel_detector import VoxelConfig
from drive.detect import TrainedDetector, sensors_used
from drive.errors import UserError
from drive.experiment import Experiment
from drive.features.images import ImageNetConfig
from drive.features.lift import LiftConfig
from drive.features.lift_depth import DepthBins
from drive.features.pillars import DenseConfig
from drive.features.point_encoder import PointEncoderConfig
from drive.features.voxel_resnet import VoxelResNetConfig
from drive.samples.batch import FrameBatch, collate
from drive.samples.classes import TOWN_CLASSES
from drive.samples.config import DataConfig
from drive.samples.images import CameraImages, ImageConfig
from drive.samples.sample import FrameSample
from drive.voxels.grid import GridSpec
from drive.voxels.scatter import scatter_bev
from drive.voxels.voxelize import voxelize_points

HIGH, WIDE, FOCAL = 64, 128, 64.0
YAWS = 0.0, 1.57, 3.14, -1.57
LIFT = LiftConfig(
    ImageNetConfig("plain", channels=16, out_strides=(8,)),
    GridSpec((-24.0, -24.0, -5.0, 24.0, 24.0, 5.0), (1.0, 1.0, 10.0)),
    DepthBins(1.0, 25.0, 1.0),
    channels=16,
    down=1,
)
CAMERA = CameraConfig(TOWN_CLASSES.names, TOWN_GROUPS, LIFT, DenseConfig((1, 1), (1, 2), (32, 48), 32, 1))
FUSED = PillarsConfig(
    classes=TOWN_CLASSES.names,
    groups=TOWN_GROUPS,
    grid=GridSpec((-24.0, -24.0, -2.0, 24.0, 24.0, 4.0), (0.5, 0.5, 6.0)),
    encoder=PointEncoderConfig(hidden=32, scale_xy=24.0),
    channels=32,
    dense=DenseConfig((1, 1, 1), (2, 2, 2), (32, 48, 64), 32, 2),
    lift=dataclasses.replace(LIFT, lidar_depth=True, depth_loss=0.5),
)
VOXELS = VoxelConfig(
    classes=TOWN_CLASSES.names,
    groups=TOWN_GROUPS,
    grid=GridSpec((-24.0, -24.0, -2.0, 24.0, 24.0, 4.0), (0.125, 0.125, 0.2)),
    encoder=VoxelResNetConfig((8, 8, 16, 16), blocks=1, out_channels=16),
    dense=DenseConfig((1, 1), (1, 2), (32, 32), 32),
    scale_xy=24.0,
    lift=LIFT,
)


def looks(sample: FrameSample, present: bool = True) -> FrameSample:
    """The frame with four cameras; each box is a disc in a colour of its class, as wide as its distance makes it."""
    n = len(YAWS)
    pixels = np.full((n, HIGH, WIDE, 3), 90, np.uint8)
    poses = np.tile(np.eye(4), (n, 1, 1))
    inner = np.array([[FOCAL, 0, WIDE / 2], [0, FOCAL, HIGH / 3], [0, 0, 1.0]])
    rows, columns = np.mgrid[:HIGH, :WIDE]
    order = np.argsort(-np.hypot(sample.boxes[:, 0], sample.boxes[:, 1]))
    for camera, yaw in enumerate(YAWS):
        c, s = np.cos(yaw), np.sin(yaw)
        poses[camera, :3, :3] = [[s, -c, 0], [0, 0, -1], [c, s, 0]]
        poses[camera, :3, 3] = poses[camera, :3, :3] @ [0, 0, -1.6]
        for box, label in zip(sample.boxes[order], sample.labels[order], strict=True):
            optical = poses[camera, :3, :3] @ box[:3] + poses[camera, :3, 3]
            if optical[2] > 1:
                u, v, _ = inner @ optical / optical[2]
                radius = FOCAL * box[5] / 2 / optical[2]
                disc = (columns - u) ** 2 + (rows - v) ** 2 < radius**2
                pixels[camera][disc] = [40 * label, 255 - 40 * label, 128 * (label % 2)]
    images = CameraImages(
        names=tuple(f"cam{i}" for i in range(n)),
        pixels=pixels if present else np.zeros_like(pixels),
        present=np.full(n, present),
        camera_from_ego=poses,
        intrinsics=np.tile(inner, (n, 1, 1)),
        distortion=np.zeros((n, 5)),
        pixels_from_recorded=np.tile(np.eye(3), (n, 1, 1)),
    )
    return dataclasses.replace(sample, images=images, recorded_xyz=sample.points[:, :3].copy())


@pytest.fixture(params=[CAMERA, FUSED, VOXELS], ids=["camera", "pillars", "voxels"])
def model(request: pytest.FixtureRequest) -> torch.nn.Module:
    torch.manual_seed(0)
    return request.param.build()


def test_gradients_and_losses(model: torch.nn.Module, make: Callable[..., FrameSample]) -> None:
    batch = collate([looks(make(1)), make(2)])  # the second frame has no camera
    model.train()
    losses = model.losses(model(batch), batch)
    assert ("depth" in losses) == (model.config.lift.depth_loss > 0)
    parts = torch.stack([v for k, v in losses.items() if k != "loss"])
    torch.testing.assert_close(losses["loss"].detach(), parts.sum())
    losses["loss"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().sum()) > 0, name


@pytest.mark.parametrize("train", [False, True])
def test_frames_without_cameras_without_points_and_without_both(
    model: torch.nn.Module, make: Callable[..., FrameSample], empty: Callable[[int], FrameSample], train: bool
) -> None:
    model.train(train)
    for samples in ([make(1)], [looks(make(1), present=False)], [looks(empty(0))], [empty(0), empty(1)]):
        batch = collate(samples)
        output = model(batch)
        assert all(bool(v.isfinite()) for v in model.losses(output, batch).values())
        found = model.decode(output)
        assert len(found) == len(samples)
        assert all(bool(f.boxes.isfinite().all()) for f in found)


@torch.no_grad()
def test_images_change_the_answer_and_missing_ones_do_not(
    model: torch.nn.Module, make: Callable[..., FrameSample]
) -> None:
    model.eval()

    def heat(sample: FrameSample) -> Tensor:
        return torch.cat([group.heat_logits.flatten() for group in model(collate([sample])).groups])

    without = heat(make(1))
    torch.testing.assert_close(heat(looks(make(1), present=False)), without)
    assert not torch.allclose(heat(looks(make(1))), without)


@torch.no_grad()
def test_lidar_alone_is_what_it_was(frames: Callable[..., FrameBatch]) -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(FUSED, lift=None)
    model, batch = config.build().eval(), frames(1, 2)
    assert not any(name.startswith(("lift", "fusion")) for name in model.state_dict())
    voxels = voxelize_points(batch.points, batch.point_batch, config.grid, 2)
    bev = scatter_bev(model.encoder(voxels), voxels.coords, config.grid, 2)
    expected = model.answer(model.backbone(bev), 2)
    for ours, theirs in zip(model(batch).groups, expected.groups, strict=True):
        assert torch.equal(ours.heat_logits, theirs.heat_logits)
        assert torch.equal(ours.regression, theirs.regression)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot read depth from lidar"):
        dataclasses.replace(CAMERA, lift=FUSED.lift)
    with pytest.raises(ValueError, match="does not divide by the head's stride 32"):
        dataclasses.replace(CAMERA, dense=dataclasses.replace(CAMERA.dense, out_stride=32)).build()
    with pytest.raises(ValueError, match="does not fit a lidar map"):
        dataclasses.replace(FUSED, grid=dataclasses.replace(FUSED.grid, voxel_size=(0.75, 0.75, 6.0))).build()


def test_cameras_alone_learn_two_frames_by_heart(make: Callable[..., FrameSample]) -> None:
    batch = collate([looks(make(seed, cars=3, small=1, ground=300, reach=13.0)) for seed in (1, 2)])
    torch.manual_seed(0)
    model = CAMERA.build().train()  # to the end: so few steps leave batch norm's averages behind
    optimiser = torch.optim.Adam(model.parameters(), lr=6e-3)
    losses: list[float] = []
    for step in range(40):
        for group in optimiser.param_groups:
            group["lr"] = 6e-3 * min(1.0, (step + 1) / 10) * (1.0 if step < 30 else 0.3)
        output = model(batch)
        loss = model.losses(output, batch)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]
    for frame, detections in enumerate(model.decode(output)):
        mine = batch.box_batch == frame
        for box, label in zip(batch.boxes[mine], batch.labels[mine], strict=True):
            good = (detections.labels == label) & (detections.scores > 0.3)
            distance = (detections.boxes[good, :2] - box[:2]).norm(dim=1)
            assert len(distance), int(label)
            assert float(distance.min()) < 0.5


def test_scans_are_refused_by_cameras_alone(make: Callable[..., FrameSample]) -> None:
    data = DataConfig(class_map=TOWN_CLASSES, images=ImageConfig(size=(HIGH, WIDE)))
    torch.manual_seed(0)
    sides = [Experiment("made", config, data) for config in (CAMERA, FUSED)]
    camera, fused = (TrainedDetector(e, e.model.build().eval(), torch.device("cpu")) for e in sides)
    with pytest.raises(UserError, match="sees nothing in lidar scans.*--logs"):
        camera(make(1).points)
    assert isinstance(fused(make(1).points), Detections)  # by lidar alone
    assert [(s["use_camera"], s["use_lidar"]) for s in (sensors_used(camera), sensors_used(fused))] == [
        (True, False),
        (True, True),
    ]
