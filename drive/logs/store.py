"""Read logs: memory-mapped, nothing copied, nothing opened before it is asked for."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from drive.errors import UserError
from drive.geometry.rigid import from_translation_rotation
from drive.logs import schema
from drive.logs.maps import MapFeature
from drive.logs.tables import matrix, numbers


@dataclass(frozen=True)
class Sensor:
    """A sensor of a log. Extrinsics float64 [4, 4]; intrinsics float64 [3, 3] pixels or None."""

    name: str
    modality: str
    ego_from_sensor: np.ndarray
    columns: tuple[str, ...]
    intensity_max: float | None
    intrinsics: np.ndarray | None
    distortion: tuple[str, tuple[float, ...]] | None
    width: int | None
    height: int | None
    source_translation: np.ndarray
    source_rotation: np.ndarray
    source_token: str


@dataclass(frozen=True)
class Frame:
    """A labelled instant; `rows` = {sensor: payload row} of what was recorded for it."""

    index: int
    timestamp_ns: int
    token: str
    source_timestamp: int
    global_from_ego: np.ndarray
    pose_translation: np.ndarray
    pose_rotation: np.ndarray
    interpolated: bool
    rows: dict[str, int]


@dataclass(frozen=True)
class Row:
    """What sweeps and images share: time, pose (global from ego) and the names in the source."""

    timestamp_ns: int
    global_from_ego: np.ndarray
    pose_translation: np.ndarray
    pose_rotation: np.ndarray
    is_key_frame: bool
    source_timestamp: int
    source_name: str
    source_token: str
    source_pose_token: str
    source_pose_timestamp: int | None


@dataclass(frozen=True)
class Sweep(Row):
    """Points float32 [P, C] in the SENSOR frame, a read-only view into the file; `extra` = typed columns [P]."""

    points: np.ndarray
    columns: tuple[str, ...]
    extra: dict[str, np.ndarray]


@dataclass(frozen=True)
class Image(Row):
    """An image file's bytes, as recorded."""

    data: bytes
    width: int
    height: int


@dataclass(frozen=True)
class FrameBoxes:
    """The N boxes of a frame: boxes float64 [N, 9] in its ego frame, BOX_COLUMNS of drive.geometry.box.

    Where `velocity_valid` is false vx and vy are 0; where `num_*_points_valid` is false the count is 0.
    `extra` holds the columns that only this data set has.
    """

    boxes: np.ndarray
    category: list[str]
    track: np.ndarray
    track_token: list[str]
    velocity_valid: np.ndarray
    num_lidar_points: np.ndarray
    num_lidar_points_valid: np.ndarray
    num_radar_points: np.ndarray
    num_radar_points_valid: np.ndarray
    attributes: list[str]
    visibility: list[str]
    source_token: list[str]
    source_translation: np.ndarray
    source_rotation: np.ndarray
    source_size: np.ndarray
    interpolated: np.ndarray
    extra: dict[str, list[Any]]


