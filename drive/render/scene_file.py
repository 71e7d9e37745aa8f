"""A static scene as an Arrow table and as one file: typed list columns, no code inside, the same bytes every time."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa

from drive.errors import UserError
from drive.render.scene import Ground, Primitives, StaticScene

VERSION = b"1"
_VERSION_KEY = b"drive.static_scene"
_MEND = "write it again with StaticScene.save"
_ARRAYS = {
    "kind": (pa.int8(), 1), "centre": (pa.float64(), 3), "half_size": (pa.float64(), 3), "yaw": (pa.float64(), 1),
    "material": (pa.int16(), 1), "colour": (pa.uint8(), 3), "texture": (pa.uint8(), 1),
}  # fmt: skip
_SCHEMA = pa.schema(
    [pa.field(name, pa.large_list(kind), nullable=False) for name, (kind, _) in _ARRAYS.items()]
    + [
        pa.field("ground", pa.large_list(pa.uint8()), nullable=False),
        pa.field("ground_rows", pa.int64(), nullable=False),
        pa.field("ground_columns", pa.int64(), nullable=False),
        pa.field("ground_resolution_m", pa.float64(), nullable=False),
        pa.field("ground_origin_x", pa.float64(), nullable=False),
        pa.field("ground_origin_y", pa.float64(), nullable=False),
        pa.field("sun_azimuth", pa.float64(), nullable=False),
        pa.field("sun_elevation", pa.float64(), nullable=False),
        pa.field("ambient", pa.float64(), nullable=False),
        pa.field("sky_colour", pa.large_list(pa.int64()), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
    ],
    metadata={_VERSION_KEY: VERSION},
)


def _one_list(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    flat = np.ascontiguousarray(values).reshape(-1)
    return pa.LargeListArray.from_arrays(pa.array([0, flat.size], pa.int64()), pa.array(flat, kind))


def scene_to_table(scene: StaticScene) -> pa.Table:
    """One row, one list column an array; see ``StaticScene.to_table``."""
    rows, columns = scene.ground.material.shape
    arrays = [_one_list(getattr(scene.primitives, name), kind) for name, (kind, _) in _ARRAYS.items()]
    arrays.append(_one_list(scene.ground.material, pa.uint8()))
    arrays += [pa.array([rows], pa.int64()), pa.array([columns], pa.int64())]
    numbers = (
        scene.ground.resolution_m, *scene.ground.origin_xy, scene.sun_azimuth, scene.sun_elevation, scene.ambient,
    )  # fmt: skip
    arrays += [pa.array([float(v)], pa.float64()) for v in numbers]
    arrays += [_one_list(np.array(scene.sky_colour), pa.int64()), pa.array([int(scene.seed)], pa.int64())]
    return pa.Table.from_arrays(arrays, schema=_SCHEMA)


def scene_from_table(table: pa.Table, place: str) -> StaticScene:
    """Inverse of :func:`scene_to_table`; UserError at ``place`` for any other table."""
    # A log's writer may add its own metadata or drop ours: the version is checked where it is, the columns always.
    version = (table.schema.metadata or {}).get(_VERSION_KEY, VERSION)
    if version != VERSION:
        raise UserError(place, f"static scene version {version.decode(errors='replace')} is unknown", _MEND)
    if table.num_rows != 1 or table.schema.names != _SCHEMA.names or table.schema.types != _SCHEMA.types:
        raise UserError(place, "this table is not a static scene (one row of its columns)", _MEND)
    if any(table[name].null_count for name in _SCHEMA.names):
        raise UserError(place, "this static scene has an empty column", _MEND)

    row = table.combine_chunks()

    def values(name: str) -> np.ndarray:
        return row[name].chunk(0).flatten().to_numpy(zero_copy_only=False)

    def number(name: str) -> float:
        return table[name][0].as_py()

    try:
        primitives = Primitives(
            *(values(name).reshape(-1, width) if width > 1 else values(name) for name, (_, width) in _ARRAYS.items())
        )
        raster = values("ground").reshape(int(number("ground_rows")), int(number("ground_columns")))
        origin = (number("ground_origin_x"), number("ground_origin_y"))
        red, green, blue = table["sky_colour"][0].as_py()
        return StaticScene(
            primitives,
            Ground(raster, number("ground_resolution_m"), origin),
            number("sun_azimuth"),
            number("sun_elevation"),
            number("ambient"),
            (red, green, blue),
            int(number("seed")),
        )
    except ValueError as error:
        raise UserError(place, f"this static scene is broken ({error})", _MEND) from error


def scene_to_bytes(scene: StaticScene) -> bytes:
    """An LZ4 Arrow IPC file; deterministic."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, _SCHEMA, options=pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)) as writer:
        writer.write_table(scene_to_table(scene))
    return sink.getvalue().to_pybytes()


def scene_from_bytes(data: bytes, place: str) -> StaticScene:
    """Inverse of :func:`scene_to_bytes`."""
    try:
        table = pa.ipc.open_file(pa.BufferReader(data)).read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(place, f"not an Arrow file or truncated ({len(data)} bytes)", _MEND) from error
    return scene_from_table(table, place)


def save_scene(scene: StaticScene, path: Path) -> None:
    """Write atomically: temporary name, sync, rename."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(scene_to_bytes(scene))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_scene(path: Path) -> StaticScene:
    """Read one file of :func:`save_scene`."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", "give the path of a saved static scene") from error
    return scene_from_bytes(data, str(path))
