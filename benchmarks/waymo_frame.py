"""One Waymo perception frame, bytes of a record to points: ours against the official steps written in numpy.

Interleaved in one process, one thread each. Data: full-size frames of the synthetic town (top lidar 64 x 2650 with
pixel poses, four lidars of 200 x 600, two returns each). The official steps are those of ``frame_utils``: inflate and
parse every range image, pixel pose and camera projection; polar and Cartesian coordinates of every pixel in float32;
then keep the pixels with a return. No result unless the points agree.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from data_tools.tfrecord import TFRecordFile, crc32c
from data_tools.town import TownConfig, build
from data_tools.waymo_perception.messages import FRAME, LASERS, MATRIX_FLOAT, MATRIX_INT32
from data_tools.waymo_perception.range_image import Laser
from data_tools.waymo_perception.records import read_frame
from data_tools.waymo_perception.scans import read_scan
from data_tools.wire import decode
from drive.geometry.rigid import invert

TOP = 1


def lasers_of(frame: dict[str, Any]) -> dict[int, Laser]:
    """Calibrations by number."""
    return {
        c["name"]: Laser(
            LASERS[c["name"]], c["extrinsic"]["transform"].reshape(4, 4), c["beam_inclinations"],
            c["beam_inclination_min"], c["beam_inclination_max"],
        )
        for c in frame["context"]["laser_calibrations"]
    }  # fmt: skip


def ours(frame: dict[str, Any]) -> list[np.ndarray]:
    """Points [P, 3] of every laser in turn, both returns."""
    lasers, ego_from_global = lasers_of(frame), invert(frame["pose"]["transform"].reshape(4, 4))
    found = []
    for message in frame["lasers"]:
        number = message["name"]
        scan = read_scan(message, lasers[number], ego_from_global, "frame", needs_pose=number == TOP)
        assert scan is not None
        found.append(scan.points[:, :3])
    return found


def matrix(data: bytes, *, integers: bool = False) -> np.ndarray:
    """A compressed matrix, by zlib and a copy-free parse."""
    found = decode(zlib.decompress(data), MATRIX_INT32 if integers else MATRIX_FLOAT)
    return found["data"].reshape(found["shape"]["dims"])


def turns(roll: np.ndarray, pitch: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """Rz(yaw) Ry(pitch) Rx(roll) [H, W, 3, 3], as transform_utils.get_rotation_matrix."""
    zero, one = np.zeros_like(roll), np.ones_like(roll)

    def stack(*rows: list[np.ndarray]) -> np.ndarray:
        return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)

    about_x = stack([one, zero, zero], [zero, np.cos(roll), -np.sin(roll)], [zero, np.sin(roll), np.cos(roll)])
    about_y = stack([np.cos(pitch), zero, np.sin(pitch)], [zero, one, zero], [-np.sin(pitch), zero, np.cos(pitch)])
    about_z = stack([np.cos(yaw), -np.sin(yaw), zero], [np.sin(yaw), np.cos(yaw), zero], [zero, zero, one])
    return about_z @ (about_y @ about_x)


def official_steps(frame: dict[str, Any]) -> list[np.ndarray]:
    """The same by the official steps."""
    lasers = lasers_of(frame)
    world_to_vehicle = np.linalg.inv(frame["pose"]["transform"].reshape(4, 4).astype(np.float32))
    found = []
    for message in frame["lasers"]:
        laser = lasers[message["name"]]
        extrinsic = laser.ego_from_sensor.astype(np.float32)
        clouds = []
        pixel_pose = None
        if message["name"] == TOP:
            pose = matrix(message["return1"]["pose"])
            pixel_pose = turns(pose[..., 0], pose[..., 1], pose[..., 2]), pose[..., 3:]
        for number in (1, 2):
            image = matrix(message[f"return{number}"]["range_image"])
            projection = matrix(message[f"return{number}"]["camera_projection"], integers=True)
            height, width, _ = image.shape
            azimuth = np.tile(laser.columns(width), (height, 1))
            inclination = np.tile(laser.rows(height, "frame")[:, None], (1, width))
            polar = np.stack([azimuth, inclination, image[..., 0]], axis=-1)
            azimuth, inclination, reach = polar[..., 0], polar[..., 1], polar[..., 2]
            x = np.cos(azimuth) * np.cos(inclination) * reach
            y = np.sin(azimuth) * np.cos(inclination) * reach
            points = np.stack([x, y, np.sin(inclination) * reach], axis=-1)
            points = np.einsum("kr,ijr->ijk", extrinsic[:3, :3], points) + extrinsic[:3, 3]
            if pixel_pose is not None:
                points = np.einsum("hwij,hwj->hwi", pixel_pose[0], points) + pixel_pose[1]
                points = np.einsum("ij,hwj->hwi", world_to_vehicle[:3, :3], points) + world_to_vehicle[:3, 3]
            mask = np.nonzero(image[..., 0] > 0)
            clouds.append(points[mask])
            projection[mask]
        found.append(np.concatenate(clouds))
    return found


def inflate_only(frame: dict[str, Any], fields: tuple[str, ...]) -> None:
    """zlib alone, of some fields of every return."""
    for message in frame["lasers"]:
        for number in (1, 2):
            for field in fields:
                if data := message[f"return{number}"].get(field):
                    zlib.decompress(data)


def timed(seconds: dict[str, list[float]], name: str, function: Callable[[], Any]) -> Any:
    """Call, and note the processor's seconds: they stay true on a machine that others use too."""
    begin = time.process_time()
    result = function()
    seconds.setdefault(name, []).append(time.process_time() - begin)
    return result


