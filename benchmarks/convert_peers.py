"""The same raw nuScenes logs converted by us and by 123D (py123d 0.7), each in a process of its own, interleaved.

Usage: python -m benchmarks.convert_peers --peer-python PYTHON [--raw FOLDER] [--scenes 4] [--rounds 3] [--out FILE]

PYTHON is the interpreter of an environment of its own with ``py123d[nuscenes]==0.7.0``; its devkit asks for numpy below
2 and pyarrow for 2 or newer: install numpy>=2 and shapely>=2.1 over it. Data: `--raw`, or scenes of our town in the
shape of nuScenes v1.0. 123D converts only scenes of the official splits, between their first and last key frame: so
the raw set is shown to both sides as v1.0-mini, its scenes under that one's names and without the sweeps outside.

What is written, one process a side, clock started after the imports:

- Both: every lidar sweep (20 Hz), radar sweep and image, boxes of the key frames, ego poses, map. Lidar and radar are
  stored in the log; images too or, in the row ``images_referenced``, as paths. Rows ``stored`` and
  ``images_referenced`` without compression (ours ``raw``, theirs ``ipc``), row ``lz4`` with LZ4.
- Ours: points as recorded, float32 x 5 in the sensor's frame (20 bytes a point); five radars apart; the map within
  150 m of each path; the CAN bus's messages, all tokens, a SHA-256 of every file; every file synced to the disk.
- 123D: points in the vehicle's frame, float32 x 3 and intensity, ring, lidar as uint8 (15 bytes a point); radars
  merged into one cloud; the whole of all four maps, once (``map_seconds`` of its seconds); the rest of its shipped
  settings for nuScenes (velocities and accelerations inferred, route). Nothing synced, no checksum: ``synced_seconds``
  = its seconds and then an fsync of every file (of ours nothing is left to sync), by which the two are compared.
- ``peer_as_shipped``: 123D by its own default, key frames only (2 Hz) and lidar, radar and images as paths: no payload
  is written. We have no such form: for information.

What both wrote in the first round of a row is compared: the same frames, boxes, images and points, else there is no
result. Before the first row both convert once untimed. Where the machine has other work, CPU seconds are the fair ones.
mmdetection3d 1.4 is left out: its mmcv (>=2.0.0rc4, <2.2) has no built package on PyPI, and its converter writes only
pickles of paths and boxes, no payload.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console

from benchmarks.convert import REPO, machine
from data_tools.town import TownConfig, build
from drive.geometry.rigid import transform_points
from drive.logs.store import Log

OFFICIAL = (0, 61), (0, 553), (0, 655), (0, 757), (0, 796), (1, 77), (1, 94), (1, 100), (0, 103), (0, 916)
NAMES = [f"scene-{thousand}{rest:03d}" for thousand, rest in OFFICIAL]  # v1.0-mini's scenes
CAMERAS = {
    "CAM_FRONT": "f0", "CAM_BACK": "b0", "CAM_FRONT_LEFT": "l0", "CAM_FRONT_RIGHT": "r0", "CAM_BACK_LEFT": "l1",
    "CAM_BACK_RIGHT": "r1",
}  # fmt: skip
ROWS: dict[str, tuple[dict[str, Any] | None, list[str]]] = {  # fields of our Choice, settings of theirs
    "stored": ({}, ["camera_store_option=jpeg_binary", "lidar_codec=ipc", "radar_codec=ipc"]),
    "images_referenced": (
        {"reference_images": True},
        ["camera_store_option=path", "lidar_codec=ipc", "radar_codec=ipc"],
    ),
    "peer_as_shipped": (None, []),
    "lz4": ({"points": "lz4"}, ["camera_store_option=jpeg_binary", "lidar_codec=ipc_lz4", "radar_codec=ipc_lz4"]),
}

CLOCK = """
import json, os, resource, sys, time
from pathlib import Path

def cpu():
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime

def measured(work, out, more):
    start, before = time.perf_counter(), cpu()
    work()
    seconds, used = time.perf_counter() - start, cpu() - before
    files = [path for path in Path(out).rglob("*") if path.is_file()]
    for path in files:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    status = Path("/proc/self/status").read_text()  # unlike getrusage's, this peak begins at the start of the program
    print(json.dumps({
        "seconds": seconds, "synced_seconds": time.perf_counter() - start, "cpu_seconds": used,
        "peak_mib": int(status.split("VmHWM:")[1].split()[0]) / 1024,
        "mb_written": sum(path.stat().st_size for path in files) / 1e6, **more,
    }))
