"""Perception v2: parquet components of a segment, joined into the shape of a decoded v1 Frame.

A component is ``<tag>/<segment>.parquet`` (v2 package, ``component.py``): columns ``key.<name>`` and
``[<Class>].<field>``. Sensor names stand there as numbers or as words, floats in 32 or 64 bits: both are read. Rows are
sorted by time; of range images and pictures, one batch of rows is held at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.waymo_perception.messages import CAMERAS, LASERS
from data_tools.waymo_perception.range_image import shaped
from data_tools.waymo_perception.v2_rows import (
    box_label,
    camera_calibration,
    camera_image,
    camera_label,
    camera_segmentation,
    lidar_calibration,
    return_matrix,
    stats,
    synced_box,
)
from drive.errors import UserError

_AGAIN = "copy the file again"
SMALL = (
    "vehicle_pose", "camera_calibration", "lidar_calibration", "stats", "lidar_box", "lidar_camera_synced_box",
    "camera_box", "projected_lidar_box", "camera_to_lidar_box_association",
)  # fmt: skip
LARGE = (
    "camera_image", "lidar", "lidar_pose", "lidar_camera_projection", "lidar_segmentation", "camera_segmentation",
)  # fmt: skip
KEPT = ("camera_hkp", "lidar_hkp")  # stored as recorded
_BATCH = 8

Row = dict[str, Any]
Files = Sequence[tuple[str, Path]]


def segment_files(raw: Path) -> list[tuple[str, tuple[tuple[str, Path], ...]]]:
    """(segment, ((tag, file), ...)) of every segment below `raw` that has a component we know, tags sorted."""
    found: dict[tuple[Path, str], list[tuple[str, Path]]] = {}
    for path in sorted(raw.rglob("*.parquet")):
        if path.parent.name in (*SMALL, *LARGE, *KEPT):
            found.setdefault((path.parent.parent, path.stem), []).append((path.parent.name, path))
    return [(name, tuple(files)) for (_, name), files in sorted(found.items())]


class Component:
    """One parquet file: its rows as dicts of short names (``key.`` and the class are cut off)."""

    def __init__(self, path: Path, segment: str) -> None:
        self.path, self.segment = path, segment
        try:
            self._file = pq.ParquetFile(path)
            self._names = [_short(name) for name in self._file.schema_arrow.names]
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._broken(error) from None

    def _broken(self, error: Exception) -> UserError:
        return UserError(self.path, f"not a readable parquet file ({(str(error).splitlines() or [''])[0]})", _AGAIN)

    def rows(self, size: int = 4096) -> Iterator[tuple[str, Row]]:
        """(place, row) of every row, in order; lists become numpy arrays; null stays None."""
        number = 0
        batches = self._file.iter_batches(batch_size=size)
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError, ValueError) as error:
                raise self._broken(error) from None
            if batch is None:
                return
            for row in self._unpacked(batch):
                place = f"{self.path}: row {number}"
                if row.get("segment_context_name") != self.segment:
                    other = row.get("segment_context_name")
                    raise UserError(place, f"belongs to segment {other!r}, not {self.segment}", _AGAIN)
                yield place, row
                number += 1

    def _unpacked(self, batch: pa.RecordBatch) -> Iterator[Row]:
        columns = []
        for column in batch.columns:
            if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
                columns.append([self._array(value) for value in column])
            else:
                try:
                    columns.append(column.to_pylist())
                except UnicodeDecodeError as error:
                    raise self._broken(error) from None
        for values in zip(*columns, strict=True):
            yield dict(zip(self._names, values, strict=True))

    def _array(self, scalar: Any) -> np.ndarray | None:
        if not scalar.is_valid:
            return None
        if scalar.values.null_count or pa.types.is_nested(scalar.values.type):
            raise UserError(self.path, f"a list of {scalar.type} holds nulls or lists", _AGAIN)
        return scalar.values.to_numpy(zero_copy_only=False)

    def table(self) -> pa.Table:
        """The whole table as recorded."""
        try:
            return self._file.read().replace_schema_metadata(None)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._broken(error) from None


def _short(name: str) -> str:
    if name.startswith("key."):
        return name.removeprefix("key.")
    head, dot, rest = name.partition("].")
    return rest if dot and head.startswith("[") else name


def whole(row: Row, name: str, place: str) -> int:
    """An integer of a row."""
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise UserError(place, f"{name} is {value!r}, not a whole number", _AGAIN)
    return value


def sensor_number(row: Row, name: str, names: dict[int, str], place: str) -> int:
    """Number of the sensor that a key names, by number or by word."""
    value = row.get(name)
    if isinstance(value, str):
        value = {word: number for number, word in names.items()}.get(value, value)
    if value not in names:
        raise UserError(place, f"{name} {value!r} is not one of {sorted(names)}", _AGAIN)
    return int(value)


class _Cursor:
    """Rows of a large component by time: what is asked for must come in the order of the file."""

    def __init__(self, component: Component) -> None:
        self._rows = component.rows(_BATCH)
        self._next = next(self._rows, None)

    def at(self, stamp: int) -> list[tuple[str, Row]]:
        """All rows of one frame. Rows of frames that nobody asked for are an error: they would vanish."""
        found = []
        while self._next is not None:
            place, row = self._next
            time = whole(row, "frame_timestamp_micros", place)
            if time > stamp:
                break
            if time < stamp:
                raise UserError(place, f"frame {time} has no vehicle pose, or stands out of order", _AGAIN)
            found.append(self._next)
            self._next = next(self._rows, None)
        return found


def read_segment(files: Files) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, frame) in order of time, of the components that are there; ``vehicle_pose`` must be."""
    paths = dict(files)
    segment = files[0][1].stem
    parts = {tag: Component(path, segment) for tag, path in files if tag not in KEPT}
    if "vehicle_pose" not in parts:
        raise UserError(
            files[0][1].parent.parent / "vehicle_pose" / f"{segment}.parquet", "the file is missing",
            "download the component vehicle_pose: without it nothing has a place",
        )  # fmt: skip
    poses: dict[int, np.ndarray | None] = {}
    for place, row in parts["vehicle_pose"].rows():
        stamp = whole(row, "frame_timestamp_micros", place)
        if stamp in poses:
            raise UserError(place, f"a second pose of frame {stamp}", _AGAIN)
        poses[stamp] = row.get("world_from_vehicle.transform")
    small = {tag: _by_time(parts[tag].rows()) for tag in SMALL if tag in parts and not tag.endswith("calibration")}
    for tag, rows in small.items():
        if lost := sorted(set(rows) - set(poses)):
            raise UserError(paths[tag], f"frame {lost[0]} has no vehicle pose", _AGAIN)
    context = {
        "name": segment,
        "laser_calibrations": _calibrations(parts, "lidar_calibration", "laser_name", LASERS, lidar_calibration),
        "camera_calibrations": _calibrations(parts, "camera_calibration", "camera_name", CAMERAS, camera_calibration),
    }
    large = {tag: _Cursor(parts[tag]) for tag in LARGE if tag in parts}
    for stamp in sorted(poses):
        place = f"{paths['vehicle_pose']}: frame {stamp}"
        here = {tag: by_time.get(stamp, []) for tag, by_time in small.items()}
        here |= {tag: cursor.at(stamp) for tag, cursor in large.items()}
        yield place, _frame(context, stamp, poses[stamp], here)
    for cursor in large.values():
        cursor.at(np.iinfo(np.int64).max)


