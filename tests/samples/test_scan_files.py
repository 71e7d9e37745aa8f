"""Loose scans: every kind gives the same points; every damaged file gives one clear line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather

from drive.errors import UserError
from drive.samples.scan_files import FORMATS, ScanFormat, list_scans, read_scan

POINTS = np.array([[1, 2, 3, 0.5], [4, 5, 6, 1.0], [7, 8, 9, 0.0]], np.float32)


def pcd(kind: str, body: bytes, fields: str = "x y z intensity") -> bytes:
    n = len(fields.split())
    head = f"# .PCD v0.7\nVERSION 0.7\nFIELDS {fields}\nSIZE {'4 ' * n}\nTYPE {'F ' * n}\nCOUNT {'1 ' * n}\n"
    return (head + f"WIDTH 3\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 3\nDATA {kind}\n").encode() + body


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    POINTS.tofile(tmp_path / "a.bin")
    (tmp_path / "b.pcd").write_bytes(pcd("binary", POINTS.tobytes()))
    rows = "\n".join(" ".join(str(v) for v in row) for row in POINTS)
    (tmp_path / "c.pcd").write_bytes(pcd("ascii", rows.encode()))
    np.save(tmp_path / "d.npy", POINTS)
    columns = dict(zip(("x", "y", "z", "intensity"), POINTS.T, strict=True))
    feather.write_feather(pa.table(columns), tmp_path / "e.feather")
    return tmp_path


def test_every_kind_gives_the_same_points(folder: Path) -> None:
    for path in list_scans(folder):
        points = read_scan(path, ScanFormat())
        np.testing.assert_array_equal(points[:, :4], POINTS, err_msg=path.name)
        assert not points[:, 4:].any()


def test_nuscenes_lidar_frame_is_turned(tmp_path: Path) -> None:
    np.array([[0, 10, 0, 255, 3]], np.float32).tofile(tmp_path / "a.bin")  # 10 m ahead: y in the lidar's frame
    (row,) = read_scan(tmp_path / "a.bin", FORMATS["nuscenes"])
    np.testing.assert_allclose(row[:4], [10.94, 0, 1.84, 1.0], atol=1e-5)


def test_waymos_fifth_column_is_elongation(tmp_path: Path) -> None:
    np.array([[1, 2, 3, 0.5, 1.25]], np.float32).tofile(tmp_path / "a.bin")
    (row,) = read_scan(tmp_path / "a.bin", FORMATS["waymo"])
    np.testing.assert_array_equal(row, np.array([1, 2, 3, 0.5, 1.25, 0], np.float32))


def test_empty_scan_and_points_that_are_not_finite(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"")
    assert read_scan(tmp_path / "a.bin", ScanFormat()).shape == (0, 6)
    np.save(tmp_path / "b.npy", np.array([[np.nan, 0, 0], [1, 1, 1]], np.float32))
    assert len(read_scan(tmp_path / "b.npy", ScanFormat())) == 1


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.bin", POINTS.tobytes()[:-3], "whole number of points"),
        ("a.pcd", b"nothing here", "no PCD header"),
        ("a.pcd", pcd("binary", POINTS.tobytes()[:-1]), "fewer are there"),
        ("a.pcd", pcd("ascii", b"1 2 3 x\n"), "not numbers"),
        ("a.pcd", pcd("binary_compressed", b""), "is not read"),
        ("a.pcd", pcd("binary", POINTS.tobytes(), "a b c d"), "no x, y, z"),
        ("a.npy", b"\x93NUMPY broken", "not a plain"),
        ("a.feather", b"no", "not a feather"),
        ("a.txt", b"", "unknown kind"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=words) as caught:
        read_scan(tmp_path / name, ScanFormat())
    assert name in caught.value.place


def test_folders_without_scans(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no scans"):
        list_scans(tmp_path)
    with pytest.raises(UserError, match="no such"):
        list_scans(tmp_path / "absent")
