"""A hand-made Argoverse 2 log: two sweeps, an image, three labelled instants, a map of one lane."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather

LOG_ID = "0b0b0b0b-0000-4000-8000-000000000001"
START_NS = 315_966_000_000_000_000
STEP_NS = 100_000_000


def quaternion(yaw: float) -> tuple[float, float, float, float]:
    return float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2))


def write_table(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    feather.write_feather(pa.Table.from_pylist(rows), path)


def pose(stamp: int, x: float, yaw: float) -> dict[str, object]:
    w, i, j, k = quaternion(yaw)
    return {"timestamp_ns": stamp, "qw": w, "qx": i, "qy": j, "qz": k, "tx_m": x, "ty_m": 100.0, "tz_m": 5.0}


def label(step: int, track: str, x: float, y: float, count: int = 7) -> dict[str, object]:
    w, i, j, k = quaternion(np.pi / 2)
    return {
        "timestamp_ns": START_NS + step * STEP_NS, "track_uuid": track, "category": "REGULAR_VEHICLE",
        "length_m": 4.0, "width_m": 2.0, "height_m": 1.5, "qw": w, "qx": i, "qy": j, "qz": k,
        "tx_m": x, "ty_m": y, "tz_m": 0.5, "num_interior_pts": count,
    }  # fmt: skip


def points_on(line: list[tuple[float, float]]) -> list[dict[str, float]]:
    return [{"x": x, "y": y, "z": 1.0} for x, y in line]


@pytest.fixture
def av2_raw(tmp_path: Path) -> Path:
    """Root of val/<LOG_ID>. The ego drives 1 m a step along city x, turned by 90 degrees (its y is city -x)."""
    root = tmp_path / "av2"
    log = root / "val" / LOG_ID
    for step in (0, 1):
        table = pa.table(
            {
                "x": pa.array(np.array([1.5, 40.03, -3], np.float16)),
                "y": pa.array(np.array([0, 2, 4], np.float16)),
                "z": pa.array(np.array([0.25, 1, -0.4], np.float16)),
                "intensity": pa.array([0, 17, 255], pa.uint8()),
                "laser_number": pa.array([0, 31, 63], pa.uint8()),
                "offset_ns": pa.array([2_654_000, 50_000_000 + step, 106_085_816], pa.int32()),
            }
        )
        path = log / f"sensors/lidar/{START_NS + step * STEP_NS}.feather"
        path.parent.mkdir(parents=True, exist_ok=True)
        feather.write_feather(table, path)
    # Poses at the stamps of steps 0 and 2 only, and before and after: step 1 must be interpolated.
    write_table(
        log / "city_SE3_egovehicle.feather",
        [pose(START_NS + step * STEP_NS, 1000.0 + step, np.pi / 2) for step in (-1, 0, 2, 3)],
    )
    # Track "moving" goes 2 m a step along city x: in the ego frame its y changes by -1 m a step (the ego's own 1 m).
    rows = [label(step, "moving", 10.0, -1.0 * step) for step in (0, 1, 2)] + [label(0, "once", 20.0, 3.0)]
    write_table(log / "annotations.feather", rows)
    w, i, j, k = quaternion(0.0)
    mount = {"qw": w, "qx": i, "qy": j, "qz": k, "tx_m": 1.5, "ty_m": 0.0, "tz_m": 1.4}
    write_table(
        log / "calibration/egovehicle_SE3_sensor.feather",
        [{"sensor_name": name} | mount for name in ("ring_front_center", "up_lidar", "down_lidar")],
    )
    lens = {"fx_px": 1700.5, "fy_px": 1701.0, "cx_px": 780.0, "cy_px": 1020.0, "k1": -0.24, "k2": -0.2, "k3": 0.3}
    write_table(
        log / "calibration/intrinsics.feather",
        [{"sensor_name": "ring_front_center"} | lens | {"height_px": 2048, "width_px": 1550}],
    )
    camera = log / "sensors/cameras/ring_front_center"
    camera.mkdir(parents=True)
    (camera / f"{START_NS + 20_000_000}.jpg").write_bytes(b"\xff\xd8\xff\xe0 picture \xff\xd9")
    lane = {
        "id": 7, "is_intersection": False, "lane_type": "VEHICLE", "left_lane_mark_type": "NONE",
        "right_lane_mark_type": "SOLID_WHITE", "left_neighbor_id": None, "right_neighbor_id": 8,
        "predecessors": [5], "successors": [9],
        "left_lane_boundary": points_on([(0, 4), (10, 4)]), "right_lane_boundary": points_on([(0, 0), (5, 0), (10, 0)]),
    }  # fmt: skip
    crossing = {"id": 3, "edge1": points_on([(0, 0), (0, 4)]), "edge2": points_on([(3, 0), (3, 4)])}
    area = {"id": 1, "area_boundary": points_on([(0, 0), (9, 0), (9, 9)])}
    (log / "map").mkdir()
    (log / f"map/log_map_archive_{LOG_ID}____PIT_city_1.json").write_text(
        json.dumps(
            {"lane_segments": {"7": lane}, "pedestrian_crossings": {"3": crossing}, "drivable_areas": {"1": area}}
        )
    )
    np.save(log / f"map/{LOG_ID}_ground_height_surface____PIT.npy", np.zeros((2, 2), np.float16))
    return root
