"""A hand-made KITTI object folder of two frames."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

# An ideal mounting: camera x = -y, y = -z, z = x of the scanner, no offset.
CALIBRATION = """P0: 700 0 600 0 0 700 180 0 0 0 1 0
P1: 700 0 600 -350 0 700 180 0 0 0 1 0
P2: 700 0 600 70 0 700 180 7 0 0 1 0.5
P3: 700 0 600 -280 0 700 180 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0
Tr_imu_to_velo: 1 0 0 0 0 1 0 0 0 0 1 0
"""
# Car: bottom centre at camera (2, 1.5, 10) = ego (10, -2, -1.5); it looks along camera x, that is to ego's right.
LABELS = """Car 0.25 1 -1.57 100.5 120 300.25 240 1.5 1.75 4.5 2 1.5 10 0
DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10
Pedestrian 0.00 0 0.1 1 2 3 4 2 0.5 0.75 -3 1.5 20 -1.5707963267948966
"""


def png(width: int, height: int) -> bytes:
    """A black grey-scale PNG."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes(width)) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture
def kitti_raw(tmp_path: Path) -> Path:
    """training/ with frames 000003 (scan, image, plane) and 000011 (cropped scan only)."""
    raw = tmp_path / "kitti"
    for kind in ("velodyne", "velodyne_reduced", "calib", "label_2", "image_2", "planes"):
        (raw / "training" / kind).mkdir(parents=True)
    points = np.arange(40, dtype=np.float32).reshape(10, 4) / 8
    (raw / "training/velodyne/000003.bin").write_bytes(points.tobytes())
    (raw / "training/velodyne_reduced/000011.bin").write_bytes(points[:3].tobytes())
    for frame in ("000003", "000011"):
        (raw / f"training/calib/{frame}.txt").write_text(CALIBRATION)
        (raw / f"training/label_2/{frame}.txt").write_text(LABELS)
    (raw / "training/image_2/000003.png").write_bytes(png(6, 4))
    (raw / "training/planes/000003.txt").write_text("# Matrix\nWIDTH 4\nHEIGHT 1\n-0.01 -1 -0.001 1.65\n")
    return raw
