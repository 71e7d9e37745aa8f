"""What a nuScenes scene has beside sensors, boxes and labels of points: map raster, the town's static scene."""

from __future__ import annotations

import io
import struct
from pathlib import Path

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
    """The static scene of our town and the shapes of its actors, by which a renderer shows it again: raw files
    ``scene_3d.<suffix>`` and ``bodies_3d.<suffix>``."""
    for record in scene.files.get("scene_3d", []):
        for name, key in (("scene_3d", "filename"), ("bodies_3d", "bodies_filename")):
            if key not in record:  # a town written before it kept the shapes
                continue
            path = raw / record[key]
            try:
                log.add_file(f"{name}{path.suffix}", path.read_bytes())
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
