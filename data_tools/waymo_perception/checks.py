"""Numbers of a Frame that must be what they claim to be, or a UserError that names the record."""

from __future__ import annotations

from typing import Any

import numpy as np

from drive.errors import UserError

_AGAIN = "copy the file again"


def pose_matrix(value: dict[str, Any] | np.ndarray | None, what: str, place: str) -> np.ndarray:
    """float64 [4, 4] of a Transform; UserError where it is no rigid motion (rotation within 1e-3)."""
    flat = np.asarray(value.get("transform", ()) if isinstance(value, dict) else (), np.float64)
    flat = flat if value is None or isinstance(value, dict) else np.asarray(value, np.float64).reshape(-1)
    if flat.size != 16 or not np.isfinite(flat).all():
        raise UserError(place, f"{what} is not a matrix of 16 finite numbers", _AGAIN)
    matrix = flat.reshape(4, 4)
    rotation = matrix[:3, :3]
    rigid = np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-3 and np.linalg.det(rotation) > 0
    if not rigid or np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise UserError(place, f"{what} is not a rigid motion", _AGAIN)
    return matrix


def required(message: dict[str, Any], name: str, what: str, place: str) -> Any:
    """A field that must be there."""
    if name not in message:
        raise UserError(place, f"{what} has no {name}", _AGAIN)
    return message[name]


def named(names: dict[int, str], value: int, what: str, place: str) -> str:
    """Name of an enumeration's value."""
    if value not in names:
        raise UserError(place, f"{what} {value} is not one of {sorted(names)}", _AGAIN)
    return names[value]


def finite(values: Any, what: str, place: str) -> np.ndarray:
    """float64 array without NaN and infinity."""
    array = np.asarray(values, np.float64)
    if not np.isfinite(array).all():
        raise UserError(place, f"{what} is not finite", _AGAIN)
    return array
