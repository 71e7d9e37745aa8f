"""Labels of points, CAN bus, and the test split: what the expansions of nuScenes add, and what may be missing."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import data_tools.nuscenes as converter
from data_tools.nuscenes.can_bus import MISALIGNED, NO_DATA
from data_tools.nuscenes.point_labels import read_lidarseg, read_panoptic
from drive.errors import UserError
from drive.logs.store import Log
from tests.data_tools.fuzzing import check_reader


def convert(raw: Any, out: Path) -> dict[str, Log]:
    options = converter.Options()
    specs = converter.list_logs(raw.root, options)
    for spec in specs:
        converter.convert_log(raw.root, spec, out, options)
    return {spec.name: Log.open(out / spec.name) for spec in specs}


def label(raw: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Lidarseg for all key frames, panoptic for every second; (classes, panoptic labels) by sweep token."""
    rng = np.random.default_rng(0)
    for i, category in enumerate(raw.tables["category"]):
        category["index"] = i + 3
    classes, panoptic = {}, {}
    raw.tables["lidarseg"], raw.tables["panoptic"] = [], []
    sweeps = [r for r in raw.tables["sample_data"] if "LIDAR" in r["filename"] and r["is_key_frame"]]
    for i, record in enumerate(sweeps):
        token, count = record["token"], (raw.root / record["filename"]).stat().st_size // 20
        classes[token] = rng.integers(0, 32, count).astype(np.uint8)
        name = raw.add_file(f"lidarseg/v1.0-mini/{token}_lidarseg.bin", classes[token].tobytes())
        raw.tables["lidarseg"].append({"token": token, "sample_data_token": token, "filename": name})
        if i % 2:
            panoptic[token] = (classes[token].astype(np.uint16) * 1000 + rng.integers(0, 40, count)).astype(np.uint16)
            path = raw.root / f"panoptic/v1.0-mini/{token}_panoptic.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(path, data=panoptic[token])
            name = str(path.relative_to(raw.root))
            raw.tables["panoptic"].append({"token": token[::-1], "sample_data_token": token, "filename": name})
    raw.write()
    return classes, panoptic


def test_point_labels(raw: Any, tmp_path: Path) -> None:
    classes, panoptic = label(raw)
    seen = 0
    for log in convert(raw, tmp_path / "out").values():
        for row in log.table("point_labels").to_pylist():
            token = log.sweep(row["sensor"], row["row"]).source_token
            assert row["semantic"] == classes[token].tolist()
            assert row["lidarseg_token"] == token
            if token in panoptic:
                assert row["panoptic"] == panoptic[token].tolist()
                assert row["instance"] == (panoptic[token] % 1000).tolist()
            else:
                assert row["panoptic"] is row["instance"] is row["panoptic_token"] is None
            seen += 1
        assert log.table("point_classes").to_pylist()[0] == {"index": 3, "name": "vehicle.car"}
    assert seen == len(classes)


