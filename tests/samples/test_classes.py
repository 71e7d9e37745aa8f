"""Class maps: restricted, renamed, joined; several data sets in one training set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_tools.convert import convert
from drive.samples.classes import AV2_CLASSES, MIXED_CLASSES, NUSCENES_CLASSES, ClassMap, union
from drive.samples.frame_dataset import FrameDataset, find_logs


def test_renamed_leaves_out_what_is_not_named() -> None:
    two = NUSCENES_CLASSES.renamed(("big", "small"), {"bus": "big", "car": "small"})
    assert two.labels(["vehicle.bus.rigid", "vehicle.car", "vehicle.truck"]).tolist() == [0, 1, -1]
    with pytest.raises(ValueError, match="does not have"):
        AV2_CLASSES.renamed(("a",), {"tank": "a"})


def test_union_refuses_other_names_and_two_meanings() -> None:
    a = ClassMap(("x", "y"), {"one": "x"})
    assert union(a, ClassMap(("x", "y"), {"one": "x", "two": "y"})).labels(["two", "one"]).tolist() == [1, 0]
    with pytest.raises(ValueError, match="different classes"):
        union(a, ClassMap(("x",), {}))
    with pytest.raises(ValueError, match="'one' is 'x' in one data set"):
        union(a, ClassMap(("x", "y"), {"one": "y"}))


def test_mixed_classes_know_every_source() -> None:
    sources = [
        "vehicle.car",
        "TYPE_CYCLIST",
        "REGULAR_VEHICLE",
        "BICYCLIST",
        "Pedestrian",
        "vehicle.bicycle",
        "DontCare",
    ]
    assert MIXED_CLASSES.labels(sources).tolist() == [0, 2, 0, 2, 1, -1, -1]


def test_three_real_data_sets_in_one(real_data: Path, tmp_path: Path) -> None:
    convert("kitti", real_data / "kitti" / "object", tmp_path / "kitti")
    convert("av2", real_data / "av2" / "sensor", tmp_path / "av2")
    convert("nuscenes", real_data / "nuscenes", tmp_path / "nuscenes")
    logs = find_logs(tuple(str(tmp_path / name) for name in ("kitti", "av2", "nuscenes")))
    dataset = FrameDataset(logs, MIXED_CLASSES, range_m=(-75.0, -75.0, -3.0, 75.0, 75.0, 5.0))
    samples = [dataset[index] for index in range(len(dataset))]
    with_points = [sample for sample in samples if len(sample.points)]
    assert len(with_points) >= 11 + 2 + 1
    labels = np.concatenate([sample.labels for sample in with_points])
    assert np.bincount(labels, minlength=3).min() > 0
    assert all(sample.points[:, 3].max() <= 1.0 and sample.points[:, 3].max() > 0.3 for sample in with_points)
