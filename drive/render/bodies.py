"""The moving things of a recorded scene, by the names of their tracks, and the lidar that saw them: one small file.

With the static scene (``scene_file.py``) it is all that is needed to render a recording again from another state.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from drive.errors import UserError
from drive.render.lidar import LidarModel
from drive.render.scene import Actors, Primitives

_VERSION_KEY, VERSION = b"drive.bodies", b"1"
_LIDAR_KEY = b"drive.lidar_model"
_MEND = "write it again with Bodies.to_bytes"
# Columns of Primitives, a list a body: Arrow type and numbers a solid.
_COLUMNS = {
    "kind": (pa.int8(), 1), "centre": (pa.float64(), 3), "half_size": (pa.float64(), 3), "yaw": (pa.float64(), 1),
    "material": (pa.int16(), 1), "colour": (pa.uint8(), 3), "texture": (pa.uint8(), 1),
}  # fmt: skip
_FIELDS = [pa.field("token", pa.string(), nullable=False)] + [
    pa.field(name, pa.large_list(kind), nullable=False) for name, (kind, _) in _COLUMNS.items()
]


@dataclass(frozen=True, eq=False)
class Bodies:
    """N bodies.

    Attributes:
        tokens: names of their tracks [N], each once.
        offsets: int64 [N + 1]; body i owns the rows offsets[i]:offsets[i + 1] of ``parts``.
        parts: their solids, each in its body's frame (x forward, y left, origin on the ground below the middle).
        lidar: the lidar that recorded the scene.
    """

    tokens: tuple[str, ...]
    offsets: np.ndarray
    parts: Primitives
    lidar: LidarModel

    def __post_init__(self) -> None:
        offsets = np.ascontiguousarray(self.offsets, dtype=np.int64)
        if offsets.shape != (len(self.tokens) + 1,) or offsets[0] != 0 or offsets[-1] != len(self.parts):
            raise ValueError(f"{len(self.tokens)} bodies and {len(self.parts)} parts, but offsets {offsets.shape}")
        if (np.diff(offsets) < 1).any() or len(set(self.tokens)) < len(self.tokens):
            raise ValueError("a body needs a part, and a name of its own")
        object.__setattr__(self, "offsets", offsets)

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each name."""
        return {token: row for row, token in enumerate(self.tokens)}

    @cached_property
    def heights(self) -> np.ndarray:
        """float64 [N], metres: the top of each body above its ground."""
        top = self.parts.centre[:, 2] + self.parts.half_size[:, 2]
        return np.maximum.reduceat(top, self.offsets[:-1]) if len(self) else np.zeros(0)

    def actors(self, rows: np.ndarray, pose: np.ndarray, velocity: np.ndarray) -> Actors:
        """Some bodies, int64 [M], at poses float64 [M, 4] (``Actors.pose``) with velocities [M, 2] global."""
        count = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
        at = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], count)
        p = self.parts
        parts = Primitives(
            p.kind[at], p.centre[at], p.half_size[at], p.yaw[at], p.material[at], p.colour[at], p.texture[at]
        )
        return Actors(pose, velocity, np.zeros(len(rows)), offsets, parts)

    @staticmethod
    def join(tokens: Sequence[str], parts: Sequence[Primitives], lidar: LidarModel) -> Bodies:
        """One body a name."""
        offsets = np.cumsum([0, *(len(p) for p in parts)]).astype(np.int64)
        return Bodies(tuple(tokens), offsets, Primitives.concatenate(parts), lidar)

    def to_bytes(self) -> bytes:
        """An LZ4 Arrow IPC file; the same bodies give the same bytes."""
        columns = [pa.array(self.tokens, pa.string())]
        for name, (kind, width) in _COLUMNS.items():
            flat = pa.array(np.ascontiguousarray(getattr(self.parts, name)).reshape(-1), kind)
            columns.append(pa.LargeListArray.from_arrays(pa.array(self.offsets * width, pa.int64()), flat))
        lidar = json.dumps(asdict(self.lidar), sort_keys=True).encode()
        schema = pa.schema(_FIELDS, metadata={_VERSION_KEY: VERSION, _LIDAR_KEY: lidar})
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
        with pa.ipc.new_file(sink, schema, options=options) as writer:
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
        return sink.getvalue().to_pybytes()

    @staticmethod
    def from_bytes(data: bytes, place: str = "bodies") -> Bodies:
        """Inverse of :meth:`to_bytes`, bit for bit; anything else raises UserError at ``place``."""
        try:
            table = pa.ipc.open_file(pa.BufferReader(data)).read_all()
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(place, f"not an Arrow file or truncated ({len(data)} bytes)", _MEND) from error
        told = table.schema.metadata or {}
        if told.get(_VERSION_KEY) != VERSION or table.schema.names != [field.name for field in _FIELDS]:
            raise UserError(place, "this file does not hold bodies of the known version", _MEND)
        try:
            lidar = json.loads(told[_LIDAR_KEY])
            model = LidarModel(**lidar | {"beam_elevations_rad": tuple(lidar["beam_elevations_rad"])})
            counts = [len(solids) for solids in table["kind"]]
            arrays = []
            for name, (_, width) in _COLUMNS.items():
                flat = table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
                arrays.append(flat.reshape(-1, width) if width > 1 else flat)
            offsets = np.cumsum([0, *counts]).astype(np.int64)
            return Bodies(tuple(table["token"].to_pylist()), offsets, Primitives(*arrays), model)
        except (KeyError, TypeError, ValueError, pa.ArrowException) as error:
            raise UserError(place, f"these bodies are broken ({error})", _MEND) from error

    @staticmethod
    def load(path: Path) -> Bodies:
        """Read a file of :meth:`to_bytes`; UserError when it is missing or something else."""
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise UserError(path, f"cannot be read ({error.strerror})", "convert this log again") from error
        return Bodies.from_bytes(data, str(path))