def machine() -> dict[str, Any]:
    """Description of where the figures were taken."""
    model = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        model = next(
            (line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line), model
        )
    return {
        "processor": model, "cores": os.cpu_count(), "system": platform.platform(),
        "python": platform.python_version(), "numpy": np.__version__, "zlib": zlib.ZLIB_RUNTIME_VERSION,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--raw", type=Path, help="a folder of perception v1 files instead of the town")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "waymo_frame.json")
    args = parser.parse_args()
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        raw = args.raw or Path(folder) / "town"
        if args.raw is None:
            build(
                TownConfig(raw, format="waymo", scenes=1, val_scenes=0, seconds=0.5, cameras=False, workers=1),
                Console(quiet=True),
            )
        path = next(iter(sorted(raw.rglob("*.tfrecord"))))
        points, worst, frames = 0, 0.0, 0
        with TFRecordFile(path) as file:
            ours(read_frame(file, 0))  # compilation
            for record in list(range(len(file))) * args.repeats:
                data = file.read(record)
                timed(seconds, "checksum of the record", lambda data=data: crc32c(data))
                frame = timed(seconds, "ours: decode the message", lambda data=data: decode(data, FRAME))
                mine = timed(seconds, "ours: images to points", lambda frame=frame: ours(frame))
                theirs = timed(seconds, "official steps: images to points", lambda f=frame: official_steps(f))
                fields = ("range_image", "pose")
                timed(seconds, "zlib alone, what ours reads", lambda f=frame, n=fields: inflate_only(f, n))
                timed(
                    seconds, "zlib alone, what official reads",
                    lambda f=frame, n=(*fields, "camera_projection"): inflate_only(f, n),
                )  # fmt: skip
                gap = max(float(np.abs(a - b).max(initial=0)) for a, b in zip(mine, theirs, strict=True))
                worst, points, frames = max(worst, gap), points + sum(map(len, mine)), frames + 1
        far = float(np.abs(frame["pose"]["transform"]).max()) + 75
        assert worst < 4 * np.spacing(np.float32(far)), f"the two differ by {worst} m"
    milliseconds = {name: 1e3 * statistics.median(values) for name, values in seconds.items()}
    ratio = milliseconds["official steps: images to points"] / milliseconds["ours: images to points"]
    result = {
        "benchmark": "waymo_frame", "frames": frames, "points_a_frame": points / frames, "largest_difference_m": worst,
        "milliseconds": milliseconds, "ratio": ratio, "machine": machine(),
    }  # fmt: skip
    for name, value in milliseconds.items():
        print(f"{name}: {value:.2f} ms a frame")
    print(f"points {points / frames:.0f} a frame, ratio {ratio:.1f}, largest difference {worst:.2g} m")
    args.out.parent.mkdir(exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