def _by_time(rows: Iterable[tuple[str, Row]]) -> dict[int, list[tuple[str, Row]]]:
    out: dict[int, list[tuple[str, Row]]] = {}
    for place, row in rows:
        out.setdefault(whole(row, "frame_timestamp_micros", place), []).append((place, row))
    return out


def _calibrations(
    parts: dict[str, Component], tag: str, key: str, names: dict[int, str], make: Any
) -> list[dict[str, Any]]:
    if tag not in parts:
        return []
    return [{"name": sensor_number(row, key, names, place), **make(row)} for place, row in parts[tag].rows()]


def _frame(
    context: dict[str, Any], stamp: int, pose: np.ndarray | None, rows: dict[str, list[tuple[str, Row]]]
) -> dict[str, Any]:
    images = {}
    for place, row in rows.get("camera_image", ()):
        number = sensor_number(row, "camera_name", CAMERAS, place)
        images[number] = {"name": number, **camera_image(row)}
    for place, row in rows.get("camera_segmentation", ()):
        number = sensor_number(row, "camera_name", CAMERAS, place)
        if number in images:
            images[number]["segmentation"] = camera_segmentation(row, place)
    described = [stats(row) for _, row in rows.get("stats", ())]
    return {
        "context": {**context, "stats": described[0]} if described else context,
        "timestamp_micros": stamp,
        "pose": {"transform": () if pose is None else pose},
        "images": list(images.values()),
        "lasers": _lasers(rows),
        "laser_labels": _boxes(rows),
        "no_label_zones": [],  # v2 keeps them per pixel only
        "camera_labels": _camera_boxes(rows),
        "projected_lidar_labels": _grouped(rows.get("projected_lidar_box", ()), "laser_object_id", {}),
        "map_features": [],
    }