def test_panoptic_alone(raw: Any, tmp_path: Path) -> None:
    _, panoptic = label(raw)
    del raw.tables["lidarseg"]
    (raw.root / raw.version / "lidarseg.json").unlink()
    logs = convert(raw, tmp_path / "out")
    rows = [(log, row) for log in logs.values() for row in log.table("point_labels").to_pylist()]
    assert len(rows) == len(panoptic)
    for log, row in rows:
        assert row["semantic"] == (panoptic[log.sweep(row["sensor"], row["row"]).source_token] // 1000).tolist()


@pytest.mark.parametrize(
    ("name", "line"),
    [("lidarseg", "5 labels for 200 points"), ("panoptic", r"labels of shape \(5,\) for"), ("gone", "No such file")],
)
def test_labels_that_do_not_fit(raw: Any, tmp_path: Path, name: str, line: str) -> None:
    label(raw)
    record = raw.tables["panoptic" if name == "panoptic" else "lidarseg"][1]
    path = raw.root / record["filename"]
    if name == "gone":
        path.unlink()
    elif name == "panoptic":
        np.savez_compressed(path, data=np.zeros(5, np.uint16))
    else:
        path.write_bytes(bytes(5))
    with pytest.raises(UserError, match=line if name != "lidarseg" else "5 labels for"):
        convert(raw, tmp_path / "out")


def test_an_archive_that_promises_too_much(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("data.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"shape": (10**12,), "fortran_order": False, "descr": "<u2"})
        file.write(bytes(100))
    with pytest.raises(UserError, match="for 7 points"):
        read_panoptic(path, 7)
    with zipfile.ZipFile(path, "w") as archive, archive.open("data.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"shape": (7,), "fortran_order": False, "descr": "<u2"})
        file.write(bytes(4))
    with pytest.raises(UserError, match="for 7 points"):
        read_panoptic(path, 7)
    np.savez(path, data=np.array([1.5] * 7))
    with pytest.raises(UserError, match="type float64"):
        read_panoptic(path, 7)
    np.savez(path, data=np.array([70000] * 7))
    with pytest.raises(UserError, match="such that are none"):
        read_panoptic(path, 7)


def test_damaged_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels.npz"
    np.savez_compressed(path, data=np.arange(300, dtype=np.uint16))
    assert check_reader(lambda p: read_panoptic(p, 300), path) > 100
    path = tmp_path / "labels.bin"
    path.write_bytes(bytes(300))
    check_reader(lambda p: read_lidarseg(p, 300), path)


def test_can_bus(raw: Any, tmp_path: Path) -> None:
    pose = {"utime": 5, "vel": [3.0, 0.5, 0.0], "accel": [0.1, 0.2, 9.8], "rotation_rate": [0.0, 0.0, 0.25]}
    raw.add_file("can_bus/scene-0103_pose.json", json.dumps([pose, {"utime": 6, "vel": [1.0, float("nan")]}]).encode())
    raw.add_file("can_bus/scene-0103_meta.json", b"{}")
    logs = convert(raw, tmp_path / "out")
    log = logs.pop("scene-0103")
    first, second = log.table("ego").to_pylist()
    assert first == {
        "timestamp_ns": 5000, "vx_mps": 3.0, "vy_mps": 0.5, "ax_mps2": 0.1, "ay_mps2": 0.2, "yaw_rate_rps": 0.25,
        "steering_rad": None,
    }  # fmt: skip
    assert second["vx_mps"] is second["yaw_rate_rps"] is None
    row = log.table("can_bus").to_pylist()[0]
    assert row["messages"] == ["meta", "pose"]
    assert "zoesensors" in row["missing"]
    assert not row["known_missing"]
    other = next(iter(logs.values()))
    assert other.table("can_bus").to_pylist()[0]["messages"] == []
    assert not other.has_table("ego")


def test_a_broken_can_message(raw: Any, tmp_path: Path) -> None:
    raw.add_file("can_bus/scene-0103_pose.json", b'[{"utime": "now"}]')
    with pytest.raises(UserError, match="scene-0103_pose.json: message 0 has utime 'now'"):
        convert(raw, tmp_path / "out")


def test_lists_of_scenes_are_the_devkits() -> None:
    can = pytest.importorskip("nuscenes.can_bus.can_bus_api", reason="nuscenes-devkit is not installed")
    source = Path(can.__file__).read_text()
    for name, ours in (("route_blacklist", MISALIGNED), ("can_blacklist", NO_DATA)):
        text = source.split(f"self.{name} = [", 1)[1].split("]", 1)[0]
        assert {f"scene-{int(number):04d}" for number in text.split(",")} == ours


def test_the_test_split_has_no_annotations(raw: Any, tmp_path: Path) -> None:
    for name in ("sample_annotation", "instance", "attribute", "visibility"):
        raw.tables[name] = []
    raw.version = "v1.0-test"
    raw.write()
    for path in (raw.root / "v1.0-mini").iterdir():
        path.unlink()
    for log in convert(raw, tmp_path / "out").values():
        assert log.split == "test"
        assert log.num_frames == 3
        assert sum(len(log.boxes(i).category) for i in range(3)) == 0
