"""nuScenes-lidarseg and Panoptic nuScenes: a class, and an object, for every point of a key frame's LIDAR_TOP sweep.

lidarseg: one uint8 a point, category.json's `index`. Panoptic: ``.npz`` with `data`, uint16 class * 1000 + number of
the object (0 = stuff). They are two ground truths: where boxes overlap, panoptic has class 0 and lidarseg has not.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_tools.nuscenes import tables
from data_tools.nuscenes.scenes import Scene
from drive.errors import UserError
from drive.logs.standard import STANDARD_TABLES
from drive.logs.writer import LogWriter

PANOPTIC_FACTOR = 1000
_AGAIN = "the file was cut or damaged: get it again"
_GET = "get the label files, or remove their table"

# After the standard columns: the panoptic labels as recorded, and the records' tokens and files (null = no such label).
SCHEMA = pa.schema(
    [
        *STANDARD_TABLES["point_labels"],
        ("panoptic", pa.list_(pa.uint16())),
        *((f"{name}_{part}", pa.string()) for name in ("lidarseg", "panoptic") for part in ("token", "filename")),
    ]
)


def add_point_labels(log: LogWriter, raw: Path, scene: Scene, row_of: dict[str, int], counts: dict[str, int]) -> None:
    """Standard table ``point_labels``, one row a labelled sweep, and ``point_classes`` (index, name).

    `semantic` is lidarseg's class where there is one, else panoptic's; `instance` is panoptic's, null without it.

    Args:
        row_of: sweep's source token -> row of LIDAR_TOP; counts: source token -> number of its points.
    """
    rows: dict[str, dict[str, Any]] = {}
    for name in ("lidarseg", "panoptic"):
        for record in scene.files.get(name, []):
            token = str(record.get("sample_data_token"))
            if token not in row_of:
                continue  # its sensor was not chosen
            if not isinstance(record.get("filename"), str):
                place = raw / scene.version / f"{name}.json"
                raise UserError(place, f"record {record.get('token')!r} has no filename", tables.WRONG_SHAPE)
            read = read_lidarseg if name == "lidarseg" else read_panoptic
            labels = read(raw / record["filename"], counts[token])
            row = rows.setdefault(token, {"sensor": "LIDAR_TOP", "row": row_of[token]})
            row |= {f"{name}_token": str(record.get("token")), f"{name}_filename": record["filename"]}
            if name == "panoptic":
                row["panoptic"] = labels
                row["instance"] = (labels % PANOPTIC_FACTOR).astype(np.int32)
                labels = labels // PANOPTIC_FACTOR
            row.setdefault("semantic", labels.astype(np.uint16))
    if not rows:
        return
    ordered = sorted(rows.values(), key=lambda row: int(row["row"]))
    columns = [pa.array([row.get(field.name) for row in ordered], field.type) for field in SCHEMA]
    log.add_table("point_labels", pa.table(columns, schema=SCHEMA))
    classes = [
        {"index": record["index"], "name": str(record["name"])}
        for record in tables.by_token(raw / scene.version, "category", "name").values()
        if isinstance(record.get("index"), int)
    ]
    schema = pa.schema([("index", pa.int32()), ("name", pa.string())])
    log.add_table("point_classes", pa.Table.from_pylist(sorted(classes, key=lambda row: int(row["index"])), schema))


def read_lidarseg(path: Path, count: int) -> np.ndarray:
    """Classes uint8 [P] of the P points of a sweep; UserError for another number of them."""
    try:
        size = path.stat().st_size
        if size != count:
            raise UserError(path, f"{size} labels for {count} points", _AGAIN)
        return np.fromfile(path, np.uint8)
    except OSError as error:
        raise UserError(path, error.strerror or str(error), _GET) from error


def read_panoptic(path: Path, count: int) -> np.ndarray:
    """Labels uint16 [P] of the P points of a sweep; the archive's sizes are checked before anything is unpacked."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("data.npy") as file:
            if np.lib.format.read_magic(file) != (1, 0):
                raise UserError(path, "not an array that numpy writes", _AGAIN)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            if shape != (count,):
                raise UserError(path, f"labels of shape {shape} for {count} points", _AGAIN)
            if dtype.kind not in "ui" or dtype.itemsize > 8:
                raise UserError(path, f"labels of type {dtype}, expected uint16", _AGAIN)
            labels = np.frombuffer(file.read(count * dtype.itemsize), dtype)
            file.read(1)  # to the end, where the check sum is compared
    except FileNotFoundError as error:
        raise UserError(path, "the file is missing", _GET) from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise UserError(path, f"not readable ({error})", _AGAIN) from error
    if len(labels) != count or (count and (int(labels.min()) < 0 or int(labels.max()) > 0xFFFF)):
        raise UserError(path, f"{len(labels)} labels, or such that are none, for {count} points", _AGAIN)
    return labels.astype(np.uint16)
