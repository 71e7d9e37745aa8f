"""A nuPlan log database and map written in their raw shape, small enough to check by hand."""

from __future__ import annotations

import io
import pickle
import sqlite3
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from data_tools.nuplan.wkb import encode_wkb

START_US = 1_620_857_892_600_000
EAST, NORTH = 664_691.93314, 3_998_809.02917  # Las Vegas, UTM 11N: longitude -115.17, latitude 36.12
LONGITUDE, LATITUDE = -115.17, 36.12
HALF = np.sqrt(0.5)

TABLES = """
CREATE TABLE log (token BLOB PRIMARY KEY, vehicle_name, date, timestamp, logfile, location, map_version);
CREATE TABLE ego_pose (token BLOB PRIMARY KEY, timestamp, x, y, z, qw, qx, qy, qz, vx, vy, vz, acceleration_x,
  acceleration_y, acceleration_z, angular_rate_x, angular_rate_y, angular_rate_z, epsg, log_token);
CREATE TABLE camera (token BLOB PRIMARY KEY, log_token, channel, model, translation BLOB, rotation BLOB,
  intrinsic BLOB, distortion BLOB, width, height);
CREATE TABLE lidar (token BLOB PRIMARY KEY, log_token, channel, model, translation BLOB, rotation BLOB);
CREATE TABLE image (token BLOB PRIMARY KEY, next_token, prev_token, ego_pose_token, camera_token, filename_jpg,
  timestamp);
CREATE TABLE lidar_pc (token BLOB PRIMARY KEY, next_token, prev_token, ego_pose_token, lidar_token, scene_token,
  filename, timestamp);
CREATE TABLE lidar_box (token BLOB PRIMARY KEY, lidar_pc_token, track_token, next_token, prev_token, x, y, z, width,
  length, height, vx, vy, vz, yaw, confidence);
CREATE TABLE track (token BLOB PRIMARY KEY, category_token, width, length, height);
CREATE TABLE category (token BLOB PRIMARY KEY, name);
CREATE TABLE scene (token BLOB PRIMARY KEY, log_token, name, goal_ego_pose_token, roadblock_ids);
CREATE TABLE scenario_tag (token BLOB PRIMARY KEY, lidar_pc_token, type, agent_track_token);
CREATE TABLE traffic_light_status (token BLOB PRIMARY KEY, lidar_pc_token, lane_connector_id, status);
"""


def key(kind: int, number: int) -> bytes:
    """An 8-byte token."""
    return bytes([kind]) + number.to_bytes(7, "big")


def pcd(points: int) -> bytes:
    """A merged point cloud; the last point is no return (NaN)."""
    kinds = [(n, "<f4") for n in ("x", "y", "z", "intensity")] + [("ring", "u1"), ("lidar_info", "u1")]
    cloud = np.zeros(points, dtype=np.dtype(kinds))
    cloud["x"], cloud["intensity"], cloud["ring"] = np.arange(points), 7, 3
    cloud["x"][-1] = np.nan
    head = (
        "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z intensity ring lidar_info\nSIZE 4 4 4 4 1 1\nTYPE F F F F U U\n"
        f"COUNT 1 1 1 1 1 1\nWIDTH {points}\nHEIGHT 1\nPOINTS {points}\nDATA binary\n"
    )
    return head.encode() + cloud.tobytes()


