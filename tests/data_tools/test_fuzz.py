"""The fuzz harness against readers whose faults are known, and the readers of nuScenes, KITTI and Argoverse 2."""

from __future__ import annotations

import io
import json
import shutil
import time
from pathlib import Path

import fuzzing
import numpy as np
import pyarrow as pa
import pytest
from fuzzing import check_reader, mutations
from pyarrow import feather

from data_tools.av2.maps import add_map
from data_tools.av2.read import read_annotations, read_map, read_poses, read_sweep
from data_tools.kitti.read import png_size, read_bytes, read_calibration, read_labels, read_plane, read_scan
from data_tools.nuscenes import Options, list_logs, points
from data_tools.nuscenes.boxes import by_sample
from data_tools.nuscenes.load import load_annotations, load_samples, load_sweeps
from drive.errors import UserError
from drive.logs.writer import LogWriter

# --- the harness itself -----------------------------------------------------------------------------------------------


def test_mutations_are_deterministic_and_of_every_kind() -> None:
    data = bytes(range(1, 256)) * 4
    first, second = list(mutations(data, 300, 1)), list(mutations(data, 300, 1))
    assert first == second
    assert list(mutations(data, 300, 2)) != first
    assert sum(m == data for m in first) < 10
    assert any(len(m) < len(data) for m in first)
    assert any(len(m) > len(data) for m in first)
    assert any(len(m) == len(data) and 0 in m for m in first)
    assert all(isinstance(m, bytes) for m in mutations(b"", 50, 0))


def test_the_harness_finds_what_it_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "CASES", 200)
    file = tmp_path / "scan.bin"
    file.write_bytes(b"x" * 1000)

    def refuse(path: Path) -> None:
        raise UserError(path, "bad", "mend")

    def nameless(path: Path) -> None:
        raise UserError("somewhere", "bad", "mend")

    def crash(path: Path) -> None:
        raise KeyError("oops")

    def hang(path: Path) -> None:
        while True:
            time.sleep(0.01)

    def busy(path: Path) -> None:
        while True:
            path.name.upper()

    def greedy(path: Path) -> None:
        np.ones(1 << 33, np.uint8)

    assert check_reader(refuse, file, cases=7) == 7
    assert check_reader(lambda path: path.read_bytes(), [file, file], cases=7) == 0
    for read, line in (
        (nameless, "scan.bin, seed 0, case 0: the error does not name scan.bin"),
        (crash, "case 0: KeyError: 'oops'"),
        (hang, r"TooSlowError: took more than 1\.0 s of the clock"),
        (busy, r"TooSlowError: took more than 0\.1 s of the processor"),
        (greedy, "MemoryError"),
    ):
        with pytest.raises(AssertionError, match=line):
            check_reader(read, file, cases=3, seconds_each=0.1)
    assert file.read_bytes() == b"x" * 1000