"""

OURS = """
import rich.console, rich.progress
from data_tools.convert import Choice, convert
from data_tools.nuscenes import Options
raw, out, names, choice = sys.argv[1], sys.argv[2], tuple(json.loads(sys.argv[3])), json.loads(sys.argv[4])

def work():
    options = Options(version="v1.0-mini", scenes=names)
    report = convert("nuscenes", Path(raw), Path(out), options, choice=Choice(**choice))
    assert len(report.converted) == len(names), report

measured(work, out, {})
"""

PEER = """
raw, out, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[4])
os.environ.update(NUSCENES_DATA_ROOT=raw, PY123D_DATA_ROOT=out)
import py123d.api.map.arrow.arrow_map_writer, py123d.api.scene.arrow.arrow_log_writer
import py123d.common.execution.sequential_executor, py123d.parser.nuscenes.nuscenes_parser
from hydra import compose, initialize_config_module
from py123d.script import run_conversion
with initialize_config_module("py123d.script.config.conversion", version_base=None):
    cfg = compose("default_conversion", ["dataset=nuscenes-mini", "execution=sequential_executor", *settings])
maps, convert_maps = {"map_seconds": 0.0, "map_cpu_seconds": 0.0}, run_conversion._convert_maps

def timed(*args, **keywords):
    start, before = time.perf_counter(), cpu()
    result = convert_maps(*args, **keywords)
    maps["map_seconds"] += time.perf_counter() - start
    maps["map_cpu_seconds"] += cpu() - before
    return result

