"""A small log of every kind of thing, written once."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from drive.logs.store import Log
from drive.logs.writer import LogWriter

sys.path.insert(0, str(Path(__file__).parents[1] / "data_tools"))  # fuzzing.py

IDENTITY = [1.0, 0.0, 0.0, 0.0]


def write_small_log(root: Path, name: str = "small", *, sweeps: int = 4) -> Path:
    """Two frames with boxes, one without; a lidar with extra columns, a camera, a radar that never spoke."""
    rng = np.random.default_rng(7)
    with LogWriter(root, name, dataset="toy", source_version="1", licence="none", split="val", location="here") as log:
        columns = ("x", "y", "z", "intensity")
        log.add_sensor("LIDAR", "lidar", [1.0, 0.0, 1.8], IDENTITY, columns=columns, intensity_max=255.0)
        log.add_sensor("CAM", "camera", [1.5, 0.2, 1.6], [0.5, -0.5, 0.5, -0.5], intrinsics=np.diag([900.0, 800, 1]))
        log.add_sensor("RADAR", "radar", [3.0, 0.0, 0.5], IDENTITY, columns=("x", "y", "z"))
        for i in range(sweeps):
            points = rng.normal(size=(10 * i, 4)).astype(np.float32)  # the first sweep is empty
            extra = {"laser": np.arange(10 * i, dtype=np.uint8), "offset_ns": np.arange(10 * i, dtype=np.int32) - 5}
            row = log.add_sweep(
                "LIDAR", 1000 * i, points, [i, 0.1 * i, 0], IDENTITY, extra=extra, is_key_frame=i % 2 == 0,
                source_timestamp=i, source_name=f"sweeps/{i}.bin", source_token=f"sweep{i}", source_pose_token=f"p{i}",
                source_pose_timestamp=i + 1 if i else None,
            )  # fmt: skip
            rows = {"LIDAR": row}
            if i == 2:
                rows["CAM"] = log.add_image(
                    "CAM", 1000 * i + 3, b"\x89jpeg\x00bytes", 1600, 900, [i, 0, 0], IDENTITY,
                    is_key_frame=True, source_timestamp=i, source_name="samples/c.jpg",
                )  # fmt: skip
            frame = log.add_frame(
                1000 * i, rows=rows, pose_translation=[i, 0.1 * i, 0], pose_rotation=IDENTITY, source_timestamp=i,
                source_token=f"frame{i}",
            )  # fmt: skip
            if i in (1, 2):
                boxes = np.array([[5.0, 1, 0.5, 4, 2, 1.5, 0.3, 7, 8], [9.0, -2, 0.4, 0.6, 0.5, 1.8, -3.0, 1, 2]])
                log.add_boxes(
                    frame, boxes, ["car", "pedestrian"], ["a", "b"] if i == 1 else ["a", "c"],
                    velocity_valid=np.array([True, False]), num_lidar_points=np.array([3, 0]),
                    source_translation=boxes[:, :3] + 100, source_rotation=np.tile(IDENTITY, (2, 1)),
                    source_size=boxes[:, 3:6], attributes=["moving;fast", ""], source_token=["t1", "t2"],
                    extra={"truncated": np.array([0.25, 0.5])},
                )  # fmt: skip
        log.add_map_feature("l1", "lane", np.array([[0.0, -2, 0], [50, -2, 0], [50, 2, 0], [0, 2, 0]]),
                            holes=[np.array([[10.0, -1, 0], [11, -1, 0], [11, 1, 0]])], is_polygon=True,
                            attributes={"speed_mps": 13.9}, successors=["l2"])  # fmt: skip
        log.add_map_feature("d1", "lane_divider", np.array([[0.0, 2, 0], [50, 2, 0]]), is_polygon=False)
        log.add_table("can_pose", pa.table({"utime": [1, 2], "speed": [0.5, 0.25]}))
        log.add_file("scene.bin", bytes(range(256)))
    return root / name


@pytest.fixture(scope="session")
def small_log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return Log.open(write_small_log(tmp_path_factory.mktemp("logs")))
