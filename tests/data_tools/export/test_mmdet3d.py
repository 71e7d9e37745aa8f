"""Infos of mmdet3d: equal to its own of the real key frame, and nothing in the pickle but builtins."""

from __future__ import annotations

import pickletools
from pathlib import Path

import numpy as np
import pytest

import data_tools.nuscenes as converter
from data_tools.export import export_mmdet3d
from data_tools.unpickle import load_pickle
from drive.errors import UserError
from tests.data_tools.export.test_nuscenes import foreign_log
from tests.data_tools.nuscenes.conftest import build

SOURCE = "n015-2018-07-24-11-22-45+0800.pkl"


def test_the_real_key_frame(real_data: Path, tmp_path: Path) -> None:
    raw = real_data / "nuscenes"
    options = converter.Options()
    for spec in converter.list_logs(raw, options):
        converter.convert_log(raw, spec, tmp_path / "logs", options)
    path = tmp_path / "infos.pkl"
    assert export_mmdet3d(sorted((tmp_path / "logs").iterdir()), path, "v1.0-mini") == 1
    ours, theirs = load_pickle(path), load_pickle(raw / "mmdet3d_infos" / SOURCE)
    assert ours["metainfo"]["categories"] == theirs["metainfo"]["categories"]
    ours, theirs = ours["data_list"][0], theirs["data_list"][0]
    assert ours["token"] == theirs["token"]
    assert ours["timestamp"] == theirs["timestamp"]
    np.testing.assert_allclose(ours["ego2global"], theirs["ego2global"], atol=2e-5)  # theirs went through float32
    assert ours["lidar_points"]["lidar_path"] == theirs["lidar_points"]["lidar_path"]
    np.testing.assert_allclose(ours["lidar_points"]["lidar2ego"], theirs["lidar_points"]["lidar2ego"], atol=1e-6)
    assert set(ours["images"]) == set(theirs["images"])
    for name, image in theirs["images"].items():
        found = ours["images"][name]
        assert set(found) == set(image)
        assert found["img_path"] == image["img_path"]
        assert found["sample_data_token"] == image["sample_data_token"]
        assert found["timestamp"] == image["timestamp"]
        np.testing.assert_allclose(found["cam2img"], image["cam2img"])
        np.testing.assert_allclose(found["cam2ego"], image["cam2ego"], atol=1e-6)
        np.testing.assert_allclose(found["lidar2cam"], image["lidar2cam"], atol=1e-4)
    mine = np.array([box["bbox_3d"] for box in ours["instances"]])
    for box in theirs["instances"]:
        nearest = int(np.linalg.norm(mine[:, :3] - box["bbox_3d"][:3], axis=1).argmin())
        found = ours["instances"][nearest]
        assert set(found) == set(box)
        np.testing.assert_allclose(mine[nearest, :6], box["bbox_3d"][:6], atol=1e-4)
        turn = (mine[nearest, 6] - box["bbox_3d"][6] + np.pi) % (2 * np.pi) - np.pi
        assert abs(turn) < 1e-3
        assert found["bbox_label_3d"] == box["bbox_label_3d"]
        assert found["num_lidar_pts"] == box["num_lidar_pts"]
        assert found["bbox_3d_isvalid"] == bool(box["bbox_3d_isvalid"])
    assert len(ours["instances"]) == len(theirs["instances"])


def test_sweeps_point_back(tmp_path: Path) -> None:
    raw = build(tmp_path / "raw")
    options = converter.Options()
    for spec in converter.list_logs(raw.root, options)[:1]:
        converter.convert_log(raw.root, spec, tmp_path / "logs", options)
    path = tmp_path / "infos.pkl"
    assert export_mmdet3d(sorted((tmp_path / "logs").iterdir()), path) == 3
    infos = load_pickle(path)["data_list"]
    assert [len(info["lidar_sweeps"]) for info in infos] == [0, 5, 10]
    last = infos[2]
    times = [sweep["timestamp"] for sweep in last["lidar_sweeps"]]
    assert times == sorted(times, reverse=True)
    assert times[0] < last["timestamp"]
    for sweep in last["lidar_sweeps"]:
        sensor_from_key = np.array(sweep["lidar_points"]["lidar2sensor"])
        ego = np.array(sweep["lidar_points"]["lidar2ego"])
        expected = np.array(last["ego2global"]) @ np.array(last["lidar_points"]["lidar2ego"])
        np.testing.assert_allclose(np.array(sweep["ego2global"]) @ ego @ sensor_from_key, expected, atol=1e-9)


def test_only_builtins_in_the_pickle(tmp_path: Path) -> None:
    path = tmp_path / "infos.pkl"
    export_mmdet3d([foreign_log(tmp_path)], path)
    codes = {code.name for code, _, _ in pickletools.genops(path.read_bytes())}
    assert not codes & {"GLOBAL", "STACK_GLOBAL", "REDUCE", "INST", "OBJ", "NEWOBJ", "BUILD"}
    info = load_pickle(path)["data_list"][0]
    assert info["instances"][0]["bbox_3d"] == pytest.approx([4.0, 0.0, -1.0, 4.0, 2.0, 1.5, 0.0])
    assert info["instances"][0]["bbox_label"] == -1
    assert info["instances"][0]["velocity"] == pytest.approx([1.0, 0.0])


def test_no_logs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no logs"):
        export_mmdet3d([], tmp_path / "infos.pkl")
