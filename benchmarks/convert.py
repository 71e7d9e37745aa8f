"""How fast and in how much memory raw nuScenes becomes logs, and the tables are read beside the official devkit.

Usage: python -m benchmarks.convert [--raw FOLDER] [--logs 8] [--sweeps 200] [--table-scenes 85] [--out FILE]

``convert``: whole conversions by two processes of a data set of the town's shape (30,000 points a sweep, six images of
800x450 every tenth sweep; made of noise unless --raw names a real one), with all the syncs to the disk. The same with
half the logs shows that memory does not grow with their number. ``tables``: tables as large as `table-scenes` scenes
of trainval (850 are the whole of it) read by us and by the devkit. Every figure is of a process of its own, with its
imports left out of the seconds and included in the memory.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

REPO = Path(__file__).resolve().parent.parent
CAMERAS = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")

CONVERT = """
import json, resource, sys, time
from pathlib import Path
from data_tools.convert import convert
if __name__ == "__main__":
    raw, out, names = Path(sys.argv[1]), Path(sys.argv[2]), tuple(json.loads(sys.argv[3]))
    from data_tools.nuscenes import Options
    start = time.perf_counter()
    report = convert("nuscenes", raw, out, Options(scenes=names), workers=2)
    seconds = time.perf_counter() - start
    assert not report.failed, report.failed
    me, them = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps({
        "seconds": seconds, "cpu_seconds": me.ru_utime + me.ru_stime + them.ru_utime + them.ru_stime,
        "peak_mib_parent": me.ru_maxrss / 1024, "peak_mib_of_largest_worker": them.ru_maxrss / 1024,
    }))
