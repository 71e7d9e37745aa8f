"""Drives as a file: Arrow, one row a drive, whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from drive.boxes.table_file import write_table
from drive.dynamics.vehicle import Vehicle
from drive.errors import UserError
from drive.rollouts.infractions import Infraction
from drive.rollouts.rollout import PlanRecord, Rollout
from drive.samples.scene import EGO_COLUMNS, Actors

VERSION = b"2"
OLDER = b"1"  # the same without modes
_AGAIN = "simulate again"

_FLOATS, _INTS = pa.list_(pa.float64()), pa.list_(pa.int64())
_ARRAYS = {  # column: (type, shape after the first axis)
    "timestamps_ns": (_INTS, ()),
    "origin_xy": (_FLOATS, ()),
    "ego": (_FLOATS, (len(EGO_COLUMNS),)),
    "off_road_m": (_FLOATS, ()),
    "along_m": (_FLOATS, ()),
    "aside_m": (_FLOATS, ()),
}
_ACTORS = {
    "box": (_FLOATS, (5,)),
    "velocity": (_FLOATS, (2,)),
    "valid": (pa.list_(pa.bool_()), ()),
    "ground_z": (_FLOATS, ()),
}
_PLANS = {
    "step": (_INTS, ()),
    "offsets": (_INTS, ()),
    "poses": (_FLOATS, (3,)),
    "times_s": (_FLOATS, ()),
    "seconds": (_FLOATS, ()),
    "mode_shape": (_INTS, (2,)),
    "mode_poses": (_FLOATS, (3,)),
    "mode_scores": (_FLOATS, ()),
}
_TEXTS = ("scene", "log", "planner", "end", "failure")
_INFRACTION = pa.struct(
    [
        ("kind", pa.string()),
        ("step", pa.int64()),
        ("time_s", pa.float64()),
        ("x", pa.float64()),
        ("y", pa.float64()),
        ("global_x", pa.float64()),
        ("global_y", pa.float64()),
        ("at_fault", pa.bool_()),
        ("what", pa.string()),
        ("counterpart", pa.string()),
        ("counterpart_kind", pa.string()),
        ("amount", pa.float64()),
        ("duration_s", pa.float64()),
    ]
)
_VEHICLE = pa.struct([(field.name, pa.float64()) for field in fields(Vehicle)])
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in _TEXTS),
        ("road_known", pa.bool_()),
        ("route_known", pa.bool_()),
        ("vehicle", _VEHICLE),
        ("infractions", pa.list_(_INFRACTION)),
        *((name, kind) for name, (kind, _) in _ARRAYS.items()),
        *((f"actor_{name}", kind) for name, (kind, _) in _ACTORS.items()),
        ("actor_kind", _INTS),
        ("actor_token", pa.list_(pa.string())),
        *((f"plan_{name}", kind) for name, (kind, _) in _PLANS.items()),
    ],
    metadata={b"rollouts": VERSION},
)
_KNOWN = {VERSION: _SCHEMA, OLDER: pa.schema([field for field in _SCHEMA if not field.name.startswith("plan_mode_")])}


def write_rollouts(path: Path, rollouts: Sequence[Rollout]) -> None:
    """Write drives. UserError where the file cannot be written."""
    columns: dict[str, list[Any]] = {name: [] for name in _SCHEMA.names}
    for rollout in rollouts:
        for name in (*_TEXTS, "road_known", "route_known"):
            columns[name].append(getattr(rollout, name))
        columns["vehicle"].append(asdict(rollout.vehicle))
        columns["infractions"].append([asdict(infraction) for infraction in rollout.infractions])
        columns["actor_kind"].append(rollout.actors.kind)
        columns["actor_token"].append(list(rollout.actors.token))
        for name in _ARRAYS:
            columns[name].append(getattr(rollout, name).ravel())
        for name in _ACTORS:
            columns[f"actor_{name}"].append(getattr(rollout.actors, name).ravel())
        for name in _PLANS:
            columns[f"plan_{name}"].append(getattr(rollout.plans, name).ravel())
    write_table(path, pa.table([pa.array(columns[f.name], f.type) for f in _SCHEMA], schema=_SCHEMA))


def read_rollouts(path: Path) -> list[Rollout]:
    """Drives of a file, in the order in which they were written.

    Raises:
        UserError: no such file, not one of drives, damaged.
    """
    try:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
    except (OSError, pa.ArrowException) as error:
        raise UserError(path, f"cannot be read as drives ({error})", _AGAIN) from error
    known = _KNOWN.get((table.schema.metadata or {}).get(b"rollouts", b""))
    if known is None or not table.schema.equals(known):
        raise UserError(path, f"is no file of drives of version {OLDER.decode()} or {VERSION.decode()}", _AGAIN)
    try:
        return [_rollout(table, row) for row in range(table.num_rows)]
    except (ValueError, TypeError) as error:
        raise UserError(path, f"damaged ({error})", _AGAIN) from error


def _rollout(table: pa.Table, row: int) -> Rollout:
    def array(name: str, shape: tuple[int, ...]) -> np.ndarray:
        return table[name][row].values.to_numpy(zero_copy_only=False).reshape(-1, *shape)

    def value(name: str) -> Any:
        return table[name][row].as_py()

    tokens, times = tuple(value("actor_token")), len(array("timestamps_ns", ()))
    grid = {
        name: array(f"actor_{name}", shape).reshape(len(tokens), times, *shape) for name, (_, shape) in _ACTORS.items()
    }
    arrays: dict[str, Any] = {name: array(name, shape) for name, (_, shape) in _ARRAYS.items()}
    return Rollout(
        **{name: value(name) for name in (*_TEXTS, "road_known", "route_known")},
        **arrays,
        vehicle=Vehicle(**value("vehicle")),
        actors=Actors(kind=array("actor_kind", ()), token=tokens, **grid),
        plans=PlanRecord(
            **{n: array(f"plan_{n}", shape) for n, (_, shape) in _PLANS.items() if f"plan_{n}" in table.column_names}
        ),
        infractions=tuple(Infraction(**found) for found in value("infractions")),
    )