def test_a_folder_is_damaged_in_a_copy(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a").write_bytes(b"1" * 100)
    (tmp_path / "raw" / "b").write_bytes(b"2" * 100)
    seen = []

    def read(root: Path) -> None:
        assert root != tmp_path / "raw"
        seen.append(((root / "a").read_bytes() != b"1" * 100, (root / "b").read_bytes() != b"2" * 100))

    check_reader(read, [tmp_path / "raw" / "a", tmp_path / "raw" / "b"], root=tmp_path / "raw", cases=20)
    assert all(not (a and b) for a, b in seen)  # one at a time, the others whole
    assert any(a for a, _ in seen)
    assert any(b for _, b in seen)


# --- nuScenes ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    cloud = rng.normal(0, 20, (300, 5)).astype(np.float32)
    cloud[:, 3:] = rng.integers(0, 32, (300, 2))
    path = tmp_path / "sweep.pcd.bin"
    path.write_bytes(cloud.tobytes())
    return path


def test_nuscenes_lidar(scan: Path) -> None:
    assert check_reader(points.read_lidar, scan) > 50


def test_nuscenes_radar(tmp_path: Path) -> None:
    names = "x y z dyn_prop id rcs vx"
    head = (
        f"# .PCD v0.7\nVERSION 0.7\nFIELDS {names}\nSIZE 4 4 4 1 2 4 4\nTYPE F F F I I F F\nCOUNT 1 1 1 1 1 1 1\n"
        "WIDTH 40\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 40\nDATA binary\n"
    )
    path = tmp_path / "radar.pcd"
    path.write_bytes(head.encode() + bytes(range(23)) * 40 + b"\n")
    assert len(points.read_radar(path)) == 40
    assert check_reader(lambda p: points.split_radar(points.read_radar(p)), path) > 50


def test_nuscenes_tables(tiny_town: Path, tmp_path: Path) -> None:
    (version,) = tiny_town.glob("v1.0-*")
    small = tmp_path / "raw"
    shutil.copytree(version, small / version.name)
    tables = sorted((small / version.name).glob("*.json"))

    def read(root: Path) -> None:
        folder = root / version.name
        for scene in list_logs(root, Options())[:1]:
            samples = load_samples(folder, scene)
            load_sweeps(folder, scene, samples)
            by_sample(load_annotations(folder, scene, samples), samples.timestamp, folder / "sample_annotation.json")

    read(small)
    assert check_reader(read, tables, root=small, cases=100) > 25


# --- KITTI ------------------------------------------------------------------------------------------------------------

CALIBRATION = "".join(
    f"{name}: {' '.join(f'{v:.12e}' for v in np.linspace(-1, 1, count))}\n"
    for name, count in (("P0", 12), ("P2", 12), ("R0_rect", 9), ("Tr_velo_to_cam", 12))
)
LABELS = """Car 0.00 0 1.85 387.63 181.54 423.81 203.12 1.67 1.87 3.69 -16.53 2.39 58.49 1.57
DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10
"""


def test_kitti(tmp_path: Path) -> None:
    files = {
        "000001.bin": np.arange(400, dtype="<f4").tobytes(),
        "calib.txt": CALIBRATION.encode(),
        "label.txt": (LABELS * 5).encode(),
        "plane.txt": b"# Matrix\nWIDTH 4\nHEIGHT 1\n0.01 -1.0 0.02 1.65\n",
    }
    readers = {
        "000001.bin": read_scan,
        "calib.txt": read_calibration,
        "label.txt": read_labels,
        "plane.txt": read_plane,
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        readers[name](tmp_path / name)
        assert check_reader(readers[name], tmp_path / name) > 20


def test_kitti_image_header(tmp_path: Path) -> None:
    import PIL.Image

    buffer = io.BytesIO()
    PIL.Image.fromarray(np.zeros((9, 16, 3), np.uint8)).save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    assert check_reader(lambda path: png_size(read_bytes(path, "image"), path), tmp_path / "a.png") > 20


# --- Argoverse 2 ------------------------------------------------------------------------------------------------------


def test_av2_feather(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n = 60
    stamps = 315_966_000_000_000_000 + 100_000_000 * np.arange(n, dtype=np.int64)
    pose = {name: np.full(n, value) for name, value in zip(("qw", "qx", "qy", "qz"), (1.0, 0.0, 0.0, 0.0), strict=True)}
    pose |= {name: rng.normal(size=n) for name in ("tx_m", "ty_m", "tz_m")}
    sweep = {name: rng.normal(size=n).astype(np.float16) for name in "xyz"}
    sweep |= {"intensity": np.arange(n, dtype=np.uint8), "laser_number": np.arange(n, dtype=np.uint8)}
    sweep["offset_ns"] = np.arange(n, dtype=np.int32)
    labels = {"timestamp_ns": stamps, "track_uuid": [f"track {i % 5}" for i in range(n)], "category": ["BUS"] * n}
    labels |= {name: np.full(n, 2.0) for name in ("length_m", "width_m", "height_m")} | pose
    labels["num_interior_pts"] = np.arange(n)
    tables = {"poses": {"timestamp_ns": stamps} | pose, "sweep": sweep, "labels": labels}
    readers = {"poses": read_poses, "sweep": read_sweep, "labels": read_annotations}
    for name, columns in tables.items():
        for compression in ("lz4", "zstd"):
            path = tmp_path / f"{name}_{compression}.feather"
            feather.write_feather(pa.table(columns), str(path), compression=compression)
            readers[name](path)
            assert check_reader(readers[name], path) > 20


def test_av2_map(tmp_path: Path) -> None:
    line = [{"x": float(i), "y": 0.5, "z": 0.1} for i in range(4)]
    lane = {"left_lane_boundary": line, "right_lane_boundary": line, "predecessors": [1], "successors": [2]}
    area = {"area_boundary": line}
    crossing = {"edge1": line, "edge2": line}
    data = {
        "lane_segments": {"5": lane, "6": lane}, "drivable_areas": {"1": area}, "pedestrian_crossings": {"2": crossing}
    }  # fmt: skip
    path = tmp_path / "log_map_archive_a____PIT_city_1.json"
    path.write_text(json.dumps(data))

    def read(file: Path) -> None:
        with LogWriter(file.parent, "log", dataset="av2", source_version="", licence="") as log:
            add_map(log, read_map(file), file)
        shutil.rmtree(file.parent / "log")

    read(path)
    assert check_reader(read, path) > 50