def write_log(path: Path, frames: int = 4) -> Path:
    """The ego drives north at 10 m/s, 0.5 m a frame; a car 20 m ahead of its start drives at 4 m/s, a cone stands.

    The second frame has no boxes' velocity (NULL); frame 0 has a red light, frame 1 a state that nobody knows.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    base = sqlite3.connect(path)
    base.executescript(TABLES)

    def put(table: str, *values: object) -> None:
        base.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)

    log, scene, car, cone = key(1, 0), key(2, 0), key(3, 0), key(3, 1)
    put("log", log, "veh-35", "2021-05-12", START_US, path.stem, "las_vegas", "us-nv-las-vegas-strip")
    put("category", key(4, 0), "vehicle")
    put("category", key(4, 1), "traffic_cone")
    put("track", car, key(4, 0), 2.0, 4.5, 1.6)
    put("track", cone, key(4, 1), 0.4, 0.4, 0.8)
    put("scene", scene, log, "scene-000", None, "100 101 102 ")
    list_of = pickle.dumps
    put("lidar", key(5, 0), log, "MergedPointCloud", "", list_of([0.0, 0.0, 0.0]), list_of([1.0, 0.0, 0.0, 0.0]))
    put(
        "camera", key(6, 0), log, "CAM_F0", "", list_of([1.5, 0.0, 1.4]), list_of([0.5, -0.5, 0.5, -0.5]),
        list_of([[1545.0, 0.0, 960.0], [0.0, 1545.0, 560.0], [0.0, 0.0, 1.0]]), list_of([-0.3, 0.1, 0.0, 0.0, 0.0]),
        1920, 1080,
    )  # fmt: skip
    for k in range(frames):
        stamp, cloud, pose = START_US + 50_000 * k, key(7, k), key(8, k)
        put(
            "ego_pose", pose, stamp - 1000, EAST, NORTH + 0.5 * k, 600.0, HALF, 0.0, 0.0, HALF, 10.0, 0.0, 0.0, 0.25,
            0.5, 0.0, 0.0, 0.0, 0.1, 32611, log,
        )  # fmt: skip
        put("lidar_pc", cloud, None, None, pose, key(5, 0), scene, f"log/MergedPointCloud/{k}.pcd", stamp)
        put("image", key(9, k), None, None, pose, key(6, 0), f"log/CAM_F0/{k}.jpg", stamp + 10_000)
        speed = (None, None, None) if k == 1 else (0.0, 4.0, 0.0)
        put(
            "lidar_box", key(10, k), cloud, car, None, None, EAST - 3.0, NORTH + 20 + 0.2 * k, 601.0, 2.0, 4.5, 1.6,
            *speed, np.pi / 2, 0.9,
        )  # fmt: skip
        put(
            "lidar_box",
            key(11, k),
            cloud,
            cone,
            None,
            None,
            EAST + 5,
            NORTH,
            600.4,
            0.4,
            0.4,
            0.8,
            0.0,
            0.0,
            0.0,
            0.0,
            1.0,
        )
    put("traffic_light_status", key(12, 0), key(7, 0), 77, "red")
    put("traffic_light_status", key(12, 1), key(7, 1), 77, "violet")
    put("scenario_tag", key(13, 0), key(7, 1), "following_lane_with_lead", car)
    put("scenario_tag", key(13, 1), key(7, 1), "medium_magnitude_speed", None)
    base.commit()
    base.close()
    return path


def write_sensors(root: Path, frames: int = 4) -> Path:
    """Point clouds of all frames, images of the first two."""
    for kind in ("MergedPointCloud", "CAM_F0"):
        (root / "log" / kind).mkdir(parents=True, exist_ok=True)
    for k in range(frames):
        (root / f"log/MergedPointCloud/{k}.pcd").write_bytes(pcd(3 + k))
    buffer = io.BytesIO()
    Image.new("RGB", (8, 4)).save(buffer, "JPEG")
    for k in range(2):
        (root / f"log/CAM_F0/{k}.jpg").write_bytes(buffer.getvalue())
    return root


def blob(points: list[tuple[float, float]], *, is_polygon: bool, system: int = 4326) -> bytes:
    """A GeoPackage geometry with an envelope of xy."""
    ring = np.array([(x, y, 0.0) for x, y in points])
    low, high = ring.min(axis=0), ring.max(axis=0)
    head = b"GP" + bytes([0, 0b0000_0011]) + struct.pack("<i4d", system, low[0], high[0], low[1], high[1])
    return head + encode_wkb([ring], is_polygon=is_polygon)


def square(east_m: float, north_m: float, size_m: float = 4.0) -> list[tuple[float, float]]:
    """A square in longitude and latitude near the start; metres by the size of a degree there (to about 1 %)."""
    lon, lat = LONGITUDE + east_m / 90_000.0, LATITUDE + north_m / 111_000.0
    step_lon, step_lat = size_m / 90_000.0, size_m / 111_000.0
    return [(lon, lat), (lon + step_lon, lat), (lon + step_lon, lat + step_lat), (lon, lat + step_lat)]


def write_map(root: Path, system: str = "EPSG:32611") -> Path:
    """Lane 10, connector 77, lane 11; a block each; an intersection, crossing, stop polygon, boundary; one far away."""
    path = root / "us-nv-las-vegas-strip/9.15.1915/map.gpkg"
    path.parent.mkdir(parents=True, exist_ok=True)
    base = sqlite3.connect(path)
    base.execute("CREATE TABLE meta (fid INTEGER PRIMARY KEY, key TEXT, value TEXT)")
    base.execute("INSERT INTO meta VALUES (1, 'projectedCoordSystem', ?)", (system,))
    base.execute("CREATE TABLE gpkg_geometry_columns (table_name TEXT, column_name TEXT, srs_id INTEGER)")

    def layer(name: str, columns: str, rows: list[tuple[object, ...]]) -> None:
        base.execute("INSERT INTO gpkg_geometry_columns VALUES (?, 'geom', 4326)", (name,))
        base.execute(f"CREATE TABLE {name} (fid INTEGER PRIMARY KEY, geom BLOB{', ' + columns if columns else ''})")
        for row in rows:
            base.execute(f"INSERT INTO {name} VALUES ({', '.join('?' * len(row))})", row)

    def area(east: float, north: float) -> bytes:
        return blob(square(east, north), is_polygon=True)

    def line(east: float, north: float) -> bytes:
        return blob(square(east, north)[:2], is_polygon=False)

    layer(
        "lanes_polygons", "lane_fid, lane_group_fid, lane_index, speed_limit_mps",
        [(10, area(0, 0), 10, 100, 0, 11.2), (11, area(0, 20), 11, 102, 0, None), (12, area(0, 5000), 12, 103, 0, 1.0)],
    )  # fmt: skip
    layer(
        "lane_connectors", "exit_lane_fid, entry_lane_fid, lane_group_connector_fid, speed_limit_mps",
        [(77, line(0, 10), 10, 11, 101, 8.0)],
    )  # fmt: skip
    layer("gen_lane_connectors_scaled_width_polygons", "lane_connector_fid", [(1, area(0, 10), "77")])
    layer("baseline_paths", "lane_fid, lane_connector_fid", [(1, line(0, 0), 10.0, None), (2, line(0, 10), None, 77.0)])
    layer("lane_groups_polygons", "", [(100, area(0, 0)), (102, area(0, 20))])
    layer("lane_group_connectors", "from_lane_group_fid, to_lane_group_fid", [(101, area(0, 10), 100, 102)])
    layer("intersections", "intersection_type_fid", [(5, area(0, 10), 1)])
    layer("crosswalks", "", [(6, area(5, 10))])
    layer("stop_polygons", "stop_polygon_type_fid", [(7, area(0, 9), 2)])
    layer("boundaries", "boundary_type_fid", [(8, line(2, 0), 0)])
    base.commit()
    base.close()
    return path