class _OpenFiles:
    """The process's open maps, least recently used closed first: 850 logs of 12 files exceed the usual 1024 handles.

    A map stays alive as long as an array points into it; what is dropped here is only our own reference.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._readers: OrderedDict[Path, pa.RecordBatchFileReader] = OrderedDict()

    def reader(self, path: Path) -> pa.RecordBatchFileReader:
        with self._lock:
            if (reader := self._readers.get(path)) is not None:
                self._readers.move_to_end(path)
                return reader
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path), "r"))
        except FileNotFoundError as error:
            raise UserError(path, "the file is missing", "convert this log again") from error
        except (OSError, pa.ArrowInvalid) as error:
            raise UserError(path, f"not a readable Arrow file ({error})", "convert this log again") from error
        with self._lock:
            self._readers[path] = reader
            while len(self._readers) > self._limit:
                self._readers.popitem(last=False)
        return reader


_OPEN = _OpenFiles(limit=128)


class Log:
    """A finished log folder. Opening reads the manifest and compares file sizes; the rest is lazy.

    Pickles as its path (spawned workers open it again). Arrays that come out are read-only where they are views.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = Path(path)
        self.manifest = manifest
        self.name: str = manifest["name"]
        self.dataset: str = manifest["dataset"]
        self.split: str = manifest["split"]
        self.location: str = manifest["location"]

    @staticmethod
    def open(path: Path) -> Log:
        """Open a log folder.

        Raises:
            UserError: no log, a schema version that we do not know, a missing file, a file of the wrong size.
        """
        path = Path(path)
        manifest = read_manifest(path)
        for name, entry in manifest["files"].items():
            try:
                size = (path / name).stat().st_size
            except OSError as error:
                raise UserError(path / name, "the file is missing", "convert this log again") from error
            if size != entry["bytes"]:
                what = f"has {size} bytes, the manifest says {entry['bytes']}"
                raise UserError(path / name, what, "it was cut or changed: convert this log again")
        return Log(path, manifest)

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Log.open, (self.path,)

    def __repr__(self) -> str:
        return f"Log({str(self.path)!r})"

    def verify_checksums(self) -> None:
        """Read every file and compare its SHA-256 with the manifest's; UserError names the first that differs."""
        for name, entry in self.manifest["files"].items():
            with open(self.path / name, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != entry["sha256"]:
                what = "its SHA-256 is not the manifest's"
                raise UserError(self.path / name, what, "it was damaged or changed: convert this log again")

    # --- tables --------------------------------------------------------------------------------------------------

    def _reader(self, name: str) -> pa.RecordBatchFileReader:
        if name not in self.manifest["files"]:
            raise UserError(self.path / name, "the log has no such file", "see the list in log.json")
        return _OPEN.reader(self.path / name)

    def _table(self, name: str) -> pa.Table:
        try:
            return self._reader(name).read_all().combine_chunks()
        except (OSError, pa.ArrowInvalid) as error:
            raise UserError(self.path / name, f"damaged ({error})", "convert this log again") from error

    def _batch(self, sensor: str, row: int) -> pa.RecordBatch:
        info = self.sensors[sensor]
        start, end = self._sensor_rows[sensor]
        if not 0 <= row < end - start:
            raise IndexError(f"{self.name}: {sensor} has rows 0 to {end - start - 1}, not {row}")
        name = schema.payload_file(info.modality, sensor)
        try:
            return self._reader(name).get_batch(row)
        except (OSError, pa.ArrowInvalid) as error:
            raise UserError(self.path / name, f"row {row} is damaged ({error})", "convert this log again") from error

    @cached_property
    def sensors(self) -> dict[str, Sensor]:
        """Sensors by name, in the order in which they were declared."""
        return {row["name"]: _sensor(row) for row in self._table("sensors.arrow").to_pylist()}

    @cached_property
    def _sweeps(self) -> dict[str, Any]:
        table = self._table("sweeps.arrow")
        stamps, stamps_valid = numbers(table["source_pose_timestamp"], np.int64)
        return {
            "sensor": table["sensor"].to_numpy(),
            "timestamp_ns": table["timestamp_ns"].to_numpy(),
            "translation": matrix(table["pose_translation"], 3),
            "rotation": matrix(table["pose_rotation"], 4),
            "source_pose_timestamp": stamps,
            "source_pose_timestamp_valid": stamps_valid,
            "table": table,
        }

    @cached_property
    def _sensor_rows(self) -> dict[str, tuple[int, int]]:
        column = self._sweeps["sensor"]
        index = np.arange(len(self.sensors))
        starts, ends = np.searchsorted(column, index, "left"), np.searchsorted(column, index, "right")
        return {name: (int(starts[i]), int(ends[i])) for i, name in enumerate(self.sensors)}

    @cached_property
    def _frames(self) -> dict[str, Any]:
        table = self._table("frames.arrow")
        rows = {name: numbers(table[f"row_{name}"], np.int64) for name in self.sensors}
        return {
            "translation": matrix(table["pose_translation"], 3),
            "rotation": matrix(table["pose_rotation"], 4),
            "source_timestamp": table["source_timestamp"].to_numpy(),
            "timestamp_ns": table["timestamp_ns"].to_numpy(),
            "interpolated": table["interpolated"].to_numpy(zero_copy_only=False),
            "token": table["source_token"].to_pylist(),
            "rows": rows,
        }

    # --- frames --------------------------------------------------------------------------------------------------

    @property
    def num_frames(self) -> int:
        """Number of labelled instants F."""
        return int(self.manifest["counts"]["frames"])

    @property
    def frame_timestamps_ns(self) -> np.ndarray:
        """int64 [F]."""
        return self._frames["timestamp_ns"]

    @property
    def frame_tokens(self) -> list[str]:
        """Source tokens [F] ("" where the data set has none)."""
        return self._frames["token"]

    @property
    def frame_interpolated(self) -> np.ndarray:
        """bool [F]: frames whose boxes were interpolated, not labelled."""
        return self._frames["interpolated"]

    def frame(self, index: int) -> Frame:
        """Frame by index 0..F-1."""
        if not 0 <= index < self.num_frames:
            raise IndexError(f"{self.name} has frames 0 to {self.num_frames - 1}, not {index}")
        data = self._frames
        translation, rotation = data["translation"][index], data["rotation"][index]
        return Frame(
            index=index,
            timestamp_ns=int(data["timestamp_ns"][index]),
            token=data["token"][index],
            source_timestamp=int(data["source_timestamp"][index]),
            global_from_ego=from_translation_rotation(translation, rotation),
            pose_translation=translation,
            pose_rotation=rotation,
            interpolated=bool(data["interpolated"][index]),
            rows={name: int(rows[index]) for name, (rows, valid) in data["rows"].items() if valid[index]},
        )

    # --- payload -------------------------------------------------------------------------------------------------

    def num_sweeps(self, sensor: str) -> int:
        """Rows of a sensor: sweeps of a lidar or radar, images of a camera."""
        start, end = self._sensor_rows[sensor]
        return end - start

    def sweep_timestamps_ns(self, sensor: str) -> np.ndarray:
        """int64 [rows], not decreasing."""
        start, end = self._sensor_rows[sensor]
        return self._sweeps["timestamp_ns"][start:end]

    def sweep_poses(self, sensor: str) -> np.ndarray:
        """global_from_ego float64 [rows, 4, 4] of every sweep or image of a sensor."""
        start, end = self._sensor_rows[sensor]
        return from_translation_rotation(self._sweeps["translation"][start:end], self._sweeps["rotation"][start:end])

    def _row(self, sensor: str, row: int) -> dict[str, Any]:
        data, at = self._sweeps, self._sensor_rows[sensor][0] + row
        table = data["table"]
        translation, rotation = data["translation"][at], data["rotation"][at]
        pose_time = int(data["source_pose_timestamp"][at]) if data["source_pose_timestamp_valid"][at] else None
        return {
            "timestamp_ns": int(data["timestamp_ns"][at]),
            "global_from_ego": from_translation_rotation(translation, rotation),
            "pose_translation": translation,
            "pose_rotation": rotation,
            "is_key_frame": table["is_key_frame"][at].as_py(),
            "source_timestamp": table["source_timestamp"][at].as_py(),
            "source_name": table["source_name"][at].as_py(),
            "source_token": table["source_token"][at].as_py(),
            "source_pose_token": table["source_pose_token"][at].as_py(),
            "source_pose_timestamp": pose_time,
        }

    def sweep(self, sensor: str, row: int) -> Sweep:
        """Lidar or radar sweep by row; the points are a view into the file, nothing is copied."""
        batch, columns = self._batch(sensor, row), self.sensors[sensor].columns
        points = batch.column(0).values.to_numpy().reshape(-1, len(columns))
        extra = {batch.schema.names[i]: _flat(batch.column(i)) for i in range(1, batch.num_columns)}
        return Sweep(points=points, columns=columns, extra=extra, **self._row(sensor, row))

    def image(self, sensor: str, row: int) -> Image:
        """Camera image by row."""
        batch = self._batch(sensor, row)
        data, width, height = (batch.column(i)[0].as_py() for i in range(3))
        return Image(data=data, width=width, height=height, **self._row(sensor, row))

    # --- labels --------------------------------------------------------------------------------------------------

    @cached_property
    def _boxes(self) -> tuple[pa.Table, np.ndarray]:
        table = self._table("boxes.arrow")
        offsets = np.searchsorted(table["frame"].to_numpy(), np.arange(self.num_frames + 1))
        return table, offsets

    @cached_property
    def track_tokens(self) -> list[str]:
        """Source token of every track; FrameBoxes.track indexes it."""
        return self.tracks["source_token"].to_pylist()

    @property
    def tracks(self) -> pa.Table:
        """One row a track: source_token, category, num_boxes, first_frame, last_frame."""
        return self._table("tracks.arrow")

    def boxes(self, frame: int) -> FrameBoxes:
        """Boxes of a frame; N = 0 where it has none."""
        if not 0 <= frame < self.num_frames:
            raise IndexError(f"{self.name} has frames 0 to {self.num_frames - 1}, not {frame}")
        table, offsets = self._boxes
        rows = table.slice(offsets[frame], offsets[frame + 1] - offsets[frame])
        track = rows["track"].to_numpy()
        lidar, lidar_valid = numbers(rows["num_lidar_points"], np.int64)
        radar, radar_valid = numbers(rows["num_radar_points"], np.int64)
        return FrameBoxes(
            boxes=matrix(rows["box"], 9),
            category=rows["category"].to_pylist(),
            track=track,
            track_token=[self.track_tokens[t] for t in track],
            velocity_valid=rows["velocity_valid"].to_numpy(zero_copy_only=False),
            num_lidar_points=lidar,
            num_lidar_points_valid=lidar_valid,
            num_radar_points=radar,
            num_radar_points_valid=radar_valid,
            attributes=rows["attributes"].to_pylist(),
            visibility=rows["visibility"].to_pylist(),
            source_token=rows["source_token"].to_pylist(),
            source_translation=matrix(rows["source_translation"], 3),
            source_rotation=matrix(rows["source_rotation"], 4),
            source_size=matrix(rows["source_size"], 3),
            interpolated=rows["interpolated"].to_numpy(zero_copy_only=False),
            extra={name: rows[name].to_pylist() for name in table.column_names[len(schema.BOXES) :]},
        )

    # --- map and extras ------------------------------------------------------------------------------------------

    def map_features(self, kinds: Collection[str] | None = None) -> list[MapFeature]:
        """Map features, all or of some kinds, in the order in which they were added. Global coordinates."""
        return [
            MapFeature(
                feature_id=row["feature_id"],
                kind=row["kind"],
                geometry=np.array(row["geometry"], np.float64).reshape(-1, 3),
                is_polygon=row["is_polygon"],
                holes=tuple(np.array(hole, np.float64).reshape(-1, 3) for hole in row["holes"]),
                attributes=json.loads(row["attributes"]),
                predecessors=tuple(row["predecessors"]),
                successors=tuple(row["successors"]),
            )
            for row in self._table("map.arrow").to_pylist()
            if kinds is None or row["kind"] in kinds
        ]

    def has_table(self, name: str) -> bool:
        """Whether the log holds extra_<name>.arrow."""
        return f"extra_{name}.arrow" in self.manifest["files"]

    def table(self, name: str) -> pa.Table:
        """An extra table; UserError where the log has none of this name."""
        return self._table(f"extra_{name}.arrow")

    @property
    def file_names(self) -> list[str]:
        """Names of the raw files that the log carries."""
        return [name.removeprefix("files/") for name in self.manifest["files"] if name.startswith("files/")]

    def has_file(self, name: str) -> bool:
        """Whether the log carries this raw file."""
        return f"files/{name}" in self.manifest["files"]

    def file_path(self, name: str) -> Path:
        """Path of a raw file; UserError where the log has none of this name."""
        if not self.has_file(name):
            raise UserError(self.path / "files" / name, "the log has no such file", "see the list in log.json")
        return self.path / "files" / name


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a log folder; UserError where it is missing, broken or of an unknown version."""
    file = Path(path) / schema.MANIFEST
    try:
        manifest = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(path, "not a log folder (log.json is missing)", "give a folder that drive convert wrote") from (
            error
        )
    except (OSError, ValueError) as error:
        raise UserError(file, f"not readable ({error})", "convert this log again") from error
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if version != schema.SCHEMA_VERSION:
        what = f"log format version {version!r}, this program reads {schema.SCHEMA_VERSION}"
        raise UserError(file, what, "convert this log again, or install the version that wrote it")
    missing = {"name", "dataset", "split", "location", "counts", "files"} - manifest.keys()
    if missing:
        raise UserError(file, f"lacks {', '.join(sorted(missing))}", "convert this log again")
    return manifest


def list_logs(root: Path) -> list[Path]:
    """Folders of finished logs directly in `root`, sorted; unfinished ones are hidden folders and never listed."""
    root = Path(root)
    if not root.is_dir():
        raise UserError(root, "no such folder", "give the folder that drive convert wrote")
    return sorted(p for p in root.iterdir() if not p.name.startswith(".") and (p / schema.MANIFEST).is_file())


def _sensor(row: dict[str, Any]) -> Sensor:
    intrinsics, model = row["intrinsics"], row["distortion_model"]
    return Sensor(
        name=row["name"],
        modality=row["modality"],
        ego_from_sensor=np.array(row["ego_from_sensor"]).reshape(4, 4),
        columns=tuple(row["columns"]),
        intensity_max=row["intensity_max"],
        intrinsics=None if intrinsics is None else np.array(intrinsics).reshape(3, 3),
        distortion=None if model is None else (model, tuple(row["distortion"])),
        width=row["width"],
        height=row["height"],
        source_translation=np.array(row["source_translation"]),
        source_rotation=np.array(row["source_rotation"]),
        source_token=row["source_token"],
    )


def _flat(column: pa.Array) -> np.ndarray:
    values = column.values
    return values.to_numpy(zero_copy_only=not pa.types.is_boolean(values.type))
