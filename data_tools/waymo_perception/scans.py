"""Sweeps of a frame: range images of both returns to one list of points, and what it takes to put them back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from data_tools.waymo_perception.range_image import CHANNELS, Laser, Returns, read_matrix, to_points
from drive.errors import UserError
from drive.logs.store import Log

RETURNS = (1, 2)
PROJECTION = ("camera_1", "u_1", "v_1", "camera_2", "u_2", "v_2")
_AGAIN = "copy the file again"


@dataclass(frozen=True)
class Residue:
    """What a range image holds beside its points: shape, the value of empty pixels [4], and the pixels int32 [K]
    (row * width + column) with values float32 [K, 4] that neither the fill nor a point gives back."""

    height: int
    width: int
    fill: np.ndarray
    pixels: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Scan:
    """One sweep: points float32 [P, 5], typed columns [P], residues {return: residue}, labels [P] or None."""

    points: np.ndarray
    extra: dict[str, np.ndarray]
    residues: dict[int, Residue]
    semantic: np.ndarray | None
    instance: np.ndarray | None


def matrix(value: Any, place: str, *, integers: bool = False) -> np.ndarray | None:
    """A matrix of a return: compressed (v1), decoded already (v2), or absent or empty (None)."""
    if value is None or isinstance(value, np.ndarray):
        return value
    return read_matrix(value, place, integers=integers) if len(value) else None


def read_scan(
    message: dict[str, Any], laser: Laser, ego_from_global: np.ndarray, place: str, *, needs_pose: bool,
    projections: bool = False,
) -> Scan | None:  # fmt: skip
    """The sweep of one laser message, or None where it has no range image.

    Args:
        needs_pose: whether the lidar turns while the vehicle moves: without the poses of its pixels its points would
            be smeared, so their absence is an error.
        projections: also where each point stands in the images (columns camera_1, u_1, v_1, camera_2, u_2, v_2).
    """
    images: dict[int, np.ndarray] = {}
    here = f"{place}: {laser.name}"
    for number in RETURNS:
        image = matrix(message.get(f"return{number}", {}).get("range_image"), f"{here} return {number}")
        if image is not None:
            images[number] = image
    if not images:
        return None
    pose = None
    if needs_pose:  # the second return was fired from the poses of the first
        pose = matrix(message.get("return1", {}).get("pose"), f"{here}: pixel poses")
        if pose is None:
            raise UserError(here, "has no pixel poses", "give records that hold them (v2: folder lidar_pose)")
    found = to_points(list(images.values()), laser, pose, ego_from_global, here)
    extra = {
        "range": found.range_m,
        "return": np.repeat(np.array(list(images), np.uint8), found.counts),
        "row": found.row,
        "column": found.column,
        "nlz": found.nlz,
    }
    if projections:
        where = _picked(message, "camera_projection", images, found, 6, here)
        where = np.zeros((len(found.points), 6), np.int32) if where is None else where
        extra |= {name: where[:, k].astype(np.int16) for k, name in enumerate(PROJECTION)}
    labels = _picked(message, "segmentation", images, found, 2, here)
    return Scan(
        found.points,
        extra,
        {number: _residue(image) for number, image in images.items()},
        None if labels is None else labels[:, 1].astype(np.uint16),
        None if labels is None else labels[:, 0].copy(),
    )


def _picked(
    message: dict[str, Any], field: str, images: dict[int, np.ndarray], found: Returns, channels: int, place: str
) -> np.ndarray | None:
    """int32 [P, channels] of the pixels that have a point, 0 for a return without this matrix; None = no return has
    one."""
    picked = np.zeros((len(found.points), channels), np.int32)
    seen = False
    for index, (number, image) in enumerate(images.items()):
        here = f"{place} return {number}: {field}"
        whole = matrix(message[f"return{number}"].get(field), here, integers=True)
        if whole is None:
            continue
        if whole.shape != (*image.shape[:2], channels):
            raise UserError(here, f"shape {list(whole.shape)} beside a range image {list(image.shape)}", _AGAIN)
        part = found.image(index)
        picked[part] = whole[found.row[part], found.column[part]]
        seen = True
    low, high = (-(1 << 15), 1 << 15) if channels == 6 else (0, 1 << 16)
    bounded = picked if channels == 6 else picked[:, 1]
    if len(picked) and (bounded.max() >= high or bounded.min() < low):
        raise UserError(f"{place}: {field}", "holds a number out of range", _AGAIN)
    return picked if seen else None


def _residue(image: np.ndarray) -> Residue:
    bits = np.ascontiguousarray(image).view(np.uint32)
    fill = _first_empty(image)
    pixels = _unlike(image, bits, fill.view(np.uint32), np.array([-1, 0, 1], np.float32).view(np.uint32))
    height, width, _ = image.shape
    values = image.reshape(-1, CHANNELS)[pixels]
    return Residue(height, width, fill, pixels, values)


def _first_empty(image: np.ndarray) -> np.ndarray:
    for row in image:
        empty = np.flatnonzero(~(row[:, 0] > 0))
        if len(empty):
            return row[empty[0]].copy()
    return np.zeros(CHANNELS, np.float32)


@njit(cache=True, nogil=True)
def _unlike(image: np.ndarray, bits: np.ndarray, fill: np.ndarray, flags: np.ndarray) -> np.ndarray:
    """int32 [K] pixels that are neither a point with one of the three flags nor, bit for bit, the fill."""
    height, width, _ = image.shape
    out = np.empty(height * width, np.int32)
    count = 0
    for row in range(height):
        for column in range(width):
            if image[row, column, 0] > 0:
                flag = bits[row, column, 3]
                plain = flag == flags[0] or flag == flags[1] or flag == flags[2]
            else:
                plain = True
                for k in range(4):
                    plain &= bits[row, column, k] == fill[k]
            if not plain:
                out[count] = row * width + column
                count += 1
    return out[:count].copy()


def restore(log: Log, sensor: str, row: int, number: int) -> np.ndarray | None:
    """The range image float32 [H, W, 4] of return 1 or 2 as it stood in the record, bit for bit; None = it had none.

    Needs the sweep's extra columns and the table ``range_images``.
    """
    table = log.table("range_images")
    for entry in table.to_pylist():
        if (entry["sensor"], entry["row"], entry["return"]) != (sensor, row, number):
            continue
        image = np.empty((entry["height"], entry["width"], CHANNELS), np.float32)
        image[:] = np.array(entry["fill"], np.float32)
        sweep = log.sweep(sensor, row)
        mine = sweep.extra["return"] == number
        pixel = sweep.extra["row"][mine], sweep.extra["column"][mine]
        image[*pixel, 0] = sweep.extra["range"][mine]
        image[*pixel, 1:3] = sweep.points[mine, 3:5]
        image[*pixel, 3] = sweep.extra["nlz"][mine]
        odd = np.array(entry["pixels"], np.int64)
        image.reshape(-1, CHANNELS)[odd] = np.array(entry["values"], np.float32).reshape(-1, CHANNELS)
        return image
    return None