# Component, field of a range image message, returns, whether its values are integers.
_IMAGES = (
    ("lidar", "range_image", (1, 2), False),
    ("lidar_pose", "pose", (1,), False),
    ("lidar_camera_projection", "camera_projection", (1, 2), True),
    ("lidar_segmentation", "segmentation", (1, 2), True),
)


def _lasers(rows: dict[str, list[tuple[str, Row]]]) -> list[dict[str, Any]]:
    lasers: dict[int, dict[str, Any]] = {}
    for tag, field, returns, integers in _IMAGES:
        for place, row in rows.get(tag, ()):
            number = sensor_number(row, "laser_name", LASERS, place)
            laser = lasers.setdefault(number, {"name": number, "return1": {}, "return2": {}})
            for kind in returns:
                values, shape = return_matrix(row, kind, place, integers=integers)
                if values is not None:
                    laser[f"return{kind}"][field] = shaped(values, shape, place)
    return list(lasers.values())


def _boxes(rows: dict[str, list[tuple[str, Row]]]) -> list[dict[str, Any]]:
    labels = {row.get("laser_object_id"): box_label(row, place) for place, row in rows.get("lidar_box", ())}
    for _, row in rows.get("lidar_camera_synced_box", ()):
        if row.get("laser_object_id") in labels:
            labels[row["laser_object_id"]] |= synced_box(row)
    return list(labels.values())


def _camera_boxes(rows: dict[str, list[tuple[str, Row]]]) -> list[dict[str, Any]]:
    laser_of = {}
    for place, row in rows.get("camera_to_lidar_box_association", ()):
        camera = sensor_number(row, "camera_name", CAMERAS, place)
        laser_of[camera, row.get("camera_object_id")] = row.get("laser_object_id")
    return _grouped(rows.get("camera_box", ()), "camera_object_id", laser_of)


def _grouped(rows: Iterable[tuple[str, Row]], key: str, laser_of: dict[Any, Any]) -> list[dict[str, Any]]:
    groups: dict[int, list[dict[str, Any]]] = {}
    for place, row in rows:
        camera = sensor_number(row, "camera_name", CAMERAS, place)
        label = camera_label(row, key, place)
        if (laser := laser_of.get((camera, row.get(key)))) is not None:
            label["association"] = {"laser_object_id": laser}
        groups.setdefault(camera, []).append(label)
    return [{"name": camera, "labels": labels} for camera, labels in groups.items()]