"""

OUR_TABLES = """
import json, sys, time
from pathlib import Path
from data_tools.nuscenes import Options, list_logs
start, cpu = time.perf_counter(), time.process_time()
specs = list_logs(Path(sys.argv[1]), Options())
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
status = Path("/proc/self/status").read_text()  # unlike getrusage's, this peak begins at the start of the program
peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "peak_mib": peak}))
"""

DEVKIT_TABLES = """
import json, sys, time
from pathlib import Path
from nuscenes.nuscenes import NuScenes
start, cpu = time.perf_counter(), time.process_time()
NuScenes("v1.0-trainval", sys.argv[1], verbose=False)
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
status = Path("/proc/self/status").read_text()  # unlike getrusage's, this peak begins at the start of the program
peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "peak_mib": peak}))
"""


def measure(script: str, *arguments: str) -> dict[str, float]:
    """Run a script in a process of its own and return what it prints."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "script.py"
        file.write_text(script)
        environment = {**os.environ, "PYTHONPATH": str(REPO)}
        done = subprocess.run(
            [sys.executable, str(file), *arguments], check=True, capture_output=True, text=True, env=environment
        )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def write_tables(
    folder: Path, scenes: int, samples: int, sweeps: int, cameras: int, boxes: int, rng: random.Random
) -> dict[str, list[dict[str, Any]]]:
    """Tables of `scenes` scenes in nuScenes' own layout; per scene: samples, lidar sweeps, images a camera, boxes."""

    def token() -> str:
        return f"{rng.getrandbits(128):032x}"

    tables: dict[str, list[dict[str, Any]]] = {
        "category": [{"token": token(), "name": "vehicle.car", "description": ""}],
        "attribute": [{"token": token(), "name": "vehicle.moving", "description": ""}],
        "visibility": [{"token": str(i), "level": "", "description": ""} for i in range(1, 5)],
        "log": [{"token": token(), "logfile": "", "vehicle": "", "date_captured": "2018-08-01", "location": "nowhere"}],
        "sensor": [{"token": token(), "channel": "LIDAR_TOP", "modality": "lidar"}],
        "map": [], "scene": [], "sample": [], "sample_data": [], "ego_pose": [], "calibrated_sensor": [],
        "instance": [], "sample_annotation": [],
    }  # fmt: skip
    tables["sensor"] += [{"token": token(), "channel": c, "modality": "camera"} for c in CAMERAS]
    for s in range(scenes):
        scene, name = token(), f"scene-{s + 1:04d}"
        tokens = [token() for _ in range(samples)]
        start = 1_530_000_000_000_000 + s * 100_000_000
        step = 50_000 * max(1, sweeps // samples)
        tables["scene"].append({"token": scene, "log_token": tables["log"][0]["token"], "nbr_samples": samples,
                                "first_sample_token": tokens[0], "last_sample_token": tokens[-1], "name": name,
                                "description": ""})  # fmt: skip
        for k, t in enumerate(tokens):
            tables["sample"].append({"token": t, "timestamp": start + k * step, "prev": tokens[k - 1] if k else "",
                                     "next": tokens[k + 1] if k + 1 < samples else "",
                                     "scene_token": scene})  # fmt: skip
        for sensor in tables["sensor"]:
            calibrated, lidar = token(), sensor["modality"] == "lidar"
            tables["calibrated_sensor"].append({
                "token": calibrated, "sensor_token": sensor["token"], "translation": [1.7, 0.01, 1.5],
                "rotation": [0.5, -0.5, 0.5, -0.5],
                "camera_intrinsic": [] if lidar else [[633.2, 0.0, 408.1], [0.0, 633.2, 245.7], [0.0, 0.0, 1.0]],
            })  # fmt: skip
            count = sweeps if lidar else cameras
            for i in range(count):
                k, key = i * samples // count, i % (count // samples) == 0
                time, me = start + i * samples * step // count, token()
                tables["sample_data"].append({
                    "token": me, "sample_token": tokens[k], "ego_pose_token": me, "calibrated_sensor_token": calibrated,
                    "timestamp": time, "fileformat": "pcd" if lidar else "jpg", "is_key_frame": key,
                    "height": 0 if lidar else 450, "width": 0 if lidar else 800, "prev": token(), "next": token(),
                    "filename": f"{'samples' if key else 'sweeps'}/{sensor['channel']}/"
                                f"{name}__{sensor['channel']}__{time}{'.pcd.bin' if lidar else '.jpg'}",
                })  # fmt: skip
                tables["ego_pose"].append({"token": me, "timestamp": time,
                                           "rotation": [rng.random() for _ in range(4)],
                                           "translation": [rng.uniform(0, 2000) for _ in range(3)]})  # fmt: skip
        for _ in range(boxes // samples):
            instance, links = token(), ["", *(token() for _ in tokens), ""]
            tables["instance"].append({"token": instance, "category_token": tables["category"][0]["token"],
                                       "nbr_annotations": samples, "first_annotation_token": links[1],
                                       "last_annotation_token": links[-2]})  # fmt: skip
            for k, t in enumerate(tokens):
                tables["sample_annotation"].append({
                    "token": links[k + 1], "sample_token": t, "instance_token": instance, "visibility_token": "4",
                    "attribute_tokens": [tables["attribute"][0]["token"]], "size": [1.9, 4.5, 1.6],
                    "translation": [rng.uniform(0, 2000), rng.uniform(0, 2000), 1.0], "prev": links[k],
                    "next": links[k + 2], "rotation": [rng.random() for _ in range(4)], "num_lidar_pts": 5,
                    "num_radar_pts": 0,
                })  # fmt: skip
    # The devkit wants a raster for every log.
    tables["map"].append({"token": token(), "category": "semantic_prior", "filename": "maps/prior.png",
                          "log_tokens": [tables["log"][0]["token"]]})  # fmt: skip
    folder.mkdir(parents=True)
    (folder.parent / "maps").mkdir()
    PIL.Image.fromarray(np.zeros((10, 10), np.uint8)).save(folder.parent / "maps" / "prior.png")
    for name, records in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(records, indent=0))
    return tables


def write_files(raw: Path, tables: dict[str, list[dict[str, Any]]]) -> None:
    """The sweeps and images of the tables: noise of the right size."""
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    PIL.Image.fromarray(rng.integers(0, 64, (450, 800, 3), np.uint8)).save(buffer, "JPEG", quality=70)
    for record in tables["sample_data"]:
        path = raw / record["filename"]
        path.parent.mkdir(parents=True, exist_ok=True)
        if record["width"]:
            path.write_bytes(buffer.getvalue())
        else:
            points = rng.normal(0, 20, (30_000, 5)).astype(np.float32)
            points[:, 4] = np.arange(30_000) % 32
            path.write_bytes(points.tobytes())


def benchmark_convert(work: Path, raw: Path | None, logs: int, sweeps: int) -> dict[str, Any]:
    """Conversion of all the logs and of half of them."""
    if raw is None:
        raw = work / "raw"
        samples = sweeps // 10
        write_files(
            raw, write_tables(raw / "v1.0-town", logs, samples, sweeps, samples, 50 * samples, random.Random(0))
        )
    (folder,) = (path.parent for path in raw.glob("v1.0-*/scene.json"))
    names = sorted(record["name"] for record in json.loads((folder / "scene.json").read_text()))[:logs]
    result: dict[str, Any] = {"logs": len(names)}
    for key, part in (("half", names[: max(1, len(names) // 2)]), ("all", names)):
        out = work / f"out-{key}"
        figures = measure(CONVERT, str(raw), str(out), json.dumps(part))
        rows = [json.loads((path / "log.json").read_text())["counts"]["rows"] for path in sorted(out.glob("scene-*"))]
        count = sum(row["LIDAR_TOP"] for row in rows)
        images = sum(n for row in rows for sensor, n in row.items() if sensor.startswith("CAM"))
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        result[key] = {
            **figures, "logs": len(part), "lidar_sweeps": count, "images": images, "mb_written": size / 1e6,
            "sweeps_per_second": count / figures["seconds"],
            "sweeps_per_cpu_second": count / figures["cpu_seconds"],
        }  # fmt: skip
        shutil.rmtree(out)
    return result


def benchmark_tables(work: Path, scenes: int) -> dict[str, Any]:
    """Reading the tables: ours against the devkit's, same files."""
    raw = work / "tables"
    # Per scene of trainval: 40 samples, 3,095 sample_data (here without radar), 1,372 annotations.
    tables = write_tables(raw / "v1.0-trainval", scenes, 40, 400, 440, 1360, random.Random(0))
    result: dict[str, Any] = {
        "scenes": scenes,
        "sample_data": len(tables["sample_data"]),
        "annotations": len(tables["sample_annotation"]),
        "json_mb": sum(path.stat().st_size for path in raw.rglob("*.json")) / 1e6,
    }
    del tables
    result["ours"] = measure(OUR_TABLES, str(raw))
    try:
        result["devkit_version"] = version("nuscenes-devkit")
    except PackageNotFoundError:
        result["devkit"] = "not installed"
        return result
    result["devkit"] = measure(DEVKIT_TABLES, str(raw))
    result["times_faster"] = result["devkit"]["seconds"] / result["ours"]["seconds"]
    result["times_less_cpu"] = result["devkit"]["cpu_seconds"] / result["ours"]["cpu_seconds"]
    result["times_less_memory"] = result["devkit"]["peak_mib"] / result["ours"]["peak_mib"]
    return result


def machine() -> dict[str, Any]:
    """Description of where the figures were taken."""
    model = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "pyarrow": version("pyarrow"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, help="a raw data set in nuScenes shape, instead of noise")
    parser.add_argument("--logs", type=int, default=8)
    parser.add_argument("--sweeps", type=int, default=200, help="lidar sweeps a log of noise")
    parser.add_argument("--table-scenes", type=int, default=85)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "convert.json")
    args = parser.parse_args()
    result: dict[str, Any] = {"benchmark": "convert", "machine": machine()}
    with tempfile.TemporaryDirectory() as folder:
        result["convert"] = benchmark_convert(Path(folder), args.raw, args.logs, args.sweeps)
        result["tables"] = benchmark_tables(Path(folder), args.table_scenes)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
