"""Point clouds and images of a DGP scene."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.dgp.read import Mount, part, read_points, text
from data_tools.kitti.read import jpeg_size, png_size
from drive.errors import UserError
from drive.geometry.cameras import PLUMB_BOB
from drive.geometry.rigid import matrix_to_quaternion
from drive.logs.writer import LogWriter

_MEND = "copy the file from the data set again"
FileOf = Callable[[str], Path]


@dataclass(frozen=True)
class Datum:
    """An image or a cloud: what the scene says of it, its time, and the ego's pose at it."""

    sensor: str
    kind: str
    record: dict[str, Any]
    stamp_us: int
    global_from_ego: np.ndarray

    @property
    def pose(self) -> tuple[np.ndarray, np.ndarray]:
        """Translation [3] and quaternion [4]."""
        return self.global_from_ego[:3, 3], matrix_to_quaternion(self.global_from_ego[:3, :3])


Samples = list[tuple[int, list[Datum]]]


def add_sensors(
    log: LogWriter, place: Path, file: FileOf, samples: Samples, mounts: dict[str, Mount], images: bool
) -> dict[tuple[str, int], int]:
    """Declare what the samples use and add it in order of time; returns {(sensor, stamp): row}."""
    rows: dict[tuple[str, int], int] = {}
    for sensor in sorted({d.sensor for _, own in samples for d in own}):
        data = sorted((d for _, own in samples for d in own if d.sensor == sensor), key=lambda d: d.stamp_us)
        kind = data[0].kind
        if any(d.kind != kind for d in data):
            raise UserError(place, f"{sensor} gives both images and clouds", _MEND)
        if kind == "image" and not images:
            continue
        add = _add_image if kind == "image" else _add_cloud
        for i, datum in enumerate(data):
            rows[sensor, datum.stamp_us] = add(log, place, file, datum, mounts[sensor], declare=not i)
    return rows


def _add_cloud(log: LogWriter, place: Path, file: FileOf, datum: Datum, mount: Mount, *, declare: bool) -> int:
    form = part(datum.record, "point_format", list, f"{place}: {datum.sensor}")
    columns = [str(name).lower() for name in form]
    if columns[:3] != ["x", "y", "z"]:
        raise UserError(f"{place}: {datum.sensor}", f"points of the columns {columns}, not x y z", _MEND)
    path = file(text(datum.record.get("filename"), f"{place}: {datum.sensor}"))
    points = read_points(path, columns)
    if declare:
        log.add_sensor(
            datum.sensor, "lidar", mount.translation, mount.rotation, columns=tuple(columns),
            intensity_max=1.0 if "intensity" in columns else None,
        )  # fmt: skip
    return log.add_sweep(
        datum.sensor, datum.stamp_us * 1000, points, *datum.pose, is_key_frame=True, source_timestamp=datum.stamp_us,
        source_name=str(datum.record["filename"]),
    )  # fmt: skip


def _add_image(log: LogWriter, place: Path, file: FileOf, datum: Datum, mount: Mount, *, declare: bool) -> int:
    path = file(text(datum.record.get("filename"), f"{place}: {datum.sensor}"))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(path, f"image cannot be read ({error.strerror})", _MEND) from None
    width, height = png_size(data, path) if data.startswith(b"\x89PNG") else jpeg_size(data, path)
    if declare:
        log.add_sensor(
            datum.sensor, "camera", mount.translation, mount.rotation, intrinsics=mount.intrinsics, width=width,
            height=height, distortion=None if mount.distortion is None else (PLUMB_BOB, mount.distortion),
        )  # fmt: skip
    return log.add_image(
        datum.sensor, datum.stamp_us * 1000, data, width, height, *datum.pose, is_key_frame=True,
        source_timestamp=datum.stamp_us, source_name=str(datum.record["filename"]), file=path,
    )  # fmt: skip
