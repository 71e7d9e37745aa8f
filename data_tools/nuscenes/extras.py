"""What a nuScenes scene has beside sensors and boxes: CAN bus, point labels, map raster, the town's static scene."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa

from data_tools.nuscenes.scenes import Scene
from drive.errors import UserError
from drive.logs.writer import LogWriter

# Metres per pixel of the semantic prior (nuscenes-devkit, utils/map_mask.py).
RASTER_RESOLUTION_M = 0.1
# A raster serves a whole city; a log carries it only where that costs little.
RASTER_LIMIT_BYTES = 2_000_000

_AGAIN = "the file was cut or damaged: get it again"


def add_can_bus(log: LogWriter, raw: Path, scene: str) -> None:
    """``can_bus/<scene>_<message>.json``: a list of messages becomes table ``can_<message>``, the rest raw files."""
    for path in sorted((raw / "can_bus").glob(f"{scene}_*.json")):
        message = path.stem.removeprefix(f"{scene}_")
        data = path.read_bytes()
        try:
            records = json.loads(data)
        except ValueError as error:
            raise UserError(path, f"broken JSON ({error})", _AGAIN) from error
        if isinstance(records, list) and records and all(isinstance(r, dict) for r in records):
            try:
                log.add_table(f"can_{message}", pa.Table.from_pylist(records))
            except pa.ArrowException as error:
                raise UserError(path, f"messages of different shapes ({error})", _AGAIN) from error
        else:
            log.add_file(f"can_{message}.json", data)


def add_point_labels(log: LogWriter, raw: Path, scene: Scene, row_of: dict[str, int], counts: dict[str, int]) -> None:
    """Tables ``lidarseg`` (uint8 class a point) and ``panoptic`` (uint16 class * 1000 + instance), one row a sweep.

    Args:
        row_of: sweep's source token -> row of LIDAR_TOP; counts: source token -> number of its points.
    """
    for name, kind in (("lidarseg", np.uint8), ("panoptic", np.uint16)):
        rows: list[int] = []
        labels: list[np.ndarray] = []
        for record in scene.files.get(name, []):
            token, path = record["sample_data_token"], raw / record["filename"]
            if token not in row_of:
                continue
            values = _point_labels(path, kind)
            if len(values) != counts[token]:
                raise UserError(path, f"{len(values)} labels for {counts[token]} points", _AGAIN)
            rows.append(row_of[token])
            labels.append(values)
        if rows:
            values_type = pa.list_(pa.from_numpy_dtype(np.dtype(kind)))
            columns = {"sensor": ["LIDAR_TOP"] * len(rows), "row": pa.array(rows, pa.int32())}
            log.add_table(name, pa.table({**columns, "label": pa.array(labels, values_type)}))


def _point_labels(path: Path, kind: Any) -> np.ndarray:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return np.asarray(archive["data"]).astype(kind, casting="same_kind")
        return np.fromfile(path, kind)
    except FileNotFoundError as error:
        raise UserError(path, "the file is missing", "get the label files, or remove their table") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(path, f"not readable ({error})", _AGAIN) from error


def add_rasters(log: LogWriter, raw: Path, scene: Scene) -> None:
    """Table ``map_raster``: name, size and resolution of the semantic prior; the PNG itself where below 2 MB."""
    rows = []
    for record in scene.rasters:
        path = raw / record["filename"]
        if not path.is_file():
            continue
        with open(path, "rb") as file:
            head = file.read(24)
        if not head.startswith(b"\x89PNG\r\n") or len(head) < 24:
            raise UserError(path, "not a PNG image", _AGAIN)
        width, height = struct.unpack(">II", head[16:24])  # no decoder: a city has 300 million pixels
        carried = path.stat().st_size <= RASTER_LIMIT_BYTES
        if carried:
            log.add_file(path.name, path.read_bytes())
        rows.append(
            {
                "source_name": record["filename"],
                "category": record.get("category", ""),
                "width": width,
                "height": height,
                "resolution_m": RASTER_RESOLUTION_M,
                "file": path.name if carried else None,
            }
        )
    if rows:
        log.add_table("map_raster", pa.Table.from_pylist(rows))


def add_static_scene(log: LogWriter, raw: Path, scene: Scene) -> None:
    """The static scene of our town, by which a renderer shows it again: raw file ``scene_3d.<suffix>``."""
    for record in scene.files.get("scene_3d", []):
        path = raw / record["filename"]
        try:
            log.add_file(f"scene_3d{path.suffix}", path.read_bytes())
        except FileNotFoundError as error:
            raise UserError(path, "the file is missing", "write the town again") from error


def image_size(path: Path, data: bytes) -> tuple[int, int]:
    """(width, height) of an image file's bytes; UserError where it is no image or a JPEG that ends early."""
    try:
        with PIL.Image.open(io.BytesIO(data)) as image:
            size, kind = image.size, image.format
    except (OSError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise UserError(path, "not an image", _AGAIN) from error
    if kind == "JPEG" and b"\xff\xd9" not in data[-64:]:
        raise UserError(path, "the JPEG ends early", _AGAIN)
    return size