run_conversion._convert_maps = timed
measured(lambda: run_conversion.main.__wrapped__(cfg), out, maps)
"""

VERSIONS = """
import json, platform
from importlib.metadata import version
import py123d.parser.nuscenes.nuscenes_parser
names = ("py123d", "nuscenes-devkit", "pyarrow", "numpy")
print(json.dumps({"python": platform.python_version(), **{name: version(name) for name in names}}))
"""


def run(python: str, script: str, *arguments: str) -> dict[str, Any]:
    """Run a script in a process of its own; what its last line says. SystemExit with its last words where it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if python == sys.executable:
        environment["PYTHONPATH"] = str(REPO)
    command = [python, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    # 123D logs what goes wrong in a log and goes on.
    if done.returncode or "Error converting" in done.stderr + done.stdout:
        raise SystemExit(f"{python} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def stage(raw: Path, folder: Path, count: int) -> list[str]:
    """Show `raw` as v1.0-mini in `folder`, by links; returns the names of the first `count` scenes there."""
    (tables,) = (path.parent for path in raw.glob("v1.0-*/scene.json"))
    (folder / "v1.0-mini").mkdir(parents=True)
    (folder / "can_bus").mkdir()
    for name in ("samples", "sweeps", "maps"):
        (folder / name).symlink_to(raw / name)
    own = {"scene.json", "sample_data.json", "splits.json", "scene_3d.json"}  # the last two: our town's alone
    for path in tables.glob("*.json"):
        if path.name not in own:
            (folder / "v1.0-mini" / path.name).symlink_to(path)
    scenes = sorted(json.loads((tables / "scene.json").read_text()), key=lambda scene: str(scene["name"]))[:count]
    for scene, name in zip(scenes, NAMES, strict=False):
        for path in (raw / "can_bus").glob(f"{scene['name']}_*"):
            (folder / "can_bus" / path.name.replace(scene["name"], name)).symlink_to(path)
        scene["name"] = name
    samples = {record["token"]: record for record in json.loads((tables / "sample.json").read_text())}
    ends = {scene["token"]: samples[scene["last_sample_token"]]["timestamp"] for scene in scenes}
    records = json.loads((tables / "sample_data.json").read_text())
    records = [record for record in records if samples[record["sample_token"]]["scene_token"] in ends]
    starts: dict[str, int] = {}
    for record in records:
        if record["is_key_frame"]:
            key = record["calibrated_sensor_token"]
            starts[key] = min(record["timestamp"], starts.get(key, record["timestamp"]))

    def inside(record: dict[str, Any]) -> bool:
        end = ends[samples[record["sample_token"]]["scene_token"]]
        is_between = starts[record["calibrated_sensor_token"]] <= record["timestamp"] <= end
        return bool(record["is_key_frame"] or is_between)

    records = [record for record in records if inside(record)]
    kept = {record["token"] for record in records}
    for record in records:
        record.update({link: record[link] if record[link] in kept else "" for link in ("prev", "next")})
    (folder / "v1.0-mini" / "scene.json").write_text(json.dumps(scenes))
    (folder / "v1.0-mini" / "sample_data.json").write_text(json.dumps(records))
    return [scene["name"] for scene in scenes]


def column(path: Path, name: str) -> list[Any]:
    """Cells of a column of a 123D file."""
    with pa.memory_map(str(path)) as source:
        values: list[Any] = pa.ipc.open_file(source).read_all()[f"{path.stem}.{name}"].to_pylist()
    return values


def demand(holds: bool, place: str, what: str) -> None:
    """SystemExit where two conversions are not the same."""
    if not holds:
        raise SystemExit(f"{place}: {what} differ")


def compare(raw: Path, ours: Path, peer: Path, names: list[str]) -> dict[str, float]:
    """SystemExit unless both conversions hold the same; what they hold, and the largest difference of a point."""
    counts = {"frames": 0, "boxes": 0, "lidar_sweeps": 0, "lidar_points": 0, "images": 0, "radar_points": 0}
    largest = 0.0
    for name in names:
        log = Log.open(ours / name)
        (folder,) = (path.parent for path in peer.glob(f"logs/*/{name}/sync.arrow"))
        stamps = column(folder / "sync.arrow", "timestamp_us")
        demand((log.frame_timestamps_ns // 1000).tolist() == stamps, name, "frames")
        cells = {key: column(folder / "box_detections_se3.arrow", key) for key in ("track_token", "bounding_box_se3")}
        for frame in range(len(stamps)):
            boxes = log.boxes(frame)
            mine = np.hstack([boxes.source_translation, boxes.source_rotation, boxes.source_size[:, [1, 0, 2]]])
            at = {token: i for i, token in enumerate(cells["track_token"][frame])}
            demand(sorted(at) == sorted(boxes.track_token), name, f"boxes of frame {frame}")
            theirs = np.array(cells["bounding_box_se3"][frame]).reshape(-1, 10)[[at[t] for t in boxes.track_token]]
            demand(bool(np.allclose(mine, theirs, rtol=0, atol=1e-9)), name, f"places of boxes of frame {frame}")
            counts["boxes"] += len(at)
        blobs = column(folder / "lidar.lidar_merged.arrow", "data")
        ends = column(folder / "lidar.lidar_merged.arrow", "end_timestamp_us")
        demand((log.sweep_timestamps_ns("LIDAR_TOP") // 1000).tolist() == ends, name, "times of sweeps")
        for row, blob in enumerate(blobs):
            cloud, points = pa.ipc.open_stream(blob).read_all(), log.points("LIDAR_TOP", row)
            demand(cloud.num_rows == len(points), name, f"points of sweep {row}")
            counts["lidar_points"] += len(points)
            if row % 50 == 0:
                in_ego = transform_points(log.sensors["LIDAR_TOP"].ego_from_sensor, points[:, :3].astype(np.float64))
                theirs = np.stack([cloud[axis].to_numpy() for axis in "xyz"], axis=1)
                largest = max(largest, float(np.abs(in_ego - theirs).max()))
                same = (points[:, 3].astype(np.uint8) == cloud["intensity"]).all()
                demand(largest < 1e-4 and bool(same), name, f"coordinates of sweep {row}")
        for camera, short in CAMERAS.items():
            images = column(folder / f"camera.pcam_{short}.arrow", "data")
            demand(len(images) == log.num_sweeps(camera), name, f"numbers of images of {camera}")
            for row, image in enumerate(images):
                data = (raw / image).read_bytes() if isinstance(image, str) else image
                demand(log.image(camera, row).data == data, name, f"image {row} of {camera}")
            counts["images"] += len(images)
        radars = [sensor.name for sensor in log.sensors.values() if sensor.modality == "radar"]
        mine_radar = sum(len(log.points(radar, row)) for radar in radars for row in range(log.num_sweeps(radar)))
        merged = column(folder / "radar.radar_merged.arrow", "data") if radars else []
        demand(mine_radar == sum(pa.ipc.open_stream(blob).read_all().num_rows for blob in merged), name, "radar points")
        counts["frames"] += len(stamps)
        counts["lidar_sweeps"] += len(blobs)
        counts["radar_points"] += mine_radar
    return {**counts, "largest_difference_of_a_point_m": largest}


def convert(side: str, python: str, raw: Path, out: Path, names: list[str], row: str) -> dict[str, Any]:
    """One conversion by `side` ("ours" or "peer") into `out`, the disk quiet before it."""
    choice, store = ROWS[row]
    settings = [f"++dataset.log_writer_config.{setting}" for setting in store]
    if store:
        binary = [f"++dataset.log_writer_config.{kind}_store_option=binary" for kind in ("lidar", "radar")]
        settings += [*binary, "async_conversion=True"]
    os.sync()
    script = CLOCK + (OURS if side == "ours" else PEER)
    return run(
        python, script, str(raw), str(out), json.dumps(names), json.dumps(choice if side == "ours" else settings)
    )


def benchmark(row: str, raw: Path, work: Path, names: list[str], peer_python: str, rounds: int) -> dict[str, Any]:
    """One row of `ROWS`, in interleaved rounds; the first is compared as well."""
    pythons = {"ours": sys.executable, "peer": peer_python}
    sides = ["peer"] if ROWS[row][0] is None else ["ours", "peer"]
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    result: dict[str, Any] = {"ours_choice": ROWS[row][0], "peer_settings": ROWS[row][1]}
    for number in range(rounds):
        for side in sides[::-1] if number % 2 else sides:
            runs[side].append(convert(side, pythons[side], raw, work / side, names, row))
        if number == 0 and len(sides) == 2:
            result["holds"] = compare(raw, work / "ours", work / "peer", names)
        for side in sides:
            shutil.rmtree(work / side)
    for side in sides:
        keys = runs[side][0].keys()
        result[side] = {
            **{key: statistics.median(figures[key] for figures in runs[side]) for key in keys},
            "synced_seconds_of_runs": [figures["synced_seconds"] for figures in runs[side]],
            "cpu_seconds_of_runs": [figures["cpu_seconds"] for figures in runs[side]],
        }
    if len(sides) == 2:
        sweeps = result["holds"]["lidar_sweeps"]
        for side in sides:
            result[side]["lidar_sweeps_per_second"] = sweeps / result[side]["synced_seconds"]
            result[side]["lidar_sweeps_per_cpu_second"] = sweeps / result[side]["cpu_seconds"]
        ours, peer = result["ours"], result["peer"]
        names_of = ("seconds", "synced_seconds", "cpu_seconds", "peak_mib", "mb_written")
        result["peer/ours"] = {key: peer[key] / ours[key] for key in names_of}
        result["peer_without_maps/ours"] = {
            "synced_seconds": (peer["synced_seconds"] - peer["map_seconds"]) / ours["synced_seconds"],
            "cpu_seconds": (peer["cpu_seconds"] - peer["map_cpu_seconds"]) / ours["cpu_seconds"],
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", required=True, help="interpreter of an environment with py123d[nuscenes]")
    parser.add_argument("--raw", type=Path, help="a raw data set in nuScenes shape; default: scenes of the town")
    parser.add_argument("--scenes", type=int, default=4, help=f"how many scenes, {len(NAMES)} at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "convert_peers.json")
    args = parser.parse_args()
    try:
        versions = run(args.peer_python, VERSIONS)
    except (OSError, SystemExit) as error:
        raise SystemExit(f"--peer-python has no working py123d[nuscenes]==0.7.0: {error}") from error
    result: dict[str, Any] = {"benchmark": "convert_peers", "machine": machine(), "peer_packages": versions}
    with tempfile.TemporaryDirectory() as folder:
        work, raw = Path(folder), args.raw
        if raw is None:
            raw = work / "town"
            build(TownConfig(raw, scenes=args.scenes - 1, val_scenes=1), Console(quiet=True))
        names = stage(raw.resolve(), work / "raw", min(args.scenes, len(NAMES)))
        result |= {"logs": len(names), "data": "town" if args.raw is None else raw.name, "processes": 1}
        result |= {"rounds": args.rounds, "rows": {}}
        for side, python in (("ours", sys.executable), ("peer", args.peer_python)):
            convert(side, python, work / "raw", work / side, names, "stored")
            shutil.rmtree(work / side)
        for row in args.rows:
            result["rows"][row] = benchmark(row, work / "raw", work, names, args.peer_python, args.rounds)
            result["load_after"] = os.getloadavg()[0]
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
