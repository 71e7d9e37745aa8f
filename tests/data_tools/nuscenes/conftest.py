"""A tiny data set in raw nuScenes shape with something of everything: written by hand, no devkit needed."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from drive.geometry.rigid import quaternion_from_yaw

TABLES = ("category", "attribute", "visibility", "instance", "sensor", "calibrated_sensor", "ego_pose", "log", "scene",
          "sample", "sample_data", "sample_annotation", "map")  # fmt: skip
START_US = 1_532_402_927_000_000
RADAR_TYPES = [
    ("x", "F", 4), ("y", "F", 4), ("z", "F", 4), ("dyn_prop", "I", 1), ("id", "I", 2), ("rcs", "F", 4), ("vx", "F", 4),
    ("vy", "F", 4), ("vx_comp", "F", 4), ("vy_comp", "F", 4), ("is_quality_valid", "I", 1), ("ambig_state", "I", 1),
    ("x_rms", "I", 1), ("y_rms", "I", 1), ("invalid_state", "I", 1), ("pdh0", "I", 1), ("vx_rms", "I", 1),
    ("vy_rms", "I", 1),
]  # fmt: skip
RADAR_DTYPE = np.dtype([(name, f"<{kind.lower()}{size}") for name, kind, size in RADAR_TYPES])


def token(*parts: Any) -> str:
    return hashlib.md5("/".join(map(str, parts)).encode()).hexdigest()


def radar_file(cloud: np.ndarray) -> bytes:
    rows = zip(*RADAR_TYPES, strict=True)
    names, kinds, sizes = (" ".join(map(str, row)) for row in rows)
    counts = " ".join("1" for _ in RADAR_TYPES)
    head = (
        f"# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\nFIELDS {names}\nSIZE {sizes}\nTYPE {kinds}\n"
        f"COUNT {counts}\nWIDTH {len(cloud)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {len(cloud)}\nDATA binary\n"
    )
    return head.encode() + cloud.astype(RADAR_DTYPE).tobytes() + b"\n"  # the devkit insists on a byte after the last


@dataclass
class Raw:
    """The tables as lists of records; `write` puts them into files (after a test has spoiled them)."""

    root: Path
    version: str = "v1.0-mini"
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def write(self) -> Raw:
        folder = self.root / self.version
        folder.mkdir(parents=True, exist_ok=True)
        for name, records in self.tables.items():
            (folder / f"{name}.json").write_text(json.dumps(records, indent=0))
        return self

    def add_file(self, name: str, data: bytes) -> str:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return name


def build(root: Path, scenes: int = 2, samples: int = 3, points: int = 200, sweeps: int = 4) -> Raw:
    """`scenes` scenes of `samples` key frames, `sweeps` lidar sweeps between two; sample 1 of scene 0 has no boxes."""
    rng = np.random.default_rng(3)
    raw = Raw(root)
    tables = raw.tables
    for name in TABLES:
        tables[name] = []
    for name in ("vehicle.car", "human.pedestrian.adult", "movable_object.trafficcone"):
        tables["category"].append({"token": token(name), "name": name, "description": 'odd }, text "quoted"'})
    for name in ("vehicle.moving", "vehicle.parked"):
        tables["attribute"].append({"token": token(name), "name": name, "description": ""})
    for i, level in enumerate(("v0-40", "v40-60", "v60-80", "v80-100"), 1):
        tables["visibility"].append({"token": str(i), "level": level, "description": ""})
    sensors = [("LIDAR_TOP", "lidar"), ("CAM_FRONT", "camera"), ("CAM_BACK", "camera"), ("RADAR_FRONT", "radar")]
    for channel, modality in sensors:
        tables["sensor"].append({"token": token(channel), "channel": channel, "modality": modality})
    raster = root / "maps" / "prior.png"
    raster.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.zeros((30, 20), np.uint8)).save(raster)
    for s in range(scenes):
        scene = f"scene-{103 if s == 0 else s:04d}"
        log = token("log", s)
        tables["log"].append({"token": log, "logfile": f"n008-{s}", "vehicle": "n008", "date_captured": "2018-08-01",
                              "location": "boston-seaport"})  # fmt: skip
        calibrated = {}
        for channel, modality in sensors:
            calibrated[channel] = token(scene, channel)
            tables["calibrated_sensor"].append({
                "token": calibrated[channel], "sensor_token": token(channel),
                "translation": [0.943713 + s, 0.1, 1.84023], "rotation": [0.7077955, -0.0064922, 0.0106462, -0.7063073],
                "camera_intrinsic": [[1266.417, 0.0, 816.267], [0.0, 1266.417, 491.507], [0.0, 0.0, 1.0]]
                if modality == "camera" else [],
            })  # fmt: skip
        sample_tokens = [token(scene, "sample", k) for k in range(samples)]
        links = [*sample_tokens, ""]
        start = START_US + 100_000_000 * s
        for k in range(samples):
            tables["sample"].append({"token": sample_tokens[k], "timestamp": start + 500_000 * k + 7 * k,
                                     "prev": links[k - 1], "next": links[k + 1],
                                     "scene_token": token(scene)})  # fmt: skip
        tables["scene"].append({"token": token(scene), "log_token": log, "nbr_samples": samples, "name": scene,
                                "first_sample_token": sample_tokens[0], "last_sample_token": sample_tokens[-1],
                                "description": "rain, }, night"})  # fmt: skip
        for channel, modality in sensors:
            times = []  # (timestamp, sample, key frame)
            for k in range(samples):
                times.append((start + 500_000 * k + 7 * k, k, True))
                if k + 1 < samples and modality == "lidar":
                    times += [(start + 500_000 * k + 500_000 * j // (sweeps + 1), k + 1, False)
                              for j in range(1, sweeps + 1)]  # fmt: skip
            tokens = ["", *(token(scene, channel, t) for t, _, _ in times), ""]
            for i, (time, k, key) in enumerate(times):
                me = tokens[i + 1]
                folder = "samples" if key else "sweeps"
                if modality == "lidar":
                    cloud = rng.normal(0, 20, (points + i if i else 0, 5)).astype(np.float32)  # the first is empty
                    cloud[:, 3:] = rng.integers(0, 32, (len(cloud), 2))
                    suffix, data = ".pcd.bin", cloud.tobytes()
                elif modality == "radar":
                    cloud = np.zeros(5 * (k % 2), RADAR_DTYPE)
                    for name in RADAR_DTYPE.names or ():
                        cloud[name] = rng.integers(-100, 100, len(cloud))
                    cloud["dyn_prop"], cloud["invalid_state"], cloud["ambig_state"] = 1, 0, 3  # what filters let pass
                    suffix, data = ".pcd", radar_file(cloud)
                else:
                    picture, buffer = rng.integers(0, 255, (9, 16, 3), np.uint8), io.BytesIO()
                    PIL.Image.fromarray(picture).save(buffer, "JPEG")
                    suffix, data = ".jpg", buffer.getvalue()
                filename = raw.add_file(f"{folder}/{channel}/{scene}__{channel}__{time}{suffix}", data)
                size = (16, 9) if modality == "camera" else (0, 0)
                tables["sample_data"].append({
                    "token": me, "sample_token": sample_tokens[k], "ego_pose_token": token("pose", me),
                    "calibrated_sensor_token": calibrated[channel], "timestamp": time, "fileformat": suffix[1:4],
                    "is_key_frame": key, "height": size[1], "width": size[0], "filename": filename,
                    "prev": tokens[i], "next": tokens[i + 2],
                })  # fmt: skip
                seconds = (time - start) * 1e-6
                pose = [411.3039245605469 + 5.1 * seconds, 1180.890380859375 + 0.3 * seconds, 0.0]
                rotation = quaternion_from_yaw(0.2 + 0.01 * seconds) + np.array([0, 0.001, -0.002, 0])
                tables["ego_pose"].append({"token": token("pose", me), "timestamp": time,
                                           "rotation": rotation.tolist(), "translation": pose})  # fmt: skip
        for n, name in enumerate(("vehicle.car", "human.pedestrian.adult", "vehicle.car")):
            instance = token(scene, "instance", n)
            there = [k for k in range(samples) if not (s == 0 and k == 1) and not (n == 2 and k == 0)]
            tokens = ["", *(token(instance, k) for k in there), ""]
            tables["instance"].append({"token": instance, "category_token": token(name), "nbr_annotations": len(there),
                                       "first_annotation_token": tokens[1],
                                       "last_annotation_token": tokens[-2]})  # fmt: skip
            for i, k in enumerate(there):
                place = [430.1 + 3.3 * k + n, 1185.7 - 1.1 * k + 5 * n, 0.9]
                tables["sample_annotation"].append({
                    "token": tokens[i + 1], "sample_token": sample_tokens[k], "instance_token": instance,
                    "visibility_token": str(1 + n), "attribute_tokens": [token("vehicle.moving")] if n != 1 else [],
                    "translation": place, "size": [1.9, 4.6 + n, 1.7], "num_lidar_pts": 3 * k + n, "num_radar_pts": n,
                    "rotation": quaternion_from_yaw(0.5 * n - 3.0 + 0.05 * k).tolist(),
                    "prev": tokens[i], "next": tokens[i + 2],
                })  # fmt: skip
    tables["map"].append({"token": token("map"), "category": "semantic_prior", "filename": "maps/prior.png",
                          "log_tokens": [record["token"] for record in tables["log"]]})  # fmt: skip
    return raw.write()


@pytest.fixture
def raw(tmp_path: Path) -> Raw:
    return build(tmp_path / "raw")


@pytest.fixture
def build_raw() -> Callable[..., Raw]:
    return build
