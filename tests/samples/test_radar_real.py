"""The one real radar frame (View-of-Delft): which way its speeds count, and from file to pillar features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from data_tools.view_of_delft import Options, convert_log, list_logs
from drive.features.point_encoder import PointEncoderConfig
from drive.logs.store import Log
from drive.samples.batch import collate
from drive.samples.classes import VOD_CLASSES
from drive.samples.frame_dataset import FrameDataset
from drive.samples.inside import points_in_boxes
from drive.samples.radar import RadarConfig, radar_points
from drive.voxels.grid import GridSpec
from drive.voxels.voxelize import voxelize_points

RANGE = (0.0, -25.6, -3.0, 51.2, 25.6, 2.0)  # the range that View-of-Delft's baselines look at


@pytest.fixture(scope="module")
def delft(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw, out = real_data / "view_of_delft/example_set", tmp_path_factory.mktemp("delft")
    options = Options()
    (spec,) = list_logs(raw, options)
    convert_log(raw, spec, out, options)
    return out / spec.name


def test_compensation_takes_the_egos_own_motion_off(delft: Path) -> None:
    """What the data set took off is the ego's velocity against the ray, for every return alike: so a positive speed
    leads away from the radar, and what stands still is left with none."""
    log = Log.open(delft)
    returns = log.points("radar", 0).astype(np.float64)
    ray = returns[:, :3] / np.linalg.norm(returns[:, :3], axis=1, keepdims=True)
    taken_off = returns[:, 4] - returns[:, 5]
    ego, *_ = np.linalg.lstsq(-ray, taken_off, rcond=None)
    np.testing.assert_allclose(-ray @ ego, taken_off, atol=1e-4)
    assert ego[0] > 1.5  # it drives forward
    assert np.abs(ego[1:]).max() < 0.05
    points = radar_points(log, log.frame(0), RadarConfig())
    assert points.shape == (322, 10)
    speed = np.linalg.norm(points[:, 6:8], axis=1)
    assert (speed < 0.3).mean() > 0.75  # most of a street stands still
    assert not points[:, 5].any()


def test_what_moves_in_the_picture(delft: Path) -> None:
    """Two cyclists ride away, one comes nearer: the direction that their boxes point to is that of their returns."""
    log = Log.open(delft)
    points, labels = radar_points(log, log.frame(0), RadarConfig()), log.boxes(0)
    owner, _ = points_in_boxes(points, labels.boxes, margin_m=0.3)
    for k in [k for k, name in enumerate(labels.category) if name == "Cyclist"]:
        box, own = labels.boxes[k], points[owner == k]
        heading = np.array([np.cos(box[6]), np.sin(box[6])])
        median = np.median(own[:, 6:8], axis=0)
        assert len(own) >= 3
        assert median @ heading > 0
        assert np.linalg.norm(median) > 0.2
        assert np.sign(median @ box[:2]) == np.sign(heading @ box[:2])


def test_from_file_to_pillars(delft: Path) -> None:
    dataset = FrameDataset([delft], VOD_CLASSES, range_m=RANGE, radars=RadarConfig())
    batch = collate([dataset[0]])
    radar = batch.points[:, 9] == 1
    assert 200 < int(radar.sum()) <= 322
    grid = GridSpec(RANGE, (0.32, 0.32, RANGE[5] - RANGE[2]))
    voxels = voxelize_points(batch.points, batch.point_batch, grid, 1)
    torch.manual_seed(0)
    encoder = PointEncoderConfig(radar=True, scale_xy=51.2).build(32).eval()
    with torch.inference_mode():
        pillars = encoder(voxels)
    assert pillars.shape == (len(voxels.coords), 32)
    assert bool(pillars.isfinite().all())
    by_radar = voxels.voxel_of_point[radar[voxels.order]].unique()
    assert 50 < len(by_radar) < int(radar.sum())
