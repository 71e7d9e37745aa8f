"""Samples of a converted data set against the devkit's reading of the raw one: the same points in the same order."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from data_tools.convert import Choice, convert
from drive.geometry.rigid import invert
from drive.samples.classes import NUSCENES_CLASSES
from drive.samples.frame_dataset import FrameDataset

SWEEPS = 10


@pytest.mark.parametrize("points", ["raw", "lz4"])
def test_ten_sweeps_of_the_town(tiny_town: Path, tmp_path: Path, points: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the devkit's own imports
        nuscenes = pytest.importorskip("nuscenes.nuscenes")
        from nuscenes.utils.data_classes import LidarPointCloud
    choice = Choice(sensors=("LIDAR_TOP",), points=points)  # type: ignore[arg-type]
    (name,) = convert("nuscenes", tiny_town, tmp_path, choice=choice, logs=("*1",)).converted[:1]
    (version,) = (path.name for path in tiny_town.glob("v1.0-*"))
    tables = nuscenes.NuScenes(version=version, dataroot=str(tiny_town), verbose=False)
    dataset = FrameDataset([tmp_path / name], NUSCENES_CLASSES, sweeps=SWEEPS)
    sensor_from_ego = invert(dataset.logs[0].sensors["LIDAR_TOP"].ego_from_sensor)
    for index in range(0, len(dataset), 2):
        ours, _ = dataset.recorded(index)
        sample = tables.get("sample", ours.frame_id.rpartition("/")[2])
        cloud, lag = LidarPointCloud.from_file_multisweep(tables, sample, "LIDAR_TOP", "LIDAR_TOP", nsweeps=SWEEPS)
        assert len(ours.points) == cloud.points.shape[1]
        # The devkit goes on into the sensor and stores float32 after each of its five steps: the town is 1 km away
        # from its origin, where a float32 is 6e-5 m.
        at_sensor = ours.points[:, :3].astype(np.float64) @ sensor_from_ego[:3, :3].T + sensor_from_ego[:3, 3]
        np.testing.assert_allclose(at_sensor, cloud.points[:3].T, atol=2e-4)
        np.testing.assert_allclose(ours.points[:, 3], cloud.points[3] / 255, atol=1e-7)
        np.testing.assert_allclose(ours.points[:, 5], lag[0], atol=1e-6)


def test_cropped_in_the_same_pass(tiny_town: Path, tmp_path: Path) -> None:
    """What is cut while sweeps are merged is what is cut afterwards, to the bit; inf and NaN are left for validate."""
    from drive.samples.sweeps import RawSweep, crop_points, merge_sweeps

    convert("nuscenes", tiny_town, tmp_path, choice=Choice(sensors=("LIDAR_TOP",)), logs=("*1",))
    dataset = FrameDataset([next(tmp_path.glob("scene*"))], NUSCENES_CLASSES, sweeps=3)
    for range_m in ((-20.0, -30.0, -1.0, 25.0, 30.0, 2.0), (0.0, 0, 0, 0, 0, 0)):
        whole, _ = dataset.recorded(1)
        part, _ = dataset.recorded(1, range_m)
        np.testing.assert_array_equal(part.points, crop_points(whole.points, range_m))
    odd = np.array([[np.inf, 0, 0], [0, np.nan, 0], [5, 5, 5]], np.float32)
    sweep = RawSweep(odd, -1, -1, 1.0, np.eye(4), 0.0)
    with np.errstate(invalid="ignore"):
        assert len(merge_sweeps([sweep])) == 3
