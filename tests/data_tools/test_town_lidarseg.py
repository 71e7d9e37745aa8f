"""A town with labels of points: the devkit opens it, the converter reads it, counts agree with the annotations."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

import data_tools.nuscenes as converter
from data_tools.town.lidarseg import add_point_labels, main
from drive.errors import UserError
from drive.logs.store import Log

VERSION = "v1.0-town"


@pytest.fixture(scope="module")
def labelled(tiny_town: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labelled") / "town"
    shutil.copytree(tiny_town, folder)
    assert add_point_labels(folder) > 3
    return folder


def test_labels_agree_with_the_annotations(labelled: Path, tmp_path: Path) -> None:
    names = {r["index"]: r["name"] for r in json.loads((labelled / VERSION / "category.json").read_text())}
    spec = converter.list_logs(labelled, converter.Options())[0]
    converter.convert_log(labelled, spec, tmp_path, converter.Options(sensors=("LIDAR_TOP",)))
    log = Log.open(tmp_path / spec.name)
    assert {row["index"]: row["name"] for row in log.table("point_classes").to_pylist()} == names
    rows = {row["row"]: row for row in log.table("point_labels").to_pylist()}
    assert len(rows) == log.num_frames
    for index in range(log.num_frames):
        boxes, row = log.boxes(index), rows[log.frame(index).rows["LIDAR_TOP"]]
        semantic, instance = np.array(row["semantic"]), np.array(row["instance"])
        assert len(semantic) == len(log.sweep("LIDAR_TOP", row["row"]).points)
        # Faces count on both sides; boxes of the town do not overlap but for a few points.
        assert abs(int((instance > 0).sum()) - int(boxes.num_lidar_points.sum())) <= 3
        assert {names[i] for i in set(semantic[instance > 0].tolist())} <= set(boxes.category)
        assert {names[i] for i in set(semantic[instance == 0].tolist())} <= {"flat.driveable_surface", "static.manmade"}


@pytest.mark.filterwarnings("ignore")
def test_the_devkit_opens_it(labelled: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("nuscenes.nuscenes", reason="nuscenes-devkit is not installed")
        from nuscenes.nuscenes import NuScenes
        from nuscenes.utils.data_io import load_bin_file, panoptic_to_lidarseg

        opened = NuScenes(VERSION, str(labelled), verbose=False)
        for sample in opened.sample[:3]:
            token = sample["data"]["LIDAR_TOP"]
            files = [
                str(labelled / opened.get(name, by_sweep(getattr(opened, name), token))["filename"])
                for name in ("lidarseg", "panoptic")
            ]
            lidarseg, panoptic = load_bin_file(files[0]), load_bin_file(files[1], "panoptic")
            np.testing.assert_array_equal(panoptic_to_lidarseg(panoptic), lidarseg)
            assert set(lidarseg.tolist()) <= set(opened.lidarseg_idx2name_mapping)


def by_sweep(records: list[dict[str, str]], token: str) -> str:
    return next(record["token"] for record in records if record["sample_data_token"] == token)


def test_refusals(labelled: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is there already"):
        add_point_labels(labelled)
    with pytest.raises(UserError, match="holds 0 versions"):
        add_point_labels(tmp_path)
    assert main([str(tmp_path)]) == main([]) == 2
